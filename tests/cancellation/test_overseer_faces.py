"""Every async method of an overseer, a subscription and a clock, cancelled at each of its await points."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import anyio
import pytest
from anyio.lowlevel import checkpoint

from swarmguard import AgentHandle, AgentHealth, Event, EventBus, Overseer, OverseerConfig
from tests.cancellation.points import WAYS, Scene, at_every_point


class SwarmScene(Scene):
    """A scene with an overseer."""

    config = OverseerConfig(restart_cooldown_secs=5)

    def __init__(self) -> None:
        super().__init__()
        self.overseer = Overseer(self.config, clock=self.clock, sink=self.events)

    def check(self) -> None:
        """Check that no task waits or sleeps, and that the counts are those of the agents."""
        assert not self.overseer._core._waiting
        assert repr(self.clock).endswith("0 asleep>")
        healths = [status.health for status in self.overseer.get_all_agent_statuses()]
        health = self.overseer.get_swarm_health()
        assert (health.total_agents, health.dead_agents) == (len(healths), healths.count(AgentHealth.DEAD))
        assert [event.sequence for event in self.events.events] == list(range(1, len(self.events.events) + 1))


@WAYS
@pytest.mark.parametrize("heartbeat", ["auto", "manual"])
def test_a_cancelled_agent_is_unregistered(backend, native, heartbeat, explored) -> None:
    """Wherever the block of an agent is cancelled, the agent is unregistered and has not failed [O12]."""

    class Agent(SwarmScene):
        async def act(self) -> None:
            async with self.overseer.agent("Scanner", heartbeat=heartbeat) as agent:
                await agent.checkpoint()
                await self.clock.sleep(25)
                agent.heartbeat()
                await checkpoint()

        def check(self) -> None:
            super().check()
            assert self.overseer.get_all_agent_statuses() == []
            assert "arb.swarm.agent.failed" not in self.events.topics

    explored("cancellation points", at_every_point(backend, native, Agent))


@WAYS
def test_a_cancelled_wait_is_forgotten(backend, native, explored) -> None:
    """Wherever a wait is cancelled, no waiting task is left, and the swarm can be paused and resumed [O9]."""

    class Wait(SwarmScene):
        def __init__(self) -> None:
            super().__init__()
            self.overseer.pause_swarm()

        async def act(self) -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.resume)
                await self.overseer.wait_until_resumed()
            await self.overseer.wait_until_resumed()

        async def resume(self) -> None:
            await self.clock.sleep(1)
            self.overseer.resume_swarm()

    explored("cancellation points", at_every_point(backend, native, Wait))


@WAYS
def test_a_cancelled_checkpoint_is_forgotten(backend, native, explored) -> None:
    """Wherever a checkpoint is cancelled while the swarm is paused, no waiting task is left [O12]."""

    class Checkpoint(SwarmScene):
        async def act(self) -> None:
            async with self.overseer.agent("Scanner", heartbeat="manual") as agent, anyio.create_task_group() as tasks:
                self.overseer.pause_swarm()
                tasks.start_soon(self.resume)
                await agent.checkpoint()

        async def resume(self) -> None:
            await self.clock.sleep(1)
            self.overseer.resume_swarm()

    explored("cancellation points", at_every_point(backend, native, Checkpoint))


@WAYS
@pytest.mark.parametrize("limit", [1, 10])
def test_a_cancelled_run_abandons_its_restarts(backend, native, limit, explored) -> None:
    """Wherever `run` is cancelled, the restarts under way are not counted, and every agent may be restarted [O11]."""

    class Watch(SwarmScene):
        config = OverseerConfig(max_concurrent_restarts=limit, restart_cooldown_secs=0, max_restart_attempts=10)

        def __init__(self) -> None:
            super().__init__()
            self.ended: dict[UUID, int] = {}
            for _ in range(3):
                agent_id = self.overseer.register_agent("Worker")
                for _ in range(6):
                    self.overseer.record_agent_failure(agent_id, "broken")

        async def act(self) -> None:
            with anyio.move_on_after(None) as self.scope:
                await self.overseer.run(self.restart)

        async def restart(self, agent_id: UUID, agent_type: str) -> None:
            await checkpoint()
            await self.clock.sleep(1)
            self.ended[agent_id] = self.ended.get(agent_id, 0) + 1
            if len(self.ended) == 1 and self.ended[agent_id] == 1:
                raise ValueError("not yet")
            if len(self.ended) == 3:
                self.scope.cancel()

        def check(self) -> None:
            super().check()
            for status in self.overseer.get_all_agent_statuses():
                ended = self.ended.get(status.agent_id, 0)
                assert status.restart_count in {ended, ended - 1 if ended else 0}
            needing = {agent_id for agent_id, _ in self.overseer.get_agents_needing_restart()}
            dead = {
                status.agent_id
                for status in self.overseer.get_all_agent_statuses()
                if status.health is AgentHealth.DEAD
            }
            assert needing == dead

    explored("cancellation points", at_every_point(backend, native, Watch))


@WAYS
@pytest.mark.parametrize("heartbeat", ["auto", "manual"])
def test_a_cancelled_supervision_leaves_nothing(backend, native, heartbeat, explored) -> None:
    """Wherever `supervise` is cancelled, during an incarnation or between two, the agent is unregistered [O13]."""

    class Supervision(SwarmScene):
        starts = 0

        async def act(self) -> None:
            await self.overseer.supervise("Scanner", self.main, heartbeat=heartbeat)

        async def main(self, agent: AgentHandle) -> None:
            self.starts += 1
            await agent.checkpoint()
            if self.starts == 1:
                raise ValueError("a crash")
            if self.starts == 2:
                for _ in range(6):
                    agent.failure("broken")
            if self.starts == 3 and heartbeat == "manual":
                await self.clock.sleep(1000)  # a hang
            await self.clock.sleep(15)

        def check(self) -> None:
            super().check()
            assert self.overseer.get_all_agent_statuses() == []

    explored("cancellation points", at_every_point(backend, native, Supervision))


@WAYS
def test_a_cancelled_reader_loses_no_event(backend, native, explored) -> None:
    """Wherever a reader is cancelled, each event was returned to it or is still queued [C5]."""

    class Reader(Scene):
        def __init__(self) -> None:
            super().__init__()
            self.bus = EventBus()
            self.subscription = self.bus.subscribe()
            self.read: list[int] = []
            self.published = 0

        async def act(self) -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.publish)
                async for event in self.subscription:
                    self.read.append(event.sequence)

        async def publish(self) -> None:
            for number in range(4):
                await self.clock.sleep(number % 2)
                self.bus.publish(Event(topic="a", source="b", at=datetime.now(UTC), sequence=number, payload={}))
                self.published += 1
            self.subscription.close()

        def check(self) -> None:
            self.read.extend(event.sequence for event in self.subscription.drain())
            assert self.read == list(range(self.published))
            assert not self.subscription._mailbox._waiting

    explored("cancellation points", at_every_point(backend, native, Reader))


@WAYS
def test_a_cancelled_sleeper_is_forgotten(backend, native, explored) -> None:
    """Wherever a sleep by a `FakeClock` or the task that moves it is cancelled, no sleeping task is left [C2]."""

    class Sleepers(Scene):
        moves_its_clock = True

        def __init__(self) -> None:
            super().__init__()
            self.woken: list[float] = []

        async def act(self) -> None:
            async with anyio.create_task_group() as tasks:
                for delay in (1, 1, 2):
                    tasks.start_soon(self.sleep, delay)
                await self.clock.run_for(1.5)
                self.clock.advance(10)

        async def sleep(self, delay: float) -> None:
            await self.clock.sleep(delay)
            self.woken.append(delay)

        def check(self) -> None:
            assert repr(self.clock).endswith("0 asleep>")
            assert self.woken == [1, 1, 2][: len(self.woken)]

    explored("cancellation points", at_every_point(backend, native, Sleepers))
