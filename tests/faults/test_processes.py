"""Processes that fork, and interpreters that exit, while everything is in use."""

from __future__ import annotations

import asyncio
import functools
import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
import warnings
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from swarmguard import (
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitBreakerRegistry,
    CircuitOpenError,
    CircuitState,
    EventBus,
    Overseer,
    OverseerConfig,
    StaleAgentError,
)
from swarmguard.testing import EventRecorder, FakeClock
from tests.breaker_tools import HAS_GIL, SAFETY, BoomError, boom, build, in_thread
from tests.faults.harness import check_counts, check_transitions, take_round
from tests.threads.interleave import wait_for

METHODS = multiprocessing.get_all_start_methods()
forks = pytest.mark.skipif("fork" not in METHODS, reason="the platform has no fork")


def in_fork(act):
    """Run `act` in a forked child, and check that it succeeds; a child that hangs is killed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # this test is about forking with threads
        child = multiprocessing.get_context("fork").Process(target=act, daemon=True)
        child.start()
    child.join(SAFETY)
    child.kill()
    child.join()
    assert child.exitcode == 0


class World:
    """Everything at once: breakers, a registry, an overseer and a bus.

    Attributes:
        agents: The agents that stay registered all the time.
    """

    def __init__(self):
        self.clock, self.events, self.bus = FakeClock(), EventRecorder(), EventBus()
        config = CircuitBreakerConfig(failure_threshold=2, success_threshold=1, timeout_duration=10)
        self.registry = CircuitBreakerRegistry(config, clock=self.clock, sink=self.sink)
        swarm = OverseerConfig(restart_cooldown_secs=0, max_restart_attempts=10**9)
        self.overseer = Overseer(swarm, clock=self.clock, sink=self.sink, registry=self.registry)
        self.agents = [self.overseer.register_agent("agent") for _ in range(3)]
        self.over = threading.Event()

    def sink(self, event):
        """Record the event, and publish it."""
        self.events(event)
        self.bus(event)

    def hammer(self, number):
        """Use everything in a thread until `over` is set."""
        count = 0
        while not self.over.is_set():
            count += 1
            with suppress(CircuitOpenError):
                self.registry.get_or_create(str(count % 5)).acquire().fail()
            self.registry.reset_all()
            self.registry.remove(str((count + number) % 5))
            self.overseer.record_agent_failure(self.agents[number], "error")
            self.overseer.record_agent_recovery(self.agents[number])
            with self.bus.subscribe(buffer=5) as mail:
                self.overseer.pause_swarm()
                self.overseer.resume_swarm()
                mail.drain()
            self.events.clear()

    def loop(self, backend):
        """Use everything in an event loop until `over` is set."""

        async def main(agent):
            with self.bus.subscribe(buffer=5) as mail:
                async for _ in mail:
                    with suppress(StaleAgentError):
                        await agent.checkpoint()

        async def host():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.overseer.run)
                tasks.start_soon(self.overseer.supervise, "main", main)
                while not self.over.is_set():
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()

        anyio.run(host, backend=backend)

    @contextmanager
    def in_use(self, *jobs):
        """Run the jobs in threads during a `with` block."""
        threads = [threading.Thread(target=job, daemon=True) for job in jobs]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.over.set()
            wait_for(threads)

    def live(self):
        """Use everything in the child, and check that it is consistent."""
        self.events.clear()
        check_counts(self.overseer)
        breaker = self.registry.get_or_create("the child's own")
        take_round(breaker, self.clock)
        check_transitions(self.events, breaker)
        for known in self.registry:
            in_thread(take_round, known, self.clock)
        self.overseer.resume_swarm()
        for agent in self.agents:
            self.overseer.record_agent_recovery(agent)
            self.overseer.record_agent_failure(agent, "error")
        check_counts(self.overseer)
        for backend in ("asyncio", "trio"):
            anyio.run(self.live_in_a_loop, backend=backend)

    async def live_in_a_loop(self):
        """Run a swarm in an event loop of the child."""
        incarnations = []

        async def main(agent):
            incarnations.append(agent)
            if len(incarnations) < 2:
                boom()
            await agent.checkpoint()

        with self.bus.subscribe("arb.swarm.agent.*") as mail:
            async with anyio.create_task_group() as tasks:
                await tasks.start(self.overseer.run)
                tasks.start_soon(self.overseer.supervise, "the child's", main)
                await self.clock.run_for(60)
                assert len(incarnations) == 2
                assert all(self.overseer.get_agent_status(agent).is_stale for agent in self.agents)
                tasks.cancel_scope.cancel()
            assert {"started", "failed", "recovered", "stopped"} <= {
                event.topic.rpartition(".")[2] for event in mail.drain()
            }
        for agent in self.agents:
            self.overseer.record_agent_recovery(agent)


@forks
def test_a_child_of_busy_threads_is_consistent():
    """A child forked at any moment, while threads use everything, has it in a consistent state and can use it [B19]."""
    world = World()
    with world.in_use(*[partial(world.hammer, number) for number in range(3)]):
        for _ in range(8):
            in_fork(world.live)


@forks
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_child_can_run_its_own_loop_and_swarm(backend):
    """A child forked while another thread's event loop runs a swarm can run its own swarm and loop [B19]."""
    world = World()
    with world.in_use(partial(world.loop, backend), partial(world.hammer, 0)):
        for _ in range(5):
            in_fork(world.live)


@forks
def test_a_child_wakes_no_task_of_its_parents_loops():
    """Publishing or resuming in a child does not wake tasks through an event loop that only its parent runs [B19].

    Such a loop may wait for a lock that no thread of the child releases, and its wake-up would arrive in the parent.
    """
    world, waiting, woken = World(), threading.Event(), []
    world.overseer.pause_swarm()

    async def host():
        loop = asyncio.get_running_loop()
        wake_up = loop.call_soon_threadsafe
        loop.call_soon_threadsafe = lambda *args: (woken.append(os.getpid()), wake_up(*args))
        with world.bus.subscribe() as mail:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(anext, mail)
                tasks.start_soon(world.overseer.wait_until_resumed)
                tasks.start_soon(anyio.to_thread.run_sync, waiting.set)

    def child():
        woken.clear()
        world.overseer.resume_swarm()
        world.registry.get_or_create("a").trip()
        assert woken == []

    with world.in_use(partial(asyncio.run, host())):
        assert waiting.wait(SAFETY)
        try:
            in_fork(child)
        finally:
            world.overseer.resume_swarm()


@forks
@pytest.mark.parametrize("role", ["sink", "observer", "record_exceptions", "random", "retry_after", "fn"])
def test_any_callback_may_fork(clock, events, role):
    """Any user callable may fork: the breaker is consistent in the child, and continues in the parent [B19]."""
    armed, breaker = [True], None

    def fork(name, answer):
        if name == role and armed:
            armed.clear()
            in_fork(partial(take_round, breaker, clock))
        return answer

    def fn():
        fork("fn", None)
        boom()

    breaker = build(
        clock,
        lambda event: (events(event), fork("sink", None)),
        observer=lambda _: fork("observer", None),
        failure_threshold=1,
        success_threshold=1,
        jitter=0.5,
        record_exceptions=lambda _: fork("record_exceptions", True),
        random=lambda: fork("random", 0.5),
        retry_after=lambda _: fork("retry_after", 50),
    )
    with pytest.raises(BoomError):
        breaker.call(fn)
    assert not armed
    assert breaker.retry_after == 50
    take_round(breaker, clock)
    check_transitions(events, breaker)


# --- workers ----------------------------------------------------------------------------------------------------------

shared = CircuitBreaker("shared", CircuitBreakerConfig(failure_threshold=2), clock=FakeClock())
"""A breaker at module level, as a worker's module has one."""


def work(config):
    """Fail in the module's breaker, and take another one through its states."""
    clock, events = FakeClock(), EventRecorder()
    own = CircuitBreaker("own", config, clock=clock, sink=events)
    take_round(own, clock)
    check_transitions(events, own)
    return own.status(), events.events, anyio.run(own.execute, anyio.sleep, 0)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # a pool has threads of its own
@pytest.mark.parametrize("method", [method for method in ("fork", "spawn") if method in METHODS])
def test_workers_of_a_pool_have_their_own_breakers(method):
    """Workers have their own breakers; configs, events and refusals can be pickled for them [B15] [B19]."""
    config = CircuitBreakerConfig(failure_threshold=3, success_threshold=1)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
        for _ in range(2):
            with pytest.raises(BoomError):
                pool.submit(call_shared).result(SAFETY)
        with pytest.raises(CircuitOpenError) as caught:
            pool.submit(call_shared).result(SAFETY)
        with pytest.raises(TypeError, match="pickle"):
            pool.submit(shared.reset).result(SAFETY)
        assert pool.submit(work, config).result(SAFETY) == work(config)
    refusal = caught.value
    assert (refusal.name, refusal.state, refusal.retry_after) == ("shared", CircuitState.OPEN, 30.0)
    assert shared.status().failure_count == 0


def call_shared():
    """Fail in the module's breaker."""
    shared.call(boom)


# --- shutting down ----------------------------------------------------------------------------------------------------

SETTING = """
import atexit, builtins, contextlib, functools, gc, sys, threading, anyio
from swarmguard import *
bus, records = EventBus(), []
mail = bus.subscribe()
config = CircuitBreakerConfig(
    failure_threshold=2, success_threshold=1, timeout_duration=0, half_open_max_calls=9, jitter=0.5
)
registry = CircuitBreakerRegistry(config, sink=bus, observer=records.append)
breaker, plain = registry.get_or_create("a"), CircuitBreaker("plain")
overseer = Overseer(OverseerConfig(restart_cooldown_secs=0), sink=bus, registry=registry)
agent = overseer.register_agent("agent")

def fail():
    raise OSError

def use_all():
    for each in (breaker, plain):
        each.set_mode(BreakerMode.NORMAL)
        for _ in range(3):
            with contextlib.suppress(OSError, CircuitOpenError):
                each.call(fail)
            with contextlib.suppress(OSError, CircuitOpenError), each:
                fail()
        each.trip(0)
        each.reset()
        with each.acquire():
            pass
    for _ in range(7):
        overseer.record_agent_failure(agent, OSError("text"))
    overseer.record_agent_recovery(agent)
    overseer.check_heartbeats()
    overseer.get_swarm_status()
    bus.subscribe().close()
    mail.drain()

async def main(agent):
    while True:
        await agent.checkpoint()
        await anyio.sleep(0)

async def swarm(started):
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(overseer.run)
        tasks.start_soon(overseer.supervise, "main", main)
        async with overseer.agent("block"):
            started.set()
            async for _ in mail:
                use_all()

@breaker
def numbers():
    with plain:
        yield 1
        yield 2

@breaker
async def async_numbers():
    async with plain:
        yield 1
        yield 2

class Last:
    def __del__(self):
        self.use_all()
"""

SHUTDOWNS = {
    "held": """
        breaker.trip(0)
        held = [breaker.acquire(), plain.acquire(), numbers(), bus.subscribe()]
        next(held[2])
        cycle = [breaker.acquire(), plain.acquire(), numbers()]
        next(cycle[2])
        cycle.append(cycle)
        builtins.held = [held, breaker.acquire()]
        sys.modules["held"] = held[-1]
        del held, cycle
    """,
    "an async generator": """
        async def begin():
            items = async_numbers()
            await anext(items)
            return items
        items = anyio.run(begin)
    """,
    "atexit": """
        atexit.register(use_all)
        threading.Thread(target=use_all).start()
        sys.exit(0)
    """,
    "a finalizer of a global": """
        last = Last()
        last.use_all = use_all
    """,
    "a finalizer in a cycle": """
        last = Last()
        last.use_all, last.itself = use_all, last
        builtins.last = last
        del last
    """,
    "a finalizer in a module": """
        last = Last()
        last.use_all = use_all
        sys.modules["last"] = last
        del last
        builtins.all_modules = list(sys.modules.values())
    """,
    "daemon threads": """
        ready = threading.Barrier(5)
        def hammer():
            use_all()
            ready.wait()
            while True:
                use_all()
        for _ in range(4):
            threading.Thread(target=hammer, daemon=True).start()
        ready.wait()
        last = Last()
        last.use_all = functools.partial(next, numbers())
    """,
    "a finalizer beside daemon threads": """
        ready = threading.Barrier(5)
        def hammer():
            ready.wait()
            while True:
                shared.trip(0)
                shared.reset()
        shared = CircuitBreaker("shared", sink=bus)
        for _ in range(4):
            threading.Thread(target=hammer, daemon=True).start()
        last = Last()
        last.use_all = shared.reset
        sys.modules["last"] = type(sys)("last")  # dies, as the globals of a daemon thread do not
        sys.modules["last"].last = last
        del last
        ready.wait()
        for _ in range(1_000_000):
            pass
    """,
    "a finalizer and a bad sink": """
        import logging
        logging.getLogger("swarmguard").disabled = True
        last = Last()
        last.use_all = CircuitBreaker("bad", sink=lambda _: fail(), observer=lambda _: fail()).trip
    """,
    "a daemon's asyncio": """
        started = threading.Event()
        threading.Thread(target=anyio.run, args=(swarm, started), daemon=True).start()
        started.wait()
        use_all()
        atexit.register(use_all)
    """,
    "a daemon's trio": """
        started = threading.Event()
        threading.Thread(target=functools.partial(anyio.run, swarm, started, backend="trio"), daemon=True).start()
        started.wait()
        use_all()
        atexit.register(use_all)
    """,
}


@functools.cache
def dates_outlive_modules():
    """Return whether a finalizer can use `datetime` while this Python exits; in 3.13.0 it crashes."""
    script = """
import builtins
from datetime import timedelta
class Last:
    def __init__(self):
        self.make = timedelta
    def __del__(self):
        self.make(seconds=1.5)
builtins.last = last = Last()
"""
    return subprocess.run([sys.executable, "-c", script], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("how", SHUTDOWNS)
def test_an_interpreter_exits_cleanly_with_everything_in_use(how):
    """An interpreter that exits with everything in use exits in time, with status 0 and no output [B9] [B13] [O11]."""
    if "finalizer" in how and not dates_outlive_modules():
        pytest.skip("this Python crashes when a finalizer at its end makes a timedelta")
    if how == "daemon threads" and not HAS_GIL:
        pytest.skip("without the GIL, a finalizer may run after its module has lost its globals")
    script = SETTING + textwrap.dedent(SHUTDOWNS[how])
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=SAFETY / 3, check=False
    )
    assert (ended.returncode, ended.stderr, ended.stdout) == (0, "", "")
