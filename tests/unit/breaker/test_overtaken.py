"""Calls that read the clock before another thread acts, and end or are admitted after it."""

from __future__ import annotations

import pytest

from swarmguard import BreakerMode, CircuitState, FailureRate, TimeWindow
from tests.breaker_tools import build, fail, refused, succeed
from tests.overtaken import OvertakenClock


@pytest.fixture
def clock():
    """Give a clock at whose readings other threads can act."""
    return OvertakenClock()


def test_a_status_is_not_undone_by_an_earlier_reading_of_the_clock(clock):
    """A call ends no earlier than a status that was taken before: here, the failure has left the window.

    [B8] [B9]
    """
    breaker = build(clock, trip=FailureRate(window=TimeWindow(10), minimum_calls=2))
    fail(breaker)
    permit = breaker.acquire()
    readings = []
    clock.others = [lambda: (clock.advance(10), readings.append(breaker.status().failure_count))]
    permit.succeed()
    assert readings == [0]
    assert breaker.state is CircuitState.CLOSED


def test_a_call_is_admitted_after_retry_after_was_zero(clock):
    """After `retry_after` was 0, a call that had read its clock before is admitted [B8] [B2]."""
    breaker = build(clock)
    breaker.trip(10)
    readings = []
    clock.others = [lambda: (clock.advance(10), readings.append(breaker.retry_after))]
    breaker.acquire()
    assert readings == [0.0]
    assert breaker.state is CircuitState.HALF_OPEN


def test_a_refusal_has_the_time_of_the_current_opening(clock):
    """A call that is overtaken by a new opening gets the open time of the new one [B15] [B9]."""
    breaker = build(clock)
    breaker.trip(10)
    clock.others = [lambda: (clock.advance(5), breaker.trip(20))]
    assert refused(breaker).retry_after == 20.0


@pytest.mark.parametrize("mode", [BreakerMode.NORMAL, BreakerMode.ISOLATED])
def test_a_call_overtaken_by_a_mode_change_is_a_probe(clock, mode):
    """If a mode is set, and lifted after the open time, the call that it overtook is a probe [B16] [B9]."""
    breaker = build(clock)
    breaker.trip(10)
    breaker.set_mode(mode)

    def isolate_until_due():
        breaker.set_mode(BreakerMode.ISOLATED)
        clock.advance(10)
        breaker.set_mode(BreakerMode.NORMAL)

    clock.others = [isolate_until_due]
    breaker.acquire()
    assert breaker.state is CircuitState.HALF_OPEN
    succeed(breaker)
