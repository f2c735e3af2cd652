"""Every interleaving of a few threads, up to a bound, each held against a machine that does one thing at a time.

`interleave-test` runs the threads one by one and decides before every line of the shells, and at every lock, who goes
on. Tried is every schedule with at most `PREEMPTIONS` preemptions (a thread that could go on has to stop), but for
those that only repeat another one (`searching`); where a thread ends or blocks, every order is tried. Threads that wait
for each other are an error of their own.

A thread writes down what it does in a `History`. After each schedule the history must be *linearizable*: there is an
order of the operations, one at a time, on the pure machine, that gives every operation the answer that it got, leaves
the same outcome, and has an operation that ended before another one began in front of it.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import attrs
import interleave_test
from interleave_test._scheduler import current_scheduler

import swarmguard
from swarmguard._common import monitor
from tests.schedules.searching import Search, touch
from tests.schedules.touching import SHELLS

THREADS = int(os.environ.get("THREADS", "2"))
"""How many of a scenario's threads there are: 2 for every day, 3 to be thorough."""

PREEMPTIONS = int(os.environ.get("PREEMPTIONS", "1"))
"""The most preemptions of a schedule: 1 for every day, 2 to be thorough. With three threads that takes hours."""

GRANULARITY = os.environ.get("GRANULARITY", "line")
"""Where a thread may have to stop: before each `line` or before each `opcode`."""

# A monitor asks its lock whether this thread holds it; the modelled lock answers to another name.
interleave_test.RLock._is_owned = lambda lock: lock._is_owned_by(current_scheduler().me())


@attrs.define
class Operation:
    """One operation: its name and arguments for the pure machine, when it began and ended, and its answer."""

    name: str
    args: tuple[Any, ...]
    began: int
    ended: int = 0
    answer: object = None


class History:
    """What the threads of one schedule did, in their order."""

    def __init__(self) -> None:
        self._moments = 0
        self.actors: list[Actor] = []

    def moment(self) -> int:
        """Return the next moment."""
        self._moments += 1
        return self._moments


class Actor:
    """One thread's part of a history."""

    def __init__(self, history: History) -> None:
        self._history = history
        self.operations: list[Operation] = []
        self.number = len(history.actors)
        self._ends = f"the ends of {self.number}"
        history.actors.append(self)

    def begin(self, name: str, *args: object) -> Operation:
        """Write down that an operation begins."""
        touch(reads={actor._ends for actor in self._history.actors})
        self.operations.append(Operation(name, args, self._history.moment()))
        return self.operations[-1]

    def end(self, operation: Operation, answer: object = None) -> None:
        """Write down what it answered."""
        touch(writes={self._ends})
        operation.ended = self._history.moment()
        operation.answer = answer

    def do(self, act: Callable[[], object], name: str, *args: object) -> None:
        """Do an operation; an exception of the package's is its answer."""
        operation = self.begin(name, *args)
        try:
            answer = act()
        except swarmguard.SwarmGuardError as error:
            answer = error
        self.end(operation, answer)


class Subject(Protocol):
    """What the threads work on, or the pure machine that it is compared with."""

    def outcome(self) -> object:
        """Return all that can be seen at the end."""


class Pure(Subject, Protocol):
    """The pure machine, behind the names of the operations."""

    def do(self, name: str, *args: Any) -> object:
        """Do one operation, and return its answer."""


Program = Callable[[Any, Actor], object]
"""What one thread does with the subject."""


Check = Callable[[History, object], None]
"""Looks at what has come of a schedule: at its history, and at the subject's outcome."""


def explore(
    make: Callable[[], Subject],
    programs: Sequence[Program],
    check: Check = lambda history, outcome: None,
    granularity: str = GRANULARITY,
    strategy: interleave_test.Strategy | None = None,
) -> int:
    """Run the programs under every schedule within the bounds, and return how many were tried.

    Args:
        make: Makes the subject, anew for each schedule.
        programs: What the threads do, the most interesting first.
        check: Raises if something went wrong. By default the programs and the outcome look after themselves.
        granularity: Where a thread may have to stop.
        strategy: What chooses the schedules; None for a `Search`.
    """

    def model() -> None:
        with interleave_test.no_interleave():
            gc.collect()
            monitor._registering = interleave_test.RLock()
            subject, history = make(), History()
            tasks = [interleave_test.spawn(program, subject, Actor(history)) for program in programs[:THREADS]]
        for task in tasks:
            task.join()
        with interleave_test.no_interleave():
            check(history, subject.outcome())

    registering = monitor._registering
    gc.disable()  # a collection would come at another line each time
    gc.freeze()
    try:
        result = interleave_test.explore(
            model,
            strategy=strategy or Search(PREEMPTIONS),
            granularity=granularity,
            iterations=10**9,
            include=SHELLS,
            seed=0,
        )
    finally:
        monitor._registering = registering
        gc.unfreeze()
        gc.enable()
    assert result.exhausted
    return result.schedules_run


Order = tuple[tuple[int, int], ...]
"""An order of operations: each as its thread's number and its place among that thread's."""

Stories = dict[str, dict[str, list[Order]]]
"""For all that threads may do, and for all that may come of it, the orders in which it comes of it."""


def linearizable(pure: Callable[[], Pure]) -> Check:
    """Return the check that some order of the operations, one at a time, explains a history and its outcome.

    Args:
        pure: Makes the machine that does the operations in that order.
    """
    known: Stories = {}

    def check(history: History, outcome: object) -> None:
        threads = [actor.operations for actor in history.actors]
        done = repr([[(operation.name, operation.args) for operation in operations] for operations in threads])
        if done not in known:
            known[done] = stories = {}
            for order in orders([len(operations) for operations in threads]):
                stories.setdefault(in_turn(order, threads, pure()), []).append(order)
        seen = repr(([[operation.answer for operation in operations] for operations in threads], outcome))
        explained = known[done].get(seen, [])
        if any(keeps_time(order, threads) for order in explained):
            return
        told = "\n".join(known[done])
        raise AssertionError(
            f"{'in no order that keeps the time' if explained else 'in no order'} this comes of {done}:\n{seen}\n"
            f"What does:\n{told}"
        )

    return check


def orders(lengths: Sequence[int]) -> Iterator[Order]:
    """Iterate over the ways in which sequences of these lengths can be merged into one."""
    if not any(lengths):
        yield ()
    for number, length in enumerate(lengths):
        if length:
            shorter = [*lengths[:number], length - 1, *lengths[number + 1 :]]
            for order in orders(shorter):
                yield (*order, (number, length - 1))


def in_turn(order: Order, threads: Sequence[Sequence[Operation]], pure: Pure) -> str:
    """Do the operations in that order on the pure machine, and tell what comes of it."""
    answers: list[list[object]] = [[None] * len(operations) for operations in threads]
    for number, place in order:
        operation = threads[number][place]
        answers[number][place] = pure.do(operation.name, *operation.args)
    return repr((answers, pure.outcome()))


def keeps_time(order: Order, threads: Sequence[Sequence[Operation]]) -> bool:
    """Tell whether no operation comes after one that began when it had ended."""
    latest = 0
    for number, place in order:
        operation = threads[number][place]
        if operation.ended < latest:
            return False
        latest = max(latest, operation.began)
    return True
