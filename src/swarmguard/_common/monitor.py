"""The lock of a shell: what may run under it, and what happens when it cannot be had.

A pure machine is guarded by one `Monitor`. Only the machine's own code runs under it, never a caller's function, a
predicate, a clock, a sink or an `await`, so it is held for microseconds and two of them are never held at once.

A thread knows by the lock itself whether it is inside (`RLock._is_owned`, which the standard library's own conditions
ask as well): there is no instant at which it would be wrong.

Four things can still reach a machine at a bad moment, and a plain lock survives none of them:

- *A finalizer or a signal handler* runs between two bytecodes of the thread that holds the lock and uses the same
  object. A plain lock would wait for itself, and a re-entrant one would let it into a half-made change. Here `run`
  puts its action off: the holder does it before it lets go.
- *A dropped permit* is ended by the garbage collector, on any thread. It must not wait for a lock at all, so it only
  defers: whoever takes the monitor next does the work first. Nobody can see the difference, since every look at the
  machine takes the monitor.
- *A finalizer at the end of the interpreter* may want a lock that a daemon thread held as it was stopped for ever. It
  is treated like the first: nothing is done, since nobody is left to see it.
- *A fork* copies locks that other threads hold, and nobody is left to release them. Every monitor is taken before a
  fork, so that the child's machines are whole, and the child's locks are made new.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Protocol, TypeVar, cast
from weakref import WeakValueDictionary

from swarmguard._common.call_logged import call_logged
from swarmguard._common.outbox import Outbox

T = TypeVar("T")


class _Lock(Protocol):
    """A `threading.RLock`, with the method that its published type leaves out."""

    def acquire(self, *, blocking: bool = True) -> bool: ...
    def release(self) -> None: ...
    def __enter__(self) -> object: ...
    def __exit__(self, *exc_info: object) -> None: ...
    def _is_owned(self) -> bool: ...


Action = tuple[Callable[..., object], tuple[object, ...]]


class Monitor:
    """A lock that finalizers, signal handlers and forks can live with.

    Args:
        outbox: Where the actions queue their events: delivered each time the lock has been released. None when nobody
            listens.
    """

    __slots__ = ("__weakref__", "_deferred", "_lock", "_outbox")

    def __init__(self, outbox: Outbox | None = None) -> None:
        self._outbox = outbox
        self._lock = cast(_Lock, threading.RLock())
        self._deferred: list[Action] = []
        with _registering:
            _monitors[id(self)] = self

    def run(self, action: Callable[..., T], *args: object, put_off: bool = True) -> T | None:
        """Do `action(*args)` under the lock, deliver what it queued, and return what it returned.

        When this thread is inside already, the action is done later, before the lock is released, and None is
        returned; with `put_off=False` it is not done at all.
        """
        lock = self._lock
        if lock._is_owned() or (sys.is_finalizing() and self._is_held_for_good()):
            if put_off:
                self._deferred.append((action, args))
            return None
        try:
            with lock:
                try:
                    if self._deferred:
                        self._catch_up()
                    return action(*args)
                finally:
                    if self._deferred:
                        self._catch_up()
        finally:
            if self._deferred:  # something came while the lock was being let go
                with self._lock:
                    self._catch_up()
            if self._outbox is not None:
                self._outbox.deliver()

    def look(self, reading: Callable[..., T], *args: object) -> T:
        """Return `reading(*args)`, taken under the lock; never put off, so it changes nothing that an action needs."""
        if self._lock._is_owned() or (sys.is_finalizing() and self._is_held_for_good()):
            return reading(*args)
        return cast(T, self.run(reading, *args))  # nothing can have entered this thread since: it is not put off

    def is_inside(self) -> bool:
        """Tell whether this very thread is inside: a finalizer or a signal handler, which must call no user's code."""
        return self._lock._is_owned()

    def defer(self, action: Callable[..., object], *args: object) -> None:
        """Have `action(*args)` done under the lock by whoever holds it now or takes it next. Never waits."""
        self._deferred.append((action, args))

    def hold_for_fork(self) -> None:
        """Take the lock, so that nothing is half-done when the process is copied."""
        self._lock.acquire()

    def release_after_fork(self) -> None:
        """Let the parent go on."""
        self._lock.release()

    def renew_after_fork(self) -> None:
        """Let the child go on, with a lock that no thread of the parent waits for."""
        self._lock.release()
        if not self._lock._is_owned():  # otherwise this thread forked in the middle of an action, and is to finish it
            self._lock = cast(_Lock, threading.RLock())
        if self._outbox is not None:
            self._outbox.renew_after_fork()

    def _is_held_for_good(self) -> bool:
        """Tell, while the interpreter ends, whether a thread that was stopped holds the lock."""
        free = self._lock.acquire(blocking=False)
        if free:
            self._lock.release()
        return not free

    def _catch_up(self) -> None:
        while self._deferred:
            action, args = self._deferred.pop(0)
            call_logged("a deferred action", None, action, *args)


_registering = threading.RLock()
_monitors: WeakValueDictionary[int, Monitor] = WeakValueDictionary()
_held: list[Monitor] = []


def _before_fork() -> None:
    _registering.acquire()
    # A list of references is made in one step; iterating would fail if another thread dropped a monitor meanwhile.
    _held.extend(monitor for known in _monitors.valuerefs() if (monitor := known()) is not None)
    for monitor in _held:
        monitor.hold_for_fork()


def _after_fork_in_parent() -> None:
    for monitor in _held:
        monitor.release_after_fork()
    _held.clear()
    _registering.release()


def _after_fork_in_child() -> None:
    global _registering
    for monitor in _held:
        monitor.renew_after_fork()
    _held.clear()
    _registering = threading.RLock()


if hasattr(os, "register_at_fork"):  # pragma: no branch - only Windows has no fork
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
