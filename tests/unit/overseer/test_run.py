"""`Overseer.run`: the checks of all agents, and the restarts."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import anyio
import pytest

from swarmguard import AgentHealth

HEALTHY, DEGRADED, UNHEALTHY, DEAD = AgentHealth

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def running(overseer, restart=None):
    """Run `overseer.run` during a block."""
    async with anyio.create_task_group() as tasks:
        await tasks.start(overseer.run, restart)
        yield
        tasks.cancel_scope.cancel()


def kill(overseer, agent):
    """Make an agent Dead by failures."""
    while overseer.get_agent_status(agent).health is not DEAD:
        overseer.record_agent_failure(agent, "boom")


def register_dead(overseer, agent_type="Scanner"):
    """Register an agent and make it Dead."""
    agent = overseer.register_agent(agent_type)
    kill(overseer, agent)
    return agent


def health(overseer, agent):
    """Return an agent's health."""
    return overseer.get_agent_status(agent).health


async def succeed(agent_id, agent_type):
    """Restart an agent at once."""


# Ticks


async def test_silence_is_found(overseer, clock):
    """The heartbeats are checked at each interval. [O11]"""
    agent = overseer.register_agent("Scanner")
    async with running(overseer):
        await clock.run_for(29)
        assert health(overseer, agent) is HEALTHY
        await clock.run_for(1)
        assert health(overseer, agent) is DEAD
        assert overseer.get_agents_needing_restart() == [(agent, "Scanner")], "nothing restarts it"


async def test_interval_is_configured(build, clock):
    """The checks come every `heartbeat_interval_secs`. [O11]"""
    overseer = build(heartbeat_interval_secs=7, heartbeat_timeout_secs=10)
    agent = overseer.register_agent("Scanner")
    async with running(overseer):
        await clock.run_for(13.999)
        assert health(overseer, agent) is HEALTHY
        await clock.run_for(0.001)
        assert health(overseer, agent) is DEAD


@pytest.mark.parametrize(("stall", "expected"), [(20.0, DEAD), (20.001, HEALTHY), (3600.0, HEALTHY)])
async def test_late_check_counts_as_a_heartbeat_of_all(build, clock, stall, expected):
    """A check that comes more than one interval late marks no agent, and gives each a full timeout. [O11, T31]"""
    overseer = build(heartbeat_interval_secs=10, heartbeat_timeout_secs=15)
    agents = [overseer.register_agent("Scanner") for _ in range(20)]
    async with running(overseer):
        await clock.run_for(0)
        clock.advance(stall)  # the loop is blocked: the tick due at 10 comes at `stall`
        await clock.run_for(0)
        assert {health(overseer, agent) for agent in agents} == {expected}
        if expected is HEALTHY:
            assert overseer.get_agent_status(agents[0]).seconds_since_heartbeat == 0.0
            await clock.run_for(10)
            assert overseer.get_swarm_health().dead_agents == 0
            await clock.run_for(10)
            assert overseer.get_swarm_health().dead_agents == 20


async def test_late_check_revives_no_stale_agent(overseer, clock):
    """An agent that is stale already stays stale when a check comes late. [O11]"""
    agent = overseer.register_agent("Scanner")
    async with running(overseer):
        await clock.run_for(30)
        clock.advance(100)
        await clock.run_for(0)
        status = overseer.get_agent_status(agent)
        assert (status.is_stale, status.seconds_since_heartbeat) == (True, 130.0)


async def test_stall_between_waking_and_checking(overseer, clock):
    """Whether a check is late depends on the moment at which it acts. [O11, T31]"""
    agent = overseer.register_agent("Scanner")
    machine = overseer._core.machine
    machine.watch(100.0, 99.0)
    assert health(overseer, agent) is HEALTHY
    machine.heartbeat(1000.0, agent)  # another thread has seen a later time than the watcher
    machine.watch(100.0, 100.0)
    assert health(overseer, agent) is HEALTHY


async def test_paused_swarm_is_not_checked(overseer, clock):
    """While the swarm is paused, `run` goes on, but marks no agent as stale and restarts none. [O11, O9]"""
    restarted = []

    async def restart(agent_id, agent_type):
        restarted.append(agent_id)

    silent, dead = overseer.register_agent("Scanner"), register_dead(overseer)
    overseer.pause_swarm()
    async with running(overseer, restart):
        await clock.run_for(300)
        assert health(overseer, silent) is HEALTHY
        assert restarted == []
        overseer.resume_swarm()
        await clock.run_for(10)
        assert restarted == [dead]


async def test_plain_await(overseer, clock):
    """`run` is an ordinary coroutine, which ends when it is cancelled. [O11]"""
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(overseer.run)
            await clock.run_for(25)
            scope.cancel()
    assert scope.cancelled_caught


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_native_cancellation(overseer):
    """`Task.cancel()` ends `run` and its restarts, and none of these is counted. [O11]"""
    agent = register_dead(overseer)
    begun = asyncio.Event()

    async def restart(agent_id, agent_type):
        begun.set()
        await asyncio.sleep(3600)

    async def host():
        await overseer.run(restart)

    task = asyncio.create_task(host())
    await overseer.clock.run_for(10)
    await begun.wait()
    assert overseer.get_agent_status(agent).restart_count == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert overseer.get_agent_status(agent).restart_count == 0


async def test_restart_is_checked(overseer):
    """A callback that is not callable is refused at once. [O11]"""
    with pytest.raises(TypeError, match="restart must be a callable or None, got 3"):
        await overseer.run(3)


# Restarts


async def test_restart_that_returns_is_a_recovery(overseer, clock, events):
    """The callback gets the id and the type of the agent; if it returns, the agent has recovered. [O11]"""
    agent = register_dead(overseer, "Executor")
    calls = []

    async def restart(agent_id, agent_type):
        calls.append((agent_id, agent_type, overseer.get_agent_status(agent_id).restart_count))
        assert overseer.get_agents_needing_restart() == []

    async with running(overseer, restart):
        await clock.run_for(10)
        assert calls == [(agent, "Executor", 1)]
        status = overseer.get_agent_status(agent)
        assert (status.health, status.restart_count, status.error_message) == (HEALTHY, 1, None)
        assert events.topics[-1] == "arb.swarm.agent.recovered"


async def test_restart_that_raises_is_a_failure(build, clock, events, caplog):
    """If the callback raises, the agent stays Dead, and the attempt is logged, counted and repeated. [O11, T34]"""
    overseer = build(heartbeat_timeout_secs=10**6)
    agent = register_dead(overseer)
    moments = []

    async def restart(agent_id, agent_type):
        moments.append(clock.monotonic())
        raise ConnectionError("refused")

    async with running(overseer, restart):
        await clock.run_for(10)
        status = overseer.get_agent_status(agent)
        assert (status.health, status.restart_count) == (DEAD, 1)
        assert status.error_message == "ConnectionError: refused"
        await clock.run_for(1000)
    assert moments == [10.0, 70.0, 130.0]
    assert events.topics.count("arb.swarm.agent.exhausted") == 1
    assert events.topics.count("arb.swarm.agent.recovered") == 0
    assert [record.message for record in caplog.records] == [f"restarting agent 'Scanner' ({agent}) failed"] * 3
    assert {record.name for record in caplog.records} == {"swarmguard"}
    assert caplog.records[0].exc_info[0] is ConnectionError


async def test_restart_that_is_not_async(overseer, clock, caplog):
    """A callback that is not async is a failed restart, and its error says why. [O11]"""
    agent = register_dead(overseer)
    async with running(overseer, lambda agent_id, agent_type: None):
        await clock.run_for(10)
        assert overseer.get_agent_status(agent).error_message.startswith("TypeError: ")
    assert len(caplog.records) == 1


async def test_restart_that_is_cancelled_by_the_host_is_not_counted(overseer, clock):
    """A restart that is cancelled by the host is not counted. [O11]"""
    agent = register_dead(overseer)

    async def restart(agent_id, agent_type):
        await anyio.sleep_forever()

    async with running(overseer, restart):
        await clock.run_for(10)
        assert overseer.get_agent_status(agent).restart_count == 1
    assert overseer.get_agent_status(agent).restart_count == 0
    assert overseer.get_agents_needing_restart() == [(agent, "Scanner")]


async def test_restart_that_is_cancelled_after_the_count_expired(overseer, clock):
    """Abandoning an attempt does not change a count that has expired meanwhile. [O8] [O11]"""
    agent = register_dead(overseer)

    async def restart(agent_id, agent_type):
        await anyio.sleep_forever()

    async with running(overseer, restart):
        await clock.run_for(10)
        overseer.record_agent_success(agent)
        clock.advance(600)
    assert overseer.get_agent_status(agent).restart_count == 0
    kill(overseer, agent)
    assert overseer.get_agents_needing_restart() == [(agent, "Scanner")]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_stray_cancellation_is_a_failure(overseer, clock, caplog):
    """A callback that awaits a cancelled future has failed, since the host is not cancelled. [O11, T33]"""
    agent = register_dead(overseer)

    async def restart(agent_id, agent_type):
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    async with running(overseer, restart):
        await clock.run_for(10)
        status = overseer.get_agent_status(agent)
        assert (status.restart_count, status.error_message) == (1, "CancelledError")
    assert len(caplog.records) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(2)])
async def test_interrupts_propagate(overseer, clock, error):
    """A `BaseException` of the callback ends `run` and propagates unchanged; the restart is not counted. [O11]"""
    agent = register_dead(overseer)
    caught = []

    async def restart(agent_id, agent_type):
        raise error

    async def host():
        try:
            await overseer.run(restart)
        except (KeyboardInterrupt, SystemExit) as exc:
            caught.append(exc)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(host)
        await clock.run_for(10)
    assert caught == [error]
    assert overseer.get_agent_status(agent).restart_count == 0


async def test_budget_holds(build, clock):
    """A callback that always succeeds cannot restart an agent more often than the budget allows. [O11, T33, T35]"""
    overseer = build(restart_cooldown_secs=0)
    agent = overseer.register_agent("Scanner")
    restarts = []

    async def restart(agent_id, agent_type):
        restarts.append(agent_id)

    async with running(overseer, restart):
        for _ in range(60):
            overseer.record_agent_heartbeat(agent)
            kill(overseer, agent)
            await clock.run_for(10)
    assert len(restarts) == 3


async def test_host_that_records_its_restart_itself(overseer, clock, events):
    """A callback that calls `record_agent_recovery` itself is counted once and emits one event. [O11]"""
    agent = register_dead(overseer)

    async def restart(agent_id, agent_type):
        overseer.record_agent_recovery(agent_id)

    async with running(overseer, restart):
        await clock.run_for(10)
    assert overseer.get_agent_status(agent).restart_count == 1
    assert events.topics.count("arb.swarm.agent.recovered") == 1


async def test_agent_that_is_unregistered_during_its_restart(overseer, clock, caplog):
    """The end of a restart changes neither an agent that was unregistered nor the next one with its id. [O11]"""
    agent = register_dead(overseer)
    go_on = anyio.Event()

    async def restart(agent_id, agent_type):
        await go_on.wait()

    async with running(overseer, restart):
        await clock.run_for(10)
        overseer.unregister_agent(agent)
        overseer.register_agent("Scanner", agent)
        kill(overseer, agent)
        overseer.begin_restart(agent)
        go_on.set()
        await clock.run_for(0)
        assert health(overseer, agent) is DEAD
    assert caplog.records == []


async def test_agent_that_recovers_before_its_turn(build, clock):
    """An agent that recovers while it waits for its restart is not restarted. [O11]"""
    overseer = build(max_concurrent_restarts=1)
    first, second, third = (register_dead(overseer) for _ in range(3))
    go_on = anyio.Event()
    restarted = []

    async def restart(agent_id, agent_type):
        restarted.append(agent_id)
        await go_on.wait()

    async with running(overseer, restart):
        await clock.run_for(10)
        overseer.record_agent_success(second)
        go_on.set()
        await clock.run_for(0)
        assert restarted == [first, third]


@pytest.mark.parametrize("limit", [1, 10])
async def test_concurrent_restarts_are_limited(build, clock, limit):
    """At most `max_concurrent_restarts` run at a time, and the next starts as soon as one has ended. [O11, T39]"""
    overseer = build(max_concurrent_restarts=limit)
    agents = [register_dead(overseer) for _ in range(200)]
    running_now, most, restarted = 0, 0, []

    async def restart(agent_id, agent_type):
        nonlocal running_now, most
        running_now += 1
        most = max(most, running_now)
        await clock.sleep(0.01)
        running_now -= 1
        restarted.append(agent_id)

    async with running(overseer, restart):
        await clock.run_for(10)
        assert running_now == limit
        await clock.run_for(2)
        assert most == limit
        assert len(restarted) == 200
        assert set(restarted) == set(agents)


async def test_hung_restart_holds_up_no_other(build, clock):
    """While a restart hangs, the checks go on, and so do the restarts of other agents. [O11]"""
    overseer = build(max_concurrent_restarts=2)
    hung = register_dead(overseer)
    restarted = []

    async def restart(agent_id, agent_type):
        if agent_id == hung:
            await anyio.sleep_forever()
        restarted.append(agent_id)

    async with running(overseer, restart):
        await clock.run_for(10)
        silent = overseer.register_agent("Scanner")
        await clock.run_for(30)
        assert restarted == [silent]


async def test_two_runs(overseer, clock):
    """Two calls of `run` for one overseer do not both restart an agent. [O11]"""
    register_dead(overseer)
    restarted = []

    async def restart(agent_id, agent_type):
        restarted.append(agent_id)
        await anyio.sleep_forever()

    async with running(overseer, restart), running(overseer, restart):
        await clock.run_for(50)
    assert len(restarted) == 1


async def test_clock_that_fails(overseer, clock, monkeypatch):
    """An error of the clock ends `run` and propagates unchanged. [O11]"""

    async def sleep(self, seconds):
        raise OSError("no time")

    monkeypatch.setattr(type(clock), "sleep", sleep)
    with pytest.raises(OSError, match="no time"):
        await overseer.run(succeed)
