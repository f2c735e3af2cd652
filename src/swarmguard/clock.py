"""The clock that all of swarmguard reads the time from."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import anyio


@runtime_checkable
class Clock(Protocol):
    """A source of time: `SystemClock`, or `swarmguard.testing.FakeClock` in tests.

    Any object with these three methods is a `Clock`.
    """

    def monotonic(self) -> float:
        """Return the seconds since some fixed moment.

        The value never decreases. Values of two processes are not comparable.
        """
        ...

    def now(self) -> datetime:
        """Return the date and time as an aware `datetime` in UTC.

        It is for people to read, as the `at` of events; no decision depends on it.
        """
        ...

    async def sleep(self, seconds: float) -> None:
        """Sleep for `seconds` of monotonic time.

        Args:
            seconds: The length in seconds; 0 or less only lets other tasks run.
        """
        ...


class SystemClock:
    """The system's clock. It sleeps on asyncio and on trio."""

    __slots__ = ()

    if TYPE_CHECKING:

        def monotonic(self) -> float:
            """Return `time.monotonic()`."""
            ...

    else:
        monotonic = staticmethod(time.monotonic)  # without a frame of our own: it is called for every recorded call

    def now(self) -> datetime:
        """Return the system's date and time as an aware `datetime` in UTC."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Sleep in the running event loop.

        Args:
            seconds: The length in seconds; 0 or less only lets other tasks run.
        """
        await anyio.sleep(max(seconds, 0))  # trio rejects negative numbers, asyncio accepts them

    def __repr__(self) -> str:
        return "SystemClock()"
