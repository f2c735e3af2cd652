"""When each agent last gave a sign of life, and which agents are silent.

The agents that are not stale stand in a queue, ordered by their last sign of life. A check therefore looks at the front
of the queue only, until it meets an agent that is not silent, and a heartbeat moves one agent to the end. One queue is
enough because all agents have the same timeout.

A sign of life of all agents at once (the swarm is resumed, the watcher was late) moves none of them. It raises the
floor, a moment that counts as a sign of life of every agent in the queue.

Invariants, whenever no method is running:

- An agent is in `_queue` if and only if it is not `stale`. (An agent that is not registered is stale.)
- `_queue` is ordered by `last_beat`, since `now` never goes back: the machine clamps it.
- `_floor` never goes back either. It does not apply to stale agents, whose `last_beat` is exact.

All methods take constant time. Every method requires the lock of the core.
"""

from __future__ import annotations

import math
from collections import OrderedDict

from swarmguard._common.deadlines import reached
from swarmguard._overseer.agent import Agent


class Freshness:
    """The last sign of life of each agent.

    Args:
        timeout: The seconds without a sign of life after which an agent is silent.
    """

    __slots__ = ("_floor", "_queue", "_timeout")

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._queue: OrderedDict[Agent, None] = OrderedDict()
        self._floor = -math.inf

    def refresh(self, agent: Agent, now: float) -> None:
        """Record a sign of life of an agent. It is no longer stale."""
        agent.last_beat = now
        if agent.stale:
            agent.stale = False
            self._queue[agent] = None
        else:
            self._queue.move_to_end(agent)

    def refresh_all(self, now: float) -> None:
        """Record a sign of life of every agent that is not stale."""
        self._floor = now

    def drop(self, agent: Agent) -> None:
        """Make an agent stale, if it is not: it is silent, or it is being unregistered."""
        if not agent.stale:
            agent.last_beat = self.last_beat(agent)
            agent.stale = True
            del self._queue[agent]

    def last_beat(self, agent: Agent) -> float:
        """Return the moment of an agent's last sign of life."""
        return agent.last_beat if agent.stale else max(agent.last_beat, self._floor)

    def is_silent(self, agent: Agent, now: float) -> bool:
        """Return whether the timeout has passed since an agent's last sign of life."""
        return reached(now, self.last_beat(agent) + self._timeout)

    def first_silent(self, now: float) -> Agent | None:
        """Return the agent in the queue that has been silent for longest; None if none is silent."""
        agent = next(iter(self._queue), None)
        return agent if agent is not None and self.is_silent(agent, now) else None
