"""The agents of an overseer, and the parts that its rules are made of.

*Time.* Threads read the clock before they take the lock, so `now` may come out of order; it is clamped so as never to
go back, not even behind what was only looked at. Beats therefore come in order, and the agents stand in `_fresh` in the
order of their last one: a check looks at the front only, until it meets one that is not silent. A beat of everybody at
once (the swarm is resumed, the watcher was away) moves no agent: it raises the floor, below which no beat counts as
old.

*Health* follows from an agent's readings: a rule changes these and then calls `_move`, which does all that follows,
and is the one place where health is set.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from uuid import UUID

from swarmguard._common.deadlines import reached
from swarmguard._overseer import restarts
from swarmguard._overseer.agent import Agent, ErrorReport, Supervision
from swarmguard._overseer.config import OverseerConfig
from swarmguard._overseer.transitions import Cause, HealthEvent, event_for
from swarmguard._overseer.values import AgentHealth, AgentStatus, SwarmHealth
from swarmguard.errors import DuplicateAgentError, UnknownAgentError
from swarmguard.events import JSON

Emit = Callable[[str, Mapping[str, JSON], float], object]
"""Takes an event's topic (without the prefix), payload and moment."""

HEALTHY, DEAD = AgentHealth.HEALTHY, AgentHealth.DEAD


class Roster:
    """All the agents of one overseer.

    Args:
        config: How they are judged.
        emit: Takes every event, in order, as part of the change that it tells of; None for nobody.
    """

    __slots__ = ("_agents", "_config", "_counts", "_dead", "_emit", "_floor", "_fresh", "_now", "_registered", "paused")

    def __init__(self, config: OverseerConfig, emit: Emit | None = None) -> None:
        self._config = config
        self._emit = emit
        self._agents: dict[int, Agent] = {}  # by the id's number: UUID's own hash is slow
        self._fresh: OrderedDict[Agent, None] = OrderedDict()  # those not stale, the oldest beat first
        self._dead: set[Agent] = set()
        self._counts = dict.fromkeys(AgentHealth, 0)
        self._registered = 0
        self._now = -math.inf
        self._floor = -math.inf
        self.paused: bool = False

    # Readings

    def find(self, agent_id: UUID) -> Agent:
        """Return the agent of that id."""
        agent = self._agents.get(agent_id.int)
        if agent is None:
            raise UnknownAgentError(agent_id)
        return agent

    def status(self, now: float, agent_id: UUID) -> AgentStatus:
        """Return the agent as it is now."""
        return self._status(self.find(agent_id), self._clamp(now))

    def statuses(self, now: float) -> list[AgentStatus]:
        """Return every agent as it is now, in the order of registration."""
        now = self._clamp(now)
        return [self._status(agent, now) for agent in self._agents.values()]

    def health(self) -> SwarmHealth:
        """Return how many agents are how well."""
        counts = self._counts
        return SwarmHealth(
            total_agents=len(self._agents),
            healthy_agents=counts[HEALTHY],
            degraded_agents=counts[AgentHealth.DEGRADED],
            unhealthy_agents=counts[AgentHealth.UNHEALTHY],
            dead_agents=counts[DEAD],
            overall_health=max((health for health, number in counts.items() if number), default=HEALTHY),
            is_paused=self.paused,
        )

    def snapshot(self, now: float) -> tuple[SwarmHealth, tuple[AgentStatus, ...]]:
        """Return health and agents of one instant."""
        return self.health(), tuple(self.statuses(now))

    def _status(self, agent: Agent, now: float) -> AgentStatus:
        return AgentStatus(
            agent_type=agent.agent_type,
            agent_id=agent.agent_id,
            health=agent.health,
            seconds_since_heartbeat=now - self._last_beat(agent),
            consecutive_failures=agent.failures,
            restart_count=restarts.restart_count(self._config, agent, now),
            started_at=agent.started_at,
            error_message=agent.error_message,
            is_stale=agent.stale,
        )

    # Coming and going

    def _add(self, agent: Agent, now: float) -> None:
        if agent.agent_id.int in self._agents:
            raise DuplicateAgentError(agent.agent_id)
        self._registered += 1
        agent.number = self._registered
        agent.registered = True
        agent.last_beat = agent.steady_since = now
        self._agents[agent.agent_id.int] = agent
        self._fresh[agent] = None
        self._counts[HEALTHY] += 1
        self._tell("agent.started", agent, now)

    def _remove(self, agent: Agent, now: float) -> None:
        agent.registered = False
        agent.attempt = None
        del self._agents[agent.agent_id.int]
        self._fresh.pop(agent, None)
        self._dead.discard(agent)
        self._counts[agent.health] -= 1
        self._notify(agent)
        self._tell("agent.stopped", agent, now)

    def _notify(self, agent: Agent) -> None:
        if agent.supervision is not None:
            agent.supervision.notify()

    # Time and freshness

    def _set_paused(self, paused: bool) -> None:
        self.paused = paused

    def _clamp(self, now: float) -> float:
        if now > self._now:
            self._now = now
        return self._now

    def _last_beat(self, agent: Agent) -> float:
        return agent.last_beat if agent.stale else max(agent.last_beat, self._floor)

    def _refresh(self, agent: Agent, now: float) -> None:
        agent.last_beat = now
        if agent.stale:
            agent.stale = False
            self._fresh[agent] = None
        else:
            self._fresh.move_to_end(agent)

    def _is_silent(self, agent: Agent, now: float) -> bool:
        return not self.paused and reached(now, self._last_beat(agent) + self._config.heartbeat_timeout_secs)

    def _fall_silent(self, agent: Agent, now: float) -> None:
        agent.last_beat = self._last_beat(agent)  # a floor that is raised later is for those that are not stale
        agent.stale = True
        del self._fresh[agent]
        self._move(agent, Cause.SILENCE, now)

    # Health

    def _move(self, agent: Agent, cause: Cause, now: float, error: ErrorReport | None = None) -> None:
        """Let the agent's health follow its readings, and tell of it."""
        before, after = agent.health, agent.reading()
        news = event_for(cause, before, after)
        if after is not before:
            if after is DEAD:
                restarts.expire(self._config, agent, now)
                self._dead.add(agent)
            elif before is DEAD:
                self._dead.remove(agent)
                agent.steady_since = now
            self._counts[before] -= 1  # the three at once, and nothing that may fail among them
            self._counts[after] += 1
            agent.health = after
            if after is DEAD and agent.supervision is not None:
                self._end_incarnation(agent, agent.supervision, error)
        if news is not None:
            self._report(news, agent, before, now, error)
        self._tell_if_exhausted(agent, now)

    def _end_incarnation(self, agent: Agent, supervision: Supervision, error: ErrorReport | None) -> None:
        agent.down = True
        agent.incarnation += 1
        supervision.error = error
        supervision.notify()

    # Telling

    def _report(
        self, news: HealthEvent, agent: Agent, before: AgentHealth, now: float, error: ErrorReport | None
    ) -> None:
        facts: dict[str, JSON]
        if news.topic == "agent.recovered":
            facts = {"restart_count": restarts.restart_count(self._config, agent, now)}
        else:
            facts = {
                "health": agent.health.value,
                "previous_health": before.value,
                "error": None if error is None else error.text,
                "consecutive_failures": agent.failures,
            }
        self._tell(news.topic, agent, now, reason=news.reason, **facts)

    def _tell_if_exhausted(self, agent: Agent, now: float) -> None:
        if agent.health is not DEAD or agent.attempt is not None or agent.exhausted:
            return
        if restarts.is_spent(self._config, agent):
            agent.exhausted = True
            self._tell("agent.exhausted", agent, now, restart_count=agent.restart_count, error=agent.error_message)

    def _tell(self, topic: str, agent: Agent, now: float, **facts: JSON) -> None:
        if self._emit is not None:
            self._emit(topic, {"agent_id": str(agent.agent_id), "agent_type": agent.agent_type, **facts}, now)
