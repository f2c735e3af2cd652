"""What users test with: time that only the test moves, and a sink that keeps what it is given.

A plain test moves the time by hand:

```python
def test_the_payment_service_is_left_alone():
    clock, recorder = FakeClock(), EventRecorder()
    breaker = CircuitBreaker("payments", clock=clock, sink=recorder)

    breaker.trip()
    assert breaker.retry_after == 30.0
    clock.advance(30)
    assert breaker.retry_after == 0.0
    assert recorder.topics == ["arb.swarm.circuit.opened"]
```

An async one lets the time run, and every task with it that sleeps by the clock; no real time passes:

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
_LONGEST = 1e11  # seconds, some 3,000 years: no date is much later


@attrs.frozen(eq=False)
class _Sleeper:
    """A task that sleeps until `deadline`, in nanoseconds of its clock."""

    deadline: int
    waker: Waker = attrs.field(factory=Waker)


class FakeClock:
    """A clock that stands still until it is moved: the whole of time in a test's hand.

    Time is kept in whole nanoseconds, so that ten steps of 0.1 s are one second exactly. Any thread may read and move
    the clock, with an event loop or without, and tasks of several loops may sleep by it.

    Args:
        start: What `monotonic` reads at first: seconds, 0 or more. `now` begins at midnight of 1 January 2000, UTC,
            whatever the start.
    """

    __slots__ = ("__weakref__", "_asleep", "_monitor", "_start", "_time", "_woken")

    def __init__(self, start: Seconds = 0.0) -> None:
        self._start = self._time = _nanoseconds(check_seconds("start", start))
        self._monitor = Monitor()
        self._asleep: list[_Sleeper] = []  # by deadline, then in the order of going to sleep
        self._woken: list[_Sleeper] = []  # in the order in which they are to go on

    def monotonic(self) -> float:
        """Return the seconds that this clock has reached."""
        return self._time / _SECOND

    def now(self) -> datetime:
        """Return the date that this clock has reached: aware, in UTC."""
        return _EPOCH + timedelta(microseconds=(self._time - self._start) // 1000)

    async def sleep(self, seconds: float) -> None:
        """Sleep until the clock has been moved on by `seconds`; 0 or less only lets other tasks run.

        Raises:
            TypeError: It is no int or float.
            ValueError: It is not a number (NaN).
        """
        checked = check_delay("seconds", seconds)
        if checked > _LONGEST:
            await sleep_forever()
        delay = _nanoseconds(max(checked, 0))
        if delay <= 0:
            await checkpoint()
            return
        sleeper = _Sleeper(self._time + delay)
        self._monitor.run(self._lie_down, sleeper)
        try:
            await sleeper.waker.wait()
            while not self._monitor.look(self._is_next, sleeper):
                await checkpoint()  # trio runs the tasks that are woken together in an order of its own
        finally:
            self._monitor.run(self._get_up, sleeper)

    def advance(self, seconds: Seconds) -> None:
        """Move the time on, all at once, and wake every sleeper whose deadline has come, in the deadlines' order.

        The woken tasks run when their loops get to them, and find the clock where this call has left it; `run_for`
        lets each of them run at its own moment.

        Args:
            seconds: How far, 0 or more: a clock does not go back.

        Raises:
            TypeError: It is no number of seconds.
            ValueError: It is negative, not a number, or more than 1e11 (some 3,000 years).
        """
        self._monitor.run(self._move_by, _checked(seconds))

    async def run_for(self, seconds: Seconds) -> None:
        """Let time pass as it does in earnest, only faster.

        The clock goes from one sleeper's deadline to the next, those included who come to sleep on the way. Before the
        first step and after each, the tasks of this event loop run until all of them wait for something. What happens
        outside the loop, in a thread or on a socket, is not waited for.

        Args:
            seconds: How far, 0 or more.

        Raises:
            TypeError: It is no number of seconds.
            ValueError: It is negative, not a number, or more than 1e11 (some 3,000 years).
        """
        end = self._time + _checked(seconds)
        await _let_tasks_run()
        while (deadline := self._monitor.look(self._next_deadline)) is not None and deadline <= end:
            self._monitor.run(self._move_to, deadline)
            await _let_tasks_run()
        self._monitor.run(self._move_to, end)

    def __repr__(self) -> str:
        return f"<FakeClock at {self.monotonic()} s, {len(self._asleep)} asleep>"

    # Under the monitor

    def _lie_down(self, sleeper: _Sleeper) -> None:
        insort(self._asleep, sleeper, key=_deadline)
        self._move_to(self._time)  # another thread may have moved it past the deadline already

    def _get_up(self, sleeper: _Sleeper) -> None:
        among = self._woken if sleeper in self._woken else self._asleep
        among.remove(sleeper)

    def _is_next(self, sleeper: _Sleeper) -> bool:
        return sleeper is next(woken for woken in self._woken if woken.waker.loop is sleeper.waker.loop)

    def _next_deadline(self) -> int | None:
        return self._asleep[0].deadline if self._asleep else None

    def _move_by(self, nanoseconds: int) -> None:
        self._move_to(self._time + nanoseconds)

    def _move_to(self, moment: int) -> None:
        self._time = max(self._time, moment)  # another thread may have moved it past the moment already
        while self._asleep and self._asleep[0].deadline <= self._time:
            sleeper = self._asleep.pop(0)
            self._woken.append(sleeper)
            sleeper.waker.wake_at_once()


class EventRecorder:
    """A sink that keeps every event it is given, from any thread.

    Attributes:
        events: What came so far, in order: the recorder's own list, which goes on growing.
    """

    __slots__ = ("events",)

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        """Keep the event."""
        self.events.append(event)

    @property
    def topics(self) -> list[str]:
        """The topics of what came so far, in order."""
        return [event.topic for event in self.events]

    def clear(self) -> None:
        """Forget what came so far."""
        self.events.clear()

    def __repr__(self) -> str:
        return f"<EventRecorder of {len(self.events)} events>"


def _checked(seconds: object) -> int:
    """Return how far the clock is to go, in nanoseconds, or raise."""
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
    """Let the other tasks of this event loop run until none of them is ready to."""
    loop = current_token().native_token
    if isinstance(loop, asyncio.AbstractEventLoop):
        await _let_asyncio_run(getattr(loop, "_ready", None))
    else:
        from trio.testing import wait_all_tasks_blocked  # noqa: PLC0415 - only there when trio runs

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
    """Tell whether a task of the running asyncio loop, other than the current one, can run.

    A task is ready if it waits for no future, or for one that is done. `anyio.wait_all_tasks_blocked` relies on the
    same private attribute.
    """
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    return any((waiter := getattr(task, "_fut_waiter", None)) is None or waiter.done() for task in tasks)
