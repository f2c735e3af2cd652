"""Breakers under every schedule of two threads within the bound; `THREADS=3` runs three."""

from __future__ import annotations

from functools import partial

import pytest

from swarmguard import BreakerMode, CallRecord, CircuitBreakerConfig, CountWindow, FailureRate, TimeWindow
from swarmguard._breaker.counting import DeferredSuccesses
from tests.schedules.exploring import History, Program, explore_each, linearizable
from tests.schedules.worlds import (
    Breaker,
    Step,
    by_async_block,
    by_block,
    by_call,
    by_decorator,
    by_execute,
    by_generator,
    by_permit,
    by_stack,
    calling,
    doing,
    following,
)

FRAGILE = CircuitBreakerConfig(failure_threshold=1, success_threshold=1, half_open_max_calls=1, timeout_duration=10)
"""One failure opens the circuit, one success closes it, and one probe is admitted at a time."""
COUNTING = CircuitBreakerConfig(
    trip=FailureRate(threshold=0.5, window=CountWindow(2), minimum_calls=2), timeout_duration=10
)
TIMING = CircuitBreakerConfig(
    trip=FailureRate(threshold=0.5, window=TimeWindow(10), minimum_calls=2), timeout_duration=10
)
UNDECIDED = CircuitBreakerConfig(
    trip=FailureRate(threshold=0.5, window=TimeWindow(10), minimum_calls=5), timeout_duration=10
)
"""A few calls are too few to decide anything."""
ON_THE_SLOW_PATH = CircuitBreakerConfig(failure_threshold=2, record_result=lambda result: False)
"""Every call needs a permit, since its result is classified."""
DUE = (("trip", 10), ("advance", 10))
"""The next call is a probe."""
PROBED = (*DUE, ("admit", "first"))
"""A probe is running."""

SCENARIOS: dict[str, tuple[CircuitBreakerConfig, tuple[Step, ...], list[Program]]] = {
    "three calls when a probe is due": (
        FRAGILE,
        DUE,
        [calling(by_call, "succeed"), calling(by_permit, "fail"), calling(by_decorator, "fail")],
    ),
    "three other faces": (
        CircuitBreakerConfig(failure_threshold=2),
        (),
        [calling(by_generator, "fail"), calling(by_execute, "fail"), calling(by_async_block, "fail")],
    ),
    "three failures of a closed circuit": (
        CircuitBreakerConfig(failure_threshold=2),
        (),
        [calling(by_decorator, "fail"), calling(by_call, "fail"), calling(by_block, "fail")],
    ),
    "two failures on the slow path": (
        ON_THE_SLOW_PATH,
        (),
        [calling(by_decorator, "fail"), calling(by_block, "fail")],
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
    "blocks and exit stacks of a closed circuit": (
        CircuitBreakerConfig(failure_threshold=2),
        (),
        [calling(by_stack, "fail"), calling(by_block, "fail"), calling(by_stack, "succeed")],
    ),
    "the last slot of two": (
        CircuitBreakerConfig(failure_threshold=1, half_open_max_calls=2),
        (*PROBED,),
        [calling(by_call, "succeed"), calling(by_stack, "succeed")],
    ),
    "an outcome, a reset and a trip": (
        FRAGILE,
        PROBED,
        [doing(("settle", "first", "succeed")), doing(("reset",)), doing(("trip", 5))],
    ),
    "a late failure and a reset": (
        FRAGILE,
        (("admit", "late"),),
        [doing(("settle", "late", "fail")), doing(("reset",)), calling(by_decorator, "fail")],
    ),
    "a permit settled three times": (
        FRAGILE,
        PROBED,
        [doing(("settle", "first", how)) for how in ("succeed", "fail", "release")],
    ),
    "a slot is released": (
        FRAGILE,
        PROBED,
        [doing(("admit", 1)), doing(("settle", "first", "release")), doing(("status",), ("status",))],
    ),
    "a permit is dropped": (
        FRAGILE,
        PROBED,
        [doing(("drop", "first")), doing(("admit", 1)), doing(("status",))],
    ),
    "a lease ends": (
        FRAGILE,
        PROBED,
        [doing(("admit", 1)), doing(("advance", 30)), doing(("settle", "first", "succeed"))],
    ),
    "two successes close and a failure opens": (
        CircuitBreakerConfig(failure_threshold=1, success_threshold=2, half_open_max_calls=3),
        (*DUE, ("admit", 1), ("admit", 2), ("admit", 3)),
        [doing(("settle", 1, "succeed")), doing(("settle", 2, "succeed")), doing(("settle", 3, "fail"))],
    ),
    "three probes fail": (
        CircuitBreakerConfig(failure_threshold=1, half_open_max_calls=3, backoff_multiplier=2),
        (*DUE, ("admit", 1), ("admit", 2), ("admit", 3)),
        [doing(("settle", number, "fail")) for number in (1, 2, 3)],
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
    "an open circuit is disabled": (
        FRAGILE,
        (("trip", 10),),
        [
            doing(("mode", BreakerMode.DISABLED)),
            following(doing(("in_force",)), calling(by_decorator, "succeed")),
            following(doing(("in_force",)), calling(by_block, "fail")),
        ],
    ),
    "seen closed, then admitted": (
        FRAGILE,
        (("trip", 10),),
        [
            doing(("reset",)),
            following(doing(("state",)), calling(by_call, "succeed")),
            following(doing(("status",)), calling(by_decorator, "succeed")),
        ],
    ),
    "seen open by hand, then refused": (
        FRAGILE,
        (),
        [
            doing(("trip", 5)),
            following(doing(("state",)), calling(by_decorator, "succeed")),
            following(doing(("state",)), calling(by_block, "succeed")),
        ],
    ),
    "seen open after a failure, then refused": (
        FRAGILE,
        (),
        [
            calling(by_decorator, "fail"),
            following(doing(("state",)), calling(by_decorator, "succeed")),
            following(doing(("status",)), calling(by_block, "succeed")),
        ],
    ),
    "an open circuit changes while time passes": (
        FRAGILE,
        (("trip", 10),),
        [
            calling(by_call, "succeed"),
            doing(("advance", 5), ("trip", 10)),
            doing(("reset",), ("advance", 5)),
        ],
    ),
    "an open circuit is opened again": (
        FRAGILE,
        (("trip", 10),),
        [doing(("trip", 5)), following(doing(("state",)), calling(by_call, "succeed")), doing(("state",), ("status",))],
    ),
    "an isolated circuit is opened, then back to normal": (
        FRAGILE,
        (("mode", BreakerMode.ISOLATED),),
        [calling(by_decorator, "succeed"), doing(("trip", 5), ("mode", BreakerMode.NORMAL))],
    ),
    "an isolated circuit is reset, then back to normal": (
        FRAGILE,
        (("trip", 10), ("mode", BreakerMode.ISOLATED)),
        [calling(by_decorator, "succeed"), doing(("reset",), ("mode", BreakerMode.NORMAL))],
    ),
    "a circuit is opened while time passes": (
        FRAGILE,
        (),
        [doing(("trip", 5)), doing(("advance", 10), ("status",))],
    ),
    "disabled while failing": (
        FRAGILE,
        (("admit", "first"),),
        [doing(("mode", BreakerMode.DISABLED)), doing(("settle", "first", "fail")), calling(by_call, "fail")],
    ),
    "a count window is read while it fills": (
        COUNTING,
        (("admit", "first"), ("settle", "first", "succeed")),
        [calling(by_decorator, "fail"), calling(by_decorator, "succeed"), doing(("status",))],
    ),
    "successes are deferred while calls fail": (
        COUNTING,
        (("admit", 1), ("settle", 1, "succeed"), ("admit", 2), ("settle", 2, "succeed")),
        [calling(by_decorator, "fail"), calling(by_decorator, "succeed"), calling(by_decorator, "fail")],
    ),
    "successes are deferred in a time window": (
        UNDECIDED,
        (("succeed", 1),),
        [calling(by_decorator, "fail"), calling(by_decorator, "succeed"), calling(by_call, "succeed")],
    ),
    "a failure and a success decide together": (
        TIMING,
        (),
        [calling(by_decorator, "fail"), calling(by_decorator, "succeed"), doing(("status",))],
    ),
    "time passes in a time window": (
        TIMING,
        (("admit", "first"), ("settle", "first", "fail")),
        [calling(by_decorator, "succeed"), doing(("advance", 10)), doing(("status",))],
    ),
}


@pytest.mark.parametrize(("config", "before", "programs"), SCENARIOS.values(), ids=SCENARIOS)
def test_breakers_are_linearizable(config, before, programs, explored) -> None:
    """In every schedule, threads see a breaker that does one thing at a time.

    [B1] [B2] [B3] [B4] [B5] [B9] [B13] [B14] [B16] [B17] [C3] [C6] [T02] [T03] [T23]
    """
    make = partial(Breaker, config, *before)
    explored("schedules", explore_each(make, programs, linearizable(make)))


def test_a_full_store_of_deferred_successes_loses_none(monkeypatch, explored) -> None:
    """In every schedule, a success that can no longer be deferred is recorded at once [B17] [T23]."""
    monkeypatch.setattr(DeferredSuccesses, "LIMIT", 2)
    make = partial(Breaker, UNDECIDED, ("succeed", 1))
    programs = [calling(by_decorator, "succeed", "succeed"), calling(by_call, "fail", "succeed")]
    explored("schedules", explore_each(make, programs, linearizable(make)))


class Observed(Breaker):
    """A breaker with an observer that keeps the records, while one permit is not settled."""

    def __init__(self) -> None:
        self.records: list[CallRecord] = []
        super().__init__(FRAGILE, ("admit", "first"), observer=self.records.append)

    def outcome(self) -> list[str]:
        self.drop("first")
        self.admit("last")
        self.settle("last", "release")  # a dropped permit is reported with the next call
        return sorted(record.outcome for record in self.records)


def test_each_call_is_reported_once(explored) -> None:
    """In every schedule, the observer receives one record of each call, also of a dropped permit [B20] [B13]."""

    def check(history: History, outcomes: object) -> None:
        assert outcomes == ["neutral", "neutral", *["success"] * calls(history)]

    def calls(history: History) -> int:
        return sum(operation.name == "admit" for actor in history.actors for operation in actor.operations)

    programs = [calling(by_call, "succeed"), doing(("drop", "first")), calling(by_permit, "succeed")]
    explored("schedules", explore_each(Observed, programs, check))
