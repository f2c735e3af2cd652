"""Mutation testing: change the package in one place at a time, and check that a test fails.

`python -m tests.mutation` runs mutmut and compares the mutants that survived with `equivalent.txt`, where each has a
line that says why no test can fail. A survivor that is not in the list fails the run, and so does a line without a
survivor. A run takes about an hour; `mutants/` keeps the results, so the next run repeats only what was changed.

It needs Python 3.12 or newer, for the schedules and because of a bug of Python 3.11 that breaks mutmut.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

LIST = Path(__file__).with_name("equivalent.txt")


def mutmut(*arguments: str) -> str:
    """Return the output of a mutmut command."""
    return subprocess.run(
        [sys.executable, "-m", "mutmut", *arguments], capture_output=True, text=True, check=True
    ).stdout


def describe(mutant: str) -> str:
    """Return a mutant's function and its change, as in the list; the numbers of mutants change with the code."""
    diff = [line for line in mutmut("show", mutant).splitlines() if not line.startswith(("---", "+++"))]
    before, after = (
        " ".join(line[1:].split("  #")[0].strip() for line in diff if line.startswith(sign)) for sign in "-+"
    )
    return f"{plain(mutant)}: {before} -> {after}"


def plain(mutant: str) -> str:
    """Return the dotted name of a mutant's function."""
    module, _, mangled = mutant.rpartition(".")
    function = mangled.partition("__mutmut_")[0].removeprefix("xǁ").removeprefix("x_").replace("ǁ", ".")
    return f"{module}.{function}"


def main() -> int:
    """Run the mutants, report them by module, and compare the survivors with the list."""
    environment = os.environ | {"HYPOTHESIS_PROFILE": "quick"}
    subprocess.run([sys.executable, "-m", "mutmut", "run", *sys.argv[1:]], env=environment, check=True)
    statuses = dict(re.findall(r"^ *(\S+): (.+)$", mutmut("results", "--all", "true"), re.MULTILINE))
    by_module: dict[str, Counter[str]] = {}
    for mutant, status in statuses.items():
        by_module.setdefault(mutant.rpartition(".")[0], Counter())[status] += 1
    for module, counts in sorted(by_module.items()):
        by_status = ", ".join(f"{number} {status}" for status, number in counts.most_common())
        print(f"{module}: {counts.total()} mutants, {by_status}")
    listed = dict(line.split("  # ") for line in LIST.read_text().splitlines())
    survivors = {describe(mutant) for mutant, status in statuses.items() if status not in ("killed", "timeout")}
    for change in sorted(survivors - set(listed)):
        print(f"survives, and is not in the list: {change}", file=sys.stderr)
    for change in sorted(set(listed) - survivors):
        print(f"is in the list, and does not survive: {change}", file=sys.stderr)
    return survivors != set(listed)


if __name__ == "__main__":
    sys.exit(main())
