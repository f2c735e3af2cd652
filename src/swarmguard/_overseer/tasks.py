"""Tasks that run beside a block and end with it, and what a cancellation means.

A plain task group wraps whatever goes wrong in its block in an `ExceptionGroup`. Users whose code runs in such a block
should see their own exception, the same object, as if nothing ran beside it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, TypeVarTuple

import anyio

from swarmguard._common.deadlines import until
from swarmguard.clock import Clock

Ts = TypeVarTuple("Ts")


def is_being_cancelled(cancellation: BaseException) -> bool:
    """Tell whether the running task is being cancelled, by a scope around it or by asyncio itself.

    Where it is not, the exception is a stray one: on asyncio, awaiting a task that somebody cancelled raises it.
    """
    if anyio.current_effective_deadline() == -math.inf:
        return True
    task = asyncio.current_task() if isinstance(cancellation, asyncio.CancelledError) else None
    return task is not None and task.cancelling() > 0


class BackgroundTasks:
    """An `async with` block with tasks beside it, which are cancelled when the block ends.

    The block's own exception leaves it unchanged. An exception of one of the tasks cancels the block and leaves it
    bare; of several, the first.
    """

    __slots__ = ("_cancelled", "_error", "_group", "_scopes")

    def __init__(self) -> None:
        self._cancelled = anyio.get_cancelled_exc_class()
        self._group = anyio.create_task_group()
        self._scopes: set[anyio.CancelScope] = set()
        self._error: BaseException | None = None

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    def start(self, task: Callable[[*Ts], Awaitable[object]], *args: *Ts) -> None:
        """Run `await task(*args)` beside the block."""
        # Each task has a scope of its own, and the group's is left alone: a scope that has been cancelled would have
        # to tell its own cancellation from one that comes from outside and passes through it.
        scope = anyio.CancelScope()
        self._scopes.add(scope)
        self._group.start_soon(self._run, scope, task, args)

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        for scope in tuple(self._scopes):
            scope.cancel()
        cancelled = isinstance(exc, self._cancelled)
        swallowed = False
        try:
            if cancelled:
                swallowed = await self._group.__aexit__(exc_type, exc, traceback)
            else:
                await self._group.__aexit__(None, None, None)
        except self._cancelled:
            if self._error is None and (exc is None or cancelled):
                raise
            # Otherwise the error goes first, as it does in any task group.
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        return swallowed

    async def _run(self, scope: anyio.CancelScope, task: Callable[[*Ts], Awaitable[object]], args: tuple[*Ts]) -> None:
        try:
            with scope:
                await task(*args)
        except (self._cancelled, GeneratorExit):
            raise
        except BaseException as exc:  # noqa: BLE001 - it is raised where the block ends
            self._error = self._error or exc
            self._group.cancel_scope.cancel()
        finally:
            self._scopes.discard(scope)


class Ticker:
    """Regular ticks, each due one interval after the one before it."""

    __slots__ = ("_clock", "_due", "_interval")

    def __init__(self, clock: Clock, interval: float) -> None:
        self._clock = clock
        self._interval = interval
        self._due = clock.monotonic() + interval

    async def tick(self) -> float:
        """Wait for the next tick, and return the last moment at which it would have come in time.

        That is one interval after it was due. Whether it came in time is for the machine to say, by the time at which
        it acts: the process may stop between any two lines.
        """
        await self._clock.sleep(until(self._clock.monotonic(), self._due))
        in_time = self._due + self._interval
        self._due = self._clock.monotonic() + self._interval
        return in_time
