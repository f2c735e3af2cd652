"""The overseer against its model: agents that come and go, fail and restart, and time moved to and around each edge."""

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
from tests.properties.overseer_model import SECOND, Agent, OverseerModel, Setup, Told
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
    """Draw a configuration: the default, or one with every edge near another."""
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
    """Equals every text that begins with the given one: what an exception's text must do."""

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
        """Make the two."""
        self.now = 0
        self.clock = FakeClock(start)
        self.began = self.clock.now()
        self.sink = EventRecorder()
        self.told = 0
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
        """Register an agent, under an id of the overseer's choice, a new one, or one that has gone."""
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
        """Try to register an id that is taken."""
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
        """Judge the heartbeats; several agents may be found in any order, and are told of in that order."""
        found = self.real.check_heartbeats()
        assert isinstance(found, list)
        expected = self.model.check(self.now)
        assert sorted(found) == sorted(agent.id for agent in expected)
        first = len(self.model.told)
        while first and self.model.told[first - 1].at == self.now and "agent_id" in self.model.told[first - 1].payload:
            first -= 1
        self.model.told[first:] = sorted(
            self.model.told[first:], key=lambda told: found.index(UUID(str(told.payload["agent_id"])))
        )

    # Restarts

    @precondition(lambda self: self.model.agents)
    @rule(index=agents)
    def begin_restart(self, index: int) -> None:
        """Open an attempt, or try to open a second one."""
        agent = self.pick(index)
        self.real.begin_restart(agent.id)
        self.model.begin_restart(agent, self.now)

    @precondition(lambda self: self.model.agents)
    @rule(index=agents)
    def recovery(self, index: int) -> None:
        """End an attempt well, or report a recovery out of the blue."""
        agent = self.pick(index)
        self.real.record_agent_recovery(agent.id)
        self.model.recovery(agent, self.now)

    @precondition(lambda self: self.model.agents)
    @rule(index=agents, error=errors)
    def restart_failure(self, index: int, error: tuple[str | Exception, object]) -> None:
        """End an attempt badly, or report a failed restart out of the blue."""
        agent = self.pick(index)
        self.real.record_restart_failure(agent.id, error[0])
        self.model.restart_failure(agent, error[1], self.now)

    @precondition(lambda self: self.model.needing_restart(self.now))
    @rule(well=st.booleans(), error=errors)
    def restart_all(self, well: bool, error: tuple[str | Exception, object]) -> None:
        """Restart everybody who needs it, as a host does."""
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
        """Give an agent its budget back."""
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
        """Compare all that can be seen, twice: reading it changes nothing."""
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
        silences = [(self.now - moment) / SECOND for moment in (agent.beat, agent.judged_from)]
        assert any(abs(status.seconds_since_heartbeat - silence) <= CLOSE_ENOUGH for silence in silences)
        self.check_moment(status.started_at, agent.registered)
        assert status.error_message in agent.errors

    def check_moment(self, shown: Any, moment: int) -> None:
        """Compare a time that people read."""
        assert abs(shown - (self.began + timedelta(microseconds=moment / 1000))) <= timedelta(microseconds=1)

    def check_events(self) -> None:
        """Compare every event since the last comparison."""
        real = list(self.sink.events)
        for told in self.model.told:
            if told.optional and not (real and self.is_told(real[0].topic, dict(real[0].payload), told)):
                continue
            assert real, f"not told: {told}"
            event = real.pop(0)
            self.told += 1
            assert (event.sequence, event.source) == (self.told, "overseer")
            assert self.is_told(event.topic, dict(event.payload), told), (event, told)
            self.check_moment(event.at, told.at)
        assert not real
        self.sink.clear()
        self.model.told.clear()

    def is_told(self, topic: str, payload: dict[str, Any], told: Told) -> bool:
        """Tell whether an event is the one that the model tells of."""
        if topic != f"arb.swarm.{told.topic}":
            return False
        expected = dict(told.payload)
        if "reason" in expected and expected["reason"] is None:
            expected.pop("reason")
            if payload.get("reason") not in REASONS[told.topic]:
                return False
        return all(name in payload and payload[name] == value for name, value in expected.items())


OverseerMachine.TestCase.settings = settings(max_examples=3 * settings.default.max_examples, stateful_step_count=40)
TestOverseerAgainstItsModel = OverseerMachine.TestCase
