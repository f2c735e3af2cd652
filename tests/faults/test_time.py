"""Stalled event loops, suspended machines, and changes of the date."""

from __future__ import annotations

import random
from contextlib import suppress
from datetime import timedelta
from functools import partial
from uuid import UUID

import anyio
import attrs
import pytest

from swarmguard import (
    AgentHealth,
    BreakerMode,
    CircuitBreakerConfig,
    CircuitBreakerRegistry,
    CircuitOpenError,
    CircuitState,
    FailureRate,
    Overseer,
    OverseerConfig,
    TimeWindow,
)
from swarmguard.testing import EventRecorder, FakeClock
from tests.breaker_tools import build, fail, half_open_breaker, open_breaker, refused, succeed
from tests.faults.harness import check_counts, check_numbers

HOUR = 3600.0


class Swarm:
    """An event loop with a watcher and healthy agents of every kind.

    Attributes:
        incarnations: How often the supervised mains were started.
        silent: When set, the manual agents stop sending heartbeats.
    """

    def __init__(self, clock, events):
        self.clock = clock
        self.overseer = Overseer(clock=clock, sink=events)
        self.incarnations = 0
        self.silent = anyio.Event()

    async def run(self, drive, watched):
        """Run the swarm, and `drive` beside it; the swarm ends when `drive` does."""
        async with anyio.create_task_group() as tasks:
            if watched:
                await tasks.start(partial(self.overseer.run, self.restart))
            for heartbeat in ("auto", "manual"):
                tasks.start_soon(self.block, heartbeat)
                await tasks.start(partial(self.overseer.supervise, "main", self.main, heartbeat=heartbeat))
            await drive()
            tasks.cancel_scope.cancel()

    async def restart(self, agent_id, agent_type):
        """Accept a restart, as the host's callback."""

    async def block(self, heartbeat):
        """Run an agent as a block."""
        async with self.overseer.agent("block", heartbeat=heartbeat) as agent:
            await self.beat(agent)

    async def main(self, agent):
        """Run a supervised agent."""
        self.incarnations += 1
        await self.beat(agent)

    async def beat(self, agent):
        """Send heartbeats until `silent` is set."""
        while not self.silent.is_set():
            agent.heartbeat()
            await self.clock.sleep(9)  # not in step with the watchers
        await anyio.sleep_forever()


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("watched", [True, False], ids=["watched", "unwatched"])
@pytest.mark.anyio
async def test_a_stalled_loop_makes_no_agent_dead(clock, events, seed, watched):
    """Repeated stalls of the loop kill no agent of any kind in it, and silent agents are found afterwards [O11].

    The stalls have any length and come at any moment, also between two tasks that are due at the same time. Without a
    watcher, supervisors check their own agents only.
    """
    chance = random.Random(seed)
    swarm = Swarm(clock, events)

    async def drive():
        await clock.run_for(0)
        for _ in range(60):
            await clock.run_for(chance.choice([0, 0.1, 3.3, 10, 25]))
            clock.advance(chance.choice([0.1, 9.9, 10, 19.9, 20, 20.1, 29.9, 30, 45, HOUR]))  # no task runs meanwhile
        await clock.run_for(60)
        assert [topic for topic in events.topics if not topic.endswith("started")] == []
        assert swarm.incarnations == 2
        assert swarm.overseer.get_swarm_health().healthy_agents == 4

        swarm.silent.set()
        await clock.run_for(60)
        deaths = [event.payload for event in events.events if event.topic.endswith("failed")]
        assert {death["reason"] for death in deaths} == {"heartbeat_timeout"}
        silent = {(death["agent_id"], death["agent_type"]) for death in deaths}
        assert sorted(agent_type for _, agent_type in silent) == (["block", "main"] if watched else ["main"])

    await swarm.run(drive, watched)
    check_numbers(events)


# --- a suspended machine ----------------------------------------------------------------------------------------------


def test_a_circuit_is_right_after_a_suspended_hour(clock):
    """After an hour suspended, time windows are empty, open circuits are due, and leases have ended [B2] [B4].

    Consecutive failures stay, since nothing has succeeded, and outcomes of the same period still count.
    """
    window = build(clock, trip=FailureRate(window=TimeWindow(10), minimum_calls=4))
    failing, opened = build(clock, failure_threshold=3), open_breaker(clock)
    tripped, isolated = open_breaker(clock), open_breaker(clock)
    tripped.trip(2 * HOUR)
    isolated.set_mode(BreakerMode.ISOLATED)
    half_open = half_open_breaker(clock, half_open_max_calls=2, success_threshold=2)
    fail(window, 3)
    fail(failing, 2)
    held = [half_open.acquire(), half_open.acquire()]
    refused(half_open)

    clock.advance(HOUR)

    fail(window, 3)
    assert window.state is CircuitState.CLOSED
    fail(window)
    assert window.state is CircuitState.OPEN
    fail(failing)
    assert failing.state is CircuitState.OPEN
    assert (opened.state, opened.retry_after) == (CircuitState.OPEN, 0.0)
    succeed(opened)
    assert opened.state is CircuitState.HALF_OPEN
    assert refused(tripped).retry_after == HOUR - 10  # half_open_breaker has moved the clock by 10 s
    assert refused(isolated).reason == "isolated"
    assert half_open.status().half_open_calls == 0
    third = half_open.acquire()
    assert held[0].succeed()
    assert half_open.status().half_open_calls == 1
    assert third.succeed()
    assert half_open.state is CircuitState.CLOSED
    assert held[1].fail()
    assert half_open.status().failure_count == 0


@pytest.mark.anyio
async def test_restarts_go_on_after_a_suspended_hour(clock, events):
    """An hour suspended ends each cooldown once, starts no extra restart, and kills no healthy agent [O6] [O11]."""
    overseer = Overseer(OverseerConfig(restart_cooldown_secs=100), clock=clock, sink=events)
    slow, cooling, well = (overseer.register_agent(name) for name in ("slow", "cooling", "well"))
    restarted, starts = [], []

    async def restart(agent_id, agent_type):
        restarted.append(agent_type)
        await clock.sleep(20)

    async def main(agent):
        starts.append(clock.monotonic())
        await clock.sleep(5)
        if len(starts) < 3:
            raise ValueError("crash")
        await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        overseer.record_restart_failure(cooling, "no")
        overseer.record_restart_failure(slow, "no")
        overseer.reset_agent(slow)
        for _ in range(6):
            overseer.record_agent_failure(slow, "broken")
        tasks.start_soon(overseer.run, restart)
        supervised = await tasks.start(partial(overseer.supervise, "supervised", main))
        await clock.run_for(29)
        overseer.record_agent_heartbeat(well)
        assert (restarted, starts) == (["slow"], [0, 5])
        check_counts(overseer)

        clock.advance(HOUR)
        await clock.run_for(0)
        assert starts == [0, 5, HOUR + 29]
        assert restarted == ["slow", "cooling"]
        await clock.run_for(20)
        for agent_id, restarts in ((slow, 1), (cooling, 2), (supervised, 2), (well, 0)):
            found = overseer.get_agent_status(agent_id)
            assert (found.health, found.restart_count) == (AgentHealth.HEALTHY, restarts), found
        assert {event.payload["reason"] for event in events.events if event.topic.endswith("failed")} == {
            "crashed",
            "failures",
        }
        tasks.cancel_scope.cancel()
    check_numbers(events)


# --- the wall clock ---------------------------------------------------------------------------------------------------


class LeapingClock(FakeClock):
    """A clock whose date jumps by up to a hundred years, back or forth, at each reading."""

    __slots__ = ("_chance",)

    def __init__(self):
        super().__init__()
        self._chance = random.Random("dates")

    def now(self):
        """Return a random date."""
        return super().now() + timedelta(days=self._chance.uniform(-36525, 36525))


async def live(clock, seed):
    """Run a random scenario of a few hundred steps; return everything observable without the dates, and the dates."""
    chance = random.Random(seed)
    events, records, seen, ids = EventRecorder(), [], [], []
    config = CircuitBreakerConfig(
        trip=FailureRate(window=TimeWindow(60), minimum_calls=3, slow_call_duration=20),
        backoff_multiplier=2,
        jitter=0.5,
        random=chance.random,
        retry_after=lambda _: chance.choice([None, 3, 90]),
    )
    registry = CircuitBreakerRegistry(config, clock=clock, sink=events, observer=records.append)
    swarm = OverseerConfig(restart_cooldown_secs=15, max_concurrent_restarts=1)  # trio starts tasks in any order
    overseer = Overseer(swarm, clock=clock, sink=events, registry=registry)

    def call():
        with suppress(CircuitOpenError), registry.get_or_create(chance.choice("ab")).acquire() as permit:
            if chance.random() < 0.5:
                permit.fail(OSError())

    def register():
        ids.append(overseer.register_agent("agent", UUID(int=len(ids))))

    async def restart(agent_id, agent_type):
        fate = random.Random(f"{seed}/{agent_id}/{clock.monotonic()}")
        await clock.sleep(fate.uniform(0, 20))
        if fate.random() < 0.5:
            raise OSError

    register()
    actions = [
        *[call] * 8,
        register,
        lambda: [overseer.record_agent_failure(chance.choice(ids), "error") for _ in range(4)],
        lambda: overseer.record_agent_heartbeat(chance.choice(ids)),
        lambda: overseer.record_agent_success(chance.choice(ids)),
        lambda: seen.append([overseer.get_swarm_status(), overseer.get_agents_needing_restart()]),
    ]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(overseer.run, restart)
        for _ in range(300):
            chance.choice(actions)()
            await clock.run_for(chance.choice([0, 0, 1, 8, 30]))
        tasks.cancel_scope.cancel()
    for status, _ in seen:
        for agent in status.agents:
            object.__setattr__(agent, "started_at", None)
    dateless = [attrs.evolve(event, at=None) for event in events.events]
    return [seen, dateless, records], [event.at for event in events.events]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.anyio
async def test_a_change_of_the_date_changes_only_dates(seed, caplog):
    """Changes of the date change nothing but the dates in events and statuses [C1] [T11]."""
    steady, dates = await live(FakeClock(), seed)
    leaping, other_dates = await live(LeapingClock(), seed)
    assert steady == leaping
    assert len(dates) > 50
    assert dates == sorted(dates)
    assert other_dates != sorted(other_dates)
