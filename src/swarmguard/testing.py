"""Helpers for tests: a clock that only the test moves, and a sink that keeps its events.

A plain test moves the clock:

```python
def test_an_open_circuit_admits_a_probe_after_30_seconds():
    clock, recorder = FakeClock(), EventRecorder()
    breaker = CircuitBreaker("payments", clock=clock, sink=recorder)

    breaker.trip()
    assert breaker.retry_after == 30.0
    clock.advance(30)
    assert breaker.retry_after == 0.0
    assert recorder.topics == ["arb.swarm.circuit.opened"]
```

An async test lets time pass, with all tasks that sleep by the clock. No real time passes:

```python
async def test_a_silent_agent_is_dead():
    clock = FakeClock()
    overseer = Overseer(clock=clock)
    scanner = overseer.register_agent("Scanner")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(overseer.run)
        await clock.run_for(60)
        assert overseer.get_agent_status(scanner).health is AgentHealth.DEAD
        tasks.cancel_scope.cancel()
```
"""

from __future__ import annotations

import asyncio
from bisect import insort
from collections.abc import Sized
from datetime import UTC, datetime, timedelta

import attrs
from anyio import sleep_forever
from anyio.lowlevel import checkpoint, current_token

from swarmguard._common.fields import Seconds, check_delay, check_seconds, wrong_value
from swarmguard._common.monitor import Monitor
from swarmguard._common.waking import Waker
from swarmguard.events import Event

__all__ = ["EventRecorder", "FakeClock"]

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_SECOND = 1_000_000_000  # in nanoseconds
_LONGEST = 1e11  # seconds, about 3,000 years; `datetime` cannot go much further


@attrs.frozen(eq=False)
class _Sleeper:
    """A sleeping task. `deadline` is in nanoseconds of its clock."""

    deadline: int
    waker: Waker = attrs.field(factory=Waker)


class FakeClock:
    """A clock that stands still until a test moves it.

    Time is kept in whole nanoseconds, so ten steps of 0.1 s are exactly one second. Any thread may read and move the
    clock, with or without an event loop, and tasks of several event loops may sleep by it.

    Args:
        start: The first reading of `monotonic`, in seconds, 0 or more. `now` starts at midnight of 1 January 2000 in
            UTC, whatever `start` is.

    Raises:
        TypeError: `start` is not a number of seconds.
        ValueError: `start` is negative or not finite.
    """

    __slots__ = ("__weakref__", "_asleep", "_monitor", "_start", "_time", "_woken")

    def __init__(self, start: Seconds = 0.0) -> None:
        self._start = self._time = _nanoseconds(check_seconds("start", start))
        self._monitor = Monitor()
        self._asleep: list[_Sleeper] = []  # by deadline, then in the order of going to sleep
        self._woken: list[_Sleeper] = []  # in the order in which they resume

    def monotonic(self) -> float:
        """Return the clock's time in seconds."""
        return self._time / _SECOND

    def now(self) -> datetime:
        """Return the clock's date and time, as an aware `datetime` in UTC."""
        return _EPOCH + timedelta(microseconds=(self._time - self._start) // 1000)

    async def sleep(self, seconds: float) -> None:
        """Sleep until the clock has been moved by `seconds`.

        Args:
            seconds: The length in seconds. 0 or less only lets other tasks run; infinity sleeps until cancelled.

        Raises:
            TypeError: `seconds` is not an `int` or `float`.
            ValueError: `seconds` is NaN.
        """
        checked = check_delay("seconds", seconds)
        if checked > _LONGEST:
            await sleep_forever()
        delay = _nanoseconds(max(checked, 0))
        if delay <= 0:
            await checkpoint()
            return
        sleeper = _Sleeper(self._time + delay)
        self._monitor.run(self._add_sleeper, sleeper)
        try:
            await sleeper.waker.wait()
            while not self._monitor.read(self._is_next, sleeper):
                await checkpoint()  # trio resumes tasks that are woken together in random order
        finally:
            self._monitor.run(self._remove_sleeper, sleeper)

    def advance(self, seconds: Seconds) -> None:
        """Move the clock in one step, and wake all sleepers whose deadline has come, in the order of their deadlines.

        The woken tasks run when their event loop gets to them, and read the time that this call has set. To run each
        task at its own deadline, use `run_for`.

        Args:
            seconds: The step in seconds, 0 or more.

        Raises:
            TypeError: `seconds` is not a number of seconds.
            ValueError: `seconds` is negative, not finite, or more than 1e11 (about 3,000 years).
        """
        self._monitor.run(self._move_by, _checked(seconds))

    async def run_for(self, seconds: Seconds) -> None:
        """Advance the clock, and run each sleeping task at its own deadline.

        The clock moves from one deadline to the next, including deadlines of tasks that go to sleep on the way. Before
        the first step and after each step, the tasks of this event loop run until all of them wait for something. Work
        outside the event loop, in threads or on sockets, is not waited for.

        Args:
            seconds: How far to advance, in seconds, 0 or more.

        Raises:
            TypeError: `seconds` is not a number of seconds.
            ValueError: `seconds` is negative, not finite, or more than 1e11 (about 3,000 years).
        """
        end = self._time + _checked(seconds)
        await _let_tasks_run()
        while (deadline := self._monitor.read(self._next_deadline)) is not None and deadline <= end:
            self._monitor.run(self._move_to, deadline)
            await _let_tasks_run()
        self._monitor.run(self._move_to, end)

    def __repr__(self) -> str:
        return f"<FakeClock at {self.monotonic()} s, {len(self._asleep)} asleep>"

    # These need the monitor

    def _add_sleeper(self, sleeper: _Sleeper) -> None:
        insort(self._asleep, sleeper, key=_deadline)
        self._move_to(self._time)  # another thread may have moved the clock past the deadline already

    def _remove_sleeper(self, sleeper: _Sleeper) -> None:
        sleepers = self._woken if sleeper in self._woken else self._asleep
        sleepers.remove(sleeper)

    def _is_next(self, sleeper: _Sleeper) -> bool:
        return sleeper is next(woken for woken in self._woken if woken.waker.loop is sleeper.waker.loop)

    def _next_deadline(self) -> int | None:
        return self._asleep[0].deadline if self._asleep else None

    def _move_by(self, nanoseconds: int) -> None:
        self._move_to(self._time + nanoseconds)

    def _move_to(self, moment: int) -> None:
        self._time = max(self._time, moment)  # another thread may have moved the clock further already
        while self._asleep and self._asleep[0].deadline <= self._time:
            sleeper = self._asleep.pop(0)
            self._woken.append(sleeper)
            sleeper.waker.wake_at_once()


class EventRecorder:
    """A sink that keeps every event. Safe from any thread.

    Attributes:
        events: The events so far, in order. This is the list that the recorder appends to.
    """

    __slots__ = ("events",)

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        """Keep the event."""
        self.events.append(event)

    @property
    def topics(self) -> list[str]:
        """The topics of the events so far, in order."""
        return [event.topic for event in self.events]

    def clear(self) -> None:
        """Remove all events from the list."""
        self.events.clear()

    def __repr__(self) -> str:
        return f"<EventRecorder of {len(self.events)} events>"


def _checked(seconds: object) -> int:
    """Return a checked step of the clock in nanoseconds."""
    checked = check_seconds("seconds", seconds)
    if checked > _LONGEST:
        wrong_value("seconds", f"at most {_LONGEST:g}", seconds)
    return _nanoseconds(checked)


def _nanoseconds(seconds: float) -> int:
    whole, part = divmod(seconds, 1)
    return int(whole) * _SECOND + round(part * _SECOND)


def _deadline(sleeper: _Sleeper) -> int:
    return sleeper.deadline


async def _let_tasks_run() -> None:
    """Run the other tasks of this event loop until none of them is ready."""
    loop = current_token().native_token
    if isinstance(loop, asyncio.AbstractEventLoop):
        await _let_asyncio_run(getattr(loop, "_ready", None))
    else:
        from trio.testing import wait_all_tasks_blocked  # noqa: PLC0415 - trio is optional

        await wait_all_tasks_blocked()


async def _let_asyncio_run(ready: Sized | None) -> None:
    """Yield to the loop until its queue of `ready` callbacks is empty, at most 10,000 times: a task may never wait.

    uvloop hides its queue (`ready` is None). There, yield at least 100 times, since a callback may be scheduled that
    belongs to no task yet, and then go on while a task is ready.
    """
    for turn in range(10_000):
        await checkpoint()
        if not ready and (ready is not None or (turn >= 99 and not _a_task_is_ready())):
            return


def _a_task_is_ready() -> bool:
    """Return whether a task of the running asyncio loop, other than the current one, can run.

    A task is ready if it waits for no future, or for one that is done. `anyio.wait_all_tasks_blocked` relies on the
    same private attribute.
    """
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    return any((waiter := getattr(task, "_fut_waiter", None)) is None or waiter.done() for task in tasks)
