"""Forks without a GIL: what other threads are using at that moment is whole in the child, and free to use."""

from __future__ import annotations

import multiprocessing
import threading
import warnings
from contextlib import contextmanager

import pytest

from swarmguard import CircuitBreaker, CircuitBreakerConfig, CircuitBreakerRegistry, CircuitState, EventBus
from swarmguard.testing import FakeClock
from tests.breaker_tools import SAFETY
from tests.faults.harness import take_round
from tests.threads.interleave import wait_for

pytestmark = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="the platform has no fork"
)

FORKS = 20
CONFIG = CircuitBreakerConfig(failure_threshold=1, success_threshold=1, timeout_duration=10)


def in_fork(act):
    """Run `act` in a forked child, and see that it comes through; a child that hangs is killed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads is what is tested
        child = multiprocessing.get_context("fork").Process(target=act, daemon=True)
        child.start()
    child.join(SAFETY)
    child.kill()
    child.join()
    assert child.exitcode == 0


@contextmanager
def in_use(*jobs):
    """Have each job called again and again in a thread of its own during a `with` block."""
    over = threading.Event()

    def repeat(job):
        number = 0
        while not over.is_set():
            number += 1
            job(number)

    threads = [threading.Thread(target=repeat, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        wait_for(threads)


def test_fork_while_a_registry_is_in_use(clock):
    """A child forked while threads add, remove and look up breakers has a registry that it can use [B19] [R1]."""
    registry = CircuitBreakerRegistry(CONFIG, clock=clock)
    stays = registry.get_or_create("stays")

    def change(number):
        registry.get_or_create(str(number % 5))
        registry.remove(str((number + 1) % 5))

    def read(number):
        registry.get(str(number % 5))
        assert "stays" in registry
        assert next(iter(registry)) is stays

    def child():
        assert registry.get_or_create("stays") is stays
        take_round(registry.get_or_create("the child's own"), clock)
        assert registry.remove("the child's own")
        for breaker in registry:
            breaker.trip()
        assert set(registry.get_all_states().values()) == {CircuitState.OPEN}

    with in_use(change, change, read):
        for _ in range(FORKS):
            in_fork(child)
    assert stays.state is CircuitState.CLOSED


def test_fork_while_events_are_delivered():
    """A child forked while threads queue and deliver events delivers its own, and none of its parent's [B19] [C6]."""
    bus = EventBus()
    breaker = CircuitBreaker("api", CONFIG, clock=FakeClock(), sink=bus)

    def change(_):
        breaker.trip(0)
        breaker.reset()

    def child():
        with bus.subscribe() as mail:
            breaker.trip()
            breaker.reset()
            assert [event.topic.rpartition(".")[2] for event in mail.drain()][-1] == "closed"

    with in_use(change, change):
        for _ in range(FORKS):
            in_fork(child)
