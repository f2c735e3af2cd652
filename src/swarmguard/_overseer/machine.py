"""Every rule about agents, and the table of all changes of health.

The machine is pure: it has no lock, clock, task or sink. Every method requires the lock of `OverseerCore`, which passes
it the current moment, `now`. A method emits events as part of the change that it makes.

*Time.* A thread reads the clock before it takes the lock, so `now` may be earlier than in the call before. `_clamp`
replaces it by the latest moment seen so far, in reports and in readings: a report that comes late must not undo what a
reading has shown.

*How health is read.* No rule sets an agent's health. A rule changes the agent's record and then calls `_update_health`,
which takes the worst of three readings:

- *failures* since the last success: 1 or 2 are Degraded, 3 to 5 Unhealthy, 6 or more Dead;
- *freshness*: an agent that was found silent is stale, and a stale agent is Dead;
- *down*: an agent that has crashed, or whose restart has failed, is Dead. So is a supervised agent that died for any
  reason and is not restarted yet.

*How health changes.* `TRANSITIONS` lists the changes that each cause can make, and the event of each. Any other change
is a bug and raises `IllegalTransitionError`. The table allows no more than this:

- A failure makes health worse by one step, or not at all. It never improves health, because only a success clears the
  failures at once. No other cause makes an agent Degraded or Unhealthy from a better health.
- Silence and a crash lead to Dead, because each of them is enough to be Dead.
- A heartbeat never makes health worse. It says that the agent is alive, not that it works, so health may stay as it is.
  From Dead it leads to the health of the failures that are not cleared yet.
- A success, a restart and a reset lead to Healthy. There are two exceptions. A reset does not make a stale agent fresh.
  And a supervised agent that is Dead has no main that could succeed, so nothing but a restart revives it.

An event is emitted each time health gets worse, and when it returns to Healthy. An improvement that stops short of
Healthy emits none. A restart emits one even if the agent was Healthy.

*Incarnations.* A restart starts the agent's next incarnation. A supervised agent's incarnation ends earlier, with its
death: from that moment the handle of the dying main is stale, so the main cannot report any more, however long it takes
to end. The agent stays down until its restart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from enum import Enum, StrEnum, auto
from typing import Final, NamedTuple, TypeVar, TypeVarTuple
from uuid import UUID

from swarmguard._common.deadlines import reached, until
from swarmguard._overseer.agent import Agent, Attempt, ErrorReport, Incarnation, Supervision
from swarmguard._overseer.agents import Agents
from swarmguard._overseer.config import OverseerConfig
from swarmguard._overseer.emitter import Emit, Emitter
from swarmguard._overseer.freshness import Freshness
from swarmguard._overseer.restarts import RestartBudget
from swarmguard._overseer.snapshots import agent_status, swarm_health
from swarmguard._overseer.values import AgentHealth, AgentStatus, SwarmHealth
from swarmguard.errors import StaleAgentError

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

HEALTHY, DEGRADED, UNHEALTHY, DEAD = AgentHealth

_BY_FAILURES: Final = (HEALTHY, DEGRADED, DEGRADED, UNHEALTHY, UNHEALTHY, UNHEALTHY)
"""The health that a number of failures makes; any more are Dead."""
DEAD_AT: Final = len(_BY_FAILURES)
"""The number of failures that makes an agent Dead."""


class Cause(StrEnum):
    """The causes of a change of health. The `reason` of an event is in its `HealthEvent`."""

    FAILURE = "failure"
    """A failure was reported."""
    SILENCE = "silence"
    """The last heartbeat was found to be as old as the timeout."""
    CRASH = "crash"
    """The agent crashed, or its restart failed."""
    SUCCESS = "success"
    """A success was reported."""
    HEARTBEAT = "heartbeat"
    """The agent sent a heartbeat."""
    RESTART = "restart"
    """The agent was restarted."""
    RESET = "reset"
    """An operator reset the agent."""


class HealthEvent(NamedTuple):
    """The event of a change of health: its topic, without the prefix, and its `reason`."""

    topic: str
    reason: str


class IllegalTransitionError(RuntimeError):
    """A rule made a change that is not in `TRANSITIONS`: a bug of this package."""


_FAILURES: Final = HealthEvent("agent.failed", "failures")
_SILENT: Final = HealthEvent("agent.failed", "heartbeat_timeout")
_CRASHED: Final = HealthEvent("agent.failed", "crashed")
_SUCCEEDED: Final = HealthEvent("agent.recovered", "success")
_BEAT: Final = HealthEvent("agent.recovered", "heartbeat")
_RESTARTED: Final = HealthEvent("agent.recovered", "restart")

TRANSITIONS: Final[Mapping[Cause, Mapping[AgentHealth, Mapping[AgentHealth, HealthEvent | None]]]] = {
    Cause.FAILURE: {
        HEALTHY: {DEGRADED: _FAILURES},
        DEGRADED: {DEGRADED: None, UNHEALTHY: _FAILURES},
        UNHEALTHY: {UNHEALTHY: None, DEAD: _FAILURES},
        DEAD: {DEAD: None},
    },
    Cause.SILENCE: {
        HEALTHY: {DEAD: _SILENT},
        DEGRADED: {DEAD: _SILENT},
        UNHEALTHY: {DEAD: _SILENT},
        DEAD: {DEAD: None},
    },
    Cause.CRASH: {
        HEALTHY: {DEAD: _CRASHED},
        DEGRADED: {DEAD: _CRASHED},
        UNHEALTHY: {DEAD: _CRASHED},
        DEAD: {DEAD: None},
    },
    Cause.SUCCESS: {
        HEALTHY: {HEALTHY: None},
        DEGRADED: {HEALTHY: _SUCCEEDED},
        UNHEALTHY: {HEALTHY: _SUCCEEDED},
        DEAD: {HEALTHY: _SUCCEEDED, DEAD: None},
    },
    Cause.HEARTBEAT: {
        HEALTHY: {HEALTHY: None},
        DEGRADED: {DEGRADED: None, HEALTHY: _BEAT},
        UNHEALTHY: {UNHEALTHY: None, HEALTHY: _BEAT},
        DEAD: {DEAD: None, UNHEALTHY: None, DEGRADED: None, HEALTHY: _BEAT},
    },
    Cause.RESTART: {
        HEALTHY: {HEALTHY: _RESTARTED},
        DEGRADED: {HEALTHY: _RESTARTED},
        UNHEALTHY: {HEALTHY: _RESTARTED},
        DEAD: {HEALTHY: _RESTARTED},
    },
    Cause.RESET: {
        HEALTHY: {HEALTHY: None},
        DEGRADED: {HEALTHY: _RESTARTED},
        UNHEALTHY: {HEALTHY: _RESTARTED},
        DEAD: {HEALTHY: _RESTARTED, DEAD: None},
    },
}
"""`TRANSITIONS[cause][before][after]` is the event of the change, None if there is none. No key: no such change."""


def event_for(cause: Cause, before: AgentHealth, after: AgentHealth) -> HealthEvent | None:
    """Return the event of a change of health; None if it has none.

    Raises:
        IllegalTransitionError: There is no such change.
    """
    try:
        return TRANSITIONS[cause][before][after]
    except KeyError:
        change = f"{cause.value} from {before.value} to {after.value}"
        raise IllegalTransitionError(f"illegal transition: {change}") from None


class Cooldown(NamedTuple):
    """A supervised agent is not started now, because its cooldown takes so many seconds more."""

    seconds: float


class NotStarted(Enum):
    """Why a supervised agent is not started now, other than for its cooldown."""

    GONE = auto()
    """It is not registered any more."""
    EXHAUSTED = auto()
    """It has no restart left, or `auto_recovery_enabled` is False."""
    PAUSED = auto()
    """The swarm is paused."""


class OverseerMachine:
    """The agents of one overseer, and the rules for them.

    Args:
        config: The thresholds and times of the rules.
        emit: Takes every event, in order; None if there is no sink.

    Attributes:
        paused: Whether the swarm is paused. Also read without the lock; see `core`.
    """

    __slots__ = ("_agents", "_budget", "_config", "_emitter", "_freshness", "_now", "paused")

    def __init__(self, config: OverseerConfig, emit: Emit | None = None) -> None:
        self._config = config
        self._agents = Agents()
        self._freshness = Freshness(config.heartbeat_timeout_secs)
        self._budget = RestartBudget(config)
        self._emitter = Emitter(emit)
        self._now = -math.inf
        self.paused: bool = False

    # Registration

    def register(self, now: float, agent: Agent) -> None:
        """Add an agent. Its registration is its first heartbeat."""
        now = self._clamp(now)
        self._agents.add(agent)
        agent.steady_since = now
        self._freshness.refresh(agent, now)
        self._emitter.started(agent, now)

    def unregister(self, now: float, agent_id: UUID) -> None:
        """Remove an agent."""
        self._remove(self._agents.find(agent_id), self._clamp(now))

    def discard(self, now: float, agent: Agent) -> None:
        """Remove the agent of this record, if it is still registered."""
        if agent.registered:
            self._remove(agent, self._clamp(now))

    # Reports

    def heartbeat(self, now: float, agent_id: UUID) -> None:
        """Record that an agent is alive."""
        self._beat(self._agents.find(agent_id), self._clamp(now))

    def success(self, now: float, agent_id: UUID) -> None:
        """Record that an agent works. A supervised agent that is down stays down: see the head of this module."""
        agent, now = self._agents.find(agent_id), self._clamp(now)
        self._freshness.refresh(agent, now)
        if agent.health is not HEALTHY:
            agent.failures = 0
            agent.down = agent.down and agent.supervision is not None
            self._update_health(agent, Cause.SUCCESS, now)

    def failure(self, now: float, agent_id: UUID, error: ErrorReport) -> None:
        """Record that an agent failed at something. A failure is no sign of life."""
        agent, now = self._agents.find(agent_id), self._clamp(now)
        agent.failures += 1
        agent.failed_at = now
        agent.error_message = error.text
        self._update_health(agent, Cause.FAILURE, now, error)

    # Silence

    def check(self, now: float) -> list[UUID]:
        """Mark the agents that are newly silent as stale, and return their ids, the longest silent first.

        While the swarm is paused, none is marked.
        """
        now = self._clamp(now)
        found: list[UUID] = []
        while not self.paused and (agent := self._freshness.first_silent(now)) is not None:
            self._mark_stale(agent, now)
            found.append(agent.agent_id)
        return found

    def watch(self, now: float, deadline: float) -> list[UUID]:
        """Check for a watcher that checks regularly, and whose check was due by `deadline`.

        If it comes later, the watcher itself did not run: its event loop stalled, or the computer slept. The same may
        have held up heartbeats, so every agent that is not stale gets a full timeout.
        """
        now = self._clamp(now)
        if _is_late(now, deadline):
            self._freshness.refresh_all(now)
        return self.check(now)

    # Pausing

    def pause(self, now: float) -> None:
        """Pause the swarm, unless it is paused."""
        if not self.paused:
            self.paused = True
            self._emitter.paused(self._clamp(now))

    def resume(self, now: float) -> None:
        """Resume the swarm, if it is paused, and give every agent that is not stale a full timeout."""
        if self.paused:
            self.paused = False
            now = self._clamp(now)
            self._freshness.refresh_all(now)
            self._emitter.resumed(now)

    # Restarts by the host

    def needing_restart(self, now: float) -> list[tuple[UUID, str]]:
        """Return the ids and types of the agents that may be restarted now, in the order of registration."""
        if self.paused or not self._config.auto_recovery_enabled:
            return []
        now = self._clamp(now)
        due = [agent for agent in self._agents.dead if self._needs_restart(agent, now)]
        return [(agent.agent_id, agent.agent_type) for agent in sorted(due, key=lambda agent: agent.number)]

    def begin_restart(self, now: float, agent_id: UUID) -> None:
        """Open a restart attempt and count it, unless one is open."""
        agent, now = self._agents.find(agent_id), self._clamp(now)
        if agent.attempt is None:
            self._open_attempt(agent, now)

    def claim_restart(self, now: float, agent_id: UUID) -> Attempt | None:
        """Open a restart attempt and return it; None if the agent does not need one, or is not registered."""
        now = self._clamp(now)
        agent = self._agents.get(agent_id)
        if agent is None or self.paused or not self._config.auto_recovery_enabled:
            return None
        return self._open_attempt(agent, now) if self._needs_restart(agent, now) else None

    def recover(self, now: float, agent_id: UUID) -> None:
        """End the open attempt as a success. If none is open, count one that succeeded."""
        agent = self._agents.find(agent_id)
        self._recover(agent, self._clamp(now))
        _notify_supervisor(agent)

    def restart_failed(self, now: float, agent_id: UUID, error: ErrorReport) -> None:
        """End the open attempt as a failure. If none is open, count one that failed."""
        agent = self._agents.find(agent_id)
        self._restart_failed(agent, self._clamp(now), error)
        _notify_supervisor(agent)

    def attempt_succeeded(self, now: float, attempt: Attempt) -> None:
        """End this attempt as a success, unless it has ended."""
        if attempt.agent.attempt is attempt:
            self._recover(attempt.agent, self._clamp(now))

    def attempt_failed(self, now: float, attempt: Attempt, error: ErrorReport) -> None:
        """End this attempt as a failure, unless it has ended."""
        if attempt.agent.attempt is attempt:
            self._restart_failed(attempt.agent, self._clamp(now), error)

    def abandon_attempt(self, now: float, attempt: Attempt) -> None:
        """Take this attempt back, as if it had never begun, unless it has ended."""
        agent, now = attempt.agent, self._clamp(now)
        if agent.attempt is attempt:
            self._budget.give_back(agent, now)
            agent.attempt = None
            self._emit_if_exhausted(agent, now)

    def reset(self, now: float, agent_id: UUID) -> None:
        """Clear an agent's failures, its crash and its restarts. A stale agent stays stale, a supervised one down."""
        agent, now = self._agents.find(agent_id), self._clamp(now)
        self._budget.refill(agent)
        agent.failures = 0
        agent.down = agent.down and agent.supervision is not None
        if agent.health is DEAD:
            _notify_supervisor(agent)
        self._update_health(agent, Cause.RESET, now)

    # Actions of one incarnation: of its handle or its supervisor

    def do_for(self, now: float, incarnation: Incarnation, action: Callable[[float, UUID, *Ts], T], *args: *Ts) -> T:
        """Run one of the actions above for an incarnation.

        Raises:
            StaleAgentError: The incarnation has ended.
        """
        agent = incarnation.agent
        if not incarnation.is_current:
            raise StaleAgentError(agent.agent_id, agent.agent_type)
        return action(now, agent.agent_id, *args)

    def finish(self, now: float, incarnation: Incarnation) -> bool:
        """Remove the agent if this incarnation is current. Return whether the agent is not registered any more."""
        if incarnation.is_current:
            self._remove(incarnation.agent, self._clamp(now))
        return not incarnation.agent.registered

    def crash(self, now: float, incarnation: Incarnation, error: ErrorReport) -> bool:
        """Record that this incarnation crashed. Return False if it had ended before."""
        if not incarnation.is_current:
            return False
        incarnation.agent.down = True
        incarnation.agent.error_message = error.text
        self._update_health(incarnation.agent, Cause.CRASH, self._clamp(now), error)
        return True

    def beat_for(self, now: float, incarnation: Incarnation) -> bool:
        """Record a heartbeat of this incarnation. Return False if it has ended."""
        if incarnation.is_current:
            self._beat(incarnation.agent, self._clamp(now))
        return incarnation.is_current

    def check_for(self, now: float, incarnation: Incarnation, deadline: float) -> bool:
        """Check whether this incarnation is silent. Return False if it has ended, by this check or before.

        A check that comes later than `deadline` counts as a sign of life, as in `watch`, but of this agent only.
        """
        if incarnation.is_current:
            agent, now = incarnation.agent, self._clamp(now)
            if _is_late(now, deadline):
                self._freshness.refresh(agent, now)
            elif not self.paused and self._freshness.is_silent(agent, now):
                self._mark_stale(agent, now)
        return incarnation.is_current

    def start_next(
        self, now: float, agent: Agent, supervision: Supervision, notify: Callable[[], object]
    ) -> Incarnation | Cooldown | NotStarted:
        """Start a supervised agent's next incarnation, if it may start now.

        From now on `notify` is called when it is worth asking again.
        """
        now = self._clamp(now)
        supervision.notify = notify
        if not agent.registered:
            return NotStarted.GONE
        if agent.health is DEAD and agent.attempt is None:
            if not self._config.auto_recovery_enabled or self._budget.is_exhausted(agent):
                return NotStarted.EXHAUSTED
            if not self.paused and (wait := until(now, self._budget.due_at(agent))):
                return Cooldown(wait)
        if self.paused:
            return NotStarted.PAUSED
        if agent.health is DEAD:  # otherwise its recovery was recorded from outside: that was the restart
            self._recover(agent, now)
        return Incarnation(agent, agent.incarnation)

    # Readings

    def status(self, now: float, agent_id: UUID) -> AgentStatus:
        """Return an agent's status."""
        return self._status(self._agents.find(agent_id), self._clamp(now))

    def statuses(self, now: float) -> list[AgentStatus]:
        """Return every agent's status, in the order of registration."""
        now = self._clamp(now)
        return [self._status(agent, now) for agent in self._agents]

    def health(self) -> SwarmHealth:
        """Return the number of agents by health."""
        return swarm_health(self._agents.counts, is_paused=self.paused)

    def snapshot(self, now: float) -> tuple[SwarmHealth, tuple[AgentStatus, ...]]:
        """Return the swarm's health and every agent's status, of one instant."""
        return self.health(), tuple(self.statuses(now))

    def _status(self, agent: Agent, now: float) -> AgentStatus:
        return agent_status(
            agent,
            seconds_since_heartbeat=now - self._freshness.last_beat(agent),
            restart_count=self._budget.used(agent, now),
        )

    # Parts of the rules above; `now` is clamped already

    def _clamp(self, now: float) -> float:
        if now > self._now:
            self._now = now
        return self._now

    def _remove(self, agent: Agent, now: float) -> None:
        self._freshness.drop(agent)
        self._agents.remove(agent)
        agent.attempt = None
        _notify_supervisor(agent)
        self._emitter.stopped(agent, now)

    def _beat(self, agent: Agent, now: float) -> None:
        self._freshness.refresh(agent, now)
        if agent.health is not HEALTHY:
            memory = self._config.failure_memory_secs
            if memory is not None and agent.failures < DEAD_AT and reached(now, agent.failed_at + memory):
                agent.failures = 0
            self._update_health(agent, Cause.HEARTBEAT, now)

    def _mark_stale(self, agent: Agent, now: float) -> None:
        self._freshness.drop(agent)
        self._update_health(agent, Cause.SILENCE, now)

    def _update_health(self, agent: Agent, cause: Cause, now: float, error: ErrorReport | None = None) -> None:
        """Recompute an agent's health from its record. If it died, end its incarnation; emit the event of the change.

        No other method sets an agent's health.
        """
        before, after = agent.health, _read_health(agent)
        event = event_for(cause, before, after)
        if after is not before:
            if after is DEAD:
                self._budget.expire(agent, now)
            elif before is DEAD:
                agent.steady_since = now
            self._agents.set_health(agent, after)
            if after is DEAD and agent.supervision is not None:
                self._end_incarnation(agent, agent.supervision, error)
        if event is not None:
            self._emit_health_event(event, agent, before, now, error)
        self._emit_if_exhausted(agent, now)

    def _end_incarnation(self, agent: Agent, supervision: Supervision, error: ErrorReport | None) -> None:
        agent.down = True
        agent.incarnation += 1
        supervision.error = error
        supervision.notify()

    def _emit_health_event(
        self, event: HealthEvent, agent: Agent, before: AgentHealth, now: float, error: ErrorReport | None
    ) -> None:
        if event.topic == "agent.recovered":
            self._emitter.recovered(agent, event.reason, self._budget.used(agent, now), now)
        else:
            self._emitter.failed(agent, event.reason, before, error, now)

    def _emit_if_exhausted(self, agent: Agent, now: float) -> None:
        if agent.health is not DEAD or agent.attempt is not None or agent.exhausted:
            return
        if self._budget.is_exhausted(agent):
            agent.exhausted = True
            self._emitter.exhausted(agent, now)

    def _needs_restart(self, agent: Agent, now: float) -> bool:
        if agent.health is not DEAD or agent.attempt is not None or agent.supervision is not None:
            return False
        return not self._budget.is_exhausted(agent) and reached(now, self._budget.due_at(agent))

    def _open_attempt(self, agent: Agent, now: float) -> Attempt:
        self._budget.use(agent, now)
        agent.attempt = Attempt(agent)
        return agent.attempt

    def _end_attempt(self, agent: Agent, now: float) -> None:
        if agent.attempt is None:
            self._budget.use(agent, now)
        else:
            self._budget.expire(agent, now)
        agent.attempt = None
        agent.attempt_ended = agent.steady_since = now

    def _recover(self, agent: Agent, now: float) -> None:
        self._end_attempt(agent, now)
        agent.failures = 0
        agent.down = False
        agent.error_message = None
        agent.incarnation += 1
        self._freshness.refresh(agent, now)
        if agent.supervision is not None:
            agent.supervision.error = None  # an exception keeps the frames of its traceback alive
        self._update_health(agent, Cause.RESTART, now)

    def _restart_failed(self, agent: Agent, now: float, error: ErrorReport) -> None:
        self._end_attempt(agent, now)
        agent.down = True
        agent.error_message = error.text
        self._update_health(agent, Cause.CRASH, now, error)


def _read_health(agent: Agent) -> AgentHealth:
    """Return the worst of the three readings."""
    if agent.stale or agent.down or agent.failures >= DEAD_AT:
        return DEAD
    return _BY_FAILURES[agent.failures]


def _notify_supervisor(agent: Agent) -> None:
    if agent.supervision is not None:
        agent.supervision.notify()


def _is_late(now: float, deadline: float) -> bool:
    return not reached(deadline, now)
