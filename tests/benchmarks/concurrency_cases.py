"""The cost of a breaker under concurrent use: threads, and the tasks of an event loop."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier
from time import sleep

from tests.benchmarks.case import Case, Work
from tests.benchmarks.peers.contest import contestants, on_loop
from tests.benchmarks.peers.flaws import admits_after_failures, closes_by_late_success, runs_one_at_a_time
from tests.benchmarks.peers.libraries import Library

TASKS = 1_000

TOGETHER = (admits_after_failures, closes_by_late_success)
"""The flaws to test for when calls overlap."""


def wait(x):
    """Sleep for 5 ms, like a call of a service."""
    sleep(0.005)


def do_nothing(x):
    """Do nothing."""


async def yield_once(x):
    """Yield to the other tasks."""
    await asyncio.sleep(0)


def shares(n: int, sharers: int) -> list[int]:
    """Divide `n` calls as evenly as possible."""
    return [n // sharers + (index < n % sharers) for index in range(sharers)]


def in_threads(fn, threads: int) -> Work:
    """Call a function in `threads` threads, which start together."""
    pool = ThreadPoolExecutor(threads)
    start = Barrier(threads)

    def calls(share):
        start.wait()
        for _ in range(share):
            fn(1)

    def work(n):
        for _ in pool.map(calls, shares(n, threads)):
            pass

    return work


def in_tasks(fn) -> Work:
    """Await a coroutine function in a thousand tasks of one event loop."""

    async def awaits(share):
        for _ in range(share):
            await fn(1)

    async def work(n):
        await asyncio.gather(*map(awaits, shares(n, TASKS)))

    return on_loop(work)


def guarded_in_threads(fn, threads: int, breaker: Library) -> Work:
    """Call a decorated function in `threads` threads."""
    return in_threads(breaker.function(fn), threads)


def case_of_threads(fn, what: str, threads: int, step: int) -> Case:
    """Return the case of a function that is called in `threads` threads."""
    return Case(
        name=f"{threads} {'thread' if threads == 1 else 'threads'}, {what}",
        group="Threads and tasks",
        contestants=contestants(
            partial(in_threads, fn, threads),
            {"function": partial(guarded_in_threads, fn, threads)},
            checks=(admits_after_failures,) if threads == 1 else (*TOGETHER, runs_one_at_a_time),
        ),
        step=step,
        series=f"threads, {what}",
        size=threads,
    )


CASES = (
    *(case_of_threads(wait, "5 ms of sleep", threads, step=4 * threads) for threads in (1, 4, 16)),
    *(case_of_threads(do_nothing, "nothing", threads, step=10_000) for threads in (1, 4, 16)),
    Case(
        name="1,000 tasks on one event loop",
        group="Threads and tasks",
        contestants=contestants(
            partial(in_tasks, yield_once),
            {"coroutine": lambda breaker: in_tasks(breaker.coroutine(yield_once))},
            checks=TOGETHER,
        ),
        step=10 * TASKS,
    ),
)
