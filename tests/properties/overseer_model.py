"""A model of an overseer that follows the rules O1 to O10: slow, plain, and easy to check by reading.

It imports nothing from the package. Times are whole nanoseconds, agents are in a list in the order of their
registration, health is computed anew each time, and healths, reasons and topics are plain strings. Each rule that
decides something calls `reached`.

Where the rules allow two answers, the model says so and accepts either (see `Agent` and `needing_restart`), or it
follows the package: a restart of an agent that is not Dead starts its reset time again, and opening an attempt while
one is open changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from uuid import UUID

from tests.properties.reaching import reached

SECOND = 10**9
LADDER = ["Healthy", "Degraded", "Unhealthy", "Dead"]


def exactly(number: float) -> Fraction:
    """Return the decimal number that a float is written as."""
    return Fraction(str(number))


def to_ns(seconds: float) -> int:
    """Return a duration in whole nanoseconds."""
    return round(exactly(seconds) * SECOND)


@dataclass(frozen=True)
class Setup:
    """An overseer's configuration, in seconds."""

    timeout: float = 30.0
    attempts: int = 3
    cooldown: float = 60.0
    automatic: bool = True
    memory: float | None = 30.0
    reset: float | None = 600.0
    multiplier: float = 1.0


@dataclass(frozen=True)
class ExpectedEvent:
    """An event: its topic without the prefix, its moment, and the facts that its payload must have at least.

    A `reason` of None matches every reason that the rules allow for the topic. An `optional` event may be missing.
    """

    topic: str
    at: int
    payload: dict[str, object]
    optional: bool = False


@dataclass(eq=False)
class Agent:
    """One agent.

    `errors` has the texts that `error_message` may be. By the rules, a failure and a failed restart set it, and a
    recovery clears it; whether other improvements clear it is left open.
    """

    kind: str
    id: UUID
    registered: int
    beat: int
    timeout_from: int
    steady_since: int | None
    stale: bool = False
    failures: int = 0
    failed_at: int | None = None
    down: bool = False
    restarts: int = 0
    attempt: bool = False
    attempt_ended: int | None = None
    exhausted: bool = False
    errors: list[object] = field(default_factory=lambda: [None])

    @property
    def by_failures(self) -> str:
        """Return the health that follows from the failures alone."""
        if self.failures == 0:
            return "Healthy"
        return "Degraded" if self.failures <= 2 else "Unhealthy" if self.failures <= 5 else "Dead"

    @property
    def health(self) -> str:
        """Return the worst of the three readings."""
        return "Dead" if self.stale or self.down else self.by_failures


@dataclass
class OverseerModel:
    """The state of one overseer, and the events that it has emitted so far."""

    setup: Setup
    agents: list[Agent] = field(default_factory=list)
    expected: list[ExpectedEvent] = field(default_factory=list)
    paused: bool = False

    # --- registration ----------------------------------------------------------------------------------------------

    def find(self, agent_id: UUID) -> Agent | None:
        """Return the agent of that id."""
        return next((agent for agent in self.agents if agent.id == agent_id), None)

    def register(self, kind: str, agent_id: UUID, now: int) -> None:
        """Add an agent."""
        reached("O1", "an agent is registered")
        self.agents.append(Agent(kind, agent_id, registered=now, beat=now, timeout_from=now, steady_since=now))
        self._emit("agent.started", self.agents[-1], now)

    def unregister(self, agent: Agent, now: int) -> None:
        """Remove an agent."""
        reached("O1", f"an agent is unregistered, {agent.health}")
        self.agents.remove(agent)
        self._emit("agent.stopped", agent, now)

    def _emit(self, topic: str, agent: Agent, now: int, *, optional: bool = False, **more: object) -> None:
        payload = {"agent_id": str(agent.id), "agent_type": agent.kind, **more}
        self.expected.append(ExpectedEvent(topic, now, payload, optional))

    # --- what is reported ------------------------------------------------------------------------------------------

    def heartbeat(self, agent: Agent, now: int) -> None:
        """Record a heartbeat."""
        self.change(agent, now, lambda: self._beat(agent, now), better="heartbeat")

    def _beat(self, agent: Agent, now: int) -> None:
        reached("O4", "a heartbeat makes a stale agent fresh", agent.stale)
        agent.beat = agent.timeout_from = now
        agent.stale = False
        memory = self.setup.memory
        reached("O3", "no heartbeat heals six failures", agent.failures >= 6)
        if memory is None or agent.failed_at is None or not 0 < agent.failures < 6:
            return
        reached("O3", "a heartbeat clears no failure that is remembered", now - agent.failed_at < to_ns(memory))
        if now - agent.failed_at >= to_ns(memory):
            reached("O3", "a heartbeat clears failures that are forgotten")
            agent.failures = 0
            agent.errors.append(None)

    def failure(self, agent: Agent, error: object, now: int) -> None:
        """Record a failure."""

        def fail() -> None:
            agent.failures += 1
            agent.failed_at = now
            agent.errors = [error]

        self.change(agent, now, fail, worse="failures", error=error)

    def success(self, agent: Agent, now: int) -> None:
        """Record a success."""

        def succeed() -> None:
            reached("O3", "a success clears the failures", agent.failures > 0)
            reached("O3", "a success is a sign of life", agent.stale)
            reached("O2", "a success ends being down", agent.down)
            agent.failures = 0
            agent.down = agent.stale = False
            agent.beat = agent.timeout_from = now
            agent.errors.append(None)

        self.change(agent, now, succeed, better="success")

    def check(self, now: int) -> list[Agent]:
        """Return the agents that have become stale, the longest silent first."""
        self.forget_restarts(now)
        if self.paused:
            reached("O9", "no agent is marked while paused", bool(self.agents))
            return []
        timeout = to_ns(self.setup.timeout)
        silent = [agent for agent in self.agents if now - agent.timeout_from >= timeout]
        found = [agent for agent in silent if not agent.stale]
        reached("O4", "silent agents are marked", bool(found))
        reached("O4", "at the very timeout", any(now - agent.timeout_from == timeout for agent in found))
        reached("O4", "only those newly silent are returned", len(found) < len(silent))
        for agent in found:
            self.change(agent, now, lambda agent=agent: setattr(agent, "stale", True), worse="heartbeat_timeout")
        return found

    # --- restarts --------------------------------------------------------------------------------------------------

    def begin_restart(self, agent: Agent, now: int) -> None:
        """Open an attempt, unless one is open."""

        def begin() -> None:
            agent.attempt = True
            self._count(agent, now)

        reached("O7", "an attempt is opened", not agent.attempt)
        reached("O7", "an attempt is open already", agent.attempt)
        if not agent.attempt:
            self.change(agent, now, begin)

    def _count(self, agent: Agent, now: int) -> None:
        agent.restarts += 1
        if agent.steady_since is not None:
            agent.steady_since = now

    def _end_attempt(self, agent: Agent, now: int) -> None:
        reached("O7", "an end without a beginning is counted", not agent.attempt)
        if not agent.attempt:
            self._count(agent, now)
        agent.attempt = False
        agent.attempt_ended = now
        if agent.steady_since is not None:
            agent.steady_since = now

    def recovery(self, agent: Agent, now: int) -> None:
        """End an attempt as a success."""

        def recover() -> None:
            reached("O7", f"a recovery, {agent.health}")
            self._end_attempt(agent, now)
            agent.failures = 0
            agent.down = agent.stale = False
            agent.beat = agent.timeout_from = now
            agent.errors = [None]

        self.change(agent, now, recover, better="restart", always=True)

    def restart_failure(self, agent: Agent, error: object, now: int) -> None:
        """End an attempt as a failure."""

        def fail() -> None:
            reached("O7", "a restart fails")
            self._end_attempt(agent, now)
            agent.down = True
            agent.errors = [error]

        self.change(agent, now, fail, worse="crashed", error=error)

    def reset_agent(self, agent: Agent, now: int) -> None:
        """Reset an agent."""

        def reset() -> None:
            reached("O8", "a reset gives the budget back", agent.restarts > 0)
            reached("O8", "a reset clears failures and down", agent.failures > 0 or agent.down)
            reached("O8", "a stale agent stays stale", agent.stale)
            agent.restarts = 0
            agent.exhausted = False
            agent.failures = 0
            agent.down = False
            agent.errors.append(None)

        self.change(agent, now, reset)

    def forget_restarts(self, now: int) -> None:
        """Expire the restart counts of the agents that have not been Dead for long enough."""
        for agent in self.agents:
            if self.setup.reset is None or agent.steady_since is None:
                continue
            if now - agent.steady_since >= to_ns(self.setup.reset):
                reached("O8", "time gives the budget back", agent.restarts > 0)
                agent.restarts = 0
                agent.exhausted = False

    def change(
        self,
        agent: Agent,
        now: int,
        action: Callable[[], object],
        *,
        worse: str | None = None,
        better: str | None = None,
        error: object = ...,
        always: bool = False,
    ) -> None:
        """Change an agent, and emit the events of the change of its health."""
        self.forget_restarts(now)
        before = agent.health
        action()
        after = agent.health
        reached("O2", f"{before} to {after}")
        if LADDER.index(after) > LADDER.index(before):
            reached("O5", f"worsening is emitted, {worse}")
            more = {"health": after, "previous_health": before, "consecutive_failures": agent.failures}
            if error is not ...:
                more["error"] = error
            self._emit("agent.failed", agent, now, reason=worse, **more)
        elif after == "Healthy" and (before != "Healthy" or always):
            reached("O5", f"a return to Healthy is emitted, {better}")
            optional = before == "Healthy"
            self._emit("agent.recovered", agent, now, optional=optional, reason=better, restart_count=agent.restarts)
        if after == "Dead":
            agent.steady_since = None
        elif before == "Dead":
            agent.steady_since = now
        if after == "Dead" and not agent.attempt and not agent.exhausted and agent.restarts >= self.setup.attempts:
            reached("O7", "exhaustion is emitted")
            agent.exhausted = True
            self._emit("agent.exhausted", agent, now)

    # --- the swarm -------------------------------------------------------------------------------------------------

    def pause(self, now: int) -> None:
        """Pause."""
        reached("O9", "pausing twice", self.paused)
        if not self.paused:
            self.paused = True
            self.expected.append(ExpectedEvent("paused", now, {}))

    def resume(self, now: int) -> None:
        """Resume, with a full timeout for every agent that is not stale already."""
        reached("O9", "resuming twice", not self.paused)
        if self.paused:
            reached("O9", "resuming gives a full timeout", any(agent.timeout_from < now for agent in self.agents))
            self.paused = False
            self.expected.append(ExpectedEvent("resumed", now, {}))
            for agent in self.agents:
                if not agent.stale:
                    agent.timeout_from = now

    def cooldown(self, agent: Agent) -> Fraction:
        """Return the cooldown after the last attempt, in nanoseconds."""
        setup = self.setup
        return exactly(setup.cooldown) * exactly(setup.multiplier) ** max(0, agent.restarts - 1) * SECOND

    def needing_restart(self, now: int) -> list[tuple[Agent, bool]]:
        """Return the agents to restart, and whether that is certain.

        When the count has expired, the next attempt may count as the first one again, which has no cooldown.
        """
        self.forget_restarts(now)
        dead = [agent for agent in self.agents if agent.health == "Dead"]
        reached("O6", "no agent while paused", self.paused and bool(dead))
        reached("O6", "no agent without auto_recovery_enabled", not self.setup.automatic and bool(dead))
        if self.paused or not self.setup.automatic:
            return []
        found = []
        for agent in self.agents:
            if agent.health == "Dead" and agent.restarts < self.setup.attempts and not agent.attempt:
                rested = agent.attempt_ended is None or now - agent.attempt_ended >= self.cooldown(agent)
                reached("O6", "the first attempt waits for nothing", agent.attempt_ended is None)
                reached("O6", "the cooldown holds", not rested)
                reached("O6", "the cooldown is over", rested and agent.attempt_ended is not None)
                if rested or agent.restarts == 0:
                    found.append((agent, rested))
        return found

    def counts(self) -> dict[str, object]:
        """Return the swarm's health."""
        healths = [agent.health for agent in self.agents]
        reached("O10", "an empty swarm is healthy", not healths)
        reached("O10", "the worst agent's", len(set(healths)) > 1)
        return {
            "total_agents": len(healths),
            "healthy_agents": healths.count("Healthy"),
            "degraded_agents": healths.count("Degraded"),
            "unhealthy_agents": healths.count("Unhealthy"),
            "dead_agents": healths.count("Dead"),
            "overall_health": max(healths, key=LADDER.index, default="Healthy"),
            "is_paused": self.paused,
        }

    def edges(self, now: int) -> list[int]:
        """Return the future moments at which time alone changes something."""
        setup = self.setup
        moments = []
        for agent in self.agents:
            moments.append(agent.timeout_from + to_ns(setup.timeout))
            if setup.memory is not None and agent.failed_at is not None:
                moments.append(agent.failed_at + to_ns(setup.memory))
            if setup.reset is not None and agent.steady_since is not None:
                moments.append(agent.steady_since + to_ns(setup.reset))
            if agent.attempt_ended is not None:
                moments.append(agent.attempt_ended + round(self.cooldown(agent)))
        return sorted({moment for moment in moments if moment > now})
