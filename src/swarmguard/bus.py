"""The event bus: a sink that passes events to any number of subscribers.

```python
bus = EventBus()
overseer = Overseer(sink=bus)

with bus.subscribe("arb.swarm.agent.*") as events:
    async for event in events:
        print(event.topic, event.payload["agent_id"])
```

Each subscription has its own buffer. Publishing appends the event to the buffers and wakes the waiting tasks. It runs
no code of a subscriber and does not wait, so it is safe from any thread and any event loop. A subscriber that falls
behind loses its oldest events; `dropped` counts them.

Publishers are serialized by a `Monitor`, so a finalizer or a signal handler may publish while its own thread is
publishing. Readers need no lock: they take from the other end of a buffer, in one atomic step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Self
from weakref import ref

from anyio.lowlevel import checkpoint

from swarmguard._common.fields import check_count, check_instance, check_text, wrong_value
from swarmguard._common.monitor import Monitor
from swarmguard._common.waking import Waker
from swarmguard.events import Event

__all__ = ["EventBus", "Subscription"]


class EventBus:
    """A sink that passes events to its subscribers.

    The bus holds subscriptions weakly: one that is closed, or garbage-collected without being closed, is removed.
    """

    __slots__ = ("__weakref__", "_mailboxes", "_monitor")

    def __init__(self) -> None:
        self._monitor = Monitor()
        self._mailboxes: tuple[ref[_Mailbox], ...] = ()

    def subscribe(self, topics: str = "*", *, buffer: int = 256) -> Subscription:
        """Subscribe to the events that are published from now on.

        Args:
            topics: A topic, or a dotted prefix with `*` as the last segment, which matches every topic below the
                prefix at any depth: `arb.swarm.agent.*`. The default matches every topic.
            buffer: The number of unread events that are kept, 1 or more. When the buffer is full, the oldest event is
                dropped.

        Returns:
            The subscription, which is an async iterator of the events and a context manager that closes it.

        Raises:
            TypeError: `topics` is not a `str`, or `buffer` is not a whole number.
            ValueError: `topics` is empty or has a `*` in another place, or `buffer` is less than 1.
        """
        mailbox = _Mailbox(topics, check_count("buffer", buffer, minimum=1))
        self._monitor.run(self._add, mailbox)
        return Subscription(mailbox, partial(self._monitor.run, self._remove, mailbox))

    def publish(self, event: Event) -> None:
        """Pass the event to every subscriber of its topic, without waiting. Safe from any thread.

        Args:
            event: The event.

        Raises:
            TypeError: `event` is not an `Event`.
        """
        self._monitor.run(self._put, check_instance("event", event, Event, "an Event"))

    def __call__(self, event: Event) -> None:
        """Publish the event. This makes the bus a sink."""
        self.publish(event)

    # These need the monitor

    def _add(self, mailbox: _Mailbox) -> None:
        self._mailboxes = (*(known for known in self._mailboxes if known() is not None), ref(mailbox))

    def _put(self, event: Event) -> None:
        for known in self._mailboxes:
            mailbox = known()
            if mailbox is not None and mailbox.takes(event.topic):
                mailbox.put(event)

    def _remove(self, mailbox: _Mailbox) -> None:
        self._mailboxes = tuple(known for known in self._mailboxes if known() not in (None, mailbox))
        mailbox.end()


class Subscription:
    """One subscriber's events, created by `EventBus.subscribe`.

    Any number of tasks, in any event loops, may iterate over it at the same time. Each event goes to one of them, and
    none is lost when a task is cancelled. After `close`, or the `with` block, an iteration yields the events that are
    still buffered and then ends.
    """

    __slots__ = ("_leave", "_mailbox")

    def __init__(self, mailbox: _Mailbox, leave: Callable[[], object]) -> None:
        self._mailbox = mailbox
        self._leave = leave

    @property
    def dropped(self) -> int:
        """The number of events that were dropped because the buffer was full."""
        return self._mailbox.dropped

    def drain(self) -> list[Event]:
        """Take the buffered events without waiting, for code outside an event loop.

        Returns:
            The events, oldest first.
        """
        return self._mailbox.take_all()

    def close(self) -> None:
        """End the subscription. Events that are buffered can still be read."""
        self._leave()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        return await self._mailbox.take()

    def __repr__(self) -> str:
        return f"<Subscription to {self._mailbox!r}>"


class _Mailbox:
    """The buffer of one subscription. Publishers hold the bus's monitor; readers need no lock."""

    __slots__ = ("__weakref__", "_ended", "_events", "_size", "_topics", "_waiting", "dropped", "takes")

    def __init__(self, topics: str, size: int) -> None:
        self.takes: Callable[[str], bool] = _matcher(topics)
        self.dropped: int = 0
        self._topics = topics
        self._size = size
        self._events: deque[Event] = deque()
        self._waiting: deque[Waker] = deque()
        self._ended = False

    # For publishers; these need the monitor

    def put(self, event: Event) -> None:
        if len(self._events) >= self._size:
            with suppress(IndexError):  # readers have emptied it since
                self._events.popleft()
                self.dropped += 1
        self._events.append(event)
        self._wake_readers()

    def end(self) -> None:
        self._ended = True
        self._wake_readers()

    def _wake_readers(self) -> None:
        """Wake all waiting readers. If only one were woken and then cancelled, the others would miss the event."""
        with suppress(IndexError):  # ends the loop; checking the length first would race with cancelled readers
            while True:
                self._waiting.popleft().wake()

    # For readers

    def take_all(self) -> list[Event]:
        taken: list[Event] = []
        with suppress(IndexError):  # the buffer is empty
            while len(taken) < self._size:  # bounded, since publishers may refill the buffer all the time
                taken.append(self._events.popleft())
        return taken

    async def take(self) -> Event:
        await checkpoint()  # before an event is taken, so that a task cancelled here loses none
        while True:
            ended = self._ended  # read before the buffer: an event put just before the end is still taken
            with suppress(IndexError):
                return self._events.popleft()
            if ended:
                raise StopAsyncIteration
            await self._wait()

    async def _wait(self) -> None:
        """Wait until an event is put or the subscription has ended; may return early."""
        waker = Waker()
        self._waiting.append(waker)
        try:
            if not self._events and not self._ended:  # checked again, now that publishers can see the waker
                await waker.wait()
        finally:
            with suppress(ValueError):  # the publisher that woke it has removed it
                self._waiting.remove(waker)

    def __repr__(self) -> str:
        return f"{self._topics!r}: {len(self._events)} buffered, {self.dropped} dropped"


def _matcher(topics: str) -> Callable[[str], bool]:
    """Return a function that tells whether a topic matches the pattern `topics`."""
    stem, star, rest = check_text("topics", topics).partition("*")
    if not star:
        return lambda topic: topic == topics
    if rest or (stem and not stem.endswith(".")):
        wrong_value("topics", "a topic, or '*' for every topic, alone or as the last segment ('arb.swarm.*')", topics)
    return lambda topic: topic.startswith(stem)
