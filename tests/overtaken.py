"""A clock that lets other threads act between a call's reading of the time and its turn at the lock."""

from __future__ import annotations

from collections.abc import Callable

from swarmguard.testing import FakeClock


class OvertakenClock(FakeClock):
    """A clock that makes a call after each reading, before it returns the time.

    Attributes:
        others: The calls, one for each reading in order; None makes no call.
    """

    def __init__(self) -> None:
        super().__init__()
        self.others: list[Callable[[], object] | None] = []

    def monotonic(self) -> float:
        """Read the time, make the next call, and return the time that was read."""
        now = super().monotonic()
        act = self.others.pop(0) if self.others else None
        if act is not None:
            act()
        return now
