"""The values that an overseer returns."""

from __future__ import annotations

import itertools
import json
import pickle
from datetime import UTC, datetime
from uuid import UUID

import attrs
import pytest

from swarmguard import AgentHealth, AgentStatus, CircuitBreaker, SwarmHealth, SwarmStatus

ORDER = [AgentHealth.HEALTHY, AgentHealth.DEGRADED, AgentHealth.UNHEALTHY, AgentHealth.DEAD]

STATUS = AgentStatus(
    agent_type="Scanner",
    agent_id=UUID(int=7),
    health=AgentHealth.DEGRADED,
    seconds_since_heartbeat=12.9,
    consecutive_failures=2,
    restart_count=1,
    started_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    error_message="boom",
    is_stale=False,
)
HEALTH = SwarmHealth(
    total_agents=1,
    healthy_agents=0,
    degraded_agents=1,
    unhealthy_agents=0,
    dead_agents=0,
    overall_health=AgentHealth.DEGRADED,
    is_paused=True,
)
HEALTH_ON_THE_WIRE = {
    "total_agents": 1,
    "healthy_agents": 0,
    "degraded_agents": 1,
    "unhealthy_agents": 0,
    "dead_agents": 0,
    "overall_health": "Degraded",
    "is_paused": True,
}


def test_health_is_text():
    """`AgentHealth` is a `StrEnum` with the values of the wire. [O2]"""
    assert [str(health) for health in ORDER] == ["Healthy", "Degraded", "Unhealthy", "Dead"]
    assert list(AgentHealth) == ORDER
    assert json.dumps(AgentHealth.DEAD) == '"Dead"'
    assert pickle.loads(pickle.dumps(AgentHealth.DEAD)) is AgentHealth.DEAD


@pytest.mark.parametrize(("left", "right"), list(itertools.product(ORDER, repeat=2)))
def test_health_is_ordered_by_severity(left, right):
    """Comparisons are by severity, not by the alphabet, also with the values as plain strings. [O2]"""
    i, j = ORDER.index(left), ORDER.index(right)
    for other in (right, str(right.value)):
        assert (left < other) is (i < j)
        assert (left <= other) is (i <= j)
        assert (left > other) is (i > j)
        assert (left >= other) is (i >= j)
        assert (other < left) is (j < i)
        assert (left == other) is (i == j)


def test_worst_and_sorting():
    """`max` returns the worst health, and sorting goes from Healthy to Dead. [O2]"""
    assert max(ORDER) is AgentHealth.DEAD
    assert min(ORDER) is AgentHealth.HEALTHY
    assert sorted([ORDER[2], ORDER[0], ORDER[3], ORDER[1]]) == ORDER


def test_health_does_not_compare_with_anything_else():
    """A string that is not a health cannot be ordered. [O2]"""
    with pytest.raises(TypeError, match="must be an AgentHealth or one of its values, got 'Zombie'"):
        assert AgentHealth.DEAD < "Zombie"


def test_agent_on_the_wire():
    """The dict of an agent has whole seconds, ids as text and dates as RFC 3339. [O10]"""
    wire = {
        "agent_type": "Scanner",
        "agent_id": "00000000-0000-0000-0000-000000000007",
        "health": "Degraded",
        "seconds_since_heartbeat": 12,
        "consecutive_failures": 2,
        "restart_count": 1,
        "started_at": "2026-01-02T03:04:05+00:00",
        "error_message": "boom",
        "is_stale": False,
    }
    assert STATUS.to_dict() == wire
    assert json.loads(json.dumps(STATUS.to_dict())) == wire
    assert type(STATUS.to_dict()["health"]) is str


def test_whole_seconds_on_the_wire():
    """Seconds are rounded down, but not by an error of a float's last bit. [O10]"""
    assert attrs.evolve(STATUS, seconds_since_heartbeat=1.1 * 3 - 0.3).to_dict()["seconds_since_heartbeat"] == 3
    assert attrs.evolve(STATUS, seconds_since_heartbeat=29.99999999999).to_dict()["seconds_since_heartbeat"] == 30
    assert attrs.evolve(STATUS, seconds_since_heartbeat=29.999999).to_dict()["seconds_since_heartbeat"] == 29


def test_health_on_the_wire():
    """The dict of the swarm's health has the fields of the wire. [O10]"""
    assert HEALTH.to_dict() == HEALTH_ON_THE_WIRE
    assert json.loads(json.dumps(HEALTH.to_dict())) == HEALTH_ON_THE_WIRE


def test_swarm_on_the_wire():
    """The dict of the swarm has its health, its agents and its circuit breakers. [O10]"""
    status = SwarmStatus(health=HEALTH, agents=(STATUS,), circuit_breakers=(CircuitBreaker("jupiter").status(),))
    wire = json.loads(json.dumps(status.to_dict()))
    assert set(wire) == {"health", "agents", "circuit_breakers"}
    assert wire["health"] == HEALTH_ON_THE_WIRE
    assert wire["agents"] == [STATUS.to_dict()]
    assert wire["circuit_breakers"][0]["name"] == "jupiter"
    assert wire["circuit_breakers"][0]["state"] == "Closed"


@pytest.mark.parametrize("value", [STATUS, HEALTH])
def test_values_are_frozen(value):
    """The values can be compared and pickled, but not changed. [O10]"""
    assert pickle.loads(pickle.dumps(value)) == value
    with pytest.raises(AttributeError):
        value.total_agents = 3
