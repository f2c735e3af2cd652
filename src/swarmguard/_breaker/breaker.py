"""`CircuitBreaker`: the faces of a breaker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NoReturn, ParamSpec, Protocol, TypeVar, cast, overload

from swarmguard._breaker import calls
from swarmguard._breaker.block import BlockGuard
from swarmguard._breaker.config import CircuitBreakerConfig
from swarmguard._breaker.decorate import decorate
from swarmguard._breaker.gate import Gate, Observer
from swarmguard._breaker.permit import Permit
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
    """What decorates like a breaker: the callable's types stay as they are."""

    @overload
    def __call__(self, fn: classmethod[Owner, P, T], /) -> classmethod[Owner, P, T]: ...
    @overload
    def __call__(self, fn: staticmethod[P, T], /) -> staticmethod[P, T]: ...
    @overload
    def __call__(self, fn: Callable[P, T], /) -> Callable[P, T]: ...


class CircuitBreaker(BlockGuard):
    """A circuit breaker: stops calling a service that fails, and tries it again when it has had time to recover.

    One object serves sync and async code, threads, and any number of event loops. Guard calls with whichever face
    fits: `@breaker` on a function, generator or method; `breaker.call(fn, …)` and `await breaker.execute(fn, …)`;
    `with breaker:` and `async with breaker:`; or `breaker.acquire()` for a permit that you settle yourself. Each raises
    `CircuitOpenError` when the breaker refuses the call, and lets the call's own exceptions through unchanged.

    Args:
        name: Names the service in events, errors and records: any non-empty text.
        config: How the breaker behaves.
        clock: Where it reads the time; the system's own by default.
        sink: Called with an `Event` after each change of state or mode; None: nobody is.
        observer: Called with a `CallRecord` after each call; None: nobody is, and calls cost less.
        topic_prefix: What stands before the events' topics: `"arb.swarm"` gives `arb.swarm.circuit.opened`.

    Raises:
        TypeError: An argument is of the wrong type.
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
        super().__init__(Gate(name, config, clock, sink, observer, topic_prefix))

    @property
    def name(self) -> str:
        """The breaker's name."""
        return self._gate.name

    @property
    def config(self) -> CircuitBreakerConfig:
        """How the breaker behaves."""
        return self._gate.config

    @property
    def state(self) -> CircuitState:
        """Where the circuit stands. Reading it never moves it: an open circuit reads `OPEN` until a test call comes."""
        return self._gate.state

    @property
    def mode(self) -> BreakerMode:
        """The operator's mode."""
        return self._gate.mode

    @property
    def retry_after(self) -> float | None:
        """Seconds until a call may be admitted: 0.0 when one may be now, None when only an operator will admit one.

        With every test call's place taken, it is the time until the first lease ends. Reading it moves nothing.
        """
        return self._gate.retry_after()

    def status(self) -> BreakerStatus:
        """Return the whole breaker at one instant."""
        return self._gate.status()

    @overload
    def __call__(self, fn: classmethod[Owner, P, T], /) -> classmethod[Owner, P, T]: ...
    @overload
    def __call__(self, fn: staticmethod[P, T], /) -> staticmethod[P, T]: ...
    @overload
    def __call__(self, fn: Callable[P, T], /) -> Callable[P, T]: ...
    def __call__(self, fn: Any, /) -> Any:
        """Decorate a callable of any kind; its kind, signature, metadata and types stay as they are.

        A generator is one call, from its first item to its end. An object with an async `__call__` becomes a
        coroutine function.

        Args:
            fn: A function, coroutine function, generator function, async generator function, method, classmethod,
                staticmethod, `functools.partial`, or an object with a `__call__`.

        Returns:
            The guarded callable. It raises `CircuitOpenError` when the breaker refuses, and `TypeError` when a
            function that is not async returns an awaitable.

        Raises:
            TypeError: It is none of these.
        """
        return decorate(self._gate, fn)

    def with_fallback(self, fallback: Callable[..., object], /) -> Decorator:
        """Return a decorator under which this breaker's refusals are answered by `fallback(*args, **kwargs)`.

        Nothing else is: neither the function's own errors nor another breaker's refusal.

        Args:
            fallback: Takes what the function takes. For an async function it may be async or not, for a generator it
                returns an iterable.

        Raises:
            TypeError: The fallback cannot be called, or is async for a function that is not.
        """
        check_callable("fallback", fallback)
        return cast(Decorator, partial(decorate, self._gate, fallback=fallback))

    def call(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `fn(*args, **kwargs)`, sync code, as one call, and return what it returns.

        Raises:
            CircuitOpenError: The breaker refused the call; `fn` was not run.
            TypeError: `fn` cannot be called, returned an awaitable (use `execute`) or is a generator function
                (decorate it); nothing was counted.
        """
        return calls.call(self._gate, fn, *args, **kwargs)

    async def execute(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Await what `fn(*args, **kwargs)` returns as one call, and return what comes of it.

        `fn` may be a coroutine function or any callable that returns an awaitable: `execute(lambda: client.get(url))`.

        Raises:
            CircuitOpenError: The breaker refused the call; `fn` was not run.
            TypeError: `fn` cannot be called, returned no awaitable (use `call`) or is a generator function (decorate
                it); nothing was counted.
        """
        return await calls.execute(self._gate, fn, *args, **kwargs)

    def acquire(self) -> Permit:
        """Return a permit for one call, to be settled by hand or by its own `with` block.

        Raises:
            CircuitOpenError: The breaker refused the call.
        """
        return self._gate.admit()

    def reset(self) -> None:
        """Close the circuit, clear every count and the back-off, and start afresh; a mode stays in force.

        Calls that are under way count for nothing any more.
        """
        self._gate.reset()

    def trip(self, duration: Seconds | None = None) -> None:
        """Open the circuit now; one that is open starts its open time again.

        Args:
            duration: For how many seconds: 0 or more. None: for as long as an opening takes now, back-off and jitter
                included.

        Raises:
            TypeError: The duration is none.
            ValueError: It is negative or not finite.
        """
        self._gate.trip(None if duration is None else check_seconds("duration", duration))

    def set_mode(self, mode: BreakerMode) -> None:
        """Put an operator's mode in force until it is set back to `BreakerMode.NORMAL`.

        Raises:
            TypeError: It is no `BreakerMode`.
        """
        self._gate.set_mode(check_instance("mode", mode, BreakerMode))

    def __repr__(self) -> str:
        return f"<CircuitBreaker {self.name!r} {self.state.value}>"

    def __copy__(self) -> NoReturn:
        raise TypeError(f"{self!r} cannot be copied: it guards one service and its callers share it")

    def __deepcopy__(self, memo: object) -> NoReturn:
        self.__copy__()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            f"{self!r} cannot be pickled: it holds a lock and live calls; pickle its config and make a new one instead"
        )
