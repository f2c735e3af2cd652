"""The table of all changes of an agent's health."""

from __future__ import annotations

import itertools

import pytest

from swarmguard import AgentHealth
from swarmguard._overseer.machine import TRANSITIONS, Cause, HealthEvent, IllegalTransitionError, event_for

EVERY_MOVE = [
    (cause, before, after, event)
    for cause, moves in TRANSITIONS.items()
    for before, followers in moves.items()
    for after, event in followers.items()
]


def test_table_is_complete():
    """The table has every cause and every health, with at least one change each."""
    assert set(TRANSITIONS) == set(Cause)
    for cause, before in itertools.product(Cause, AgentHealth):
        assert TRANSITIONS[cause][before]


@pytest.mark.parametrize(("cause", "before", "after", "event"), EVERY_MOVE)
def test_events_of_changes(cause, before, after, event):
    """Each worsening, each return to Healthy and each restart has an event; no other change has one. [O5]"""
    assert event_for(cause, before, after) is event
    if after > before:
        assert event is not None
        assert event.topic == "agent.failed"
        assert event.reason in ("failures", "heartbeat_timeout", "crashed")
    elif after is AgentHealth.HEALTHY and (after < before or cause is Cause.RESTART):
        assert event is not None
        assert event.topic == "agent.recovered"
        assert event.reason in ("success", "heartbeat", "restart")
    else:
        assert event is None


@pytest.mark.parametrize(
    ("cause", "before", "after"),
    [
        (Cause.FAILURE, AgentHealth.HEALTHY, AgentHealth.HEALTHY),
        (Cause.FAILURE, AgentHealth.DEGRADED, AgentHealth.HEALTHY),
        (Cause.HEARTBEAT, AgentHealth.HEALTHY, AgentHealth.DEGRADED),
        (Cause.RESTART, AgentHealth.DEAD, AgentHealth.DEAD),
        (Cause.CRASH, AgentHealth.DEAD, AgentHealth.HEALTHY),
    ],
)
def test_illegal_transitions_raise(cause, before, after):
    """A change that is not in the table raises an error that names it."""
    with pytest.raises(IllegalTransitionError, match=f"illegal transition: {cause} from {before} to {after}"):
        event_for(cause, before, after)


def test_event_has_topic_and_reason():
    """An event is a topic without the prefix, and a reason."""
    assert TRANSITIONS[Cause.CRASH][AgentHealth.HEALTHY][AgentHealth.DEAD] == HealthEvent("agent.failed", "crashed")
