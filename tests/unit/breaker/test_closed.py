"""The closed circuit."""

from __future__ import annotations

import pytest

from swarmguard import CircuitBreaker, CircuitState, ConsecutiveFailures
from tests.breaker_tools import BoomError, boom, build, fail, neutral, raising, refused, succeed


def test_new_circuit_is_closed(clock):
    """A new breaker is closed and has counted nothing [B1]."""
    status = build(clock).status()
    assert status.state is CircuitState.CLOSED
    assert (status.failure_count, status.success_count, status.half_open_calls, status.openings) == (0, 0, 0, 0)


def test_breaker_without_options_guards_calls():
    """A breaker needs nothing but a name; the system's clock and the default configuration serve it [B1]."""
    breaker = CircuitBreaker("api")
    assert breaker.call(lambda: 1) == 1
    fail(breaker, 4)
    assert breaker.state is CircuitState.CLOSED
    fail(breaker)
    assert breaker.state is CircuitState.OPEN
    refused(breaker)


def test_calls_flow_through(clock):
    """A closed circuit passes arguments in and the result out, as they are [B1]."""
    result = object()
    breaker = build(clock)
    assert breaker.call(lambda *args, **kwargs: (args, kwargs, result), 1, two=2) == ((1,), {"two": 2}, result)


def test_caller_gets_its_own_exception(clock):
    """The exception of a failing call arrives as the same object, also out of the call that opens the circuit [B1]."""
    breaker = build(clock, failure_threshold=2)
    for _ in range(2):
        error = BoomError()
        with pytest.raises(BoomError) as caught:
            breaker.call(raising(error))
        assert caught.value is error
        assert error.__cause__ is error.__context__ is None
    assert breaker.state is CircuitState.OPEN


@pytest.mark.parametrize("threshold", [1, 2, 5, 100])
def test_threshold_opens(clock, threshold):
    """The call that brings the streak to `failure_threshold` opens the circuit, and no call before it [B1]."""
    breaker = build(clock, failure_threshold=threshold)
    fail(breaker, threshold - 1)
    assert breaker.state is CircuitState.CLOSED
    fail(breaker)
    assert breaker.state is CircuitState.OPEN


def test_default_threshold_is_five(clock):
    """Without a configuration the fifth failure in a row opens the circuit [B1]."""
    breaker = CircuitBreaker("api", clock=clock)
    fail(breaker, 4)
    assert breaker.state is CircuitState.CLOSED
    fail(breaker)
    assert breaker.state is CircuitState.OPEN


def test_failures_add_one_each(clock):
    """Each failure adds one to the streak [B1]."""
    breaker = build(clock)
    for streak in range(5):
        assert breaker.status().failure_count == streak
        fail(breaker)


def test_success_ends_the_streak(clock):
    """A success sets the streak to zero, so failures that are not in a row never open the circuit [B1]."""
    breaker = build(clock, failure_threshold=3)
    for _ in range(5):
        fail(breaker, 2)
        succeed(breaker)
        assert breaker.status().failure_count == 0
    assert breaker.state is CircuitState.CLOSED
    fail(breaker, 3)
    assert breaker.state is CircuitState.OPEN


def test_streak_does_not_age(clock):
    """The streak counts failures however much time lies between them [B1]."""
    breaker = build(clock, failure_threshold=2)
    fail(breaker)
    clock.advance(86_400)
    fail(breaker)
    assert breaker.state is CircuitState.OPEN


def test_neutral_call_leaves_the_streak(clock):
    """A call without a verdict neither adds to the streak nor ends it [B1] [B6]."""
    breaker = build(clock, failure_threshold=2)
    fail(breaker)
    neutral(breaker)
    assert breaker.status().failure_count == 1
    fail(breaker)
    assert breaker.state is CircuitState.OPEN


def test_streak_follows_the_ends_of_calls(clock):
    """Calls count in the order in which they end, not in that in which they began [B1]."""
    breaker = build(clock, failure_threshold=2)
    first, second, third = (breaker.acquire() for _ in range(3))
    third.fail()
    first.succeed()
    second.fail()
    assert breaker.state is CircuitState.CLOSED
    assert breaker.status().failure_count == 1


def test_closed_circuit_has_no_places(clock):
    """A closed circuit admits any number of calls at once and holds no place for them [B1]."""
    breaker = build(clock, half_open_max_calls=1)
    permits = [breaker.acquire() for _ in range(50)]
    assert breaker.status().half_open_calls == 0
    assert all(permit.succeed() for permit in permits)


def test_opening_is_told(clock, events):
    """The call that opens the circuit emits one `circuit.opened`, reason `threshold`; no other call does [B1]."""
    breaker = build(clock, events, failure_threshold=2, timeout_duration=7)
    succeed(breaker)
    fail(breaker)
    assert events.topics == []
    fail(breaker)
    assert events.topics == ["arb.swarm.circuit.opened"]
    payload = events.events[0].payload
    assert (payload["name"], payload["state"], payload["previous_state"]) == ("api", "Open", "Closed")
    assert (payload["reason"], payload["open_seconds"], payload["openings"]) == ("threshold", 7.0, 1)


def test_trip_policy_wins_over_failure_threshold(clock):
    """`trip=ConsecutiveFailures(n)` decides instead of `failure_threshold` [B1]."""
    breaker = build(clock, failure_threshold=5, trip=ConsecutiveFailures(2))
    fail(breaker, 2)
    assert breaker.state is CircuitState.OPEN


def test_breakers_do_not_share(clock):
    """Two breakers of one configuration count each for itself [B1]."""
    first, second = build(clock, failure_threshold=1), build(clock, failure_threshold=1)
    fail(first)
    assert (first.state, second.state) == (CircuitState.OPEN, CircuitState.CLOSED)


def test_failing_calls_run_each_time(clock):
    """While the circuit is closed every call runs, failing ones too [B1]."""
    ran = []

    def count_and_fail():
        ran.append(1)
        boom()

    breaker = build(clock, failure_threshold=3)
    for _ in range(3):
        with pytest.raises(BoomError):
            breaker.call(count_and_fail)
    refused(breaker)
    assert len(ran) == 3
