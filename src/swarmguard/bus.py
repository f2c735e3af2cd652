"""The event bus: one sink in front of any number of subscribers, each at its own pace.

```python
bus = EventBus()
overseer = Overseer(sink=bus)

with bus.subscribe("arb.swarm.agent.*") as events:
    async for event in events:
        print(event.topic, event.payload["agent_id"])
```

Every subscription has a buffer of its own. Publishing puts the event into the buffers and wakes who waits: it runs no
subscriber's code and waits for none, so a breaker can publish from any thread and from any event loop. A subscriber
that falls behind loses its oldest events and finds their number in `dropped`.

Publishers take turns by a `Monitor`, so a finalizer or a signal handler that publishes while its own thread is
publishing does no harm. Readers take from the buffers' other end, which is a single step and needs no lock.
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
    """A sink that passes events on to its subscribers.

    The bus forgets a subscription at once when it is closed, and when its owner drops it without closing it.
    """

    __slots__ = ("__weakref__", "_mailboxes", "_monitor")

    def __init__(self) -> None:
        self._monitor = Monitor()
        self._mailboxes: tuple[ref[_Mailbox], ...] = ()

    def subscribe(self, topics: str = "*", *, buffer: int = 256) -> Subscription:
        """Subscribe from this moment on, until the subscription is closed.

        Args:
            topics: A topic, or a dotted prefix with `*` as its last segment, which takes every topic below the prefix,
                however deep: `arb.swarm.agent.*`. The default takes every topic there is.
            buffer: How many events are kept for a subscriber that is behind, at least 1.

        Returns:
            A subscription: a context manager that closes itself, and an async iterator of the events.

        Raises:
            TypeError: `topics` is no `str`, or `buffer` is no whole number.
            ValueError: `topics` is empty or has a `*` anywhere else, or `buffer` is less than 1.
        """
        mailbox = _Mailbox(topics, check_count("buffer", buffer, minimum=1))
        self._monitor.run(self._admit, mailbox)
        return Subscription(mailbox, partial(self._monitor.run, self._dismiss, mailbox))

    def publish(self, event: Event) -> None:
        """Give the event to every subscriber of its topic; from any thread, without waiting for anybody.

        Raises:
            TypeError: It is no `Event`. Nothing that happens to a subscriber raises here.
        """
        self._monitor.run(self._hand_out, check_instance("event", event, Event, "an Event"))

    def __call__(self, event: Event) -> None:
        """Do what `publish` does: this makes the bus a sink."""
        self.publish(event)

    # Under the monitor

    def _admit(self, newcomer: _Mailbox) -> None:
        self._mailboxes = (*(known for known in self._mailboxes if known() is not None), ref(newcomer))

    def _hand_out(self, event: Event) -> None:
        for known in self._mailboxes:
            mailbox = known()
            if mailbox is not None and mailbox.takes(event.topic):
                mailbox.put(event)

    def _dismiss(self, leaver: _Mailbox) -> None:
        self._mailboxes = tuple(known for known in self._mailboxes if known() not in (None, leaver))
        leaver.end()


class Subscription:
    """The events of some topics, as one subscriber gets them; `EventBus.subscribe` makes it.

    Tasks may iterate over it, several at once and in any event loop: each event goes to one of them, and none is lost
    when a task is cancelled. After the `with` block, or `close`, an iteration still gives what is buffered, and then
    ends.
    """

    __slots__ = ("_leave", "_mailbox")

    def __init__(self, mailbox: _Mailbox, leave: Callable[[], object]) -> None:
        self._mailbox = mailbox
        self._leave = leave

    @property
    def dropped(self) -> int:
        """How many events this subscriber has lost by being behind."""
        return self._mailbox.dropped

    def drain(self) -> list[Event]:
        """Take what is buffered, oldest first, without waiting: for code that runs in no event loop."""
        return self._mailbox.take_all()

    def close(self) -> None:
        """End the subscription: no event comes any more, and those that are buffered stay to be read."""
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
    """A buffer between the publishers, who come one at a time (the bus's monitor sees to that), and the readers."""

    __slots__ = ("__weakref__", "_ended", "_events", "_size", "_topics", "_waiting", "dropped", "takes")

    def __init__(self, topics: str, size: int) -> None:
        self.takes: Callable[[str], bool] = _matcher(topics)
        self.dropped: int = 0
        self._topics = topics
        self._size = size
        self._events: deque[Event] = deque()
        self._waiting: deque[Waker] = deque()
        self._ended = False

    # For publishers

    def put(self, event: Event) -> None:
        if len(self._events) >= self._size:
            with suppress(IndexError):  # the readers have emptied it meanwhile
                self._events.popleft()
                self.dropped += 1
        self._events.append(event)
        self._wake_readers()

    def end(self) -> None:
        self._ended = True
        self._wake_readers()

    def _wake_readers(self) -> None:
        """Wake every reader that waits: a single one might be cancelled, and the event find nobody."""
        with suppress(IndexError):  # until none is left; a cancelled one may take itself away meanwhile
            while True:
                self._waiting.popleft().wake()

    # For readers

    def take_all(self) -> list[Event]:
        taken: list[Event] = []
        with suppress(IndexError):  # until it is empty, but no further: publishers may be filling it all the while
            while len(taken) < self._size:
                taken.append(self._events.popleft())
        return taken

    async def take(self) -> Event:
        await checkpoint()  # before the taking, so that a task that is cancelled here has taken nothing
        while True:
            ended = self._ended  # looked at first: what was put before the end is still to be had
            with suppress(IndexError):
                return self._events.popleft()
            if ended:
                raise StopAsyncIteration
            await self._news()

    async def _news(self) -> None:
        """Wait until there may be something to take."""
        waker = Waker()
        self._waiting.append(waker)
        try:
            if not self._events and not self._ended:  # looked at once more, now that publishers see the waker
                await waker.wait()
        finally:
            with suppress(ValueError):  # as a rule, who wakes it has taken it away
                self._waiting.remove(waker)

    def __repr__(self) -> str:
        return f"{self._topics!r}: {len(self._events)} buffered, {self.dropped} dropped"


def _matcher(topics: str) -> Callable[[str], bool]:
    """Return the test of whether a topic is one of `topics`."""
    stem, star, rest = check_text("topics", topics).partition("*")
    if not star:
        return lambda topic: topic == topics
    if rest or (stem and not stem.endswith(".")):
        wrong_value("topics", "a topic, or '*' for every topic, alone or as the last segment ('arb.swarm.*')", topics)
    return lambda topic: topic.startswith(stem)
