"""`CircuitBreaker`: the public face of a breaker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NoReturn, ParamSpec, Protocol, TypeVar, cast, overload

from swarmguard._breaker.block import BlockGuard
from swarmguard._breaker.config import CircuitBreakerConfig
from swarmguard._breaker.core import BreakerCore
from swarmguard._breaker.decorate import call, decorate, execute
from swarmguard._breaker.observing import Observer
from swarmguard._breaker.permit import Permit, acquire_permit
from swarmguard._breaker.values import BreakerStatus
from swarmguard._common.fields import (
    Seconds,
    check_callable,
    check_callable_or_none,
    check_instance,
    check_seconds,
    check_text,
    check_wiring,
)
from swarmguard.circuit import BreakerMode, CircuitState
from swarmguard.clock import Clock, SystemClock
from swarmguard.events import Sink

P = ParamSpec("P")
T = TypeVar("T")
Owner = TypeVar("Owner")


class Decorator(Protocol):
    """A decorator that keeps the types of the callable."""

    @overload
    def __call__(self, fn: classmethod[Owner, P, T], /) -> classmethod[Owner, P, T]: ...
    @overload
    def __call__(self, fn: staticmethod[P, T], /) -> staticmethod[P, T]: ...
    @overload
    def __call__(self, fn: Callable[P, T], /) -> Callable[P, T]: ...


class CircuitBreaker(BlockGuard):
    """A circuit breaker: it refuses calls to a service that fails, and probes the service until it has recovered.

    One object serves sync and async code, threads, and any number of event loops. Guard calls in whichever way fits:

    - `@breaker` on a function, generator or method;
    - `breaker.call(fn, ...)` and `await breaker.execute(fn, ...)`;
    - `with breaker:` and `async with breaker:`;
    - `breaker.acquire()`, for a permit that you settle yourself.

    Each raises `CircuitOpenError` if the breaker refuses the call. The call's own exceptions reach the caller
    unchanged.

    Args:
        name: The name of the service in events, errors and records: any non-empty text.
        config: How the breaker behaves.
        clock: The source of time; by default the system's clock.
        sink: Called with an `Event` after each change of state or mode. None: no events are emitted.
        observer: Called with a `CallRecord` after each call. None: no records are made, and calls cost less.
        topic_prefix: The prefix of the events' topics: `"arb.swarm"` gives `arb.swarm.circuit.opened`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: The name or the prefix is empty.
    """

    __slots__ = ()

    def __init__(
        self,
        name: str,
        config: CircuitBreakerConfig = CircuitBreakerConfig(),
        *,
        clock: Clock = SystemClock(),
        sink: Sink | None = None,
        observer: Observer | None = None,
        topic_prefix: str = "arb.swarm",
    ) -> None:
        check_text("name", name)
        check_instance("config", config, CircuitBreakerConfig)
        check_wiring(clock, sink, topic_prefix)
        check_callable_or_none("observer", observer)
        super().__init__(BreakerCore(name, config, clock, sink, observer, topic_prefix))

    @property
    def name(self) -> str:
        """The breaker's name."""
        return self._core.name

    @property
    def config(self) -> CircuitBreakerConfig:
        """How the breaker behaves."""
        return self._core.config

    @property
    def state(self) -> CircuitState:
        """The state of the circuit.

        Reading it changes nothing: a circuit whose open time is over reads `OPEN` until a probe is admitted.
        """
        return self._core.state

    @property
    def mode(self) -> BreakerMode:
        """The mode that an operator has set."""
        return self._core.mode

    @property
    def retry_after(self) -> float | None:
        """The seconds until a call may be admitted.

        0.0: one may be admitted now. None: only an operator can admit one. While every slot is taken, it is the time
        until the first lease ends. Reading it changes nothing.
        """
        return self._core.retry_after()

    def status(self) -> BreakerStatus:
        """Return the status of the breaker at this instant.

        Returns:
            State, mode, counts and `retry_after`, all read under one lock.
        """
        return self._core.status()

    @overload
    def __call__(self, fn: classmethod[Owner, P, T], /) -> classmethod[Owner, P, T]: ...
    @overload
    def __call__(self, fn: staticmethod[P, T], /) -> staticmethod[P, T]: ...
    @overload
    def __call__(self, fn: Callable[P, T], /) -> Callable[P, T]: ...
    def __call__(self, fn: Any, /) -> Any:
        """Decorate a callable. It keeps its kind, its signature, its metadata and its types.

        A generator is one call, from its first item to its end. An object with an async `__call__` becomes a
        coroutine function.

        Args:
            fn: A function, coroutine function, generator function, async generator function, method, classmethod,
                staticmethod, `functools.partial`, or an object with a `__call__`.

        Returns:
            The guarded callable. It raises `CircuitOpenError` if the breaker refuses the call, and `TypeError` if a
            function that is not async returns an awaitable.

        Raises:
            TypeError: `fn` is none of these.
        """
        return decorate(self._core, fn)

    def with_fallback(self, fallback: Callable[..., object], /) -> Decorator:
        """Return a decorator that calls `fallback(*args, **kwargs)` in place of a call that this breaker refuses.

        The function's own errors and the refusals of other breakers still reach the caller.

        Args:
            fallback: Takes the arguments of the function. For an async function it may be async or not; for a
                generator it returns an iterable.

        Returns:
            The decorator. It raises `TypeError` if the fallback is async and the function is not.

        Raises:
            TypeError: The fallback is not callable.
        """
        check_callable("fallback", fallback)
        return cast(Decorator, partial(decorate, self._core, fallback=fallback))

    def call(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a sync function as one call.

        Args:
            fn: The function.
            *args: Its positional arguments.
            **kwargs: Its keyword arguments.

        Returns:
            What `fn` returned.

        Raises:
            CircuitOpenError: The breaker refused the call; `fn` did not run.
            TypeError: `fn` is not callable, returned an awaitable (use `execute`) or is a generator function (decorate
                it). Nothing was counted.
        """
        return call(self._core, fn, *args, **kwargs)

    async def execute(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call an async function, and await what it returns, as one call.

        Args:
            fn: A coroutine function, or any callable that returns an awaitable: `execute(lambda: client.get(url))`.
            *args: Its positional arguments.
            **kwargs: Its keyword arguments.

        Returns:
            The result of the awaitable.

        Raises:
            CircuitOpenError: The breaker refused the call; `fn` did not run.
            TypeError: `fn` is not callable, returned no awaitable (use `call`) or is a generator function (decorate
                it). Nothing was counted.
        """
        return await execute(self._core, fn, *args, **kwargs)

    def acquire(self) -> Permit:
        """Return a permit for one call.

        Returns:
            The permit. Settle it by hand, or use it as a context manager.

        Raises:
            CircuitOpenError: The breaker refused the call.
        """
        return acquire_permit(self._core)

    def reset(self) -> None:
        """Close the circuit, and clear every count and the back-off. A mode stays in force.

        The outcomes of calls that are running now are not counted.
        """
        self._core.reset()

    def trip(self, duration: Seconds | None = None) -> None:
        """Open the circuit now. A circuit that is open begins a new open time.

        Args:
            duration: How long it stays open, in seconds: 0 or more. None: the configured open time, with back-off and
                jitter.

        Raises:
            TypeError: The duration is neither a number nor a `timedelta`.
            ValueError: The duration is negative or not finite.
        """
        self._core.trip(None if duration is None else check_seconds("duration", duration))

    def set_mode(self, mode: BreakerMode) -> None:
        """Set a mode. It overrides the state of the circuit until `BreakerMode.NORMAL` is set.

        Args:
            mode: The mode.

        Raises:
            TypeError: The mode is not a `BreakerMode`.
        """
        self._core.set_mode(check_instance("mode", mode, BreakerMode))

    def __repr__(self) -> str:
        return f"<CircuitBreaker {self.name!r} {self.state.value}>"

    def __copy__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} cannot be copied: all callers of a service share one breaker; pass the breaker itself"
        )

    def __deepcopy__(self, memo: object) -> NoReturn:
        self.__copy__()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            f"{self!r} cannot be pickled: it holds a lock and running calls; pickle its config and make a new breaker"
        )
