"""Every program in examples/ runs as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
PROGRAMS = sorted(path for path in EXAMPLES.glob("*.py") if not path.name.startswith("test_"))
TESTS = sorted(EXAMPLES.glob("test_*.py"))
PAGE = Path(__file__).parents[1] / "docs" / "examples.md"
# A program that hangs fails. These limits do not measure speed.
LIMIT = 120
LIMITS = {"arbfarm.py": 600}


def name(path: Path) -> str:
    """Return the file's name."""
    return path.name


def run(folder: Path, limit: float, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run Python in `folder` with warnings as errors, for at most `limit` seconds."""
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=limit,
    )


def test_there_are_examples() -> None:
    """There are programs and tests to run, so the tests below do not pass for lack of files."""
    assert PROGRAMS
    assert TESTS


@pytest.mark.parametrize("path", [*PROGRAMS, *TESTS], ids=name)
def test_page_lists_it(path: Path) -> None:
    """The page of examples shows the program, or links to it."""
    assert f"../examples/{path.name}\n" in PAGE.read_text("utf-8") or f"/examples/{path.name})" in PAGE.read_text(
        "utf-8"
    )


@pytest.mark.parametrize("program", PROGRAMS, ids=name)
def test_program(program: Path, tmp_path: Path) -> None:
    """A program succeeds, prints something, and logs no traceback."""
    result = run(tmp_path, LIMITS.get(program.name, LIMIT), program)
    assert result.returncode == 0, result.stderr
    assert result.stdout
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("file", TESTS, ids=name)
def test_file_of_tests(file: Path, tmp_path: Path) -> None:
    """The tests that show users how to write theirs pass, on their own."""
    plugins = ("-p", "no:cacheprovider", "-p", "no:langsmith_plugin")
    result = run(tmp_path, LIMIT, "-m", "pytest", "-q", *plugins, "--rootdir", tmp_path, file)
    assert result.returncode == 0, result.stdout + result.stderr
