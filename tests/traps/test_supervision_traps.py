"""Defects that were reported of other supervisors: each test fails if this one has the same defect."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

import anyio
import pytest

from swarmguard import (
    AgentExhaustedError,
    AgentHandle,
    AgentHealth,
    Event,
    Overseer,
    OverseerConfig,
    StaleAgentError,
)

if TYPE_CHECKING:
    from swarmguard.testing import EventRecorder, FakeClock

pytestmark = pytest.mark.anyio

DEADLY = 6
"""The failures that make an agent Dead."""


@pytest.fixture
def overseer(clock: FakeClock, events: EventRecorder) -> Overseer:
    """Return an overseer with the default configuration."""
    return Overseer(clock=clock, sink=events)


def kill(overseer: Overseer, agent_id: UUID) -> None:
    """Report failures until the agent is Dead."""
    for _ in range(DEADLY):
        overseer.record_agent_failure(agent_id, "broken")


def health(overseer: Overseer, agent_id: UUID) -> AgentHealth:
    """Return the agent's health."""
    return overseer.get_agent_status(agent_id).health


def events_of(events: EventRecorder, topic: str) -> list[Event]:
    """Return the events of a topic."""
    return [event for event in events.events if event.topic == f"arb.swarm.{topic}"]


async def beat_for(clock: FakeClock, beat: Callable[[], object], *, every: float = 5.0) -> None:
    """Send heartbeats regularly."""
    while True:
        beat()
        await clock.sleep(every)


async def until_exhausted(supervise: Callable[[], Awaitable[object]], ends: list[AgentExhaustedError]) -> None:
    """Supervise, and keep the error of the end."""
    try:
        await supervise()
    except AgentExhaustedError as end:
        ends.append(end)


# --- T30 --------------------------------------------------------------------------------------------------------------


async def test_a_hung_main_is_cancelled_and_restarted(
    clock: FakeClock, overseer: Overseer, events: EventRecorder
) -> None:
    """Under `supervise` with manual heartbeats, a main that hangs is Dead by silence and started again. [T30]"""
    handles: list[AgentHandle] = []
    ended: list[AgentHandle] = []

    async def main(agent: AgentHandle) -> None:
        assert handles == ended, "the next incarnation started before the last one had ended"
        handles.append(agent)
        try:
            agent.heartbeat()
            await anyio.sleep_forever()
        finally:
            ended.append(agent)

    async with anyio.create_task_group() as tasks:
        agent_id = await tasks.start(partial(overseer.supervise, "Scanner", main, heartbeat="manual"))
        await clock.run_for(29.9)
        assert health(overseer, agent_id) is AgentHealth.HEALTHY
        assert len(handles) == 1
        await clock.run_for(10.2)
        assert len(handles) == 2
        with pytest.raises(StaleAgentError):
            handles[0].heartbeat()
        tasks.cancel_scope.cancel()
    assert [event.payload["reason"] for event in events_of(events, "agent.failed")] == ["heartbeat_timeout"]
    assert [event.payload["reason"] for event in events_of(events, "agent.recovered")] == ["restart"]


async def test_a_main_that_hangs_for_ever_ends_in_a_timeout(clock: FakeClock, overseer: Overseer) -> None:
    """When every incarnation hangs, `supervise` gives up, caused by a `TimeoutError`. [T30]"""
    handles: list[AgentHandle] = []
    ends: list[AgentExhaustedError] = []

    async def main(agent: AgentHandle) -> None:
        handles.append(agent)
        await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(until_exhausted, partial(overseer.supervise, "Scanner", main, heartbeat="manual"), ends)
        await clock.run_for(3600)
        tasks.cancel_scope.cancel()
    assert len(handles) == 4
    assert [type(end.__cause__) for end in ends] == [TimeoutError]
    assert health(overseer, ends[0].agent_id) is AgentHealth.DEAD


async def test_a_hung_agent_block_is_found_if_its_heartbeats_are_manual(clock: FakeClock, overseer: Overseer) -> None:
    """`run` finds a hung block with manual heartbeats, but not one with automatic heartbeats. [T30]"""

    async def hang(heartbeat: str, *, task_status: anyio.abc.TaskStatus[UUID]) -> None:
        async with overseer.agent("Scanner", heartbeat=heartbeat) as agent:
            task_status.started(agent.agent_id)
            await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        await tasks.start(overseer.run)
        manual = await tasks.start(hang, "manual")
        auto = await tasks.start(hang, "auto")
        await clock.run_for(3600)
        assert health(overseer, manual) is AgentHealth.DEAD
        assert overseer.get_agent_status(manual).is_stale
        assert health(overseer, auto) is AgentHealth.HEALTHY
        tasks.cancel_scope.cancel()


# --- T31 --------------------------------------------------------------------------------------------------------------


async def test_a_stalled_watcher_makes_no_agent_dead(
    clock: FakeClock, overseer: Overseer, events: EventRecorder
) -> None:
    """Five stalls of the event loop, far longer than the timeout, make none of 200 beating agents Dead. [T31]"""
    swarm = [overseer.register_agent("Worker") for _ in range(200)]

    def beat() -> None:
        for agent_id in swarm:
            overseer.record_agent_heartbeat(agent_id)

    async with anyio.create_task_group() as tasks:
        await tasks.start(overseer.run)
        tasks.start_soon(partial(beat_for, clock, beat, every=10.0))
        for stall in (45.0, 31.0, 3600.0, 100.0, 29 * 86400.0):
            await clock.run_for(35)
            clock.advance(stall)
            await clock.run_for(0)
            assert overseer.get_swarm_health().dead_agents == 0
        await clock.run_for(60)
        tasks.cancel_scope.cancel()
    assert events_of(events, "agent.failed") == []


async def test_agents_that_are_silent_after_a_stall_are_found(clock: FakeClock, overseer: Overseer) -> None:
    """A stall counts as one heartbeat: an agent that stays silent for a full timeout after it is Dead. [T31]"""
    silent = overseer.register_agent("Worker")
    async with anyio.create_task_group() as tasks:
        await tasks.start(overseer.run)
        await clock.run_for(5)
        clock.advance(100)
        await clock.run_for(29)
        assert health(overseer, silent) is AgentHealth.HEALTHY
        await clock.run_for(11)
        assert health(overseer, silent) is AgentHealth.DEAD
        tasks.cancel_scope.cancel()


async def test_a_stall_does_not_revive_a_stale_agent(clock: FakeClock, overseer: Overseer) -> None:
    """An agent that was stale before a stall is stale after it. [T31]"""
    silent = overseer.register_agent("Worker")
    async with anyio.create_task_group() as tasks:
        await tasks.start(overseer.run)
        await clock.run_for(40)
        assert health(overseer, silent) is AgentHealth.DEAD
        clock.advance(100)
        await clock.run_for(0)
        assert overseer.get_agent_status(silent).is_stale
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize(("late", "found"), [(0.0, True), (10.0, True), (10.000000001, False)])
async def test_one_interval_late_is_not_a_stall(clock: FakeClock, late: float, found: bool) -> None:
    """A check up to one interval late marks stale agents; one nanosecond later it counts as a stall. [T31]"""
    overseer = Overseer(OverseerConfig(heartbeat_interval_secs=10, heartbeat_timeout_secs=10), clock=clock)
    silent = overseer.register_agent("Worker")
    async with anyio.create_task_group() as tasks:
        await tasks.start(overseer.run)
        await clock.run_for(0)
        clock.advance(10.0 + late)
        await clock.run_for(0)
        assert overseer.get_agent_status(silent).is_stale is found
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("heartbeat", ["auto", "manual"])
async def test_a_stall_restarts_no_supervised_agent(
    clock: FakeClock, overseer: Overseer, events: EventRecorder, heartbeat: str
) -> None:
    """A stall of the event loop that supervisors share restarts none of their agents. [T31]"""
    handles: list[AgentHandle] = []

    async def main(agent: AgentHandle) -> None:
        handles.append(agent)
        await beat_for(clock, agent.heartbeat, every=10.0)

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            await tasks.start(partial(overseer.supervise, "Worker", main, heartbeat=heartbeat))
        for _ in range(5):
            await clock.run_for(35)
            clock.advance(1000)
            await clock.run_for(0)
        tasks.cancel_scope.cancel()
    assert len(handles) == 5
    assert events_of(events, "agent.failed") == []


# --- T32 --------------------------------------------------------------------------------------------------------------


async def test_an_old_handle_does_not_beat_for_the_next_incarnation(clock: FakeClock, overseer: Overseer) -> None:
    """An old handle is stale, and its heartbeats do not hide the silence of the new incarnation. [T32]"""
    refused: list[float] = []

    def beat(agent: AgentHandle) -> None:
        try:
            agent.heartbeat()
        except StaleAgentError:
            refused.append(clock.monotonic())

    async def outdated(*, task_status: anyio.abc.TaskStatus[UUID]) -> None:
        async with overseer.agent("Scanner", heartbeat="manual") as agent:
            task_status.started(agent.agent_id)
            await beat_for(clock, partial(beat, agent))

    async with anyio.create_task_group() as tasks:
        await tasks.start(overseer.run)
        agent_id = await tasks.start(outdated)
        await clock.run_for(12)
        assert refused == []
        overseer.begin_restart(agent_id)
        overseer.record_agent_recovery(agent_id)
        await clock.run_for(29)
        assert health(overseer, agent_id) is AgentHealth.HEALTHY
        await clock.run_for(11)
        assert health(overseer, agent_id) is AgentHealth.DEAD
        assert refused == [15.0, 20.0, 25.0, 30.0, 35.0, 40.0, 45.0, 50.0]
        tasks.cancel_scope.cancel()


async def test_the_automatic_heartbeats_of_a_restarted_agent_stop(clock: FakeClock, overseer: Overseer) -> None:
    """The automatic heartbeats of a block end with its incarnation. [T32]"""

    async def outdated(*, task_status: anyio.abc.TaskStatus[UUID]) -> None:
        async with overseer.agent("Scanner") as agent:
            task_status.started(agent.agent_id)
            await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        await tasks.start(overseer.run)
        agent_id = await tasks.start(outdated)
        await clock.run_for(60)
        assert health(overseer, agent_id) is AgentHealth.HEALTHY
        overseer.record_agent_recovery(agent_id)
        await clock.run_for(41)
        assert health(overseer, agent_id) is AgentHealth.DEAD
        tasks.cancel_scope.cancel()


async def test_a_supervised_main_that_resists_its_cancellation_is_stale(
    clock: FakeClock, overseer: Overseer, events: EventRecorder
) -> None:
    """A main that shields itself and goes on reporting revives neither itself nor its successor. [T32]"""
    handles: list[AgentHandle] = []
    refused: list[str] = []

    async def main(agent: AgentHandle) -> None:
        handles.append(agent)
        if len(handles) > 1:
            await beat_for(clock, agent.heartbeat)
        with anyio.CancelScope(shield=True):
            await clock.sleep(100)
            for report in (agent.heartbeat, agent.success, lambda: agent.failure("late")):
                try:
                    report()
                except StaleAgentError as error:
                    refused.append(str(error.agent_id))
            assert len(handles) == 1

    async with anyio.create_task_group() as tasks:
        agent_id = await tasks.start(partial(overseer.supervise, "Scanner", main, heartbeat="manual"))
        await clock.run_for(99)
        meanwhile = (len(handles), health(overseer, agent_id))
        await clock.run_for(11)
        assert meanwhile == (1, AgentHealth.DEAD)  # not before the shield has ended, or a failure would hang
        assert len(handles) == 2
        assert health(overseer, agent_id) is AgentHealth.HEALTHY
        tasks.cancel_scope.cancel()
    assert refused == [str(agent_id)] * 3
    assert [event.payload["reason"] for event in events_of(events, "agent.recovered")] == ["restart"]


async def test_the_handle_of_an_agent_that_has_ended_is_stale(overseer: Overseer) -> None:
    """A handle raises at every use after its block has ended or its agent was unregistered. [T32]"""
    async with overseer.agent("Scanner") as agent:
        pass
    async with overseer.agent("Trader") as other:
        overseer.unregister_agent(other.agent_id)
        reports: list[Callable[[], object]] = [agent.heartbeat, agent.success, other.heartbeat, other.success]
        for report in reports:
            with pytest.raises(StaleAgentError):
                report()
        with pytest.raises(StaleAgentError):
            await agent.checkpoint()
    assert overseer.get_all_agent_statuses() == []


# --- T33 --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("watchers", [1, 3])
async def test_a_crash_loop_gets_no_more_restarts_than_its_budget(
    clock: FakeClock, overseer: Overseer, events: EventRecorder, watchers: int
) -> None:
    """An agent that dies after every restart is restarted three times, however many loops run. [T33]"""
    agent_id = overseer.register_agent("Worker")
    restarts: list[float] = []

    async def restart(restarted: UUID, agent_type: str) -> None:
        assert (restarted, agent_type) == (agent_id, "Worker")
        restarts.append(clock.monotonic())
        tasks.start_soon(die_soon)

    async def die_soon() -> None:
        await clock.sleep(1)
        kill(overseer, agent_id)

    kill(overseer, agent_id)
    async with anyio.create_task_group() as tasks:
        for _ in range(watchers):
            await tasks.start(overseer.run, restart)
        await clock.run_for(3600)
        tasks.cancel_scope.cancel()
    assert len(restarts) == 3
    assert overseer.get_agent_status(agent_id).restart_count == 3
    assert len(events_of(events, "agent.exhausted")) == 1


async def test_a_crashing_main_is_restarted_three_times(
    clock: FakeClock, overseer: Overseer, events: EventRecorder
) -> None:
    """Under `supervise` the budget holds too, and the last error is the cause of giving up. [T33]"""
    starts: list[float] = []
    ends: list[AgentExhaustedError] = []

    async def main(agent: AgentHandle) -> None:
        starts.append(clock.monotonic())
        if len(starts) > 20:  # far too often: let the test end and fail
            await anyio.sleep_forever()
        raise ValueError(f"crash {len(starts)}")

    async with anyio.create_task_group() as tasks:
        await tasks.start(overseer.run)
        tasks.start_soon(until_exhausted, partial(overseer.supervise, "Worker", main), ends)
        await clock.run_for(3600)
        tasks.cancel_scope.cancel()
    assert len(starts) == 4
    assert [str(end.__cause__) for end in ends] == ["crash 4"]
    assert len(events_of(events, "agent.exhausted")) == 1
    assert {event.payload["reason"] for event in events_of(events, "agent.failed")} == {"crashed"}


async def test_a_slow_restart_is_not_begun_twice(clock: FakeClock, overseer: Overseer) -> None:
    """While an attempt is under way, later checks do not restart the agent. [T33]"""
    agent_id = overseer.register_agent("Worker")
    begun: list[float] = []

    async def restart(restarted: UUID, agent_type: str) -> None:
        begun.append(clock.monotonic())
        await clock.sleep(300)

    kill(overseer, agent_id)
    async with anyio.create_task_group() as tasks:
        await tasks.start(overseer.run, restart)
        await clock.run_for(250)
        assert len(begun) == 1
        assert overseer.get_agent_status(agent_id).restart_count == 1
        await clock.run_for(100)
        assert not overseer.get_agents_needing_restart()
        tasks.cancel_scope.cancel()
    assert len(begun) == 1


# --- T34 --------------------------------------------------------------------------------------------------------------


async def test_a_restart_that_raises_is_no_recovery(
    clock: FakeClock, overseer: Overseer, events: EventRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    """If the callback raises, the agent stays Dead without a recovery; the error is counted, kept and logged. [T34]"""
    agent_id = overseer.register_agent("Worker")
    attempts: list[float] = []

    async def restart(restarted: UUID, agent_type: str) -> None:
        attempts.append(clock.monotonic())
        if len(attempts) < 3:
            raise ConnectionError("no container")

    kill(overseer, agent_id)
    async with anyio.create_task_group() as tasks:
        await tasks.start(overseer.run, restart)
        await clock.run_for(30)
        status = overseer.get_agent_status(agent_id)
        assert (status.health, status.restart_count) == (AgentHealth.DEAD, 1)
        assert status.error_message is not None
        assert status.error_message.startswith("ConnectionError")
        assert events_of(events, "agent.recovered") == []
        assert "ConnectionError: no container" in caplog.text
        await clock.run_for(115)
        tasks.cancel_scope.cancel()
    assert len(attempts) == 3
    assert health(overseer, agent_id) is AgentHealth.HEALTHY
    assert [event.payload["restart_count"] for event in events_of(events, "agent.recovered")] == [3]


async def test_an_agent_that_died_by_silence_is_dead_after_a_restart_that_failed(
    clock: FakeClock, overseer: Overseer
) -> None:
    """A heartbeat after a failed restart does not revive the agent. [T34]"""
    agent_id = overseer.register_agent("Worker")
    clock.advance(30)
    overseer.check_heartbeats()
    overseer.begin_restart(agent_id)
    overseer.record_restart_failure(agent_id, ConnectionError("no container"))
    overseer.record_agent_heartbeat(agent_id)
    assert health(overseer, agent_id) is AgentHealth.DEAD


async def test_a_restart_that_the_host_cancels_is_not_counted(clock: FakeClock, overseer: Overseer) -> None:
    """A restart that is cancelled with `run` is neither a recovery nor a failure. [T34]"""
    agent_id = overseer.register_agent("Worker")

    async def restart(restarted: UUID, agent_type: str) -> None:
        await anyio.sleep_forever()

    kill(overseer, agent_id)
    async with anyio.create_task_group() as tasks:
        await tasks.start(overseer.run, restart)
        await clock.run_for(30)
        assert overseer.get_agent_status(agent_id).restart_count == 1
        tasks.cancel_scope.cancel()
    status = overseer.get_agent_status(agent_id)
    assert (status.health, status.restart_count) == (AgentHealth.DEAD, 0)
    assert overseer.get_agents_needing_restart() == [(agent_id, "Worker")]


# --- T35 --------------------------------------------------------------------------------------------------------------


async def test_rare_crashes_never_use_up_the_budget(
    clock: FakeClock, overseer: Overseer, events: EventRecorder
) -> None:
    """Of ten crashes, each ten minutes after the last restart, each is the first one that counts. [T35]"""
    agent_id = overseer.register_agent("Worker")

    async def restart(restarted: UUID, agent_type: str) -> None:
        pass

    async with anyio.create_task_group() as tasks:
        await tasks.start(overseer.run, restart)
        tasks.start_soon(beat_for, clock, partial(overseer.record_agent_heartbeat, agent_id))
        for _ in range(10):
            kill(overseer, agent_id)
            await clock.run_for(15)
            assert health(overseer, agent_id) is AgentHealth.HEALTHY
            assert overseer.get_agent_status(agent_id).restart_count == 1
            await clock.run_for(600)
            assert overseer.get_agent_status(agent_id).restart_count == 0
        tasks.cancel_scope.cancel()
    assert events_of(events, "agent.exhausted") == []


async def test_rare_crashes_never_end_a_supervised_agent(
    clock: FakeClock, overseer: Overseer, events: EventRecorder
) -> None:
    """A main that crashes after ten minutes each time is restarted each time. [T35]"""
    starts: list[float] = []

    async def main(agent: AgentHandle) -> None:
        starts.append(clock.monotonic())
        await clock.sleep(600)
        if len(starts) < 10:
            raise ValueError("rare")

    async with anyio.create_task_group() as tasks:
        await tasks.start(overseer.supervise, "Worker", main)
        await clock.run_for(10 * 700)
        assert overseer.get_all_agent_statuses() == []
        tasks.cancel_scope.cancel()
    assert len(starts) == 10
    assert events_of(events, "agent.exhausted") == []


async def test_a_recovery_does_not_give_the_budget_back(
    clock: FakeClock, overseer: Overseer, events: EventRecorder
) -> None:
    """A main that crashes just before its restart count expires is exhausted, so a crash loop ends. [T35]"""
    starts: list[float] = []
    ends: list[AgentExhaustedError] = []

    async def main(agent: AgentHandle) -> None:
        starts.append(clock.monotonic())
        await clock.sleep(599)
        raise ValueError("often")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(until_exhausted, partial(overseer.supervise, "Worker", main), ends)
        await clock.run_for(10 * 700)
        tasks.cancel_scope.cancel()
    assert len(starts) == 4
    assert len(ends) == 1
    assert len(events_of(events, "agent.exhausted")) == 1


# --- T36 --------------------------------------------------------------------------------------------------------------


async def test_a_sink_finds_the_state_of_its_event(clock: FakeClock) -> None:
    """When a sink gets an event, the overseer is in the state that the event reports. [T36]"""
    seen: list[tuple[object, object]] = []

    def sink(event: Event) -> None:
        if event.topic in ("arb.swarm.agent.failed", "arb.swarm.agent.recovered"):
            status = overseer.get_agent_status(UUID(str(event.payload["agent_id"])))
            seen.append((event.payload.get("health", AgentHealth.HEALTHY), status.health))
            seen.append((event.payload.get("consecutive_failures", 0), status.consecutive_failures))

    overseer = Overseer(clock=clock, sink=sink)
    agent_id = overseer.register_agent("Worker")
    kill(overseer, agent_id)
    overseer.record_agent_success(agent_id)
    clock.advance(30)
    overseer.check_heartbeats()
    overseer.record_agent_heartbeat(agent_id)
    overseer.record_restart_failure(agent_id, "no container")
    overseer.record_agent_recovery(agent_id)
    assert len(seen) == 2 * 8
    assert all(shown == found for shown, found in seen)


async def test_a_sink_may_restart_the_agent_of_its_event(clock: FakeClock, events: EventRecorder) -> None:
    """A sink that changes the overseer causes later events, which come after the current one, in order. [T36]"""

    def sink(event: Event) -> None:
        events(event)
        if event.payload.get("health") == "Dead":
            overseer.record_agent_recovery(UUID(str(event.payload["agent_id"])))

    overseer = Overseer(clock=clock, sink=sink)
    agent_id = overseer.register_agent("Worker")
    kill(overseer, agent_id)
    assert health(overseer, agent_id) is AgentHealth.HEALTHY
    assert [event.topic.removeprefix("arb.swarm.agent.") for event in events.events] == [
        "started",
        "failed",
        "failed",
        "failed",
        "recovered",
    ]
    assert [event.sequence for event in events.events] == [1, 2, 3, 4, 5]


# --- T37 --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("death", ["silence", "failures"])
async def test_the_dead_are_restarted_with_a_cooldown_between(clock: FakeClock, death: str) -> None:
    """`run` restarts an agent whatever it died of, and never within the cooldown after the last attempt. [T37]"""
    overseer = Overseer(OverseerConfig(max_restart_attempts=5), clock=clock)
    agent_id = overseer.register_agent("Worker")
    begun: list[float] = []
    ended: list[float] = []

    async def restart(restarted: UUID, agent_type: str) -> None:
        begun.append(clock.monotonic())
        await clock.sleep(7)
        ended.append(clock.monotonic())
        raise ConnectionError("no container")

    if death == "failures":
        kill(overseer, agent_id)
    async with anyio.create_task_group() as tasks:
        await tasks.start(overseer.run, restart)
        await clock.run_for(30)
        assert begun == ([10.0] if death == "failures" else [30.0])
        await clock.run_for(600)
        tasks.cancel_scope.cancel()
    assert len(begun) == 5
    waits = [start - end for start, end in zip(begun[1:], ended, strict=False)]
    assert all(60 <= wait < 60 + 10 for wait in waits)


async def test_a_supervised_agent_is_restarted_at_once_and_then_with_a_cooldown(
    clock: FakeClock, overseer: Overseer
) -> None:
    """Under `supervise` the first restart comes at once, and each other exactly after the cooldown. [T37]"""
    starts: list[float] = []
    ends: list[AgentExhaustedError] = []

    async def main(agent: AgentHandle) -> None:
        starts.append(clock.monotonic())
        await clock.sleep(3)
        raise ValueError("broken")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(until_exhausted, partial(overseer.supervise, "Worker", main), ends)
        await clock.run_for(3600)
        tasks.cancel_scope.cancel()
    assert len(ends) == 1
    assert starts == [0.0, 3.0, 63.0, 123.0]


# --- T38 --------------------------------------------------------------------------------------------------------------


async def test_an_agent_whose_every_call_fails_becomes_dead_despite_heartbeats(
    clock: FakeClock, overseer: Overseer, events: EventRecorder
) -> None:
    """Heartbeats between failures do not clear the failure count. [T38]"""
    async with overseer.agent("Worker") as agent:
        for _ in range(DEADLY):
            await clock.run_for(25)
            agent.heartbeat()
            agent.failure("every call fails")
            agent.heartbeat()
        status = overseer.get_agent_status(agent.agent_id)
        assert (status.health, status.consecutive_failures) == (AgentHealth.DEAD, DEADLY)
        await clock.run_for(600)
        assert health(overseer, agent.agent_id) is AgentHealth.DEAD
    assert [event.payload["health"] for event in events_of(events, "agent.failed")] == ["Degraded", "Unhealthy", "Dead"]


async def test_a_supervised_main_whose_every_call_fails_is_restarted(clock: FakeClock, overseer: Overseer) -> None:
    """Automatic heartbeats do not hide reported failures from the supervisor. [T38]"""
    handles: list[AgentHandle] = []

    async def main(agent: AgentHandle) -> None:
        handles.append(agent)
        while len(handles) == 1:
            await clock.sleep(20)
            agent.failure("every call fails")
        await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        await tasks.start(overseer.supervise, "Worker", main)
        await clock.run_for(119)
        assert len(handles) == 1
        await clock.run_for(1)
        assert len(handles) == 2
        tasks.cancel_scope.cancel()


async def test_an_old_failure_is_cleared_by_a_heartbeat(
    clock: FakeClock, overseer: Overseer, events: EventRecorder
) -> None:
    """A heartbeat clears the failure count once the last failure is as old as the memory, and not before. [T38]"""
    agent_id = overseer.register_agent("Worker")
    overseer.record_agent_failure(agent_id, "blip")
    clock.advance(29.999999999)
    overseer.record_agent_heartbeat(agent_id)
    assert health(overseer, agent_id) is AgentHealth.DEGRADED
    clock.advance(0.000000001)
    overseer.record_agent_heartbeat(agent_id)
    assert health(overseer, agent_id) is AgentHealth.HEALTHY
    assert [event.payload["reason"] for event in events_of(events, "agent.recovered")] == ["heartbeat"]


# --- T39 --------------------------------------------------------------------------------------------------------------


async def test_agents_that_die_together_are_not_all_restarted_at_once(clock: FakeClock, overseer: Overseer) -> None:
    """Of 200 agents that die together, ten are restarted at a time, until all have been. [T39]"""
    swarm = [overseer.register_agent("Worker") for _ in range(200)]
    running = 0
    peak = 0
    order: list[UUID] = []

    async def restart(restarted: UUID, agent_type: str) -> None:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        order.append(restarted)
        await clock.sleep(3)
        running -= 1

    async with anyio.create_task_group() as tasks:
        await tasks.start(overseer.run, restart)
        for agent_id in swarm:
            kill(overseer, agent_id)
        await clock.run_for(9.9)
        assert running == 0
        await clock.run_for(0.2)
        assert running == 10
        for _ in range(40):
            await clock.run_for(5)
            for agent_id in swarm:
                overseer.record_agent_heartbeat(agent_id)
        tasks.cancel_scope.cancel()
    assert peak == 10
    assert sorted(order) == sorted(swarm)
    assert overseer.get_swarm_health().overall_health is AgentHealth.HEALTHY


async def test_restarts_that_hang_do_not_stop_the_checks(clock: FakeClock, overseer: Overseer) -> None:
    """Restarts that hang count against the limit, but `run` still finds silent agents. [T39]"""
    stuck = [overseer.register_agent("Worker") for _ in range(20)]
    for agent_id in stuck:
        kill(overseer, agent_id)
    begun: list[UUID] = []

    async def restart(restarted: UUID, agent_type: str) -> None:
        begun.append(restarted)
        await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        await tasks.start(overseer.run, restart)
        silent = overseer.register_agent("Scanner")
        await clock.run_for(40)
        assert len(begun) == 10
        assert health(overseer, silent) is AgentHealth.DEAD
        tasks.cancel_scope.cancel()


Restart = Callable[[UUID, str], Awaitable[object]]


@pytest.mark.parametrize("limit", [1, 3])
async def test_the_limit_of_concurrent_restarts_is_the_configured_one(clock: FakeClock, limit: int) -> None:
    """`max_concurrent_restarts` is the limit, and a restart that fails makes way for the next one. [T39]"""
    overseer = Overseer(OverseerConfig(max_concurrent_restarts=limit, max_restart_attempts=1), clock=clock)
    swarm = [overseer.register_agent("Worker") for _ in range(9)]
    running: list[UUID] = []
    peaks: list[int] = []

    async def restart(restarted: UUID, agent_type: str) -> None:
        running.append(restarted)
        peaks.append(len(running))
        try:
            await clock.sleep(1)
            if swarm.index(restarted) % 2:
                raise ConnectionError("no container")
        finally:
            running.remove(restarted)

    for agent_id in swarm:
        kill(overseer, agent_id)
    callback: Restart = restart
    async with anyio.create_task_group() as tasks:
        await tasks.start(overseer.run, callback)
        await clock.run_for(60)
        tasks.cancel_scope.cancel()
    assert max(peaks) == limit
    assert len(peaks) == 9
