"""A bus, and tasks that wait, under every schedule of two threads within the bound; `THREADS=3` runs three."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache, partial

import interleave_test
import pytest

from swarmguard import Event, EventBus, Overseer
from swarmguard import bus as bus_module
from swarmguard._overseer import core as core_module
from swarmguard.testing import FakeClock
from tests.schedules.exploring import explore, explore_each


class Waker:
    """Stands in for the real waker, whose event loop interleave-test cannot control: it blocks the thread.

    Attributes:
        calls: How often any waker was called.
    """

    calls = 0

    def __init__(self) -> None:
        self._woken = interleave_test.Event()

    def __hash__(self) -> int:
        return 0  # so that the wakers of a set are woken in the same order each time

    def wake(self) -> None:
        Waker.calls += 1
        self._woken.set()

    async def wait(self) -> None:
        self._woken.wait()


async def checkpoint() -> None:
    """Do not suspend: interleave-test switches threads."""


@pytest.fixture(autouse=True)
def waiting_threads(monkeypatch):
    """Let threads wait where tasks would."""
    for module in (bus_module, core_module):
        monkeypatch.setattr(module, "Waker", Waker)
        monkeypatch.setattr(module, "checkpoint", checkpoint)


def run(coroutine):
    """Run a coroutine that never suspends, and return its result."""
    with pytest.raises(StopIteration) as ended:
        coroutine.send(None)
    return ended.value.value


def event(source: str, sequence: int) -> Event:
    """Make an event."""
    return Event(topic="a.b", source=source, at=datetime(2000, 1, 1, tzinfo=UTC), sequence=sequence, payload={})


class Bus:
    """A bus with one subscriber that has not read anything yet."""

    def __init__(self, buffer: int, before: int = 0) -> None:
        self.bus = EventBus()
        self.subscription = self.bus.subscribe(buffer=buffer)
        self.published = 0
        self.read: list[list[Event]] = []
        self.publish("c", before)

    def publish(self, source: str, count: int) -> None:
        for sequence in range(count):
            self.bus.publish(event(source, sequence))
            self.published += 1

    def drain(self, times: int = 1) -> None:
        for _ in range(times):
            self.read.append(self.subscription.drain())

    def take(self) -> None:
        self.read.append([run(self.subscription.__anext__())])

    def take_all(self) -> None:
        self.read.append(taken := [])
        with pytest.raises(StopAsyncIteration):
            while True:
                taken.append(run(self.subscription.__anext__()))

    def publish_and_close(self) -> None:
        self.publish("a", 1)
        self.subscription.close()

    def outcome(self) -> None:
        self.drain()
        seen = [(event.source, event.sequence) for events in self.read for event in events]
        assert len(set(seen)) == len(seen)
        assert len(seen) + self.subscription.dropped == self.published
        for events in self.read:
            for source in "abc":
                sequences = [event.sequence for event in events if event.source == source]
                assert sequences == sorted(sequences)


@cache
def doing(method, *args):
    """Return the program of a thread that calls a method of the subject."""
    return lambda subject, _: method(subject, *args)


@pytest.mark.parametrize("buffer", [1, 2, 10])
def test_read_dropped_and_buffered_events_add_up(buffer: int, explored) -> None:
    """In every schedule, each event is read once or counted as dropped, and events come in order [C5]."""
    programs = [doing(Bus.publish, "a", 2), doing(Bus.publish, "b", 2), doing(Bus.drain, 2)]
    explored("schedules", explore_each(partial(Bus, buffer, before=1), programs))


def test_two_readers_share_the_events(explored) -> None:
    """In every schedule, each event goes to one of two readers [C5]."""
    programs = [doing(Bus.drain), doing(Bus.drain, 2), doing(Bus.publish, "a", 2)]
    explored("schedules", explore_each(partial(Bus, 10, before=2), programs))


def test_a_reader_that_waits_is_woken(explored) -> None:
    """In every schedule, no reader misses the event that it waits for [C5]."""
    programs = [doing(Bus.take), doing(Bus.publish, "a", 2), doing(Bus.take)]
    explored("schedules", explore(partial(Bus, 10), programs))


def test_a_reader_sees_the_end(explored) -> None:
    """In every schedule, a reader gets the events from before the end, and then stops [C5]."""

    class ReadToTheEnd(Bus):
        def outcome(self) -> None:
            assert self.subscription.drain() == []
            super().outcome()

    programs = [doing(Bus.take_all), doing(Bus.publish_and_close), doing(Bus.take_all)]
    explored("schedules", explore(partial(ReadToTheEnd, 10), programs))


class Subscribers:
    """A bus whose subscribers come and go."""

    def __init__(self) -> None:
        self.bus = EventBus()
        self.first, self.later = self.bus.subscribe(), []

    def subscribe(self) -> None:
        self.later.append(self.bus.subscribe())

    def close(self) -> None:
        self.first.close()

    def outcome(self) -> None:
        self.close()
        self.bus.publish(event("a", 1))
        assert self.first.drain() == []
        assert all(len(subscription.drain()) == 1 for subscription in self.later)
        assert len(self.bus._mailboxes) == len(self.later)


SUBSCRIBE, CLOSE = doing(Subscribers.subscribe), doing(Subscribers.close)


@pytest.mark.parametrize(
    ("granularity", "programs"),
    [("line", [SUBSCRIBE, CLOSE, SUBSCRIBE]), ("opcode", [SUBSCRIBE, CLOSE]), ("opcode", [SUBSCRIBE, SUBSCRIBE])],
    ids=["at each line", "subscribe and close", "two subscribe"],
)
def test_subscribers_come_and_go(granularity, programs, explored) -> None:
    """In every schedule, a new subscription gets events, and a closed one gets none [C5].

    The list of subscribers is replaced in one line, so two threads are also stopped within the line.
    """
    explored("schedules", explore(Subscribers, programs, granularity=granularity))


class Paused:
    """A paused swarm, and tasks that wait until it is resumed."""

    def __init__(self) -> None:
        self.overseer = Overseer(clock=FakeClock())
        self.overseer.pause_swarm()

    def wait(self) -> None:
        run(self.overseer.wait_until_resumed())

    def resume(self) -> None:
        self.overseer.resume_swarm()

    def outcome(self) -> None:
        calls = Waker.calls
        self.overseer.pause_swarm()
        self.overseer.resume_swarm()
        assert Waker.calls == calls  # no task that has gone on is woken again


def test_tasks_that_wait_for_the_swarm_are_woken(explored) -> None:
    """In every schedule, no task misses the resumption that it waits for [O9]."""
    explored("schedules", explore(Paused, [doing(Paused.wait), doing(Paused.resume), doing(Paused.wait)]))
