"""The page of defaults says what the code does."""

from __future__ import annotations

import inspect
import pkgutil
import re
from pathlib import Path
from typing import Any

import attrs
import pytest

import swarmguard
import swarmguard.httpx2

PAGE = (Path(__file__).parents[1] / "docs" / "defaults.md").read_text(encoding="utf-8")
NAMES = {name: getattr(swarmguard, name) for name in swarmguard.__all__} | vars(swarmguard.httpx2)
UNDOCUMENTED = {"self", "task_status"}  # the second is for anyio's `TaskGroup.start` to pass
MAIN_CLASSES = (
    "CircuitBreaker",
    "CircuitBreakerConfig",
    "CircuitBreakerRegistry",
    "ConsecutiveFailures",
    "CountWindow",
    "FailureRate",
    "Overseer",
    "OverseerConfig",
    "TimeWindow",
)

# The words for a range, with values that are just outside it and values that are just inside.
RANGES: dict[str, tuple[list[float], list[float]]] = {
    "1 or more": ([0, -1], [1]),
    "0 or more": ([-1], [0]),
    "more than 0": ([0, -1], [1]),
    "more than 0 and at most 1": ([0, 1.01], [0.01, 1]),
    "from 0 to 1": ([-0.01, 1.01], [0, 1]),
}


class Row:
    """One setting of the page."""

    def __init__(self, line: str) -> None:
        setting, default, self.range, self.text = (cell.strip() for cell in line.strip("|").split("|"))
        self.name = setting.strip("`")
        self.default = None if default == "required" else default.strip("`")


TABLES = {
    title: [Row(line) for line in re.findall(r"^\| `.*\|$", text, re.MULTILINE)]
    for title, text in re.findall(r"^### `(.+?)`\n(.*?)(?=^##)", PAGE, re.MULTILINE | re.DOTALL)
}
ROWS = [(title, row) for title, rows in TABLES.items() for row in rows]


def owner(title: str) -> Any:
    """Return the class or function that a table is about."""
    return pkgutil.resolve_name(f"swarmguard.{title}")


def settings(title: str) -> dict[str, inspect.Parameter]:
    """Return the parameters of a class or function by name."""
    found = inspect.signature(owner(title)).parameters
    return {name: parameter for name, parameter in found.items() if name not in UNDOCUMENTED}


def test_page_has_the_main_classes() -> None:
    """The page has a table for each of the main classes."""
    assert TABLES.keys() >= set(MAIN_CLASSES)


@pytest.mark.parametrize("title", TABLES)
def test_table_is_complete(title: str) -> None:
    """A table has every setting, in the order of the code, and no other."""
    assert [row.name for row in TABLES[title]] == list(settings(title))


@pytest.mark.parametrize(("title", "row"), ROWS, ids=[f"{title}-{row.name}" for title, row in ROWS])
def test_default(title: str, row: Row) -> None:
    """The default on the page is the default in the code, and each row says what its setting does."""
    default = settings(title)[row.name].default
    if isinstance(default, type(attrs.NOTHING)):
        factory = attrs.fields_dict(owner(title))[row.name].default
        assert isinstance(factory, attrs.Factory)
        default = factory.factory()
    if row.default is None:
        assert default is inspect.Parameter.empty
    else:
        assert repr(eval(row.default, NAMES)) == repr(default)
    assert row.text.endswith(".")


@pytest.mark.parametrize(
    ("title", "row"),
    [(title, row) for title, row in ROWS if attrs.has(owner(title)) and re.search("more|from", row.range)],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_range(title: str, row: Row) -> None:
    """A configuration accepts the values that the page allows, and no others."""
    allowed = re.sub(r"^[a-z ]+, |, or None$", "", row.range)
    outside, inside = RANGES[allowed]
    for value in outside:
        with pytest.raises(ValueError, match=rf"\b{row.name}\b"):
            owner(title)(**{row.name: value})
    for value in inside:
        assert getattr(owner(title)(**{row.name: value}), row.name) == value
    if row.range.endswith("or None"):
        assert getattr(owner(title)(**{row.name: None}), row.name) is None
