"""What the tests of circuit breakers share: making one, bringing it into a state, and reading what an outcome was."""

from __future__ import annotations

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
"""Seconds after which a thread or a task that should have ended is given up: a net, never a part of a test."""


class BoomError(Exception):
    """The failure of the service that the tests guard."""


class FatalError(BaseException):
    """A `BaseException` that is no `Exception`."""


def build(
    clock: FakeClock,
    sink: Callable[[Event], object] | None = None,
    *,
    name: str = "api",
    observer: Callable[[CallRecord], object] | None = None,
    **config: Any,
) -> CircuitBreaker:
    """Return a breaker with the configuration that the keywords say."""
    return CircuitBreaker(name, CircuitBreakerConfig(**config), clock=clock, sink=sink, observer=observer)


def boom() -> None:
    """Fail as the service does."""
    raise BoomError("service down")


def raising(error: BaseException) -> Callable[[], None]:
    """Return a function that raises `error`."""

    def fail_so() -> None:
        raise error

    return fail_so


def succeed(breaker: CircuitBreaker, times: int = 1) -> None:
    """Let calls through that succeed."""
    for _ in range(times):
        assert breaker.call(lambda: "ok") == "ok"


def fail(breaker: CircuitBreaker, times: int = 1) -> None:
    """Let calls through that fail."""
    for _ in range(times):
        with pytest.raises(BoomError):
            breaker.call(boom)


def neutral(breaker: CircuitBreaker, times: int = 1) -> None:
    """Let calls through that end without a verdict."""
    for _ in range(times):
        breaker.acquire().release()


def refused(breaker: CircuitBreaker) -> CircuitOpenError:
    """Make a call that must be refused, see that it did not run, and return the refusal."""
    ran: list[bool] = []
    with pytest.raises(CircuitOpenError) as caught:
        breaker.call(ran.append, True)
    assert ran == []
    return caught.value


def open_breaker(clock: FakeClock, sink: Callable[[Event], object] | None = None, **config: Any) -> CircuitBreaker:
    """Return a breaker whose circuit failures have opened just now; it opens at the first one unless told else."""
    breaker = build(clock, sink, **{"failure_threshold": 1, "timeout_duration": 10.0} | config)
    for _ in range(breaker.config.failure_threshold):
        breaker.acquire().fail()
    assert breaker.state is CircuitState.OPEN
    return breaker


def due_breaker(clock: FakeClock, sink: Callable[[Event], object] | None = None, **config: Any) -> CircuitBreaker:
    """Return an open breaker whose next call is admitted as a test call."""
    breaker = open_breaker(clock, sink, **config)
    clock.advance(breaker.retry_after or 0.0)
    assert breaker.state is CircuitState.OPEN
    return breaker


def half_open_breaker(clock: FakeClock, sink: Callable[[Event], object] | None = None, **config: Any) -> CircuitBreaker:
    """Return a half-open breaker that has counted nothing yet and whose places are all free."""
    breaker = due_breaker(clock, sink, **config)
    neutral(breaker)
    assert breaker.state is CircuitState.HALF_OPEN
    return breaker


def outcome_when_closed(act: Callable[[CircuitBreaker], object], **config: Any) -> str:
    """Return what a closed breaker counts `act` as; exceptions that `act` lets through are dropped."""
    breaker = build(FakeClock(), failure_threshold=100, **config)
    breaker.acquire().fail()
    _swallow(act, breaker)
    return {0: "success", 1: "neutral", 2: "failure"}[breaker.status().failure_count]


def outcome_when_half_open(act: Callable[[CircuitBreaker], object], **config: Any) -> str:
    """Return what a half-open breaker counts `act` as, and see that `act` keeps no place."""
    clock = FakeClock()
    breaker = build(clock, failure_threshold=1, success_threshold=100, timeout_duration=10.0, **config)
    breaker.acquire().fail()
    clock.advance(breaker.retry_after or 0.0)
    breaker.acquire().release()
    assert breaker.state is CircuitState.HALF_OPEN
    _swallow(act, breaker)
    status = breaker.status()
    if status.state is CircuitState.OPEN:
        return "failure"
    assert status.half_open_calls == 0
    return {0: "neutral", 1: "success"}[status.success_count]


def _swallow(act: Callable[[CircuitBreaker], object], breaker: CircuitBreaker) -> None:
    try:
        act(breaker)
    except BaseException:  # noqa: BLE001 - what comes out is no matter here, what is counted is
        return


JUDGES = [
    pytest.param(outcome_when_closed, id="closed"),
    pytest.param(outcome_when_half_open, id="half-open"),
]
"""Both ways to see what an outcome was."""


def in_thread(act: Callable[..., Any], *args: Any) -> Any:
    """Run `act` in a thread of its own, wait for its end, and return or raise what it did."""
    box: dict[str, Any] = {}

    def run() -> None:
        try:
            box["result"] = act(*args)
        except BaseException as error:  # noqa: BLE001 - raised again for the test
            box["error"] = error

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(SAFETY)
    assert not thread.is_alive(), "the thread hangs"
    if "error" in box:
        raise box["error"]
    return box["result"]


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the package has logged as errors: each message with the text of its exception."""
    return [
        f"{record.getMessage()}: {record.exc_info[1] if record.exc_info else None!r}"
        for record in caplog.records
        if record.name == "swarmguard" and record.levelname == "ERROR"
    ]
