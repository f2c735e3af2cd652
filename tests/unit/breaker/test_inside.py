"""What finalizers and signal handlers find that strike while their own thread is inside the breaker's monitor.

`tests/threads` strikes at every line; here the same is done plainly, one case at a time.
"""

from __future__ import annotations

import pytest

from swarmguard import BreakerMode, CircuitBreaker, CircuitBreakerConfig, CircuitOpenError, CircuitState


def inside(breaker, act):
    """Do something as a finalizer does that strikes while its thread is inside."""
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
    """A closed circuit admits a call from inside, and the observer hears of it later, outside every lock. [B9] [B20]"""
    records = []
    breaker = CircuitBreaker("api", clock=clock, observer=records.append)

    def act():
        answer = breaker.call(lambda: "answer")
        assert not records
        return answer

    assert inside(breaker, act) == "answer"
    breaker.call(int)
    assert [record.outcome for record in records] == ["success", "success"]


def test_nothing_is_changed_from_inside(clock):
    """An open circuit whose time is up, and a half-open one, admit no test call from inside. [B9] [B2]"""
    breaker = CircuitBreaker("api", clock=clock)
    breaker.trip()
    clock.advance(30)
    assert inside(breaker, lambda: reason_of_refusal(breaker)) == "open"
    assert breaker.state is CircuitState.OPEN
    breaker.acquire().release()
    assert inside(breaker, lambda: reason_of_refusal(breaker)) == "half_open"


def test_modes_hold_inside(clock):
    """A mode admits or refuses calls from inside as any others. [B16]"""
    breaker = CircuitBreaker("api", clock=clock)
    breaker.set_mode(BreakerMode.ISOLATED)
    assert inside(breaker, lambda: reason_of_refusal(breaker)) == "isolated"
    breaker.set_mode(BreakerMode.DISABLED)
    assert inside(breaker, breaker.acquire).succeed()


@pytest.mark.parametrize("jitter", [0.0, 0.5])
def test_failure_inside_counts(clock, jitter):
    """A failure from inside counts when the holder has finished, with and without an opening's terms. [B1] [B18]"""
    breaker = CircuitBreaker("api", CircuitBreakerConfig(failure_threshold=1, jitter=jitter), clock=clock)

    def act():
        with pytest.raises(ConnectionError):
            breaker.call(fails)
        return breaker.status().state

    assert inside(breaker, act) is CircuitState.CLOSED
    assert breaker.state is CircuitState.OPEN
    assert 30 <= breaker.retry_after <= 45


def test_command_inside_is_done_later(clock):
    """What is commanded from inside is done when the holder has finished. [B16]"""
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
def test_block_that_is_overtaken(clock, change, reason):
    """A block whose circuit moves between its loading and its entry is refused as the circuit refuses. [B14] [B2]"""
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


def test_exit_without_any_entry(clock):
    """An exit that finds no entry at all does nothing, on either lane. [B14]"""
    breaker = CircuitBreaker("api", CircuitBreakerConfig(failure_threshold=1), clock=clock)
    breaker.trip()
    breaker.__exit__(ConnectionError, ConnectionError(), None)
    type(breaker).__exit__(breaker, ConnectionError, ConnectionError(), None)
    assert breaker.status().openings == 1


@pytest.mark.parametrize("act", ["admit", "settle"])
def test_a_change_that_is_broken_off_leaves_the_circuit_whole(clock, monkeypatch, act):
    """Where memory runs out between the circuit's move and its event, readings agree, and the breaker goes on.

    [B8] [B9]
    """
    breaker = CircuitBreaker("api", CircuitBreakerConfig(failure_threshold=1, success_threshold=1), clock=clock)
    if act == "admit":
        breaker.trip(0)

    def run_out(change):
        raise MemoryError

    monkeypatch.setattr(type(breaker._core), "_locked_announce", lambda core, change: run_out(change))
    with pytest.raises(MemoryError):
        breaker.acquire().fail()
    monkeypatch.undo()
    assert (
        breaker.state is breaker.status().state is {"admit": CircuitState.HALF_OPEN, "settle": CircuitState.OPEN}[act]
    )
    clock.advance(30)
    assert breaker.call(lambda: "answer") == "answer"
    assert breaker.state is CircuitState.CLOSED
