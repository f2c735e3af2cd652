"""The readings of an overseer, and the cost of its methods."""

from __future__ import annotations

import json
import sys

import pytest

from swarmguard import AgentHealth, CircuitBreakerRegistry

HEALTHY, DEGRADED, UNHEALTHY, DEAD = AgentHealth


def fail(overseer, agent, times):
    """Report a number of failures."""
    for _ in range(times):
        overseer.record_agent_failure(agent, "boom")


def test_empty_swarm_is_healthy(overseer):
    """A swarm without agents is Healthy. [O10]"""
    health = overseer.get_swarm_health()
    assert (health.total_agents, health.overall_health, health.is_paused) == (0, HEALTHY, False)


def test_health_is_counted(overseer):
    """The agents are counted by health, and the overall health is the worst. [O10]"""
    agents = [overseer.register_agent("Scanner") for _ in range(7)]
    for agent, failures in zip(agents, [0, 0, 0, 1, 2, 4, 6], strict=True):
        fail(overseer, agent, failures)
    health = overseer.get_swarm_health()
    assert health.total_agents == 7
    assert (health.healthy_agents, health.degraded_agents) == (3, 2)
    assert (health.unhealthy_agents, health.dead_agents) == (1, 1)
    assert health.overall_health is DEAD
    overseer.unregister_agent(agents[-1])
    assert overseer.get_swarm_health().overall_health is UNHEALTHY
    overseer.record_agent_success(agents[-2])
    assert overseer.get_swarm_health().overall_health is DEGRADED


def test_statuses_in_the_order_of_registration(overseer):
    """The statuses are in the order of registration. [O10]"""
    agents = [overseer.register_agent(f"Agent {i}") for i in range(5)]
    overseer.record_agent_heartbeat(agents[0])
    fail(overseer, agents[3], 6)
    assert [status.agent_id for status in overseer.get_all_agent_statuses()] == agents


def test_status_is_of_its_moment(overseer, clock):
    """A status is a value: it does not change when the agent does. [O10]"""
    agent = overseer.register_agent("Scanner")
    clock.advance(2.5)
    before = overseer.get_agent_status(agent)
    fail(overseer, agent, 6)
    assert (before.health, before.seconds_since_heartbeat) == (HEALTHY, 2.5)


def test_swarm_status_has_the_circuits(build):
    """The status of the swarm has its health, its agents and its circuit breakers. [O10]"""
    registry = CircuitBreakerRegistry()
    registry.get_or_create("jupiter").trip()
    overseer = build(registry=registry)
    agent = overseer.register_agent("Scanner")
    status = overseer.get_swarm_status()
    assert status.health == overseer.get_swarm_health()
    assert [shown.agent_id for shown in status.agents] == [agent]
    assert [shown.name for shown in status.circuit_breakers] == ["jupiter"]
    assert json.loads(json.dumps(status.to_dict()))["circuit_breakers"][0]["state"] == "Open"


def test_swarm_status_without_a_registry(overseer):
    """Without a registry the status of the swarm has no circuit breakers. [O10]"""
    assert overseer.get_swarm_status().circuit_breakers == ()


def test_registry_is_the_one_it_was_given(build, overseer):
    """`registry` is the one that was passed, even an empty one, and None if none was."""
    registry = CircuitBreakerRegistry()
    assert build(registry=registry).registry is registry
    assert overseer.registry is None


# Cost


def steps(action, *args):
    """Count the lines and calls of an action."""
    taken = 0

    def trace(frame, event, arg):
        nonlocal taken
        taken += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action(*args)
    finally:
        sys.settrace(before)
    return taken


def swarm(build, size):
    """Make a swarm in which one agent has failed once and one is Dead."""
    overseer = build(heartbeat_timeout_secs=30)
    agents = [overseer.register_agent("Scanner") for _ in range(size)]
    fail(overseer, agents[1], 1)
    fail(overseer, agents[2], 6)
    return overseer, agents


@pytest.mark.parametrize(
    "method",
    ["record_agent_heartbeat", "record_agent_success", "record_agent_failure", "begin_restart", "get_agent_status"],
)
@pytest.mark.parametrize("index", [0, 1, 2])
def test_reports_cost_the_same_in_any_swarm(build, method, index):
    """A report takes as many steps in a swarm of a thousand agents as in one of ten. [O14]"""
    taken = set()
    for size in (10, 1000):
        overseer, agents = swarm(build, size)
        taken.add(steps(getattr(overseer, method), agents[index], *(["boom"] if method.endswith("failure") else [])))
    assert len(taken) == 1


def test_health_costs_the_same_in_any_swarm(build):
    """The swarm's health takes as many steps whatever the number of agents. [O14]"""
    assert len({steps(swarm(build, size)[0].get_swarm_health) for size in (10, 1000)}) == 1


def test_check_costs_what_is_newly_stale(build, clock):
    """The steps of a check depend on the newly stale agents, not on the others. [O14]"""
    taken = set()
    for size in (10, 1000):
        overseer, agents = swarm(build, size)
        clock.advance(29)
        for agent in agents[3:]:
            overseer.record_agent_heartbeat(agent)
        clock.advance(1)
        taken.add(steps(overseer.check_heartbeats))
        assert overseer.get_agent_status(agents[0]).is_stale
        assert overseer.get_swarm_health().dead_agents == 3
    assert len(taken) == 1


def test_needing_restart_costs_the_dead(build):
    """The steps of finding the agents to restart depend on the Dead only. [O14]"""
    assert len({steps(swarm(build, size)[0].get_agents_needing_restart) for size in (10, 1000)}) == 1
