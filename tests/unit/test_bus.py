"""The event bus and its subscriptions."""

from __future__ import annotations

import asyncio
import gc
import re
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial

import anyio
import anyio.to_thread
import pytest
from anyio.lowlevel import checkpoint

from swarmguard import bus as bus_module
from swarmguard._common.waking import Waker
from swarmguard.bus import EventBus
from swarmguard.events import Event
from swarmguard.testing import FakeClock

AT = datetime(2024, 1, 1, tzinfo=UTC)
BACKENDS = ["asyncio", "trio"]


def event(sequence=1, topic="arb.swarm.agent.failed", **payload):
    """Return an event with this sequence number, topic and payload."""
    return Event(topic=topic, source="overseer", at=AT, sequence=sequence, payload=payload)


def numbers(events):
    """Return the sequence numbers of the events."""
    return [event.sequence for event in events]


async def settle():
    """Run the other tasks until all of them wait."""
    await FakeClock().run_for(0)


async def collect(subscription, into):
    """Read until the subscription ends."""
    async for received in subscription:
        into.append(received.sequence)


# Topics


@pytest.mark.parametrize(
    ("topics", "taken"),
    [
        ("*", {"arb", "arb.swarm.paused", "arb.swarm.agent.failed", "arb.swarm.agent.pool.failed", "arb.swarmed"}),
        ("arb.*", {"arb.swarm.paused", "arb.swarm.agent.failed", "arb.swarm.agent.pool.failed", "arb.swarmed"}),
        ("arb.swarm.*", {"arb.swarm.paused", "arb.swarm.agent.failed", "arb.swarm.agent.pool.failed"}),
        ("arb.swarm.agent.*", {"arb.swarm.agent.failed", "arb.swarm.agent.pool.failed"}),
        ("arb.swarm.agent.failed", {"arb.swarm.agent.failed"}),
        ("arb.swarm.agent", set()),
    ],
)
def test_topics(topics, taken):
    """A trailing `*` matches every topic below it at any depth; any other pattern matches one topic. [C5]"""
    bus = EventBus()
    everything = ["arb", "arb.swarm.paused", "arb.swarm.agent.failed", "arb.swarm.agent.pool.failed", "arb.swarmed"]
    with bus.subscribe(topics) as subscription:
        for topic in everything:
            bus(event(topic=topic))
        assert {received.topic for received in subscription.drain()} == taken


def test_every_topic_is_the_default():
    """By default, a subscription matches every topic. [C5]"""
    bus = EventBus()
    with bus.subscribe() as subscription:
        bus(event(1, "a"))
        bus(event(2, "b.c"))
        assert numbers(subscription.drain()) == [1, 2]


@pytest.mark.parametrize("topics", ["*.failed", "arb.*.failed", "arb.swarm*", "arb.**", "**", "arb.*.*", ""])
def test_invalid_topics(topics):
    """A `*` in any place but the last segment is a `ValueError`. [C5]"""
    allowed = r"(a topic, or '\*' for every topic, alone or as the last segment .*|a non-empty str)"
    with pytest.raises(ValueError, match=rf"^topics must be {allowed}, got {re.escape(repr(topics))}$"):
        EventBus().subscribe(topics)


@pytest.mark.parametrize("topics", [None, 1, b"arb.*", ["arb.*"]])
def test_topics_of_the_wrong_type(topics):
    """Topics that are not a `str` are a `TypeError`. [C5]"""
    with pytest.raises(TypeError, match="topics must be a non-empty str, got"):
        EventBus().subscribe(topics)


@pytest.mark.parametrize(("buffer", "error"), [(0, ValueError), (-1, ValueError), (1.0, TypeError), (True, TypeError)])
def test_the_buffer_is_a_whole_number(buffer, error):
    """A buffer that is not a whole number of at least 1 is an error. [C5]"""
    with pytest.raises(error, match="buffer must be a whole number, 1 or more, got"):
        EventBus().subscribe("*", buffer=buffer)


# Publishing


@pytest.mark.parametrize("publish", [EventBus.__call__, EventBus.publish])
def test_every_subscriber_gets_every_event(publish):
    """A published event goes to all subscribers of its topic, whether the bus is called or `publish` is. [C5]"""
    bus = EventBus()
    with bus.subscribe("arb.*") as one, bus.subscribe("*") as two, bus.subscribe("other.*") as three:
        publish(bus, event(1))
        publish(bus, event(2))
        assert [numbers(subscription.drain()) for subscription in (one, two, three)] == [[1, 2], [1, 2], []]


def test_publishing_without_subscribers():
    """Publishing without subscribers does nothing. [C5]"""
    EventBus().publish(event())


def test_publishing_another_object():
    """Publishing an object that is not an `Event` is a `TypeError`. [C5]"""
    with pytest.raises(TypeError, match="event must be an Event, got"):
        EventBus().publish("arb.swarm.paused")


def test_a_slow_subscriber_loses_its_oldest_events():
    """A full buffer drops its oldest events and counts them; other subscribers lose none. [C5]"""
    bus = EventBus()
    with bus.subscribe(buffer=3) as slow, bus.subscribe() as patient:
        for sequence in range(1, 11):
            bus(event(sequence))
        assert slow.dropped == 7
        assert numbers(slow.drain()) == [8, 9, 10]
        assert (patient.dropped, len(patient.drain())) == (0, 10)
        bus(event(11))
        assert (slow.dropped, numbers(slow.drain())) == (7, [11])


def test_the_default_buffer_holds_256_events():
    """The default buffer holds 256 events. [C5]"""
    bus = EventBus()
    with bus.subscribe() as subscription:
        for sequence in range(257):
            bus(event(sequence))
        assert (subscription.dropped, len(subscription.drain())) == (1, 256)


def test_a_reader_empties_a_full_buffer():
    """If a reader empties a full buffer before the publisher drops an event, no event counts as dropped. [C5]"""

    class Emptied(bus_module.deque):
        def __len__(self):
            return 99

    bus = EventBus()
    subscription = bus.subscribe(buffer=1)
    subscription._mailbox._events = Emptied()
    bus(event(1))
    assert subscription.dropped == 0
    assert numbers(subscription.drain()) == [1]


def test_draining_ends_while_others_publish():
    """`drain` takes at most a full buffer, however fast others publish. [C5]"""
    bus = EventBus()

    class Refilled(bus_module.deque):
        def popleft(self):
            taken = super().popleft()
            if taken.sequence < 50:
                bus(event(taken.sequence + 1))
            return taken

    subscription = bus.subscribe(buffer=2)
    subscription._mailbox._events = Refilled()
    bus(event(0))
    assert numbers(subscription.drain()) == [0, 1]
    assert numbers(subscription.drain()) == [2, 3]


def test_threads_lose_and_duplicate_nothing():
    """With many threads, every event arrives once, in each publisher's order, and every dropped event counts. [C5]"""
    bus = EventBus()
    with bus.subscribe(buffer=10_000) as roomy, bus.subscribe(buffer=7) as tight:

        def publish(publisher):
            for sequence in range(300):
                bus(event(sequence, publisher=publisher))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(publish, range(8)))
        seen = [(received.payload["publisher"], received.sequence) for received in roomy.drain()]
        by_publisher = sorted(seen, key=lambda pair: pair[0])  # stable: the order of each publisher's events stays
        assert by_publisher == [(publisher, sequence) for publisher in range(8) for sequence in range(300)]
        assert tight.dropped == 2400 - 7
        assert len(tight.drain()) == 7


def test_reading_and_publishing_in_threads_adds_up():
    """While threads publish and drain, every event is either read once or counted as dropped. [C5]"""
    bus = EventBus()
    over = threading.Event()
    start = threading.Barrier(8)

    def publish(publisher):
        start.wait(10)
        for sequence in range(500):
            bus(event(sequence, publisher=publisher))

    def read(subscription):
        start.wait(10)
        taken = []
        while not over.is_set():
            taken += subscription.drain()
        return taken + subscription.drain()

    with bus.subscribe(buffer=5) as subscription, ThreadPoolExecutor(8) as pool:
        readers = [pool.submit(read, subscription) for _ in range(4)]
        publishers = [pool.submit(publish, publisher) for publisher in range(4)]
        for publisher in publishers:
            publisher.result(30)
        over.set()
        read_by_all = [
            (received.payload["publisher"], received.sequence) for reader in readers for received in reader.result(30)
        ]
    assert len(read_by_all) == len(set(read_by_all)) == 2000 - subscription.dropped


def test_a_finalizer_may_publish_while_its_thread_is_publishing():
    """A finalizer that publishes while its thread is publishing neither deadlocks nor loses an event. [C5]"""
    bus = EventBus()

    class PublishesWhenCollected:
        def __del__(self):
            bus(event(99))

    with bus.subscribe("arb.*", buffer=1) as subscription, bus.subscribe() as witness:
        bus(event(1, held=PublishesWhenCollected()))
        witness.drain()
        bus(event(2))
        assert numbers(subscription.drain()) == [99]
        assert numbers(witness.drain()) == [2, 99]


def test_a_finalizer_may_subscribe_and_close():
    """A subscription that is opened or closed during a publish takes effect after it. [C5]"""
    bus = EventBus()
    late = []

    class SubscribesWhenCollected:
        def __del__(self):
            subscription.close()
            late.append(bus.subscribe())

    subscription = bus.subscribe(buffer=1)
    bus(event(1, held=SubscribesWhenCollected()))
    bus(event(2))
    bus(event(3))
    assert numbers(subscription.drain()) == [2]
    assert numbers(late[0].drain()) == [3]


# Reading


@pytest.mark.anyio
async def test_iterating():
    """An `async for` yields buffered events, and then new ones as they come, in order. [C5]"""
    bus, seen = EventBus(), []
    with bus.subscribe("arb.*") as subscription:
        bus(event(1))
        bus(event(2))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(collect, subscription, seen)
            await settle()
            assert seen == [1, 2]
            bus(event(3))
            await settle()
            assert seen == [1, 2, 3]
            subscription.close()


@pytest.mark.anyio
async def test_closing_ends_the_iteration():
    """After the `with` block, an iteration yields the buffered events and then ends. [C5]"""
    bus, seen = EventBus(), []
    async with anyio.create_task_group() as tasks:
        with bus.subscribe() as subscription:
            bus(event(1))
            bus(event(2))
        bus(event(3))
        tasks.start_soon(collect, subscription, seen)
    assert seen == [1, 2]
    with pytest.raises(StopAsyncIteration):
        await anext(subscription)


@pytest.mark.anyio
async def test_closing_wakes_waiting_tasks():
    """Closing a subscription ends the iteration of every waiting task. [C5]"""
    subscription = EventBus().subscribe()
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(collect, subscription, [])
        await settle()
        subscription.close()
        subscription.close()


def test_draining_after_the_block():
    """After the `with` block, `drain` returns the events from before its end only. [C5]"""
    bus = EventBus()
    with bus.subscribe() as subscription:
        bus(event(1))
    bus(event(2))
    assert numbers(subscription.drain()) == [1]
    assert subscription.drain() == []


@pytest.mark.anyio
async def test_tasks_share_a_subscription():
    """If several tasks read one subscription, each event goes to one of them. [C5]"""
    bus, seen = EventBus(), []
    with bus.subscribe() as subscription:
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(collect, subscription, seen)
            await settle()
            for sequence in range(5):
                bus(event(sequence))
            await settle()
            assert sorted(seen) == [0, 1, 2, 3, 4]
            subscription.close()


@pytest.mark.anyio
async def test_a_cancelled_reader_loses_no_event():
    """An event that is published as its reader is cancelled goes to the next reader. [C5]"""
    bus = EventBus()
    with bus.subscribe() as subscription:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(collect, subscription, [])
            await settle()
            bus(event(1))
            tasks.cancel_scope.cancel()
        assert numbers(subscription.drain()) == [1]
        bus(event(2))
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anext(subscription)
        assert scope.cancelled_caught
        assert (await anext(subscription)).sequence == 2


@pytest.mark.anyio
async def test_a_cancelled_reader_does_not_block_the_others():
    """If one of two waiting tasks is cancelled as an event is published, the other gets it. [C5]"""
    bus, seen = EventBus(), []
    with bus.subscribe() as subscription:
        async with anyio.create_task_group() as tasks:
            async with anyio.create_task_group() as doomed:
                doomed.start_soon(collect, subscription, [])
                await settle()
                tasks.start_soon(collect, subscription, seen)
                await settle()
                bus(event(1))
                doomed.cancel_scope.cancel()
            await settle()
            assert seen == [1]
            subscription.close()


@pytest.mark.anyio
async def test_reading_a_backlog_lets_other_tasks_run():
    """Other tasks run while a task reads a long backlog. [C5]"""
    bus, seen, steps = EventBus(), [], []
    with bus.subscribe() as subscription:
        for sequence in range(50):
            bus(event(sequence))

    async def other():
        for _ in range(10):
            steps.append(len(seen))
            await checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other)
        tasks.start_soon(collect, subscription, seen)
    assert any(0 < read < 50 for read in steps)
    assert seen == list(range(50))


@pytest.mark.anyio
async def test_an_event_between_checking_and_waiting(monkeypatch):
    """An event that is published just before a reader starts to wait is read. [C5]"""
    bus = EventBus()

    class LateWaker(Waker):
        def __init__(self):
            bus(event(7))
            super().__init__()

    with bus.subscribe() as subscription:
        monkeypatch.setattr(bus_module, "Waker", LateWaker)
        assert (await anext(subscription)).sequence == 7


@pytest.mark.anyio
async def test_an_event_just_before_the_end_is_not_lost():
    """An event that is published just before the subscription is closed is read. [C5]"""
    bus = EventBus()
    subscription = bus.subscribe()

    class Late(bus_module.deque):
        def popleft(self):
            try:
                return super().popleft()
            finally:
                if bus._mailboxes:
                    bus(event(7))
                    subscription.close()

    subscription._mailbox._events = Late()
    assert [received.sequence async for received in subscription] == [7]


@pytest.mark.anyio
async def test_closing_between_checking_and_waiting(monkeypatch):
    """A subscription that is closed just before a reader starts to wait ends the iteration. [C5]"""
    subscription = EventBus().subscribe()

    class LateWaker(Waker):
        def __init__(self):
            subscription.close()
            super().__init__()

    monkeypatch.setattr(bus_module, "Waker", LateWaker)
    with pytest.raises(StopAsyncIteration):
        await anext(subscription)


@pytest.mark.anyio
async def test_threads_wake_a_reader():
    """A thread without an event loop wakes a waiting task. [C5]"""
    bus = EventBus()
    with bus.subscribe() as subscription:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(anyio.to_thread.run_sync, bus.publish, event(5)))
            assert (await anext(subscription)).sequence == 5


def test_each_subscriber_wakes_in_its_own_loop():
    """Tasks on asyncio, tasks on trio, and sync code get the same events from one thread. [C5]"""
    bus = EventBus()
    waiting = threading.Barrier(3)
    seen = {backend: [] for backend in BACKENDS}

    async def read(subscription, into):
        while len(into) < 100:
            into.append((await anext(subscription)).sequence)

    async def reader(backend):
        with bus.subscribe() as subscription:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(read, subscription, seen[backend])
                await settle()
                await anyio.to_thread.run_sync(waiting.wait, 10)

    with bus.subscribe() as plain, ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(anyio.run, reader, backend, backend=backend) for backend in BACKENDS]
        waiting.wait(10)
        for sequence in range(100):
            bus(event(sequence))
        for running in readers:
            running.result(10)
        assert seen["asyncio"] == seen["trio"] == numbers(plain.drain()) == list(range(100))


# Cleaning up


def test_a_closed_subscription_is_removed():
    """The bus keeps nothing of a closed subscription. [C5]"""
    bus = EventBus()
    with bus.subscribe() as subscription:
        bus(event())
    assert bus._mailboxes == ()
    gone = weakref.ref(subscription._mailbox)
    del subscription
    assert gone() is None


def test_a_collected_subscription_is_removed():
    """A subscription that is garbage-collected without being closed gets no more events. [C5]"""
    bus = EventBus()
    kept = bus.subscribe()
    dropped = bus.subscribe()
    gone = weakref.ref(dropped._mailbox)
    del dropped
    gc.collect()
    assert gone() is None
    bus(event(1))
    assert numbers(kept.drain()) == [1]
    third = bus.subscribe()
    assert len(bus._mailboxes) == 2
    third.close()
    assert len(bus._mailboxes) == 1


@pytest.mark.anyio
async def test_cancelled_readers_leave_nothing_behind():
    """The subscription keeps nothing of cancelled readers. [C5]"""
    with EventBus().subscribe() as subscription:
        for _ in range(20):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(collect, subscription, [])
                await settle()
                tasks.cancel_scope.cancel()
        assert len(subscription._mailbox._waiting) == 0


def test_a_closed_loop_does_not_break_publishing():
    """A subscriber whose event loop was closed does not break publishing. [C5]"""
    bus = EventBus()
    subscription, other = bus.subscribe(), bus.subscribe()
    loop = asyncio.new_event_loop()
    task = loop.create_task(collect(subscription, []))
    for _ in range(3):
        loop.call_soon(loop.stop)
        loop.run_forever()
    loop.close()
    assert len(subscription._mailbox._waiting) == 1
    bus(event(1))
    bus(event(2))
    assert numbers(other.drain()) == numbers(subscription.drain()) == [1, 2]
    task._log_destroy_pending = False  # asyncio would log that the task was destroyed


def test_repr():
    """The repr shows the topics, the number of buffered events, and the number of dropped ones."""
    bus = EventBus()
    with bus.subscribe("arb.*", buffer=2) as subscription:
        for sequence in range(3):
            bus(event(sequence))
        assert repr(subscription) == "<Subscription to 'arb.*': 2 buffered, 1 dropped>"
