"""The values that the overseer's readings return, built from its records."""

from __future__ import annotations

from collections.abc import Mapping

from swarmguard._overseer.agent import Agent
from swarmguard._overseer.values import AgentHealth, AgentStatus, SwarmHealth


def agent_status(agent: Agent, *, seconds_since_heartbeat: float, restart_count: int) -> AgentStatus:
    """Return the status of an agent."""
    return AgentStatus(
        agent_type=agent.agent_type,
        agent_id=agent.agent_id,
        health=agent.health,
        seconds_since_heartbeat=seconds_since_heartbeat,
        consecutive_failures=agent.failures,
        restart_count=restart_count,
        started_at=agent.started_at,
        error_message=agent.error_message,
        is_stale=agent.stale,
    )


def swarm_health(counts: Mapping[AgentHealth, int], *, is_paused: bool) -> SwarmHealth:
    """Return the health of a swarm with so many agents of each health."""
    return SwarmHealth(
        total_agents=sum(counts.values()),
        healthy_agents=counts[AgentHealth.HEALTHY],
        degraded_agents=counts[AgentHealth.DEGRADED],
        unhealthy_agents=counts[AgentHealth.UNHEALTHY],
        dead_agents=counts[AgentHealth.DEAD],
        overall_health=max((health for health, count in counts.items() if count), default=AgentHealth.HEALTHY),
        is_paused=is_paused,
    )
