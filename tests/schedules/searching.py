"""A search of all schedules that leaves out those that only repeat another one.

What matters about a schedule is the order of the steps that can see each other: two that touch nothing in common, or
only read it, may change places and nobody will know. interleave-test runs the threads and asks this strategy, before
every step, who goes on. It is the depth-first search with a bound on preemptions that the library has itself, but:

- *A state is gone on from once.* It is known by its past: by what each thread has touched, in which order with the
  others' touches. A schedule that comes to a known state, with no fewer preemptions left than before, ends there.
- *A step that nobody can see is no place to stop.* That is one that touches nothing which two threads touch and one
  writes. Which names those are is learnt on the way: the search starts anew when there is one more.
- *A thread that was held up for nothing* is not let go on: if what the others did meanwhile does not meet the step
  before which it had to stop, it might as well have stopped after it, which is a schedule of its own.

Each step is known by what it touches (`touching`), and tests `touch` what only they know. Together these leave one
schedule in ten or twenty; `test_searching` holds what comes of them against the library's own search.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

import interleave_test
from interleave_test._scheduler import current_scheduler

from tests.schedules.touching import EVERYTHING, LOCKS, NOTHING, OUTSIDE, Touched, next_step

MODEL = 0
"""The thread that made the others and waits for them."""
STARTING = Touched(reads=frozenset({OUTSIDE}))

Past = tuple[tuple[int, int], ...]


class Search(interleave_test.Strategy):
    """A depth-first search with a bound on preemptions, for one call of `interleave_test.explore`.

    Args:
        max_preemptions: The most preemptions of a schedule: that a thread which could go on has to stop.
    """

    def __init__(self, max_preemptions: int) -> None:
        self._most = max_preemptions
        self._users: dict[str, set[int]] = {}
        self._written: set[str] = set()
        self._contended = {EVERYTHING, OUTSIDE}
        self._start()

    def _start(self) -> None:
        self._to_do: list[list[int]] = [[]]  # the first choices of schedules
        self._spent_at: dict[tuple[Past, int], int] = {}  # the fewest preemptions to a state and a choice

    def more(self) -> bool:
        return bool(self._to_do)

    @property
    def exhausted(self) -> bool:
        return not self._to_do

    def begin(self, iteration: int, seed: int) -> None:
        self._prefix = self._to_do.pop()
        self._choices: list[int] = []
        self._spent = 0
        self._known = False
        self._running = MODEL
        self._next: dict[int, Touched] = {}  # what each thread's next step touches
        self._held_up: dict[int, Touched] = {}  # the steps of those who were held up, for nothing so far
        self._by_the_test = NOTHING
        self._past: dict[int, int] = {}  # by thread
        self._last_write: dict[str, int] = {}
        self._reads_since: dict[str, int] = {}

    def end(self) -> None:
        contended = {name for name in self._written if len(self._users[name]) > 1}
        if not contended <= self._contended:
            self._contended |= contended
            self._start()

    def observe(self, chosen, index: int) -> None:
        if not self._known:
            self._step_has_ended()
            self._running = chosen.tid

    def pick(self, runnable, current, index: int):
        threads = {record.tid: record for record in runnable}
        if not self._known:
            self._step_has_ended()
            self._running = self._choose(threads.keys(), None if current is None else current.tid)
            return threads[self._running]
        for record in runnable:
            record.no_yield += 1  # nobody has to look at what is known
        return current if current is not None else threads[min(threads)]

    def touch(self, reads: Iterable[str], writes: Iterable[str]) -> None:
        """Take it that the step under way touches this as well."""
        self._by_the_test = self._by_the_test.and_also(reads, writes)

    def _choose(self, runnable: Iterable[int], current: int | None) -> int:
        if MODEL in runnable:
            return MODEL
        if current is not None and self._contended.isdisjoint(self._next[current].reads | self._next[current].writes):
            return current
        place = len(self._choices)
        choice = self._prefix[place] if place < len(self._prefix) else self._go_on(runnable, current)
        if choice not in runnable:
            raise interleave_test.ReplayDivergence("the threads did not do the same again")
        if current is not None and choice != current:
            self._spent += 1
            if OUTSIDE not in self._next[current].reads:
                self._held_up[current] = self._next[current]
        self._choices.append(choice)
        return choice

    def _go_on(self, runnable: Iterable[int], current: int | None) -> int:
        """Return who goes on where the prefix ends, and note down who else might."""
        eligible = sorted(set(runnable) - self._held_up.keys())
        if not eligible:
            self._known = True
            return min(runnable)
        choice = current if current is not None else eligible[0]
        past = tuple(sorted(self._past.items()))
        for thread in reversed(eligible):
            spent = self._spent + (current is not None and thread != current)
            if spent < self._spent_at.get((past, thread), self._most + 1):
                self._spent_at[past, thread] = spent
                if thread != choice:
                    self._to_do.append([*self._choices, thread])
            elif thread == choice:
                self._known = True
        return choice

    def _step_has_ended(self) -> None:
        """Write down the step that has ended, and what its thread does next."""
        thread, coming = self._running, next_step(sys._getframe())
        done = self._next.get(thread, STARTING)
        self._next[thread] = coming
        if self._by_the_test is not NOTHING:
            done, self._by_the_test = done.and_also(*self._by_the_test), NOTHING
        # A thread stops after it has let go of a lock, so the locks that it stops at are touched already.
        locks = {name for name in coming.writes if name.startswith(LOCKS)}
        if locks:
            done = done.and_also(writes=locks)
        for name in done.reads | done.writes:
            self._users.setdefault(name, set()).add(thread)
        self._written |= done.writes
        writes = done.writes & self._contended
        reads = (done.reads & self._contended) - writes
        if reads or writes:
            self._remember(thread, reads | ({EVERYTHING} - writes), writes)

    def _remember(self, thread: int, reads: frozenset[str], writes: frozenset[str]) -> None:
        """Add a step to the past of its thread, with all that it comes after."""
        self._held_up = {
            other: step
            for other, step in self._held_up.items()
            if other != thread
            and writes.isdisjoint(step.reads | step.writes | {EVERYTHING})
            and step.writes.isdisjoint(reads | {EVERYTHING})
        }
        after_writes = sorted((name, self._last_write.get(name)) for name in reads | writes)
        after_reads = sorted((name, self._reads_since.get(name)) for name in writes)
        step = hash((thread, self._past.get(thread), *after_writes, *after_reads))
        self._past[thread] = step
        for name in writes:
            self._last_write[name] = step
            self._reads_since.pop(name, None)
        for name in reads:
            self._reads_since[name] = (self._reads_since.get(name, 0) + step) % 2**64  # in whatever order


def touch(*, reads: Iterable[str] = (), writes: Iterable[str] = ()) -> None:
    """Say what a test's own code, which is not interleaved, touches that other threads may see."""
    scheduler = current_scheduler()
    if scheduler is not None and isinstance(scheduler._strategy, Search):
        scheduler._strategy.touch(reads, writes)
