"""Late outcomes: a call that was admitted in an earlier period changes nothing."""

from __future__ import annotations

import pytest

from swarmguard import BreakerMode, CircuitState, CountWindow, FailureRate
from tests.breaker_tools import build, due_breaker, fail, refused, succeed

ENDS = ["succeed", "fail", "release"]
CONFIG = {"failure_threshold": 2, "success_threshold": 2, "timeout_duration": 10.0, "half_open_max_calls": 2}


def trip_open(breaker, _clock):
    """Open the circuit by failures."""
    fail(breaker, 2)


def half_open(breaker, clock):
    """Open the circuit, and let one probe succeed while another holds its slot."""
    trip_open(breaker, clock)
    clock.advance(10)
    held.append(breaker.acquire())
    succeed(breaker)


def open_again(breaker, clock):
    """Open the circuit by a failed probe."""
    half_open(breaker, clock)
    clock.advance(1)
    fail(breaker)
    clock.advance(1)


def half_open_again(breaker, clock):
    """Bring the circuit into its second half-open period."""
    open_again(breaker, clock)
    clock.advance(10)
    held.append(breaker.acquire())


def closed_again(breaker, clock):
    """Close the circuit by successful probes, and fail once."""
    half_open(breaker, clock)
    succeed(breaker)
    fail(breaker)


def reset(breaker, _clock):
    """Start a new period by `reset` while the circuit is closed, and fail once."""
    fail(breaker)
    breaker.reset()
    fail(breaker)


def reset_open(breaker, clock):
    """Close an open circuit by `reset`, and fail once."""
    trip_open(breaker, clock)
    breaker.reset()
    fail(breaker)


def tripped(breaker, clock):
    """Open the circuit by `trip`."""
    breaker.trip()
    clock.advance(3)


def tripped_twice(breaker, clock):
    """Open the circuit by `trip`, and later again."""
    tripped(breaker, clock)
    breaker.trip()
    clock.advance(3)


held: list[object] = []
LATER = [trip_open, half_open, open_again, half_open_again, closed_again, reset, reset_open, tripped, tripped_twice]


@pytest.fixture(autouse=True)
def drop_held():
    """Drop the permits that hold slots after the test."""
    yield
    held.clear()


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("later", LATER, ids=lambda later: later.__name__)
def test_a_call_of_a_closed_period_changes_nothing_later(clock, events, later, end):
    """A call admitted while closed changes nothing of a later period: no state, count, slot, timer or event [B5]."""
    breaker = build(clock, events, **CONFIG)
    late = breaker.acquire()
    later(breaker, clock)
    before, emitted = breaker.status(), len(events.events)
    assert getattr(late, end)() is True
    assert breaker.status() == before
    assert len(events.events) == emitted


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("admitted", [1, 3])
@pytest.mark.parametrize("later", LATER, ids=lambda later: later.__name__)
def test_a_probe_changes_nothing_later(clock, events, later, admitted, end):
    """A probe, within its lease or past it, changes nothing of a later period [B5]."""
    breaker = due_breaker(clock, events, **CONFIG, probe_timeout=admitted)
    late = breaker.acquire()
    clock.advance(2)
    breaker.reset()
    later(breaker, clock)
    before, emitted = breaker.status(), len(events.events)
    assert getattr(late, end)() is True
    assert breaker.status() == before
    assert len(events.events) == emitted


@pytest.mark.parametrize("end", ENDS)
def test_a_late_probe_frees_no_slot_of_the_next_period(clock, end):
    """A probe of the first half-open period frees no slot of the second one, and does not count in it [B5]."""
    breaker = due_breaker(clock, **CONFIG)
    late = breaker.acquire()
    fail(breaker)
    clock.advance(10)
    permits = [breaker.acquire(), breaker.acquire()]
    getattr(late, end)()
    refused(breaker)
    status = breaker.status()
    assert (status.half_open_calls, status.success_count) == (len(permits), 0)


def test_late_failures_do_not_prolong_the_open_time(clock):
    """Failures of calls from before the opening do not prolong the open time [B5]."""
    breaker = build(clock, **CONFIG)
    late = [breaker.acquire() for _ in range(10)]
    fail(breaker, 2)
    for permit in late:
        clock.advance(0.9)
        permit.fail()
    clock.advance(1)
    succeed(breaker)
    assert breaker.state is CircuitState.HALF_OPEN


def test_a_late_success_leaves_the_consecutive_failures(clock):
    """A success of an earlier closed period does not reset the consecutive failures of this one [B5]."""
    breaker = build(clock, **CONFIG)
    late = breaker.acquire()
    breaker.reset()
    fail(breaker)
    late.succeed()
    assert breaker.status().failure_count == 1
    fail(breaker)
    assert breaker.state is CircuitState.OPEN


def test_late_failures_after_a_reset_open_nothing(clock):
    """Failures of calls that were in flight at a `reset` do not open the circuit again [B5]."""
    breaker = build(clock, **CONFIG)
    late = [breaker.acquire() for _ in range(5)]
    fail(breaker, 2)
    breaker.reset()
    for permit in late:
        permit.fail()
    assert (breaker.state, breaker.status().failure_count) == (CircuitState.CLOSED, 0)


def test_late_outcomes_do_not_enter_the_window(clock):
    """Calls of an earlier period do not enter the window of a later one [B5] [B17]."""
    breaker = build(clock, trip=FailureRate(window=CountWindow(4), minimum_calls=2))
    late = [breaker.acquire() for _ in range(4)]
    breaker.reset()
    for permit in late:
        permit.fail()
    assert (breaker.state, breaker.status().failure_count) == (CircuitState.CLOSED, 0)


@pytest.mark.parametrize("mode", [BreakerMode.ISOLATED, BreakerMode.SHADOW])
def test_a_mode_change_starts_no_period(clock, mode):
    """A call that was admitted before a mode was set and lifted still counts [B5] [B16]."""
    breaker = build(clock, **CONFIG)
    fail(breaker)
    permit = breaker.acquire()
    breaker.set_mode(mode)
    breaker.set_mode(BreakerMode.NORMAL)
    permit.fail()
    assert breaker.state is CircuitState.OPEN


def test_a_mode_change_keeps_the_counts(clock):
    """Setting and lifting a mode keeps the counts of the period [B5] [B16]."""
    breaker = build(clock, **CONFIG)
    fail(breaker)
    breaker.set_mode(BreakerMode.DISABLED)
    breaker.set_mode(BreakerMode.NORMAL)
    assert breaker.status().failure_count == 1


@pytest.mark.anyio
async def test_a_late_coroutine_changes_nothing(clock):
    """A coroutine that outlives its period changes nothing when it fails [B5]."""
    import anyio

    breaker = build(clock, **CONFIG)
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            started, go = anyio.Event(), anyio.Event()

            async def slow_failure():
                started.set()
                await go.wait()
                raise ValueError

            async def caller():
                with pytest.raises(ValueError):  # noqa: PT011 - the bare one from above
                    await breaker.execute(slow_failure)

            tasks.start_soon(caller)
            await started.wait()
            breaker.reset()
            fail(breaker)
            go.set()
    assert (breaker.state, breaker.status().failure_count) == (CircuitState.CLOSED, 1)


def test_a_late_block_changes_nothing(clock):
    """A block that outlives its period changes nothing when it fails [B5]."""
    breaker = build(clock, **CONFIG)
    with pytest.raises(ValueError, match="late"), breaker:
        breaker.reset()
        raise ValueError("late")
    assert breaker.status().failure_count == 0


def test_a_late_generator_changes_nothing(clock):
    """A generator that outlives its period changes nothing when it ends [B5]."""
    breaker = build(clock, **CONFIG)

    @breaker
    def numbers():
        yield 1

    iterator = numbers()
    next(iterator)
    breaker.reset()
    fail(breaker)
    assert list(iterator) == []
    assert breaker.status().failure_count == 1
