"""Pausing and resuming the swarm."""

from __future__ import annotations

import threading

import anyio
import pytest

from swarmguard import AgentHealth

SAFETY = 30.0
"""Seconds after which a thread that should have ended is given up: a net, never a part of a test."""


def test_pausing_emits_on_the_edge(overseer, events):
    """Pausing and resuming are idempotent, and only a change emits an event. [O9]"""
    assert not overseer.is_paused
    overseer.resume_swarm()
    for _ in range(2):
        overseer.pause_swarm()
        assert overseer.is_paused
        assert overseer.get_swarm_health().is_paused
    for _ in range(2):
        overseer.resume_swarm()
        assert not overseer.is_paused
    assert events.topics == ["arb.swarm.paused", "arb.swarm.resumed"]
    assert [dict(event.payload) for event in events.events] == [{}, {}]


def test_no_agent_is_marked_while_paused(overseer, clock):
    """No agent is marked as stale while paused, and resuming gives each a full timeout. [O9]"""
    agent = overseer.register_agent("Scanner")
    clock.advance(20)
    overseer.pause_swarm()
    clock.advance(1000)
    assert overseer.check_heartbeats() == []
    overseer.resume_swarm()
    clock.advance(29.999)
    assert overseer.check_heartbeats() == []
    assert overseer.get_agent_status(agent).seconds_since_heartbeat == pytest.approx(29.999)
    clock.advance(0.001)
    assert overseer.check_heartbeats() == [agent]


def test_everything_is_recorded_while_paused(overseer):
    """Failures, successes, heartbeats and restarts are recorded while paused. [O9]"""
    agent = overseer.register_agent("Scanner")
    overseer.pause_swarm()
    for _ in range(6):
        overseer.record_agent_failure(agent, "boom")
    assert overseer.get_agent_status(agent).health is AgentHealth.DEAD
    overseer.record_agent_recovery(agent)
    assert overseer.get_agent_status(agent).health is AgentHealth.HEALTHY


def test_resuming_revives_no_stale_agent(overseer, clock):
    """An agent that was stale before the pause is stale after it, and its last heartbeat is as old as it was. [O9]"""
    agent = overseer.register_agent("Scanner")
    clock.advance(30)
    overseer.check_heartbeats()
    overseer.pause_swarm()
    clock.advance(5)
    overseer.resume_swarm()
    status = overseer.get_agent_status(agent)
    assert (status.is_stale, status.seconds_since_heartbeat) == (True, 35.0)


def test_heartbeat_after_resuming(overseer, clock):
    """A heartbeat after the resumption starts the timeout again. [O9]"""
    early, late = overseer.register_agent("Scanner"), overseer.register_agent("Scanner")
    overseer.pause_swarm()
    overseer.resume_swarm()
    clock.advance(10)
    overseer.record_agent_heartbeat(late)
    clock.advance(20)
    assert overseer.check_heartbeats() == [early]


@pytest.mark.anyio
async def test_waiting_when_not_paused(overseer):
    """Waiting returns at once when the swarm is not paused. [O9]"""
    await overseer.wait_until_resumed()


@pytest.mark.anyio
async def test_every_waiter_wakes(overseer, clock):
    """Resuming wakes every waiting task of a loop, even if the swarm is paused again at once. [O9]"""
    woken = []

    async def wait(number):
        await overseer.wait_until_resumed()
        woken.append(number)

    overseer.pause_swarm()
    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(wait, number)
        await clock.run_for(1)
        assert woken == []
        overseer.resume_swarm()
        overseer.pause_swarm()
    assert sorted(woken) == [0, 1, 2, 3, 4]


@pytest.mark.anyio
async def test_cancelled_waiters_are_forgotten(overseer, clock):
    """A waiting task that is cancelled leaves nothing behind. [O9]"""
    overseer.pause_swarm()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(overseer.wait_until_resumed)
        await clock.run_for(1)
        assert len(overseer._core._waiting) == 1
        tasks.cancel_scope.cancel()
    assert len(overseer._core._waiting) == 0
    overseer.resume_swarm()


def test_waiters_of_other_loops_and_threads_wake(overseer):
    """Resuming wakes tasks that wait on asyncio and on trio, each in its own thread. [O9]"""
    overseer.pause_swarm()
    about_to_wait = threading.Barrier(3)

    async def wait():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(overseer.wait_until_resumed)
            await anyio.wait_all_tasks_blocked()
            about_to_wait.wait(SAFETY)

    threads = [
        threading.Thread(target=anyio.run, args=(wait,), kwargs={"backend": backend}, daemon=True)
        for backend in ("asyncio", "trio")
    ]
    for thread in threads:
        thread.start()
    about_to_wait.wait(SAFETY)
    overseer.resume_swarm()
    for thread in threads:
        thread.join(SAFETY)
        assert not thread.is_alive()


def test_waiter_of_a_loop_that_has_ended(overseer):
    """Resuming ignores a waiting task whose event loop has ended. [O9]"""
    overseer.pause_swarm()

    async def leave_a_waiter():
        with anyio.move_on_after(0):
            await overseer.wait_until_resumed()

    anyio.run(leave_a_waiter)
    overseer.resume_swarm()
    assert not overseer.is_paused
