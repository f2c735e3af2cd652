"""The open circuit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from swarmguard import CircuitBreaker, CircuitBreakerConfig, CircuitOpenError, CircuitState
from swarmguard.testing import FakeClock
from tests.breaker_tools import BoomError, boom, build, due_breaker, fail, open_breaker, refused, succeed


def test_an_open_circuit_refuses(clock):
    """An open circuit refuses calls without running them [B2]."""
    breaker = open_breaker(clock)
    error = refused(breaker)
    assert (error.name, error.state, error.retry_after, error.reason) == ("api", CircuitState.OPEN, 10.0, "open")


def test_every_sync_face_refuses(clock):
    """Calls, decorated functions, generators, blocks and permits are refused while it is open [B2] [T12]."""
    breaker = open_breaker(clock)
    ran = []

    @breaker
    def function():
        ran.append("function")

    @breaker
    def generator():
        ran.append("generator")
        yield

    def block():
        with breaker:
            ran.append("block")

    def permit():
        with breaker.acquire():
            ran.append("permit")

    for face in (function, lambda: breaker.call(ran.append, "call"), lambda: next(generator()), block, permit):
        with pytest.raises(CircuitOpenError):
            face()
    assert ran == []


@pytest.mark.anyio
async def test_every_async_face_refuses(clock):
    """`execute`, coroutine functions, async generators, blocks and permits are refused while it is open [B2]."""
    breaker = open_breaker(clock)
    ran = []

    async def note(face):
        ran.append(face)

    @breaker
    async def function():
        ran.append("function")

    @breaker
    async def generator():
        ran.append("generator")
        yield

    async def block():
        async with breaker:
            ran.append("block")

    async def permit():
        async with breaker.acquire():
            ran.append("permit")

    async def iterate():
        return [item async for item in generator()]

    for face in (function, lambda: breaker.execute(note, "execute"), iterate, block, permit):
        with pytest.raises(CircuitOpenError):
            await face()
    assert ran == []


@pytest.mark.parametrize("start", [0.0, 0.1, 1000.1, 123_456.789])
@pytest.mark.parametrize("duration", [0.1, 0.3, 10.0, 29.7, 3600.1])
def test_the_open_time_ends_to_the_nanosecond(start, duration):
    """A call is refused a nanosecond before the open time ends, and admitted as a probe when it ends [B2]."""
    clock = FakeClock(start)
    breaker = open_breaker(clock, timeout_duration=duration)
    clock.advance(duration - 1e-9)
    assert refused(breaker).reason == "open"
    clock.advance(1e-9)
    succeed(breaker)
    assert breaker.state is CircuitState.HALF_OPEN


def test_the_open_time_may_pass_in_small_steps(clock):
    """A hundred steps of 0.1 s are exactly ten seconds [B2]."""
    breaker = open_breaker(clock, timeout_duration=10)
    for _ in range(99):
        clock.advance(0.1)
        refused(breaker)
    clock.advance(0.1)
    succeed(breaker)


def test_the_open_time_may_be_a_timedelta(clock):
    """The open time may be given as a `timedelta` [B2]."""
    breaker = open_breaker(clock, timeout_duration=timedelta(minutes=1))
    assert breaker.retry_after == 60.0
    clock.advance(59)
    refused(breaker)
    clock.advance(1)
    succeed(breaker)


def test_the_default_open_time_is_thirty_seconds(clock):
    """Without a configuration the circuit stays open for thirty seconds [B2]."""
    breaker = CircuitBreaker("api", clock=clock)
    fail(breaker, 5)
    assert breaker.retry_after == 30.0


def test_after_an_open_time_of_zero_the_next_call_is_a_probe(clock):
    """With `timeout_duration=0` the very next call is a probe [B2] [T21]."""
    breaker = open_breaker(clock, timeout_duration=0)
    assert (breaker.state, breaker.retry_after) == (CircuitState.OPEN, 0.0)
    succeed(breaker)
    assert breaker.state is CircuitState.HALF_OPEN


def test_refusals_change_nothing(clock):
    """Refused calls are not counted, and do not delay the probe [B2]."""
    breaker = open_breaker(clock)
    clock.advance(4)
    before = breaker.status()
    for _ in range(20):
        refused(breaker)
    assert breaker.status() == before
    clock.advance(6)
    succeed(breaker)


def test_a_late_first_call_is_a_probe(clock):
    """However late the first call after the open time comes, it is a probe [B2] [B3]."""
    breaker = open_breaker(clock, half_open_max_calls=1)
    clock.advance(86_400)
    permit = breaker.acquire()
    assert refused(breaker).reason == "half_open"
    assert permit.succeed()


def test_the_open_time_begins_with_the_opening(clock):
    """The open time begins when the failing call ends, not when it began [B2]."""
    breaker = build(clock, failure_threshold=1, timeout_duration=10)
    permit = breaker.acquire()
    clock.advance(8)
    permit.fail()
    clock.advance(9)
    refused(breaker)
    clock.advance(1)
    succeed(breaker)


def test_half_opening_is_emitted_when_the_probe_is_admitted(clock, events):
    """`circuit.half_opened` is emitted when the probe is admitted, before it runs, not when the open time ends [B2]."""
    breaker = due_breaker(clock, events)
    assert events.topics == ["arb.swarm.circuit.opened"]
    seen = breaker.call(lambda: list(events.topics))
    assert seen == ["arb.swarm.circuit.opened", "arb.swarm.circuit.half_opened"]
    payload = events.events[1].payload
    assert (payload["name"], payload["state"], payload["previous_state"]) == ("api", "HalfOpen", "Open")
    assert payload["reason"] == "probe_admitted"


class JumpingClock(FakeClock):
    """A clock whose wall time can be set while its monotonic time stands still."""

    wall = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        """Return the wall time that was set."""
        return self.wall


@pytest.mark.parametrize("jump", [timedelta(days=-1), timedelta(hours=-1), timedelta(hours=1), timedelta(days=365)])
def test_the_wall_clock_does_not_move_the_open_time(jump):
    """A wall clock that jumps neither ends the open time nor prolongs it [B2] [C1] [T11]."""
    clock = JumpingClock()
    breaker = open_breaker(clock)
    clock.wall += jump
    refused(breaker)
    assert breaker.retry_after == 10.0
    clock.advance(10)
    succeed(breaker)


def test_a_failing_service_gets_one_probe_per_open_time(clock):
    """A service that stays down gets one call per open time [B2] [B3]."""
    breaker = open_breaker(clock)
    ran = []

    def count_and_fail():
        ran.append(clock.monotonic())
        boom()

    for _ in range(35):
        clock.advance(1)
        with pytest.raises((BoomError, CircuitOpenError)):
            breaker.call(count_and_fail)
    assert ran == [10.0, 20.0, 30.0]


def test_a_refused_execute_creates_no_coroutine(clock):
    """A refused `execute` does not call `fn`, so no coroutine is created [B2]."""
    breaker = CircuitBreaker("api", CircuitBreakerConfig(failure_threshold=1), clock=clock)
    fail(breaker)
    made = []
    coroutine = breaker.execute(lambda: made.append(1))
    with pytest.raises(CircuitOpenError):
        coroutine.send(None)
    assert made == []
