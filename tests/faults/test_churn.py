"""Ten thousand breakers, agents and subscriptions that are created and dropped while in use: nothing leaks."""

from __future__ import annotations

import gc
import random
import threading
import tracemalloc
from contextlib import suppress
from functools import partial
from uuid import UUID
from weakref import WeakSet

import anyio
import pytest

from swarmguard import (
    AgentHandle,
    CircuitBreakerConfig,
    CircuitBreakerRegistry,
    CircuitOpenError,
    CircuitState,
    EventBus,
    Overseer,
    OverseerConfig,
    UnknownAgentError,
)
from swarmguard._common import monitor
from swarmguard.testing import FakeClock
from tests.breaker_tools import BoomError, boom, in_thread
from tests.faults.harness import check_counts, side_by_side, take_round

MANY = 10_000
SLACK = 250_000
"""Bytes by which two rounds may differ, since dicts and deques grow in steps: less than any object each would take."""


@pytest.fixture(autouse=True)
def _nothing_but_our_objects():
    """Exclude the objects of other tests from garbage collection."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def check_nothing_grows(act):
    """Run the act three times; check that the third run leaves no more memory than the second, and no lock."""
    locks = len(monitor._monitors)
    act()
    tracemalloc.start()
    try:
        in_use = []
        for _ in range(2):
            act()
            gc.collect()
            in_use.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert in_use[1] - in_use[0] < SLACK
    assert len(monitor._monitors) == locks


def in_a_call(breaker):
    """Fail in a call."""
    breaker.call(boom)


def in_a_block(breaker):
    """Succeed in a block."""
    with breaker:
        pass


def in_a_dropped_permit(breaker):
    """Drop a permit in a reference cycle."""
    cycle = [breaker.acquire()]
    cycle.append(cycle)


def in_a_dropped_generator(breaker):
    """Drop a guarded generator half-way."""
    next(breaker(lambda: (yield))())


FACES = [in_a_call, in_a_block, in_a_dropped_permit, in_a_dropped_generator]


def test_ten_thousand_breakers_leak_nothing():
    """Breakers that come and go in a registry, while threads call them in every way, leak nothing [R1] [R2] [B13]."""
    clock, bus = FakeClock(), EventBus()
    config = CircuitBreakerConfig(failure_threshold=1, success_threshold=1, timeout_duration=1)
    registry = CircuitBreakerRegistry(config, clock=clock, sink=bus, observer=lambda _: None)
    bystander = registry.get_or_create("bystander")
    made = WeakSet()

    def churn(first):
        for number in range(first, MANY, 2):
            made.add(registry.get_or_create(str(number)))
            registry.remove(str(number - 20))
        for number in range(MANY - 20 + first, MANY, 2):
            registry.remove(str(number))

    def call(seed):
        chance = random.Random(seed)
        for _ in range(4000):
            breaker = chance.choice(list(registry))
            with suppress(CircuitOpenError, BoomError):
                chance.choice(FACES)(breaker)
            clock.advance(0.1)

    def everything():
        with bus.subscribe(buffer=10) as mail:
            side_by_side(*[partial(churn, n) for n in (0, 1)], *[partial(call, seed) for seed in (1, 2)])
        assert len(mail.drain()) == 10
        gc.collect()
        assert not made
        assert list(registry) == [bystander]

    check_nothing_grows(everything)
    take_round(bystander, clock)


def test_ten_thousand_agents_leak_nothing():
    """Agents that start, fail, fall silent, restart and stop in threads leak nothing [O1] [O4] [O7] [O14]."""
    clock = FakeClock()
    overseer = Overseer(OverseerConfig(restart_cooldown_secs=0), clock=clock, sink=lambda _: None)
    bystander = overseer.register_agent("bystander")

    def churn(first):
        for number in range(first, MANY, 2):
            overseer.register_agent("agent", UUID(int=number + 1))
            if number >= 20:
                overseer.unregister_agent(UUID(int=number - 19))
        for number in range(MANY - 20 + first, MANY, 2):
            overseer.unregister_agent(UUID(int=number + 1))

    def use(seed):
        chance = random.Random(seed)
        actions = [
            *[
                partial(overseer.record_agent_failure, error=error)
                for error in ("error", BoomError())
                for _ in range(9)
            ],
            overseer.record_agent_heartbeat,
            overseer.record_agent_success,
            overseer.begin_restart,
            overseer.record_agent_recovery,
            overseer.get_agent_status,
        ]
        for _ in range(1000):
            agents = overseer.get_all_agent_statuses()
            with suppress(UnknownAgentError):
                chance.choice(actions)(chance.choice(agents).agent_id)
            clock.advance(1)
            overseer.check_heartbeats()

    def everything():
        side_by_side(*[partial(churn, n) for n in (0, 1)], *[partial(use, seed) for seed in (1, 2)])
        check_counts(overseer)
        (left,) = overseer.get_all_agent_statuses()
        assert left.agent_id == bystander
        overseer.reset_agent(bystander)
        overseer.record_agent_heartbeat(bystander)
        assert overseer.get_swarm_health().healthy_agents == 1

    check_nothing_grows(everything)
    clock.advance(30)
    assert overseer.check_heartbeats() == [bystander]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_thousands_of_cancelled_waits_leak_nothing(backend):
    """Cancelled waits for events, a resume, a tick or a restart leak nothing [C5] [O9] [O13]."""
    clock, bus = FakeClock(), EventBus()
    overseer = Overseer(clock=clock, sink=bus)
    overseer.pause_swarm()

    async def everything():
        with bus.subscribe("nothing") as subscription:
            for _ in range(30):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(overseer.run)
                    tasks.start_soon(overseer.supervise, "agent", AgentHandle.checkpoint)
                    for _ in range(60):
                        tasks.start_soon(overseer.wait_until_resumed)
                        tasks.start_soon(anext, subscription)
                        tasks.start_soon(clock.sleep, 1000)
                    await clock.run_for(1)
                    assert len(overseer._core._waiting) > 60
                    tasks.cancel_scope.cancel()
            assert not subscription._mailbox._waiting
        assert overseer.get_swarm_health().total_agents == 0
        assert repr(clock).endswith(" 0 asleep>")
        assert not overseer._core._waiting

    check_nothing_grows(partial(in_thread, partial(anyio.run, everything, backend=backend)))


def test_ten_thousand_subscriptions_leak_nothing():
    """Subscriptions that are closed or dropped, even in cycles, while threads publish, leak nothing [C5]."""
    bus = EventBus()
    breaker = CircuitBreakerRegistry(sink=bus).get_or_create("a")
    over = threading.Event()

    def come_and_go(seed):
        chance = random.Random(seed)
        for _ in range(MANY // 3):
            subscription = bus.subscribe(buffer=2)
            if chance.random() < 0.3:
                cycle = [subscription]
                cycle.append(cycle)
            elif chance.random() < 0.5:
                subscription.close()
                assert len(subscription.drain()) <= 2

    def publish():
        while not over.is_set():
            breaker.trip()
            breaker.reset()

    def everything():
        over.clear()
        publisher = threading.Thread(target=publish, daemon=True)
        publisher.start()
        try:
            side_by_side(*[partial(come_and_go, seed) for seed in (1, 2, 3)])
        finally:
            over.set()
            in_thread(publisher.join)
        gc.collect()
        bus.subscribe().close()
        assert bus._mailboxes == ()

    check_nothing_grows(everything)
    assert breaker.state is CircuitState.CLOSED


def test_reading_the_exit_keeps_one_breaker_per_thread_alive():
    """Reading a breaker's `__exit__`, as `hasattr` does, keeps alive only the last breaker that a thread read.

    [B14]
    """
    registry = CircuitBreakerRegistry()
    made = WeakSet()

    def read_exits():
        for number in range(100):
            made.add(breaker := registry.get_or_create(str(number)))
            assert hasattr(breaker, "__exit__")
            registry.remove(str(number))

    for _ in range(10):
        in_thread(read_exits)
    gc.collect()
    assert len(made) <= 10
