"""The values that an overseer shows: health, and snapshots of an agent, of the swarm's health, of the whole swarm."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

import attrs

from swarmguard._breaker.values import BreakerStatus
from swarmguard._common.fields import wrong_type
from swarmguard.events import JSON


class AgentHealth(StrEnum):
    """How well an agent is. Ordered by severity: `max` of several is the worst.

    The values are what the wire and the logs show; a plain text of the same value compares like the member.
    """

    HEALTHY = "Healthy"
    """No failures since the last success."""
    DEGRADED = "Degraded"
    """One or two failures."""
    UNHEALTHY = "Unhealthy"
    """Three to five failures."""
    DEAD = "Dead"
    """Six failures or more, no heartbeat for the timeout, or crashed."""

    def __lt__(self, other: str) -> bool:
        return _severity(self) < _severity(other)

    def __le__(self, other: str) -> bool:
        return _severity(self) <= _severity(other)

    def __gt__(self, other: str) -> bool:
        return _severity(self) > _severity(other)

    def __ge__(self, other: str) -> bool:
        return _severity(self) >= _severity(other)


_SEVERITY: Final[dict[str, int]] = {health: severity for severity, health in enumerate(AgentHealth)}


def _severity(health: str) -> int:
    severity = _SEVERITY.get(health)
    if severity is None:
        wrong_type("what an AgentHealth is compared with", "an AgentHealth", health)
    return severity


@attrs.frozen(kw_only=True)
class AgentStatus:
    """An agent at one instant.

    Attributes:
        agent_type: What kind of agent it is.
        agent_id: Its id.
        health: How well it is.
        seconds_since_heartbeat: The age of its last sign of life; resuming the swarm, and a watcher that was late
            itself, count as one. On the wire, whole seconds.
        consecutive_failures: The failures since the last success, restart or reset, or since heartbeats cleared them.
        restart_count: The restarts that count against its budget.
        started_at: When it was registered: aware, in UTC.
        error_message: The last error that was recorded; None if there was none since the last restart.
        is_stale: Whether it has been found without a heartbeat for the timeout, and has not beaten since.
    """

    agent_type: str
    agent_id: UUID
    health: AgentHealth
    seconds_since_heartbeat: float
    consecutive_failures: int
    restart_count: int
    started_at: datetime
    error_message: str | None
    is_stale: bool

    def to_dict(self) -> dict[str, JSON]:
        """Return the status as a dict that `json.dumps` takes: ids as text, `started_at` as RFC 3339."""
        return {
            "agent_type": self.agent_type,
            "agent_id": str(self.agent_id),
            "health": self.health.value,
            "seconds_since_heartbeat": int(round(self.seconds_since_heartbeat, 9)),
            "consecutive_failures": self.consecutive_failures,
            "restart_count": self.restart_count,
            "started_at": self.started_at.isoformat(),
            "error_message": self.error_message,
            "is_stale": self.is_stale,
        }


@attrs.frozen(kw_only=True)
class SwarmHealth:
    """How many agents are how well, at one instant.

    Attributes:
        total_agents: All the agents that are registered.
        healthy_agents: Those that are Healthy.
        degraded_agents: Those that are Degraded.
        unhealthy_agents: Those that are Unhealthy.
        dead_agents: Those that are Dead.
        overall_health: The worst agent's; Healthy when there is none.
        is_paused: Whether the swarm is paused.
    """

    total_agents: int
    healthy_agents: int
    degraded_agents: int
    unhealthy_agents: int
    dead_agents: int
    overall_health: AgentHealth
    is_paused: bool

    def to_dict(self) -> dict[str, JSON]:
        """Return the health as a dict that `json.dumps` takes."""
        return {
            "total_agents": self.total_agents,
            "healthy_agents": self.healthy_agents,
            "degraded_agents": self.degraded_agents,
            "unhealthy_agents": self.unhealthy_agents,
            "dead_agents": self.dead_agents,
            "overall_health": self.overall_health.value,
            "is_paused": self.is_paused,
        }


@attrs.frozen(kw_only=True)
class SwarmStatus:
    """The whole swarm.

    Attributes:
        health: How many agents are how well; of the same instant as `agents`.
        agents: Every agent, in the order of registration.
        circuit_breakers: Every circuit of the overseer's registry, read right after; empty without a registry.
    """

    health: SwarmHealth
    agents: tuple[AgentStatus, ...]
    circuit_breakers: tuple[BreakerStatus, ...]

    def to_dict(self) -> dict[str, JSON]:
        """Return the status as a dict that `json.dumps` takes."""
        return {
            "health": self.health.to_dict(),
            "agents": [agent.to_dict() for agent in self.agents],
            "circuit_breakers": [breaker.to_dict() for breaker in self.circuit_breakers],
        }
