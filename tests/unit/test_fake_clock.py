"""`FakeClock`: a clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
from anyio.lowlevel import checkpoint

from swarmguard import testing
from swarmguard.testing import FakeClock

MIDNIGHT = datetime(2000, 1, 1, tzinfo=UTC)


async def sleep_and_tell(clock, seconds, told, name=None):
    """Sleep, then log the name and the time."""
    await clock.sleep(seconds)
    told.append((name or seconds, clock.monotonic()))


def names(told):
    """Return the logged names, in order."""
    return [name for name, _ in told]


# Time itself


@pytest.mark.parametrize("start", [90, 90.0, timedelta(minutes=1.5)])
def test_start(start):
    """The clock starts at the given time, in any of the three forms of a duration. [C2]"""
    assert FakeClock(start).monotonic() == 90.0


def test_start_is_zero():
    """By default the clock starts at 0.0, at a fixed aware date in UTC. [C2]"""
    clock = FakeClock()
    assert clock.monotonic() == 0.0
    assert clock.now() == MIDNIGHT
    assert clock.now().utcoffset() == timedelta(0)


def test_the_date_does_not_depend_on_the_start():
    """The date does not depend on the start of `monotonic`, however large that is. [C2]"""
    clock = FakeClock(10**15)
    clock.advance(1)
    assert clock.monotonic() == 10**15 + 1
    assert clock.now() == MIDNIGHT + timedelta(seconds=1)


@pytest.mark.parametrize("seconds", [2e11, 1e308, 10**300], ids=["far", "farther", "as an int"])
def test_a_clock_goes_no_further_than_dates(seconds):
    """A step past the last representable date raises a `ValueError`; a start there is allowed. [C2]"""
    clock = FakeClock()
    with pytest.raises(ValueError, match=r"^seconds must be at most 1e\+11, got"):
        clock.advance(seconds)
    assert clock.monotonic() == 0.0
    assert FakeClock(seconds).monotonic() == float(seconds)


@pytest.mark.anyio
async def test_who_sleeps_beyond_all_dates_sleeps_for_ever():
    """A sleep longer than any step can reach never ends. [C2]"""
    clock = FakeClock()
    with anyio.move_on_after(0) as scope:
        await clock.sleep(1e300)
    assert scope.cancelled_caught


@pytest.mark.parametrize("seconds", [2, 2.0, timedelta(seconds=2)])
def test_advance_moves_both_times(seconds):
    """`advance` moves the seconds and the date by the same amount. [C2]"""
    clock = FakeClock(1)
    clock.advance(seconds)
    assert clock.monotonic() == 3.0
    assert clock.now() == MIDNIGHT + timedelta(seconds=2)


def test_reading_moves_nothing():
    """No time passes between two readings. [C2]"""
    clock = FakeClock()
    assert clock.monotonic() == clock.monotonic()
    assert clock.now() == clock.now()


@pytest.mark.parametrize(("step", "times"), [(0.1, 10), (0.01, 100), (1e-9, 1_000_000_000 // 10_000), (1 / 3, 3)])
def test_steps_add_up_exactly(step, times):
    """Ten steps of 0.1 s are exactly one second. [C2]"""
    clock = FakeClock()
    for _ in range(times):
        clock.advance(step)
    assert clock.monotonic() == round(step * 1e9) * times / 1_000_000_000
    assert clock.now() == MIDNIGHT + timedelta(microseconds=round(step * 1e9) * times // 1000)


def test_ten_tenths_are_one():
    """Ten steps of 0.1 s end at exactly 1.0, where a sum of floats does not. [C2]"""
    clock, floats = FakeClock(), 0.0
    for _ in range(10):
        clock.advance(0.1)
        floats += 0.1
    assert clock.monotonic() == 1.0 != floats


def test_a_nanosecond_counts():
    """A step of one nanosecond is visible, even at a late time. [C2]"""
    clock = FakeClock(1_000_000)
    clock.advance(1e-9)
    assert clock.monotonic() == 1_000_000.000000001


@pytest.mark.parametrize("seconds", [-1, -1e-9, math.nan, math.inf, timedelta(seconds=-1)])
def test_time_cannot_go_back(seconds):
    """A step that is negative or not finite raises a `ValueError`, and the clock does not move. [C2]"""
    clock = FakeClock(5)
    with pytest.raises(ValueError, match="seconds must be a finite number of seconds, 0 or more, got"):
        clock.advance(seconds)
    with pytest.raises(ValueError, match="start must be a finite number of seconds, 0 or more, got"):
        FakeClock(seconds)
    assert clock.monotonic() == 5.0


@pytest.mark.parametrize("seconds", ["1", None, True])
def test_a_step_is_a_number(seconds):
    """A step that is not a number raises a `TypeError` that says what is allowed. [C2]"""
    with pytest.raises(TypeError, match=r"seconds must be a number of seconds \(int, float or timedelta\), got"):
        FakeClock().advance(seconds)


@pytest.mark.anyio
async def test_run_for_takes_what_advance_takes():
    """`run_for` checks its argument like `advance`, and takes the same forms. [C2]"""
    clock = FakeClock()
    with pytest.raises(ValueError, match="seconds must be"):
        await clock.run_for(-1)
    with pytest.raises(TypeError, match="seconds must be"):
        await clock.run_for("1")
    await clock.run_for(timedelta(seconds=1))
    await clock.run_for(0)
    assert clock.monotonic() == 1.0


def test_threads_lose_no_step():
    """Many threads may move one clock; every step counts. [C2]"""
    clock = FakeClock()

    def steps(_):
        for _ in range(500):
            clock.advance(0.001)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(steps, range(8)))
    assert clock.monotonic() == 4.0


def test_repr_shows_the_time():
    """The repr shows the time and the number of sleepers."""
    assert repr(FakeClock(1.5)) == "<FakeClock at 1.5 s, 0 asleep>"


# Sleeping, and waking by `advance`


@pytest.mark.anyio
async def test_advance_wakes_at_the_deadline_and_not_before():
    """A sleeper wakes when its deadline is reached to the nanosecond. [C2]"""
    clock, told = FakeClock(), []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sleep_and_tell, clock, 3, told)
        await clock.run_for(0)
        clock.advance(2.999_999_999)
        await clock.run_for(0)
        assert told == []
        clock.advance(0.000_000_001)
    assert told == [(3, 3.0)]


@pytest.mark.anyio
async def test_advance_wakes_in_deadline_order():
    """Sleepers whose deadlines have passed continue in the order of deadlines, then of going to sleep. [C2]"""
    clock, told = FakeClock(), []
    lengths = [5, 2, 9, 1, 2.5, 7, 3, 8, 4, 6]
    async with anyio.create_task_group() as tasks:
        for seconds in lengths:
            tasks.start_soon(sleep_and_tell, clock, seconds, told)
            await clock.run_for(0)  # one at a time, since trio starts tasks in any order
        for name in ("b", "a", "c"):
            tasks.start_soon(sleep_and_tell, clock, 10, told, name)
            await clock.run_for(0)
        clock.advance(4)
        clock.advance(100)
    assert names(told) == [*sorted(lengths), "b", "a", "c"]


@pytest.mark.anyio
async def test_advance_is_one_leap():
    """A task that `advance` wakes finds the clock at the end of the step, not at its own deadline. [C2]"""
    clock, told = FakeClock(), []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sleep_and_tell, clock, 1, told)
        await clock.run_for(0)
        clock.advance(60)
    assert told == [(1, 60.0)]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_wake_up_is_direct():
    """Sleepers in the loop that moves the clock run at the next checkpoint of the task that moved it. [C2]"""
    clock, told = FakeClock(), []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sleep_and_tell, clock, 1, told)
        tasks.start_soon(sleep_and_tell, clock, 2, told)
        await clock.run_for(0)
        clock.advance(2)
        await checkpoint()
        assert names(told) == [1, 2]


@pytest.mark.anyio
@pytest.mark.parametrize("seconds", [0, -1.5, 1e-10, -math.inf])
async def test_no_time_to_sleep_is_a_checkpoint(seconds):
    """Sleeping for less than half a nanosecond only lets other tasks run, and can be cancelled. [C2]"""
    clock = FakeClock()
    await clock.sleep(seconds)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await clock.sleep(seconds)
    assert scope.cancelled_caught
    assert clock.monotonic() == 0.0


@pytest.mark.anyio
async def test_no_number_to_sleep():
    """Sleeping for an invalid number of seconds raises a clear error and leaves no sleeper. [C2]"""
    clock = FakeClock()
    with pytest.raises(TypeError, match=r"^seconds must be a number of seconds \(int or float\), got '1' \(str\)$"):
        await clock.sleep("1")
    with pytest.raises(ValueError, match=r"^seconds must be a number of seconds, got nan$"):
        await clock.sleep(math.nan)
    assert repr(clock) == "<FakeClock at 0.0 s, 0 asleep>"


@pytest.mark.anyio
async def test_sleeping_for_ever():
    """An infinite sleep ends by cancellation, and `run_for` does not stop for it. [C1]"""
    clock = FakeClock()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(clock.sleep, math.inf)
        await clock.run_for(10**6)
        tasks.cancel_scope.cancel()
    assert clock.monotonic() == 10**6


@pytest.mark.anyio
async def test_a_cancelled_sleeper_is_forgotten():
    """A cancelled sleeper leaves nothing behind, and the others wake as usual. [C2]"""
    clock, told = FakeClock(), []
    async with anyio.create_task_group() as tasks:
        async with anyio.create_task_group() as doomed:
            doomed.start_soon(sleep_and_tell, clock, 1, told)
            doomed.start_soon(sleep_and_tell, clock, 3, told)
            tasks.start_soon(sleep_and_tell, clock, 2, told)
            await clock.run_for(0)
            assert repr(clock) == "<FakeClock at 0.0 s, 3 asleep>"
            doomed.cancel_scope.cancel()
        assert repr(clock) == "<FakeClock at 0.0 s, 1 asleep>"
        clock.advance(5)
    assert names(told) == [2]


@pytest.mark.anyio
async def test_a_sleeper_cancelled_as_it_wakes_holds_up_nobody():
    """A sleeper that is cancelled after it was woken does not delay the ones after it. [C2]"""
    clock, told = FakeClock(), []
    async with anyio.create_task_group() as tasks, anyio.create_task_group() as doomed:
        doomed.start_soon(sleep_and_tell, clock, 1, told)
        tasks.start_soon(sleep_and_tell, clock, 2, told)
        await clock.run_for(0)
        clock.advance(5)
        doomed.cancel_scope.cancel()
    assert names(told)[-1:] == [2]


@pytest.mark.anyio
async def test_a_task_can_be_cancelled_while_others_go_first():
    """Each of several sleepers that wake together can be cancelled, whichever the loop runs first. [C2]"""
    for doomed in range(4):
        clock, told = FakeClock(), []
        scopes = [anyio.CancelScope() for _ in range(4)]

        async def sleep(number, clock=clock, told=told, scopes=scopes):
            with scopes[number]:
                await sleep_and_tell(clock, number + 1, told)

        async with anyio.create_task_group() as tasks:
            for number in range(4):
                tasks.start_soon(sleep, number)
            await clock.run_for(0)
            clock.advance(4)
            scopes[doomed].cancel()
        survivors = [name for name in names(told) if name != doomed + 1]
        assert survivors == [number + 1 for number in range(4) if number != doomed]


@pytest.mark.anyio
async def test_a_thread_can_move_the_clock():
    """A worker thread without an event loop wakes the sleepers of a loop. [C2]"""
    clock, told = FakeClock(), []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sleep_and_tell, clock, 2, told)
        tasks.start_soon(sleep_and_tell, clock, 1, told)
        await clock.run_for(0)
        await anyio.to_thread.run_sync(clock.advance, 2)
    assert names(told) == [1, 2]


def test_sleepers_in_two_loops_and_no_loop_at_all():
    """One `advance` in sync code wakes the sleepers of loops in other threads, each loop in order. [C2]"""
    clock = FakeClock()
    told = {"asyncio": [], "trio": []}
    asleep = threading.Barrier(3)

    async def sleepers(backend):
        async with anyio.create_task_group() as tasks:
            for seconds in (3, 1, 2):
                tasks.start_soon(sleep_and_tell, clock, seconds, told[backend])
                await clock.run_for(0)
            await anyio.to_thread.run_sync(asleep.wait, 10)

    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(anyio.run, sleepers, backend, backend=backend) for backend in told]
        asleep.wait(10)
        clock.advance(3)
        for run in runs:
            run.result(10)
    assert names(told["asyncio"]) == names(told["trio"]) == [1, 2, 3]


@pytest.mark.anyio
async def test_a_leap_while_a_task_lies_down(monkeypatch):
    """A sleep whose deadline another thread passes before it has begun still ends. [C2]"""
    clock, told = FakeClock(), []
    lie_down = testing._Sleeper

    def slowly(deadline):
        clock.advance(10)
        return lie_down(deadline)

    monkeypatch.setattr(testing, "_Sleeper", slowly)
    await sleep_and_tell(clock, 5, told)
    assert told == [(5, 10.0)]


def test_a_closed_loop_leaves_nobody_to_wake():
    """Sleepers of a closed loop delay neither the clock nor the sleepers of other loops. [C2]"""
    clock, told, buried = FakeClock(), [], []
    loop = asyncio.new_event_loop()
    task = loop.create_task(sleep_and_tell(clock, 1, buried))
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()

    async def live():
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(sleep_and_tell, clock, 2, told)
                await clock.run_for(2)

    anyio.run(live)
    assert (told, buried) == ([(2, 2.0)], [])
    task._log_destroy_pending = False  # asyncio would rightly complain


# Running


@pytest.mark.anyio
async def test_run_for_lets_each_sleeper_run_at_its_own_moment():
    """`run_for` stops at every deadline on the way, and ends at exactly the right time. [C2]"""
    clock, told = FakeClock(100), []
    async with anyio.create_task_group() as tasks:
        for seconds in (3, 1, 2):
            tasks.start_soon(sleep_and_tell, clock, seconds, told)
        await clock.run_for(3.5)
        assert told == [(1, 101.0), (2, 102.0), (3, 103.0)]
        assert clock.monotonic() == 103.5


@pytest.mark.anyio
async def test_run_for_meets_those_who_come_to_sleep_on_the_way():
    """A loop that sleeps 0.1 s at a time turns fifty times in five seconds, at the right times. [C2]"""
    clock, beats = FakeClock(), []

    async def beat():
        while True:
            await clock.sleep(0.1)
            beats.append(clock.monotonic())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(beat)
        await clock.run_for(5)
        tasks.cancel_scope.cancel()
    assert beats == [step / 10 for step in range(1, 51)]


@pytest.mark.anyio
async def test_run_for_ends_with_those_who_wake_at_its_end():
    """`run_for` wakes a sleeper at its very end, and not one whose deadline is a nanosecond later. [C2]"""
    clock, told = FakeClock(), []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sleep_and_tell, clock, 1, told)
        tasks.start_soon(sleep_and_tell, clock, 1.000_000_001, told)
        await clock.run_for(1)
        assert names(told) == [1]
        await clock.run_for(0.000_000_001)
        assert names(told) == [1, 1.000_000_001]


@pytest.mark.anyio
async def test_run_for_lets_the_woken_work_before_it_goes_on():
    """A woken task and all tasks that it wakes in turn run at the same time of the clock. [C2]"""
    clock, seen = FakeClock(), []
    ends = [anyio.create_memory_object_stream(0) for _ in range(20)]

    async def source():
        await clock.sleep(1)
        await ends[0][0].send("news")

    async def pass_on(number):
        await ends[number + 1][0].send(await ends[number][1].receive())

    async def drain():
        seen.append((await ends[-1][1].receive(), clock.monotonic()))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(drain)
        for number in range(19):
            tasks.start_soon(pass_on, number)
        tasks.start_soon(source)
        tasks.start_soon(clock.sleep, 1.5)
        await clock.run_for(10)
        assert seen == [("news", 1.0)]
    for sender, receiver in ends:
        sender.close()
        receiver.close()


@pytest.mark.anyio
async def test_run_for_goes_on_when_another_task_leaps():
    """A task may move the clock itself during `run_for`, even past its end: time only goes forward. [C2]"""
    clock, told = FakeClock(), []

    async def leap():
        await clock.sleep(1)
        clock.advance(60)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(leap)
        tasks.start_soon(sleep_and_tell, clock, 2, told)
        await clock.run_for(3)
    assert told == [(2, 61.0)]
    assert clock.monotonic() == 61.0


@pytest.mark.anyio
async def test_run_for_can_be_cancelled():
    """`run_for` can be cancelled, and leaves the clock at the time that it has reached. [C2]"""
    clock = FakeClock()
    with anyio.CancelScope() as scope:

        async def stop():
            await clock.sleep(1)
            scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stop)
            await clock.run_for(5)
    assert scope.cancelled_caught
    assert clock.monotonic() == 1.0


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_busy_task_cannot_hang_run_for():
    """On asyncio, a task that is always ready does not stop `run_for`. [C2]"""
    clock, told = FakeClock(), []

    async def spin():
        while not told:
            await checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(spin)
        tasks.start_soon(sleep_and_tell, clock, 1, told)
        await clock.run_for(2)
    assert told == [(1, 1.0)]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_loop_that_hides_its_queue():
    """On uvloop, which hides its queue, `run_for` waits for tasks that are ready, unless one never waits. [C2]"""
    turns, chain = [], []

    async def work(turns, number):
        for turn in range(number):
            await checkpoint()
            turns.append(turn)

    def call_soon_again(left):
        chain.append(left)
        if left:
            asyncio.get_running_loop().call_soon(call_soon_again, left - 1)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work, turns, 1000)
        tasks.start_soon(anyio.sleep_forever)
        await testing._let_asyncio_run(None)
        assert len(turns) == 1000
        call_soon_again(50)  # belongs to no task
        await testing._let_asyncio_run(None)
        assert chain[-1] == 0
        turns.clear()
        tasks.start_soon(work, turns, 1_000_000)
        await testing._let_asyncio_run(None)
        assert 9_000 < len(turns) <= 10_000
        tasks.cancel_scope.cancel()
