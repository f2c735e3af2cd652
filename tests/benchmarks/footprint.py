"""Measurements without pyperf: bytes of memory and import times, each in a new process.

`python -m tests.benchmarks.footprint pybreaker` prints the bytes per breaker of pybreaker, and
`python -m tests.benchmarks.footprint agent` the bytes per agent.
"""

# ruff: noqa: T201 - a command, which prints its answer

from __future__ import annotations

import gc
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterable

from tests.benchmarks.case import FLOOR, OURS
from tests.benchmarks.overseer_cases import new_ids
from tests.benchmarks.results import Measured, Row

GROUP = "Footprint"
BREAKER, AGENT = "memory of a breaker", "memory of an agent"
IMPORT, IMPORT_BREAKER, IMPORT_ALL = IMPORTS = (
    "import swarmguard",
    "from swarmguard import CircuitBreaker",
    "from swarmguard import *",
)
"""Their floor is the import of the package's dependencies."""

ROWS = (BREAKER, AGENT, *IMPORTS)

LIBRARIES = (OURS, "circuitbreaker", "pybreaker", "purgatory", "pyresilience", "hyx", "interlock-cb", "aiobreaker")
BREAKERS = 10_000
AGENTS = 100_000
IMPORT_ROUNDS = 15


def measure(name: str) -> Row:
    """Return one of the `ROWS`."""
    if name == BREAKER:
        return _memory(BREAKER, {library: library for library in LIBRARIES})
    if name == AGENT:
        return _memory(AGENT, {OURS: "agent"})
    pairs = [(_time_of("import attrs, anyio, typing_extensions"), _time_of(name)) for _ in range(IMPORT_ROUNDS)]
    floor, ours = zip(*pairs, strict=True)
    return Row(name=name, group=GROUP, contestants={FLOOR: Measured(floor), OURS: Measured(ours)})


def _memory(name: str, things: dict[str, str]) -> Row:
    """Measure the bytes of each thing in a process of its own; packages that are not installed are left out."""
    measured = {}
    for contestant, thing in things.items():
        command = [sys.executable, "-m", "tests.benchmarks.footprint", thing]
        size = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        if size:
            measured[contestant] = Measured((float(size),))
    return Row(name=name, group=GROUP, unit="bytes", contestants=measured)


def _time_of(statement: str) -> float:
    """Return the nanoseconds that the imports of a statement take in a new interpreter, without its start."""
    command = [sys.executable, "-X", "importtime", "-c", statement]
    report = subprocess.run(command, check=True, stderr=subprocess.PIPE, text=True).stderr
    own_times = re.findall(r"^import time: +(\d+) ", report[report.index("| site\n") :], re.MULTILINE)
    return 1000.0 * sum(map(int, own_times))


def bytes_of_each(make: Callable[[object], object], seeds: Iterable[object]) -> float:
    """Return the bytes per thing made from one of the seeds, not counting the seeds."""
    first, *others = seeds
    kept = [make(first)] * (len(others) + 1)
    gc.collect()
    tracemalloc.start()
    for index, seed in enumerate(others, start=1):
        kept[index] = make(seed)
    gc.collect()
    return tracemalloc.get_traced_memory()[0] / len(others)


def agent_maker() -> Callable[[object], object]:
    """Return a function that registers an agent with the given id."""
    from swarmguard import Overseer

    register = Overseer().register_agent
    return lambda agent_id: register("Scanner", agent_id)


def breaker_maker(library: str) -> Callable[[object], object]:
    """Return a function that makes a breaker with the given name and the library's default settings.

    Raises:
        ImportError: The library is not installed.
    """
    match library:
        case "swarmguard":
            from swarmguard import CircuitBreaker

            return CircuitBreaker
        case "circuitbreaker":
            from circuitbreaker import CircuitBreaker
        case "pybreaker":
            from pybreaker import CircuitBreaker
        case "aiobreaker":
            from aiobreaker import CircuitBreaker
        case "interlock-cb":
            from interlock import CircuitBreaker
        case "purgatory":
            from purgatory import SyncCircuitBreakerFactory

            return SyncCircuitBreakerFactory().get_breaker
        case "pyresilience":  # its breakers have no name
            from pyresilience import CircuitBreaker, CircuitBreakerConfig

            return lambda name: CircuitBreaker(CircuitBreakerConfig())
        case "hyx":  # likewise
            from hyx.circuitbreaker import consecutive_breaker

            return lambda name: consecutive_breaker()
    return lambda name: CircuitBreaker(name=name)


def main(thing: str) -> None:
    """Print the bytes per thing; print nothing if its package is not installed."""
    if thing == "agent":
        print(bytes_of_each(agent_maker(), new_ids(AGENTS)))
        return
    try:
        make = breaker_maker(thing)
    except ImportError as exc:
        print(f"left out: {exc}", file=sys.stderr)
    else:
        print(bytes_of_each(make, [f"service {number}" for number in range(BREAKERS)]))


if __name__ == "__main__":
    main(sys.argv[1])
