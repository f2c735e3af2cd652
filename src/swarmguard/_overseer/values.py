"""The values that an overseer returns: the health and status of an agent and of the swarm."""

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
    """The health of an agent. Ordered by severity, so `max` returns the worst.

    A member is a str. It compares with other members and with their values as plain strings. An order comparison with
    anything else raises `TypeError`.
    """

    HEALTHY = "Healthy"
    """No failures since the last success."""
    DEGRADED = "Degraded"
    """One or two failures."""
    UNHEALTHY = "Unhealthy"
    """Three to five failures."""
    DEAD = "Dead"
    """Six failures or more, or stale (no heartbeat for the timeout), or crashed, or its restart failed."""

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
        wrong_type("the value compared with an AgentHealth", "an AgentHealth or one of its values", health)
    return severity


@attrs.frozen(kw_only=True)
class AgentStatus:
    """The status of an agent at one instant.

    Attributes:
        agent_type: The agent's type, as it was registered.
        agent_id: The agent's id.
        health: The agent's health.
        seconds_since_heartbeat: The seconds since the agent's last sign of life, 0 or more. Registering, a heartbeat, a
            success and a recovery are signs of life. So are, for an agent that is not stale, resuming the swarm and a
            late check of `run`.
        consecutive_failures: The failures since the last success, restart or reset, or since a heartbeat cleared them.
        restart_count: The restarts that count against the restart budget.
        started_at: When the agent was registered: an aware datetime in UTC.
        error_message: The text of the last error. None if there was none since the registration or the last restart.
        is_stale: Whether a check found the agent without a heartbeat for the timeout, and it has sent none since.
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
        """Return the status as a dict for `json.dumps`.

        `agent_id` becomes a string, `started_at` RFC 3339, and `seconds_since_heartbeat` a whole number, rounded down.
        """
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
    """The number of agents by health, at one instant.

    Attributes:
        total_agents: The number of registered agents.
        healthy_agents: The number of Healthy agents.
        degraded_agents: The number of Degraded agents.
        unhealthy_agents: The number of Unhealthy agents.
        dead_agents: The number of Dead agents.
        overall_health: The worst health of any agent; Healthy if there are no agents.
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
        """Return the health as a dict for `json.dumps`."""
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
    """The status of the swarm: its agents and its circuit breakers.

    Attributes:
        health: The number of agents by health, at the same instant as `agents`.
        agents: The status of every agent, in the order of registration.
        circuit_breakers: The status of every breaker of the overseer's registry, read just after the agents. Empty if
            the overseer has no registry.
    """

    health: SwarmHealth
    agents: tuple[AgentStatus, ...]
    circuit_breakers: tuple[BreakerStatus, ...]

    def to_dict(self) -> dict[str, JSON]:
        """Return the status as a dict for `json.dumps`."""
        return {
            "health": self.health.to_dict(),
            "agents": [agent.to_dict() for agent in self.agents],
            "circuit_breakers": [breaker.to_dict() for breaker in self.circuit_breakers],
        }
