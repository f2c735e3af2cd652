"""The restart budget of an agent: how many restarts count, when the next is due, when the count expires.

The count expires when the agent has been steady (neither Dead nor restarted) for `restart_reset_secs`. No timer does
that. `used` takes it into account, and `expire` stores it before the count or the agent's health changes, so that a
check need not walk over the agents.

Invariants, whenever no method is running:

- `restart_count` is 0 or more. The restarts that count now are `used`, which is 0 once the count has expired.
- The count of a Dead agent does not expire: its `steady_since` is set when it is Dead no longer.
- `exhausted` is True only if `agent.exhausted` was emitted since the budget was last refilled.

Every method requires the lock of the core.
"""

from __future__ import annotations

import math
from typing import Final

from swarmguard._common.deadlines import reached
from swarmguard._overseer.agent import Agent
from swarmguard._overseer.config import OverseerConfig
from swarmguard._overseer.values import AgentHealth

LONGEST_COOLDOWN: Final = 1e9
"""The seconds, about 30 years, to which a growing cooldown is limited: a clock cannot sleep for an infinite time."""


class RestartBudget:
    """The restarts that each agent may have.

    Args:
        config: The maximum, the cooldown and the reset time.
    """

    __slots__ = ("_config",)

    def __init__(self, config: OverseerConfig) -> None:
        self._config = config

    def used(self, agent: Agent, now: float) -> int:
        """Return the number of restarts that count against the budget now."""
        return 0 if self._has_expired(agent, now) else agent.restart_count

    def is_exhausted(self, agent: Agent) -> bool:
        """Return whether a Dead agent has no restart left."""
        return agent.restart_count >= self._config.max_restart_attempts

    def due_at(self, agent: Agent) -> float:
        """Return the moment at which a Dead agent's cooldown ends: `-inf` before the first restart."""
        config = self._config
        if agent.restart_count == 0 or config.restart_cooldown_secs == 0:
            return -math.inf
        base, factor = config.restart_cooldown_secs, config.restart_backoff_multiplier
        try:
            cooldown = base * factor ** (agent.restart_count - 1)
        except OverflowError:
            cooldown = math.inf
        return agent.attempt_ended + min(cooldown, max(base, LONGEST_COOLDOWN))

    def use(self, agent: Agent, now: float) -> None:
        """Count a restart. The steady time starts again."""
        self.expire(agent, now)
        agent.restart_count += 1
        agent.steady_since = now

    def give_back(self, agent: Agent, now: float) -> None:
        """Take the last restart back, as if it had not been counted."""
        self.expire(agent, now)
        agent.restart_count = max(0, agent.restart_count - 1)

    def expire(self, agent: Agent, now: float) -> None:
        """Set the count to zero if it has expired. Call this before the count or the agent's health changes."""
        if self._has_expired(agent, now):
            self.refill(agent)

    def refill(self, agent: Agent) -> None:
        """Give the agent its whole budget again."""
        agent.restart_count = 0
        agent.exhausted = False

    def _has_expired(self, agent: Agent, now: float) -> bool:
        reset_secs = self._config.restart_reset_secs
        if reset_secs is None or agent.health is AgentHealth.DEAD:
            return False
        return reached(now, agent.steady_since + reset_secs)
