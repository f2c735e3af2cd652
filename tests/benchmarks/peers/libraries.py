"""The libraries that are compared: how each one makes a breaker, and which faces the breaker has.

Every library is set to the same terms, as far as it knows them, and used in the quickest way that its documentation
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
"""As a threshold: more failures than any case has."""

FOR_EVER = 1e6
"""As an open time: longer than any case takes."""

NO_TIME = 1e-9
"""As an open time: over when the next call comes."""


@attrs.frozen(kw_only=True)
class Terms:
    """What is asked of a breaker; the defaults are swarmguard's own.

    Attributes:
        threshold: The failures in a row that open it, when there is no window.
        window: The failure rate is taken over the last 100 calls ("count") or the last 10 seconds ("time"), and opens
            the circuit at one half. None: failures in a row are counted.
        open_secs: How long it stays open.
        successes: The test calls that must succeed before it closes.
    """

    threshold: int = 5
    window: Literal["count", "time"] | None = None
    open_secs: float = 30.0
    successes: int = 3

    @property
    def failures(self) -> int:
        """The failures that open a breaker that has seen nothing else."""
        return self.threshold if self.window is None else MINIMUM_CALLS


WINDOW_CALLS = 100
WINDOW_SECS = 10
RATE = 0.5
MINIMUM_CALLS = 20

DECORATORS = ("function", "coroutine", "generator", "async_generator")
"""The faces of a library whose decorator takes all of them."""


class Library:
    """A breaker of one library, made for some terms, with an attribute for each face that the library has.

    A decorator is tried on all that it takes without complaint: users do the same.
    """

    name: ClassVar[str]
    """On PyPI."""
    faces: ClassVar[tuple[str, ...]]
    """Those of the attributes below that it has; known before anything is imported."""
    windows: ClassVar[tuple[str | None, ...]] = (None,)
    """The values of `Terms.window` that it knows."""

    refusal: type[Exception]
    """What it raises when it refuses a call."""
    function: Decorator
    coroutine: Decorator
    generator: Decorator
    async_generator: Decorator
    block: AbstractContextManager[object]
    """For a `with` statement, any number of times."""
    new_block: Callable[[], AbstractContextManager[object]]
    """Makes what is good for one `with` statement."""
    async_block: AbstractAsyncContextManager[object]
    new_async_block: Callable[[], Awaitable[AbstractAsyncContextManager[object]]]
    """Makes what is good for one `async with` statement; is awaited first."""
    caller: Callable[..., object]
    """Takes a function and its arguments."""
    executor: Callable[..., Awaitable[object]]
    """The same for async code."""
    find: Callable[[str], object]
    """Finds a breaker by its name; there is one called "quotes"."""

    def __init__(self, terms: Terms) -> None:
        raise NotImplementedError


class SwarmGuard(Library):
    """Ours."""

    name = OURS
    faces = (*DECORATORS, "block", "async_block", "caller", "executor", "find")
    windows = (None, "count", "time")

    def __init__(self, terms: Terms) -> None:
        import swarmguard

        trip = None
        if terms.window is not None:
            window = (
                swarmguard.CountWindow(WINDOW_CALLS) if terms.window == "count" else swarmguard.TimeWindow(WINDOW_SECS)
            )
            trip = swarmguard.FailureRate(threshold=RATE, window=window, minimum_calls=MINIMUM_CALLS)
        config = swarmguard.CircuitBreakerConfig(
            failure_threshold=terms.threshold,
            success_threshold=terms.successes,
            timeout_duration=terms.open_secs,
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

    def __init__(self, terms: Terms) -> None:
        import circuitbreaker

        breaker = circuitbreaker.CircuitBreaker(
            failure_threshold=terms.threshold, recovery_timeout=terms.open_secs, name="quotes"
        )
        circuitbreaker.CircuitBreakerMonitor.register(breaker)
        self.refusal = circuitbreaker.CircuitBreakerError
        self.function = self.coroutine = self.generator = self.async_generator = breaker
        self.block = breaker
        self.caller = breaker.call
        self.executor = breaker.call_async
        self.find = circuitbreaker.CircuitBreakerMonitor.get


class PyBreaker(Library):
    """For sync code, and for Tornado's coroutines."""

    name = "pybreaker"
    faces = (*DECORATORS, "new_block", "caller")

    def __init__(self, terms: Terms) -> None:
        import pybreaker

        breaker = pybreaker.CircuitBreaker(
            fail_max=terms.threshold, reset_timeout=terms.open_secs, success_threshold=terms.successes
        )
        self.refusal = pybreaker.CircuitBreakerError
        self.function = self.coroutine = self.generator = self.async_generator = breaker
        self.new_block = breaker.calling
        self.caller = breaker.call


class Purgatory(Library):
    """One factory is for sync code and one for async code; a breaker closes after one success."""

    name = "purgatory"
    faces = ("function", "coroutine", "generator", "new_block", "new_async_block", "find")

    def __init__(self, terms: Terms) -> None:
        import purgatory
        from purgatory.domain.model import OpenedState

        factory = purgatory.SyncCircuitBreakerFactory(terms.threshold, terms.open_secs)
        async_factory = purgatory.AsyncCircuitBreakerFactory(terms.threshold, terms.open_secs)
        self.refusal = OpenedState
        self.function = self.generator = factory("quotes")
        self.coroutine = async_factory("quotes")
        self.new_block = partial(factory.get_breaker, "quotes")
        self.new_async_block = partial(async_factory.get_breaker, "quotes")
        self.find = factory.get_breaker


class PyResilience(Library):
    """A breaker is part of a decorator."""

    name = "pyresilience"
    faces = (*DECORATORS, "find")
    windows = (None, "count")

    def __init__(self, terms: Terms) -> None:
        import pyresilience

        config = pyresilience.CircuitBreakerConfig(
            failure_threshold=terms.threshold,
            recovery_timeout=terms.open_secs,
            success_threshold=terms.successes,
            sliding_window_size=0 if terms.window is None else WINDOW_CALLS,
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
    """For async code alone."""

    name = "hyx"
    faces = ("coroutine", "async_block")

    def __init__(self, terms: Terms) -> None:
        from hyx.circuitbreaker import consecutive_breaker
        from hyx.circuitbreaker.exceptions import BreakerFailing

        self.refusal = BreakerFailing
        self.coroutine = self.async_block = consecutive_breaker(
            failure_threshold=terms.threshold,
            recovery_time_secs=terms.open_secs,
            recovery_threshold=terms.successes,
        )


class Interlock(Library):
    """It knows failure rates alone; all of the last so many calls are the same as so many in a row."""

    name = "interlock-cb"
    faces = (*DECORATORS, "block", "async_block", "caller", "executor", "find")
    windows = (None, "count", "time")

    def __init__(self, terms: Terms) -> None:
        import interlock

        in_a_row = terms.window is None
        by_time = terms.window == "time"
        config = interlock.Config(
            failure_rate_threshold=1.0 if in_a_row else RATE,
            minimum_number_of_calls=terms.failures,
            permitted_calls_in_half_open=terms.successes,
            wait_duration_in_open=terms.open_secs,
            window_type=interlock.WindowType.TIME_BASED if by_time else interlock.WindowType.COUNT_BASED,
            window_size=WINDOW_SECS if by_time else min(terms.threshold, WINDOW_CALLS) if in_a_row else WINDOW_CALLS,
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

    def __init__(self, terms: Terms) -> None:
        import aiobreaker

        # No time at all means a minute.
        open_time = max(timedelta(seconds=terms.open_secs), timedelta.resolution)
        breaker = aiobreaker.CircuitBreaker(fail_max=terms.threshold, timeout_duration=open_time)
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
