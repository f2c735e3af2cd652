"""A clock for what is rare between threads: others act after a call has read the time, and before it gets its turn."""

from __future__ import annotations

from collections.abc import Callable

from swarmguard.testing import FakeClock


class OvertakenClock(FakeClock):
    """Lets others act each time it is read, once the reading is taken.

    Attributes:
        others: What they do, the first reading's first; None where nobody comes between.
    """

    def __init__(self) -> None:
        super().__init__()
        self.others: list[Callable[[], object] | None] = []

    def monotonic(self) -> float:
        """Read the time, and let others act before the reader goes on."""
        now = super().monotonic()
        act = self.others.pop(0) if self.others else None
        if act is not None:
            act()
        return now
