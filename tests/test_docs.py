"""Everything that the documentation shows is run: the snippets of README.md, docs/ and the docstrings."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sybil import Sybil
from sybil.parsers import myst, rest

if TYPE_CHECKING:
    from sybil.document import Document

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
MODULES = sorted((ROOT / "src").glob("**/*.py"))

# No parser of skips: what is not run has no place in a `python` fence.
pages = Sybil([myst.PythonCodeBlockParser()])
docstrings = Sybil([rest.DocTestParser()])


def name(path: Path) -> str:
    """Return the path as it is written in the repository."""
    return path.relative_to(ROOT).as_posix()


def evaluate(page: Path) -> None:
    """Run the snippets of a page in this interpreter, from the first to the last, in one namespace."""
    document = pages.parse(page)
    document.namespace["__name__"] = "__main__"
    for example in document.examples():
        example.evaluate()


def shows_tests(document: Document) -> bool:
    """Tell whether a page's snippets are tests."""
    return any(re.search(r"^(async )?def test_", str(example.parsed), re.MULTILINE) for example in document.examples())


def as_one_file(document: Document) -> str:
    """Return the snippets of a page as the one file that a reader would make of them, each in its own lines."""
    text = ""
    for example in document.examples():
        text += "\n" * (example.line + example.parsed.line_offset - text.count("\n")) + example.parsed
    return text


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_snippets_of_a_page(page: Path, tmp_path: Path) -> None:
    """The Python snippets of a page run, in an interpreter of their own; where they are tests, pytest runs them."""
    document = pages.parse(page)
    if shows_tests(document):
        file = tmp_path / f"test_{page.stem}.py"
        file.write_text(as_one_file(document), encoding="utf-8")
        arguments = ["-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "--rootdir", tmp_path, file]
    else:
        arguments = ["-P", "-W", "error", __file__, page]
    command = [sys.executable, *arguments]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_no_snippet_escapes(page: Path) -> None:
    """Python is fenced as `python`, under no other name: what is not would not be run."""
    fences = re.findall(r"^ *(?:```+|~~~+)\{?([\w-]+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert not {"py", "python3", "pycon", "code-block", "code"} & set(fences)


def test_examples_of_docstrings() -> None:
    """The examples of docstrings show what they say."""
    for module in MODULES:
        for example in docstrings.parse(module).examples():
            example.evaluate()


if __name__ == "__main__":
    evaluate(Path(sys.argv[1]))
