"""Late results: what a call that was admitted in an earlier period may still do, which is nothing."""

from __future__ import annotations

import pytest

from swarmguard import BreakerMode, CircuitState, CountWindow, FailureRate
from tests.breaker_tools import build, due_breaker, fail, refused, succeed

ENDS = ["succeed", "fail", "release"]
CONFIG = {"failure_threshold": 2, "success_threshold": 2, "timeout_duration": 10.0, "half_open_max_calls": 2}


def stay(_breaker, _clock):
    """Leave the breaker as it is."""


def trip_open(breaker, _clock):
    """Open the circuit by failures."""
    fail(breaker, 2)


def half_open(breaker, clock):
    """Open the circuit, and let one test call succeed while another holds its place."""
    trip_open(breaker, clock)
    clock.advance(10)
    held.append(breaker.acquire())
    succeed(breaker)


def open_again(breaker, clock):
    """Open the circuit by a failed test call."""
    half_open(breaker, clock)
    clock.advance(1)
    fail(breaker)
    clock.advance(1)


def half_open_again(breaker, clock):
    """Bring the circuit into its second trial."""
    open_again(breaker, clock)
    clock.advance(10)
    held.append(breaker.acquire())


def closed_again(breaker, clock):
    """Close the circuit by a trial, and begin a new streak."""
    half_open(breaker, clock)
    succeed(breaker)
    fail(breaker)


def reset(breaker, _clock):
    """Start a new period by hand while the circuit is closed, and begin a new streak."""
    fail(breaker)
    breaker.reset()
    fail(breaker)


def reset_open(breaker, clock):
    """Close an open circuit by hand."""
    trip_open(breaker, clock)
    breaker.reset()
    fail(breaker)


def tripped(breaker, clock):
    """Open the circuit by hand."""
    breaker.trip()
    clock.advance(3)


def tripped_twice(breaker, clock):
    """Open the circuit by hand, and re-arm it later."""
    tripped(breaker, clock)
    breaker.trip()
    clock.advance(3)


held: list[object] = []
LATER = [trip_open, half_open, open_again, half_open_again, closed_again, reset, reset_open, tripped, tripped_twice]


@pytest.fixture(autouse=True)
def drop_held():
    """Forget the permits that hold places when the test is over."""
    yield
    held.clear()


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("later", LATER, ids=lambda move: move.__name__)
def test_call_of_a_closed_period_changes_nothing_later(clock, events, later, end):
    """A call admitted while closed moves nothing of a later period: state, counts, places, timer, events [B5]."""
    breaker = build(clock, events, **CONFIG)
    late = breaker.acquire()
    later(breaker, clock)
    before, told = breaker.status(), len(events.events)
    assert getattr(late, end)() is True
    assert breaker.status() == before
    assert len(events.events) == told


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("admitted", [1, 3])
@pytest.mark.parametrize("later", LATER, ids=lambda move: move.__name__)
def test_test_call_changes_nothing_later(clock, events, later, admitted, end):
    """A test call, be it within its lease or past it, moves nothing of a later period [B5]."""
    breaker = due_breaker(clock, events, **CONFIG, probe_timeout=admitted)
    late = breaker.acquire()
    clock.advance(2)
    breaker.reset()
    later(breaker, clock)
    before, told = breaker.status(), len(events.events)
    assert getattr(late, end)() is True
    assert breaker.status() == before
    assert len(events.events) == told


@pytest.mark.parametrize("end", ENDS)
def test_test_call_of_one_trial_frees_no_place_of_the_next(clock, end):
    """A test call of the first trial frees no place of the second one, and does not count in it [B5]."""
    breaker = due_breaker(clock, **CONFIG)
    late = breaker.acquire()
    fail(breaker)
    clock.advance(10)
    permits = [breaker.acquire(), breaker.acquire()]
    getattr(late, end)()
    refused(breaker)
    status = breaker.status()
    assert (status.half_open_calls, status.success_count) == (len(permits), 0)


def test_late_failures_do_not_hold_the_circuit_open(clock):
    """Failures of calls from before the opening leave the open timer alone [B5]."""
    breaker = build(clock, **CONFIG)
    late = [breaker.acquire() for _ in range(10)]
    fail(breaker, 2)
    for permit in late:
        clock.advance(0.9)
        permit.fail()
    clock.advance(1)
    succeed(breaker)
    assert breaker.state is CircuitState.HALF_OPEN


def test_late_success_does_not_end_a_streak(clock):
    """A success of an earlier closed period does not clear the streak of this one [B5]."""
    breaker = build(clock, **CONFIG)
    late = breaker.acquire()
    breaker.reset()
    fail(breaker)
    late.succeed()
    assert breaker.status().failure_count == 1
    fail(breaker)
    assert breaker.state is CircuitState.OPEN


def test_late_failure_after_a_reset_opens_nothing(clock):
    """Failures of calls in flight at a `reset` do not open the circuit again [B5]."""
    breaker = build(clock, **CONFIG)
    late = [breaker.acquire() for _ in range(5)]
    fail(breaker, 2)
    breaker.reset()
    for permit in late:
        permit.fail()
    assert (breaker.state, breaker.status().failure_count) == (CircuitState.CLOSED, 0)


def test_late_results_stay_out_of_a_window(clock):
    """Calls of an earlier period are not recorded in the window of a later one [B5] [B17]."""
    breaker = build(clock, trip=FailureRate(window=CountWindow(4), minimum_calls=2))
    late = [breaker.acquire() for _ in range(4)]
    breaker.reset()
    for permit in late:
        permit.fail()
    assert (breaker.state, breaker.status().failure_count) == (CircuitState.CLOSED, 0)


@pytest.mark.parametrize("mode", [BreakerMode.ISOLATED, BreakerMode.SHADOW])
def test_mode_change_is_no_new_period(clock, mode):
    """A call admitted before a mode was set and lifted still counts [B5] [B16]."""
    breaker = build(clock, **CONFIG)
    fail(breaker)
    permit = breaker.acquire()
    breaker.set_mode(mode)
    breaker.set_mode(BreakerMode.NORMAL)
    permit.fail()
    assert breaker.state is CircuitState.OPEN


def test_mode_change_keeps_the_streak(clock):
    """Setting and lifting a mode keeps the counts of the period [B5] [B16]."""
    breaker = build(clock, **CONFIG)
    fail(breaker)
    breaker.set_mode(BreakerMode.DISABLED)
    breaker.set_mode(BreakerMode.NORMAL)
    assert breaker.status().failure_count == 1


@pytest.mark.anyio
async def test_late_results_through_the_async_face(clock):
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


def test_late_result_through_a_block(clock):
    """A block that outlives its period changes nothing when it fails [B5]."""
    breaker = build(clock, **CONFIG)
    with pytest.raises(ValueError, match="late"), breaker:
        breaker.reset()
        raise ValueError("late")
    assert breaker.status().failure_count == 0


def test_late_result_through_a_generator(clock):
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


def test_streak_of_calls_over_a_reset(clock):
    """After a `reset` a whole new streak is needed, whatever the old one was [B5] [B16]."""
    breaker = build(clock, failure_threshold=5)
    fail(breaker, 4)
    breaker.reset()
    fail(breaker, 4)
    assert breaker.state is CircuitState.CLOSED
    fail(breaker)
    assert breaker.state is CircuitState.OPEN
