"""The readings of a breaker: its state, the wait until a call may be admitted, and its status."""

from __future__ import annotations

import json
from enum import StrEnum

import attrs
import pytest

from swarmguard import BreakerMode, BreakerStatus, CircuitBreakerConfig, CircuitState, FailureRate, TimeWindow
from tests.breaker_tools import build, due_breaker, fail, half_open_breaker, open_breaker, refused, succeed


def test_states_are_texts():
    """The states are a `StrEnum` with the documented values [B8]."""
    assert issubclass(CircuitState, StrEnum)
    assert [str(state) for state in CircuitState] == ["Closed", "Open", "HalfOpen"]
    assert (CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN) == ("Closed", "Open", "HalfOpen")


def test_readings_change_nothing(clock, events):
    """An open circuit whose open time has ended reads OPEN until a probe is admitted, however often it is read [B8]."""
    breaker = due_breaker(clock, events)
    emitted = list(events.topics)
    for _ in range(3):
        assert breaker.state is CircuitState.OPEN
        assert breaker.retry_after == 0.0
        assert breaker.status().state is CircuitState.OPEN
    clock.advance(3600)
    assert breaker.state is CircuitState.OPEN
    assert events.topics == emitted
    breaker.acquire().release()
    assert breaker.state is CircuitState.HALF_OPEN


def test_retry_after_is_zero_while_closed(clock):
    """`retry_after` of a closed circuit is 0 [B8]."""
    assert build(clock).retry_after == 0.0


def test_retry_after_is_the_rest_of_the_open_time(clock):
    """While open, `retry_after` is the rest of the open time, and never negative [B8]."""
    breaker = open_breaker(clock, timeout_duration=30)
    for left in (30.0, 20.0, 10.0, 0.0, 0.0):
        assert breaker.retry_after == left
        clock.advance(10)


def test_retry_after_is_the_time_until_a_slot_is_free(clock):
    """In half-open, `retry_after` is 0 while a slot is free, otherwise the time until the first lease ends [B8]."""
    breaker = due_breaker(clock, half_open_max_calls=2, probe_timeout=8)
    permits = [breaker.acquire()]
    assert breaker.retry_after == 0.0
    clock.advance(3)
    permits.append(breaker.acquire())
    assert breaker.retry_after == 5.0
    clock.advance(5)
    assert breaker.retry_after == 0.0
    permits.pop().release()
    assert breaker.retry_after == 0.0


@pytest.mark.parametrize("timeout", [0.1, 1 / 3, 30.0, 12_345.678])
def test_waiting_for_retry_after_is_enough(clock, timeout):
    """A caller that waits for exactly `retry_after` is admitted [B8] [B2]."""
    clock.advance(0.7)
    breaker = open_breaker(clock, timeout_duration=timeout, half_open_max_calls=1, probe_timeout=timeout)
    clock.advance(timeout / 7)
    clock.advance(breaker.retry_after)
    hung = breaker.acquire()
    clock.advance(timeout / 7)
    clock.advance(refused(breaker).retry_after)
    succeed(breaker)
    hung.release()


@pytest.mark.parametrize("make", [build, open_breaker, due_breaker, half_open_breaker])
@pytest.mark.parametrize(
    ("mode", "expected"), [(BreakerMode.ISOLATED, None), (BreakerMode.DISABLED, 0.0), (BreakerMode.SHADOW, 0.0)]
)
def test_retry_after_in_modes(clock, make, mode, expected):
    """`retry_after` is None while isolated, and 0 while disabled or in shadow mode [B8]."""
    breaker = make(clock)
    breaker.set_mode(mode)
    assert breaker.retry_after == breaker.status().retry_after == expected


def test_a_refusal_agrees_with_the_readings(clock):
    """A refusal carries the `state` and the `retry_after` of its moment [B8] [B15]."""
    breaker = open_breaker(clock)
    clock.advance(3.5)
    error = refused(breaker)
    assert (error.state, error.retry_after) == (breaker.state, breaker.retry_after) == (CircuitState.OPEN, 6.5)


def test_the_status_of_a_closed_circuit(clock):
    """The status of a closed circuit has the consecutive failures [B8]."""
    breaker = build(clock)
    fail(breaker, 2)
    status = breaker.status()
    assert isinstance(status, BreakerStatus)
    assert (status.name, status.state, status.mode) == ("api", CircuitState.CLOSED, BreakerMode.NORMAL)
    assert (status.failure_count, status.success_count, status.half_open_calls) == (2, 0, 0)
    assert (status.openings, status.retry_after) == (0, 0.0)


def test_the_status_of_an_open_circuit(clock):
    """The status of an open circuit has the rest of its open time, and how many openings in a row there were [B8]."""
    breaker = open_breaker(clock)
    clock.advance(4)
    status = breaker.status()
    assert (status.state, status.retry_after, status.openings) == (CircuitState.OPEN, 6.0, 1)
    assert (status.success_count, status.half_open_calls) == (0, 0)


def test_the_status_of_a_half_open_circuit(clock):
    """The status of a half-open circuit has its successes and the slots held [B8]."""
    breaker = due_breaker(clock, half_open_max_calls=2)
    succeed(breaker)
    permits = [breaker.acquire(), breaker.acquire()]
    status = breaker.status()
    assert (status.state, status.success_count, status.half_open_calls) == (CircuitState.HALF_OPEN, 1, len(permits))
    assert (status.retry_after, status.openings) == (30.0, 1)


def test_the_status_counts_the_failures_in_the_window(clock):
    """Under a failure rate, `failure_count` is the number of failures that are in the window now [B8] [B17]."""
    breaker = build(clock, trip=FailureRate(window=TimeWindow(10), minimum_calls=100))
    fail(breaker, 3)
    succeed(breaker, 2)
    assert breaker.status().failure_count == 3
    clock.advance(9)
    fail(breaker)
    assert breaker.status().failure_count == 4
    clock.advance(1)
    assert breaker.status().failure_count == 1


def test_a_status_is_a_frozen_value(clock):
    """A status is frozen, and does not change with its breaker [B8]."""
    breaker = build(clock)
    status, same = breaker.status(), breaker.status()
    assert status == same
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        status.state = CircuitState.OPEN
    fail(breaker, 5)
    assert status == same != breaker.status()
    assert status.state is CircuitState.CLOSED


@pytest.mark.parametrize("make", [build, open_breaker, due_breaker, half_open_breaker])
@pytest.mark.parametrize("mode", list(BreakerMode))
def test_a_status_becomes_json(clock, make, mode):
    """`to_dict()` returns plain JSON with the name and the state as a text [B8]."""
    breaker = make(clock)
    breaker.set_mode(mode)
    wire = breaker.status().to_dict()
    assert json.loads(json.dumps(wire)) == wire
    assert (wire["name"], wire["state"]) == ("api", str(breaker.state))
    assert type(wire["state"]) is str


def test_the_status_counts_no_expired_lease(clock):
    """The status of a half-open circuit does not count a slot whose lease has ended [B8] [B4]."""
    breaker = due_breaker(clock, probe_timeout=5)
    hung = breaker.acquire()
    clock.advance(5)
    assert breaker.status().half_open_calls == 0
    hung.release()


def test_attributes_cannot_be_assigned(clock):
    """A breaker has a name, a configuration and a mode, and none of them can be assigned [B8]."""
    config = CircuitBreakerConfig(failure_threshold=7)
    breaker = build(clock, failure_threshold=7, name="an api / ünïcode")
    assert (breaker.name, breaker.config, breaker.mode) == ("an api / ünïcode", config, BreakerMode.NORMAL)
    for attribute in ("name", "config", "mode", "state", "retry_after"):
        with pytest.raises(AttributeError):
            setattr(breaker, attribute, None)


def test_breakers_are_compared_by_identity(clock):
    """Two breakers of one name are not equal, and a breaker can be the key of a dict [B9]."""
    first, second = build(clock), build(clock)
    assert first != second
    assert len({first, second, first}) == 2
