"""Time one case: `python -m tests.benchmarks.timing "sync call" FILE` writes pyperf's JSON.

The contestants run in one process and take turns of some milliseconds. So other load, and a machine whose speed varies,
affect all of them alike. `python -m tests.benchmarks` repeats this, each time in a new process. pyperf's own commands
work on the file: `python -m pyperf stats FILE`.
"""

from __future__ import annotations

import gc
import sys
from importlib.metadata import PackageNotFoundError, version

import pyperf

from tests.benchmarks.case import BARE, FLOOR, OURS, Case, Contestant, Work
from tests.benchmarks.cases import CASES

TURN = 0.01
"""The minimum length of a turn, in seconds."""

TURNS = 9


def version_of(package: str) -> str | None:
    """Return the version of a package; None when it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def is_here(contestant: Contestant) -> bool:
    """Return whether the contestant's package is installed."""
    return contestant.name in (FLOOR, BARE, OURS) or version_of(contestant.name) is not None


def label(case: Case, contestant: str) -> str:
    """Return the name under which pyperf stores a contestant's timings."""
    return f"{case.name}: {contestant}"


def time_case(case: Case) -> pyperf.BenchmarkSuite:
    """Let the contestants take turns, and return the seconds that each needs to do the work once."""
    works = {contestant.name: contestant.prepare() for contestant in case.contestants if is_here(contestant)}
    gc.collect()
    gc.freeze()  # so that no collection scans what other contestants keep
    times = {name: repetitions(work, case.step) for name, work in works.items()}
    values: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(TURNS):
        for name, work in works.items():
            values[name].append(turn(work, times[name]) / times[name])
    return pyperf.BenchmarkSuite(
        [
            pyperf.Benchmark([pyperf.Run(values[name], metadata={"name": label(case, name), "loops": times[name]})])
            for name in works
        ]
    )


def repetitions(work: Work, step: int) -> int:
    """Return how often to do the work in one turn; measuring that also warms it up."""
    times = step
    while turn(work, times) < TURN:
        times *= 2
    return times


def turn(work: Work, times: int) -> float:
    """Return the seconds that the work takes, done `times` times with the garbage collector off, as in `timeit`."""
    gc.disable()
    try:
        start = pyperf.perf_counter()
        work(times)
        return pyperf.perf_counter() - start
    finally:
        gc.enable()


def main(case_name: str, path: str) -> None:
    """Time the case of that name."""
    time_case(next(case for case in CASES if case.name == case_name)).dump(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
