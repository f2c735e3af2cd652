"""Registration, reports and health."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from swarmguard import AgentHealth, DuplicateAgentError, EventBus, Overseer, OverseerConfig, UnknownAgentError

HEALTHY, DEGRADED, UNHEALTHY, DEAD = AgentHealth
BY_ID = [
    ("unregister_agent", ()),
    ("record_agent_heartbeat", ()),
    ("record_agent_success", ()),
    ("record_agent_failure", ("boom",)),
    ("begin_restart", ()),
    ("record_agent_recovery", ()),
    ("record_restart_failure", ("boom",)),
    ("reset_agent", ()),
    ("get_agent_status", ()),
]


def fail(overseer, agent, times):
    """Report a number of failures."""
    for _ in range(times):
        overseer.record_agent_failure(agent, "boom")


def health(overseer, agent):
    """Return an agent's health."""
    return overseer.get_agent_status(agent).health


def payloads(events, topic):
    """Return the payloads of the events of a topic."""
    return [dict(event.payload) for event in events.events if event.topic == f"arb.swarm.{topic}"]


class UnprintableError(Exception):
    """An exception whose `__str__` raises."""

    def __str__(self):
        """Fail."""
        raise ValueError("no text")


# Registration


def test_new_agent_is_healthy(overseer, events, clock):
    """A new agent is Healthy and fresh, has a random id, and emits `agent.started`. [O1]"""
    clock.advance(5)
    agent = overseer.register_agent("Scanner")
    assert isinstance(agent, UUID)
    assert agent.version == 4
    status = overseer.get_agent_status(agent)
    assert status.agent_type == "Scanner"
    assert status.agent_id == agent
    assert status.health is HEALTHY
    assert status.seconds_since_heartbeat == 0.0
    assert status.started_at == clock.now()
    assert status.started_at.utcoffset() == timedelta(0)
    assert (status.consecutive_failures, status.restart_count) == (0, 0)
    assert (status.error_message, status.is_stale) == (None, False)
    assert payloads(events, "agent.started") == [{"agent_id": str(agent), "agent_type": "Scanner"}]


def test_ids_are_unique(overseer):
    """A given id is used; it cannot be registered twice at a time. [O1]"""
    agent = uuid4()
    assert overseer.register_agent("Scanner", agent) == agent
    with pytest.raises(DuplicateAgentError) as caught:
        overseer.register_agent("Executor", UUID(str(agent)))
    assert caught.value.agent_id == agent
    assert overseer.get_agent_status(agent).agent_type == "Scanner"
    overseer.unregister_agent(agent)
    assert overseer.register_agent("Executor", agent) == agent


def test_registering_again_starts_anew(overseer):
    """An id that is registered again keeps nothing of the earlier agent. [O1]"""
    agent = overseer.register_agent("Scanner")
    fail(overseer, agent, 7)
    overseer.begin_restart(agent)
    overseer.unregister_agent(agent)
    overseer.register_agent("Scanner", agent)
    status = overseer.get_agent_status(agent)
    assert (status.health, status.restart_count, status.error_message) == (HEALTHY, 0, None)


@pytest.mark.parametrize("state", ["healthy", "stale", "dead", "down"])
def test_unregistering(overseer, events, clock, state):
    """An agent can be unregistered in any state, leaves nothing behind, and emits `agent.stopped`. [O1]"""
    agent = overseer.register_agent("Scanner")
    if state == "stale":
        clock.advance(30)
        assert overseer.check_heartbeats() == [agent]
    elif state == "dead":
        fail(overseer, agent, 6)
    elif state == "down":
        overseer.record_restart_failure(agent, "boom")
    overseer.unregister_agent(agent)
    assert payloads(events, "agent.stopped") == [{"agent_id": str(agent), "agent_type": "Scanner"}]
    assert overseer.get_swarm_health().total_agents == 0
    assert overseer.get_swarm_health().dead_agents == 0
    assert overseer.get_all_agent_statuses() == []
    assert overseer.get_agents_needing_restart() == []
    clock.advance(100)
    assert overseer.check_heartbeats() == []


@pytest.mark.parametrize(("method", "args"), BY_ID)
def test_unknown_agents(overseer, events, method, args):
    """Every method that takes an id raises for an id that is not registered, and changes nothing. [O1]"""
    stranger = uuid4()
    with pytest.raises(UnknownAgentError) as caught:
        getattr(overseer, method)(stranger, *args)
    assert caught.value.agent_id == stranger
    assert overseer.get_all_agent_statuses() == []
    assert events.events == []


@pytest.mark.parametrize(("method", "args"), BY_ID)
def test_ids_of_wrong_types(overseer, method, args):
    """An id that is not a UUID raises a `TypeError` that names it. [O1]"""
    with pytest.raises(TypeError, match="agent_id must be a UUID, got 'scanner-1'"):
        getattr(overseer, method)("scanner-1", *args)


@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        (("",), ValueError, "agent_type must be a non-empty str, got ''"),
        ((7,), TypeError, "agent_type must be a non-empty str, got 7"),
        (("Scanner", "id"), TypeError, "agent_id must be a UUID or None, got 'id'"),
    ],
)
def test_registering_is_checked(overseer, events, args, error, message):
    """A wrong type or id registers nothing. [O1]"""
    with pytest.raises(error, match=message):
        overseer.register_agent(*args)
    assert events.events == []


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"config": {}}, "config must be an OverseerConfig, got {}"),
        ({"clock": 3}, "clock must be a Clock"),
        ({"sink": 3}, "sink must be a callable or None, got 3"),
        ({"registry": 3}, "registry must be a CircuitBreakerRegistry or None, got 3"),
    ],
)
def test_overseer_is_checked(kwargs, message):
    """The constructor refuses arguments of a wrong type."""
    with pytest.raises(TypeError, match=message):
        Overseer(**kwargs)


def test_overseer_has_config_and_clock(clock):
    """The configuration and the clock can be read."""
    config = OverseerConfig(heartbeat_timeout_secs=7)
    overseer = Overseer(config, clock=clock)
    assert overseer.config is config
    assert overseer.clock is clock


# Failures and successes


@pytest.mark.parametrize(
    ("failures", "expected"),
    [(0, HEALTHY), (1, DEGRADED), (2, DEGRADED), (3, UNHEALTHY), (5, UNHEALTHY), (6, DEAD), (7, DEAD), (60, DEAD)],
)
def test_health_by_failures(overseer, failures, expected):
    """Consecutive failures make an agent Degraded, Unhealthy and Dead. [O2]"""
    agent = overseer.register_agent("Scanner")
    fail(overseer, agent, failures)
    status = overseer.get_agent_status(agent)
    assert status.health is expected
    assert status.consecutive_failures == failures


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("plain text", "plain text"),
        ("", ""),
        (ValueError("boom"), "ValueError: boom"),
        (ValueError(), "ValueError"),
        (KeyError("key"), "KeyError: 'key'"),
        (UnprintableError(), "UnprintableError"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
    ],
)
def test_error_messages(overseer, events, error, message):
    """A text is kept as it is; the message of an exception begins with the name of its type. [O3, O12]"""
    agent = overseer.register_agent("Scanner")
    overseer.record_agent_failure(agent, error)
    assert overseer.get_agent_status(agent).error_message == message
    assert payloads(events, "agent.failed")[0]["error"] == message


@pytest.mark.parametrize("method", ["record_agent_failure", "record_restart_failure"])
def test_errors_of_wrong_types(overseer, method):
    """An error must be a text or an exception; anything else is refused and not recorded. [O3]"""
    agent = overseer.register_agent("Scanner")
    with pytest.raises(TypeError, match="error must be a str or an exception, got 5"):
        getattr(overseer, method)(agent, 5)
    assert health(overseer, agent) is HEALTHY


@pytest.mark.parametrize("failures", [1, 3, 6, 9])
def test_success_heals(overseer, events, failures):
    """A success clears the failure count, from any health, and keeps the last error message. [O3]"""
    agent = overseer.register_agent("Scanner")
    fail(overseer, agent, failures)
    overseer.record_agent_success(agent)
    status = overseer.get_agent_status(agent)
    assert (status.health, status.consecutive_failures, status.error_message) == (HEALTHY, 0, "boom")
    assert payloads(events, "agent.recovered") == [
        {"agent_id": str(agent), "agent_type": "Scanner", "reason": "success", "restart_count": 0}
    ]


def test_success_is_a_sign_of_life(overseer, clock):
    """A success is a sign of life, and makes a stale agent fresh. [O3]"""
    agent = overseer.register_agent("Scanner")
    clock.advance(29)
    overseer.record_agent_success(agent)
    clock.advance(29)
    assert overseer.check_heartbeats() == []
    clock.advance(1)
    assert overseer.check_heartbeats() == [agent]
    overseer.record_agent_success(agent)
    status = overseer.get_agent_status(agent)
    assert (status.health, status.is_stale, status.seconds_since_heartbeat) == (HEALTHY, False, 0.0)


def test_failure_is_no_sign_of_life(overseer, clock):
    """A failure is not a sign of life. [O3]"""
    agent = overseer.register_agent("Scanner")
    clock.advance(29)
    fail(overseer, agent, 1)
    clock.advance(1)
    assert overseer.check_heartbeats() == [agent]


def test_success_ends_being_down(overseer):
    """An agent that is down is Dead until a success. [O2]"""
    agent = overseer.register_agent("Scanner")
    overseer.record_restart_failure(agent, "boom")
    assert health(overseer, agent) is DEAD
    overseer.record_agent_heartbeat(agent)
    assert health(overseer, agent) is DEAD
    overseer.record_agent_success(agent)
    assert health(overseer, agent) is HEALTHY


# Heartbeats and failures


@pytest.mark.parametrize("failures", [1, 5])
def test_heartbeat_clears_old_failures(overseer, events, clock, failures):
    """A heartbeat clears the failure count once the last failure is `failure_memory_secs` old, not before. [O3]"""
    agent = overseer.register_agent("Scanner")
    fail(overseer, agent, failures)
    clock.advance(29.999)
    overseer.record_agent_heartbeat(agent)
    assert overseer.get_agent_status(agent).consecutive_failures == failures
    clock.advance(0.001)
    overseer.record_agent_heartbeat(agent)
    assert overseer.get_agent_status(agent).consecutive_failures == 0
    assert health(overseer, agent) is HEALTHY
    assert [payload["reason"] for payload in payloads(events, "agent.recovered")] == ["heartbeat"]


def test_memory_starts_with_the_last_failure(overseer, clock):
    """Each failure starts `failure_memory_secs` again. [O3]"""
    agent = overseer.register_agent("Scanner")
    fail(overseer, agent, 1)
    clock.advance(20)
    fail(overseer, agent, 1)
    clock.advance(20)
    overseer.record_agent_heartbeat(agent)
    assert overseer.get_agent_status(agent).consecutive_failures == 2


def test_dead_by_failures_is_not_cleared_by_heartbeats(overseer, clock):
    """No number of heartbeats revives an agent that is Dead by failures. [O3]"""
    agent = overseer.register_agent("Scanner")
    fail(overseer, agent, 6)
    for _ in range(100):
        clock.advance(10)
        overseer.record_agent_heartbeat(agent)
    assert health(overseer, agent) is DEAD


def test_heartbeats_do_not_hide_failures(overseer, clock):
    """An agent that sends heartbeats while every call fails reaches Dead. [O3]"""
    agent = overseer.register_agent("Scanner")
    for _ in range(6):
        fail(overseer, agent, 1)
        clock.advance(10)
        overseer.record_agent_heartbeat(agent)
    assert health(overseer, agent) is DEAD


def test_no_failure_memory(build, clock):
    """With `failure_memory_secs=None` heartbeats never clear the count. [O3]"""
    overseer = build(failure_memory_secs=None)
    agent = overseer.register_agent("Scanner")
    fail(overseer, agent, 1)
    clock.advance(10**6)
    overseer.record_agent_heartbeat(agent)
    assert health(overseer, agent) is DEGRADED


def test_memory_of_zero(build):
    """With `failure_memory_secs=0` the next heartbeat clears the count. [O3]"""
    overseer = build(failure_memory_secs=0)
    agent = overseer.register_agent("Scanner")
    fail(overseer, agent, 5)
    overseer.record_agent_heartbeat(agent)
    assert health(overseer, agent) is HEALTHY


# Staleness


def test_stale_at_the_timeout(overseer, events, clock):
    """A check marks an agent as stale at the timeout and not before, once. [O4]"""
    agent = overseer.register_agent("Scanner")
    clock.advance(29.999)
    assert overseer.check_heartbeats() == []
    clock.advance(0.001)
    assert health(overseer, agent) is HEALTHY, "only a check marks an agent"
    assert overseer.check_heartbeats() == [agent]
    assert overseer.check_heartbeats() == []
    status = overseer.get_agent_status(agent)
    assert (status.health, status.is_stale) == (DEAD, True)
    assert payloads(events, "agent.failed") == [
        {
            "agent_id": str(agent),
            "agent_type": "Scanner",
            "health": "Dead",
            "previous_health": "Healthy",
            "reason": "heartbeat_timeout",
            "error": None,
            "consecutive_failures": 0,
        }
    ]


def test_only_the_silent_are_stale(overseer, clock):
    """A check marks only the silent agents, the longest silent first. [O4]"""
    first, second, third = (overseer.register_agent("Scanner") for _ in range(3))
    clock.advance(10)
    overseer.record_agent_heartbeat(first)
    clock.advance(10)
    overseer.record_agent_heartbeat(second)
    clock.advance(10)
    assert overseer.check_heartbeats() == [third]
    clock.advance(20)
    assert overseer.check_heartbeats() == [first, second]


def test_heartbeat_clears_staleness(overseer, events, clock):
    """The health of a stale agent that sends a heartbeat is that of its failures. [O4]"""
    well, ill = overseer.register_agent("Scanner"), overseer.register_agent("Scanner")
    clock.advance(20)
    fail(overseer, ill, 3)
    clock.advance(10)
    assert overseer.check_heartbeats() == [well, ill]
    events.clear()
    overseer.record_agent_heartbeat(well)
    overseer.record_agent_heartbeat(ill)
    assert (health(overseer, well), health(overseer, ill)) == (HEALTHY, UNHEALTHY)
    assert [payload["agent_id"] for payload in payloads(events, "agent.recovered")] == [str(well)]
    clock.advance(30)
    assert overseer.check_heartbeats() == [well, ill]


def test_dead_agents_go_stale_as_well(overseer, events, clock):
    """An agent that is Dead already is marked as stale and returned, without a second event. [O4, O5]"""
    agent = overseer.register_agent("Scanner")
    fail(overseer, agent, 6)
    clock.advance(30)
    events.clear()
    assert overseer.check_heartbeats() == [agent]
    assert overseer.get_agent_status(agent).is_stale
    assert events.events == []


def test_stale_and_failed(overseer, clock):
    """Health is the worst of the readings: a heartbeat does not make up for failures. [O2]"""
    agent = overseer.register_agent("Scanner")
    fail(overseer, agent, 6)
    clock.advance(30)
    overseer.check_heartbeats()
    overseer.record_agent_heartbeat(agent)
    assert health(overseer, agent) is DEAD
    assert not overseer.get_agent_status(agent).is_stale


def test_time_does_not_go_back(overseer, clock):
    """A thread that has read the clock early and gets the lock late does not make a heartbeat older. [O4]"""
    agent = overseer.register_agent("Scanner")
    clock.advance(20)
    overseer.record_agent_heartbeat(agent)
    overseer._core.machine.heartbeat(5.0, agent)
    clock.advance(29)
    assert overseer.check_heartbeats() == []
    assert overseer.get_agent_status(agent).seconds_since_heartbeat == 29.0


# Events


def test_each_worsening_emits_one_event(overseer, events):
    """`agent.failed` is emitted for each worsening, with the health before and after. [O5]"""
    agent = overseer.register_agent("Scanner")
    fail(overseer, agent, 8)
    failed = payloads(events, "agent.failed")
    assert [(p["previous_health"], p["health"], p["consecutive_failures"]) for p in failed] == [
        ("Healthy", "Degraded", 1),
        ("Degraded", "Unhealthy", 3),
        ("Unhealthy", "Dead", 6),
    ]
    assert {p["reason"] for p in failed} == {"failures"}
    assert {p["error"] for p in failed} == {"boom"}


def test_worsening_again_emits_again(overseer, events, clock):
    """Health that has improved without being Healthy can get worse again, which emits another event. [O5]"""
    agent = overseer.register_agent("Scanner")
    for _ in range(2):
        clock.advance(20)
        fail(overseer, agent, 1)
        clock.advance(10)
        overseer.check_heartbeats()
        overseer.record_agent_heartbeat(agent)
    assert [p["health"] for p in payloads(events, "agent.failed")] == ["Degraded", "Dead", "Dead"]


def test_silence_does_not_report_an_old_error(overseer, events, clock):
    """The error of `agent.failed` is the one that caused it; silence has none. [O5]"""
    agent = overseer.register_agent("Scanner")
    fail(overseer, agent, 1)
    clock.advance(30)
    overseer.check_heartbeats()
    assert [p["error"] for p in payloads(events, "agent.failed")] == ["boom", None]


def test_reports_of_healthy_agents_emit_nothing(overseer, events):
    """Heartbeats and successes of a Healthy agent emit no events. [O5]"""
    agent = overseer.register_agent("Scanner")
    events.clear()
    overseer.record_agent_heartbeat(agent)
    overseer.record_agent_success(agent)
    assert events.events == []


def test_topics_and_source(build, events):
    """Topics begin with the configured prefix, and the source is `overseer`. [C3]"""
    overseer = build(topic_prefix="my.swarm")
    overseer.register_agent("Scanner")
    overseer.pause_swarm()
    assert events.topics == ["my.swarm.agent.started", "my.swarm.paused"]
    assert {event.source for event in events.events} == {"overseer"}
    assert [event.sequence for event in events.events] == [1, 2]


def test_sink_may_call_back(clock):
    """A sink is called outside the lock, after the change, and may call the overseer. [C4]"""
    seen = []

    def sink(event):
        if event.topic == "arb.swarm.agent.failed":
            agent = UUID(event.payload["agent_id"])
            seen.append((event.payload["health"], overseer.get_agent_status(agent).health))
            overseer.record_agent_success(agent)

    overseer = Overseer(clock=clock, sink=sink)
    agent = overseer.register_agent("Scanner")
    fail(overseer, agent, 1)
    assert seen == [("Degraded", DEGRADED)]
    assert health(overseer, agent) is HEALTHY


def test_bus_is_a_sink(clock):
    """An `EventBus` can be the sink of an overseer. [C5]"""
    bus = EventBus()
    overseer = Overseer(clock=clock, sink=bus)
    with bus.subscribe("arb.swarm.agent.*") as subscription:
        overseer.register_agent("Scanner")
        overseer.pause_swarm()
        assert [event.topic for event in subscription.drain()] == ["arb.swarm.agent.started"]


def test_no_sink(clock):
    """An overseer works without a sink."""
    overseer = Overseer(OverseerConfig(max_restart_attempts=0), clock=clock)
    agent = overseer.register_agent("Scanner")
    fail(overseer, agent, 6)
    overseer.record_agent_success(agent)
    overseer.pause_swarm()
    overseer.resume_swarm()
    overseer.unregister_agent(agent)
    assert overseer.get_swarm_health().total_agents == 0
