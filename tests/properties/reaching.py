"""Which rules of the contract the machines' steps reach.

A model calls `reached` where a rule decides. The counts tell what a walk has tried: a walk that never fills the places
of a half-open circuit has not tested B3, however many steps it took.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

LIST = Path(__file__).with_name("reached.txt")
"""The clauses that every walk must reach, one a line."""

clauses: Counter[str] = Counter()
"""How often each clause was reached since the count was cleared."""


def reached(rule: str, clause: str, so: bool = True) -> None:
    """Count that a rule has decided something, if it has."""
    if so:
        clauses[f"{rule} {clause}"] += 1


def lost() -> list[str]:
    """Return the clauses of the list that were not reached."""
    return [clause for clause in LIST.read_text().splitlines() if not clauses[clause]]
