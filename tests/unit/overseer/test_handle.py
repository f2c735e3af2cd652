"""`async with overseer.agent(...)` and its handle."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import anyio
import pytest

from swarmguard import AgentHealth, DuplicateAgentError, StaleAgentError

HEALTHY, DEGRADED, UNHEALTHY, DEAD = AgentHealth

pytestmark = pytest.mark.anyio


class FatalError(BaseException):
    """A `BaseException` that is not an `Exception`."""


async def test_block_is_an_agent(overseer, events):
    """The block registers an agent, and unregisters it at its end. [O12]"""
    async with overseer.agent("Scanner") as agent:
        assert overseer.get_agent_status(agent.agent_id).agent_type == agent.agent_type == "Scanner"
    assert overseer.get_all_agent_statuses() == []
    assert events.topics == ["arb.swarm.agent.started", "arb.swarm.agent.stopped"]


async def test_id_of_the_block(overseer):
    """The id can be given, and must not be registered. [O12]"""
    chosen = uuid4()
    async with overseer.agent("Scanner", chosen) as agent:
        assert agent.agent_id == chosen
        with pytest.raises(DuplicateAgentError):
            async with overseer.agent("Scanner", chosen):
                pass
        assert overseer.get_agent_status(chosen).health is HEALTHY
    assert overseer.get_all_agent_statuses() == []


@pytest.mark.parametrize(
    ("args", "heartbeat", "error", "message"),
    [
        (("Scanner",), "never", ValueError, 'heartbeat must be "auto" or "manual", got \'never\''),
        (("Scanner",), None, TypeError, 'heartbeat must be "auto" or "manual", got None'),
        (("",), "auto", ValueError, "agent_type must be a non-empty str"),
        ((3,), "auto", TypeError, "agent_type must be a non-empty str"),
        (("Scanner", "id"), "auto", TypeError, "agent_id must be a UUID or None"),
    ],
)
async def test_arguments_are_checked(overseer, args, heartbeat, error, message):
    """A wrong argument is refused before the agent is registered. [O12]"""
    with pytest.raises(error, match=message):
        async with overseer.agent(*args, heartbeat=heartbeat):
            raise AssertionError("the block was entered")
    assert overseer.get_all_agent_statuses() == []


async def test_automatic_heartbeats(overseer, clock):
    """A background task sends a heartbeat every interval while the block runs. [O12]"""
    async with overseer.agent("Scanner") as agent:
        await clock.run_for(9)
        assert overseer.get_agent_status(agent.agent_id).seconds_since_heartbeat == 9.0
        for _ in range(10):
            await clock.run_for(10)
            assert overseer.check_heartbeats() == []
            assert overseer.get_agent_status(agent.agent_id).seconds_since_heartbeat == 9.0


async def test_manual_agents_send_no_automatic_heartbeats(overseer, clock):
    """With `heartbeat="manual"` only the handle sends heartbeats, so a hang is found. [O12, T30]"""
    async with overseer.agent("Scanner", heartbeat="manual") as agent:
        await clock.run_for(20)
        agent.heartbeat()
        await clock.run_for(20)
        assert overseer.check_heartbeats() == []
        await clock.run_for(10)
        assert overseer.check_heartbeats() == [agent.agent_id]


async def test_handle_reports(overseer, clock):
    """The handle reports heartbeats, successes and failures. [O12]"""
    async with overseer.agent("Scanner", heartbeat="manual") as agent:
        clock.advance(5)
        agent.failure(ValueError("boom"))
        status = overseer.get_agent_status(agent.agent_id)
        assert (status.health, status.error_message) == (DEGRADED, "ValueError: boom")
        agent.heartbeat()
        assert overseer.get_agent_status(agent.agent_id).seconds_since_heartbeat == 0.0
        agent.success()
        assert overseer.get_agent_status(agent.agent_id).health is HEALTHY
        with pytest.raises(TypeError, match="error must be a str or an exception"):
            agent.failure(7)


async def test_repr_of_a_handle(overseer):
    """The repr of a handle has its agent and its incarnation."""
    async with overseer.agent("Scanner") as agent:
        assert repr(agent) == f"<AgentHandle 'Scanner' {agent.agent_id} incarnation 1>"


# Checkpoints


async def test_checkpoint_sends_a_heartbeat(overseer, clock):
    """A checkpoint sends a heartbeat. [O12]"""
    async with overseer.agent("Scanner", heartbeat="manual") as agent:
        clock.advance(5)
        await agent.checkpoint()
        assert overseer.get_agent_status(agent.agent_id).seconds_since_heartbeat == 0.0


async def test_checkpoint_waits_while_paused(overseer, clock):
    """A checkpoint waits while the swarm is paused, even if it is paused again at once after resuming. [O12, O9]"""
    passed = []
    async with overseer.agent("Scanner") as agent, anyio.create_task_group() as tasks:

        async def work():
            await agent.checkpoint()
            passed.append(overseer.is_paused)

        overseer.pause_swarm()
        tasks.start_soon(work)
        await clock.run_for(100)
        overseer.resume_swarm()
        overseer.pause_swarm()
        await clock.run_for(100)
        assert passed == []
        overseer.resume_swarm()
        await clock.run_for(0)
        assert passed == [False]


async def test_checkpoint_is_a_point_of_cancellation(overseer):
    """An agent that only awaits checkpoints can be cancelled. [O12]"""
    with anyio.CancelScope() as scope:
        async with overseer.agent("Scanner") as agent:
            scope.cancel()
            await agent.checkpoint()
    assert scope.cancelled_caught


async def test_agent_that_ends_while_its_checkpoint_waits(overseer, clock):
    """A checkpoint raises if the handle became stale while it waited. [O12]"""
    async with overseer.agent("Scanner") as agent, anyio.create_task_group() as tasks:

        async def work():
            with pytest.raises(StaleAgentError):
                await agent.checkpoint()

        overseer.pause_swarm()
        tasks.start_soon(work)
        await clock.run_for(1)
        overseer.record_agent_recovery(agent.agent_id)
        overseer.resume_swarm()


# Stale handles


async def refuses_everything(handle):
    """Check that every method of a stale handle raises."""
    for method, args in (("heartbeat", ()), ("success", ()), ("failure", ("boom",))):
        with pytest.raises(StaleAgentError) as caught:
            getattr(handle, method)(*args)
        assert caught.value.agent_id == handle.agent_id
        assert caught.value.agent_type == handle.agent_type
    with pytest.raises(StaleAgentError):
        await handle.checkpoint()


async def test_handle_of_an_ended_agent(overseer):
    """The handle of an agent that has ended is stale. [O12]"""
    async with overseer.agent("Scanner") as agent:
        pass
    await refuses_everything(agent)


async def test_handle_of_an_agent_that_was_registered_again(overseer):
    """Registering an id again does not revive the handles of the earlier agent. [O12, T32]"""
    async with overseer.agent("Scanner") as agent:
        overseer.unregister_agent(agent.agent_id)
        overseer.register_agent("Scanner", agent.agent_id)
        await refuses_everything(agent)
    assert overseer.get_agent_status(agent.agent_id).health is HEALTHY


async def test_handle_of_an_earlier_incarnation(overseer, clock):
    """After a restart the old handle is stale, and its block neither beats nor unregisters the agent. [O12, T32]"""
    async with overseer.agent("Scanner") as agent:
        overseer.record_agent_recovery(agent.agent_id)
        await refuses_everything(agent)
        await clock.run_for(30)
        assert overseer.check_heartbeats() == [agent.agent_id]
    assert overseer.get_agent_status(agent.agent_id).health is DEAD


async def test_error_of_an_earlier_incarnation(overseer):
    """An exception of an earlier incarnation is not a failure of the new one. [O12, T32]"""
    with pytest.raises(ValueError, match="boom"):
        async with overseer.agent("Scanner") as agent:
            overseer.record_agent_recovery(agent.agent_id)
            raise ValueError("boom")
    assert overseer.get_agent_status(agent.agent_id).health is HEALTHY


async def test_unregistered_from_outside(overseer, events):
    """A block whose agent was unregistered ends without an error. [O12]"""
    async with overseer.agent("Scanner") as agent:
        overseer.unregister_agent(agent.agent_id)
    assert events.topics.count("arb.swarm.agent.stopped") == 1


# Exceptions and cancellations


@pytest.mark.parametrize("heartbeat", ["auto", "manual"])
@pytest.mark.parametrize(
    "error",
    [ValueError("boom"), StopIteration(3), StopAsyncIteration(), ExceptionGroup("several", [ValueError()])],
)
async def test_exception_is_recorded_and_propagates(overseer, events, heartbeat, error):
    """An exception is a failure of the agent, and propagates unchanged. [O12]"""
    with pytest.raises(type(error)) as caught:
        async with overseer.agent("Scanner", heartbeat=heartbeat):
            raise error
    assert caught.value is error
    assert error.__cause__ is None
    assert events.topics == [f"arb.swarm.agent.{topic}" for topic in ("started", "failed", "stopped")]
    assert events.events[1].payload["error"].startswith(type(error).__name__)


@pytest.mark.parametrize(
    ("error", "failed"),
    [
        (KeyboardInterrupt(), False),
        (SystemExit(), False),
        (FatalError(), False),
        (BaseExceptionGroup("several", [FatalError()]), False),
        (BaseExceptionGroup("several", [FatalError(), ExceptionGroup("", [ValueError()])]), True),
    ],
)
async def test_interrupt_is_not_a_failure(overseer, events, error, failed):
    """An interrupt is not a failure, but a group with an `Exception` in it is; each propagates unchanged. [O12]"""
    with pytest.raises(type(error)) as caught:
        async with overseer.agent("Scanner"):
            raise error
    assert caught.value is error
    assert ("arb.swarm.agent.failed" in events.topics) is failed
    assert events.topics[-1] == "arb.swarm.agent.stopped"


async def test_exception_after_some_heartbeats(overseer, clock):
    """The background task leaves no trace on an exception of the block. [O12]"""
    error = ValueError("boom")
    with pytest.raises(ValueError, match="boom") as caught:
        async with overseer.agent("Scanner"):
            await clock.run_for(25)
            raise error
    assert caught.value is error


async def test_cancellation_is_no_failure(overseer, events):
    """A cancelled agent has not failed and is unregistered, and the cancellation propagates. [O12]"""
    with anyio.CancelScope() as scope:
        async with overseer.agent("Scanner"):
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert events.topics == ["arb.swarm.agent.started", "arb.swarm.agent.stopped"]


async def test_exception_under_a_cancelled_scope(overseer, events):
    """An exception of an agent that is cancelled at the same time is not lost. [O12]"""
    error = ValueError("boom")
    with pytest.raises(ValueError, match="boom") as caught, anyio.CancelScope() as scope:
        async with overseer.agent("Scanner"):
            scope.cancel()
            raise error
    assert caught.value is error
    assert "arb.swarm.agent.failed" in events.topics


async def test_scopes_inside_the_block(overseer):
    """Cancel scopes and task groups inside the block work as anywhere else. [O12]"""
    async with overseer.agent("Scanner") as agent:
        with anyio.move_on_after(0):
            await anyio.sleep_forever()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(agent.checkpoint)
        agent.success()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("heartbeat", ["auto", "manual"])
async def test_native_cancellation(overseer, events, heartbeat):
    """`Task.cancel()` of asyncio propagates through the block like any cancellation. [O12]"""

    async def agent():
        async with overseer.agent("Scanner", heartbeat=heartbeat):
            await asyncio.sleep(3600)

    task = asyncio.create_task(agent())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert events.topics == ["arb.swarm.agent.started", "arb.swarm.agent.stopped"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_native_timeout(overseer):
    """`asyncio.timeout` works around and inside the block. [O12]"""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            async with overseer.agent("Scanner"):
                await asyncio.sleep(3600)
    async with overseer.agent("Scanner"):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await asyncio.sleep(3600)


async def test_clock_that_fails(build, clock, monkeypatch):
    """If the heartbeats cannot go on, the block raises the error of the clock. [O12]"""
    overseer = build()

    async def sleep(self, seconds):
        raise OSError("no time")

    monkeypatch.setattr(type(clock), "sleep", sleep)
    with pytest.raises(OSError, match="no time"):
        async with overseer.agent("Scanner"):
            await anyio.sleep_forever()
    assert overseer.get_all_agent_statuses() == []
