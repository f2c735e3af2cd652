"""A bus, and those who wait, under every schedule of a few threads, within the bounds."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

import interleave_test
import pytest

from swarmguard import Event, EventBus, Overseer
from swarmguard import bus as bus_module
from swarmguard._overseer import core as core_module
from swarmguard.testing import FakeClock
from tests.schedules.exploring import explore


class Waker:
    """Stands for the real one, whose loop the explorer cannot see into: it holds up the thread, not a task."""

    def __init__(self) -> None:
        self._woken = interleave_test.Event()
        self.wake = self._woken.set

    def __hash__(self) -> int:
        return 0  # or those who are in a set would be woken in an order of its own each time

    async def wait(self) -> None:
        self._woken.wait()


async def checkpoint() -> None:
    """Let nobody else run: the explorer does."""


@pytest.fixture(autouse=True)
def waiting_threads(monkeypatch):
    """Let threads wait as tasks do."""
    for module in (bus_module, core_module):
        monkeypatch.setattr(module, "Waker", Waker)
        monkeypatch.setattr(module, "checkpoint", checkpoint)


def run(coroutine):
    """Run a coroutine that never suspends, and return what it returns."""
    with pytest.raises(StopIteration) as ended:
        coroutine.send(None)
    return ended.value.value


def event(source: str, sequence: int) -> Event:
    """Make an event."""
    return Event(topic="a.b", source=source, at=datetime(2000, 1, 1, tzinfo=UTC), sequence=sequence, payload={})


class Bus:
    """A bus with one subscriber, who is behind."""

    def __init__(self, buffer: int) -> None:
        self.bus = EventBus()
        self.subscription = self.bus.subscribe(buffer=buffer)
        self.published = 0
        self.read: list[list[Event]] = []

    def publish(self, source: str, count: int, _: object) -> None:
        for sequence in range(count):
            self.bus.publish(event(source, sequence))
            self.published += 1

    def drain(self, _: object) -> None:
        self.read.append(self.subscription.drain())

    def take(self, count: int, _: object) -> None:
        self.read.append([run(self.subscription.__anext__()) for _ in range(count)])

    def take_all(self, _: object) -> None:
        self.read.append(taken := [])
        with pytest.raises(StopAsyncIteration):
            while True:
                taken.append(run(self.subscription.__anext__()))

    def close(self, _: object) -> None:
        self.subscription.close()

    def outcome(self) -> list[tuple[str, int]]:
        self.read.append(self.subscription.drain())
        seen = [(event.source, event.sequence) for events in self.read for event in events]
        assert len(set(seen)) == len(seen)
        assert len(seen) + self.subscription.dropped == self.published
        for events in self.read:
            for source in "ab":
                sequences = [event.sequence for event in events if event.source == source]
                assert sequences == sorted(sequences)
        return seen


@pytest.mark.parametrize("buffer", [1, 2, 10])
def test_what_is_read_lost_and_left_adds_up(buffer: int, explored) -> None:
    """Whoever goes first, each event is read once or counted as lost, and they come in order [C5]."""
    programs = [lambda bus, _: bus.publish("a", 2, _), Bus.drain, lambda bus, _: bus.publish("b", 2, _)]
    explored("schedules", explore(partial(Bus, buffer), programs))


def test_a_reader_that_waits_is_woken(explored) -> None:
    """Whoever goes first, no reader misses the event that it waits for [C5]."""
    programs = [lambda bus, _: bus.take(1, _), lambda bus, _: bus.publish("a", 2, _), lambda bus, _: bus.take(1, _)]
    explored("schedules", explore(partial(Bus, 10), programs))


def test_a_reader_learns_of_the_end(explored) -> None:
    """Whoever goes first, a reader gets what was published before the end, and then ends [C5]."""

    class ReadToItsEnd(Bus):
        def outcome(self) -> None:
            assert self.subscription.drain() == []
            super().outcome()

    programs = [Bus.take_all, lambda bus, _: (bus.publish("a", 1, _), bus.close(_)), Bus.take_all]
    explored("schedules", explore(partial(ReadToItsEnd, 10), programs))


class Club:
    """A bus whose subscribers come and go."""

    def __init__(self) -> None:
        self.bus = EventBus()
        self.members = [self.bus.subscribe()]

    def join(self, _: object) -> None:
        self.members.append(self.bus.subscribe())

    def leave(self, _: object) -> None:
        self.members[0].close()

    def outcome(self) -> None:
        self.bus.publish(event("a", 1))
        assert [len(member.drain()) for member in self.members] == [0] + [1] * (len(self.members) - 1)
        assert len(self.bus._mailboxes) == len(self.members) - 1


@pytest.mark.parametrize(
    ("granularity", "programs"),
    [
        ("line", [Club.leave, Club.join, Club.join]),
        ("opcode", [Club.leave, Club.join]),
        ("opcode", [Club.join, Club.join]),
    ],
    ids=["three at each line", "leaving and joining", "two join"],
)
def test_nobody_is_lost_among_those_who_come_and_go(granularity, programs, explored) -> None:
    """Whoever goes first, who has joined gets events, and who has left gets none [C5].

    The list of subscribers is replaced in one line, so two threads may stop in the middle of it.
    """

    class Members(Club):
        def outcome(self) -> None:
            if Club.leave not in programs:
                self.leave(None)
            super().outcome()

    explored("schedules", explore(Members, programs, granularity=granularity))


class Paused:
    """A swarm that is paused, and those who wait for the end of that."""

    def __init__(self) -> None:
        self.overseer = Overseer(clock=FakeClock())
        self.overseer.pause_swarm()

    def wait(self, _: object) -> None:
        run(self.overseer.wait_until_resumed())

    def resume(self, _: object) -> None:
        self.overseer.resume_swarm()

    def outcome(self) -> None:
        assert not self.overseer._core._waiting


def test_who_waits_for_the_swarm_is_woken(explored) -> None:
    """Whoever goes first, nobody misses the resumption that they wait for [O9]."""
    explored("schedules", explore(Paused, [Paused.wait, Paused.resume, Paused.wait]))
