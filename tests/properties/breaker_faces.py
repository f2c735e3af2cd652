"""Strategies for the properties of breakers: endings of calls, configurations, and each face as a call in flight."""

from __future__ import annotations

import asyncio
import types
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from math import nan
from typing import Any

import hypothesis.strategies as st
import pytest

from swarmguard import (
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitOpenError,
    CircuitState,
    CountWindow,
    FailureRate,
    Permit,
    TimeWindow,
)
from tests.properties.breaker_model import SECOND, Filters, Rate, Setup
from tests.properties.reaching import reached

# --- endings of calls -------------------------------------------------------------------------------------------------


class ServiceError(Exception):
    """A failure under every configuration here; `after` is the result of `retry_after` for it."""

    def __init__(self, after: object = None) -> None:
        super().__init__(after)
        self.after = after


class OtherError(Exception):
    """A failure under the default configuration; neutral where only `ServiceError` is recorded."""


class IgnoredError(ServiceError):
    """Neutral where it is ignored."""


class NotFoundError(ServiceError):
    """A success where `success_exceptions` has it."""


@dataclass(frozen=True)
class Reply:
    """A returned value; `bad` is the result of `record_result` for it, which raises if it is None."""

    bad: bool | None = False
    after: object = None


ERRORS: dict[str, Callable[[], BaseException]] = {
    "other": OtherError,
    "ignored": IgnoredError,
    "not found": NotFoundError,
    "refused inside": lambda: CircuitOpenError("inner", CircuitState.OPEN, 1.0, "open"),
    "interrupt": KeyboardInterrupt,
    "exit": SystemExit,
    "cancelled": asyncio.CancelledError,
    "group of failures": lambda: ExceptionGroup("", [IgnoredError(), ServiceError(), NotFoundError()]),
    "group of successes": lambda: ExceptionGroup("", [IgnoredError(), ExceptionGroup("", [NotFoundError()])]),
    "group of neutrals": lambda: BaseExceptionGroup("", [IgnoredError(), KeyboardInterrupt()]),
    "mixed group": lambda: BaseExceptionGroup("", [KeyboardInterrupt(), ExceptionGroup("", [OtherError()])]),
}

ANSWERS: list[object] = [None, None, 0.25, 7, timedelta(seconds=45), 5000.0, "raise", "soon", nan, -3.0]


def answer_of(after: object) -> float | None:
    """Return the seconds that a result of `retry_after` stands for, or None if it is invalid."""
    if isinstance(after, timedelta):
        after = after.total_seconds()
    return after if isinstance(after, int | float) and after >= 0 else None


@dataclass(frozen=True)
class Ending:
    """The end of a call; `how` is "return", "raise", "fail" (settled by hand), "release" or "drop"."""

    how: str
    error: str = "service"
    after: object = None
    bad: bool | None = False

    def make(self) -> BaseException:
        """Return a new exception."""
        return ServiceError(self.after) if self.error == "service" else ERRORS[self.error]()

    @property
    def reply(self) -> Reply:
        """The returned value."""
        return Reply(self.bad, self.after if self.bad else None)


successes = st.just(Ending("return"))
failures = st.builds(Ending, st.sampled_from(["raise", "fail"]), after=st.sampled_from(ANSWERS))
endings = st.one_of(
    successes,
    successes,
    failures,
    failures,
    st.builds(Ending, st.just("return"), after=st.sampled_from(ANSWERS), bad=st.sampled_from([False, True, None])),
    st.builds(Ending, st.sampled_from(["raise", "raise", "fail"]), error=st.sampled_from(sorted(ERRORS))),
    st.builds(Ending, st.sampled_from(["release", "drop", "drop"])),
)
lengths = st.sampled_from(["no time", "no time", "no time", "almost slow", "just slow", "slow", "a window"])
"""The duration of a call, relative to its configuration."""

# --- configurations ---------------------------------------------------------------------------------------------------

durations = st.one_of(
    st.sampled_from([0.5, 1.0, 2.5, 30.0]), st.integers(1, 100 * SECOND).map(lambda moment: moment / SECOND)
)
shares = st.one_of(st.sampled_from([0.3, 0.5, 0.6, 1.0]), st.integers(1, 1000).map(lambda share: share / 1000))


@st.composite
def rates(draw: st.DrawFn) -> Rate:
    """Draw a failure-rate policy, with a window of one call or more."""
    calls = draw(st.none() | st.integers(1, 5) | st.just(30))
    least = st.integers(1, min(4, calls or 4))
    return Rate(
        calls=calls,
        seconds=draw(durations) if calls is None else None,
        threshold=draw(shares),
        minimum=draw(least if calls is None else st.none() | least),
        slow_seconds=draw(st.none() | durations),
        slow_threshold=draw(shares),
    )


@st.composite
def setups(draw: st.DrawFn, policies: st.SearchStrategy[Rate | None] = st.none() | rates()) -> Setup:  # noqa: B008
    """Draw a configuration."""
    multiplier = draw(st.sampled_from([1.0, 1.0, 0.7, 1.3, 2.0, 3.0]))
    return Setup(
        failures=draw(st.sampled_from([1, 1, 2, 3, 5])),
        rate=draw(policies),
        successes=draw(st.sampled_from([1, 1, 2, 3, 5])),
        open_seconds=draw(st.one_of(st.just(0.0), durations, durations)),
        slots=draw(st.sampled_from([1, 1, 2, 3])),
        probe_seconds=draw(st.none() | durations),
        multiplier=multiplier,
        cap=draw(durations if multiplier >= 2 else st.none() | durations),
        jitter=draw(st.sampled_from([0.0, 0.0, 0.1, 0.5, 1.0])),
    )


class ServiceType(BaseException):
    """Never raised; it makes a tuple of a single type."""


FILTERS = [
    (Filters(), {}),
    (
        Filters(success=(NotFoundError,), ignore=(IgnoredError,)),
        {"success_exceptions": NotFoundError, "ignore_exceptions": (ServiceType, IgnoredError)},
    ),
    (
        Filters(success=(NotFoundError,), ignore=(IgnoredError, NotFoundError), record=(ServiceError,)),
        {
            "success_exceptions": lambda error: isinstance(error, NotFoundError),
            "ignore_exceptions": (IgnoredError, NotFoundError),
            "record_exceptions": (ServiceError,),
        },
    ),
    (  # the next filter decides where a predicate raises
        Filters(record=(ServiceError, OtherError)),
        {
            "success_exceptions": lambda error: 1 / 0,
            "ignore_exceptions": lambda error: 1 / 0,
            "record_exceptions": lambda error: isinstance(error, ServiceError | OtherError),
        },
    ),
    (  # no configuration counts a cancellation or an interrupt
        Filters(),
        {"record_exceptions": BaseException},
    ),
]


def the_rate(rate: Rate) -> FailureRate:
    """Return the policy for one of the model."""
    return FailureRate(
        threshold=rate.threshold,
        window=TimeWindow(rate.seconds) if rate.calls is None else CountWindow(rate.calls),
        minimum_calls=rate.minimum,
        slow_call_duration=rate.slow_seconds,
        slow_call_rate=rate.slow_threshold,
    )


def the_config(setup: Setup, **more: Any) -> CircuitBreakerConfig:
    """Return the configuration for one of the model."""
    return CircuitBreakerConfig(
        failure_threshold=setup.failures,
        trip=None if setup.rate is None else the_rate(setup.rate),
        success_threshold=setup.successes,
        timeout_duration=setup.open_seconds,
        half_open_max_calls=setup.slots,
        probe_timeout=setup.probe_seconds,
        backoff_multiplier=setup.multiplier,
        max_timeout_duration=setup.cap,
        jitter=setup.jitter,
        **more,
    )


def is_bad(reply: Reply) -> bool | None:
    """Serve as `record_result`."""
    if reply.bad is None:
        reached("B7", "record_result raises")
        raise RuntimeError("this reply cannot be classified")
    return reply.bad


def wait_for(cause: object) -> Any:
    """Serve as `retry_after`."""
    after = getattr(cause, "after", None)
    reached("B7", "retry_after returns an invalid value", after == "soon")
    if after == "raise":
        reached("B7", "retry_after raises")
        raise RuntimeError("this cause has no answer")
    return after


# --- the faces, as calls in flight that are driven by hand ------------------------------------------------------------

Outcome = Callable[[], Reply]
"""The end of a guarded body: it returns a reply or raises."""


@types.coroutine
def pause() -> Generator[str, Outcome, Outcome]:
    """Suspend a coroutine that runs in no event loop."""
    return (yield "paused")


def guarded_coroutine(breaker: CircuitBreaker) -> Any:
    """Return a decorated coroutine function's coroutine."""

    @breaker
    async def work() -> Reply:
        return (await pause())()

    return work()


def executed_coroutine(breaker: CircuitBreaker) -> Any:
    """Return the coroutine of `execute`."""

    async def work() -> Reply:
        return (await pause())()

    return breaker.execute(work)


def guarded_generator(breaker: CircuitBreaker) -> Any:
    """Return a decorated generator function's generator."""

    @breaker
    def stream() -> Generator[str, Outcome, Reply]:
        return (yield "paused")()

    return stream()


def block_in_generator(breaker: CircuitBreaker) -> Any:
    """Return a generator that is suspended in a `with breaker` block."""

    def stream() -> Generator[str, Outcome, Reply]:
        with breaker:
            return (yield "paused")()

    return stream()


def nested_blocks_in_generator(breaker: CircuitBreaker) -> Any:
    """Return a generator that is suspended in a `with breaker.acquire()` block."""

    def stream() -> Generator[str, Outcome, Reply]:
        with breaker.acquire():
            return (yield "paused")()

    return stream()


def block_in_coroutine(breaker: CircuitBreaker) -> Any:
    """Return a coroutine that is suspended in an `async with breaker` block."""

    async def work() -> Reply:
        async with breaker:
            return (await pause())()

    return work()


class ByHand:
    """An async generator, started and ended through the protocol of generators."""

    def __init__(self, stream: AsyncGenerator[str, Outcome]) -> None:
        self._stream = stream

    def send(self, outcome: Outcome | None) -> str:
        """Take one step."""
        step = self._stream.__anext__() if outcome is None else self._stream.asend(outcome)
        return self._take(step)

    def throw(self, error: BaseException) -> str:
        """Throw the error into the generator."""
        return self._take(self._stream.athrow(error))

    def close(self) -> None:
        """Close the generator early."""
        with pytest.raises(StopIteration):
            self._stream.aclose().send(None)

    def _take(self, step: Any) -> str:
        try:
            step.send(None)
        except StopIteration as stop:
            return stop.value
        except StopAsyncIteration:
            raise StopIteration(Reply()) from None
        raise AssertionError("the generator has suspended")


def guarded_async_generator(breaker: CircuitBreaker) -> Any:
    """Return a decorated async generator function's generator."""

    @breaker
    async def stream() -> AsyncGenerator[str, Outcome]:
        (yield "paused")()

    return ByHand(stream())


SUSPENDED: dict[str, Callable[[CircuitBreaker], Any]] = {
    "decorated coroutine": guarded_coroutine,
    "execute": executed_coroutine,
    "decorated generator": guarded_generator,
    "decorated async generator": guarded_async_generator,
    "with": block_in_generator,
    "with acquire": nested_blocks_in_generator,
    "async with": block_in_coroutine,
}
CLASSIFIES_REPLIES = {"decorated coroutine", "execute", "call", "decorated"}
"""The faces that classify the returned value."""


def call(breaker: CircuitBreaker, outcome: Outcome) -> Reply:
    """Run through `call`."""
    return breaker.call(outcome)


def decorated(breaker: CircuitBreaker, outcome: Outcome) -> Reply:
    """Run a decorated function."""

    @breaker
    def work() -> Reply:
        return outcome()

    return work()


def stacked(breaker: CircuitBreaker, outcome: Outcome) -> Reply:
    """Run in a block that an `ExitStack` enters and leaves."""
    with ExitStack() as stack:
        stack.enter_context(breaker)
        return outcome()


def nested(breaker: CircuitBreaker, outcome: Outcome) -> Reply:
    """Run in a `with` block."""
    with breaker:
        return outcome()


ONE_STEP: dict[str, Callable[[CircuitBreaker, Outcome], Reply]] = {
    "call": call,
    "decorated": decorated,
    "exit stack": stacked,
    "with": nested,
}


def end_permit(permit: Permit, ending: Ending, error: BaseException, *, thrown: bool) -> bool | None:
    """Settle a permit, with a thrown error through `async with`; return None where settling returns nothing."""
    match ending.how:
        case "return":
            return permit.succeed()
        case "fail":
            return permit.fail(error)
        case "release":
            return permit.release()
        case "raise":
            with pytest.raises(type(error)) as caught:
                if thrown:
                    leave_async_block(permit, error).send(None)
                with permit as entered:
                    assert entered is permit
                    raise error
            assert caught.value is error
    return None


async def leave_async_block(permit: Permit, error: BaseException) -> None:
    """Leave the permit's `async with` block by an exception."""
    async with permit as entered:
        assert entered is permit
        raise error


def end_suspended(thing: Any, ending: Ending, error: BaseException, *, thrown: bool) -> None:
    """End a suspended call, and check that its caller gets the result of the guarded code."""
    if ending.how == "return":
        with pytest.raises(StopIteration) as stopped:
            thing.send(lambda: ending.reply)
        assert isinstance(stopped.value.value, Reply)
    elif ending.how in ("raise", "fail"):
        with pytest.raises(type(error)) as caught:
            if thrown:
                thing.throw(error)
            else:
                thing.send(lambda: raising(error))
        assert caught.value is error
    elif ending.how == "release":
        thing.close()


def raising(error: BaseException) -> Reply:
    """Raise the error."""
    raise error
