"""The restarts that an agent may have: how they are counted, when the next is due, and when the count is forgotten.

Nothing happens by itself here. That the count returns to zero after a steady time is found out when somebody asks or
when the count is about to change, so that no one has to walk over the agents.
"""

from __future__ import annotations

import math
from typing import Final

from swarmguard._common.deadlines import reached
from swarmguard._overseer.agent import Agent
from swarmguard._overseer.config import OverseerConfig
from swarmguard._overseer.values import AgentHealth

LONGEST_COOLDOWN: Final = 1e9
"""The seconds, some thirty years, beyond which a growing cooldown grows no more: clocks cannot sleep so long."""


def restart_count(config: OverseerConfig, agent: Agent, now: float) -> int:
    """Return the restarts that count against the agent's budget now."""
    return 0 if _has_expired(config, agent, now) else agent.restart_count


def expire(config: OverseerConfig, agent: Agent, now: float) -> None:
    """Write down that the count has returned to zero, if it has; to be asked before the count or the health changes."""
    if _has_expired(config, agent, now):
        clear(agent)


def clear(agent: Agent) -> None:
    """Give the agent its whole budget again."""
    agent.restart_count = 0
    agent.exhausted = False


def count(config: OverseerConfig, agent: Agent, now: float) -> None:
    """Count a restart; the steady time starts anew."""
    expire(config, agent, now)
    agent.restart_count += 1
    agent.steady_since = now


def is_spent(config: OverseerConfig, agent: Agent) -> bool:
    """Tell whether a Dead agent has no restart left."""
    return agent.restart_count >= config.max_restart_attempts


def due_at(config: OverseerConfig, agent: Agent) -> float:
    """Return the moment at which a Dead agent's cooldown ends; the first restart has none to wait for."""
    if agent.restart_count == 0 or config.restart_cooldown_secs == 0:
        return -math.inf
    base, factor = config.restart_cooldown_secs, config.restart_backoff_multiplier
    try:
        cooldown = base * factor ** (agent.restart_count - 1)
    except OverflowError:
        cooldown = math.inf
    return agent.attempt_ended + min(cooldown, max(base, LONGEST_COOLDOWN))


def _has_expired(config: OverseerConfig, agent: Agent, now: float) -> bool:
    if config.restart_reset_secs is None or agent.health is AgentHealth.DEAD:
        return False
    return reached(now, agent.steady_since + config.restart_reset_secs)
