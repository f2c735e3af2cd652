"""Calls from finalizers and signal handlers that run while their own thread is inside the breaker's monitor.

`tests/threads` runs them at every line; these tests run one case at a time.
"""

from __future__ import annotations

import pytest

from swarmguard import BreakerMode, CircuitBreaker, CircuitBreakerConfig, CircuitOpenError, CircuitState


def inside(breaker, act):
    """Run `act` while this thread is inside the monitor, as a finalizer may, and return the result."""
    box = []
    breaker._core._monitor.run(lambda: box.append(act()))
    return box[0]


def reason_of_refusal(breaker):
    """Try to acquire a permit, and return why it was refused."""
    with pytest.raises(CircuitOpenError) as refusal:
        breaker.acquire()
    return refusal.value.reason


def fails():
    """Fail as a service does."""
    raise ConnectionError


def test_closed_circuit_admits_from_inside(clock):
    """A closed circuit admits a call from inside, and the observer gets the record later, outside every lock.

    [B9] [B20]
    """
    records = []
    breaker = CircuitBreaker("api", clock=clock, observer=records.append)

    def act():
        answer = breaker.call(lambda: "answer")
        assert not records
        return answer

    assert inside(breaker, act) == "answer"
    breaker.call(int)
    assert [record.outcome for record in records] == ["success", "success"]


def test_no_probe_is_admitted_from_inside(clock):
    """An open circuit that is due, and a half-open one, admit no probe from inside. [B9] [B2]"""
    breaker = CircuitBreaker("api", clock=clock)
    breaker.trip()
    clock.advance(30)
    assert inside(breaker, lambda: reason_of_refusal(breaker)) == "open"
    assert breaker.state is CircuitState.OPEN
    breaker.acquire().release()
    assert inside(breaker, lambda: reason_of_refusal(breaker)) == "half_open"


def test_modes_apply_to_calls_from_inside(clock):
    """A mode admits or refuses calls from inside like any others. [B16]"""
    breaker = CircuitBreaker("api", clock=clock)
    breaker.set_mode(BreakerMode.ISOLATED)
    assert inside(breaker, lambda: reason_of_refusal(breaker)) == "isolated"
    breaker.set_mode(BreakerMode.DISABLED)
    assert inside(breaker, breaker.acquire).succeed()


@pytest.mark.parametrize("jitter", [0.0, 0.5])
def test_a_failure_from_inside_counts_later(clock, jitter):
    """A failure from inside counts when the action in progress has ended, with and without jitter. [B1] [B18]"""
    breaker = CircuitBreaker("api", CircuitBreakerConfig(failure_threshold=1, jitter=jitter), clock=clock)

    def act():
        with pytest.raises(ConnectionError):
            breaker.call(fails)
        return breaker.status().state

    assert inside(breaker, act) is CircuitState.CLOSED
    assert breaker.state is CircuitState.OPEN
    assert 30 <= breaker.retry_after <= 45


def test_a_trip_from_inside_is_done_later(clock):
    """A `trip` from inside is done when the action in progress has ended. [B16]"""
    breaker = CircuitBreaker("api", clock=clock)
    inside(breaker, breaker.trip)
    assert breaker.state is CircuitState.OPEN


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda breaker: breaker.trip(), "open"),
        (lambda breaker: (breaker.trip(0), breaker.acquire().release()), "half_open"),
        (lambda breaker: breaker.set_mode(BreakerMode.ISOLATED), "isolated"),
        (lambda breaker: breaker.set_mode(BreakerMode.DISABLED), None),
        (lambda breaker: breaker.reset(), None),
    ],
    ids=["opened", "half-opened", "isolated", "disabled", "reset"],
)
def test_a_block_is_entered_by_the_current_state(clock, change, reason):
    """A block whose circuit changes after its exit was loaded is admitted or refused by the new state. [B14] [B2]"""
    breaker = CircuitBreaker("api", clock=clock)
    with breaker:
        pass
    loaded = breaker.__exit__
    change(breaker)
    if reason is None:
        breaker.__enter__()
        loaded(ConnectionError, ConnectionError(), None)
    else:
        with pytest.raises(CircuitOpenError) as refusal:
            breaker.__enter__()
        assert refusal.value.reason == reason
    assert (breaker.status().failure_count, breaker.status().half_open_calls) == (0, 0)


def test_an_exit_without_an_entry_does_nothing(clock):
    """An exit that finds no entry does nothing, on either path. [B14]"""
    breaker = CircuitBreaker("api", CircuitBreakerConfig(failure_threshold=1), clock=clock)
    breaker.trip()
    breaker.__exit__(ConnectionError, ConnectionError(), None)
    type(breaker).__exit__(breaker, ConnectionError, ConnectionError(), None)
    assert breaker.status().openings == 1


@pytest.mark.parametrize("act", ["admit", "settle"])
def test_a_memory_error_during_a_change_leaves_the_readings_consistent(clock, monkeypatch, act):
    """After a `MemoryError` between a change and its event, the readings agree, and the breaker goes on [B8] [B9]."""
    breaker = CircuitBreaker("api", CircuitBreakerConfig(failure_threshold=1, success_threshold=1), clock=clock)
    if act == "admit":
        breaker.trip(0)

    def run_out(change):
        raise MemoryError

    monkeypatch.setattr(type(breaker._core), "_locked_complete_change", lambda core, change: run_out(change))
    with pytest.raises(MemoryError):
        breaker.acquire().fail()
    monkeypatch.undo()
    assert (
        breaker.state is breaker.status().state is {"admit": CircuitState.HALF_OPEN, "settle": CircuitState.OPEN}[act]
    )
    clock.advance(30)
    assert breaker.call(lambda: "answer") == "answer"
    assert breaker.state is CircuitState.CLOSED
