"""Breakers under every schedule of two or three threads, within the bound."""

from __future__ import annotations

import pytest

from swarmguard import BreakerMode, CallRecord, CircuitBreakerConfig, CountWindow, FailureRate, TimeWindow
from tests.schedules.exploring import THREADS, Program, explore, linearizable
from tests.schedules.worlds import (
    Breaker,
    PureBreaker,
    Step,
    by_async_block,
    by_block,
    by_call,
    by_decorator,
    by_execute,
    by_generator,
    by_permit,
    calling,
    doing,
    following,
)

FRAGILE = CircuitBreakerConfig(failure_threshold=1, success_threshold=1, half_open_max_calls=1, timeout_duration=10)
"""One failure opens, one success closes, and one call tests."""
COUNTING = CircuitBreakerConfig(
    trip=FailureRate(threshold=0.5, window=CountWindow(2), minimum_calls=2), timeout_duration=10
)
TIMING = CircuitBreakerConfig(
    trip=FailureRate(threshold=0.5, window=TimeWindow(10), minimum_calls=2), timeout_duration=10
)
TRIED = (("trip", 10), ("advance", 10))
"""The next call is a test call."""
TESTED = (*TRIED, ("admit", "first"))
"""A test call is under way."""

SCENARIOS: dict[str, tuple[CircuitBreakerConfig, tuple[Step, ...], list[Program]]] = {
    "three calls at the moment of the test call": (
        FRAGILE,
        TRIED,
        [calling(by_call, "succeed"), calling(by_permit, "fail"), calling(by_decorator, "fail")],
    ),
    "three other ways in": (
        CircuitBreakerConfig(failure_threshold=2),
        (),
        [calling(by_generator, "fail"), calling(by_execute, "fail"), calling(by_async_block, "fail")],
    ),
    "three failures of a closed circuit": (
        CircuitBreakerConfig(failure_threshold=2),
        (),
        [calling(by_decorator, "fail"), calling(by_call, "fail"), calling(by_block, "fail")],
    ),
    "a success among failures": (
        CircuitBreakerConfig(failure_threshold=2),
        (),
        [calling(by_decorator, "fail"), calling(by_decorator, "succeed"), calling(by_decorator, "fail")],
    ),
    "blocks of two threads and a trip": (
        FRAGILE,
        (),
        [calling(by_block, "succeed"), calling(by_block, "succeed"), doing(("trip", 5))],
    ),
    "a verdict, a reset and a trip": (
        FRAGILE,
        TESTED,
        [doing(("settle", "first", "succeed")), doing(("reset",)), doing(("trip", 5))],
    ),
    "a late failure meets a reset": (
        FRAGILE,
        (("admit", "late"),),
        [doing(("settle", "late", "fail")), doing(("reset",)), calling(by_decorator, "fail")],
    ),
    "one permit, three verdicts": (
        FRAGILE,
        TESTED,
        [doing(("settle", "first", how)) for how in ("succeed", "fail", "release")],
    ),
    "a place is given back": (
        FRAGILE,
        TESTED,
        [doing(("settle", "first", "release")), doing(("admit", 1)), doing(("status",), ("status",))],
    ),
    "a permit is dropped": (
        FRAGILE,
        TESTED,
        [doing(("drop", "first")), doing(("admit", 1)), doing(("status",))],
    ),
    "a lease ends": (
        FRAGILE,
        TESTED,
        [doing(("advance", 30)), doing(("admit", 1)), doing(("settle", "first", "succeed"))],
    ),
    "two verdicts of three that close": (
        CircuitBreakerConfig(failure_threshold=1, success_threshold=2, half_open_max_calls=3),
        (("trip", 10), ("advance", 10), ("admit", 1), ("admit", 2), ("admit", 3)),
        [doing(("settle", number, "succeed")) for number in (1, 2, 3)],
    ),
    "a mode comes and goes": (
        FRAGILE,
        (),
        [
            doing(("mode", BreakerMode.ISOLATED), ("mode", BreakerMode.NORMAL)),
            following(doing(("in_force",)), calling(by_decorator, "fail")),
            doing(("status",)),
        ],
    ),
    "whoever sees it open is refused": (
        FRAGILE,
        (),
        [
            doing(("trip", 5)),
            following(doing(("state",)), calling(by_decorator, "succeed")),
            following(doing(("state",)), calling(by_block, "succeed")),
        ],
    ),
    "disabled while failing": (
        FRAGILE,
        (("admit", "first"),),
        [doing(("mode", BreakerMode.DISABLED)), doing(("settle", "first", "fail")), calling(by_call, "fail")],
    ),
    "a count window is read while it fills": (
        COUNTING,
        (("admit", "first"), ("settle", "first", "succeed")),
        [calling(by_decorator, "succeed"), calling(by_decorator, "fail"), doing(("status",))],
    ),
    "successes are jotted down while one fails": (
        COUNTING,
        (("admit", 1), ("settle", 1, "succeed"), ("admit", 2), ("settle", 2, "succeed")),
        [calling(by_decorator, "fail"), calling(by_decorator, "succeed"), calling(by_decorator, "fail")],
    ),
    "a failure and a success decide together": (
        TIMING,
        (),
        [calling(by_decorator, "fail"), calling(by_decorator, "succeed"), doing(("status",))],
    ),
    "time passes in a time window": (
        TIMING,
        (("admit", "first"), ("settle", "first", "fail")),
        [doing(("advance", 10)), calling(by_decorator, "succeed"), doing(("status",))],
    ),
}


@pytest.mark.parametrize(("config", "before", "programs"), SCENARIOS.values(), ids=SCENARIOS)
def test_breakers_are_linearizable(config, before, programs, explored) -> None:
    """Whoever goes first, threads see a breaker that does one thing at a time [B9] [B5] [C6] [T02] [T23]."""
    explored(
        "schedules",
        explore(lambda: Breaker(config, *before), programs, linearizable(lambda: PureBreaker(config, *before))),
    )


class Observed(Breaker):
    """A breaker whose observer counts, while a permit is out."""

    def __init__(self) -> None:
        self.records: list[CallRecord] = []
        super().__init__(FRAGILE, ("admit", "first"), observer=self.records.append)

    def outcome(self) -> None:
        self.admit("last")
        self.settle("last", "release")  # whoever was dropped is told of with the next call
        assert len(self.records) == THREADS + 1


def test_each_call_is_told_of_once(explored) -> None:
    """Whoever goes first, the observer hears of each call once, of one that was dropped too [B20] [B13]."""
    programs = [calling(by_call, "succeed"), doing(("drop", "first")), calling(by_permit, "succeed")]
    explored("schedules", explore(Observed, programs))
