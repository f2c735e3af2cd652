"""Memory pressure: garbage collection at every line of the package, and a `MemoryError` at every call."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections import Counter
from functools import partial

import anyio
import pytest

from swarmguard import (
    BreakerMode,
    CircuitBreakerConfig,
    CircuitBreakerRegistry,
    CircuitOpenError,
    CircuitState,
    EventBus,
    Overseer,
    OverseerConfig,
)
from swarmguard.testing import EventRecorder, FakeClock
from tests.breaker_tools import (
    HAS_GIL,
    BoomError,
    build,
    due_breaker,
    fail,
    half_open_breaker,
    in_thread,
    open_breaker,
    succeed,
)
from tests.faults.harness import check_counts, check_numbers, take_round
from tests.threads.interleave import PACKAGE, at_every_line


@pytest.fixture(autouse=True)
def _nothing_but_our_garbage():
    """Exclude the objects of other tests from garbage collection."""
    frozen = gc.get_freeze_count()
    gc.collect()
    gc.freeze()
    yield
    if not frozen:
        gc.unfreeze()


# --- garbage ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def collecting(litter):
    """Create garbage with `litter`, and collect it, at the first visits of each line of the package.

    Later visits are left out, since work that creates new work at each of its lines would never end. Yields the counts.
    """
    visits: Counter[tuple[str, int]] = Counter()

    def trace(frame, event, arg):
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        if event == "line":
            line = (frame.f_code.co_filename.removeprefix(PACKAGE), frame.f_lineno)
            visits[line] += 1
            if visits[line] <= 30:
                litter()
                gc.collect()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield visits
    finally:
        sys.settrace(before)


def guarded(breaker):
    """Return a guarded generator that is suspended half-way."""

    @breaker
    def numbers():
        yield 1
        yield 2

    items = numbers()
    next(items)
    return items


def blocked(breaker):
    """Return a generator that is suspended in a guarded block."""

    def block():
        with breaker:
            yield

    inside = block()
    next(inside)
    return inside


class Scene:
    """Breakers, a registry, an overseer and a bus, with garbage of every kind around them.

    Attributes:
        events: The events that were emitted.
    """

    def __init__(self):
        self.clock, self.events, self.bus = FakeClock(), EventRecorder(), EventBus()
        self.outcomes: list[str] = []
        config = CircuitBreakerConfig(failure_threshold=2, success_threshold=2, half_open_max_calls=1000)
        self.registry = CircuitBreakerRegistry(config, clock=self.clock, sink=self.sink, observer=self.observe)
        self.overseer = Overseer(OverseerConfig(restart_cooldown_secs=0), clock=self.clock, sink=self.sink)
        self.open = self.registry.get_or_create("open")
        self.open.trip(10_000)
        self.breakers = [self.registry.get_or_create("a"), build(self.clock, self.sink, name="b", failure_threshold=2)]

    def sink(self, event):
        """Record the event, and publish it."""
        self.events(event)
        self.bus(event)

    def observe(self, record):
        """Record the outcomes, except for neutral and refused."""
        if record.outcome not in ("neutral", "refused"):
            self.outcomes.append(record.outcome)

    def litter(self):
        """Drop objects in cycles, each of which releases something when it is collected."""
        for breaker in (*self.breakers, self.open):
            for hold in (lambda breaker: breaker.acquire(), guarded, blocked):
                with contextlib.suppress(CircuitOpenError):
                    cycle = [hold(breaker)]
                    cycle.append(cycle)
        cycle = [self.bus.subscribe()]
        cycle.append(cycle)

    def play(self):
        """Use everything."""
        with self.bus.subscribe("arb.swarm.circuit.*") as mail:
            for breaker in self.breakers:
                take_round(breaker, self.clock)
                with contextlib.suppress(BoomError), breaker:
                    raise BoomError
                breaker.set_mode(BreakerMode.SHADOW)
            agent = self.overseer.register_agent("agent")
            for _ in range(6):
                self.overseer.record_agent_failure(agent, "error")
            self.overseer.begin_restart(agent)
            self.overseer.record_agent_recovery(agent)
            self.clock.advance(30)
            assert self.overseer.check_heartbeats() == [agent]
            check_counts(self.overseer)
            return [event.topic for event in mail.drain()]


@pytest.mark.skipif(not HAS_GIL, reason="a collection goes through the whole heap there: the test takes a minute")
def test_garbage_collection_at_every_line_changes_nothing():
    """Permits, generators, blocks and subscriptions that are collected at every line change nothing [B13] [B9] [C6]."""
    calm, littered = Scene(), Scene()
    mail = calm.play()

    def play():
        with collecting(littered.litter) as visits:
            assert littered.play() == mail
        return {file for file, _ in visits}

    assert in_thread(play) >= {"/_common/monitor.py", "/_breaker/machine.py", "/_overseer/freshness.py", "/bus.py"}
    check_numbers(littered.events)
    assert littered.events.topics == calm.events.topics
    assert littered.outcomes == calm.outcomes
    for breaker, twin in zip(littered.breakers, calm.breakers, strict=True):
        assert breaker.status() == twin.status()
    littered.bus.subscribe().close()  # subscribing or closing removes the dropped ones
    assert littered.bus._mailboxes == ()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_swarm_recovers_under_an_eager_collector(backend):
    """With garbage collection at every allocation, a supervised swarm crashes, hangs and recovers as usual [O13]."""
    clock, events, bus = FakeClock(), EventRecorder(), EventBus()

    async def host():
        overseer = Overseer(clock=clock, sink=lambda event: (events(event), bus(event)))
        incarnations: Counter[str] = Counter()

        async def main(name, agent):
            incarnations[name] += 1
            cycle = [agent, open_breaker(clock).with_fallback(lambda: None)]
            cycle.append(cycle)
            await clock.sleep(5)
            if incarnations[name] == 1 and name == "crashes":
                raise BoomError
            while incarnations[name] > 1:
                agent.heartbeat()
                await clock.sleep(10)
            await anyio.sleep_forever()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(overseer.run)
            for name in ("crashes", "hangs"):
                await tasks.start(partial(overseer.supervise, name, partial(main, name), heartbeat="manual"))
            async with overseer.agent("block"):
                with bus.subscribe() as mail:
                    await clock.run_for(100)
                    assert [event.topic for event in mail.drain()] == events.topics[3:]
            check_counts(overseer)
            tasks.cancel_scope.cancel()
        assert incarnations == {"crashes": 2, "hangs": 2}

    thresholds = gc.get_threshold()
    gc.set_threshold(1)
    try:
        in_thread(partial(anyio.run, host, backend=backend))
    finally:
        gc.set_threshold(*thresholds)
    check_numbers(events)
    assert Counter(topic.rpartition(".")[2] for topic in events.topics) == {
        "started": 3,
        "failed": 2,
        "recovered": 2,
        "stopped": 3,
    }


# --- out of memory ----------------------------------------------------------------------------------------------------


def run_out(_):
    """Raise `MemoryError`, as a failed allocation does."""
    raise MemoryError


@pytest.fixture(autouse=True)
def _unraisable(monkeypatch):
    """Allow a `MemoryError` in finalizers too, where it cannot be caught."""
    unraisable = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: unraisable.append(args.exc_type))
    yield
    assert set(unraisable) <= {MemoryError}


class Struck:
    """A breaker with its clock and its events."""

    def __init__(self, start):
        self.clock, self.events = FakeClock(), EventRecorder()
        config = {"failure_threshold": 1, "success_threshold": 1, "half_open_max_calls": 1, "timeout_duration": 10}
        # The bound method `list.append` runs no line of Python, so the sink itself never fails.
        self.breaker = start(self.clock, self.events.events.append, **config)


def block(breaker):
    """Fail in a block."""
    with breaker:
        raise BoomError


ACTS = pytest.mark.parametrize(
    "act",
    [succeed, fail, block, lambda breaker: breaker.trip(), lambda breaker: breaker.reset()],
    ids=["succeed", "fail", "block", "trip", "reset"],
)
STARTS = pytest.mark.parametrize("start", [build, open_breaker, due_breaker, half_open_breaker])


def strike_all(make, act, check):
    """Run the act with a `MemoryError` at each call in the package in turn, and check the result each time."""

    def act_on(subject):
        with contextlib.suppress(MemoryError, BoomError, CircuitOpenError):
            act(subject)

    return in_thread(partial(at_every_line, make, act_on, run_out, check, event="call"))


@ACTS
@STARTS
def test_a_memory_error_leaves_a_breaker_usable(start, act):
    """A `MemoryError` in a call keeps no lock, and no slot beyond its lease; all methods work afterwards [B4]."""

    def check(case):
        case.clock.advance(30)
        assert case.breaker.status().half_open_calls == 0
        in_thread(take_round, case.breaker, case.clock)
        case.breaker.trip()
        assert case.breaker.state is CircuitState.OPEN

    assert strike_all(partial(Struck, start), lambda case: act(case.breaker), check) > 0


@ACTS
@STARTS
def test_a_breaker_recovers_from_a_memory_error_without_a_reset(start, act):
    """After a `MemoryError` in a call, the readings agree, and the circuit opens and closes without a reset [B4] [B8].

    This test calls neither `reset` nor `trip` to repair the circuit.
    """

    def check(case):
        breaker = case.breaker
        assert breaker.state is breaker.status().state
        case.clock.advance(30)
        succeed(breaker)
        assert breaker.state is CircuitState.CLOSED
        fail(breaker)
        assert breaker.state is CircuitState.OPEN

    assert strike_all(partial(Struck, start), lambda case: act(case.breaker), check) > 0


def test_a_memory_error_loses_at_most_one_event():
    """A `MemoryError` in a change loses at most its event; the others arrive once each, in order [C3] [C6]."""

    def live(case):
        fail(case.breaker)
        case.clock.advance(10)
        succeed(case.breaker)

    def check(case):
        case.breaker.reset()
        case.breaker.trip()
        sequences = [event.sequence for event in case.events.events]
        assert sequences == sorted(set(sequences))
        assert sequences[-1] - len(sequences) in {0, 1}

    assert strike_all(partial(Struck, build), live, check) > 0


class StruckSwarm:
    """An overseer of three agents: a healthy one, one that has long been silent, and a Dead one."""

    def __init__(self):
        self.clock, self.events = FakeClock(), EventRecorder()
        self.overseer = Overseer(OverseerConfig(restart_cooldown_secs=0), clock=self.clock, sink=self.events)
        self.well, self.silent, self.dead = (self.overseer.register_agent(name) for name in ("well", "silent", "dead"))
        self.clock.advance(20)
        self.overseer.record_agent_heartbeat(self.well)
        for _ in range(6):
            self.overseer.record_agent_failure(self.dead, "error")
        self.clock.advance(10)

    def fail(self):
        """Record failures until an agent is Dead."""
        for _ in range(6):
            self.overseer.record_agent_failure(self.well, "error")


@pytest.mark.parametrize(
    "act",
    [
        StruckSwarm.fail,
        lambda swarm: swarm.overseer.register_agent("new"),
        lambda swarm: swarm.overseer.unregister_agent(swarm.dead),
        lambda swarm: swarm.overseer.record_agent_heartbeat(swarm.silent),
        lambda swarm: swarm.overseer.record_agent_success(swarm.dead),
        lambda swarm: swarm.overseer.check_heartbeats(),
        lambda swarm: swarm.overseer.begin_restart(swarm.dead),
        lambda swarm: swarm.overseer.record_agent_recovery(swarm.dead),
        lambda swarm: swarm.overseer.record_restart_failure(swarm.dead, "error"),
        lambda swarm: swarm.overseer.reset_agent(swarm.dead),
        lambda swarm: (swarm.overseer.pause_swarm(), swarm.overseer.resume_swarm()),
    ],
    ids=[
        "fail",
        "register",
        "unregister",
        "beat",
        "success",
        "check",
        "begin",
        "recovery",
        "restart-failure",
        "reset",
        "pause",
    ],
)
def test_a_memory_error_leaves_an_overseer_consistent(act):
    """After a `MemoryError` in a report, the overseer's counts match its agents, and it continues to work [O10]."""

    def check(swarm):
        overseer = swarm.overseer
        check_counts(overseer)
        overseer.resume_swarm()
        for status in overseer.get_all_agent_statuses():
            overseer.record_agent_recovery(status.agent_id)
        check_counts(overseer)
        swarm.clock.advance(30)
        agents = {status.agent_id for status in overseer.get_all_agent_statuses()}
        assert set(in_thread(overseer.check_heartbeats)) == agents
        for agent_id in agents:
            overseer.unregister_agent(agent_id)
        assert overseer.get_swarm_health().overall_health == "Healthy"
        check_counts(overseer)

    assert strike_all(StruckSwarm, act, check) > 0


def test_a_memory_error_leaves_a_bus_and_a_registry_usable():
    """A `MemoryError` in a bus or registry loses no later event and creates no second breaker [C5]."""

    class Case:
        def __init__(self):
            self.bus, self.clock = EventBus(), FakeClock()
            self.early = self.bus.subscribe()
            self.registry = CircuitBreakerRegistry(clock=self.clock, sink=self.bus)

        def use(self):
            with self.bus.subscribe("arb.swarm.circuit.*"):
                self.registry.get_or_create("a").trip()
            self.registry.remove("b")

    def check(case):
        case.registry.reset_all()
        case.early.drain()
        breaker = case.registry.get_or_create("a")
        assert breaker is case.registry.get("a")
        assert len(case.registry) == 1
        gc.collect()
        assert len(case.bus._mailboxes) <= 2
        in_thread(breaker.trip)
        assert [event.topic for event in case.early.drain()] == ["arb.swarm.circuit.opened"]

    assert strike_all(Case, Case.use, check) > 0
