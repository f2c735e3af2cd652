"""Run a few threads under every schedule up to a bound, and compare each history with what one thread can do.

`interleave-test` runs one thread at a time. Before every line of the package that more than one thread can reach
without a lock, and at every lock, it decides which thread continues. Its depth-first search tries every schedule with
at most `PREEMPTIONS` preemptions: a preemption stops a thread that could have continued. Where a thread ends or blocks,
it tries every other thread. A deadlock is an error of its own.

A thread records its operations in a `History`. After each schedule the history must be *linearizable*: some order of
the operations, done one at a time in one thread, gives each operation the same answer, leads to the same outcome, and
keeps an operation that ended before another began in front of it. So the schedules show what threads change; that the
package is right in one thread is the subject of the other tests.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, Protocol

import attrs
import interleave_test
from interleave_test._scheduler import current_scheduler

import swarmguard
from swarmguard._common import monitor

THREADS = int(os.environ.get("THREADS", "2"))
"""How many of a scenario's threads run at the same time: 2 on every commit, 3 in a nightly run."""

PREEMPTIONS = int(os.environ.get("PREEMPTIONS", "1"))
"""The maximum number of preemptions in a schedule: 1 on every commit, 2 in a nightly run of two threads."""

PACKAGE = Path(swarmguard.__file__).parent
INTERLEAVED = [PACKAGE / "_breaker", PACKAGE / "_common", PACKAGE / "_overseer" / "core.py", PACKAGE / "bus.py"]
"""The code in which a thread may be stopped, but for the files below."""
BREAKER_FILES = ("breaker", "classify", "config", "delay", "kinds", "machine", "policy", "values")
COMMON_FILES = ("call_logged", "deadlines", "fields", "waking")
NEVER_SHARED = [
    *(PACKAGE / "_breaker" / f"{name}.py" for name in BREAKER_FILES),
    *(PACKAGE / "_common" / f"{name}.py" for name in COMMON_FILES),
]
"""Code that runs under a lock, or touches nothing that threads share."""

# A monitor asks its lock whether this thread holds it. The modelled lock has that answer under another name.
interleave_test.RLock._is_owned = lambda lock: lock._is_owned_by(current_scheduler().me())


@attrs.define
class Operation:
    """One operation of a thread: its name and arguments, its beginning and end, and its answer."""

    name: str
    args: tuple[Any, ...]
    began: int
    ended: int = 0
    answer: object = None


class History:
    """The operations of all threads in one schedule."""

    def __init__(self) -> None:
        self._moments = 0
        self.actors: list[Actor] = []

    def moment(self) -> int:
        """Return the next moment."""
        self._moments += 1
        return self._moments


class Actor:
    """The operations of one thread."""

    def __init__(self, history: History) -> None:
        self._history = history
        self.operations: list[Operation] = []
        self.number = len(history.actors)
        history.actors.append(self)

    def begin(self, name: str, *args: object) -> Operation:
        """Record the beginning of an operation."""
        self.operations.append(Operation(name, args, self._history.moment()))
        return self.operations[-1]

    def end(self, operation: Operation, answer: object = None) -> None:
        """Record the end of an operation, and its answer."""
        operation.ended = self._history.moment()
        operation.answer = answer

    def do(self, act: Callable[[], object], name: str, *args: object) -> None:
        """Do and record an operation; an exception of the package is its answer."""
        operation = self.begin(name, *args)
        try:
            answer = act()
        except swarmguard.SwarmGuardError as error:
            answer = error
        self.end(operation, answer)


class Subject(Protocol):
    """The object that the threads share."""

    def do(self, name: str, *args: Any) -> object:
        """Do one operation, and return its answer."""

    def outcome(self) -> object:
        """Return everything that is visible after the operations."""


Make = Callable[[], Any]
"""Makes a new subject."""

Program = Callable[[Any, Actor], object]
"""What one thread does with the subject."""

Check = Callable[[History, object], None]
"""Raises if the history of a schedule, or the subject's outcome, is wrong."""


def explore(
    make: Make,
    programs: Sequence[Program],
    check: Check = lambda history, outcome: None,
    granularity: str = "line",
) -> int:
    """Run the first `THREADS` of the programs under every schedule within the bound.

    Args:
        make: Makes the subject, anew for each schedule.
        programs: The programs of the threads, the most important first.
        check: Called after each schedule. The default is for programs and outcomes that check themselves.
        granularity: Where a thread may be stopped: before each "line" or each "opcode".

    Returns:
        The number of schedules.
    """
    programs = programs[:THREADS]

    def model() -> None:
        with interleave_test.no_interleave():
            gc.collect()
            monitor._registry_lock = interleave_test.RLock()
            subject, history = make(), History()
            tasks = [interleave_test.spawn(program, subject, Actor(history)) for program in programs]
        for task in tasks:
            task.join()
        with interleave_test.no_interleave():
            check(history, subject.outcome())

    registry_lock = monitor._registry_lock
    gc.disable()  # a collection would run finalizers at a different line each time
    gc.freeze()
    try:
        result = interleave_test.explore(
            model,
            strategy="dfs",
            max_preemptions=PREEMPTIONS,
            granularity=granularity,
            iterations=10**9,
            include=INTERLEAVED,
            exclude=NEVER_SHARED,
            seed=0,
        )
    finally:
        monitor._registry_lock = registry_lock
        gc.unfreeze()
        gc.enable()
    assert result.exhausted
    return result.schedules_run


def explore_each(make: Make, programs: Sequence[Program], check: Check = lambda history, outcome: None) -> int:
    """Run the first program with every choice of the others, `THREADS` at a time, as `explore` does.

    Returns:
        The number of schedules.
    """
    first, *others = programs
    choices = combinations(others, min(THREADS, len(programs)) - 1)
    return sum(explore(make, [first, *some], check) for some in dict.fromkeys(choices))


Order = tuple[tuple[int, int], ...]
"""An order of operations, each given as the number of its thread and its index in that thread."""

Explanations = dict[str, dict[str, list[Order]]]
"""By the operations of all threads, and then by answers and outcome, the orders that lead to these."""


def linearizable(make: Make) -> Check:
    """Return the check that some order of the operations, done one at a time, explains a history and its outcome.

    Args:
        make: Makes the subject that does the operations in that order.
    """
    explanations: Explanations = {}

    def check(history: History, outcome: object) -> None:
        threads = [actor.operations for actor in history.actors]
        done = repr([[(operation.name, operation.args) for operation in operations] for operations in threads])
        if done not in explanations:
            explanations[done] = explained = {}
            for order in orders([len(operations) for operations in threads]):
                explained.setdefault(one_at_a_time(order, threads, make()), []).append(order)
        seen = repr(([[operation.answer for operation in operations] for operations in threads], outcome))
        explaining = explanations[done].get(seen, [])
        if any(keeps_time(order, threads) for order in explaining):
            return
        expected = "\n".join(explanations[done])
        raise AssertionError(
            f"{'an order that contradicts the time' if explaining else 'no order'} of {done} leads to:\n{seen}\n"
            f"Some order leads to:\n{expected}"
        )

    return check


def orders(lengths: Sequence[int]) -> Iterator[Order]:
    """Iterate over the ways to merge sequences of these lengths into one."""
    if not any(lengths):
        yield ()
    for number, length in enumerate(lengths):
        if length:
            shorter = [*lengths[:number], length - 1, *lengths[number + 1 :]]
            for order in orders(shorter):
                yield (*order, (number, length - 1))


def one_at_a_time(order: Order, threads: Sequence[Sequence[Operation]], subject: Subject) -> str:
    """Do the operations in that order in this thread, and return their answers and the outcome."""
    answers: list[list[object]] = [[None] * len(operations) for operations in threads]
    for number, index in order:
        operation = threads[number][index]
        answers[number][index] = subject.do(operation.name, *operation.args)
    return repr((answers, subject.outcome()))


def keeps_time(order: Order, threads: Sequence[Sequence[Operation]]) -> bool:
    """Return whether no operation comes after one that began after its end."""
    latest = 0
    for number, index in order:
        operation = threads[number][index]
        if operation.ended < latest:
            return False
        latest = max(latest, operation.began)
    return True
