"""The copies of the fast path: marked, complete, and equal to one another."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import swarmguard._breaker

MARK = re.compile(r"# fast path, copy (\d) of (\d): see core\.py")
FAST_PATH = [
    "period = core.closed_period",  # read once, before the call
    "period is None",  # the slow path
    "core.record_exception(period, exc)",
    "period.counts_successes",
    "core.record_success(period)",
]


def marked_functions():
    """Return the function, or for a method its class, around each mark, by the number of the copy."""
    found = {}
    for path in sorted(Path(swarmguard._breaker.__file__).parent.glob("*.py")):
        source = path.read_text()
        for number, line in enumerate(source.splitlines(), start=1):
            if match := MARK.search(line):
                around = [
                    node
                    for node in ast.walk(ast.parse(source))
                    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
                    and node.lineno <= number <= node.end_lineno
                ]
                classes = [node for node in around if isinstance(node, ast.ClassDef)]
                found[int(match[1])] = (classes or around)[-1]
                assert int(match[2]) == 5
    return found


def steps(function):
    """Return the expressions of a function that touch the period, in order, without the `self` of a method."""
    touching = []
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and "closed_period" in ast.unparse(node.value):
            touching.append((node.lineno, node.col_offset, f"period = {ast.unparse(node.value)}"))
        elif isinstance(node, ast.If):
            touching.append((node.test.lineno, node.test.col_offset, ast.unparse(node.test)))
        elif isinstance(node, ast.Expr):
            touching.append((node.lineno, node.col_offset, ast.unparse(node.value)))
    written = [text.replace("self.", "") for _, _, text in sorted(touching)]
    return [text for text in written if text in FAST_PATH or "closed_period" in text or "core.record" in text]


def test_each_copy_is_marked():
    """There are five copies, and each carries its number [B9]."""
    assert sorted(marked_functions()) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_the_copies_are_equal(number):
    """Each copy reads the period once, and records exceptions and successes by the same rule [B9]."""
    assert steps(marked_functions()[number]) == FAST_PATH
