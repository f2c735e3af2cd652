"""Events, and the recorder for tests."""

from __future__ import annotations

import copy
import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import attrs
import pytest

from swarmguard.events import Event
from swarmguard.testing import EventRecorder

AT = datetime(2024, 5, 17, 12, 30, 0, 250_000, tzinfo=UTC)
FACTS = {"name": "payments", "open_seconds": 30.0, "openings": 1, "error": None, "tags": ["a", {"b": True}]}


def opened(sequence=1, **payload):
    """Return an event."""
    return Event(
        topic="arb.swarm.circuit.opened", source="payments", at=AT, sequence=sequence, payload=payload or FACTS
    )


def test_an_event_is_frozen():
    """No field of an event can be set. [C3]"""
    event = opened()
    for field in attrs.fields(Event):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(event, field.name, None)


def test_the_payload_is_read_only():
    """The payload is a read-only mapping. [C3]"""
    event = opened()
    assert dict(event.payload) == FACTS
    with pytest.raises(TypeError):
        event.payload["name"] = "other"


def test_the_payload_is_a_copy():
    """Changing the emitter's dict does not change the event. [C3]"""
    facts = {"name": "payments"}
    event = opened(**facts)
    source = Event(topic="t", source="s", at=AT, sequence=1, payload=facts)
    facts["name"] = "other"
    assert source.payload == event.payload == {"name": "payments"}


def test_fields_are_keyword_only():
    """An event is created with keyword arguments only. [C3]"""
    with pytest.raises(TypeError):
        Event("arb.swarm.paused", "overseer", AT, 1, {})


def test_to_dict_returns_json():
    """`to_dict` returns a dict for `json.dumps`, with the date as RFC 3339 text. [C3]"""
    assert json.loads(json.dumps(opened().to_dict())) == {
        "topic": "arb.swarm.circuit.opened",
        "source": "payments",
        "at": "2024-05-17T12:30:00.250000+00:00",
        "sequence": 1,
        "payload": FACTS,
    }


def test_equal_events_have_equal_hashes():
    """Events with equal fields are equal and have equal hashes. [C3]"""
    assert opened() == opened()
    assert opened() != opened(sequence=2)
    assert opened() != opened(name="other")
    assert len({opened(), opened(), opened(sequence=2)}) == 2


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda event: pickle.loads(pickle.dumps(event))])
def test_copying_and_pickling(again):
    """A copied or pickled event is equal, and its payload is read-only. [C3]"""
    event = again(opened())
    assert event == opened()
    with pytest.raises(TypeError):
        event.payload["name"] = "other"


def test_the_recorder_keeps_events():
    """A recorder lists the events and their topics in order. [C4]"""
    recorder = EventRecorder()
    assert (recorder.events, recorder.topics) == ([], [])
    recorder(opened(1))
    recorder(opened(2))
    assert recorder.events == [opened(1), opened(2)]
    assert recorder.topics == ["arb.swarm.circuit.opened"] * 2
    assert repr(recorder) == "<EventRecorder of 2 events>"


def test_clearing_the_recorder():
    """`clear` empties the recorder's list, which stays the same list."""
    recorder = EventRecorder()
    events = recorder.events
    recorder(opened(1))
    recorder.clear()
    assert recorder.topics == []
    recorder(opened(2))
    assert events == recorder.events == [opened(2)]


def test_the_recorder_under_threads():
    """A recorder can be the sink of many threads at once. [C4]"""
    recorder = EventRecorder()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(recorder, [opened(sequence) for sequence in range(1, 801)]))
    assert sorted(event.sequence for event in recorder.events) == list(range(1, 801))
