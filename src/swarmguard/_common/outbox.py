"""Ordered delivery of one emitter's events to its sink.

The emitter numbers and queues an event while it holds its lock, so the numbers follow the order of the changes. It
delivers after it has released the lock, so a sink may call back. One thread delivers at a time. Another thread that has
queued events meanwhile leaves them to the first and goes on, so a sink that hangs blocks one thread only. The first
thread checks the queue again after it has given up its turn: an event queued in that instant is not left behind.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import datetime, timedelta

from swarmguard._common.call_logged import call_logged
from swarmguard.clock import Clock
from swarmguard.events import JSON, Event, Sink


class Outbox:
    """The queue of one emitter's events for its sink.

    Args:
        source: The emitter's name, the `source` of every event.
        sink: Receives the events.
        clock: Dates the events.
        topic_prefix: The first part of every topic, without the dot after it.
    """

    __slots__ = ("_clock", "_delivering", "_prefix", "_queue", "_sequence", "_sink", "_source")

    def __init__(self, source: str, sink: Sink, clock: Clock, topic_prefix: str) -> None:
        self._source = source
        self._sink = sink
        self._clock = clock
        self._prefix = topic_prefix
        self._sequence = 0
        self._queue: list[tuple[int, str, Mapping[str, JSON], float]] = []
        self._delivering = threading.Lock()

    def put(self, topic: str, payload: Mapping[str, JSON], moment: float) -> None:
        """Queue an event. The caller holds the lock of the emitter.

        Args:
            topic: The topic after the prefix.
            payload: The event's payload.
            moment: The clock's `monotonic` at the change, in seconds.
        """
        sequence = self._sequence + 1
        self._queue.append((sequence, topic, payload, moment))
        self._sequence = sequence  # last: if `append` runs out of memory, no number is used up

    def deliver(self) -> None:
        """Pass the queued events to the sink, unless another thread is doing so. The caller holds no lock."""
        while self._queue and (turn := self._delivering).acquire(blocking=False):
            try:
                while self._queue:
                    self._hand_over(*self._queue.pop(0))
            finally:
                turn.release()  # not `self._delivering`: in a child that the sink has forked, it is a new lock

    def renew_after_fork(self) -> None:
        """Make the outbox usable in a forked child.

        The delivery lock is replaced, since a thread of the parent may hold it. The queue is emptied, since the parent
        delivers these events.
        """
        self._delivering = threading.Lock()
        self._queue = []  # a new one: without the GIL, another thread may have been using the old one at the fork

    def _hand_over(self, sequence: int, topic: str, payload: Mapping[str, JSON], moment: float) -> None:
        """Date an event and call the sink. An error of the clock or the sink is logged, and the event is dropped."""
        topic = f"{self._prefix}.{topic}"
        at = call_logged(f"the clock, dating {topic},", None, self._date_of, moment)
        if at is not None:
            event = Event(topic=topic, source=self._source, at=at, sequence=sequence, payload=payload)
            call_logged(f"the sink, given {topic},", None, self._sink, event)

    def _date_of(self, moment: float) -> datetime:
        return self._clock.now() - timedelta(seconds=self._clock.monotonic() - moment)
