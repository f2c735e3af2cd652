"""The documentation works: its snippets run, and the links of README.md lead somewhere, also on PyPI."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
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

# Libraries that the pages use call the deprecated `asyncio.iscoroutinefunction`, which warns on Python 3.14 and newer.
WARNINGS = ["-W", "error"]
for module in ("circuitbreaker", "langsmith._internal._beta_decorator"):
    WARNINGS += ["-W", f"ignore:'asyncio.iscoroutinefunction' is deprecated:DeprecationWarning:{module}"]

# LangGraph needs zstandard, which has no wheel for Python 3.15 yet: the `test` group leaves it out there.
WITHOUT_LANGGRAPH = sys.version_info >= (3, 15)

# No parser of skips: what is not run has no place in a `python` fence.
pages = Sybil([myst.PythonCodeBlockParser()])
docstrings = Sybil([rest.DocTestParser()])


def name(path: Path) -> str:
    """Return the path within the repository."""
    return path.relative_to(ROOT).as_posix()


def evaluate(page: Path) -> None:
    """Run all snippets of a page in this interpreter, in order and in one namespace."""
    document = pages.parse(page)
    document.namespace["__name__"] = "__main__"
    for example in document.examples():
        example.evaluate()


def shows_tests(document: Document) -> bool:
    """Return whether the snippets of a page are tests."""
    return any(re.search(r"^(async )?def test_", str(example.parsed), re.MULTILINE) for example in document.examples())


def as_one_file(document: Document) -> str:
    """Return the snippets of a page as one file, each at the line that it has in the page."""
    text = ""
    for example in document.examples():
        text += "\n" * (example.line + example.parsed.line_offset - text.count("\n")) + example.parsed
    return text


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_snippets_of_a_page(page: Path, tmp_path: Path) -> None:
    """The Python snippets of a page run, in an interpreter of their own; where they are tests, pytest runs them."""
    if WITHOUT_LANGGRAPH and page.name == "agents.md":
        pytest.skip("LangGraph cannot be installed on this Python yet")
    document = pages.parse(page)
    if shows_tests(document):
        file = tmp_path / f"test_{page.stem}.py"
        file.write_text(as_one_file(document), encoding="utf-8")
        plugins = ["-p", "no:cacheprovider", "-p", "no:langsmith_plugin"]
        arguments = ["-m", "pytest", "-q", *WARNINGS, *plugins, "--rootdir", tmp_path, file]
    else:
        arguments = ["-P", *WARNINGS, __file__, page]
    command = [sys.executable, *arguments]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_no_snippet_escapes(page: Path) -> None:
    """Python code is fenced as `python`: under another name it would not be run."""
    fences = re.findall(r"^ *(?:```+|~~~+)\{?([\w-]+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert not {"py", "python3", "pycon", "code-block", "code"} & set(fences)


def test_first_example_of_the_readme(tmp_path: Path) -> None:
    """The first example of README.md works when it is pasted into a file, and prints what the page shows."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    code, output, *_ = re.findall(r"^```(?:python|text)\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    file = tmp_path / "first.py"
    file.write_text(code, encoding="utf-8")
    result = subprocess.run([sys.executable, file], capture_output=True, text=True, check=True, timeout=300)
    seconds = re.compile(r"\d+\.\d+ s")
    assert seconds.sub("", result.stdout) == seconds.sub("", output)


def test_links_of_the_readme() -> None:
    """The relative links and pictures of README.md exist in the repository."""
    links = re.findall(r"\]\((?!https:)([^)#]+)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_links_of_the_readme_on_pypi() -> None:
    """The build makes every link and picture of README.md absolute, and changes no absolute one."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        hook = tomllib.load(file)["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    readme = text = (ROOT / "README.md").read_text(encoding="utf-8")
    for substitution in hook["substitutions"]:
        text = re.sub(substitution["pattern"], substitution["replacement"], text)
    links = re.findall(r"\]\(([^)]+)", text)
    assert [link for link in links if not link.startswith("https://")] == []
    assert "https://raw.githubusercontent.com/swarmguard/swarmguard/main/docs/pictures/timeline.svg" in links
    assert set(re.findall(r"\]\((https:[^)]+)", readme)) <= set(links)


def test_examples_of_docstrings() -> None:
    """The examples in docstrings produce the output that they show."""
    for module in MODULES:
        for example in docstrings.parse(module).examples():
            example.evaluate()


if __name__ == "__main__":
    evaluate(Path(sys.argv[1]))
