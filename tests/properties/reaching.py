"""Count which rules decide something in a walk.

A model calls `reached` where a rule decides. The counts show what a walk has tested: one that never fills the slots of
a half-open circuit has not tested B3, however many steps it took.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

LIST = Path(__file__).with_name("reached.txt")
"""The clauses that every walk must reach, one a line."""

clauses: Counter[str] = Counter()
"""The number of times that each clause was reached."""


def reached(rule: str, clause: str, applies: bool = True) -> None:
    """Count that a clause of a rule has decided something, if it applies."""
    if applies:
        clauses[f"{rule} {clause}"] += 1


def lost() -> list[str]:
    """Return the clauses of the list that were not reached."""
    return [clause for clause in LIST.read_text().splitlines() if not clauses[clause]]
