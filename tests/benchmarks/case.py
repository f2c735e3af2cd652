"""What is measured: a case is a piece of work, and its contestants are the ways of doing it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

FLOOR: Final = "floor"
"""The contestant that does the same work with nothing in between, or with an empty thing in between."""

BARE: Final = "bare call"
"""The contestant that has no wrapper at all, where the floor has an empty one."""

OURS: Final = "swarmguard"

Work = Callable[[int], object]
"""Does a case's work so many times; the loop is inside."""


@attrs.frozen(kw_only=True)
class Contestant:
    """Somebody's way of doing a case's work.

    Attributes:
        name: `FLOOR`, `BARE`, `OURS`, or the peer's name on PyPI.
        prepare: Makes all that is needed, anew, and returns the work. It imports what it measures, so that a peer
            that is not installed costs nobody else.
        flaw: Tries the peer out and returns what it does wrong in this case ("admits calls while open"), or None.
            None instead of a function: there is nothing that it could do wrong here.
    """

    name: str
    prepare: Callable[[], Work]
    flaw: Callable[[], str | None] | None = None


@attrs.frozen(kw_only=True)
class Case:
    """A piece of work that is timed.

    Attributes:
        name: What is done, as the table says it.
        group: The part of the table that it belongs to.
        contestants: Who does it; the floor first, where there is one, then swarmguard, then the peers.
        step: The work is timed in multiples of so many: there is something to share, or to set up for all of them.
        series: The line of the figure that it is a point of; None when it is not.
        size: Where on that line: the number of agents, threads, sinks; None when it is on no line.
    """

    name: str
    group: str
    contestants: tuple[Contestant, ...]
    step: int = 1
    series: str | None = None
    size: int | None = None
