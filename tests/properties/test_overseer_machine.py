"""The overseer against its model: agents fail and are restarted, and time moves to and past each edge."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from swarmguard import DuplicateAgentError, Overseer, OverseerConfig, UnknownAgentError
from swarmguard.testing import EventRecorder, FakeClock
from tests.properties.overseer_model import SECOND, Agent, ExpectedEvent, OverseerModel, Setup
from tests.properties.reaching import reached

CLOSE_ENOUGH = 5e-10
"""Half a nanosecond: what a float of seconds may be off by."""

REASONS = {
    "agent.failed": {"failures", "heartbeat_timeout", "crashed"},
    "agent.recovered": {"success", "heartbeat", "restart"},
}

durations = st.one_of(
    st.sampled_from([0.5, 10.0, 30.0, 60.0]), st.integers(1, 100 * SECOND).map(lambda moment: moment / SECOND)
)


@st.composite
def setups(draw: st.DrawFn) -> Setup:
    """Draw a configuration: the default, or one in which many edges are close to each other."""
    if draw(st.sampled_from([True, False, False])):
        return Setup()
    return Setup(
        timeout=draw(durations),
        attempts=draw(st.sampled_from([0, 1, 2, 3])),
        cooldown=draw(st.just(0.0) | durations),
        automatic=draw(st.sampled_from([True, True, True, False])),
        memory=draw(st.none() | durations),
        reset=draw(st.none() | durations),
        multiplier=draw(st.sampled_from([1.0, 2.0, 3.0])),
    )


class Begins:
    """Equals every text that begins with the given one, as the text of an exception does."""

    def __init__(self, start: str) -> None:
        self._start = start

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and other.startswith(self._start)

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return f"{self._start!r}..."


ERRORS: list[tuple[str | Exception, object]] = [
    ("connection timed out", "connection timed out"),
    ("", ""),
    (ValueError("no such market"), Begins("ValueError")),
    (KeyError(), Begins("KeyError")),
]
"""Errors as they are reported, and as they are shown."""

errors = st.sampled_from(ERRORS)
agents = st.integers(0, 5)


class OverseerMachine(RuleBasedStateMachine):
    """Drives an overseer and its model side by side."""

    @initialize(setup=setups(), start=st.sampled_from([0.0, 1000.25, 123456.789]))
    def build(self, setup: Setup, start: float) -> None:
        """Build the overseer and its model."""
        self.now = 0
        self.clock = FakeClock(start)
        self.began = self.clock.now()
        self.sink = EventRecorder()
        self.received = 0
        self.gone: list[UUID] = []
        self.model = OverseerModel(setup)
        self.real = Overseer(
            OverseerConfig(
                heartbeat_timeout_secs=setup.timeout,
                heartbeat_interval_secs=min(10.0, setup.timeout),
                max_restart_attempts=setup.attempts,
                restart_cooldown_secs=setup.cooldown,
                auto_recovery_enabled=setup.automatic,
                failure_memory_secs=setup.memory,
                restart_reset_secs=setup.reset,
                restart_backoff_multiplier=setup.multiplier,
            ),
            clock=self.clock,
            sink=self.sink,
        )

    def pick(self, index: int) -> Agent:
        """Return one of the agents."""
        return self.model.agents[index % len(self.model.agents)]

    # Coming and going

    @precondition(lambda self: len(self.model.agents) < 6)
    @rule(kind=st.sampled_from(["Scanner", "Trader"]), chosen=st.sampled_from(["none", "new", "again"]))
    def register(self, kind: str, chosen: str) -> None:
        """Register an agent: under a random id, a given one, or one that was unregistered."""
        if chosen == "none":
            agent_id = self.real.register_agent(kind)
            assert isinstance(agent_id, UUID)
        else:
            agent_id = self.gone.pop() if self.gone and chosen == "again" else uuid4()
            assert self.real.register_agent(kind, agent_id) == agent_id
        assert self.model.find(agent_id) is None
        self.model.register(kind, agent_id, self.now)

    @precondition(lambda self: self.model.agents)
    @rule(index=agents)
    def register_twice(self, index: int) -> None:
        """Try to register an id that is registered."""
        with pytest.raises(DuplicateAgentError) as refused:
            self.real.register_agent("Other", self.pick(index).id)
        reached("O1", "an id is taken")
        assert refused.value.agent_id == self.pick(index).id

    @precondition(lambda self: self.model.agents)
    @rule(index=agents)
    def unregister(self, index: int) -> None:
        """Unregister an agent."""
        agent = self.pick(index)
        self.gone.append(agent.id)
        self.real.unregister_agent(agent.id)
        self.model.unregister(agent, self.now)

    @rule(data=st.data())
    def ask_for_an_unknown_id(self, data: st.DataObject) -> None:
        """Call any method with an id that is not registered."""
        agent_id = data.draw(st.sampled_from(self.gone), label="gone") if self.gone else uuid4()
        methods: list[Callable[[UUID], object]] = [
            self.real.unregister_agent,
            self.real.record_agent_heartbeat,
            lambda unknown: self.real.record_agent_failure(unknown, "lost"),
            self.real.record_agent_success,
            self.real.begin_restart,
            self.real.record_agent_recovery,
            lambda unknown: self.real.record_restart_failure(unknown, "lost"),
            self.real.reset_agent,
            self.real.get_agent_status,
        ]
        reached("O1", "an id is unknown")
        for method in methods:
            with pytest.raises(UnknownAgentError) as refused:
                method(agent_id)
            assert refused.value.agent_id == agent_id

    # What is reported

    @precondition(lambda self: self.model.agents)
    @rule(index=agents)
    def heartbeat(self, index: int) -> None:
        """Send a heartbeat."""
        agent = self.pick(index)
        self.real.record_agent_heartbeat(agent.id)
        self.model.heartbeat(agent, self.now)

    @precondition(lambda self: self.model.agents)
    @rule(index=agents, error=errors, times=st.sampled_from([1, 1, 2, 3, 6]))
    def failure(self, index: int, error: tuple[str | Exception, object], times: int) -> None:
        """Report one failure, or several at once."""
        agent = self.pick(index)
        for _ in range(times):
            self.real.record_agent_failure(agent.id, error[0])
            self.model.failure(agent, error[1], self.now)

    @precondition(lambda self: self.model.agents)
    @rule(index=agents)
    def success(self, index: int) -> None:
        """Report a success."""
        agent = self.pick(index)
        self.real.record_agent_success(agent.id)
        self.model.success(agent, self.now)

    @rule()
    def check(self) -> None:
        """Check the heartbeats; agents can be found in any order, and their events are in that order."""
        found = self.real.check_heartbeats()
        assert isinstance(found, list)
        silent = self.model.check(self.now)
        assert sorted(found) == sorted(agent.id for agent in silent)
        events = self.model.expected
        first = len(events)
        while first and events[first - 1].at == self.now and "agent_id" in events[first - 1].payload:
            first -= 1
        events[first:] = sorted(events[first:], key=lambda event: found.index(UUID(str(event.payload["agent_id"]))))

    # Restarts

    @precondition(lambda self: self.model.agents)
    @rule(index=agents)
    def begin_restart(self, index: int) -> None:
        """Open a restart attempt, or try to open a second one."""
        agent = self.pick(index)
        self.real.begin_restart(agent.id)
        self.model.begin_restart(agent, self.now)

    @precondition(lambda self: self.model.agents)
    @rule(index=agents)
    def recovery(self, index: int) -> None:
        """Report a recovery, with or without an open attempt."""
        agent = self.pick(index)
        self.real.record_agent_recovery(agent.id)
        self.model.recovery(agent, self.now)

    @precondition(lambda self: self.model.agents)
    @rule(index=agents, error=errors)
    def restart_failure(self, index: int, error: tuple[str | Exception, object]) -> None:
        """Report a failed restart, with or without an open attempt."""
        agent = self.pick(index)
        self.real.record_restart_failure(agent.id, error[0])
        self.model.restart_failure(agent, error[1], self.now)

    @precondition(lambda self: self.model.needing_restart(self.now))
    @rule(well=st.booleans(), error=errors)
    def restart_all(self, well: bool, error: tuple[str | Exception, object]) -> None:
        """Restart every agent that needs it, as a host does."""
        for agent_id, _ in self.real.get_agents_needing_restart():
            agent = self.model.find(agent_id)
            assert agent is not None
            self.real.begin_restart(agent_id)
            self.model.begin_restart(agent, self.now)
            if well:
                self.real.record_agent_recovery(agent_id)
                self.model.recovery(agent, self.now)
            else:
                self.real.record_restart_failure(agent_id, error[0])
                self.model.restart_failure(agent, error[1], self.now)

    @precondition(lambda self: self.model.agents)
    @rule(index=agents)
    def reset_agent(self, index: int) -> None:
        """Reset an agent."""
        agent = self.pick(index)
        self.real.reset_agent(agent.id)
        self.model.reset_agent(agent, self.now)

    # The swarm

    @rule()
    def pause(self) -> None:
        """Pause, once or again."""
        self.real.pause_swarm()
        self.model.pause(self.now)

    @rule()
    def resume(self) -> None:
        """Resume, once or again."""
        self.real.resume_swarm()
        self.model.resume(self.now)

    # Time

    def go_to(self, moment: int) -> None:
        """Move time."""
        self.clock.advance((moment - self.now) / SECOND)
        self.now = moment

    @rule(amount=st.one_of(st.integers(0, 3), st.integers(0, 200 * SECOND), st.just(3600 * SECOND)))
    def pass_time(self, amount: int) -> None:
        """Let some time pass."""
        self.go_to(self.now + amount)

    @precondition(lambda self: self.model.edges(self.now))
    @rule(data=st.data(), offset=st.sampled_from([-1, 0, 0, 0, 1]), check=st.booleans())
    def pass_time_to_an_edge(self, data: st.DataObject, offset: int, check: bool) -> None:
        """Go to a moment at which time alone changes something, or to one nanosecond before or after it."""
        edge = data.draw(st.sampled_from(self.model.edges(self.now)), label="edge")
        self.go_to(max(self.now, edge + offset))
        if check:
            self.check()

    # The comparison

    @invariant()
    def same(self) -> None:
        """Compare everything that can be read, twice, since reading changes nothing."""
        for _ in range(2):
            needing = self.model.needing_restart(self.now)
            real = self.real.get_agents_needing_restart()
            assert real == [
                (agent.id, agent.kind) for agent, certain in needing if certain or (agent.id, agent.kind) in real
            ]
            statuses = self.real.get_all_agent_statuses()
            assert [status.agent_id for status in statuses] == [agent.id for agent in self.model.agents]
            for agent, status in zip(self.model.agents, statuses, strict=True):
                assert self.real.get_agent_status(agent.id) == status
                self.check_status(agent, status)
            health = self.real.get_swarm_health()
            assert {name: getattr(health, name) for name in self.model.counts()} == self.model.counts()
            assert self.real.is_paused is self.model.paused
        self.check_events()

    def check_status(self, agent: Agent, status: Any) -> None:
        """Compare one agent; after a resumption its silence may be counted from either moment."""
        assert {
            "agent_type": status.agent_type,
            "health": status.health,
            "consecutive_failures": status.consecutive_failures,
            "restart_count": status.restart_count,
            "is_stale": status.is_stale,
        } == {
            "agent_type": agent.kind,
            "health": agent.health,
            "consecutive_failures": agent.failures,
            "restart_count": agent.restarts,
            "is_stale": agent.stale,
        }
        silences = [(self.now - moment) / SECOND for moment in (agent.beat, agent.timeout_from)]
        assert any(abs(status.seconds_since_heartbeat - silence) <= CLOSE_ENOUGH for silence in silences)
        self.check_moment(status.started_at, agent.registered)
        assert status.error_message in agent.errors

    def check_moment(self, shown: Any, moment: int) -> None:
        """Compare a wall-clock time."""
        assert abs(shown - (self.began + timedelta(microseconds=moment / 1000))) <= timedelta(microseconds=1)

    def check_events(self) -> None:
        """Compare every event since the last comparison."""
        real = list(self.sink.events)
        for expected in self.model.expected:
            if expected.optional and not (real and self.matches(real[0].topic, dict(real[0].payload), expected)):
                continue
            assert real, f"not emitted: {expected}"
            event = real.pop(0)
            self.received += 1
            assert (event.sequence, event.source) == (self.received, "overseer")
            assert self.matches(event.topic, dict(event.payload), expected), (event, expected)
            self.check_moment(event.at, expected.at)
        assert not real
        self.sink.clear()
        self.model.expected.clear()

    def matches(self, topic: str, payload: dict[str, Any], expected: ExpectedEvent) -> bool:
        """Return whether an event is the one that the model expects."""
        if topic != f"arb.swarm.{expected.topic}":
            return False
        facts = dict(expected.payload)
        if "reason" in facts and facts["reason"] is None:
            facts.pop("reason")
            if payload.get("reason") not in REASONS[expected.topic]:
                return False
        return all(name in payload and payload[name] == value for name, value in facts.items())


OverseerMachine.TestCase.settings = settings(max_examples=3 * settings.default.max_examples, stateful_step_count=40)
TestOverseerAgainstItsModel = OverseerMachine.TestCase
