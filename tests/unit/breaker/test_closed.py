"""The closed circuit."""

from __future__ import annotations

import pytest

from swarmguard import CircuitBreaker, CircuitState, ConsecutiveFailures
from tests.breaker_tools import BoomError, boom, build, fail, neutral, raising, refused, succeed


def test_new_circuit_is_closed(clock):
    """A new breaker is closed, and has counted nothing [B1]."""
    status = build(clock).status()
    assert status.state is CircuitState.CLOSED
    assert (status.failure_count, status.success_count, status.half_open_calls, status.openings) == (0, 0, 0, 0)


def test_a_breaker_needs_only_a_name():
    """A breaker needs only a name: by default, the fifth consecutive failure opens the circuit [B1]."""
    breaker = CircuitBreaker("api")
    assert breaker.call(lambda: 1) == 1
    fail(breaker, 4)
    assert breaker.state is CircuitState.CLOSED
    fail(breaker)
    assert breaker.state is CircuitState.OPEN
    refused(breaker)


def test_closed_circuit_passes_arguments_and_results(clock):
    """A closed circuit passes arguments and results unchanged [B1]."""
    result = object()
    breaker = build(clock)
    assert breaker.call(lambda *args, **kwargs: (args, kwargs, result), 1, two=2) == ((1,), {"two": 2}, result)


def test_caller_gets_its_own_exception(clock):
    """The exception of a failing call reaches the caller as the same object, even when it opens the circuit [B1]."""
    breaker = build(clock, failure_threshold=2)
    for _ in range(2):
        error = BoomError()
        with pytest.raises(BoomError) as caught:
            breaker.call(raising(error))
        assert caught.value is error
        assert error.__cause__ is error.__context__ is None
    assert breaker.state is CircuitState.OPEN


@pytest.mark.parametrize("threshold", [1, 2, 5, 100])
def test_the_threshold_opens_the_circuit(clock, threshold):
    """The failure that reaches `failure_threshold` opens the circuit, and no earlier one does [B1]."""
    breaker = build(clock, failure_threshold=threshold)
    fail(breaker, threshold - 1)
    assert breaker.state is CircuitState.CLOSED
    fail(breaker)
    assert breaker.state is CircuitState.OPEN


def test_each_failure_counts_once(clock):
    """Each failure adds one to the consecutive failures [B1]."""
    breaker = build(clock)
    for failures in range(5):
        assert breaker.status().failure_count == failures
        fail(breaker)


def test_a_success_resets_the_consecutive_failures(clock):
    """A success resets the consecutive failures, so failures that are not in a row never open the circuit [B1]."""
    breaker = build(clock, failure_threshold=3)
    for _ in range(5):
        fail(breaker, 2)
        succeed(breaker)
        assert breaker.status().failure_count == 0
    assert breaker.state is CircuitState.CLOSED
    fail(breaker, 3)
    assert breaker.state is CircuitState.OPEN


def test_consecutive_failures_do_not_expire(clock):
    """Consecutive failures count, however much time lies between them [B1]."""
    breaker = build(clock, failure_threshold=2)
    fail(breaker)
    clock.advance(86_400)
    fail(breaker)
    assert breaker.state is CircuitState.OPEN


def test_a_neutral_call_leaves_the_consecutive_failures(clock):
    """A neutral call neither adds to the consecutive failures nor resets them [B1] [B6]."""
    breaker = build(clock, failure_threshold=2)
    fail(breaker)
    neutral(breaker)
    assert breaker.status().failure_count == 1
    fail(breaker)
    assert breaker.state is CircuitState.OPEN


def test_calls_count_in_the_order_of_their_ends(clock):
    """Calls count in the order in which they end, not in which they began [B1]."""
    breaker = build(clock, failure_threshold=2)
    first, second, third = (breaker.acquire() for _ in range(3))
    third.fail()
    first.succeed()
    second.fail()
    assert breaker.state is CircuitState.CLOSED
    assert breaker.status().failure_count == 1


def test_closed_circuit_admits_any_number_of_calls(clock):
    """A closed circuit admits any number of calls at once, and none of them holds a slot [B1]."""
    breaker = build(clock, half_open_max_calls=1)
    permits = [breaker.acquire() for _ in range(50)]
    assert breaker.status().half_open_calls == 0
    assert all(permit.succeed() for permit in permits)


def test_opening_emits_one_event(clock, events):
    """The call that opens the circuit emits one `circuit.opened`, reason `threshold`; no other call emits any [B1]."""
    breaker = build(clock, events, failure_threshold=2, timeout_duration=7)
    succeed(breaker)
    fail(breaker)
    assert events.topics == []
    fail(breaker)
    assert events.topics == ["arb.swarm.circuit.opened"]
    payload = events.events[0].payload
    assert (payload["name"], payload["state"], payload["previous_state"]) == ("api", "Open", "Closed")
    assert (payload["reason"], payload["open_seconds"], payload["openings"]) == ("threshold", 7.0, 1)


def test_the_trip_policy_overrides_failure_threshold(clock):
    """`trip=ConsecutiveFailures(n)` overrides `failure_threshold` [B1]."""
    breaker = build(clock, failure_threshold=5, trip=ConsecutiveFailures(2))
    fail(breaker, 2)
    assert breaker.state is CircuitState.OPEN


def test_breakers_of_one_configuration_count_separately(clock):
    """Two breakers with one configuration count separately [B1]."""
    first, second = build(clock, failure_threshold=1), build(clock, failure_threshold=1)
    fail(first)
    assert (first.state, second.state) == (CircuitState.OPEN, CircuitState.CLOSED)


def test_closed_circuit_runs_every_call(clock):
    """A closed circuit runs every call, also after failures [B1]."""
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
