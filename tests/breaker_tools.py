"""Helpers for the tests of breakers: create one, bring it into a state, and find out how it classifies a call."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from swarmguard import (
    CallRecord,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitOpenError,
    CircuitState,
    Event,
)
from swarmguard.testing import FakeClock

SAFETY = 30.0
"""Seconds after which a hanging thread or task fails its test; no test depends on the value."""

HAS_GIL: bool = getattr(sys, "_is_gil_enabled", lambda: True)()
"""Whether this Python has its global lock, so that one thread runs at a time."""


class BoomError(Exception):
    """The error of the guarded service."""


class FatalError(BaseException):
    """A `BaseException` that is not an `Exception`."""


def build(
    clock: FakeClock,
    sink: Callable[[Event], object] | None = None,
    *,
    name: str = "api",
    observer: Callable[[CallRecord], object] | None = None,
    **config: Any,
) -> CircuitBreaker:
    """Return a breaker; further keywords are fields of its configuration."""
    return CircuitBreaker(name, CircuitBreakerConfig(**config), clock=clock, sink=sink, observer=observer)


def boom() -> None:
    """Fail, as the service does."""
    raise BoomError("service down")


def raising(error: BaseException) -> Callable[[], None]:
    """Return a function that raises `error`."""

    def fail_with_error() -> None:
        raise error

    return fail_with_error


def succeed(breaker: CircuitBreaker, times: int = 1) -> None:
    """Make calls that succeed."""
    for _ in range(times):
        assert breaker.call(lambda: "ok") == "ok"


def fail(breaker: CircuitBreaker, times: int = 1) -> None:
    """Make calls that fail."""
    for _ in range(times):
        with pytest.raises(BoomError):
            breaker.call(boom)


def neutral(breaker: CircuitBreaker, times: int = 1) -> None:
    """Make calls whose outcome is neutral."""
    for _ in range(times):
        breaker.acquire().release()


def refused(breaker: CircuitBreaker) -> CircuitOpenError:
    """Make a call that must be refused, check that it did not run, and return the refusal."""
    ran: list[bool] = []
    with pytest.raises(CircuitOpenError) as caught:
        breaker.call(ran.append, True)
    assert ran == []
    return caught.value


def open_breaker(clock: FakeClock, sink: Callable[[Event], object] | None = None, **config: Any) -> CircuitBreaker:
    """Return a breaker that failures have just opened; its default `failure_threshold` is 1 here."""
    breaker = build(clock, sink, **{"failure_threshold": 1, "timeout_duration": 10.0} | config)
    for _ in range(breaker.config.failure_threshold):
        breaker.acquire().fail()
    assert breaker.state is CircuitState.OPEN
    return breaker


def due_breaker(clock: FakeClock, sink: Callable[[Event], object] | None = None, **config: Any) -> CircuitBreaker:
    """Return an open breaker whose open time has ended, so that its next call is a probe."""
    breaker = open_breaker(clock, sink, **config)
    clock.advance(breaker.retry_after or 0.0)
    assert breaker.state is CircuitState.OPEN
    return breaker


def half_open_breaker(clock: FakeClock, sink: Callable[[Event], object] | None = None, **config: Any) -> CircuitBreaker:
    """Return a half-open breaker that has counted nothing yet, and whose slots are all free."""
    breaker = due_breaker(clock, sink, **config)
    neutral(breaker)
    assert breaker.state is CircuitState.HALF_OPEN
    return breaker


def outcome_when_closed(act: Callable[[CircuitBreaker], object], **config: Any) -> str:
    """Return the outcome of `act` in a closed breaker; exceptions of `act` are ignored."""
    breaker = build(FakeClock(), failure_threshold=100, **config)
    breaker.acquire().fail()
    _act(act, breaker)
    return {0: "success", 1: "neutral", 2: "failure"}[breaker.status().failure_count]


def outcome_when_half_open(act: Callable[[CircuitBreaker], object], **config: Any) -> str:
    """Return the outcome of `act` in a half-open breaker, and check that `act` keeps no slot."""
    clock = FakeClock()
    breaker = build(clock, failure_threshold=1, success_threshold=100, timeout_duration=10.0, **config)
    breaker.acquire().fail()
    clock.advance(breaker.retry_after or 0.0)
    breaker.acquire().release()
    assert breaker.state is CircuitState.HALF_OPEN
    _act(act, breaker)
    status = breaker.status()
    if status.state is CircuitState.OPEN:
        return "failure"
    assert status.half_open_calls == 0
    return {0: "neutral", 1: "success"}[status.success_count]


def _act(act: Callable[[CircuitBreaker], object], breaker: CircuitBreaker) -> None:
    """Run `act`, and ignore its exceptions."""
    try:
        act(breaker)
    except BaseException:  # noqa: BLE001 - only what the breaker counted matters
        return


CLASSIFIERS = [
    pytest.param(outcome_when_closed, id="closed"),
    pytest.param(outcome_when_half_open, id="half-open"),
]
"""Both ways to find out the outcome of a call: in a closed circuit and in a half-open one."""


def in_thread(act: Callable[..., Any], *args: Any) -> Any:
    """Run `act` in another thread, and return its result or raise its exception."""
    answer: dict[str, Any] = {}

    def run() -> None:
        try:
            answer["result"] = act(*args)
        except BaseException as error:  # noqa: BLE001 - raised again for the test
            answer["error"] = error

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(SAFETY)
    assert not thread.is_alive(), "the thread hangs"
    if "error" in answer:
        raise answer["error"]
    return answer["result"]


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the errors that the package has logged: each message with the text of its exception."""
    return [
        f"{record.getMessage()}: {record.exc_info[1] if record.exc_info else None!r}"
        for record in caplog.records
        if record.name == "swarmguard" and record.levelname == "ERROR"
    ]
