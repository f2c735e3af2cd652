"""Restarts by the host: which agents need one, attempts, the restart budget, resets."""

from __future__ import annotations

from uuid import uuid4

import pytest

from swarmguard import AgentHealth

HEALTHY, DEGRADED, UNHEALTHY, DEAD = AgentHealth


def kill(overseer, agent):
    """Make an agent Dead by failures."""
    while overseer.get_agent_status(agent).health is not DEAD:
        overseer.record_agent_failure(agent, "boom")


def register_dead(overseer, agent_type="Scanner"):
    """Register an agent and make it Dead."""
    agent = overseer.register_agent(agent_type)
    kill(overseer, agent)
    return agent


def restart(overseer, agent):
    """Restart an agent as a host does."""
    overseer.begin_restart(agent)
    overseer.record_agent_recovery(agent)


def restart_count(overseer, agent):
    """Return an agent's restart count."""
    return overseer.get_agent_status(agent).restart_count


def count(events, topic):
    """Count the events of a topic."""
    return events.topics.count(f"arb.swarm.{topic}")


# Which agents need a restart


@pytest.mark.parametrize("way", ["failures", "silence", "failed restart"])
def test_the_dead_need_a_restart(build, clock, way):
    """An agent that is Dead for any reason needs a restart; no other agent does. [O6]"""
    overseer = build(restart_cooldown_secs=0)
    agent = overseer.register_agent("Scanner")
    other = overseer.register_agent("Executor")
    overseer.record_agent_failure(other, "boom")
    clock.advance(30)
    overseer.record_agent_heartbeat(other)
    assert overseer.get_agents_needing_restart() == []
    if way == "failures":
        kill(overseer, agent)
    elif way == "silence":
        overseer.check_heartbeats()
    else:
        overseer.record_restart_failure(agent, "boom")
    assert overseer.get_agents_needing_restart() == [(agent, "Scanner")]


def test_order_is_that_of_registration(overseer):
    """Agents are listed in the order of registration, not of their deaths. [O6]"""
    agents = [overseer.register_agent(f"Agent {i}") for i in range(20)]
    for agent in agents[::-3] + agents[::2]:
        kill(overseer, agent)
    listed = [agent for agent, _ in overseer.get_agents_needing_restart()]
    assert listed == [agent for agent in agents if overseer.get_agent_status(agent).health is DEAD]
    assert len(listed) == 14


def test_reading_changes_nothing(overseer, events):
    """`get_agents_needing_restart` changes nothing. [O6]"""
    agent = register_dead(overseer)
    events.clear()
    before = overseer.get_agent_status(agent)
    first, second = overseer.get_agents_needing_restart(), overseer.get_agents_needing_restart()
    assert first == second == [(agent, "Scanner")]
    assert overseer.get_agent_status(agent) == before
    assert events.events == []


def test_not_while_an_attempt_is_open(overseer):
    """An agent whose restart is under way does not need another. [O6]"""
    agent = register_dead(overseer)
    overseer.begin_restart(agent)
    assert overseer.get_agents_needing_restart() == []


def test_not_while_paused(overseer):
    """No agent is listed while the swarm is paused. [O6, O9]"""
    agent = register_dead(overseer)
    overseer.pause_swarm()
    assert overseer.get_agents_needing_restart() == []
    overseer.resume_swarm()
    assert overseer.get_agents_needing_restart() == [(agent, "Scanner")]


def test_not_without_auto_recovery(build):
    """With `auto_recovery_enabled=False` no agent is listed. [O6]"""
    overseer = build(auto_recovery_enabled=False)
    register_dead(overseer)
    assert overseer.get_agents_needing_restart() == []


def test_not_when_the_budget_is_used_up(build):
    """An agent whose budget is used up is not listed. [O6]"""
    overseer = build(max_restart_attempts=2, restart_cooldown_secs=0)
    agent = register_dead(overseer)
    for left in (2, 1):
        assert len(overseer.get_agents_needing_restart()) == 1, left
        restart(overseer, agent)
        kill(overseer, agent)
    assert overseer.get_agents_needing_restart() == []


@pytest.mark.parametrize("end", ["record_agent_recovery", "record_restart_failure"])
def test_cooldown(overseer, clock, end):
    """The first attempt starts at once; the next waits for the cooldown from the end of the last one. [O6, T37]"""
    agent = register_dead(overseer)
    overseer.begin_restart(agent)
    clock.advance(500)  # a slow attempt: the cooldown starts with its end
    getattr(overseer, end)(agent, *(["boom"] if end == "record_restart_failure" else []))
    kill(overseer, agent)
    clock.advance(59.999)
    assert overseer.get_agents_needing_restart() == []
    clock.advance(0.001)
    assert overseer.get_agents_needing_restart() == [(agent, "Scanner")]


def test_cooldown_grows(build, clock):
    """The cooldown after the k-th attempt is multiplied k - 1 times. [O6]"""
    overseer = build(max_restart_attempts=5, restart_cooldown_secs=10, restart_backoff_multiplier=3)
    agent = register_dead(overseer)
    for cooldown in (10, 30, 90):
        restart(overseer, agent)
        kill(overseer, agent)
        clock.advance(cooldown - 0.001)
        assert overseer.get_agents_needing_restart() == []
        clock.advance(0.001)
        assert overseer.get_agents_needing_restart() == [(agent, "Scanner")]


@pytest.mark.parametrize("multiplier", [1e200, 10**200])
def test_cooldown_beyond_all_floats(build, clock, multiplier):
    """A cooldown that is too large for a float is limited. [O6]"""
    overseer = build(max_restart_attempts=9, restart_backoff_multiplier=multiplier)
    agent = register_dead(overseer)
    for _ in range(5):
        restart(overseer, agent)
    kill(overseer, agent)
    clock.advance(9e8)
    assert overseer.get_agents_needing_restart() == []
    clock.advance(1e8)
    assert overseer.get_agents_needing_restart() == [(agent, "Scanner")]


def test_no_cooldown(build):
    """With `restart_cooldown_secs=0` the next attempt starts at once, whatever the multiplier. [O6]"""
    overseer = build(restart_cooldown_secs=0, restart_backoff_multiplier=1e300)
    agent = register_dead(overseer)
    for _ in range(2):
        restart(overseer, agent)
        kill(overseer, agent)
        assert overseer.get_agents_needing_restart() == [(agent, "Scanner")]


# Attempts


def test_beginning_counts_once(overseer):
    """`begin_restart` opens an attempt and counts it; if one is open, it does nothing. [O7]"""
    agent = register_dead(overseer)
    overseer.begin_restart(agent)
    overseer.begin_restart(agent)
    assert restart_count(overseer, agent) == 1
    assert overseer.get_agent_status(agent).health is DEAD


def test_recovery(overseer, events, clock):
    """A recovery ends the attempt: the agent is Healthy and fresh, without failures or an error. [O7]"""
    agent = register_dead(overseer)
    clock.advance(30)
    overseer.check_heartbeats()
    overseer.begin_restart(agent)
    overseer.record_agent_recovery(agent)
    status = overseer.get_agent_status(agent)
    assert (status.health, status.consecutive_failures, status.restart_count) == (HEALTHY, 0, 1)
    assert (status.error_message, status.is_stale, status.seconds_since_heartbeat) == (None, False, 0.0)
    assert dict(events.events[-1].payload) == {
        "agent_id": str(agent),
        "agent_type": "Scanner",
        "reason": "restart",
        "restart_count": 1,
    }
    assert events.events[-1].topic == "arb.swarm.agent.recovered"


def test_recovery_without_an_attempt_counts(overseer):
    """A recovery without `begin_restart` counts a restart, so such a host cannot exceed the budget. [O7, T33]"""
    agent = register_dead(overseer)
    overseer.record_agent_recovery(agent)
    assert restart_count(overseer, agent) == 1


def test_failed_restart_without_an_attempt_counts(build, events):
    """A failed restart without `begin_restart` counts too. [O7, T33]"""
    overseer = build(max_restart_attempts=3, restart_cooldown_secs=0)
    agent = register_dead(overseer)
    for _ in range(3):
        assert overseer.get_agents_needing_restart() == [(agent, "Scanner")]
        overseer.record_restart_failure(agent, "boom")
    assert overseer.get_agents_needing_restart() == []
    assert count(events, "agent.exhausted") == 1


def test_recovery_of_a_healthy_agent_emits(overseer, events):
    """Restarting a Healthy agent counts and emits `agent.recovered`. [O7]"""
    agent = overseer.register_agent("Scanner")
    overseer.record_agent_recovery(agent)
    assert events.topics[-1] == "arb.swarm.agent.recovered"
    assert restart_count(overseer, agent) == 1


def test_failed_restart(overseer, events):
    """A failed restart leaves the agent Dead, keeps its error, and is not a recovery. [O7, T34]"""
    agent = register_dead(overseer)
    overseer.begin_restart(agent)
    events.clear()
    overseer.record_restart_failure(agent, ConnectionError("refused"))
    status = overseer.get_agent_status(agent)
    assert (status.health, status.restart_count) == (DEAD, 1)
    assert status.error_message == "ConnectionError: refused"
    assert events.events == []


def test_failed_restart_of_the_living(overseer, events):
    """An agent that recovers by itself during its restart is down if the restart fails. [O7]"""
    agent = register_dead(overseer)
    overseer.begin_restart(agent)
    overseer.record_agent_success(agent)
    overseer.record_restart_failure(agent, "boom")
    assert overseer.get_agent_status(agent).health is DEAD
    assert events.events[-1].payload["reason"] == "crashed"
    assert events.events[-1].payload["error"] == "boom"
    assert restart_count(overseer, agent) == 1


# The budget


def test_exhausted_is_emitted_once(build, events):
    """`agent.exhausted` is emitted once when an agent is Dead with its budget used up. [O7]"""
    overseer = build(max_restart_attempts=1, restart_cooldown_secs=0)
    agent = register_dead(overseer)
    assert count(events, "agent.exhausted") == 0
    overseer.begin_restart(agent)
    assert count(events, "agent.exhausted") == 0
    overseer.record_agent_recovery(agent)
    assert count(events, "agent.exhausted") == 0
    kill(overseer, agent)
    assert events.topics[-2:] == ["arb.swarm.agent.failed", "arb.swarm.agent.exhausted"]
    assert dict(events.events[-1].payload) == {
        "agent_id": str(agent),
        "agent_type": "Scanner",
        "restart_count": 1,
        "error": "boom",
    }
    overseer.record_agent_success(agent)
    kill(overseer, agent)
    restart(overseer, agent)
    kill(overseer, agent)
    assert count(events, "agent.exhausted") == 1


def test_exhausted_after_a_failed_restart(build, events):
    """An agent whose last restart fails is exhausted. [O7]"""
    overseer = build(max_restart_attempts=1)
    agent = register_dead(overseer)
    overseer.begin_restart(agent)
    overseer.record_restart_failure(agent, "boom")
    assert count(events, "agent.exhausted") == 1


def test_not_exhausted_while_an_attempt_is_open(build, events):
    """An agent that dies while its last restart is under way is not exhausted yet. [O7]"""
    overseer = build(max_restart_attempts=1)
    agent = register_dead(overseer)
    overseer.begin_restart(agent)
    overseer.record_agent_success(agent)
    kill(overseer, agent)
    assert count(events, "agent.exhausted") == 0
    overseer.record_restart_failure(agent, "boom")
    assert count(events, "agent.exhausted") == 1


def test_no_budget_at_all(build, events):
    """With `max_restart_attempts=0` the first death exhausts the agent. [O7]"""
    overseer = build(max_restart_attempts=0)
    agent = register_dead(overseer)
    assert count(events, "agent.exhausted") == 1
    assert overseer.get_agents_needing_restart() == []
    overseer.reset_agent(agent)
    kill(overseer, agent)
    assert count(events, "agent.exhausted") == 2


def test_count_expires(overseer, clock):
    """The restart count is zero exactly when the reset time has passed. [O8, T35]"""
    agent = register_dead(overseer)
    restart(overseer, agent)
    clock.advance(599.999)
    assert restart_count(overseer, agent) == 1
    clock.advance(0.001)
    assert restart_count(overseer, agent) == 0
    kill(overseer, agent)
    assert restart_count(overseer, agent) == 0
    assert overseer.get_agents_needing_restart() == [(agent, "Scanner")]


def test_steady_time_is_broken_by_death(overseer, clock):
    """Only a death starts the reset time again; a worse health that is not Dead does not. [O8, T35]"""
    agent = register_dead(overseer)
    restart(overseer, agent)
    clock.advance(400)
    kill(overseer, agent)
    overseer.record_agent_success(agent)
    clock.advance(400)
    for _ in range(5):
        overseer.record_agent_failure(agent, "boom")
    assert overseer.get_agent_status(agent).health is UNHEALTHY
    assert restart_count(overseer, agent) == 1
    clock.advance(200)
    assert restart_count(overseer, agent) == 0


def test_count_of_a_dead_agent_does_not_expire(overseer, clock):
    """The restart count of a Dead agent does not expire. [O8]"""
    agent = register_dead(overseer)
    restart(overseer, agent)
    kill(overseer, agent)
    clock.advance(10**6)
    assert restart_count(overseer, agent) == 1


def test_restart_starts_the_reset_time_again(overseer, clock):
    """A restart of an agent that was Healthy for long counts, and expires after the reset time. [O8]"""
    agent = overseer.register_agent("Scanner")
    clock.advance(10**6)
    restart(overseer, agent)
    assert restart_count(overseer, agent) == 1
    clock.advance(600)
    assert restart_count(overseer, agent) == 0


def test_expired_count_does_not_come_back(overseer, clock):
    """A count that has expired does not come back when the attempt ends. [O8]"""
    agent = overseer.register_agent("Scanner")
    overseer.begin_restart(agent)
    clock.advance(600)
    assert restart_count(overseer, agent) == 0
    overseer.record_agent_recovery(agent)
    assert restart_count(overseer, agent) == 0


def test_exhausted_can_be_emitted_again(build, events, clock):
    """Once the count has expired, `agent.exhausted` can be emitted again. [O7, O8]"""
    overseer = build(max_restart_attempts=1, restart_cooldown_secs=0)
    agent = register_dead(overseer)
    for exhausted in (1, 2):
        restart(overseer, agent)
        kill(overseer, agent)
        assert count(events, "agent.exhausted") == exhausted
        overseer.record_agent_success(agent)
        clock.advance(600)
        kill(overseer, agent)
        assert count(events, "agent.exhausted") == exhausted


def test_count_that_never_expires(build, clock):
    """With `restart_reset_secs=None` only a reset gives the budget back. [O8]"""
    overseer = build(restart_reset_secs=None)
    agent = register_dead(overseer)
    restart(overseer, agent)
    clock.advance(10**9)
    assert restart_count(overseer, agent) == 1
    overseer.reset_agent(agent)
    assert restart_count(overseer, agent) == 0


def test_recovered_has_the_current_count(overseer, events, clock):
    """`agent.recovered` has the same restart count as `get_agent_status`. [O5, O8]"""
    agent = register_dead(overseer)
    restart(overseer, agent)
    overseer.record_agent_failure(agent, "boom")
    clock.advance(600)
    overseer.record_agent_success(agent)
    assert events.events[-1].payload["restart_count"] == 0


@pytest.mark.parametrize("multiplier", [1.0, 1e200])
def test_no_cooldown_between_failed_restarts(build, multiplier):
    """With a cooldown of 0 every attempt may start at once, whatever the multiplier. [O6]"""
    overseer = build(restart_cooldown_secs=0, restart_backoff_multiplier=multiplier, max_restart_attempts=5)
    agent = register_dead(overseer)
    for _ in range(5):
        assert overseer.get_agents_needing_restart() == [(agent, "Scanner")]
        overseer.begin_restart(agent)
        overseer.record_restart_failure(agent, "boom")
    assert overseer.get_agents_needing_restart() == []


def test_cooldown_of_a_second(build, clock):
    """A cooldown of one second lasts one second. [O6]"""
    overseer = build(restart_cooldown_secs=1)
    agent = register_dead(overseer)
    overseer.record_restart_failure(agent, "boom")
    assert overseer.get_agents_needing_restart() == []
    clock.advance(1)
    assert overseer.get_agents_needing_restart() == [(agent, "Scanner")]


# Reset


@pytest.mark.parametrize("ill", ["failures", "down"])
def test_reset_heals(overseer, events, ill):
    """A reset clears failures, down and restarts, and emits `agent.recovered`. [O8]"""
    agent = register_dead(overseer)
    restart(overseer, agent)
    if ill == "failures":
        kill(overseer, agent)
    else:
        overseer.record_restart_failure(agent, "boom")
    overseer.reset_agent(agent)
    status = overseer.get_agent_status(agent)
    assert (status.health, status.consecutive_failures, status.restart_count) == (HEALTHY, 0, 0)
    assert events.topics[-1] == "arb.swarm.agent.recovered"
    assert events.events[-1].payload["reason"] == "restart"


def test_reset_ends_the_cooldown(overseer):
    """After a reset the next attempt is the first again and starts at once. [O6, O8]"""
    agent = register_dead(overseer)
    restart(overseer, agent)
    kill(overseer, agent)
    assert overseer.get_agents_needing_restart() == []
    overseer.reset_agent(agent)
    kill(overseer, agent)
    assert overseer.get_agents_needing_restart() == [(agent, "Scanner")]


def test_reset_is_no_heartbeat(overseer, events, clock):
    """A reset leaves a stale agent stale, with its whole budget. [O8]"""
    agent = register_dead(overseer)
    restart(overseer, agent)
    clock.advance(30)
    overseer.check_heartbeats()
    events.clear()
    overseer.reset_agent(agent)
    status = overseer.get_agent_status(agent)
    assert (status.health, status.is_stale, status.restart_count) == (DEAD, True, 0)
    assert events.events == []
    assert overseer.get_agents_needing_restart() == [(agent, "Scanner")]


def test_reset_of_a_healthy_agent_emits_nothing(overseer, events):
    """A reset of a Healthy agent emits no event. [O8]"""
    agent = overseer.register_agent("Scanner")
    events.clear()
    overseer.reset_agent(agent)
    assert events.events == []


def test_reset_during_an_attempt(overseer):
    """A reset leaves an open attempt open, and clears what it counted. [O7, O8]"""
    agent = register_dead(overseer)
    overseer.begin_restart(agent)
    overseer.reset_agent(agent)
    kill(overseer, agent)
    assert overseer.get_agents_needing_restart() == []
    overseer.record_agent_recovery(agent)
    assert restart_count(overseer, agent) == 0


# Attempts of `run`


@pytest.fixture
def machine(overseer):
    """Give the machine of the overseer."""
    return overseer._core.machine


def test_claim_is_for_agents_that_need_a_restart(overseer, machine):
    """The first claim opens the attempt, and only for an agent that needs a restart. [O11]"""
    agent = overseer.register_agent("Scanner")
    assert machine.claim_restart(0.0, agent) is None
    assert machine.claim_restart(0.0, uuid4()) is None
    kill(overseer, agent)
    overseer.pause_swarm()
    assert machine.claim_restart(0.0, agent) is None
    overseer.resume_swarm()
    assert machine.claim_restart(0.0, agent) is not None
    assert machine.claim_restart(0.0, agent) is None


def test_abandoned_attempt_is_not_counted(overseer, machine):
    """An attempt that is abandoned is not counted. [O11]"""
    agent = register_dead(overseer)
    attempt = machine.claim_restart(0.0, agent)
    assert restart_count(overseer, agent) == 1
    machine.abandon_attempt(0.0, attempt)
    assert restart_count(overseer, agent) == 0
    assert overseer.get_agents_needing_restart() == [(agent, "Scanner")]


def test_abandoned_attempt_can_leave_an_agent_exhausted(build, events):
    """Abandoning an attempt beyond the budget leaves the agent exhausted. [O7, O11]"""
    overseer = build(max_restart_attempts=1)
    agent = register_dead(overseer)
    restart(overseer, agent)
    overseer.begin_restart(agent)
    kill(overseer, agent)
    core = overseer._core
    assert count(events, "agent.exhausted") == 0
    core.do(core.machine.abandon_attempt, core.machine._agents.find(agent).attempt)
    assert count(events, "agent.exhausted") == 1


@pytest.mark.parametrize("end", ["recovery", "failure", "unregister"])
def test_attempt_ends_once(overseer, machine, end):
    """An attempt that has ended cannot be ended again. [O11]"""
    agent = register_dead(overseer)
    attempt = machine.claim_restart(0.0, agent)
    if end == "recovery":
        overseer.record_agent_recovery(agent)
    elif end == "failure":
        overseer.record_restart_failure(agent, "boom")
    else:
        overseer.unregister_agent(agent)
        overseer.register_agent("Scanner", agent)
    before = overseer.get_agent_status(agent)
    machine.attempt_succeeded(0.0, attempt)
    machine.attempt_failed(0.0, attempt, None)
    machine.abandon_attempt(0.0, attempt)
    assert overseer.get_agent_status(agent) == before
