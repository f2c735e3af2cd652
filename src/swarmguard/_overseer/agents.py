"""The records of all registered agents.

Invariants, whenever no method is running:

- An agent is in `_by_number` under its own id if and only if `agent.registered`.
- `_by_number` is in the order of registration, and `agent.number` grows with it.
- `_counts[health]` is the number of registered agents with that `health`.
- `_dead` contains the registered agents whose `health` is Dead, and no others.

All methods take constant time; iterating over the Dead depends on their number alone. Every method requires
the lock of the core.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from uuid import UUID

from swarmguard._overseer.agent import Agent
from swarmguard._overseer.values import AgentHealth
from swarmguard.errors import DuplicateAgentError, UnknownAgentError

HEALTHY, DEAD = AgentHealth.HEALTHY, AgentHealth.DEAD


class Agents:
    """Agents by id, in the order of registration, with a count for each health and the set of the Dead."""

    __slots__ = ("_by_number", "_counts", "_dead", "_registrations")

    def __init__(self) -> None:
        self._by_number: dict[int, Agent] = {}  # by `UUID.int`: the hash of a UUID itself is slow
        self._counts = dict.fromkeys(AgentHealth, 0)
        self._dead: set[Agent] = set()
        self._registrations = 0

    def __iter__(self) -> Iterator[Agent]:
        return iter(self._by_number.values())

    @property
    def counts(self) -> Mapping[AgentHealth, int]:
        """The number of agents of each health."""
        return self._counts

    @property
    def dead(self) -> AbstractSet[Agent]:
        """The Dead, in no particular order."""
        return self._dead

    def get(self, agent_id: UUID) -> Agent | None:
        """Return the agent; None if the id is not registered."""
        return self._by_number.get(agent_id.int)

    def find(self, agent_id: UUID) -> Agent:
        """Return the agent.

        Raises:
            UnknownAgentError: The id is not registered.
        """
        agent = self._by_number.get(agent_id.int)
        if agent is None:
            raise UnknownAgentError(agent_id)
        return agent

    def add(self, agent: Agent) -> None:
        """Add an agent, which is Healthy.

        Raises:
            DuplicateAgentError: Its id is registered already.
        """
        if agent.agent_id.int in self._by_number:
            raise DuplicateAgentError(agent.agent_id)
        self._registrations += 1
        agent.number = self._registrations
        agent.registered = True
        self._by_number[agent.agent_id.int] = agent
        self._counts[HEALTHY] += 1

    def remove(self, agent: Agent) -> None:
        """Remove an agent that is registered."""
        agent.registered = False
        del self._by_number[agent.agent_id.int]
        self._dead.discard(agent)
        self._counts[agent.health] -= 1

    def set_health(self, agent: Agent, health: AgentHealth) -> None:
        """Change the health of a registered agent to another one."""
        if health is DEAD:
            self._dead.add(agent)  # first, because memory may run out here
        elif agent.health is DEAD:
            self._dead.remove(agent)
        self._counts[agent.health] -= 1
        self._counts[health] += 1
        agent.health = health
