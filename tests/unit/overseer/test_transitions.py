"""The table of all changes of an agent's health."""

from __future__ import annotations

import itertools

import pytest

from swarmguard import AgentHealth
from swarmguard._overseer.machine import TRANSITIONS, Cause, HealthEvent, IllegalTransitionError, event_for

EVERY_MOVE = [
    (cause, before, after, news)
    for cause, moves in TRANSITIONS.items()
    for before, followers in moves.items()
    for after, news in followers.items()
]


def test_table_is_whole():
    """Every cause may come in every health, and something follows from it."""
    assert set(TRANSITIONS) == set(Cause)
    for cause, before in itertools.product(Cause, AgentHealth):
        assert TRANSITIONS[cause][before]


@pytest.mark.parametrize(("cause", "before", "after", "news"), EVERY_MOVE)
def test_what_is_announced(cause, before, after, news):
    """Worsening and returning to Healthy are announced, nothing else; and a restart always is. [O5]"""
    assert event_for(cause, before, after) is news
    if after > before:
        assert news is not None
        assert news.topic == "agent.failed"
        assert news.reason in ("failures", "heartbeat_timeout", "crashed")
    elif after is AgentHealth.HEALTHY and (after < before or cause is Cause.RESTART):
        assert news is not None
        assert news.topic == "agent.recovered"
        assert news.reason in ("success", "heartbeat", "restart")
    else:
        assert news is None


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
def test_illegal_moves_raise(cause, before, after):
    """A move that does not stand in the table raises and says which one it was."""
    with pytest.raises(IllegalTransitionError, match=f"illegal transition: {cause} from {before} to {after}"):
        event_for(cause, before, after)


def test_news_is_a_pair():
    """What is announced is a topic without the prefix and a reason."""
    assert TRANSITIONS[Cause.CRASH][AgentHealth.HEALTHY][AgentHealth.DEAD] == HealthEvent("agent.failed", "crashed")
