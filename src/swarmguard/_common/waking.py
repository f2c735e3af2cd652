"""Waking a task from its own event loop, from another loop, or from a thread without one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Protocol, cast

import anyio
from anyio.lowlevel import current_token


class _AsyncioLoop(Protocol):
    def call_soon_threadsafe(self, callback: Callable[[], object]) -> object: ...


class _TrioToken(Protocol):
    def run_sync_soon(self, callback: Callable[[], object]) -> object: ...


class Waker:
    """Wakes a task once. Create it in the event loop of the task that waits.

    An `anyio.Event` may be set from its own loop only, so the waker keeps a handle of the loop and schedules the call
    there. In a forked child, `wake` does nothing: the loop runs in the parent, and the wake-up socket is shared.

    Attributes:
        loop: The handle of the event loop; the same object for all wakers of one loop.
    """

    __slots__ = ("_event", "_process", "_soon", "loop")

    def __init__(self) -> None:
        self._process = _process
        self.loop = current_token().native_token
        if hasattr(self.loop, "call_soon_threadsafe"):
            self._soon = cast(_AsyncioLoop, self.loop).call_soon_threadsafe
        else:
            self._soon = cast(_TrioToken, self.loop).run_sync_soon
        self._event = anyio.Event()

    def wake(self) -> None:
        """Make `wait` return. Safe from any thread; does nothing if the loop is closed."""
        if self._process is _process:
            with contextlib.suppress(RuntimeError):  # asyncio: the loop is closed; trio: RunFinishedError, a subclass
                self._soon(self._event.set)

    def wake_at_once(self) -> None:
        """Make `wait` return, at once if called in the waker's own loop.

        Not for finalizers and signal handlers, which may run while the loop changes its own queues.
        """
        if _running_loop() is self.loop:
            self._event.set()
        else:
            self.wake()

    async def wait(self) -> None:
        """Wait until `wake` is called, or return at once if it has been called already."""
        await self._event.wait()


_process = object()
"""Identifies this process; replaced in a forked child."""


def _after_fork_in_child() -> None:
    global _process
    _process = object()


if hasattr(os, "register_at_fork"):  # pragma: no branch - only Windows has no fork
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _running_loop() -> object | None:
    try:
        return current_token().native_token
    except RuntimeError:  # anyio's NoEventLoopError is one, as are the errors of the backends
        return None
