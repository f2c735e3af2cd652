"""The pure part of an overseer: every rule about agents, none about threads, tasks or clocks.

Every method that may change something takes the moment `now`, and is whole when it returns; the shell (`core`) calls
one at a time. Not safe for concurrent use by itself. `TRANSITIONS` is the table of all changes of health.

*Incarnations.* A restart makes the agent's next incarnation. A supervised agent's also ends with its death, before
anybody knows, so that the dying main can no longer say that it is alive; from then on it is down until its restart.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import TypeVar, TypeVarTuple
from uuid import UUID

from swarmguard._common.deadlines import reached, until
from swarmguard._overseer import restarts
from swarmguard._overseer.agent import DEAD_AT, Agent, Attempt, ErrorReport, Incarnation, Supervision
from swarmguard._overseer.roster import DEAD, HEALTHY, Emit, Roster
from swarmguard._overseer.transitions import TRANSITIONS, Cause
from swarmguard.errors import StaleAgentError

__all__ = ["TRANSITIONS", "Emit", "NotStarted", "OverseerMachine"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class NotStarted(Enum):
    """Why a supervised agent is not started now, other than for its cooldown."""

    GONE = auto()
    """It was unregistered."""
    EXHAUSTED = auto()
    """It has no restart left, or nothing is ever restarted."""
    PAUSED = auto()
    """The swarm is paused."""


class OverseerMachine(Roster):
    """All the agents of one overseer, and the rules for them.

    Args:
        config: How they are judged.
        emit: Takes every event, in order, as part of the change that it tells of; None for nobody.
    """

    __slots__ = ()

    # Registration

    def register(self, now: float, agent: Agent) -> None:
        """Take the agent in; registering is its first heartbeat."""
        self._add(agent, self._clamp(now))

    def unregister(self, now: float, agent_id: UUID) -> None:
        """Forget the agent."""
        self._remove(self.find(agent_id), self._clamp(now))

    def discard(self, now: float, agent: Agent) -> None:
        """Forget this very agent, unless somebody else has done it."""
        if agent.registered:
            self._remove(agent, self._clamp(now))

    # What agents report

    def heartbeat(self, now: float, agent_id: UUID) -> None:
        """Record that the agent is alive."""
        self._beat(self.find(agent_id), self._clamp(now))

    def success(self, now: float, agent_id: UUID) -> None:
        """Record that the agent works."""
        agent, now = self.find(agent_id), self._clamp(now)
        self._refresh(agent, now)
        if agent.health is not HEALTHY:
            agent.failures = 0
            agent.down = agent.down and agent.supervision is not None
            self._move(agent, Cause.SUCCESS, now)

    def failure(self, now: float, agent_id: UUID, error: ErrorReport) -> None:
        """Record that the agent failed at something."""
        agent, now = self.find(agent_id), self._clamp(now)
        agent.failures += 1
        agent.failed_at = now
        agent.error_message = error.text
        self._move(agent, Cause.FAILURE, now, error)

    # Watching for silence

    def check(self, now: float) -> list[UUID]:
        """Mark the agents that have fallen silent, and return their ids."""
        now = self._clamp(now)
        silent: list[UUID] = []
        while self._fresh and self._is_silent(agent := next(iter(self._fresh)), now):
            self._fall_silent(agent, now)
            silent.append(agent.agent_id)
        return silent

    def watch(self, now: float, in_time: float) -> list[UUID]:
        """Check, as a watcher that comes regularly and should be here by `in_time`.

        One that comes later has been away (its event loop stalled, the machine slept) and must not take its own
        silence for the agents': it counts as a beat of every agent that is not stale.
        """
        now = self._clamp(now)
        if _is_late(now, in_time):
            self._floor = now
        return self.check(now)

    # Pausing

    def pause(self, now: float) -> None:
        """Pause the swarm, unless it is paused already."""
        if not self.paused:
            self._set_paused(True)
            self._tell_all("paused", self._clamp(now))

    def resume(self, now: float) -> None:
        """Resume the swarm, if it is paused, and give every agent a full timeout."""
        if self.paused:
            self._set_paused(False)
            self._floor = self._clamp(now)
            self._tell_all("resumed", self._now)

    # Restarts

    def needing_restart(self, now: float) -> list[tuple[UUID, str]]:
        """Return the ids and types of the agents that may be restarted now, in the order of registration."""
        if self.paused or not self._config.auto_recovery_enabled:
            return []
        now = self._clamp(now)
        due = [agent for agent in self._dead if self._needs_restart(agent, now)]
        return [(agent.agent_id, agent.agent_type) for agent in sorted(due, key=lambda agent: agent.number)]

    def begin_restart(self, now: float, agent_id: UUID) -> None:
        """Open an attempt and count it, unless one is open."""
        agent, now = self.find(agent_id), self._clamp(now)
        if agent.attempt is None:
            self._open_attempt(agent, now)

    def claim_restart(self, now: float, agent_id: UUID) -> Attempt | None:
        """Open an attempt if the agent needs one, and return it."""
        now = self._clamp(now)
        agent = self._agents.get(agent_id.int)
        if agent is None or self.paused or not self._config.auto_recovery_enabled:
            return None
        return self._open_attempt(agent, now) if self._needs_restart(agent, now) else None

    def recover(self, now: float, agent_id: UUID) -> None:
        """End the open attempt well; with none open, count one that went well."""
        agent = self.find(agent_id)
        self._recover(agent, self._clamp(now))
        self._notify(agent)

    def restart_failed(self, now: float, agent_id: UUID, error: ErrorReport) -> None:
        """End the open attempt badly; with none open, count one that went badly."""
        agent = self.find(agent_id)
        self._restart_failed(agent, self._clamp(now), error)
        self._notify(agent)

    def attempt_succeeded(self, now: float, attempt: Attempt) -> None:
        """End this very attempt well, unless it has been ended."""
        if attempt.agent.attempt is attempt:
            self._recover(attempt.agent, self._clamp(now))

    def attempt_failed(self, now: float, attempt: Attempt, error: ErrorReport) -> None:
        """End this very attempt badly, unless it has been ended."""
        if attempt.agent.attempt is attempt:
            self._restart_failed(attempt.agent, self._clamp(now), error)

    def abandon_attempt(self, now: float, attempt: Attempt) -> None:
        """Take this very attempt back, as if it had never begun, unless it has been ended."""
        agent, now = attempt.agent, self._clamp(now)
        if agent.attempt is attempt:
            restarts.expire(self._config, agent, now)
            agent.attempt = None
            agent.restart_count = max(0, agent.restart_count - 1)
            self._tell_if_exhausted(agent, now)

    def reset(self, now: float, agent_id: UUID) -> None:
        """Forgive the agent's failures, its crash and its restarts; a stale one stays stale."""
        agent, now = self.find(agent_id), self._clamp(now)
        restarts.clear(agent)
        agent.failures = 0
        agent.down = agent.down and agent.supervision is not None
        if agent.health is DEAD:
            self._notify(agent)
        self._move(agent, Cause.RESET, now)

    # One incarnation: what handles and supervisors may do

    def do_for(self, now: float, incarnation: Incarnation, action: Callable[[float, UUID, *Ts], T], *args: *Ts) -> T:
        """Do what a handle asks for, if it is not stale."""
        if not incarnation.is_current:
            raise StaleAgentError(incarnation.agent.agent_id, incarnation.agent.agent_type)
        return action(now, incarnation.agent.agent_id, *args)

    def finish(self, now: float, incarnation: Incarnation) -> bool:
        """Forget the agent if it still is in this incarnation, and tell whether it is gone, by whatever hand."""
        if incarnation.is_current:
            self._remove(incarnation.agent, self._clamp(now))
        return not incarnation.agent.registered

    def crash(self, now: float, incarnation: Incarnation, error: ErrorReport) -> bool:
        """Record that this incarnation crashed; False when it had ended before."""
        if not incarnation.is_current:
            return False
        incarnation.agent.down = True
        incarnation.agent.error_message = error.text
        self._move(incarnation.agent, Cause.CRASH, self._clamp(now), error)
        return True

    def attend(self, now: float, incarnation: Incarnation, beat: bool, in_time: float) -> bool:
        """Beat for this incarnation, or look whether it has fallen silent; False when it has ended.

        Looking later than `in_time` counts as a beat, as in `watch`, but of this agent only.
        """
        if incarnation.is_current:
            now = self._clamp(now)
            if beat:
                self._beat(incarnation.agent, now)
            elif _is_late(now, in_time):
                self._refresh(incarnation.agent, now)
            elif self._is_silent(incarnation.agent, now):
                self._fall_silent(incarnation.agent, now)
        return incarnation.is_current

    def start_next(
        self, now: float, agent: Agent, supervision: Supervision, notify: Callable[[], object]
    ) -> Incarnation | float | NotStarted:
        """Start a supervised agent's next incarnation, or say how many seconds to wait, or why it is not started.

        `notify` is called from now on when there is reason to ask again.
        """
        now = self._clamp(now)
        supervision.notify = notify
        if not agent.registered:
            return NotStarted.GONE
        if agent.health is DEAD and agent.attempt is None:
            if not self._config.auto_recovery_enabled or restarts.is_spent(self._config, agent):
                return NotStarted.EXHAUSTED
            if not self.paused and (wait := until(now, restarts.due_at(self._config, agent))):
                return wait
        if self.paused:
            return NotStarted.PAUSED
        if agent.health is DEAD:  # otherwise somebody has recorded its recovery: that was the restart
            self._recover(agent, now)
        return Incarnation(agent, agent.incarnation)

    # The parts that the rules above are made of

    def _beat(self, agent: Agent, now: float) -> None:
        self._refresh(agent, now)
        if agent.health is not HEALTHY:
            memory = self._config.failure_memory_secs
            if memory is not None and agent.failures < DEAD_AT and reached(now, agent.failed_at + memory):
                agent.failures = 0
            self._move(agent, Cause.HEARTBEAT, now)

    def _needs_restart(self, agent: Agent, now: float) -> bool:
        if agent.health is not DEAD or agent.attempt is not None or agent.supervision is not None:
            return False
        return not restarts.is_spent(self._config, agent) and reached(now, restarts.due_at(self._config, agent))

    def _open_attempt(self, agent: Agent, now: float) -> Attempt:
        restarts.count(self._config, agent, now)
        agent.attempt = Attempt(agent)
        return agent.attempt

    def _end_attempt(self, agent: Agent, now: float) -> None:
        if agent.attempt is None:
            restarts.count(self._config, agent, now)
        else:
            restarts.expire(self._config, agent, now)
        agent.attempt = None
        agent.attempt_ended = agent.steady_since = now

    def _recover(self, agent: Agent, now: float) -> None:
        self._end_attempt(agent, now)
        agent.failures = 0
        agent.down = False
        agent.error_message = None
        agent.incarnation += 1
        self._refresh(agent, now)
        if agent.supervision is not None:
            agent.supervision.error = None  # an exception holds on to its frames
        self._move(agent, Cause.RESTART, now)

    def _restart_failed(self, agent: Agent, now: float, error: ErrorReport) -> None:
        self._end_attempt(agent, now)
        agent.down = True
        agent.error_message = error.text
        self._move(agent, Cause.CRASH, now, error)

    def _tell_all(self, topic: str, now: float) -> None:
        if self._emit is not None:
            self._emit(topic, {}, now)


def _is_late(now: float, in_time: float) -> bool:
    return not reached(in_time, now)
