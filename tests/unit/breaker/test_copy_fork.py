"""A breaker cannot be copied, and it survives a fork."""

from __future__ import annotations

import copy
import os
import pickle
import select
import signal
import threading
import warnings
from contextlib import suppress

import pytest

from swarmguard import CircuitOpenError, CircuitState
from tests.breaker_tools import SAFETY, build, due_breaker, fail, half_open_breaker, refused, succeed

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, pickle.dumps, lambda breaker: copy.deepcopy([breaker])], ids=lambda _: None
)
@pytest.mark.parametrize("make", [build, half_open_breaker])
def test_a_breaker_cannot_be_copied(clock, make, duplicate):
    """Copying, deep-copying and pickling a breaker raise a `TypeError` that names it [B19]."""
    breaker = make(clock)
    before = breaker.status()
    with pytest.raises(TypeError, match="api"):
        duplicate(breaker)
    assert breaker.status() == before


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_no_protocol_pickles_a_breaker(clock, protocol):
    """Pickling a breaker raises a `TypeError` in every protocol [B19]."""
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(build(clock), protocol)


def fork_and_run(act):
    """Run `act` in a forked child, and return how it ended; a child that hangs is killed."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads is what is tested
        child = os.fork()
    if child == 0:
        done = b"failed"
        try:
            act()
            done = b"fine"
        finally:
            os.write(writer, done)
            os._exit(0)
    os.close(writer)
    ready, _, _ = select.select([reader], [], [], SAFETY)
    done = os.read(reader, 100) if ready else b"hung"
    os.close(reader)
    if not ready:
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return done.decode()


@forks
@pytest.mark.parametrize("make", [build, due_breaker, half_open_breaker])
def test_a_breaker_works_after_a_fork(clock, events, make):
    """A breaker goes on from its state in a forked child, and the parent's breaker does not change [B19]."""
    breaker = make(clock, events, failure_threshold=2, success_threshold=1)
    before, emitted = breaker.status(), len(events.events)

    def child():
        assert breaker.status() == before
        succeed(breaker)
        assert breaker.state is CircuitState.CLOSED
        fail(breaker, 2)
        refused(breaker)
        clock.advance(breaker.retry_after)
        succeed(breaker)
        assert breaker.state is CircuitState.CLOSED
        assert events.topics[-1].endswith("closed")

    assert fork_and_run(child) == "fine"
    assert breaker.status() == before
    assert len(events.events) == emitted


@forks
def test_a_child_delivers_its_own_events(clock):
    """A child that is forked while another thread is in the sink delivers its own events [B19] [C6]."""
    emitted, hanging, go = [], threading.Event(), threading.Event()

    def sink(event):
        emitted.append(event.topic.rpartition(".")[2])
        if len(emitted) == 1:
            hanging.set()
            go.wait(SAFETY)

    breaker = build(clock, sink)
    thread = threading.Thread(target=breaker.trip, daemon=True)
    thread.start()
    assert hanging.wait(SAFETY)

    def child():
        breaker.reset()
        breaker.trip()
        assert emitted == ["opened", "closed", "opened"]

    assert fork_and_run(child) == "fine"
    go.set()
    thread.join(SAFETY)
    assert emitted == ["opened"]


@forks
def test_a_child_gets_a_working_breaker_from_busy_threads(clock):
    """A child that is forked at any moment of other threads' calls has a working breaker [B19]."""
    breaker = build(clock, lambda _: None, failure_threshold=2, success_threshold=1, timeout_duration=0)
    stop, running = threading.Event(), threading.Barrier(4)

    def hammer():
        running.wait(SAFETY)
        while not stop.is_set():
            with suppress(CircuitOpenError):
                breaker.acquire().fail()
            breaker.reset()

    threads = [threading.Thread(target=hammer, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    running.wait(SAFETY)

    def child():
        breaker.reset()
        succeed(breaker)
        fail(breaker, 2)
        assert breaker.state is CircuitState.OPEN
        breaker.reset()

    try:
        for _ in range(20):
            assert fork_and_run(child) == "fine"
    finally:
        stop.set()
        for thread in threads:
            thread.join(SAFETY)


@forks
def test_a_slot_of_the_parent_is_free_in_the_child_after_its_lease(clock):
    """A slot that a thread of the parent holds is free in the child when its lease has ended [B19] [B4]."""
    breaker = due_breaker(clock, half_open_max_calls=1, probe_timeout=5)
    permit = breaker.acquire()

    def child():
        refused(breaker)
        clock.advance(5)
        succeed(breaker)

    assert fork_and_run(child) == "fine"
    assert permit.succeed()
