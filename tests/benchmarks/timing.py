"""Time one case: `python -m tests.benchmarks.timing "sync call" FILE` writes pyperf's JSON.

The contestants run in one process and take turns, each for some milliseconds. So what the machine does besides, or how
fast it happens to be, meets all of them alike; `python -m tests.benchmarks` does this again and again, each time in a
new process. Everything that pyperf can do with its files can be done with these: `python -m pyperf stats FILE`.
"""

from __future__ import annotations

import gc
import sys
from importlib.metadata import PackageNotFoundError, version

import pyperf

from tests.benchmarks.case import BARE, FLOOR, OURS, Case, Contestant, Work
from tests.benchmarks.cases import CASES

TURN = 0.01
"""The least seconds of one turn."""

TURNS = 9


def version_of(package: str) -> str | None:
    """Return the version of a package; None when it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def is_here(contestant: Contestant) -> bool:
    """Tell whether what the contestant needs is installed."""
    return contestant.name in (FLOOR, BARE, OURS) or version_of(contestant.name) is not None


def label(case: Case, contestant: str) -> str:
    """Return the name under which pyperf keeps a contestant's timings."""
    return f"{case.name}: {contestant}"


def time_case(case: Case) -> pyperf.BenchmarkSuite:
    """Let the contestants take turns, and return the seconds that each needed for doing the work once."""
    works = {contestant.name: contestant.prepare() for contestant in case.contestants if is_here(contestant)}
    gc.collect()
    gc.freeze()  # what one contestant keeps is not to be looked through in another's turn
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
    """Return how often the work is to be done for one turn; finding out warms it up."""
    times = step
    while turn(work, times) < TURN:
        times *= 2
    return times


def turn(work: Work, times: int) -> float:
    """Return the seconds that it takes to do the work so many times; the garbage collector rests, as under `timeit`."""
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
