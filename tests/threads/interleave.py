"""Makes threads and interrupts meet inside the package, at every line of it.

CPython seldom switches threads inside a short piece of code, so thread tests would pass without any lock. This module
traces the lines of the package, and only those:

- `at_every_line` runs an act repeatedly, and strikes once in each run, one line later every time: with a signal, a
  finalizer, or anything else that may happen between two lines of a thread.
- `Interleaver` runs jobs in threads that pause at random lines, by a seed, and let the other threads go ahead. It is
  for long runs of many calls; `tests/schedules` tries every schedule of short ones.

Coverage and debuggers trace as well, so the tracer from before is restored afterwards.
"""

from __future__ import annotations

import random
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import swarmguard
from tests.breaker_tools import SAFETY

S = TypeVar("S")

PACKAGE = str(Path(swarmguard.__file__).parent)
PATIENCE = 0.0005
"""Seconds that a thread pauses at most, since the others may be waiting for a lock that it holds."""


class Interleaver:
    """Runs jobs in threads that take turns at random lines of the traced files.

    Args:
        seed: Decides which thread pauses where, as far as the operating system allows.
        within: The folder or the file whose lines are traced.
        share: The share of the lines at which a thread pauses: 0 to 1.
    """

    def __init__(self, seed: object, *, within: str = PACKAGE, share: float = 0.2) -> None:
        self._seed = seed
        self._within = within
        self._share = share
        self._lines = 0
        self._at_work = 0
        self._moved = threading.Condition()
        self._local = threading.local()

    def run(self, jobs: Iterable[Callable[[], object]]) -> list[Any]:
        """Run the jobs to their ends, and return their results; raise the first error."""
        jobs = list(jobs)
        results: list[Any] = [None] * len(jobs)
        errors: list[BaseException] = []
        self._at_work = len(jobs)
        ready = threading.Barrier(len(jobs))

        def work(index: int) -> None:
            self._local.random = random.Random(f"{self._seed}/{index}")
            ready.wait(SAFETY)
            try:
                results[index] = jobs[index]()
            except BaseException as error:  # noqa: BLE001 - raised again below
                errors.append(error)
            finally:
                with self._moved:
                    self._at_work -= 1
                    self._moved.notify_all()

        threads = [threading.Thread(target=work, args=(index,), daemon=True) for index in range(len(jobs))]
        before = threading.gettrace()
        threading.settrace(self._enter)
        try:
            for thread in threads:
                thread.start()
        finally:
            threading.settrace(before)  # type: ignore[arg-type]
        wait_for(threads)
        if errors:
            raise errors[0]
        return results

    def _enter(self, frame: FrameType, event: str, arg: object) -> Any:
        return self._pass if frame.f_code.co_filename.startswith(self._within) else None

    def _pass(self, frame: FrameType, event: str, arg: object) -> Any:
        # A thread that has not begun its job may collect garbage: a finalizer's lines are not part of the schedule.
        chance: random.Random | None = getattr(self._local, "random", None)
        if event == "line" and chance is not None:
            with self._moved:
                self._lines += 1
                self._moved.notify_all()
                if chance.random() < self._share:
                    goal = self._lines + chance.randint(1, 40)
                    self._moved.wait_for(lambda: self._lines >= goal or self._at_work <= 1, PATIENCE)
        return self._pass


def wait_for(threads: Iterable[threading.Thread]) -> None:
    """Wait until the threads have ended; raise with the stack of one that hangs."""
    deadline = time.monotonic() + SAFETY
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive():
            frame = sys._current_frames().get(thread.ident or 0)
            where = "".join(traceback.format_stack(frame)) if frame else "nowhere"
            raise AssertionError(f"{thread.name} hangs:\n{where}")


@contextmanager
def struck(number: int, strike: Callable[[], object], *, event: str = "line") -> Iterator[list[bool]]:
    """Call `strike` in this thread at the package's `number`-th line (or call) in the block, counted from 1.

    An exception of `strike` is raised at the line that was struck. The value is a list that is empty until then.
    """
    done: list[bool] = []
    count = 0

    def trace(frame: FrameType, kind: str, arg: object) -> Any:
        nonlocal count
        if done or not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        if kind == event:
            count += 1
            if count == number:
                done.append(True)
                strike()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield done
    finally:
        sys.settrace(before)


def at_every_line(
    make: Callable[[], S],
    act: Callable[[S], object],
    strike: Callable[[S], object],
    check: Callable[[S], object],
    *,
    event: str = "line",
) -> int:
    """Run `act(make())` with `strike` at its first line of the package, then at its second, and so on to its last.

    After each run, `check` gets the object that was made. Returns the number of lines that were struck.
    """
    number = 0
    while True:
        number += 1
        subject = make()
        with struck(number, lambda subject=subject: strike(subject), event=event) as done:
            act(subject)
        check(subject)
        if not done:
            return number - 1
