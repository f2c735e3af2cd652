"""`Overseer.supervise`: run an agent, and run it again when it dies."""

from __future__ import annotations

import asyncio
import functools
import threading
from contextlib import asynccontextmanager
from uuid import UUID

import anyio
import anyio.to_thread
import pytest

from swarmguard import AgentExhaustedError, AgentHealth, StaleAgentError

HEALTHY, DEGRADED, UNHEALTHY, DEAD = AgentHealth

pytestmark = pytest.mark.anyio


class Supervised:
    """A supervised agent whose main is a list of steps: one for each incarnation, the last one for all that follow.

    A step is an async function of the handle. `outcome` and `error` keep how the supervision ended.
    """

    def __init__(self, overseer, *steps, heartbeat="auto"):
        """Keep the steps."""
        self.overseer = overseer
        self.steps = list(steps)
        self.heartbeat = heartbeat
        self.starts = []
        self.handles = []
        self.agent_id = None
        self.outcome = None
        self.error = None

    async def main(self, agent):
        """Run the next step."""
        self.starts.append(self.overseer.clock.monotonic())
        self.handles.append(agent)
        return await (self.steps.pop(0) if len(self.steps) > 1 else self.steps[0])(agent)

    async def host(self, *, task_status=anyio.TASK_STATUS_IGNORED):
        """Supervise the agent, and keep how that ended."""
        try:
            self.outcome = await self.overseer.supervise(
                "Scanner", self.main, heartbeat=self.heartbeat, task_status=task_status
            )
        except (AgentExhaustedError, TypeError) as error:
            self.error = error
        else:
            self.error = "none"

    @property
    def status(self):
        """The agent's current status."""
        return self.overseer.get_agent_status(self.agent_id)

    @asynccontextmanager
    async def running(self, *, watch=False):
        """Supervise the agent during a block, beside `overseer.run` if `watch` is True."""
        async with anyio.create_task_group() as tasks:
            if watch:
                await tasks.start(self.overseer.run)
            self.agent_id = await tasks.start(self.host)
            yield self
            tasks.cancel_scope.cancel()


async def forever(agent):
    """Work until cancelled."""
    await anyio.sleep_forever()


async def crash(agent):
    """Crash at once."""
    raise ValueError("boom")


async def finish(agent):
    """End normally."""
    return "done"


async def report_six_failures(agent):
    """Report six failures, and hang."""
    for number in range(6):
        agent.failure(f"failure {number}")
    await anyio.sleep_forever()


async def ignore_cancellation(agent):
    """Return when cancelled."""
    try:
        await anyio.sleep_forever()
    except anyio.get_cancelled_exc_class():
        return "leftover"


# Starting and ending


async def test_started_gives_the_id(overseer, clock):
    """`task_group.start` returns the id once the agent is registered, and main gets a handle of it. [O13]"""
    async with Supervised(overseer, forever).running() as agent:
        assert isinstance(agent.agent_id, UUID)
        assert (agent.status.agent_type, agent.status.health) == ("Scanner", HEALTHY)
        await clock.run_for(0)
        assert agent.handles[0].agent_id == agent.agent_id


async def test_returning_ends_the_supervision(overseer, events):
    """`supervise` returns what main returns, and the agent is unregistered. [O13]"""
    assert await overseer.supervise("Scanner", finish) == "done"
    assert overseer.get_all_agent_statuses() == []
    assert events.topics == ["arb.swarm.agent.started", "arb.swarm.agent.stopped"]


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"agent_type": ""}, ValueError, "agent_type must be a non-empty str"),
        ({"agent_type": 3}, TypeError, "agent_type must be a non-empty str"),
        ({"main": None}, TypeError, "main must be an async callable that takes an AgentHandle, got None"),
        ({"heartbeat": "never"}, ValueError, "heartbeat must be"),
    ],
)
async def test_arguments_are_checked(overseer, kwargs, error, message):
    """A wrong argument is refused before the agent is registered. [O13]"""
    with pytest.raises(error, match=message):
        await overseer.supervise(**{"agent_type": "Scanner", "main": finish, **kwargs})
    assert overseer.get_all_agent_statuses() == []


async def test_main_must_be_async(overseer, events):
    """A main that is not async is a mistake of the host, not a crash of the agent. [O13]"""
    with pytest.raises(TypeError, match=r"main must be an async callable, got .*, which returned 7"):
        await overseer.supervise("Scanner", lambda agent: 7)
    assert events.topics == ["arb.swarm.agent.started", "arb.swarm.agent.stopped"]


async def test_main_may_be_anything_that_returns_an_awaitable(overseer):
    """Main may be a partial or a lambda that returns a coroutine. [O13]"""

    async def main(result, agent):
        return result

    assert await overseer.supervise("Scanner", functools.partial(main, 1)) == 1
    assert await overseer.supervise("Scanner", lambda agent: main(2, agent)) == 2


async def test_cancelling_the_host(overseer, events):
    """Cancelling the host cancels main and unregisters the agent, and is not a failure. [O13]"""
    ended = []

    async def main(agent):
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(agent)

    async with Supervised(overseer, main).running():
        await anyio.wait_all_tasks_blocked()
    assert len(ended) == 1
    assert events.topics == ["arb.swarm.agent.started", "arb.swarm.agent.stopped"]


async def test_cancelling_the_host_during_the_cooldown(overseer, events, clock):
    """A host that is cancelled while its agent is Dead unregisters the agent. [O13]"""
    async with Supervised(overseer, crash).running() as agent:
        await clock.run_for(30)
        assert agent.status.health is DEAD
    assert overseer.get_all_agent_statuses() == []


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("main", [forever, crash])
async def test_native_cancellation(overseer, clock, main):
    """`Task.cancel()` of asyncio ends the supervision of a living agent and of a dead one. [O13]"""

    async def host():
        await overseer.supervise("Scanner", main)

    task = asyncio.create_task(host())
    await clock.run_for(5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert overseer.get_all_agent_statuses() == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
async def test_interrupts_propagate(overseer, events, error):
    """A `BaseException` of main is not a crash: it propagates unchanged, and the agent is unregistered. [O13]"""

    async def main(agent):
        raise error

    with pytest.raises(type(error)) as caught:
        await overseer.supervise("Scanner", main)
    assert caught.value is error
    assert events.topics == ["arb.swarm.agent.started", "arb.swarm.agent.stopped"]


async def test_unregistering_from_outside(overseer, clock):
    """Unregistering the agent cancels main, and `supervise` returns None. [O13]"""
    ended = []

    async def main(agent):
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(clock.monotonic())

    async with Supervised(overseer, main).running() as agent:
        await clock.run_for(3)
        overseer.unregister_agent(agent.agent_id)
        await clock.run_for(0)
        assert ended == [3.0]
        assert (agent.outcome, agent.error) == (None, "none")


async def test_unregistering_during_the_cooldown(overseer, clock):
    """A dead agent that is unregistered ends the supervision at once. [O13]"""
    async with Supervised(overseer, crash).running() as agent:
        await clock.run_for(30)
        overseer.unregister_agent(agent.agent_id)
        await clock.run_for(0)
        assert (agent.outcome, agent.error) == (None, "none")


async def test_unregistering_while_paused(overseer, clock):
    """A dead agent can be unregistered while it waits for the swarm to be resumed. [O13]"""
    overseer.pause_swarm()
    async with Supervised(overseer, crash).running() as agent:
        await clock.run_for(30)
        overseer.unregister_agent(agent.agent_id)
        await clock.run_for(0)
        assert agent.error == "none"


async def test_main_that_stops_because_it_was_unregistered(overseer, clock):
    """A main that ends with `StaleAgentError` after its agent was unregistered has not crashed. [O13]"""

    async def main(agent):
        overseer.unregister_agent(agent.agent_id)
        agent.heartbeat()

    assert await overseer.supervise("Scanner", main) is None


async def test_main_that_unregisters_itself_and_returns(overseer):
    """What main returns is the result, even if main has unregistered its own agent. [O13]"""

    async def main(agent):
        overseer.unregister_agent(agent.agent_id)
        return "done"

    assert await overseer.supervise("Scanner", main) == "done"


# Crashes


async def test_crash_is_dead_and_restarted(overseer, events, clock, caplog):
    """A crash is Dead with the reason "crashed"; the first restart comes at once, with a new handle. [O13]"""
    async with Supervised(overseer, crash, forever).running() as agent:
        await clock.run_for(0)
        assert agent.starts == [0.0, 0.0]
        status = agent.status
        assert (status.health, status.restart_count, status.error_message) == (HEALTHY, 1, None)
        old, new = agent.handles
        with pytest.raises(StaleAgentError):
            old.heartbeat()
        new.heartbeat()
    assert events.topics[:3] == [f"arb.swarm.agent.{topic}" for topic in ("started", "failed", "recovered")]
    failed = events.events[1].payload
    assert (failed["reason"], failed["health"], failed["error"]) == ("crashed", "Dead", "ValueError: boom")
    assert (events.events[2].payload["reason"], events.events[2].payload["restart_count"]) == ("restart", 1)
    assert caplog.records == [], "a crash emits events and is not logged"


async def test_budget_and_cooldown(overseer, events, clock):
    """Restarts respect budget and cooldown; then `supervise` raises, caused by the last error. [O13]"""
    async with Supervised(overseer, crash).running() as agent:
        await clock.run_for(119.999)
        assert (agent.starts, agent.error) == ([0.0, 0.0, 60.0], None)
        assert (agent.status.health, agent.status.error_message) == (DEAD, "ValueError: boom")
        await clock.run_for(0.001)
        assert agent.starts == [0.0, 0.0, 60.0, 120.0]
        error = agent.error
        assert isinstance(error, AgentExhaustedError)
        assert (error.agent_id, error.agent_type, error.restart_count) == (agent.agent_id, "Scanner", 3)
        assert isinstance(error.__cause__, ValueError)
        assert str(error.__cause__) == "boom"
        assert events.topics.count("arb.swarm.agent.exhausted") == 1
    assert agent.status.health is DEAD, "an exhausted agent stays listed"
    overseer.unregister_agent(agent.agent_id)


async def test_exhausted_agents_stay_dead(overseer, clock):
    """No report makes an exhausted agent Healthy, since it has no main, and `run` does not restart it. [O13]"""
    async with Supervised(overseer, crash).running(watch=True) as agent:
        await clock.run_for(200)
        assert isinstance(agent.error, AgentExhaustedError)
        overseer.record_agent_heartbeat(agent.agent_id)
        overseer.record_agent_success(agent.agent_id)
        overseer.reset_agent(agent.agent_id)
        assert agent.status.health is DEAD
        assert overseer.get_agents_needing_restart() == []
        overseer.record_agent_failure(agent.agent_id, "boom")


async def test_no_auto_recovery(build, events, clock):
    """With `auto_recovery_enabled=False` the first death ends the supervision. [O13]"""
    overseer = build(auto_recovery_enabled=False)
    with pytest.raises(AgentExhaustedError) as caught:
        await overseer.supervise("Scanner", crash)
    assert caught.value.restart_count == 0
    assert isinstance(caught.value.__cause__, ValueError)
    assert overseer.get_swarm_health().dead_agents == 1
    assert "arb.swarm.agent.exhausted" not in events.topics, "its budget is not used up"


async def test_group_that_main_raises_is_the_cause(build):
    """An exception group that main raises is the cause, and `AgentExhaustedError` itself is not in a group. [O13]"""
    overseer = build(auto_recovery_enabled=False)

    async def main(agent):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(crash, agent)

    with pytest.raises(AgentExhaustedError) as caught:
        await overseer.supervise("Scanner", main)
    assert isinstance(caught.value.__cause__, ExceptionGroup)


async def test_steady_agents_get_their_budget_back(overseer, clock):
    """An agent that crashes rarely is restarted each time. [O13, T35]"""

    async def work_for_a_while(agent):
        await clock.sleep(700)
        raise ValueError("boom")

    async with Supervised(overseer, work_for_a_while).running() as agent:
        await clock.run_for(7000)
        assert len(agent.starts) == 11
        assert agent.error is None


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_stray_cancellation_is_a_crash(overseer, clock):
    """A main that awaits a cancelled future has crashed, since the host is not cancelled. [O13]"""

    async def main(agent):
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    async with Supervised(overseer, main, finish).running() as agent:
        await clock.run_for(0)
        assert agent.outcome == "done"


async def test_restart_waits_while_paused(overseer, clock):
    """No agent is restarted while the swarm is paused; a dead one is when the swarm is resumed. [O13, O9]"""
    async with Supervised(overseer, crash, forever).running() as agent:
        overseer.pause_swarm()
        await clock.run_for(500)
        assert agent.starts == [0.0]
        overseer.resume_swarm()
        await clock.run_for(0)
        assert agent.starts == [0.0, 500.0]


async def test_pause_that_begins_during_the_cooldown(overseer, clock):
    """A cooldown that ends while the swarm is paused starts no incarnation. [O13, O9]"""
    async with Supervised(overseer, crash, crash, forever).running() as agent:
        await clock.run_for(30)
        overseer.pause_swarm()
        await clock.run_for(100)
        assert len(agent.starts) == 2
        overseer.resume_swarm()
        await clock.run_for(0)
        assert agent.starts == [0.0, 0.0, 130.0]


async def test_exhausted_while_paused(build, clock):
    """An agent without budget is exhausted at once, even while the swarm is paused. [O13]"""
    overseer = build(max_restart_attempts=0)
    overseer.pause_swarm()
    with pytest.raises(AgentExhaustedError):
        await overseer.supervise("Scanner", crash)


# Calls from outside


async def test_reset_ends_the_cooldown(overseer, clock):
    """A reset gives a dead agent its budget back and starts it at once. [O13, O8]"""
    async with Supervised(overseer, crash, crash, forever).running() as agent:
        await clock.run_for(30)
        assert len(agent.starts) == 2
        overseer.reset_agent(agent.agent_id)
        assert agent.status.health is DEAD, "its main does not run yet"
        await clock.run_for(0)
        assert agent.starts == [0.0, 0.0, 30.0]
        assert (agent.status.health, agent.status.restart_count) == (HEALTHY, 1)


async def test_reset_of_the_living(overseer, clock):
    """A reset of a living agent clears its failures and does not interrupt its main. [O13, O8]"""
    async with Supervised(overseer, forever).running() as agent:
        agent.overseer.record_agent_failure(agent.agent_id, "boom")
        overseer.reset_agent(agent.agent_id)
        await clock.run_for(10)
        assert agent.status.health is HEALTHY
        assert agent.starts == [0.0]


@pytest.mark.parametrize("first", [forever, crash])
async def test_recovery_by_hand_is_a_restart(overseer, clock, first):
    """`record_agent_recovery` starts the next incarnation, whether the agent was alive or Dead. [O13, O7]"""
    async with Supervised(overseer, first, first, forever).running() as agent:
        await clock.run_for(30)
        started = len(agent.starts)
        overseer.record_agent_recovery(agent.agent_id)
        await clock.run_for(0)
        assert len(agent.starts) == started + 1
        assert agent.status.health is HEALTHY
        agent.handles[-1].heartbeat()
        with pytest.raises(StaleAgentError):
            agent.handles[-2].heartbeat()


async def test_attempt_by_hand(overseer, clock):
    """An attempt that is opened with `begin_restart` starts the agent without a cooldown, and counts once. [O13, O7]"""
    async with Supervised(overseer, crash, crash, forever).running() as agent:
        await clock.run_for(30)
        overseer.begin_restart(agent.agent_id)
        await clock.run_for(30)
        assert agent.starts == [0.0, 0.0, 60.0]
        assert agent.status.restart_count == 2


async def test_failed_restart_by_hand_is_a_death(overseer, clock):
    """`record_restart_failure` makes a living agent Dead: its main is cancelled and run again. [O13, O7]"""
    async with Supervised(overseer, forever).running() as agent:
        await clock.run_for(1)
        overseer.record_restart_failure(agent.agent_id, "by hand")
        assert agent.status.error_message == "by hand"
        await clock.run_for(60)
        assert agent.starts == [0.0, 61.0]


async def test_failed_restart_by_hand_during_the_cooldown(build, clock):
    """A failed restart that is reported during the cooldown counts, and the last exhausts the agent. [O13, O7]"""
    overseer = build(max_restart_attempts=2)
    async with Supervised(overseer, crash).running() as agent:
        await clock.run_for(30)
        assert (agent.status.restart_count, agent.error) == (1, None)
        overseer.record_restart_failure(agent.agent_id, "by hand")
        await clock.run_for(0)
        assert isinstance(agent.error, AgentExhaustedError)


async def test_run_leaves_supervised_agents_alone(overseer, clock):
    """`run` restarts no supervised agent. [O13, O11]"""
    restarted = []

    async def restart(agent_id, agent_type):
        restarted.append(agent_id)

    async with anyio.create_task_group() as tasks:
        await tasks.start(overseer.run, restart)
        async with Supervised(overseer, crash).running() as agent:
            await clock.run_for(100)
            assert agent.starts == [0.0, 0.0, 60.0]
        tasks.cancel_scope.cancel()
    assert restarted == []


# Dead by reported failures


async def test_dead_by_reported_failures(overseer, events, clock):
    """Main is cancelled when its agent is Dead by failures; when it has ended, the next is started. [O13]"""
    async with Supervised(overseer, report_six_failures, forever).running() as agent:
        await clock.run_for(0)
        assert len(agent.starts) == 2
    failed = [event.payload for event in events.events if event.topic == "arb.swarm.agent.failed"]
    assert [payload["health"] for payload in failed] == ["Degraded", "Unhealthy", "Dead"]
    assert failed[-1]["reason"] == "failures"


@pytest.mark.parametrize("error", ["refused", ConnectionError("refused")])
async def test_last_reported_error_is_the_cause(build, error):
    """The cause is the reported exception itself, or a `RuntimeError` with the reported text. [O13]"""
    overseer = build(auto_recovery_enabled=False)

    async def main(agent):
        for _ in range(6):
            agent.failure(error)
        await anyio.sleep_forever()

    with pytest.raises(AgentExhaustedError) as caught:
        await overseer.supervise("Scanner", main)
    cause = caught.value.__cause__
    if isinstance(error, str):
        assert type(cause) is RuntimeError
        assert str(cause) == "refused"
    else:
        assert cause is error


async def test_handle_is_stale_from_the_death_on(build):
    """The handle is stale as soon as the agent is Dead, while its main is still ending. [O13, T32]"""
    overseer = build(auto_recovery_enabled=False)
    refused = []

    async def main(agent):
        for _ in range(6):
            agent.failure("boom")
        for report in (agent.heartbeat, agent.success):
            with pytest.raises(StaleAgentError):
                report()
            refused.append(report)
        await anyio.sleep_forever()

    with pytest.raises(AgentExhaustedError):
        await overseer.supervise("Scanner", main)
    assert len(refused) == 2
    assert overseer.get_swarm_health().dead_agents == 1


async def test_reports_by_id_do_not_revive(overseer, clock):
    """Reports by id do not revive a dead agent while its main is being cancelled. [O13, T32]"""
    go_on = anyio.Event()

    async def main(agent):
        try:
            await report_six_failures(agent)
        finally:
            with anyio.CancelScope(shield=True):
                await go_on.wait()

    async with Supervised(overseer, main, forever).running() as agent:
        await clock.run_for(0)
        overseer.record_agent_heartbeat(agent.agent_id)
        overseer.record_agent_success(agent.agent_id)
        assert agent.status.health is DEAD
        go_on.set()
        await clock.run_for(0)
        assert agent.status.health is HEALTHY
        assert len(agent.starts) == 2


async def test_main_that_resists_is_waited_for(overseer, clock):
    """The next incarnation does not start before the last one has ended. [O13]"""
    go_on = anyio.Event()

    async def main(agent):
        try:
            await report_six_failures(agent)
        finally:
            with anyio.CancelScope(shield=True):
                await go_on.wait()

    async with Supervised(overseer, main, forever).running() as agent:
        await clock.run_for(500)
        assert agent.starts == [0.0]
        assert agent.status.health is DEAD
        go_on.set()
        await clock.run_for(0)
        assert agent.starts == [0.0, 500.0]


@pytest.mark.parametrize("error", [None, StaleAgentError(UUID(int=1), "Scanner"), OSError("cleaning up failed")])
async def test_one_death_is_counted_once(overseer, clock, events, caplog, error):
    """What main raises or returns after its death is not a second one; an unexpected error is logged. [O13]"""

    async def main(agent):
        try:
            await report_six_failures(agent)
        except anyio.get_cancelled_exc_class():
            if error is not None:
                raise error from None
        return "leftover"

    async with Supervised(overseer, main, forever).running() as agent:
        await clock.run_for(100)
        assert len(agent.starts) == 2
        assert agent.status.restart_count == 1
    deaths = [event.payload for event in events.events if event.payload.get("health") == "Dead"]
    assert len(deaths) == 1
    assert [record.name for record in caplog.records] == (["swarmguard"] if isinstance(error, OSError) else [])


async def test_result_of_a_dead_incarnation_is_ignored(overseer, clock):
    """What a dead incarnation returns is not the result of the supervision. [O13]"""

    async def main(agent):
        overseer.record_restart_failure(agent.agent_id, "by hand")
        return await ignore_cancellation(agent)

    async with Supervised(overseer, main).running() as agent:
        await clock.run_for(10)
        overseer.unregister_agent(agent.agent_id)
        await clock.run_for(0)
        assert (agent.outcome, agent.error) == (None, "none")


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_own_cancellation_after_death(overseer, clock, caplog):
    """A main that raises its own cancellation when it is cancelled is restarted, and the host goes on. [O13]"""

    async def main(agent):
        try:
            await report_six_failures(agent)
        except asyncio.CancelledError:
            raise asyncio.CancelledError from None

    async with Supervised(overseer, main, finish).running() as agent:
        await clock.run_for(0)
        assert agent.outcome == "done"
    assert caplog.records == []


# Silence


async def test_hang_is_found_by_the_supervisor(overseer, clock):
    """With `heartbeat="manual"` a main that sends no heartbeat is Dead at the timeout, without `run`. [O13]"""
    async with Supervised(overseer, forever, heartbeat="manual").running() as agent:
        await clock.run_for(29.999)
        assert agent.starts == [0.0]
        await clock.run_for(0.001)
        assert agent.starts == [0.0, 30.0]
        assert agent.status.restart_count == 1


async def test_hang_is_found_once_with_run(overseer, events, clock):
    """With `run` beside the supervisor, a hang is found once. [O13]"""
    async with Supervised(overseer, forever, heartbeat="manual").running(watch=True) as agent:
        await clock.run_for(30)
        assert agent.starts == [0.0, 30.0]
    reasons = [event.payload["reason"] for event in events.events if event.topic == "arb.swarm.agent.failed"]
    assert reasons == ["heartbeat_timeout"]


async def test_hang_ends_in_a_timeout(build, clock):
    """The cause after a hang is a `TimeoutError` that names the timeout. [O13]"""
    overseer = build(auto_recovery_enabled=False, heartbeat_timeout_secs=12.5)
    async with Supervised(overseer, forever, heartbeat="manual").running() as agent:
        await clock.run_for(20)
        assert isinstance(agent.error, AgentExhaustedError)
        cause = agent.error.__cause__
        assert type(cause) is TimeoutError
        assert str(cause) == "agent 'Scanner' sent no heartbeat for 12.5 s"


async def test_manual_agents_that_send_heartbeats_live(overseer, clock):
    """A main that sends heartbeats itself is not restarted. [O13]"""

    async def main(agent):
        while True:
            await agent.checkpoint()
            await clock.sleep(20)

    async with Supervised(overseer, main, heartbeat="manual").running(watch=True) as agent:
        await clock.run_for(1000)
        assert agent.starts == [0.0]
        assert agent.status.health is HEALTHY


async def test_auto_agents_are_not_found_hanging(overseer, clock):
    """With `heartbeat="auto"` the supervisor sends heartbeats, so a hang is not found. [O13]"""
    async with Supervised(overseer, forever).running(watch=True) as agent:
        await clock.run_for(1000)
        assert agent.starts == [0.0]
        assert agent.status.seconds_since_heartbeat <= 10


async def test_late_supervisor_marks_no_agent_as_stale(build, clock):
    """A stall of the supervisor's own event loop is not a hang of its agent; a later silence is. [O13, T31]"""
    overseer = build(heartbeat_interval_secs=10, heartbeat_timeout_secs=15)
    async with Supervised(overseer, forever, heartbeat="manual").running() as agent:
        await clock.run_for(0)
        clock.advance(20.001)
        await clock.run_for(0)
        assert agent.status.seconds_since_heartbeat == 0.0
        await clock.run_for(19)
        assert agent.starts == [0.0]
        await clock.run_for(1)
        assert len(agent.starts) == 2


async def test_late_supervisor_excuses_its_own_agent_only(build, clock):
    """A late check of a supervisor gives a full timeout to its own agent only. [O13]"""
    overseer = build(heartbeat_interval_secs=10, heartbeat_timeout_secs=15)
    other = overseer.register_agent("Executor")
    async with Supervised(overseer, forever, heartbeat="manual").running():
        await clock.run_for(0)
        clock.advance(100)
        await clock.run_for(0)
        assert overseer.check_heartbeats() == [other]


async def test_paused_swarm_is_not_checked(overseer, clock):
    """No agent is silent while the swarm is paused. [O13, O9]"""
    async with Supervised(overseer, forever, heartbeat="manual").running() as agent:
        overseer.pause_swarm()
        await clock.run_for(300)
        assert agent.starts == [0.0]
        overseer.resume_swarm()
        await clock.run_for(20)
        assert agent.starts == [0.0]
        await clock.run_for(20)
        assert len(agent.starts) == 2


async def test_death_that_a_check_by_hand_finds(overseer, clock):
    """If a call of `check_heartbeats` finds the agent silent, its main is cancelled. [O13]"""
    async with Supervised(overseer, forever).running() as agent:
        await clock.run_for(5)
        clock.advance(30)
        assert overseer.check_heartbeats() == [agent.agent_id]
        await clock.run_for(0)
        assert len(agent.starts) == 2


# Threads


async def test_death_from_another_thread(overseer):
    """A death that another thread reports wakes the supervisor. [O13]"""
    restarted = anyio.Event()

    async def first(agent):
        await anyio.to_thread.run_sync(report, agent.agent_id)
        await anyio.sleep_forever()

    async def second(agent):
        restarted.set()
        await anyio.sleep_forever()

    def report(agent_id):
        for _ in range(6):
            overseer.record_agent_failure(agent_id, ConnectionError("refused"))

    async with Supervised(overseer, first, second).running() as agent:
        await restarted.wait()
        assert agent.status.restart_count == 1


async def test_unregistering_from_another_thread(overseer):
    """An agent that another thread unregisters ends. [O13]"""
    agent = Supervised(overseer, forever)
    async with anyio.create_task_group() as tasks:
        agent.agent_id = await tasks.start(agent.host)
        await anyio.to_thread.run_sync(overseer.unregister_agent, agent.agent_id)
    assert agent.error == "none"


def test_check_in_another_thread(overseer, clock, anyio_backend):
    """A check in another thread finds an agent whose event loop is blocked. [O13]"""
    about_to_hang, seen = threading.Event(), threading.Event()
    starts = []

    async def main(agent):
        starts.append(clock.monotonic())
        if len(starts) == 1:
            about_to_hang.set()
            assert seen.wait(30)  # blocks the loop, and the automatic beat with it
            await anyio.sleep_forever()

    def watch():
        assert about_to_hang.wait(30)
        clock.advance(30)
        assert len(overseer.check_heartbeats()) == 1
        seen.set()

    thread = threading.Thread(target=watch)
    thread.start()
    anyio.run(overseer.supervise, "Scanner", main, backend=anyio_backend)
    thread.join()
    assert starts == [0.0, 30.0]


async def test_supervisor_leaves_nothing_behind(build, clock):
    """After the end, the record of the agent does not keep the exception alive. [O13]"""
    overseer = build(auto_recovery_enabled=False)
    agent = Supervised(overseer, crash)
    with pytest.raises(AgentExhaustedError):
        await overseer.supervise("Scanner", agent.main)
    record = overseer._core.machine._agents.find(agent.handles[0].agent_id)
    assert record.supervision.end() is None
    overseer.unregister_agent(record.agent_id)
