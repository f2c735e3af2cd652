"""The actions of an operator, `reset`, `trip` and `set_mode`, and the events of a breaker."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from swarmguard import BreakerMode, CircuitBreaker, CircuitBreakerConfig, CircuitState, CountWindow, FailureRate
from tests.breaker_tools import (
    BoomError,
    boom,
    build,
    due_breaker,
    fail,
    half_open_breaker,
    neutral,
    open_breaker,
    refused,
    succeed,
)

OTHER_MODES = [mode for mode in BreakerMode if mode is not BreakerMode.NORMAL]
MAKERS = [build, open_breaker, due_breaker, half_open_breaker]


def last(events):
    """Return the last event's topic without the prefix, and its payload."""
    event = events.events[-1]
    return event.topic.removeprefix("arb.swarm.circuit."), dict(event.payload)


# reset


@pytest.mark.parametrize("make", MAKERS)
def test_reset_closes_the_circuit(clock, make):
    """`reset` closes the circuit in any state, and calls are admitted [B16]."""
    breaker = make(clock)
    breaker.reset()
    status = breaker.status()
    assert (status.state, status.retry_after) == (CircuitState.CLOSED, 0.0)
    assert (status.failure_count, status.success_count, status.half_open_calls, status.openings) == (0, 0, 0, 0)
    succeed(breaker, 10)


@pytest.mark.parametrize("make", [open_breaker, due_breaker, half_open_breaker])
def test_reset_emits_an_event(clock, events, make):
    """`reset` emits `circuit.closed` with the reason `reset` if the circuit was not closed [B16]."""
    breaker = make(clock, events)
    previous = str(breaker.state)
    events.clear()
    breaker.reset()
    assert len(events.events) == 1
    topic, payload = last(events)
    assert topic == "closed"
    assert (payload["name"], payload["state"], payload["previous_state"]) == ("api", "Closed", previous)
    assert payload["reason"] == "reset"


def test_reset_of_a_closed_circuit_clears_the_counts(clock, events):
    """`reset` of a closed circuit clears its counts and emits nothing [B16] [B5]."""
    breaker = build(clock, events)
    fail(breaker, 4)
    breaker.reset()
    breaker.reset()
    assert events.topics == []
    fail(breaker, 4)
    assert breaker.state is CircuitState.CLOSED
    fail(breaker)
    assert breaker.state is CircuitState.OPEN


def test_reset_clears_a_window(clock):
    """`reset` empties the window of a failure rate [B16]."""
    breaker = build(clock, trip=FailureRate(window=CountWindow(4)))
    succeed(breaker, 2)
    fail(breaker)
    breaker.reset()
    assert breaker.status().failure_count == 0
    fail(breaker)
    succeed(breaker, 2)
    assert breaker.state is CircuitState.CLOSED


def test_reset_clears_the_backoff(clock):
    """After `reset` the next opening counts as the first [B16] [B18]."""
    breaker = open_breaker(clock, backoff_multiplier=2)
    for _ in range(3):
        clock.advance(breaker.retry_after)
        fail(breaker)
    assert breaker.retry_after == 80.0
    breaker.reset()
    fail(breaker)
    assert (breaker.retry_after, breaker.status().openings) == (10.0, 1)


def test_reset_frees_the_slots(clock):
    """Probes that are in flight at a `reset` hold no slot of the next half-open period [B16] [B5]."""
    breaker = due_breaker(clock, half_open_max_calls=2)
    hung = [breaker.acquire(), breaker.acquire()]
    breaker.reset()
    fail(breaker)
    clock.advance(10)
    others = [breaker.acquire(), breaker.acquire()]
    assert breaker.status().half_open_calls == len(others) == len(hung)


@pytest.mark.parametrize("mode", OTHER_MODES)
def test_reset_keeps_the_mode(clock, mode):
    """`reset` keeps the mode [B16]."""
    breaker = open_breaker(clock)
    breaker.set_mode(mode)
    breaker.reset()
    assert (breaker.mode, breaker.state) == (mode, CircuitState.CLOSED)
    if mode is BreakerMode.ISOLATED:
        assert refused(breaker).reason == "isolated"


# trip


@pytest.mark.parametrize("make", MAKERS)
def test_trip_opens_the_circuit(clock, make):
    """`trip` opens the circuit at once, in any state [B16]."""
    breaker = make(clock, timeout_duration=10)
    clock.advance(3)
    breaker.trip()
    assert (breaker.state, breaker.retry_after) == (CircuitState.OPEN, 10.0)
    clock.advance(10 - 1e-9)
    refused(breaker)
    clock.advance(1e-9)
    succeed(breaker)
    assert breaker.state is CircuitState.HALF_OPEN


@pytest.mark.parametrize("duration", [5, 5.0, timedelta(seconds=5)], ids=["int", "float", "timedelta"])
@pytest.mark.parametrize("make", MAKERS)
def test_trip_opens_for_the_given_time(clock, make, duration):
    """`trip(duration)` opens the circuit for exactly that time, shorter or longer than the configured one [B16]."""
    breaker = make(
        clock, timeout_duration=10, jitter=1.0, random=lambda: 0.5, backoff_multiplier=3, max_timeout_duration=20
    )
    breaker.trip(duration)
    assert breaker.retry_after == 5.0
    breaker.trip(3600)
    assert breaker.retry_after == 3600.0


@pytest.mark.parametrize(
    ("value", "error"),
    [(-1, ValueError), (float("nan"), ValueError), (float("inf"), ValueError), ("5", TypeError), (True, TypeError)],
)
def test_trip_for_an_invalid_time_raises(clock, value, error):
    """`trip` with an invalid duration raises an error with the argument and the value, and changes nothing [B16]."""
    breaker = build(clock)
    with pytest.raises(error, match="duration") as caught:
        breaker.trip(value)
    assert repr(value) in str(caught.value)
    assert breaker.state is CircuitState.CLOSED


@pytest.mark.parametrize("make", MAKERS)
def test_trip_emits_an_event(clock, events, make):
    """`trip` emits `circuit.opened` with the reason `tripped`, even if the circuit was open [B16]."""
    breaker = make(clock, events)
    previous = str(breaker.state)
    openings = breaker.status().openings
    events.clear()
    breaker.trip(7)
    assert len(events.events) == 1
    topic, payload = last(events)
    assert topic == "opened"
    assert (payload["state"], payload["previous_state"], payload["reason"]) == ("Open", previous, "tripped")
    assert (payload["open_seconds"], payload["openings"]) == (7.0, openings + 1)


def test_trip_counts_as_an_opening(clock):
    """`trip` counts as an opening for the back-off, and lasts as long as one [B16] [B18]."""
    breaker = build(clock, failure_threshold=1, timeout_duration=10, backoff_multiplier=2)
    breaker.trip()
    assert (breaker.retry_after, breaker.status().openings) == (10.0, 1)
    breaker.trip()
    assert (breaker.retry_after, breaker.status().openings) == (20.0, 2)
    breaker.trip(1)
    assert (breaker.retry_after, breaker.status().openings) == (1.0, 3)
    clock.advance(1)
    fail(breaker)
    assert (breaker.retry_after, breaker.status().openings) == (80.0, 4)


def test_trip_restarts_the_open_time(clock):
    """`trip` of an open circuit starts its open time again [B16]."""
    breaker = open_breaker(clock)
    clock.advance(9)
    breaker.trip()
    assert breaker.retry_after == 10.0
    clock.advance(9)
    refused(breaker)
    clock.advance(1)
    succeed(breaker)


def test_trip_ends_the_half_open_period(clock):
    """`trip` of a half-open circuit ends the period, so its probes no longer count [B16] [B5]."""
    breaker = due_breaker(clock, success_threshold=1, half_open_max_calls=1)
    permit = breaker.acquire()
    breaker.trip()
    permit.succeed()
    assert (breaker.state, breaker.retry_after) == (CircuitState.OPEN, 10.0)
    clock.advance(10)
    succeed(breaker)
    assert breaker.state is CircuitState.CLOSED


# set_mode


@pytest.mark.parametrize("make", MAKERS)
def test_an_isolated_breaker_refuses_every_call(clock, make):
    """An isolated breaker refuses every call, however much time passes [B16] [T20]."""
    breaker = make(clock)
    breaker.set_mode(BreakerMode.ISOLATED)
    for _ in range(3):
        error = refused(breaker)
        assert (error.reason, error.retry_after) == ("isolated", None)
        clock.advance(365 * 86_400)
    assert breaker.retry_after is None


def test_isolation_keeps_the_state(clock):
    """After isolation the circuit is in the same state, and its open time has passed on [B16]."""
    breaker = open_breaker(clock)
    breaker.set_mode(BreakerMode.ISOLATED)
    clock.advance(4)
    breaker.set_mode(BreakerMode.NORMAL)
    assert (breaker.state, breaker.retry_after) == (CircuitState.OPEN, 6.0)
    breaker.set_mode(BreakerMode.ISOLATED)
    clock.advance(6)
    refused(breaker)
    assert breaker.state is CircuitState.OPEN
    breaker.set_mode(BreakerMode.NORMAL)
    succeed(breaker)
    assert breaker.state is CircuitState.HALF_OPEN


def test_no_outcome_ends_isolation(clock):
    """Calls that were admitted before isolation still count, but no outcome ends the isolation [B16]."""
    breaker = due_breaker(clock, success_threshold=1)
    permit = breaker.acquire()
    breaker.set_mode(BreakerMode.ISOLATED)
    permit.succeed()
    assert breaker.state is CircuitState.CLOSED
    assert refused(breaker).reason == "isolated"
    breaker.set_mode(BreakerMode.NORMAL)
    succeed(breaker)


@pytest.mark.parametrize("make", MAKERS)
def test_a_disabled_breaker_admits_every_call_and_records_none(clock, events, make):
    """A disabled breaker runs every call and counts none, in any state [B16]."""
    breaker = make(clock, events, half_open_max_calls=1, success_threshold=1)
    breaker.set_mode(BreakerMode.DISABLED)
    before, emitted = breaker.status(), len(events.events)
    permits = [breaker.acquire() for _ in range(10)]
    fail(breaker, 10)
    succeed(breaker, 10)
    neutral(breaker, 10)
    for permit in permits[:5]:
        permit.fail()
    for permit in permits[5:]:
        permit.succeed()
    assert breaker.status() == before
    assert len(events.events) == emitted
    assert breaker.retry_after == 0.0


def test_a_call_admitted_while_disabled_is_never_recorded(clock):
    """A call that was admitted while disabled is not recorded when it ends in normal mode either [B16]."""
    breaker = build(clock, failure_threshold=1)
    breaker.set_mode(BreakerMode.DISABLED)
    permit = breaker.acquire()
    breaker.set_mode(BreakerMode.NORMAL)
    assert permit.fail() is True
    assert breaker.status().failure_count == 0
    assert breaker.state is CircuitState.CLOSED


@pytest.mark.parametrize("end", ["succeed", "fail", "release"])
def test_a_probe_that_ends_while_disabled_frees_its_slot(clock, end):
    """A probe that ends while the breaker is disabled is not recorded, but frees its slot [B16]."""
    breaker = due_breaker(clock, half_open_max_calls=1, success_threshold=1)
    permit = breaker.acquire()
    breaker.set_mode(BreakerMode.DISABLED)
    getattr(permit, end)()
    breaker.set_mode(BreakerMode.NORMAL)
    status = breaker.status()
    assert (status.state, status.success_count, status.half_open_calls) == (CircuitState.HALF_OPEN, 0, 0)
    succeed(breaker)
    assert breaker.state is CircuitState.CLOSED


def test_a_disabled_breaker_keeps_its_state(clock):
    """The open circuit of a disabled breaker is open again when the mode is lifted [B16]."""
    breaker = open_breaker(clock)
    breaker.set_mode(BreakerMode.DISABLED)
    succeed(breaker, 5)
    clock.advance(4)
    breaker.set_mode(BreakerMode.NORMAL)
    assert (breaker.state, breaker.retry_after) == (CircuitState.OPEN, 6.0)
    refused(breaker)


def test_trip_works_while_disabled(clock):
    """`trip` opens the circuit of a disabled breaker, which goes on admitting calls [B16]."""
    breaker = build(clock)
    breaker.set_mode(BreakerMode.DISABLED)
    breaker.trip()
    assert breaker.state is CircuitState.OPEN
    succeed(breaker)
    breaker.set_mode(BreakerMode.NORMAL)
    refused(breaker)


def test_shadow_admits_every_call(clock):
    """A breaker in shadow mode runs every call, in every state and without a free slot [B16]."""
    breaker = build(clock, failure_threshold=1, half_open_max_calls=1)
    breaker.set_mode(BreakerMode.SHADOW)
    fail(breaker)
    assert breaker.state is CircuitState.OPEN
    succeed(breaker, 5)
    clock.advance(30)
    permits = [breaker.acquire() for _ in range(5)]
    assert breaker.state is CircuitState.HALF_OPEN
    assert breaker.status().half_open_calls == 1
    assert len(permits) == 5


def test_shadow_makes_the_same_changes_and_events(clock, events):
    """A breaker in shadow mode makes the changes and emits the events of an enforcing one [B16]."""
    emitted = []
    for mode in (BreakerMode.NORMAL, BreakerMode.SHADOW):
        breaker = build(clock, events, failure_threshold=2, success_threshold=2, timeout_duration=10)
        breaker.set_mode(mode)
        events.clear()
        fail(breaker, 2)
        clock.advance(10)
        fail(breaker)
        clock.advance(10)
        succeed(breaker, 2)
        assert breaker.state is CircuitState.CLOSED
        emitted.append([(event.topic, dict(event.payload)) for event in events.events])
    assert emitted[0] == emitted[1]
    assert len(emitted[0]) == 5


def test_shadow_records_no_call_that_it_would_refuse(clock, events):
    """A call that an enforcing breaker would refuse runs, and is not recorded [B16]."""
    breaker = open_breaker(clock, events, half_open_max_calls=1, success_threshold=3)
    breaker.set_mode(BreakerMode.SHADOW)
    clock.advance(4)
    before, emitted = breaker.status(), len(events.events)
    fail(breaker, 5)
    succeed(breaker, 5)
    assert breaker.status() == before
    assert len(events.events) == emitted
    clock.advance(6)
    permit = breaker.acquire()
    before = breaker.status()
    fail(breaker, 5)
    succeed(breaker, 5)
    assert breaker.status() == before
    permit.succeed()
    assert breaker.status().success_count == 1


def test_an_unrecorded_call_of_shadow_stays_unrecorded(clock):
    """An unrecorded call stays unrecorded when the mode is lifted, or the state changes, before it ends [B16]."""
    breaker = open_breaker(clock, success_threshold=1)
    breaker.set_mode(BreakerMode.SHADOW)
    permits = [breaker.acquire() for _ in range(4)]
    breaker.set_mode(BreakerMode.NORMAL)
    permits.pop().succeed()
    clock.advance(10)
    neutral(breaker)
    permits.pop().fail()
    permits.pop().succeed()
    status = breaker.status()
    assert (status.state, status.success_count) == (CircuitState.HALF_OPEN, 0)
    succeed(breaker)
    permits.pop().fail()
    assert (breaker.state, breaker.status().failure_count) == (CircuitState.CLOSED, 0)


def test_a_circuit_that_opened_in_shadow_refuses_in_normal(clock):
    """A circuit that opened in shadow mode refuses calls as soon as the mode is normal [B16]."""
    breaker = build(clock, failure_threshold=1, timeout_duration=10)
    breaker.set_mode(BreakerMode.SHADOW)
    fail(breaker)
    clock.advance(4)
    breaker.set_mode(BreakerMode.NORMAL)
    assert refused(breaker).retry_after == 6.0


def test_a_recorded_call_of_shadow_counts_later(clock):
    """A call that shadow mode admitted as an enforcing breaker would counts after the mode is lifted [B16]."""
    breaker = build(clock, failure_threshold=1)
    breaker.set_mode(BreakerMode.SHADOW)
    permit = breaker.acquire()
    breaker.set_mode(BreakerMode.NORMAL)
    permit.fail()
    assert breaker.state is CircuitState.OPEN


@pytest.mark.parametrize("mode", OTHER_MODES)
def test_a_mode_change_emits_one_event(clock, events, mode):
    """Setting another mode emits `circuit.mode_changed` with both modes; setting the same one emits nothing [B16]."""
    breaker = build(clock, events)
    breaker.set_mode(BreakerMode.NORMAL)
    assert events.topics == []
    breaker.set_mode(mode)
    breaker.set_mode(mode)
    assert events.topics == ["arb.swarm.circuit.mode_changed"]
    assert last(events)[1] == {"name": "api", "mode": mode.value, "previous_mode": BreakerMode.NORMAL.value}
    assert breaker.mode is mode
    breaker.set_mode(BreakerMode.NORMAL)
    assert last(events)[1] == {"name": "api", "mode": BreakerMode.NORMAL.value, "previous_mode": mode.value}


@pytest.mark.parametrize("value", ["nonsense", None, 1, CircuitState.OPEN])
def test_an_invalid_mode_raises(clock, value):
    """`set_mode` with an invalid mode raises an error, and changes nothing [B16]."""
    breaker = build(clock)
    with pytest.raises((TypeError, ValueError), match="mode"):
        breaker.set_mode(value)
    assert breaker.mode is BreakerMode.NORMAL


def test_there_are_four_modes():
    """The modes are normal, isolated, disabled and shadow [B16]."""
    assert [mode.name for mode in BreakerMode] == ["NORMAL", "ISOLATED", "DISABLED", "SHADOW"]


@pytest.mark.parametrize("mode", OTHER_MODES)
def test_a_mode_change_keeps_the_state(clock, events, mode):
    """Setting and lifting a mode changes nothing else, in any state [B16]."""
    for make in MAKERS:
        breaker = make(clock, events)
        before = breaker.status()
        breaker.set_mode(mode)
        breaker.set_mode(BreakerMode.NORMAL)
        assert breaker.status() == before


# Events


def test_events_are_named_dated_and_numbered(clock, events):
    """Every event carries the breaker's name as source, the time, and a number without gaps, from 1 [B16] [C3]."""
    breaker = build(clock, events, failure_threshold=1, success_threshold=1, timeout_duration=10)
    times = []

    def step(act, *args):
        clock.advance(1)
        act(*args)
        times.append(clock.now())

    step(fail, breaker)
    clock.advance(10)
    step(fail, breaker)  # half-opens and opens again
    step(breaker.reset)
    step(breaker.set_mode, BreakerMode.ISOLATED)
    step(breaker.trip)
    assert [event.sequence for event in events.events] == [1, 2, 3, 4, 5, 6]
    assert [event.at for event in events.events] == [times[0], times[1], *times[1:]]
    assert {event.source for event in events.events} == {"api"}
    kinds = ["opened", "half_opened", "opened", "closed", "mode_changed", "opened"]
    assert events.topics == [f"arb.swarm.circuit.{kind}" for kind in kinds]
    for event in events.events:
        assert json.loads(json.dumps(event.to_dict()))["topic"] == event.topic


def test_topics_begin_with_the_prefix(clock, events):
    """The topics begin with the configured prefix [C3]."""
    breaker = CircuitBreaker("api", CircuitBreakerConfig(), clock=clock, sink=events, topic_prefix="my.app")
    breaker.trip()
    assert events.topics == ["my.app.circuit.opened"]


def test_each_breaker_numbers_its_own_events(clock, events):
    """Each breaker numbers its own events [C3]."""
    for name in ("one", "two"):
        build(clock, events, name=name).trip()
    assert [(event.source, event.sequence) for event in events.events] == [("one", 1), ("two", 1)]


def test_a_sink_may_reset_and_trip(clock):
    """A sink may reset and trip the breaker of the event; the events follow in order [B16] [C4] [C6]."""
    emitted = []

    def sink(event):
        emitted.append((event.sequence, event.topic.rpartition(".")[2]))
        if event.topic.endswith("opened") and event.sequence < 5:
            breaker.reset()
            breaker.trip()

    breaker = build(clock, sink, failure_threshold=1)
    with pytest.raises(BoomError):
        breaker.call(boom)
    assert emitted == [(1, "opened"), (2, "closed"), (3, "opened"), (4, "closed"), (5, "opened")]
    assert breaker.state is CircuitState.OPEN
