"""The state diagrams of the documentation show the transitions that the code makes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

FILE = Path(__file__).parents[1] / "docs" / "diagrams.py"


@pytest.fixture(scope="module")
def diagrams():
    """Give the script that draws the diagrams; docs/ is no package."""
    spec = importlib.util.spec_from_file_location("docs_diagrams", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_page_shows_the_tables(diagrams):
    """The page shows the diagrams that the transition tables give now."""
    page = diagrams.PAGE.read_text(encoding="utf-8")
    assert page == diagrams.with_diagrams(page), (
        "docs/concepts.md shows other transitions than the code makes: run 'python docs/diagrams.py --write'"
    )


def test_every_move_is_drawn_once(diagrams):
    """A diagram has one arrow for each pair of states, in the states' order, bearing everything that leads along it."""
    moves = [("B", "A", "back"), ("A", "B", "on"), ("A", "B", "by force"), ("B", "B", "again")]
    assert diagrams.diagram("A", "AB", moves).splitlines() == [
        "stateDiagram-v2",
        "    [*] --> A",
        "    A --> B: on, by force",
        "    B --> A: back",
        "    B --> B: again",
    ]


def test_page_without_a_place_is_an_error(diagrams):
    """A page that has lost the comments around a diagram is not passed over in silence."""
    with pytest.raises(ValueError, match="one place for the diagram 'circuit', got 0"):
        diagrams.with_diagrams("no place")
