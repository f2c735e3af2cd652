"""The lock of a core: what may run under it, and what happens when it cannot be taken.

One `Monitor` guards one pure machine. Only the machine's own code runs under it, never a caller's function, a
predicate, a clock, a sink or an `await`. So it is held for microseconds, and no thread ever holds two monitors.

Four situations would break a plain lock:

- *A finalizer or a signal handler* runs between two bytecodes of the thread that holds the lock, and uses the same
  object. A plain lock would deadlock; a re-entrant lock would let it into a half-finished change. Here `run` puts the
  action off: the holder of the lock runs it before it releases the lock.
- *A permit that is garbage-collected* can be finalized on any thread and must not wait for a lock at all. It calls
  `defer`: the thread that holds or next takes the monitor does the work first. Every read takes the monitor, so the
  delay cannot be observed.
- *A finalizer at interpreter shutdown*: a daemon thread that was stopped may own the lock forever. The action is then
  queued and never runs.
- *A fork* copies locks that threads of the parent hold and that no thread of the child will release. Every monitor is
  taken before a fork, so that the machines of the child are complete, and the child gets new locks.

`RLock._is_owned`, which the standard library's `Condition` uses as well, says whether the current thread is inside. It
is never wrong, unlike a flag that is set next to the lock.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from enum import Enum
from typing import Final, Literal, Protocol, TypeVar, cast
from weakref import WeakValueDictionary

from swarmguard._common.call_logged import call_logged
from swarmguard._common.outbox import Outbox

T = TypeVar("T")


class NotRun(Enum):
    """Why an action has no result yet: the current thread is inside the monitor, or the lock will never be free."""

    PUT_OFF = "put off"
    """The action is queued. It runs before the lock is released."""
    SKIPPED = "skipped"
    """The action was not run and is not queued."""


PUT_OFF: Final = NotRun.PUT_OFF
SKIPPED: Final = NotRun.SKIPPED


class _Lock(Protocol):
    """A `threading.RLock`, with the method that its published type leaves out."""

    def acquire(self, *, blocking: bool = True) -> bool: ...
    def release(self) -> None: ...
    def __enter__(self) -> object: ...
    def __exit__(self, *exc_info: object) -> None: ...
    def _is_owned(self) -> bool: ...


Action = tuple[Callable[..., object], tuple[object, ...]]


class Monitor:
    """A lock that is safe to use from finalizers and signal handlers, and across forks.

    Args:
        outbox: The queue of the events that actions emit; delivered each time the lock has been released. None: there
            is no sink.
    """

    __slots__ = ("__weakref__", "_deferred", "_lock", "_outbox")

    def __init__(self, outbox: Outbox | None = None) -> None:
        self._outbox = outbox
        self._lock = cast(_Lock, threading.RLock())
        self._deferred: list[Action] = []
        with _registry_lock:
            _monitors[id(self)] = self

    def try_run(self, action: Callable[..., T], *args: object) -> T | Literal[NotRun.SKIPPED]:
        """Run `action(*args)` under the lock, then deliver the events that it queued.

        Returns:
            What the action returned; `SKIPPED` where this thread is inside already: the action was not run.
        """
        lock = self._lock
        if lock._is_owned() or (sys.is_finalizing() and self._is_abandoned()):
            return SKIPPED
        try:
            with lock:
                try:
                    if self._deferred:
                        self._run_deferred()
                    return action(*args)
                finally:
                    if self._deferred:
                        self._run_deferred()
        finally:
            if self._deferred:  # deferred while the lock was being released
                with self._lock:
                    self._run_deferred()
            if self._outbox is not None:
                self._outbox.deliver()

    def run(self, action: Callable[..., T], *args: object) -> T | Literal[NotRun.PUT_OFF]:
        """Do what `try_run` does, but put the action off where this thread is inside already.

        Returns:
            What the action returned; `PUT_OFF` where it is put off: it runs before the lock is released.
        """
        result = self.try_run(action, *args)
        return self.put_off(action, *args) if result is SKIPPED else result

    def put_off(self, action: Callable[..., object], *args: object) -> Literal[NotRun.PUT_OFF]:
        """Queue an action that `try_run` has skipped, as `defer` does, and return `PUT_OFF`."""
        self._deferred.append((action, args))
        return PUT_OFF

    def read(self, reading: Callable[..., T], *args: object) -> T:
        """Return `reading(*args)`, taken under the lock; where this thread is inside already, taken at once.

        A reading is never put off, so it must not change what an action needs.
        """
        result = self.try_run(reading, *args)
        return reading(*args) if result is SKIPPED else result

    def is_inside(self) -> bool:
        """Return whether the current thread is inside: a finalizer or signal handler, which must not run user code."""
        return self._lock._is_owned()

    def defer(self, action: Callable[..., object], *args: object) -> None:
        """Have `action(*args)` run under the lock by the thread that holds it now or takes it next. Never waits."""
        self._deferred.append((action, args))

    def hold_for_fork(self) -> None:
        """Take the lock, so that no change is half-finished when the process is copied."""
        self._lock.acquire()

    def release_after_fork(self) -> None:
        """Release the lock in the parent."""
        self._lock.release()

    def renew_after_fork(self) -> None:
        """Release the lock in the child, and replace it: threads of the parent may have been waiting for it."""
        self._lock.release()
        if not self._lock._is_owned():  # else this thread forked in the middle of an action, which it will finish
            self._lock = cast(_Lock, threading.RLock())
        if self._outbox is not None:
            self._outbox.renew_after_fork()

    def _is_abandoned(self) -> bool:
        """Return whether, at interpreter shutdown, a stopped thread owns the lock."""
        free = self._lock.acquire(blocking=False)
        if free:
            self._lock.release()
        return not free

    def _run_deferred(self) -> None:
        while self._deferred:
            action, args = self._deferred.pop(0)
            call_logged("a deferred action", None, action, *args)


_registry_lock = threading.RLock()
_monitors: WeakValueDictionary[int, Monitor] = WeakValueDictionary()
_held: list[Monitor] = []


def _before_fork() -> None:
    _registry_lock.acquire()
    # A list of references is made in one step; iteration would fail if another thread dropped a monitor meanwhile.
    _held.extend(monitor for reference in _monitors.valuerefs() if (monitor := reference()) is not None)
    for monitor in _held:
        monitor.hold_for_fork()


def _after_fork_in_parent() -> None:
    for monitor in _held:
        monitor.release_after_fork()
    _held.clear()
    _registry_lock.release()


def _after_fork_in_child() -> None:
    global _registry_lock
    for monitor in _held:
        monitor.renew_after_fork()
    _held.clear()
    _registry_lock = threading.RLock()


if hasattr(os, "register_at_fork"):  # pragma: no branch - only Windows has no fork
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
