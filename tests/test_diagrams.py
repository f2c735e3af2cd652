"""The pictures of the documentation show what the code does."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from swarmguard import CircuitState

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PICTURES = sorted((DOCS / "pictures").glob("*.svg"))
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def diagrams():
    """Import the script that draws the pictures, as Python does when it is run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(DOCS)
        yield importlib.import_module("diagrams")


def name(path: Path) -> str:
    """Return the name of a picture."""
    return path.stem


def test_files_are_up_to_date(diagrams):
    """The files in docs/pictures are exactly the pictures that the script draws now."""
    assert {path: path.read_text(encoding="utf-8") for path in PICTURES} == diagrams.drawings(), (
        "docs/pictures differs from what the code does: run 'python docs/diagrams.py --write'"
    )


@pytest.mark.parametrize("path", PICTURES, ids=name)
def test_picture_is_self_contained_and_described(path):
    """A picture has a title, a description and both colour schemes, and loads nothing."""
    text = path.read_text(encoding="utf-8")
    root = ET.fromstring(text)
    assert root.attrib["aria-labelledby"] == "title desc"
    assert (root.find(f"{SVG}title").text, root.find(f"{SVG}desc").text) != ("", "")
    assert "prefers-color-scheme:dark" in text
    assert not re.search(r"href|url\((?!#)|@import|<script", text)


@pytest.mark.parametrize("path", PICTURES, ids=name)
def test_picture_is_used_with_an_alternative_text(path):
    """At least one page shows the picture, and every page that does describes it in its alternative text."""
    pages = [ROOT / "README.md", *DOCS.glob("*.md")]
    images = [
        image for page in pages for image in re.findall(r"!\[([^]]*)\]\(\S*" + path.name, page.read_text("utf-8"))
    ]
    assert images
    assert all(len(text) > 40 for text in images)


@pytest.mark.parametrize("picture", ["circuit", "health"])
def test_every_transition_is_drawn(diagrams, picture):
    """A state diagram has one arrow for each pair of states, and its labels name every cause."""
    found = getattr(diagrams, f"{picture}_arrows")()
    root = ET.fromstring(str(diagrams.PICTURES[picture]()))
    arrows = [path for path in root.iter(f"{SVG}path") if "marker-end" in path.attrib]
    assert len(arrows) == len(found) + 1  # and the arrow to the first state
    written = {word for text in root.iter(f"{SVG}text") for word in text.text.split(", ")}
    assert {label for labels in found.values() for label in labels} <= written


def test_moves_between_two_states_share_an_arrow(diagrams):
    """All moves from one state to another are the labels of one arrow."""
    moves = [("B", "A", "back"), ("A", "B", "on"), ("A", "B", "by hand"), ("B", "B", "again")]
    assert diagrams.arrows(moves) == {("B", "A"): ("back",), ("A", "B"): ("on", "by hand"), ("B", "B"): ("again",)}


def test_transition_without_a_route_is_an_error(diagrams):
    """A new transition cannot be left out of its diagram by mistake."""
    with pytest.raises(ValueError, match="see A -> C"):
        diagrams.draw_arrows(diagrams.Picture(1, 1, "", ""), {("A", "C"): ("on",)}, {})


def test_arrows_with_a_shared_label_must_have_the_same_one(diagrams):
    """Arrows that run together cannot hide that their labels have become different."""
    routes = dict.fromkeys([("A", "C"), ("B", "C")], diagrams.Route("M0 0H1", (0, 0)))
    with pytest.raises(ValueError, match="A -> C and B -> C share a label"):
        diagrams.draw_arrows(diagrams.Picture(1, 1, "", ""), {("A", "C"): ("on",), ("B", "C"): ("by hand",)}, routes)


def test_timeline_shows_a_whole_round(diagrams):
    """The recorded circuit opens once and recovers, and every outcome of a call can be seen."""
    calls, stays = diagrams.recording()
    closed, opened, half_open = CircuitState
    assert [stay.state for stay in stays] == [closed, opened, half_open, closed]
    assert {call.outcome for call in calls} == {"success", "failure", "refused"}
    assert [call.outcome for call in calls if call.probe] == ["success"] * 3


def test_script_writes_what_is_out_of_date(diagrams, tmp_path, capsys):
    """The script lists the pictures that differ and fails; with --write it brings them up to date."""
    assert diagrams.main([], tmp_path) == 1
    assert capsys.readouterr().out.splitlines() == [f"{each}.svg is out of date" for each in diagrams.PICTURES]
    assert diagrams.main(["--write"], tmp_path) == 0
    assert diagrams.main([], tmp_path) == 0
    assert capsys.readouterr().out == ""


def test_script_explains_its_usage(diagrams, capsys):
    """An unknown argument is an error."""
    assert diagrams.main(["--draw"]) == 2
    assert capsys.readouterr().err == "usage: diagrams.py [--write]\n"
