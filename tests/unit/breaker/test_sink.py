"""The sink of a breaker: when it gets the events, and what its errors and delays do to calls."""

from __future__ import annotations

import threading

import pytest

from swarmguard import BreakerMode, CircuitState
from tests.breaker_tools import SAFETY, BoomError, boom, build, due_breaker, fail, in_thread, logged, raising, succeed


class SinkError(Exception):
    """An error of the sink."""


def broken(_):
    """Raise, as a sink with a bug."""
    raise SinkError("bug in the sink")


def test_a_sink_is_called_after_the_state_has_changed(clock):
    """When the sink gets an event, the breaker is in the new state already [C4]."""
    seen = []

    def sink(event):
        seen.append((event.payload["state"], str(breaker.state), str(breaker.status().state)))

    breaker = build(clock, sink, failure_threshold=1, success_threshold=1, timeout_duration=10)
    fail(breaker)
    clock.advance(10)
    breaker.call(lambda: None)
    assert seen == [("Open",) * 3, ("HalfOpen",) * 3, ("Closed",) * 3]


def test_events_are_delivered_before_the_call_returns(clock, events):
    """An event is delivered before the call that caused it returns [C6]."""
    breaker = due_breaker(clock, events, success_threshold=1)
    permit = breaker.acquire()
    assert events.topics[-1].endswith("half_opened")
    permit.succeed()
    assert events.topics[-1].endswith("closed")


def test_a_sink_that_raises_changes_no_outcome(clock, caplog):
    """A sink that raises hides neither exception nor result of the call; topic and error are logged [C4]."""
    breaker = build(clock, broken, failure_threshold=1, success_threshold=1, timeout_duration=10)
    error = BoomError()
    with pytest.raises(BoomError) as caught:
        breaker.call(raising(error))
    assert caught.value is error
    assert error.__cause__ is error.__context__ is None
    assert breaker.state is CircuitState.OPEN
    clock.advance(10)
    assert breaker.call(lambda: "ok") == "ok"
    assert breaker.state is CircuitState.CLOSED
    lines = logged(caplog)
    assert len(lines) == 3
    for line, topic in zip(lines, ("opened", "half_opened", "closed"), strict=True):
        assert f"arb.swarm.circuit.{topic}" in line
        assert "bug in the sink" in line


def test_a_sink_that_raises_disturbs_no_operator(clock, caplog):
    """A sink that raises disturbs neither `trip` nor `set_mode` nor `reset` [C4]."""
    breaker = build(clock, broken)
    breaker.trip()
    breaker.set_mode(BreakerMode.SHADOW)
    breaker.reset()
    assert (breaker.state, breaker.mode) == (CircuitState.CLOSED, BreakerMode.SHADOW)
    assert len(logged(caplog)) == 3


def test_a_sink_may_use_the_breaker(clock):
    """A sink may use the breaker in every way, since no lock is held [C4]."""
    seen = []

    def sink(event):
        if event.sequence > 1:
            return
        seen.extend([breaker.state, breaker.retry_after, breaker.status().state, in_thread(breaker.status).state])
        breaker.reset()
        seen.append(breaker.call(lambda: "ok"))
        with breaker:
            seen.append("block")

    breaker = build(clock, sink, failure_threshold=1)
    fail(breaker)
    assert seen == [CircuitState.OPEN, 30.0, CircuitState.OPEN, CircuitState.OPEN, "ok", "block"]
    assert breaker.state is CircuitState.CLOSED


def test_a_hanging_sink_delays_no_other_thread(clock):
    """While a sink hangs in one thread, other threads go on; their events are delivered later, in order [C4] [C6]."""
    delivered, hanging, go = [], threading.Event(), threading.Event()

    def sink(event):
        delivered.append(event.sequence)
        if event.sequence == 1:
            hanging.set()
            go.wait(SAFETY)

    breaker = build(clock, sink, failure_threshold=1)
    thread = threading.Thread(target=breaker.trip, daemon=True)
    thread.start()
    assert hanging.wait(SAFETY)
    in_thread(breaker.reset)
    assert in_thread(breaker.call, lambda: "ok") == "ok"
    in_thread(breaker.trip)
    assert (delivered, breaker.state) == ([1], CircuitState.OPEN)
    go.set()
    thread.join(SAFETY)
    assert delivered == [1, 2, 3]


def test_the_return_value_of_a_sink_is_ignored(clock):
    """The return value of a sink is ignored [C4]."""
    breaker = build(clock, lambda _: object(), failure_threshold=1)
    with pytest.raises(BoomError):
        breaker.call(boom)
    succeed_after_reset(breaker)


def succeed_after_reset(breaker):
    """Reset the breaker, and make a call that succeeds."""
    breaker.reset()
    succeed(breaker)


def test_a_sink_may_be_any_callable(clock):
    """A sink may be any callable, such as a bound method [C4]."""
    kept = []
    build(clock, kept.append).trip()
    assert [event.topic for event in kept] == ["arb.swarm.circuit.opened"]
