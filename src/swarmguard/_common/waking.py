"""Waking a task from anywhere: from its own loop, from another loop, or from a thread without one."""

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
    """Wakes one task that waits in the event loop in which the waker was made. It works once.

    The waker keeps its loop's own handle, since an `anyio.Event` may be set from its own loop alone. In a forked child
    it wakes nobody: the loop runs in the parent alone, and its alarm would ring there.

    Attributes:
        loop: That handle: the same object for all wakers of one loop.
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
        """Let `wait` return; from any thread. A loop that has ended meanwhile has nobody left to wake."""
        if self._process is _process:
            with contextlib.suppress(RuntimeError):  # a closed asyncio loop; trio's RunFinishedError is one too
                self._soon(self._event.set)

    def wake_at_once(self) -> None:
        """Do what `wake` does, without its detour through the loop when a task of that very loop calls.

        Not for finalizers and signal handlers: they may come while the loop is at work on its own queues.
        """
        if _running_loop() is self.loop:
            self._event.set()
        else:
            self.wake()

    async def wait(self) -> None:
        """Wait until `wake` is called; at once when it has been."""
        await self._event.wait()


_process = object()
"""This process; a forked child is another."""


def _after_fork_in_child() -> None:
    global _process
    _process = object()


if hasattr(os, "register_at_fork"):  # pragma: no branch - only Windows has no fork
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _running_loop() -> object | None:
    try:
        return current_token().native_token
    except RuntimeError:  # anyio's NoEventLoopError, or whatever the backend says
        return None
