"""Mutation testing: change the package in one place at a time, and see that a test notices.

`python -m tests.mutation` has mutmut do it (some half an hour; `mutants/` keeps what it has found, so a second run
tests again only what was changed) and holds the mutants that no test noticed against `equivalent.txt`, where each has
a line that says why none can. A survivor that is not in the list, and a line whose mutant is no more, fail the run.

It needs Python 3.12: the schedules are among its tests, and mutmut's own bookkeeping trips over a bug of 3.11's.
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
    """Return what a command of mutmut's prints."""
    return subprocess.run(
        [sys.executable, "-m", "mutmut", *arguments], capture_output=True, text=True, check=True
    ).stdout


def describe(mutant: str) -> str:
    """Return a mutant's function and its change, as the list has it: numbers of mutants change with the code."""
    diff = [line for line in mutmut("show", mutant).splitlines() if not line.startswith(("---", "+++"))]
    before, after = (
        " ".join(line[1:].split("  #")[0].strip() for line in diff if line.startswith(sign)) for sign in "-+"
    )
    return f"{plain(mutant)}: {before} -> {after}"


def plain(mutant: str) -> str:
    """Return the dotted name of the function that a mutant changes."""
    module, _, mangled = mutant.rpartition(".")
    function = mangled.partition("__mutmut_")[0].removeprefix("xǁ").removeprefix("x_").replace("ǁ", ".")
    return f"{module}.{function}"


def main() -> int:
    """Run the mutants, report by module, and compare with the list."""
    environment = os.environ | {"HYPOTHESIS_PROFILE": "quick"}
    subprocess.run([sys.executable, "-m", "mutmut", "run", *sys.argv[1:]], env=environment, check=True)
    statuses = dict(re.findall(r"^ *(\S+): (.+)$", mutmut("results", "--all", "true"), re.MULTILINE))
    by_module: dict[str, Counter[str]] = {}
    for mutant, status in statuses.items():
        by_module.setdefault(mutant.rpartition(".")[0], Counter())[status] += 1
    for module, counts in sorted(by_module.items()):
        told = ", ".join(f"{number} {status}" for status, number in counts.most_common())
        print(f"{module}: {counts.total()} mutants, {told}")
    listed = dict(line.split("  # ") for line in LIST.read_text().splitlines())
    unnoticed = {describe(mutant) for mutant, status in statuses.items() if status not in ("killed", "timeout")}
    for change in sorted(unnoticed - set(listed)):
        print(f"no test notices, and the list does not say why: {change}", file=sys.stderr)
    for change in sorted(set(listed) - unnoticed):
        print(f"in the list, and no survivor: {change}", file=sys.stderr)
    return unnoticed != set(listed)


if __name__ == "__main__":
    sys.exit(main())
