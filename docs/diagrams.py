"""Draw the state diagrams of concepts.md from the transition tables that the code runs by.

    python docs/diagrams.py            print them
    python docs/diagrams.py --write    put them into concepts.md

A table and its picture cannot drift apart: tests/test_diagrams.py fails when the page shows anything else.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from swarmguard import AgentHealth, CircuitState
from swarmguard._breaker.machine import TRANSITIONS as CIRCUIT_MOVES
from swarmguard._overseer.machine import TRANSITIONS as HEALTH_MOVES

PAGE = Path(__file__).with_name("concepts.md")

Move = tuple[str, str, str]
"""From, to, and what stands on the arrow."""


def circuit_moves() -> list[Move]:
    """Return the moves of a circuit; each arrow bears the event's `reason`."""
    return [(before, after, trigger) for (before, trigger), after in CIRCUIT_MOVES.items()]


def health_moves() -> list[Move]:
    """Return the moves of an agent's health.

    A move that no event tells of stands in parentheses; where it leads nowhere as well, it is left out.
    """
    return [
        (before, after, cause if news else f"({cause})")
        for cause, moves in HEALTH_MOVES.items()
        for before, followers in moves.items()
        for after, news in followers.items()
        if news or before is not after
    ]


def diagram(start: str, states: Iterable[str], moves: Iterable[Move]) -> str:
    """Return a mermaid state diagram: one arrow for each pair of states, with all that leads from one to the other."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for before, after, label in moves:
        arrows.setdefault((before, after), []).append(label)
    order = list(states)
    lines = ["stateDiagram-v2", f"    [*] --> {start}"]
    for before, after in sorted(arrows, key=lambda arrow: (order.index(arrow[0]), order.index(arrow[1]))):
        lines.append(f"    {before} --> {after}: {', '.join(arrows[before, after])}")
    return "\n".join(lines)


def diagrams() -> Mapping[str, str]:
    """Return every diagram under the name that its place in the page has."""
    return {
        "circuit": diagram(CircuitState.CLOSED, CircuitState, circuit_moves()),
        "health": diagram(AgentHealth.HEALTHY, AgentHealth, health_moves()),
    }


def with_diagrams(page: str) -> str:
    """Return the text of the page with each diagram in its place, between its two comments.

    Raises:
        ValueError: The page has not exactly one place for a diagram.
    """
    for name, text in diagrams().items():
        begin, end = f"<!-- diagram: {name} -->\n", "<!-- end of diagram -->\n"
        place = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        fenced = f"{begin}```mermaid\n{text}\n```\n{end}"
        page, places = place.subn(fenced.replace("\\", r"\\"), page)
        if places != 1:
            raise ValueError(f"{PAGE.name} must have one place for the diagram {name!r}, got {places}")
    return page


def main(arguments: list[str]) -> int:
    """Print the diagrams, or write them into the page; return the exit status."""
    if arguments not in ([], ["--write"]):
        sys.stderr.write(f"usage: {Path(__file__).name} [--write]\n")
        return 2
    if arguments:
        PAGE.write_text(with_diagrams(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        sys.stdout.write("\n\n".join(diagrams().values()) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
