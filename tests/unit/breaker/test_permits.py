"""Permits: settled once, by hand, by their block, or by the garbage collector."""

from __future__ import annotations

import gc
import weakref

import anyio
import pytest

from swarmguard import CircuitBreaker, CircuitBreakerConfig, CircuitOpenError, CircuitState, Permit
from tests.breaker_tools import (
    BoomError,
    FatalError,
    build,
    due_breaker,
    fail,
    half_open_breaker,
    in_thread,
    open_breaker,
    refused,
    succeed,
)

WAYS = {
    "succeed": lambda permit: permit.succeed(),
    "fail": lambda permit: permit.fail(),
    "fail with": lambda permit: permit.fail(BoomError()),
    "release": lambda permit: permit.release(),
}
ways = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())


def test_acquire_returns_a_permit(clock):
    """`acquire` returns a `Permit` if the call is admitted [B13]."""
    assert isinstance(build(clock).acquire(), Permit)


def test_acquire_raises_a_refusal(clock):
    """`acquire` raises `CircuitOpenError` if the call is refused [B13]."""
    breaker = open_breaker(clock)
    with pytest.raises(CircuitOpenError) as caught:
        breaker.acquire()
    assert (caught.value.reason, caught.value.retry_after) == ("open", 10.0)


def test_succeed_counts_a_success(clock):
    """`succeed` counts a success [B13]."""
    breaker = half_open_breaker(clock)
    assert breaker.acquire().succeed() is True
    assert breaker.status().success_count == 1


def test_fail_counts_a_failure(clock):
    """`fail` counts a failure [B13]."""
    breaker = half_open_breaker(clock)
    assert breaker.acquire().fail() is True
    assert breaker.state is CircuitState.OPEN


def test_release_frees_the_slot(clock):
    """`release` counts nothing, and frees the slot [B13]."""
    breaker = half_open_breaker(clock)
    permit = breaker.acquire()
    assert breaker.status().half_open_calls == 1
    assert permit.release() is True
    status = breaker.status()
    assert (status.state, status.success_count, status.half_open_calls) == (CircuitState.HALF_OPEN, 0, 0)


@pytest.mark.parametrize("second", WAYS.values(), ids=WAYS.keys())
@ways
@pytest.mark.parametrize("make", [build, half_open_breaker])
def test_only_the_first_settling_counts(clock, events, make, way, second):
    """The first settling of a permit returns True; every later one returns False, and changes nothing [B13]."""
    breaker = make(clock, events)
    permit = breaker.acquire()
    assert way(permit) is True
    before, emitted = breaker.status(), len(events.events)
    assert second(permit) is False
    with permit:
        pass
    with pytest.raises(BoomError), permit:
        raise BoomError
    del permit
    assert breaker.status() == before
    assert len(events.events) == emitted


@pytest.mark.parametrize(
    "error",
    [None, ValueError(), KeyboardInterrupt(), FatalError(), CircuitOpenError("x", CircuitState.OPEN, 1, "open")],
)
@pytest.mark.parametrize(
    "config",
    [{}, {"success_exceptions": Exception}, {"ignore_exceptions": Exception}, {"record_exceptions": ()}],
    ids=["default", "success", "ignore", "nothing"],
)
def test_fail_counts_any_exception_as_a_failure(clock, config, error):
    """`fail` counts a failure, whatever the exception and the configuration [B13]."""
    breaker = build(clock, **config)
    assert breaker.acquire().fail(error) is True
    assert breaker.status().failure_count == 1


def test_fail_passes_its_exception_to_retry_after(clock):
    """`retry_after` gets the exception that was given to `fail` [B13] [B18]."""
    got = []

    def retry_after(error):
        got.append(error)
        return 90.0

    breaker = build(clock, failure_threshold=1, retry_after=retry_after)
    error = ValueError()
    breaker.acquire().fail(error)
    assert got == [error]
    assert breaker.retry_after == 90.0


def test_fail_without_an_exception_opens_for_the_configured_time(clock):
    """`fail()` without an exception opens the circuit for the configured time, whatever `retry_after` does [B13]."""
    breaker = build(clock, failure_threshold=1, retry_after=lambda error: error.retry_after)
    assert breaker.acquire().fail() is True
    assert breaker.retry_after == 30.0


def test_a_normal_exit_is_a_success(clock):
    """Leaving a permit's block normally is a success [B13]."""
    breaker = half_open_breaker(clock)
    with breaker.acquire():
        assert breaker.status().half_open_calls == 1
    status = breaker.status()
    assert (status.success_count, status.half_open_calls) == (1, 0)


def test_a_block_gets_its_permit(clock):
    """The value of a permit's block is the permit [B13]."""
    permit = build(clock).acquire()
    with permit as value:
        assert value is permit


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ValueError(), "failure"),
        (KeyError(), "neutral"),
        (LookupError(), "success"),
        (KeyboardInterrupt(), "neutral"),
        (FatalError(), "neutral"),
        (ExceptionGroup("", [KeyError(), ValueError()]), "failure"),
    ],
    ids=["failure", "ignored", "success", "interrupt", "base", "group"],
)
def test_an_exception_that_leaves_the_block_is_classified(clock, error, outcome):
    """An exception that leaves a permit's block is classified, and passes unchanged [B13] [B6]."""
    breaker = half_open_breaker(
        clock, ignore_exceptions=KeyError, success_exceptions=lambda error: type(error) is LookupError
    )
    with pytest.raises(BaseException) as caught, breaker.acquire():  # noqa: PT011 - whichever it is
        raise error
    assert caught.value is error
    status = breaker.status()
    if outcome == "failure":
        assert status.state is CircuitState.OPEN
    else:
        assert (status.half_open_calls, status.success_count) == (0, int(outcome == "success"))


@ways
def test_a_permit_settled_inside_its_block_stays_settled(clock, way):
    """A permit that was settled in its block stays as it was settled [B13]."""
    breaker = build(clock)
    fail(breaker)
    with breaker.acquire() as permit:
        way(permit)
        before = breaker.status()
    assert breaker.status() == before
    with pytest.raises(BoomError), breaker.acquire() as permit:
        way(permit)
        before = breaker.status()
        raise BoomError
    assert breaker.status() == before


@pytest.mark.anyio
async def test_a_permit_guards_an_async_block(clock):
    """A permit guards an async block as well: success, failure, cancellation [B13]."""
    breaker = half_open_breaker(clock, success_threshold=5)
    async with breaker.acquire() as permit:
        await anyio.lowlevel.checkpoint()
        assert isinstance(permit, Permit)
        assert breaker.status().half_open_calls == 1
    assert breaker.status().success_count == 1
    with anyio.CancelScope() as scope:
        async with breaker.acquire():
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    status = breaker.status()
    assert (status.success_count, status.half_open_calls) == (1, 0)
    with pytest.raises(BoomError):
        async with breaker.acquire():
            await anyio.lowlevel.checkpoint()
            raise BoomError
    assert breaker.state is CircuitState.OPEN


def test_a_dropped_permit_is_released(clock):
    """A permit that is garbage-collected unsettled frees its slot, and counts nothing [B13]."""
    breaker = half_open_breaker(clock, half_open_max_calls=1)
    permit = breaker.acquire()
    refused(breaker)
    del permit
    gc.collect()
    status = breaker.status()
    assert (status.state, status.half_open_calls, status.success_count) == (CircuitState.HALF_OPEN, 0, 0)
    succeed(breaker)


def test_a_dropped_permit_in_a_cycle_is_released(clock):
    """An unsettled permit in a reference cycle is released when the cycle is collected [B13]."""
    breaker = half_open_breaker(clock, half_open_max_calls=1)
    cycle = [breaker.acquire()]
    cycle.append(cycle)
    del cycle
    gc.collect()
    succeed(breaker)


def test_a_permit_dropped_in_another_thread_is_released(clock):
    """A permit that is dropped in another thread is released too [B13]."""
    breaker = half_open_breaker(clock, half_open_max_calls=1)

    def forget():
        permit = breaker.acquire()
        refused(breaker)
        del permit

    in_thread(forget)
    gc.collect()
    assert breaker.status().half_open_calls == 0


def test_a_dropped_permit_leaves_the_consecutive_failures(clock):
    """A dropped permit of a closed circuit leaves the consecutive failures as they are [B13]."""
    breaker = build(clock)
    fail(breaker)
    permit = breaker.acquire()
    del permit
    gc.collect()
    assert breaker.status().failure_count == 1


def test_a_dropped_permit_of_an_earlier_period_frees_no_slot(clock):
    """A dropped permit of an earlier period frees no slot of the current one [B13] [B5]."""
    breaker = due_breaker(clock, half_open_max_calls=1)
    permit = breaker.acquire()
    breaker.trip()
    clock.advance(10)
    holding = breaker.acquire()
    del permit
    gc.collect()
    refused(breaker)
    holding.release()


def test_a_permit_keeps_its_breaker_alive(clock):
    """A permit works even if nothing else refers to its breaker [B13]."""
    permit = CircuitBreaker("api", CircuitBreakerConfig(), clock=clock).acquire()
    gc.collect()
    assert permit.succeed() is True


def test_breakers_and_permits_are_collected(clock):
    """A breaker that nothing refers to is freed, with its settled permits [B13]."""
    breaker = half_open_breaker(clock)
    permit = breaker.acquire()
    permit.release()
    gone = weakref.ref(breaker)
    del breaker, permit
    gc.collect()
    assert gone() is None


def test_a_permit_may_be_settled_in_another_thread(clock):
    """A permit may be settled in another thread than it was acquired in [B13] [B9]."""
    breaker = half_open_breaker(clock)
    permit = in_thread(breaker.acquire)
    assert in_thread(permit.succeed) is True
    assert permit.succeed() is False
    assert breaker.status().success_count == 1


def test_permits_may_be_settled_in_any_order(clock):
    """Permits are settled independently, in any order [B13]."""
    breaker = half_open_breaker(clock, half_open_max_calls=3, success_threshold=2)
    first, second, third = (breaker.acquire() for _ in range(3))
    second.release()
    third.succeed()
    assert (breaker.status().half_open_calls, breaker.status().success_count) == (1, 1)
    first.succeed()
    assert breaker.state is CircuitState.CLOSED


def test_settling_a_permit_late_returns_true(clock):
    """Settling a permit of an earlier period returns True, and changes nothing of the breaker [B13] [B5]."""
    breaker = build(clock)
    permit = breaker.acquire()
    breaker.reset()
    assert permit.fail() is True
    assert permit.fail() is False
    assert breaker.status().failure_count == 0


def test_a_permit_without_init_is_dropped_without_an_error():
    """A permit whose `__init__` was interrupted is garbage-collected without an error [B13]."""
    Permit.__new__(Permit)
    gc.collect()


@pytest.mark.parametrize("configured", [True, False])
def test_a_failing_answer_settles_a_call_before_its_end(clock, configured):
    """A call that goes on after its answer is settled by a failing answer, and by no other [B6].

    `record_result` classifies the answer if it is configured, or else the default does; `retry_after` gets the answer.
    """
    got = []
    breaker = build(
        clock,
        failure_threshold=1,
        record_result=(lambda answer: answer == "bad") if configured else None,
        retry_after=got.append,
    )
    bad, good = "bad", "good"
    open_still, failed = breaker.acquire(), breaker.acquire()
    assert open_still._failed_early(good, default=lambda answer: configured or answer == bad) is False
    assert open_still.release() is True
    assert failed._failed_early(bad, default=lambda answer: not configured and answer == bad) is True
    assert failed.release() is False
    assert got == [bad]
    assert breaker.state is CircuitState.OPEN
