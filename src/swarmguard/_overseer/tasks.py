"""Background tasks of a block, the meaning of a cancellation, and regular ticks.

A task group wraps an exception of its block in an `ExceptionGroup`. `BackgroundTasks` does not: a user whose code runs
in the block gets the same exception object as without the block.
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
    """Return whether the running task is being cancelled, by a scope around it or by `Task.cancel()` of asyncio.

    If it is not, the exception has another origin: on asyncio, awaiting a task that was cancelled raises it too.
    """
    if anyio.current_effective_deadline() == -math.inf:
        return True
    task = asyncio.current_task() if isinstance(cancellation, asyncio.CancelledError) else None
    return task is not None and task.cancelling() > 0


class BackgroundTasks:
    """An `async with` block with background tasks, which are cancelled when the block ends.

    An exception of the block leaves it unchanged. An exception of a task cancels the block and leaves it as it is, not
    in a group. If several tasks raise, the first exception does.
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
        """Run `await task(*args)` in the background."""
        # Each task has its own scope, and the end of the block cancels those, not the scope of the group: the group
        # could not tell its own cancellation from one that comes from outside.
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
            # Otherwise the error replaces the cancellation, as in any task group.
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
        except BaseException as exc:  # noqa: BLE001 - raised at the end of the block
            self._error = self._error or exc
            self._group.cancel_scope.cancel()
        finally:
            self._scopes.discard(scope)


class Ticker:
    """Ticks at an interval: each is due one interval after the one before it came.

    Args:
        clock: The source of time.
        interval: The seconds between two ticks.
    """

    __slots__ = ("_clock", "_due", "_interval")

    def __init__(self, clock: Clock, interval: float) -> None:
        self._clock = clock
        self._interval = interval
        self._due = clock.monotonic() + interval

    async def tick(self) -> float:
        """Wait for the next tick.

        Returns:
            The deadline of the tick: it is late after this moment, one interval after it was due. The caller does not
            compare the time now, but passes the deadline to the machine, which compares the moment at which it acts:
            the process may be suspended in between.
        """
        await self._clock.sleep(until(self._clock.monotonic(), self._due))
        deadline = self._due + self._interval
        self._due = self._clock.monotonic() + self._interval
        return deadline
