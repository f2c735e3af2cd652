"""Walk: compare breakers and overseers with their models for a while, and print which rules the steps reached.

`python -m tests.properties --minutes 60` is a long walk. It consists of stretches, whose numbers seed the random
choices; `--first` starts at another number. A walk fails if it finds a difference, or if it does not reach a clause
that `reached.txt` lists. `--write` writes that list.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import sys
import tempfile
import time
from pathlib import Path

from hypothesis import HealthCheck, seed, settings
from hypothesis.database import DirectoryBasedExampleDatabase
from hypothesis.stateful import run_state_machine_as_test

from tests.properties.reaching import LIST, clauses, lost
from tests.properties.test_breaker_machine import BreakerMachine, RecoveryMachine, WindowMachine
from tests.properties.test_overseer_machine import OverseerMachine

settings.register_profile(
    "walk",
    deadline=None,
    max_examples=50,
    stateful_step_count=60,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
    database=DirectoryBasedExampleDatabase(Path(tempfile.gettempdir()) / "swarmguard-walks"),
)


def walk(seconds: float, first: int) -> int:
    """Walk for at least `seconds` seconds, and return the number of the last stretch."""
    end = time.monotonic() + seconds
    for number in itertools.count(first):
        for machine in (BreakerMachine, RecoveryMachine, WindowMachine, OverseerMachine):
            run_state_machine_as_test(seed(number)(machine), settings=settings.get_profile("walk"))
        if time.monotonic() >= end:
            return number
    raise AssertionError


def main() -> int:
    """Walk and report; return 1 if a clause was not reached."""
    parser = argparse.ArgumentParser(prog="python -m tests.properties", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    logging.getLogger("swarmguard").disabled = True  # the callbacks raise thousands of times
    last = walk(60 * options.minutes, options.first)
    for clause, times in sorted(clauses.items()):
        print(f"{times:12,}  {clause}")
    rules = {clause.split()[0] for clause in clauses}
    print(f"stretches {options.first} to {last}: {len(clauses)} clauses of {len(rules)} rules")
    if options.write:
        LIST.write_text("".join(f"{clause}\n" for clause in sorted(clauses)))
    for clause in lost():
        print(f"not reached: {clause}", file=sys.stderr)
    return bool(lost())


if __name__ == "__main__":
    sys.exit(main())
