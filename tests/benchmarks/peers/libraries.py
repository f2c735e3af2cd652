"""The libraries that are compared: how each one makes a breaker, and which faces the breaker has.

Every library gets the same settings, as far as it supports them, and is used in the fastest way that its documentation
shows: in memory, with no listeners.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from datetime import timedelta
from functools import partial
from typing import Any, ClassVar, Literal

import attrs

from tests.benchmarks.case import OURS

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

NEVER = 10**9
"""A threshold that no case reaches."""

FOR_EVER = 1e6
"""An open time, in seconds, that outlasts every case."""

NO_TIME = 1e-9
"""An open time, in seconds, that has passed at the next call."""


@attrs.frozen(kw_only=True)
class Settings:
    """The settings of a breaker; the defaults are those of swarmguard.

    Attributes:
        threshold: The failures in a row that open it, when there is no window.
        window: The failure rate is taken over the last 100 calls ("count") or the last 10 seconds ("time"), and opens
            the circuit at one half. None: failures in a row are counted.
        open_secs: How long it stays open.
        successes: The probes that must succeed before it closes.
    """

    threshold: int = 5
    window: Literal["count", "time"] | None = None
    open_secs: float = 30.0
    successes: int = 3

    @property
    def failures(self) -> int:
        """The number of failures that open a new breaker."""
        return self.threshold if self.window is None else MINIMUM_CALLS


WINDOW_CALLS = 100
WINDOW_SECS = 10
RATE = 0.5
MINIMUM_CALLS = 20

DECORATORS = ("function", "coroutine", "generator", "async_generator")
"""The faces of a library whose decorator takes all of them."""


class Library:
    """A breaker of one library, made for some settings, with an attribute for each face that the library has.

    A decorator is tried on all that it takes without complaint: users do the same.
    """

    name: ClassVar[str]
    """On PyPI."""
    faces: ClassVar[tuple[str, ...]]
    """The attributes below that the library has; readable without importing it."""
    windows: ClassVar[tuple[str | None, ...]] = (None,)
    """The values of `Settings.window` that it supports."""

    refusal: type[Exception]
    """The exception of a refused call."""
    function: Decorator
    coroutine: Decorator
    generator: Decorator
    async_generator: Decorator
    block: AbstractContextManager[object]
    """A context manager for any number of `with` statements."""
    new_block: Callable[[], AbstractContextManager[object]]
    """Makes a context manager for one `with` statement."""
    async_block: AbstractAsyncContextManager[object]
    new_async_block: Callable[[], Awaitable[AbstractAsyncContextManager[object]]]
    """Makes a context manager for one `async with` statement, and is awaited first."""
    caller: Callable[..., object]
    """Takes a function and its arguments."""
    executor: Callable[..., Awaitable[object]]
    """Takes a coroutine function and its arguments."""
    find: Callable[[str], object]
    """Finds a breaker by its name; one is called "quotes"."""

    def __init__(self, settings: Settings) -> None:
        raise NotImplementedError


class SwarmGuard(Library):
    """This package."""

    name = OURS
    faces = (*DECORATORS, "block", "async_block", "caller", "executor", "find")
    windows = (None, "count", "time")

    def __init__(self, settings: Settings) -> None:
        import swarmguard

        trip = None
        if settings.window is not None:
            by_time = settings.window == "time"
            window = swarmguard.TimeWindow(WINDOW_SECS) if by_time else swarmguard.CountWindow(WINDOW_CALLS)
            trip = swarmguard.FailureRate(threshold=RATE, window=window, minimum_calls=MINIMUM_CALLS)
        config = swarmguard.CircuitBreakerConfig(
            failure_threshold=settings.threshold,
            success_threshold=settings.successes,
            timeout_duration=settings.open_secs,
            trip=trip,
        )
        registry = swarmguard.CircuitBreakerRegistry(config)
        breaker = registry.get_or_create("quotes")
        self.refusal = swarmguard.CircuitOpenError
        self.function = self.coroutine = self.generator = self.async_generator = breaker
        self.block = self.async_block = breaker
        self.caller = breaker.call
        self.executor = breaker.execute
        self.find = registry.get_or_create


class CircuitBreaker(Library):
    """A breaker closes after one success."""

    name = "circuitbreaker"
    faces = (*DECORATORS, "block", "caller", "executor", "find")

    def __init__(self, settings: Settings) -> None:
        import circuitbreaker

        breaker = circuitbreaker.CircuitBreaker(
            failure_threshold=settings.threshold, recovery_timeout=settings.open_secs, name="quotes"
        )
        circuitbreaker.CircuitBreakerMonitor.register(breaker)
        self.refusal = circuitbreaker.CircuitBreakerError
        self.function = self.coroutine = self.generator = self.async_generator = breaker
        self.block = breaker
        self.caller = breaker.call
        self.executor = breaker.call_async
        self.find = circuitbreaker.CircuitBreakerMonitor.get


class PyBreaker(Library):
    """It supports sync code, and Tornado's coroutines."""

    name = "pybreaker"
    faces = (*DECORATORS, "new_block", "caller")

    def __init__(self, settings: Settings) -> None:
        import pybreaker

        breaker = pybreaker.CircuitBreaker(
            fail_max=settings.threshold, reset_timeout=settings.open_secs, success_threshold=settings.successes
        )
        self.refusal = pybreaker.CircuitBreakerError
        self.function = self.coroutine = self.generator = self.async_generator = breaker
        self.new_block = breaker.calling
        self.caller = breaker.call


class Purgatory(Library):
    """It has one factory for sync code and one for async code; a breaker closes after one success."""

    name = "purgatory"
    faces = ("function", "coroutine", "generator", "new_block", "new_async_block", "find")

    def __init__(self, settings: Settings) -> None:
        import purgatory
        from purgatory.domain.model import OpenedState

        factory = purgatory.SyncCircuitBreakerFactory(settings.threshold, settings.open_secs)
        async_factory = purgatory.AsyncCircuitBreakerFactory(settings.threshold, settings.open_secs)
        self.refusal = OpenedState
        self.function = self.generator = factory("quotes")
        self.coroutine = async_factory("quotes")
        self.new_block = partial(factory.get_breaker, "quotes")
        self.new_async_block = partial(async_factory.get_breaker, "quotes")
        self.find = factory.get_breaker


class PyResilience(Library):
    """Its breaker is part of a decorator."""

    name = "pyresilience"
    faces = (*DECORATORS, "find")
    windows = (None, "count")

    def __init__(self, settings: Settings) -> None:
        import pyresilience

        config = pyresilience.CircuitBreakerConfig(
            failure_threshold=settings.threshold,
            recovery_timeout=settings.open_secs,
            success_threshold=settings.successes,
            sliding_window_size=0 if settings.window is None else WINDOW_CALLS,
            failure_rate_threshold=RATE,
            minimum_calls=MINIMUM_CALLS,
        )
        registry = pyresilience.ResilienceRegistry()
        registry.register("quotes", pyresilience.ResilienceConfig(circuit_breaker=config))
        registry.decorator("quotes")(print)  # it makes a breaker when there is something to guard
        self.refusal = pyresilience.CircuitOpenError
        self.function = self.coroutine = self.generator = self.async_generator = registry.decorator("quotes")
        self.find = registry.get_executor


class Hyx(Library):
    """It supports async code only."""

    name = "hyx"
    faces = ("coroutine", "async_block")

    def __init__(self, settings: Settings) -> None:
        from hyx.circuitbreaker import consecutive_breaker
        from hyx.circuitbreaker.exceptions import BreakerFailing

        self.refusal = BreakerFailing
        self.coroutine = self.async_block = consecutive_breaker(
            failure_threshold=settings.threshold,
            recovery_time_secs=settings.open_secs,
            recovery_threshold=settings.successes,
        )


class Interlock(Library):
    """It supports failure rates only; a rate of 1 over the last `n` calls is the same as `n` failures in a row."""

    name = "interlock-cb"
    faces = (*DECORATORS, "block", "async_block", "caller", "executor", "find")
    windows = (None, "count", "time")

    def __init__(self, settings: Settings) -> None:
        import interlock

        in_a_row = settings.window is None
        by_time = settings.window == "time"
        config = interlock.Config(
            failure_rate_threshold=1.0 if in_a_row else RATE,
            minimum_number_of_calls=settings.failures,
            permitted_calls_in_half_open=settings.successes,
            wait_duration_in_open=settings.open_secs,
            window_type=interlock.WindowType.TIME_BASED if by_time else interlock.WindowType.COUNT_BASED,
            window_size=WINDOW_SECS if by_time else min(settings.threshold, WINDOW_CALLS) if in_a_row else WINDOW_CALLS,
        )
        registry = interlock.Registry(config=config)
        breaker = registry.get("quotes")
        self.refusal = interlock.CircuitOpenError
        self.function = self.coroutine = self.generator = self.async_generator = breaker
        self.block = self.async_block = breaker
        self.caller = breaker.call_sync
        self.executor = breaker.call_async
        self.find = registry.get


class AioBreaker(Library):
    """A breaker closes after one success."""

    name = "aiobreaker"
    faces = (*DECORATORS, "caller", "executor")

    def __init__(self, settings: Settings) -> None:
        import aiobreaker

        # No time at all means a minute.
        open_time = max(timedelta(seconds=settings.open_secs), timedelta.resolution)
        breaker = aiobreaker.CircuitBreaker(fail_max=settings.threshold, timeout_duration=open_time)
        self.refusal = aiobreaker.CircuitBreakerError
        self.function = self.coroutine = self.generator = self.async_generator = breaker
        self.caller = breaker.call
        self.executor = breaker.call_async


LIBRARIES: tuple[type[Library], ...] = (
    SwarmGuard,
    CircuitBreaker,
    PyBreaker,
    Purgatory,
    PyResilience,
    Hyx,
    Interlock,
    AioBreaker,
)


def drive(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that waits for nothing, without an event loop, and return its result."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise RuntimeError("the coroutine waits for something")
