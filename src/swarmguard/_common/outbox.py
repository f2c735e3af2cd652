"""The ordered delivery of one emitter's events to its sink.

A shell numbers and queues its events while it holds its monitor, so that the numbers follow the changes, and delivers
them after it has let go, so that a sink may call back. One thread delivers at a time; another that comes meanwhile
leaves its events to the first and goes on, so a sink that hangs holds up nobody else. The deliverer looks once more
after it has let go: an event that was queued in that instant is not left behind.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import timedelta

from swarmguard._common.call_logged import call_logged
from swarmguard.clock import Clock
from swarmguard.events import JSON, Event, Sink


class Outbox:
    """The events of one emitter, on their way to its sink.

    Args:
        source: The emitter's name, which every event carries.
        sink: Who gets the events.
        clock: Dates the events.
        topic_prefix: What stands before every topic.
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
        """Queue an event of the monotonic `moment`; the caller holds the monitor that guards the change."""
        sequence = self._sequence + 1
        self._queue.append((sequence, topic, payload, moment))
        self._sequence = sequence  # last: memory may run out before, and an event that is not there has no number

    def deliver(self) -> None:
        """Give what is queued to the sink, unless another thread is at it; the caller holds no lock."""
        while self._queue and (turn := self._delivering).acquire(blocking=False):
            try:
                while self._queue:
                    self._hand_over(*self._queue.pop(0))
            finally:
                turn.release()  # not `self._delivering`: the sink may have forked, and this be the child

    def renew_after_fork(self) -> None:
        """Let the child deliver, whoever was at it in the parent, and leave the parent's events to the parent."""
        self._delivering = threading.Lock()
        self._queue.clear()

    def _hand_over(self, sequence: int, topic: str, payload: Mapping[str, JSON], moment: float) -> None:
        full_topic = f"{self._prefix}.{topic}"
        since = timedelta(seconds=self._clock.monotonic() - moment)
        event = Event(
            topic=full_topic, source=self._source, at=self._clock.now() - since, sequence=sequence, payload=payload
        )
        call_logged(f"the sink, given {full_topic},", None, self._sink, event)
