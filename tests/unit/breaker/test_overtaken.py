"""Calls that are overtaken by another thread, and by time, after they have read their clock."""

from __future__ import annotations

import pytest

from swarmguard import BreakerMode, CircuitState, FailureRate, TimeWindow
from tests.breaker_tools import build, fail, refused, succeed
from tests.overtaken import OvertakenClock


@pytest.fixture
def clock():
    """Give a clock whose readers can be overtaken."""
    return OvertakenClock()


def test_what_a_status_has_told_is_not_undone(clock):
    """A call ends no earlier than the moment of a status that has come before it: here, nothing is left to trip on.

    [B8] [B9]
    """
    breaker = build(clock, trip=FailureRate(window=TimeWindow(10), minimum_calls=2))
    fail(breaker)
    permit = breaker.acquire()
    told = []
    clock.others = [lambda: (clock.advance(10), told.append(breaker.status().failure_count))]
    permit.succeed()
    assert told == [0]
    assert breaker.state is CircuitState.CLOSED


def test_whoever_was_told_that_a_call_may_be_admitted_sees_it_admitted(clock):
    """Once `retry_after` has been 0, no call is refused that has read its clock before [B8] [B2]."""
    breaker = build(clock)
    breaker.trip(10)
    told = []
    clock.others = [lambda: (clock.advance(10), told.append(breaker.retry_after))]
    breaker.acquire()
    assert told == [0.0]
    assert breaker.state is CircuitState.HALF_OPEN


def test_a_refusal_speaks_of_the_opening_that_is_there(clock):
    """A call that is overtaken by a new opening is told how long that one lasts, and not the one before [B15] [B9]."""
    breaker = build(clock)
    breaker.trip(10)
    clock.others = [lambda: (clock.advance(5), breaker.trip(20))]
    assert refused(breaker).retry_after == 20.0


@pytest.mark.parametrize("mode", [BreakerMode.NORMAL, BreakerMode.ISOLATED])
def test_a_call_that_was_overtaken_by_a_mode_comes_after_it(clock, mode):
    """Where a mode was lifted after the open time, the call that it overtook is a probe [B16] [B9]."""
    breaker = build(clock)
    breaker.trip(10)
    breaker.set_mode(mode)

    def come_and_go():
        breaker.set_mode(BreakerMode.ISOLATED)
        clock.advance(10)
        breaker.set_mode(BreakerMode.NORMAL)

    clock.others = [come_and_go]
    breaker.acquire()
    assert breaker.state is CircuitState.HALF_OPEN
    succeed(breaker)
