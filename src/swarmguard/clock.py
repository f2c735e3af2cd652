"""Time, as everything in swarmguard reads it: through a clock that can be given to it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import anyio


@runtime_checkable
class Clock(Protocol):
    """A source of time. `SystemClock` is the real one, `swarmguard.testing.FakeClock` the one for tests."""

    def monotonic(self) -> float:
        """Return seconds since any epoch; never goes back, and is never compared across processes."""
        ...

    def now(self) -> datetime:
        """Return the aware UTC time, for people to read: nothing is ever decided by it."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds` of monotonic time; 0 or less only lets other tasks run."""
        ...


class SystemClock:
    """The machine's own clock; sleeps on asyncio and on trio."""

    __slots__ = ()

    if TYPE_CHECKING:

        def monotonic(self) -> float:
            """Return `time.monotonic()`."""
            ...

    else:
        monotonic = staticmethod(time.monotonic)  # the function itself: every call that is recorded asks for the time

    def now(self) -> datetime:
        """Return the machine's wall-clock time in UTC."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Sleep in the running event loop for `seconds`; 0 or less only lets other tasks run."""
        await anyio.sleep(max(seconds, 0))  # trio refuses less than 0, asyncio does not

    def __repr__(self) -> str:
        return "SystemClock()"
