"""The overseer under threads and several event loops, which switch at random lines of the package."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from uuid import UUID, uuid4

import anyio
import anyio.lowlevel
import pytest
from anyio.from_thread import start_blocking_portal

from swarmguard import AgentHealth, DuplicateAgentError, Event, Overseer, OverseerConfig, StaleAgentError
from swarmguard.testing import EventRecorder, FakeClock
from tests.threads.interleave import Interleaver, at_every_line, wait_for

SAFETY = 30.0
"""Seconds after which a test that should have ended fails; no test waits for this."""
SEEDS = pytest.mark.parametrize("seed", range(5))
BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])
BOTH = ["asyncio", "trio"]
"""The event loops that run side by side."""


@pytest.fixture
def overseer(clock: FakeClock, events: EventRecorder) -> Overseer:
    """Return an overseer whose agents may be restarted often and without a cooldown."""
    config = OverseerConfig(max_restart_attempts=1000, restart_cooldown_secs=0)
    return Overseer(config, clock=clock, sink=events)


def many(times: int, act: Callable[..., object], *args: object) -> Callable[[], None]:
    """Return a job that calls a function so many times."""

    def job() -> None:
        for _ in range(times):
            act(*args)

    return job


def topics(events: EventRecorder) -> Counter[str]:
    """Count the events by topic."""
    return Counter(topic.removeprefix("arb.swarm.") for topic in events.topics)


def check_numbers(events: EventRecorder) -> None:
    """Check that the events came in order, each once."""
    assert [event.sequence for event in events.events] == list(range(1, len(events.events) + 1))


def check_story(events: EventRecorder, overseer: Overseer) -> None:
    """Check that each agent's events follow from each other and end in the agent's current health."""
    check_numbers(events)
    healths: dict[str, AgentHealth] = {}
    for event in events.events:
        if "agent_id" not in event.payload:
            continue
        agent_id = str(event.payload["agent_id"])
        kind = event.topic.removeprefix("arb.swarm.agent.")
        if kind == "started":
            assert agent_id not in healths
            healths[agent_id] = AgentHealth.HEALTHY
        elif kind == "stopped":
            del healths[agent_id]
        elif kind == "failed":
            previous, health = AgentHealth(event.payload["previous_health"]), AgentHealth(event.payload["health"])
            assert health > previous
            # An improvement that stops short of Healthy emits no event, so the health of the last event may be worse.
            assert previous <= healths[agent_id]
            healths[agent_id] = health
        elif kind == "recovered":
            healths[agent_id] = AgentHealth.HEALTHY
    for status in overseer.get_all_agent_statuses():
        assert status.health <= healths.pop(str(status.agent_id))
    assert not healths


# --- exact counts, and one event for each edge ------------------------------------------------------------------------


@SEEDS
def test_every_failure_is_counted_and_every_worsening_emitted_once(
    seed: int, overseer: Overseer, events: EventRecorder
) -> None:
    """Failures from many threads add up, and each worsening emits one event, in order. [O3] [O5] [T36]"""
    agent_id = overseer.register_agent("Worker")
    Interleaver(seed).run([many(5, overseer.record_agent_failure, agent_id, "broken")] * 4)
    status = overseer.get_agent_status(agent_id)
    assert (status.consecutive_failures, status.health) == (20, AgentHealth.DEAD)
    worsenings = [(event.payload["health"], event.payload["consecutive_failures"]) for event in events.events[1:]]
    assert worsenings == [("Degraded", 1), ("Unhealthy", 3), ("Dead", 6)]
    check_story(events, overseer)


@SEEDS
def test_the_counts_of_the_swarm_are_those_of_its_agents(seed: int, overseer: Overseer, events: EventRecorder) -> None:
    """Whatever threads do to the agents, the counts of the swarm match the agents' statuses. [O10] [O14]"""
    swarm = [overseer.register_agent("Worker") for _ in range(3)]

    def work(own: UUID, others: list[UUID]) -> None:
        passing = overseer.register_agent("Passing")
        for agent_id in [own, *others, own]:
            many(3, overseer.record_agent_failure, agent_id, "broken")()
            overseer.record_agent_heartbeat(agent_id)
            many(3, overseer.record_agent_failure, passing, "broken")()
        overseer.record_agent_success(own)
        overseer.record_restart_failure(others[0], "no container")
        overseer.record_agent_recovery(others[1])
        overseer.unregister_agent(passing)

    Interleaver(seed).run([partial(work, swarm[turn], swarm[turn:] + swarm[:turn]) for turn in range(3)])
    health = overseer.get_swarm_health()
    shown = Counter(status.health for status in overseer.get_all_agent_statuses())
    assert (health.total_agents, shown.total()) == (3, 3)
    assert {
        AgentHealth.HEALTHY: health.healthy_agents,
        AgentHealth.DEGRADED: health.degraded_agents,
        AgentHealth.UNHEALTHY: health.unhealthy_agents,
        AgentHealth.DEAD: health.dead_agents,
    } == {level: shown[level] for level in AgentHealth}
    assert health.overall_health == max(shown)
    assert topics(events)["agent.started"] == 6
    assert topics(events)["agent.stopped"] == 3
    check_story(events, overseer)


@SEEDS
def test_a_silent_agent_is_found_by_one_of_many_checks(
    seed: int, clock: FakeClock, overseer: Overseer, events: EventRecorder
) -> None:
    """Of several checks at once, exactly one finds each silent agent, and its death emits one event. [O4] [O5]"""
    swarm = [overseer.register_agent("Worker") for _ in range(5)]
    clock.advance(30)
    found = Interleaver(seed).run([overseer.check_heartbeats] * 4)
    assert sorted(agent_id for one in found for agent_id in one) == sorted(swarm)
    assert topics(events) == {"agent.started": 5, "agent.failed": 5}
    check_story(events, overseer)


@SEEDS
def test_heartbeats_and_checks_at_once(seed: int, clock: FakeClock, overseer: Overseer, events: EventRecorder) -> None:
    """An agent that sends heartbeats during checks ends alive, with as many recoveries as deaths. [O4] [O5]"""
    swarm = [overseer.register_agent("Worker") for _ in range(3)]

    def beat() -> None:
        for agent_id in swarm:
            overseer.record_agent_heartbeat(agent_id)

    def check() -> None:
        for _ in range(3):
            clock.advance(30)
            overseer.check_heartbeats()

    Interleaver(seed).run([many(3, beat), check, many(3, beat)])
    beat()
    assert overseer.get_swarm_health().healthy_agents == 3
    assert topics(events)["agent.failed"] == topics(events)["agent.recovered"]
    assert overseer.check_heartbeats() == []
    check_story(events, overseer)


@SEEDS
def test_an_id_is_registered_once(seed: int, overseer: Overseer, events: EventRecorder) -> None:
    """Of several threads that register one id, one succeeds. [O1]"""
    agent_id = uuid4()

    def register() -> bool:
        try:
            overseer.register_agent("Worker", agent_id)
        except DuplicateAgentError:
            return False
        return True

    assert sorted(Interleaver(seed).run([register] * 4)) == [False, False, False, True]
    assert topics(events) == {"agent.started": 1}
    assert overseer.get_swarm_health().total_agents == 1


# --- restarts ---------------------------------------------------------------------------------------------------------


@SEEDS
def test_an_attempt_is_opened_once_and_every_recovery_counted(
    seed: int, overseer: Overseer, events: EventRecorder
) -> None:
    """Threads that begin one restart count it once; recoveries without an attempt count each. [O7] [T33]"""
    agent_id = overseer.register_agent("Worker")
    many(6, overseer.record_agent_failure, agent_id, "broken")()
    Interleaver(seed).run([partial(overseer.begin_restart, agent_id)] * 4)
    assert overseer.get_agent_status(agent_id).restart_count == 1
    Interleaver(seed).run([many(2, overseer.record_agent_recovery, agent_id)] * 3)
    assert overseer.get_agent_status(agent_id).restart_count == 6
    recovered = [event.payload["restart_count"] for event in events.events if event.topic.endswith("recovered")]
    assert recovered == [1, 2, 3, 4, 5, 6]
    check_story(events, overseer)


@SEEDS
def test_exhaustion_is_emitted_once(seed: int, clock: FakeClock, events: EventRecorder) -> None:
    """Several failed restarts at once exhaust an agent once. [O7]"""
    overseer = Overseer(OverseerConfig(max_restart_attempts=2), clock=clock, sink=events)
    agent_id = overseer.register_agent("Worker")
    Interleaver(seed).run([many(2, overseer.record_restart_failure, agent_id, "no container")] * 3)
    assert topics(events)["agent.exhausted"] == 1
    assert overseer.get_agents_needing_restart() == []
    check_story(events, overseer)


@SEEDS
def test_old_handles_are_stale_once_a_recovery_has_returned(seed: int, clock: FakeClock, events: EventRecorder) -> None:
    """A report of a handle and the recovery of its agent happen one after the other, never at once. [O12] [T32]"""
    overseer = Overseer(clock=clock, sink=events)

    async def scene() -> None:
        async with overseer.agent("Scanner", heartbeat="manual") as agent:
            recovered = threading.Event()

            def report() -> int:
                late = 0
                for _ in range(10):
                    known = recovered.is_set()
                    try:
                        agent.failure("reported by the first incarnation")
                        late += known
                    except StaleAgentError:
                        pass
                return late

            def recover() -> int:
                overseer.record_agent_recovery(agent.agent_id)
                recovered.set()
                return 0

            assert Interleaver(seed).run([report, recover, report]) == [0, 0, 0]
            assert overseer.get_agent_status(agent.agent_id).consecutive_failures == 0
            overseer.unregister_agent(agent.agent_id)

    anyio.run(scene)
    check_numbers(events)


# --- the order of events ----------------------------------------------------------------------------------------------


@SEEDS
def test_a_sink_that_calls_back_gets_its_events_in_order(seed: int, clock: FakeClock) -> None:
    """A sink that changes the overseer, while threads do too, gets all events in order, one at a time. [C6]"""
    events = EventRecorder()
    inside: list[int] = []

    def sink(event: Event) -> None:
        inside.append(1)
        assert len(inside) == 1
        events(event)
        if event.payload.get("health") == "Dead":
            overseer.record_agent_success(UUID(str(event.payload["agent_id"])))
        inside.pop()

    overseer = Overseer(clock=clock, sink=sink)
    swarm = [overseer.register_agent("Worker") for _ in range(2)]
    Interleaver(seed).run([many(8, overseer.record_agent_failure, agent_id, "broken") for agent_id in swarm * 2])
    check_story(events, overseer)
    assert topics(events)["agent.recovered"] >= 2


def test_a_sink_that_hangs_blocks_no_other_thread(clock: FakeClock) -> None:
    """While one thread is blocked in the sink, others report and read; their events follow when it continues. [C4]"""
    entered, go_on = threading.Event(), threading.Event()
    events = EventRecorder()

    def sink(event: Event) -> None:
        if event.sequence == 1:
            entered.set()
            assert go_on.wait(SAFETY)
        events(event)

    overseer = Overseer(clock=clock, sink=sink)
    stuck = threading.Thread(target=overseer.register_agent, args=("Stuck",), daemon=True)
    stuck.start()
    assert entered.wait(SAFETY)
    agent_id = overseer.register_agent("Worker")
    overseer.record_agent_failure(agent_id, "broken")
    assert overseer.get_agent_status(agent_id).health is AgentHealth.DEGRADED
    assert events.events == []
    go_on.set()
    wait_for([stuck])
    check_story(events, overseer)
    assert topics(events) == {"agent.started": 2, "agent.failed": 1}


# --- pausing ----------------------------------------------------------------------------------------------------------


@SEEDS
def test_pausing_emits_on_the_edge_only(seed: int, overseer: Overseer, events: EventRecorder) -> None:
    """Threads that pause and resume at once emit the two events in strict alternation. [O9]"""
    Interleaver(seed).run([overseer.pause_swarm] * 4)
    assert topics(events) == {"paused": 1}
    Interleaver(seed).run([overseer.resume_swarm] * 4)
    assert topics(events) == {"paused": 1, "resumed": 1}
    Interleaver(seed).run([many(3, overseer.pause_swarm), many(3, overseer.resume_swarm)] * 2)
    turns = [topic.removeprefix("arb.swarm.") for topic in events.topics]
    assert turns == ["paused", "resumed"] * (len(turns) // 2) + ["paused"] * overseer.is_paused
    check_numbers(events)


def test_resuming_wakes_every_waiter_in_every_loop(overseer: Overseer) -> None:
    """Resuming wakes the tasks of four event loops, on both backends, even if a pause follows at once. [O9]"""
    loops, waiters = 4, 5
    all_wait = threading.Barrier(loops + 1)
    woken: list[str] = []

    async def wait(backend: str) -> None:
        await overseer.wait_until_resumed()
        woken.append(backend)

    async def host(backend: str) -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(waiters):
                tasks.start_soon(wait, backend)
            await anyio.wait_all_tasks_blocked()
            all_wait.wait(SAFETY)  # blocks this loop, whose waiters are waiting by now

    overseer.pause_swarm()
    backends = BOTH * (loops // 2)
    threads = [
        threading.Thread(target=anyio.run, args=(host, backend), kwargs={"backend": backend}, daemon=True)
        for backend in backends
    ]
    for thread in threads:
        thread.start()
    all_wait.wait(SAFETY)
    assert woken == []
    overseer.resume_swarm()
    overseer.pause_swarm()
    wait_for(threads)
    assert Counter(woken) == dict.fromkeys(BOTH, waiters * loops // 2)


@BACKENDS
@SEEDS
def test_no_resumption_is_missed(seed: int, backend: str, overseer: Overseer) -> None:
    """A waiting task is woken in whatever order the wait and the resumption happen. [O9]"""
    rounds = 5
    ready, over = threading.Barrier(3), threading.Barrier(3)

    async def wait() -> None:
        for _ in range(rounds):
            ready.wait(SAFETY)
            await overseer.wait_until_resumed()
            over.wait(SAFETY)

    def resume() -> None:
        for _ in range(rounds):
            overseer.pause_swarm()
            ready.wait(SAFETY)
            overseer.resume_swarm()
            over.wait(SAFETY)

    waiter = partial(anyio.run, wait, backend=backend)
    Interleaver(seed, share=0.3).run([waiter, resume, waiter])


@BACKENDS
def test_a_resumption_at_any_line_of_a_wait_ends_it(backend: str, clock: FakeClock) -> None:
    """A resumption by another thread between any two lines of a wait wakes the waiting task. [O9]"""

    class Scene:
        def __init__(self) -> None:
            self.overseer = Overseer(clock=clock)
            self.overseer.pause_swarm()
            self.woken = False
            self.other = threading.Thread(target=self.overseer.resume_swarm, daemon=True)

        async def wait(self) -> None:
            await self.overseer.wait_until_resumed()
            self.woken = True

        async def host(self) -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.wait)
                await anyio.wait_all_tasks_blocked()
                self.overseer.resume_swarm()  # does nothing if the other thread has done it
                for _ in range(20):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()

    def strike(scene: Scene) -> None:
        scene.other.start()
        scene.other.join(0.02)  # times out if this thread holds the lock; the other thread then continues later

    def check(scene: Scene) -> None:
        if scene.other.ident is not None:
            wait_for([scene.other])
        assert scene.woken
        assert not scene.overseer.is_paused

    lines = at_every_line(Scene, lambda scene: anyio.run(scene.host, backend=backend), strike, check)
    assert lines > 20


@BACKENDS
def test_a_waiter_that_is_cancelled_is_forgotten(backend: str, overseer: Overseer) -> None:
    """Cancelling a waiting task affects no other, and its event loop may have ended when the swarm is resumed. [O9]"""
    overseer.pause_swarm()

    async def give_up() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(overseer.wait_until_resumed)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()

    anyio.run(give_up, backend=backend)

    async def go_on() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(overseer.wait_until_resumed)
            await anyio.wait_all_tasks_blocked()
            overseer.resume_swarm()

    anyio.run(go_on, backend=backend)
    assert not overseer.is_paused


@BACKENDS
def test_an_agent_in_another_loop_stops_at_its_checkpoint(backend: str, overseer: Overseer) -> None:
    """`checkpoint` waits while the swarm is paused by another thread, and sends a heartbeat when it continues. [O12]"""
    at_work, paused, waiting = threading.Event(), threading.Event(), threading.Event()
    done: list[UUID] = []

    async def tell_that_all_wait() -> None:
        await anyio.wait_all_tasks_blocked()
        waiting.set()

    async def agent_loop() -> None:
        async with overseer.agent("Scanner", heartbeat="manual") as agent, anyio.create_task_group() as tasks:
            await agent.checkpoint()
            at_work.set()
            assert paused.wait(SAFETY)
            tasks.start_soon(tell_that_all_wait)
            await agent.checkpoint()
            done.append(agent.agent_id)

    thread = threading.Thread(target=anyio.run, args=(agent_loop,), kwargs={"backend": backend}, daemon=True)
    thread.start()
    assert at_work.wait(SAFETY)
    overseer.pause_swarm()
    paused.set()
    assert waiting.wait(SAFETY)
    assert done == []
    overseer.resume_swarm()
    wait_for([thread])
    assert len(done) == 1


# --- several watchers -------------------------------------------------------------------------------------------------


def test_several_loops_share_the_restarts(clock: FakeClock, overseer: Overseer, events: EventRecorder) -> None:
    """Four `run` loops in four threads restart each dead agent once, and never twice at a time. [O11] [T33]"""
    swarm = [overseer.register_agent("Worker") for _ in range(40)]
    for agent_id in swarm:
        many(6, overseer.record_agent_failure, agent_id, "broken")()
    begun: list[UUID] = []
    done: list[UUID] = []
    all_done = threading.Event()

    async def restart(agent_id: UUID, agent_type: str) -> None:
        begun.append(agent_id)
        await anyio.lowlevel.checkpoint()
        done.append(agent_id)
        if len(done) == len(swarm):
            all_done.set()

    with ExitStack() as stack:
        for backend in BOTH * 2:
            portal = stack.enter_context(start_blocking_portal(backend))
            watch, _ = portal.start_task(overseer.run, restart)
            stack.callback(watch.cancel)
        clock.advance(10)
        assert all_done.wait(SAFETY)
    assert sorted(begun) == sorted(swarm)
    assert {status.restart_count for status in overseer.get_all_agent_statuses()} == {1}
    assert overseer.get_swarm_health().healthy_agents == len(swarm)
    check_story(events, overseer)
