"""Every program of examples/ is run as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
PROGRAMS = sorted(path for path in EXAMPLES.glob("*.py") if not path.name.startswith("test_"))
TESTS = sorted(EXAMPLES.glob("test_*.py"))
# A program that hangs fails; these limits say nothing about how fast one is.
LIMIT = 120
LIMITS = {"arbfarm.py": 600}


def name(path: Path) -> str:
    """Return the file's name."""
    return path.name


def run(folder: Path, limit: float, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run Python in `folder`, with warnings as errors, and wait `limit` seconds for it at most."""
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
    """There are programs and there are tests to run: the ones below do not pass for want of a file."""
    assert PROGRAMS
    assert TESTS


@pytest.mark.parametrize("program", PROGRAMS, ids=name)
def test_program(program: Path, tmp_path: Path) -> None:
    """The program ends well, says something, and complains of nothing."""
    result = run(tmp_path, LIMITS.get(program.name, LIMIT), program)
    assert result.returncode == 0, result.stderr
    assert result.stdout
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("file", TESTS, ids=name)
def test_file_of_tests(file: Path, tmp_path: Path) -> None:
    """The tests that show users how to write theirs pass, on their own."""
    result = run(tmp_path, LIMIT, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, file)
    assert result.returncode == 0, result.stdout + result.stderr
