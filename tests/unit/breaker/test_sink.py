"""The sink of a breaker: what it may do, and what it cannot do to a call."""

from __future__ import annotations

import threading

import pytest

from swarmguard import BreakerMode, CircuitState
from tests.breaker_tools import SAFETY, BoomError, boom, build, due_breaker, fail, in_thread, logged, raising, succeed


class SinkError(Exception):
    """A bug of the sink."""


def broken(_):
    """Be a sink with a bug."""
    raise SinkError("bug in the sink")


def test_sink_hears_after_the_state_is_committed(clock):
    """When the sink is told, the breaker already is in the new state [C4]."""
    seen = []

    def sink(event):
        seen.append((event.payload["state"], str(breaker.state), str(breaker.status().state)))

    breaker = build(clock, sink, failure_threshold=1, success_threshold=1, timeout_duration=10)
    fail(breaker)
    clock.advance(10)
    breaker.call(lambda: None)
    assert seen == [("Open",) * 3, ("HalfOpen",) * 3, ("Closed",) * 3]


def test_sink_hears_before_the_call_returns(clock, events):
    """The event is delivered when the call that caused it comes back [C6]."""
    breaker = due_breaker(clock, events, success_threshold=1)
    permit = breaker.acquire()
    assert events.topics[-1].endswith("half_opened")
    permit.succeed()
    assert events.topics[-1].endswith("closed")


def test_broken_sink_changes_no_outcome(clock, caplog):
    """A sink that raises loses neither the caller's exception nor its result; the log gets topic and error [C4]."""
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


def test_broken_sink_and_the_operator(clock, caplog):
    """A sink that raises disturbs no command either [C4]."""
    breaker = build(clock, broken)
    breaker.trip()
    breaker.set_mode(BreakerMode.SHADOW)
    breaker.reset()
    assert (breaker.state, breaker.mode) == (CircuitState.CLOSED, BreakerMode.SHADOW)
    assert len(logged(caplog)) == 3


def test_sink_may_call_back(clock):
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


def test_hanging_sink_holds_up_nobody_else(clock):
    """While a sink hangs in one thread, others go on; their events reach it later, in order [C4] [C6]."""
    told, hanging, go = [], threading.Event(), threading.Event()

    def sink(event):
        told.append(event.sequence)
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
    assert (told, breaker.state) == ([1], CircuitState.OPEN)
    go.set()
    thread.join(SAFETY)
    assert told == [1, 2, 3]


def test_sink_without_a_return_value_or_with_one(clock):
    """What a sink returns is not looked at [C4]."""
    breaker = build(clock, lambda _: object(), failure_threshold=1)
    with pytest.raises(BoomError):
        breaker.call(boom)
    succeed_after_reset(breaker)


def succeed_after_reset(breaker):
    """Reset the breaker, and let a call through."""
    breaker.reset()
    succeed(breaker)


def test_sink_that_is_any_callable(clock):
    """A bound method, a lambda or any object with a `__call__` is a sink [C4]."""
    kept = []
    build(clock, kept.append).trip()
    assert [event.topic for event in kept] == ["arb.swarm.circuit.opened"]
