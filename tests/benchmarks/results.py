"""The results of a run, and the JSON file that stores them. The file is not part of the repository.

```json
{
  "about": {"date": "2025-01-31T12:00:00+00:00", "python": "3.13.1", "platform": "Linux-…", "rounds": 5,
            "versions": {"swarmguard": "0.1.0", "pybreaker": "1.4.1"}},
  "rows": [{"name": "…", "group": "…", "unit": "ns", "series": null, "size": null,
            "contestants": {"swarmguard": {"figures": [101.5, 99.0], "flaw": null,
                                           "median": 100.2, "min": 99.0, "max": 101.5,
                                           "to_floor": 1.4, "to_swarmguard": 1.0}}}]
}
```

A row is a case, or something else that is compared in the same way: bytes of memory, or the time of an import.
`figures` are for doing the case's work once; figures with the same index were measured right after each other. `flaw`
describes what a contestant does wrong in this case. The other values of a contestant are computed from these, for
readers of the file; `load` ignores them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any, Literal

import attrs

from tests.benchmarks.case import BARE, FLOOR, OURS


@attrs.frozen
class Measured:
    """One contestant's figures in a row.

    Attributes:
        figures: The measured values, in order of time.
        flaw: What the contestant does wrong, or None.
    """

    figures: tuple[float, ...]
    flaw: str | None = None

    @property
    def median(self) -> float:
        """The median of the figures."""
        return median(self.figures)

    def over(self, other: Measured) -> float:
        """Return this as a multiple of the other: the median of the ratios of each pair of figures."""
        return median(mine / its for mine, its in zip(self.figures, other.figures, strict=True))


@attrs.frozen(kw_only=True)
class Row:
    """The figures of a case's contestants; the attributes are those of the case."""

    name: str
    group: str
    contestants: Mapping[str, Measured]
    unit: Literal["ns", "bytes"] = "ns"
    series: str | None = None
    size: int | None = None

    def ratio(self, contestant: str, to: str) -> float:
        """Return the cost of one contestant as a multiple of another's.

        Raises:
            KeyError: One of them was not measured.
        """
        return self.contestants[contestant].over(self.contestants[to])

    @property
    def peers(self) -> list[str]:
        """The contestants that are other libraries."""
        return [name for name in self.contestants if name not in (FLOOR, BARE, OURS)]


@attrs.frozen
class Results:
    """The results of a run; `about` has the date, the platform and the versions."""

    about: Mapping[str, Any]
    rows: list[Row]

    def __getitem__(self, name: str) -> Row:
        """Return the row of that name.

        Raises:
            KeyError: It was not measured.
        """
        return {row.name: row for row in self.rows}[name]


def save(results: Results, path: Path) -> None:
    """Write the results, and the values computed from them, as JSON."""
    rows = [
        attrs.asdict(row, filter=lambda field, _: field.name != "contestants")
        | {"contestants": {name: _described(row, name) for name in row.contestants}}
        for row in results.rows
    ]
    path.write_text(json.dumps({"about": results.about, "rows": rows}, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _described(row: Row, name: str) -> dict[str, Any]:
    measured = row.contestants[name]
    return {
        "figures": measured.figures,
        "flaw": measured.flaw,
        "median": measured.median,
        "min": min(measured.figures),
        "max": max(measured.figures),
        "to_floor": row.ratio(name, FLOOR) if FLOOR in row.contestants else None,
        "to_swarmguard": row.ratio(name, OURS),
    }


def load(path: Path) -> Results:
    """Read the file that `save` wrote."""
    content = json.loads(path.read_text("utf-8"))
    return Results(content["about"], [_row(**row) for row in content["rows"]])


def _row(contestants: dict[str, dict[str, Any]], **rest: Any) -> Row:
    measured = {name: Measured(tuple(its["figures"]), its["flaw"]) for name, its in contestants.items()}
    return Row(contestants=measured, **rest)
