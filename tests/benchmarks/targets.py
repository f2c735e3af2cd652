"""The targets, and how each of them is read from the results."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from tests.benchmarks.case import FLOOR, OURS
from tests.benchmarks.footprint import AGENT, BREAKER, IMPORT, IMPORT_BREAKER
from tests.benchmarks.results import Results

Reading = tuple[float, str]
"""A number, and a remark on it, which may be empty."""


@attrs.frozen
class Target:
    """A number to reach, as an upper or a lower bound.

    Attributes:
        subject: The name of the row, usually that of a case.
        bound: The bound.
        at_most: True for an upper bound, False for a lower one.
        scale: The unit of the number.
        read: Reads the measured number from the results. Raises a `LookupError` when it was not measured.
    """

    subject: str
    bound: float
    at_most: bool
    scale: str
    read: Callable[[Results], Reading]

    def is_reached_by(self, number: float) -> bool:
        """Return whether the number is within the bound."""
        return number <= self.bound if self.at_most else number >= self.bound


def floor(case: str, bound: float, floor_is: str) -> Target:
    """Cost at most `bound` times the floor."""
    return Target(case, bound, True, f"× {floor_is}", lambda results: (results[case].ratio(OURS, FLOOR), ""))


def faster_than(peer: str, case: str, bound: float) -> Target:
    """Be at least `bound` times faster than the peer."""
    return Target(case, bound, False, f"× faster than {peer}", lambda results: (results[case].ratio(peer, OURS), ""))


def fastest_peer(case: str, bound: float) -> Target:
    """Be at least `bound` times faster than the fastest peer."""
    return Target(case, bound, False, "× faster than the fastest peer", lambda results: _fastest(results, case))


def _fastest(results: Results, case: str) -> Reading:
    """Compare with the peers that have no flaw; a faster one with a flaw goes into the remark."""
    row = results[case]
    ratios = {peer: row.ratio(peer, OURS) for peer in row.peers}
    sound = [peer for peer in row.peers if row.contestants[peer].flaw is None]
    if not sound:
        raise LookupError("no peer without a flaw")
    best, best_of_all = min(sound, key=ratios.get), min(ratios, key=ratios.get)
    remark = best if best == best_of_all else f"{best}; with flawed ones {best_of_all}, {ratios[best_of_all]:.2f}"
    return ratios[best], remark


def refusal(case: str, bound: float) -> Target:
    """Cost at most `bound` times the fastest peer that does refuse."""

    def read(results: Results) -> Reading:
        ratio, remark = _fastest(results, case)
        return 1 / ratio, remark

    return Target(case, bound, True, "× the fastest peer that refuses", read)


def throughput(case: str, bound: float) -> Target:
    """Reach at least `bound` times the throughput of the floor."""
    return Target(case, bound, False, "× the bare throughput", lambda results: (results[case].ratio(FLOOR, OURS), ""))


def growth(case: str, bound: float, smaller_case: str, *, factor: float = 1.0) -> Target:
    """Cost at most `bound` times a smaller case, whose cost is multiplied by `factor` first."""

    def read(results: Results) -> Reading:
        large, small = results[case].contestants[OURS], results[smaller_case].contestants[OURS]
        return large.over(small) / factor, ""

    scale = f"× {smaller_case}" if factor == 1 else f"× {factor:g} times {smaller_case}"
    return Target(case, bound, True, scale, read)


def memory(row: str, bound: int) -> Target:
    """Take at most `bound` bytes."""
    return Target(row, bound, True, "bytes", lambda results: (results[row].contestants[OURS].median, ""))


TARGETS = (
    floor("sync call", 1.5, "an empty wrapper"),
    fastest_peer("sync call", 3),
    faster_than("interlock-cb", "sync call", 25),
    floor("async call", 1.25, "an empty wrapper"),
    fastest_peer("async call", 2.5),
    faster_than("interlock-cb", "async call", 20),
    *(
        faster_than("interlock-cb", f"{kind} call, {window} window", 8)
        for kind in ("sync", "async")
        for window in ("count", "time")
    ),
    floor("with", 3, "nullcontext"),
    faster_than("interlock-cb", "with", 10),
    floor("async with", 3, "nullcontext"),
    faster_than("interlock-cb", "async with", 10),
    refusal("sync refusal", 0.7),
    floor("sync refusal", 3, "a bare raise"),
    refusal("async refusal", 0.7),
    floor("async refusal", 3, "a bare raise"),
    throughput("16 threads, 5 ms of sleep", 0.97),
    growth("heartbeat, 1,000,000 agents", 1.5, "heartbeat, 1,000 agents"),
    growth("quiet check, 1,000,000 agents", 2, "quiet check, 1,000 agents"),
    growth("health summary, 1,000,000 agents", 2, "health summary, 1,000 agents"),
    # The requirement is "linear in k, independent of N", without a number; these bounds are those of its neighbours.
    growth("check with 100 newly stale, 1,000,000 agents", 2, "check with 100 newly stale, 1,000 agents"),
    growth(
        "check with 1,000 newly stale, 1,000,000 agents",
        1.5,
        "check with 10 newly stale, 1,000,000 agents",
        factor=100,
    ),
    memory(BREAKER, 1024),
    memory(AGENT, 600),
    floor(IMPORT, 1.3, "attrs, anyio and typing_extensions"),
    floor(IMPORT_BREAKER, 1.3, "attrs, anyio and typing_extensions"),
)
