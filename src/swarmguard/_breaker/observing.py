"""Reporting calls to a breaker's observer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from swarmguard._breaker.values import CallRecord, Outcome
from swarmguard._common.call_logged import call_logged
from swarmguard._common.monitor import Monitor

Observer = Callable[[CallRecord], object]
"""Any callable that takes a `CallRecord`; its return value is ignored."""


class CallReporter:
    """Gives the record of each call to the observer, outside every lock.

    Args:
        name: The breaker's name.
        observer: Takes the records.
        monitor: The breaker's monitor. A thread that is inside it must not run user code.
        monotonic: Reads the breaker's clock.
    """

    __slots__ = ("_monitor", "_monotonic", "_name", "_observer", "_waiting")

    def __init__(self, name: str, observer: Observer, monitor: Monitor, monotonic: Callable[[], float]) -> None:
        self._name = name
        self._observer = observer
        self._monitor = monitor
        self._monotonic = monotonic
        self._waiting: list[tuple[Outcome, float]] = []  # calls that are not reported yet

    def report(self, outcome: Outcome, started: float) -> None:
        """Report a call, and those that could not be reported when they ended."""
        self._waiting.append((outcome, started))
        if self._monitor.is_inside():  # a finalizer or a signal handler: user code must not run under the lock
            return
        now = self._monotonic()
        with suppress(IndexError):  # until none is left: other threads may be reporting as well
            while True:
                outcome, started = self._waiting.pop(0)
                seconds = 0.0 if outcome == "refused" else now - started
                call_logged("the observer", None, self._observer, CallRecord(self._name, outcome, seconds))

    def report_later(self, outcome: Outcome, started: float) -> None:
        """Leave a call to be reported with the next one. Calls no user code and never waits."""
        self._waiting.append((outcome, started))
