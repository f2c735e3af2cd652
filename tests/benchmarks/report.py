"""The results as Markdown tables, aligned so that they can be read in a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from tests.benchmarks.case import FLOOR, OURS
from tests.benchmarks.results import Results, Row
from tests.benchmarks.targets import TARGETS

PUBLISHED = Path(__file__).parents[2] / "docs" / "performance"
"""The report, the targets and the figures that the documentation shows."""

NOTHING = "–"


class Notes:
    """The notes below the tables, each with its mark; the same note has the same mark."""

    def __init__(self) -> None:
        self._marks: dict[str, str] = {}

    def mark(self, text: str) -> str:
        """Return the mark of a note."""
        return self._marks.setdefault(text, f"†{len(self._marks) + 1}")

    def __iter__(self) -> Iterator[str]:
        """Iterate over the notes, each behind its mark."""
        return (f"{mark} {text}" for text, mark in self._marks.items())


def render(results: Results) -> str:
    """Return the report that users read."""
    about, notes = results.about, Notes()
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    tables = [
        f"## {group}\n\n{_group(list(rows), notes)}" for group, rows in groupby(results.rows, lambda row: row.group)
    ]
    parts = [
        f"Python {about['python']}, {about['platform']}, {about['date']}, rounds: {about['rounds']}.",
        f"Versions: {versions}.",
        "A row shows the cost of one operation. The columns of the peers show it as a multiple of swarmguard's.",
        *tables,
        *notes,
    ]
    return "\n\n".join(parts) + "\n"


def render_targets(results: Results) -> str:
    """Return the table of the targets, for maintainers."""
    about = results.about
    return f"Python {about['python']}, {about['date']}.\n\n{_targets(results)}\n"


def _group(rows: Sequence[Row], notes: Notes) -> str:
    """Return the table of one group; a peer that is in none of its rows has no column."""
    others = list(dict.fromkeys(name for row in rows for name in row.contestants if name not in (FLOOR, OURS)))
    heads = ["", FLOOR, OURS, "to floor", *others]
    return _table(heads, ([row.name, *_ours(row), *(_other(row, name, notes) for name in others)] for row in rows))


def _ours(row: Row) -> list[str]:
    ours = amount(row.contestants[OURS].median, row.unit)
    if FLOOR not in row.contestants:
        return [NOTHING, ours, NOTHING]
    return [amount(row.contestants[FLOOR].median, row.unit), ours, times(row.ratio(OURS, FLOOR))]


def _other(row: Row, name: str, notes: Notes) -> str:
    if name not in row.contestants:
        return NOTHING
    flaw = row.contestants[name].flaw
    return times(row.ratio(name, OURS)) + ("" if flaw is None else f" {notes.mark(f'{name}: {flaw}')}")


def _targets(results: Results) -> str:
    """Return the table of the targets; one whose row or peer is missing was not measured."""
    lines = []
    for target in TARGETS:
        if target.subject not in (row.name for row in results.rows):
            continue
        bound = f"{'≤' if target.at_most else '≥'} {target.bound:g} {target.scale}"
        try:
            number, remark = target.read(results)
        except LookupError:
            lines.append([target.subject, bound, NOTHING, "not measured"])
        else:
            answer = "reached" if target.is_reached_by(number) else "**not reached**"
            lines.append([target.subject, bound, three_digits(number) + (f" ({remark})" if remark else ""), answer])
    return _table(["", "target", "measured", ""], lines)


def _table(heads: list[str], lines: Iterable[list[str]]) -> str:
    """Lay out a table; all columns but the first are right-aligned."""
    lines = [heads, *lines]
    first, *others = (max(map(len, column)) for column in zip(*lines, strict=True))
    rule = [":" + "-" * (first - 1), *("-" * (width - 1) + ":" for width in others)]
    return "\n".join(
        "| " + " | ".join([cell.ljust(first), *map(str.rjust, cells, others)]) + " |"
        for cell, *cells in [heads, rule, *lines[1:]]
    )


def three_digits(number: float) -> str:
    """Format a number below a thousand with three digits, or more where it has more before the point."""
    return f"{number:.{2 if number < 9.995 else 1 if number < 99.95 else 0}f}"


def times(ratio: float) -> str:
    """Format a ratio."""
    return f"{three_digits(ratio)} ×"


def amount(number: float, unit: str) -> str:
    """Format nanoseconds or bytes."""
    if unit == "bytes":
        return f"{number:.0f} B"
    for size, name in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
        if number >= 0.9995 * size:
            return f"{three_digits(number / size)} {name}"
    return f"{three_digits(number)} ns"
