"""The cases of the benchmark: a piece of work, and the contestants that do it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

FLOOR: Final = "floor"
"""The contestant that does the same work without a breaker, or with an empty wrapper in its place."""

BARE: Final = "bare call"
"""The contestant without any wrapper, where the floor has an empty one."""

OURS: Final = "swarmguard"

Work = Callable[[int], object]
"""A function that does a case's work `n` times; the loop is inside."""


@attrs.frozen(kw_only=True)
class Contestant:
    """One way of doing a case's work.

    Attributes:
        name: `FLOOR`, `BARE`, `OURS`, or the peer's name on PyPI.
        prepare: Sets up everything, and returns the work. It imports what it measures, so that a peer that is not
            installed does not affect the other contestants.
        flaw: Tests the peer and returns what it does wrong in this case ("admits calls while open"), or None.
            None instead of a function: there is nothing to test.
    """

    name: str
    prepare: Callable[[], Work]
    flaw: Callable[[], str | None] | None = None


@attrs.frozen(kw_only=True)
class Case:
    """A piece of work that is timed.

    Attributes:
        name: The name of the row in the report.
        group: The table of the report.
        contestants: The floor first, where there is one, then swarmguard, then the peers.
        step: The work is timed in multiples of this number, to divide it among threads or to spread the set-up.
        series: The line of the figure that the case is a point of; None for no line.
        size: The position on that line: the number of agents, threads or sinks; None for no line.
    """

    name: str
    group: str
    contestants: tuple[Contestant, ...]
    step: int = 1
    series: str | None = None
    size: int | None = None
