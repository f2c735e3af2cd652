"""The clock for tests."""

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


async def sleep_and_record(clock, seconds, woken, name=None):
    """Sleep, then record the name and the time of waking up."""
    await clock.sleep(seconds)
    woken.append((name or seconds, clock.monotonic()))


def names(woken):
    """Return the recorded names, in order."""
    return [name for name, _ in woken]


# Time itself


@pytest.mark.parametrize("start", [90, 90.0, timedelta(minutes=1.5)])
def test_a_clock_starts_at_the_given_time(start):
    """The clock starts at the given time, in any of the three forms of a duration. [C2]"""
    assert FakeClock(start).monotonic() == 90.0


def test_start_is_zero():
    """By default, the clock starts at 0.0, and at a fixed aware date in UTC. [C2]"""
    clock = FakeClock()
    assert clock.monotonic() == 0.0
    assert clock.now() == MIDNIGHT
    assert clock.now().utcoffset() == timedelta(0)


def test_the_date_does_not_depend_on_the_start():
    """The date does not depend on the start of `monotonic`. [C2]"""
    clock = FakeClock(10**15)
    clock.advance(1)
    assert clock.monotonic() == 10**15 + 1
    assert clock.now() == MIDNIGHT + timedelta(seconds=1)


@pytest.mark.parametrize("seconds", [2e11, 1e308, 10**300], ids=["far", "farther", "as an int"])
def test_the_longest_step(seconds):
    """A step beyond all dates is a `ValueError`; a start there is allowed. [C2]"""
    clock = FakeClock()
    with pytest.raises(ValueError, match=r"^seconds must be at most 1e\+11, got"):
        clock.advance(seconds)
    assert clock.monotonic() == 0.0
    assert FakeClock(seconds).monotonic() == float(seconds)


@pytest.mark.anyio
async def test_sleeping_longer_than_the_longest_step():
    """A sleep that no step can end never ends. [C2]"""
    clock = FakeClock()
    with anyio.move_on_after(0) as scope:
        await clock.sleep(1e300)
    assert scope.cancelled_caught


@pytest.mark.parametrize("seconds", [2, 2.0, timedelta(seconds=2)])
def test_advance_moves_both_times(seconds):
    """`advance` moves `monotonic` and `now` by the same amount. [C2]"""
    clock = FakeClock(1)
    clock.advance(seconds)
    assert clock.monotonic() == 3.0
    assert clock.now() == MIDNIGHT + timedelta(seconds=2)


def test_time_stands_still():
    """No time passes between two readings. [C2]"""
    clock = FakeClock()
    assert clock.monotonic() == clock.monotonic()
    assert clock.now() == clock.now()


@pytest.mark.parametrize(("step", "times"), [(0.1, 10), (0.01, 100), (1e-9, 1_000_000_000 // 10_000), (1 / 3, 3)])
def test_steps_add_up_exactly(step, times):
    """Steps add up exactly, to the nanosecond. [C2]"""
    clock = FakeClock()
    for _ in range(times):
        clock.advance(step)
    assert clock.monotonic() == round(step * 1e9) * times / 1_000_000_000
    assert clock.now() == MIDNIGHT + timedelta(microseconds=round(step * 1e9) * times // 1000)


def test_ten_tenths_are_one():
    """Ten steps of 0.1 s end at 1.0, unlike the sum of ten floats. [C2]"""
    clock, floats = FakeClock(), 0.0
    for _ in range(10):
        clock.advance(0.1)
        floats += 0.1
    assert clock.monotonic() == 1.0 != floats


def test_a_step_of_a_nanosecond():
    """A step of a nanosecond changes the time, far from the start too. [C2]"""
    clock = FakeClock(1_000_000)
    clock.advance(1e-9)
    assert clock.monotonic() == 1_000_000.000000001


@pytest.mark.parametrize("seconds", [-1, -1e-9, math.nan, math.inf, timedelta(seconds=-1)])
def test_time_cannot_go_back(seconds):
    """A step that is negative or not finite is a `ValueError`, and the time does not change. [C2]"""
    clock = FakeClock(5)
    with pytest.raises(ValueError, match="seconds must be a finite number of seconds, 0 or more, got"):
        clock.advance(seconds)
    with pytest.raises(ValueError, match="start must be a finite number of seconds, 0 or more, got"):
        FakeClock(seconds)
    assert clock.monotonic() == 5.0


@pytest.mark.parametrize("seconds", ["1", None, True])
def test_a_step_of_the_wrong_type(seconds):
    """A step that is not a number of seconds is a `TypeError`. [C2]"""
    with pytest.raises(TypeError, match=r"seconds must be a number of seconds \(int, float or timedelta\), got"):
        FakeClock().advance(seconds)


@pytest.mark.anyio
async def test_run_for_checks_its_argument():
    """`run_for` takes and rejects the same values as `advance`. [C2]"""
    clock = FakeClock()
    with pytest.raises(ValueError, match="seconds must be"):
        await clock.run_for(-1)
    with pytest.raises(TypeError, match="seconds must be"):
        await clock.run_for("1")
    await clock.run_for(timedelta(seconds=1))
    await clock.run_for(0)
    assert clock.monotonic() == 1.0


def test_threads_lose_no_step():
    """Steps by many threads at once add up. [C2]"""
    clock = FakeClock()

    def steps(_):
        for _ in range(500):
            clock.advance(0.001)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(steps, range(8)))
    assert clock.monotonic() == 4.0


def test_repr():
    """The repr shows the time and the number of sleepers."""
    assert repr(FakeClock(1.5)) == "<FakeClock at 1.5 s, 0 asleep>"


# Sleeping, and waking by `advance`


@pytest.mark.anyio
async def test_advance_wakes_at_the_deadline_and_not_before():
    """A sleeper wakes up at its deadline, not a nanosecond before. [C2]"""
    clock, woken = FakeClock(), []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sleep_and_record, clock, 3, woken)
        await clock.run_for(0)
        clock.advance(2.999_999_999)
        await clock.run_for(0)
        assert woken == []
        clock.advance(0.000_000_001)
    assert woken == [(3, 3.0)]


@pytest.mark.anyio
async def test_advance_wakes_in_deadline_order():
    """Sleepers resume in the order of their deadlines; equal ones in the order of going to sleep. [C2]"""
    clock, woken = FakeClock(), []
    lengths = [5, 2, 9, 1, 2.5, 7, 3, 8, 4, 6]
    async with anyio.create_task_group() as tasks:
        for seconds in lengths:
            tasks.start_soon(sleep_and_record, clock, seconds, woken)
            await clock.run_for(0)  # one after the other, since trio starts tasks in random order
        for name in ("b", "a", "c"):
            tasks.start_soon(sleep_and_record, clock, 10, woken, name)
            await clock.run_for(0)
        clock.advance(4)
        clock.advance(100)
    assert names(woken) == [*sorted(lengths), "b", "a", "c"]


@pytest.mark.anyio
async def test_advance_is_one_step():
    """A task that `advance` wakes reads the time after the step, not its own deadline. [C2]"""
    clock, woken = FakeClock(), []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sleep_and_record, clock, 1, woken)
        await clock.run_for(0)
        clock.advance(60)
    assert woken == [(1, 60.0)]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_waking_in_the_same_loop():
    """Sleepers in the loop of the caller of `advance` run at the caller's next checkpoint. [C2]"""
    clock, woken = FakeClock(), []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sleep_and_record, clock, 1, woken)
        tasks.start_soon(sleep_and_record, clock, 2, woken)
        await clock.run_for(0)
        clock.advance(2)
        await checkpoint()
        assert names(woken) == [1, 2]


@pytest.mark.anyio
@pytest.mark.parametrize("seconds", [0, -1.5, 1e-10, -math.inf])
async def test_sleeping_for_zero_or_less_is_a_checkpoint(seconds):
    """Sleeping for less than half a nanosecond only lets other tasks run, and can be cancelled. [C2]"""
    clock = FakeClock()
    await clock.sleep(seconds)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await clock.sleep(seconds)
    assert scope.cancelled_caught
    assert clock.monotonic() == 0.0


@pytest.mark.anyio
async def test_sleeping_for_a_wrong_value():
    """Sleeping for a value that is not a number of seconds raises, and adds no sleeper. [C2]"""
    clock = FakeClock()
    with pytest.raises(TypeError, match=r"^seconds must be a number of seconds \(int or float\), got '1' \(str\)$"):
        await clock.sleep("1")
    with pytest.raises(ValueError, match=r"^seconds must be a number of seconds, got nan$"):
        await clock.sleep(math.nan)
    assert repr(clock) == "<FakeClock at 0.0 s, 0 asleep>"


@pytest.mark.anyio
async def test_sleeping_for_ever():
    """An infinite sleep ends only by cancellation, and `run_for` does not run to it. [C1]"""
    clock = FakeClock()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(clock.sleep, math.inf)
        await clock.run_for(10**6)
        tasks.cancel_scope.cancel()
    assert clock.monotonic() == 10**6


@pytest.mark.anyio
async def test_a_cancelled_sleeper_is_removed():
    """A cancelled sleeper is removed, and the others wake up as usual. [C2]"""
    clock, woken = FakeClock(), []
    async with anyio.create_task_group() as tasks:
        async with anyio.create_task_group() as doomed:
            doomed.start_soon(sleep_and_record, clock, 1, woken)
            doomed.start_soon(sleep_and_record, clock, 3, woken)
            tasks.start_soon(sleep_and_record, clock, 2, woken)
            await clock.run_for(0)
            assert repr(clock) == "<FakeClock at 0.0 s, 3 asleep>"
            doomed.cancel_scope.cancel()
        assert repr(clock) == "<FakeClock at 0.0 s, 1 asleep>"
        clock.advance(5)
    assert names(woken) == [2]


@pytest.mark.anyio
async def test_a_sleeper_cancelled_as_it_wakes_does_not_block_the_others():
    """A sleeper that is cancelled after it was woken does not block those after it. [C2]"""
    clock, woken = FakeClock(), []
    async with anyio.create_task_group() as tasks, anyio.create_task_group() as doomed:
        doomed.start_soon(sleep_and_record, clock, 1, woken)
        tasks.start_soon(sleep_and_record, clock, 2, woken)
        await clock.run_for(0)
        clock.advance(5)
        doomed.cancel_scope.cancel()
    assert names(woken)[-1:] == [2]


@pytest.mark.anyio
async def test_a_woken_task_can_be_cancelled():
    """Of sleepers that are woken together, any one can be cancelled. [C2]"""
    for doomed in range(4):
        clock, woken = FakeClock(), []
        scopes = [anyio.CancelScope() for _ in range(4)]

        async def sleep(number, clock=clock, woken=woken, scopes=scopes):
            with scopes[number]:
                await sleep_and_record(clock, number + 1, woken)

        async with anyio.create_task_group() as tasks:
            for number in range(4):
                tasks.start_soon(sleep, number)
            await clock.run_for(0)
            clock.advance(4)
            scopes[doomed].cancel()
        survivors = [name for name in names(woken) if name != doomed + 1]
        assert survivors == [number + 1 for number in range(4) if number != doomed]


@pytest.mark.anyio
async def test_a_thread_can_move_the_clock():
    """A thread without an event loop can move the clock and wake sleepers. [C2]"""
    clock, woken = FakeClock(), []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sleep_and_record, clock, 2, woken)
        tasks.start_soon(sleep_and_record, clock, 1, woken)
        await clock.run_for(0)
        await anyio.to_thread.run_sync(clock.advance, 2)
    assert names(woken) == [1, 2]


def test_sleepers_in_two_loops():
    """One `advance` outside an event loop wakes sleepers on asyncio and on trio, each loop's in order. [C2]"""
    clock = FakeClock()
    woken = {"asyncio": [], "trio": []}
    asleep = threading.Barrier(3)

    async def sleepers(backend):
        async with anyio.create_task_group() as tasks:
            for seconds in (3, 1, 2):
                tasks.start_soon(sleep_and_record, clock, seconds, woken[backend])
                await clock.run_for(0)
            await anyio.to_thread.run_sync(asleep.wait, 10)

    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(anyio.run, sleepers, backend, backend=backend) for backend in woken]
        asleep.wait(10)
        clock.advance(3)
        for run in runs:
            run.result(10)
    assert names(woken["asyncio"]) == names(woken["trio"]) == [1, 2, 3]


@pytest.mark.anyio
async def test_a_step_while_a_task_goes_to_sleep(monkeypatch):
    """A sleep ends if another thread moves the clock past its deadline before it begins. [C2]"""
    clock, woken = FakeClock(), []
    make_sleeper = testing._Sleeper

    def slowly(deadline):
        clock.advance(10)
        return make_sleeper(deadline)

    monkeypatch.setattr(testing, "_Sleeper", slowly)
    await sleep_and_record(clock, 5, woken)
    assert woken == [(5, 10.0)]


def test_a_closed_loop_does_not_block_the_clock():
    """Sleepers of a closed loop block neither the clock nor sleepers of other loops. [C2]"""
    clock, woken, buried = FakeClock(), [], []
    loop = asyncio.new_event_loop()
    task = loop.create_task(sleep_and_record(clock, 1, buried))
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()

    async def live():
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(sleep_and_record, clock, 2, woken)
                await clock.run_for(2)

    anyio.run(live)
    assert (woken, buried) == ([(2, 2.0)], [])
    task._log_destroy_pending = False  # asyncio would log that the task was destroyed


# Running


@pytest.mark.anyio
async def test_run_for_runs_each_sleeper_at_its_deadline():
    """`run_for` stops at every deadline on the way and ends at the exact time. [C2]"""
    clock, woken = FakeClock(100), []
    async with anyio.create_task_group() as tasks:
        for seconds in (3, 1, 2):
            tasks.start_soon(sleep_and_record, clock, seconds, woken)
        await clock.run_for(3.5)
        assert woken == [(1, 101.0), (2, 102.0), (3, 103.0)]
        assert clock.monotonic() == 103.5


@pytest.mark.anyio
async def test_run_for_includes_new_sleepers():
    """`run_for` also stops at deadlines of tasks that go to sleep on the way. [C2]"""
    clock, ticks = FakeClock(), []

    async def tick():
        while True:
            await clock.sleep(0.1)
            ticks.append(clock.monotonic())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tick)
        await clock.run_for(5)
        tasks.cancel_scope.cancel()
    assert ticks == [step / 10 for step in range(1, 51)]


@pytest.mark.anyio
async def test_run_for_includes_its_end():
    """A deadline at the very end is reached; one a nanosecond later is not. [C2]"""
    clock, woken = FakeClock(), []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sleep_and_record, clock, 1, woken)
        tasks.start_soon(sleep_and_record, clock, 1.000_000_001, woken)
        await clock.run_for(1)
        assert names(woken) == [1]
        await clock.run_for(0.000_000_001)
        assert names(woken) == [1, 1.000_000_001]


@pytest.mark.anyio
async def test_run_for_runs_all_tasks_before_the_next_step():
    """Work that a woken task hands to other tasks is done before the clock moves on. [C2]"""
    clock, seen = FakeClock(), []
    ends = [anyio.create_memory_object_stream(0) for _ in range(20)]

    async def source():
        await clock.sleep(1)
        await ends[0][0].send("message")

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
        assert seen == [("message", 1.0)]
    for sender, receiver in ends:
        sender.close()
        receiver.close()


@pytest.mark.anyio
async def test_run_for_while_a_task_advances_the_clock():
    """A task may move the clock during `run_for`, even past its end; time never goes back. [C2]"""
    clock, woken = FakeClock(), []

    async def leap():
        await clock.sleep(1)
        clock.advance(60)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(leap)
        tasks.start_soon(sleep_and_record, clock, 2, woken)
        await clock.run_for(3)
    assert woken == [(2, 61.0)]
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
    """On asyncio, a task that never waits does not block `run_for`. [C2]"""
    clock, woken = FakeClock(), []

    async def spin():
        while not woken:
            await checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(spin)
        tasks.start_soon(sleep_and_record, clock, 1, woken)
        await clock.run_for(2)
    assert woken == [(1, 1.0)]


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
