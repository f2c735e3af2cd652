"""`with breaker:` and `async with breaker:`, wherever and in whatever order blocks are entered and left."""

from __future__ import annotations

import contextlib
import contextvars
import gc
import inspect
import threading
import weakref

import anyio
import pytest

from swarmguard import CircuitBreaker, CircuitOpenError, CircuitState
from tests.breaker_tools import (
    SAFETY,
    BoomError,
    build,
    fail,
    half_open_breaker,
    in_thread,
    logged,
    open_breaker,
    refused,
    succeed,
)

# One block


def test_a_normal_exit_is_a_success(clock):
    """Leaving a block normally is a success [B14]."""
    breaker = half_open_breaker(clock)
    with breaker:
        assert breaker.status().half_open_calls == 1
    status = breaker.status()
    assert (status.success_count, status.half_open_calls) == (1, 0)


def test_an_exception_that_leaves_a_block_is_classified(clock):
    """An exception that leaves a block is classified, and passes unchanged [B14] [B6]."""
    breaker = build(clock, ignore_exceptions=KeyError, failure_threshold=2)
    for error, count in ((BoomError(), 1), (KeyError(), 1), (KeyboardInterrupt(), 1)):
        with pytest.raises(type(error)) as caught, breaker:
            raise error
        assert caught.value is error
        assert breaker.status().failure_count == count
    with pytest.raises(BoomError), breaker:
        raise BoomError
    assert breaker.state is CircuitState.OPEN


def test_a_refused_block_does_not_run(clock):
    """A refused block does not run, and leaves no entry behind [B14] [B2]."""
    breaker = open_breaker(clock)
    before = breaker.status()
    with pytest.raises(CircuitOpenError), breaker:
        pytest.fail("the block ran")
    assert breaker.status() == before
    clock.advance(10)
    with breaker:
        pass
    assert breaker.status().success_count == 1


def test_return_break_and_continue_are_successes(clock):
    """Leaving a block by `return`, `break` or `continue` is a success [B14]."""
    breaker = half_open_breaker(clock, success_threshold=10)

    def leave():
        with breaker:
            return "returned"

    assert leave() == "returned"
    for number in range(3):
        with breaker:
            if number == 0:
                continue
            break
    status = breaker.status()
    assert (status.success_count, status.half_open_calls) == (3, 0)


def test_closed_circuit_counts_blocks(clock):
    """In a closed circuit, failed blocks are consecutive failures, and a successful block resets them [B14] [B1]."""
    breaker = build(clock)
    for _ in range(2):
        with pytest.raises(BoomError), breaker:
            raise BoomError
    assert breaker.status().failure_count == 2
    with breaker:
        pass
    assert breaker.status().failure_count == 0


@pytest.mark.anyio
async def test_async_blocks_count_like_sync_ones(clock):
    """`async with` handles success, failure, cancellation and refusal like `with` [B14]."""
    breaker = half_open_breaker(clock, success_threshold=5)
    async with breaker:
        await anyio.lowlevel.checkpoint()
        assert breaker.status().half_open_calls == 1
    assert breaker.status().success_count == 1
    with anyio.CancelScope() as scope:
        async with breaker:
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    status = breaker.status()
    assert (status.success_count, status.half_open_calls) == (1, 0)
    error = BoomError()
    with pytest.raises(BoomError) as caught:
        async with breaker:
            await anyio.lowlevel.checkpoint()
            raise error
    assert caught.value is error
    assert breaker.state is CircuitState.OPEN
    with pytest.raises(CircuitOpenError):
        async with breaker:
            pytest.fail("the block ran")


@pytest.mark.anyio
async def test_closed_circuit_counts_async_blocks(clock):
    """A closed circuit admits every `async with`, and counts what `with` counts [B14] [B1]."""
    breaker = build(clock, failure_threshold=2)
    for failures in (0, 1, 0, 1, 2):
        before = breaker.status().failure_count
        with contextlib.suppress(BoomError):
            async with breaker as entered:
                assert entered is breaker
                await anyio.lowlevel.checkpoint()
                if failures > before:
                    raise BoomError
        assert breaker.status().failure_count == failures % 2
    assert breaker.state is CircuitState.OPEN
    breaker.reset()
    for _ in range(3):
        async with breaker:
            await anyio.lowlevel.checkpoint()
    with pytest.raises(BoomError):
        async with breaker:
            raise BoomError
    assert breaker.status().failure_count == 1


# Several blocks


def test_nested_blocks_hold_one_slot_each(clock):
    """Nested blocks of one breaker have one slot and one outcome each [B14]."""
    breaker = half_open_breaker(clock, half_open_max_calls=3)
    with breaker:
        with contextlib.suppress(KeyError), breaker, breaker:
            assert breaker.status().half_open_calls == 3
            raise KeyError
        assert breaker.state is CircuitState.OPEN
    assert breaker.state is CircuitState.OPEN


def test_a_nested_block_without_a_free_slot_is_refused(clock):
    """A nested block needs a slot of its own, and is refused if none is free; the outer block goes on [B14] [B3]."""
    breaker = half_open_breaker(clock, half_open_max_calls=1, success_threshold=1)
    with breaker, pytest.raises(CircuitOpenError), breaker:
        pytest.fail("the block ran")
    assert breaker.state is CircuitState.CLOSED


def test_an_inner_block_of_a_later_period_settles_its_own_call(clock):
    """An outer block of an earlier period is stale, and the inner block of the current period counts [B14] [B5]."""
    breaker = build(clock, failure_threshold=5)
    with pytest.raises(BoomError), breaker:
        breaker.reset()
        with contextlib.suppress(BoomError), breaker:
            raise BoomError
        assert breaker.status().failure_count == 1
        raise BoomError
    assert breaker.status().failure_count == 1


def test_recursive_blocks_count_once_per_level(clock):
    """A function that guards a block and calls itself counts once per level [B14]."""
    breaker = build(clock, failure_threshold=100)

    def descend(level):
        with breaker:
            if level:
                descend(level - 1)
            raise BoomError

    with pytest.raises(BoomError):
        descend(9)
    assert breaker.status().failure_count == 10


def test_blocks_of_two_breakers_settle_their_own_calls(clock):
    """Blocks of two breakers in one statement each settle the call of their own breaker [B14]."""
    first, second = build(clock, name="first"), half_open_breaker(clock)
    with contextlib.suppress(BoomError), first, second:
        raise BoomError
    assert (first.status().failure_count, second.state) == (1, CircuitState.OPEN)
    with contextlib.suppress(CircuitOpenError), first, second:
        pytest.fail("the block ran")
    assert first.status().failure_count == 1


def suspended(breaker):
    """Enter a block, and stay in it until an exception to raise, or None, is sent."""
    with breaker:
        error = yield
        if error is not None:
            raise error


def leave(generator, error=None):
    """Leave a suspended block, by an exception or normally."""
    with contextlib.suppress(StopIteration, BoomError):
        generator.send(error)


ORDERS = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]


@pytest.mark.parametrize("order", ORDERS)
def test_interleaved_blocks_settle_their_own_calls(clock, order):
    """Blocks that interleave in one thread each settle their own call, in any order of leaving [B14]."""
    breaker = build(clock, failure_threshold=1, success_threshold=3, timeout_duration=10)
    blocks = [suspended(breaker) for _ in range(3)]
    next(blocks[0])  # admitted in the first closed period
    breaker.reset()
    next(blocks[1])  # admitted in the second
    breaker.trip()
    clock.advance(10)
    next(blocks[2])  # a probe
    for number in order:
        before = breaker.status()
        leave(blocks[number], BoomError() if number < 2 else None)
        if number < 2:
            assert breaker.status() == before
        else:
            assert (breaker.status().success_count, breaker.status().half_open_calls) == (1, 0)


@pytest.mark.parametrize("order", ORDERS)
def test_interleaved_probes_free_their_own_slots(clock, order):
    """Probes that interleave in one thread each free their own slot, and the failed one opens the circuit [B14]."""
    breaker = half_open_breaker(clock, success_threshold=5, half_open_max_calls=3)
    blocks = [suspended(breaker) for _ in range(3)]
    for block in blocks:
        next(block)
    for left, number in enumerate(order):
        assert breaker.status().half_open_calls == 3 - left
        leave(blocks[number], BoomError() if number == 1 else None)
        if number == 1:
            assert breaker.state is CircuitState.OPEN
            return
        assert breaker.status().success_count == left + 1


@pytest.mark.anyio
async def test_blocks_in_interleaved_tasks_settle_their_own_calls(clock):
    """Blocks in tasks that take turns each settle their own call [B14]."""
    breaker = build(clock, failure_threshold=100)
    leaving = [anyio.Event() for _ in range(20)]

    async def block(number):
        with contextlib.suppress(BoomError):
            async with breaker:
                await leaving[number].wait()
                raise BoomError

    with anyio.fail_after(SAFETY):
        async with anyio.create_task_group() as tasks:
            for number in range(20):
                if number == 10:
                    breaker.reset()
                tasks.start_soon(block, number)
                await anyio.wait_all_tasks_blocked()
            for number in range(10):
                leaving[number].set()
                await anyio.wait_all_tasks_blocked()
                assert breaker.status().failure_count == number
                leaving[19 - number].set()
                await anyio.wait_all_tasks_blocked()
                assert breaker.status().failure_count == number + 1


@pytest.mark.anyio
async def test_sync_blocks_in_interleaved_tasks_settle_their_own_calls(clock):
    """`with` blocks around an `await` each settle their own call when tasks take turns [B14]."""
    breaker = half_open_breaker(clock, half_open_max_calls=2, success_threshold=5)
    early, late = anyio.Event(), anyio.Event()

    async def block(leaving):
        with breaker:
            await leaving.wait()

    with anyio.fail_after(SAFETY):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(block, late)
            tasks.start_soon(block, early)
            await anyio.wait_all_tasks_blocked()
            refused(breaker)
            early.set()
            await anyio.wait_all_tasks_blocked()
            assert (breaker.status().half_open_calls, breaker.status().success_count) == (1, 1)
            late.set()
    assert (breaker.status().half_open_calls, breaker.status().success_count) == (0, 2)


def test_blocks_in_threads_settle_their_own_calls(clock):
    """Blocks that are open in several threads at once each settle their own call [B14] [B9]."""
    breaker = build(clock, failure_threshold=100)
    inside, reset, go = threading.Barrier(9), threading.Barrier(9), threading.Event()

    def block(number):
        if number >= 4:
            inside.wait(SAFETY)
            reset.wait(SAFETY)
        with contextlib.suppress(BoomError), breaker:
            if number < 4:
                inside.wait(SAFETY)
                reset.wait(SAFETY)
            entered.release()
            go.wait(SAFETY)
            raise BoomError

    entered = threading.Semaphore(0)
    threads = [threading.Thread(target=block, args=(number,), daemon=True) for number in range(8)]
    for thread in threads:
        thread.start()
    inside.wait(SAFETY)
    breaker.reset()
    reset.wait(SAFETY)
    assert all(entered.acquire(timeout=SAFETY) for _ in threads)
    go.set()
    for thread in threads:
        thread.join(SAFETY)
    assert breaker.status().failure_count == 4


# Entered in one thread, context or task, and left in another


def test_a_block_may_be_left_in_another_thread(clock):
    """A generator that enters a block in one thread may leave it in another [B14]."""
    breaker = half_open_breaker(clock, success_threshold=5)
    block = suspended(breaker)
    in_thread(next, block)
    assert breaker.status().half_open_calls == 1
    in_thread(leave, block)
    assert (breaker.status().half_open_calls, breaker.status().success_count) == (0, 1)
    block = suspended(breaker)
    in_thread(next, block)
    in_thread(leave, block, BoomError())
    assert breaker.state is CircuitState.OPEN


def test_blocks_may_be_left_in_other_threads_in_any_order(clock):
    """Blocks that are entered in one thread and left in another each settle their own call, in any order [B14]."""
    breaker = build(clock, failure_threshold=5)
    old, new = suspended(breaker), suspended(breaker)
    in_thread(next, old)
    breaker.reset()
    next(new)
    in_thread(leave, old, BoomError())
    assert breaker.status().failure_count == 0
    in_thread(leave, new, BoomError())
    assert breaker.status().failure_count == 1


@pytest.mark.parametrize("make", [build, half_open_breaker])
def test_a_block_may_be_left_in_another_context(clock, make):
    """Entering in one `contextvars` context and leaving in another neither raises nor keeps a slot [B14] [T14]."""
    breaker = make(clock, success_threshold=5)
    for error in (None, None, BoomError()):
        block = suspended(breaker)
        contextvars.Context().run(next, block)
        contextvars.copy_context().run(leave, block, error)
    status = breaker.status()
    assert status.half_open_calls == 0
    assert (status.state, status.failure_count) in {(CircuitState.OPEN, 0), (CircuitState.CLOSED, 1)}


@pytest.mark.parametrize("make", [build, half_open_breaker])
def test_methods_may_be_called_by_hand_in_other_contexts(clock, make):
    """Calling both methods by hand, in different contexts and threads, neither raises nor keeps a slot [B14] [T14]."""
    breaker = make(clock, half_open_max_calls=1, success_threshold=5)
    for _ in range(3):
        in_thread(contextvars.Context().run, breaker.__enter__)
        in_thread(contextvars.Context().run, breaker.__exit__, None, None, None)
    assert breaker.status().half_open_calls == 0
    in_thread(breaker.__enter__)
    error = BoomError()
    assert not in_thread(breaker.__exit__, BoomError, error, None)
    status = breaker.status()
    assert (status.state, status.failure_count) in {(CircuitState.OPEN, 0), (CircuitState.CLOSED, 1)}


def test_a_dropped_block_frees_its_slot(clock):
    """A generator that is dropped inside a block is neutral, and frees the block's slot [B14] [B6]."""
    breaker = half_open_breaker(clock)
    block = suspended(breaker)
    next(block)
    del block
    gc.collect()
    status = breaker.status()
    assert (status.state, status.half_open_calls, status.success_count) == (CircuitState.HALF_OPEN, 0, 0)


@pytest.mark.anyio
async def test_a_block_may_be_left_in_another_task(clock):
    """A block in an async generator may be entered in one task and left in another [B14]."""
    breaker = half_open_breaker(clock, success_threshold=5)

    async def dependency():
        async with breaker:
            yield "dependency"

    iterator = dependency()

    async def setup():
        assert await anext(iterator) == "dependency"

    async def teardown():
        assert await anext(iterator, None) is None

    for step in (setup, teardown):
        with anyio.fail_after(SAFETY):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(step)
    assert (breaker.status().half_open_calls, breaker.status().success_count) == (0, 1)


@pytest.mark.anyio
async def test_a_sync_dependency_of_a_web_framework_counts_once(clock):
    """A sync `yield` dependency whose two halves run in worker threads counts once, by how it ends [B14]."""
    breaker = half_open_breaker(clock, success_threshold=5)

    @contextlib.contextmanager
    def dependency():
        with breaker:
            yield "dependency"

    error = BoomError()
    for raised, expected in (((None, None, None), None), ((BoomError, error, None), error)):
        manager = dependency()
        assert await anyio.to_thread.run_sync(manager.__enter__) == "dependency"
        assert breaker.status().half_open_calls == 1
        if expected is None:
            await anyio.to_thread.run_sync(manager.__exit__, *raised)
            assert breaker.status().success_count == 1
        else:
            assert not await anyio.to_thread.run_sync(manager.__exit__, *raised)
    assert breaker.state is CircuitState.OPEN


@pytest.mark.anyio
async def test_a_breaker_entered_in_worker_threads_keeps_no_slot(clock):
    """A framework that reads both methods in one thread and calls them in worker threads keeps no slot [B14]."""
    breaker = half_open_breaker(clock, half_open_max_calls=1, success_threshold=5)
    for successes in range(1, 4):
        await anyio.to_thread.run_sync(breaker.__enter__)
        await anyio.to_thread.run_sync(breaker.__exit__, None, None, None)
        assert (breaker.status().half_open_calls, breaker.status().success_count) == (0, successes)
    with breaker:
        assert breaker.status().half_open_calls == 1


# Exit stacks, delegation and subclasses


@pytest.mark.parametrize("make", [build, half_open_breaker])
def test_an_exit_stack_guards_its_block(clock, make):
    """A breaker on an `ExitStack` counts success and failure, and keeps no slot [B14]."""
    breaker = make(clock, half_open_max_calls=1, success_threshold=5)
    for _ in range(3):
        with contextlib.ExitStack() as stack:
            stack.enter_context(breaker)
            assert breaker.status().half_open_calls == int(make is half_open_breaker)
        assert breaker.status().half_open_calls == 0
    error = BoomError()
    with pytest.raises(BoomError) as caught, contextlib.ExitStack() as stack:
        stack.enter_context(breaker)
        raise error
    assert caught.value is error
    status = breaker.status()
    assert (status.state, status.failure_count) in {(CircuitState.OPEN, 0), (CircuitState.CLOSED, 1)}


@pytest.mark.anyio
@pytest.mark.parametrize("make", [build, half_open_breaker])
async def test_an_async_exit_stack_guards_its_block(clock, make):
    """A breaker on an `AsyncExitStack` counts, and keeps no slot, through either pair of methods [B14]."""
    breaker = make(clock, half_open_max_calls=1, success_threshold=10)
    for _ in range(3):
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(breaker)
            assert breaker.status().half_open_calls == int(make is half_open_breaker)
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(breaker)
        assert breaker.status().half_open_calls == 0
    with pytest.raises(BoomError):
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(breaker)
            raise BoomError
    status = breaker.status()
    assert (status.state, status.failure_count) in {(CircuitState.OPEN, 0), (CircuitState.CLOSED, 1)}


def test_an_exit_stack_may_hold_several_entries(clock):
    """An `ExitStack` may hold a breaker more than once [B14]."""
    breaker = half_open_breaker(clock, half_open_max_calls=3, success_threshold=5)
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(breaker)
        refused(breaker)
    assert (breaker.status().half_open_calls, breaker.status().success_count) == (0, 3)


def test_an_exit_stack_may_be_closed_in_another_thread(clock):
    """An `ExitStack` that is filled in one thread may be closed in another, in any order with others [B14]."""
    breaker = half_open_breaker(clock, half_open_max_calls=2, success_threshold=5)
    stacks = []
    for _ in range(2):
        with contextlib.ExitStack() as stack:
            stack.enter_context(breaker)
            stacks.append(stack.pop_all())
    refused(breaker)
    for stack in stacks:
        in_thread(stack.close)
    assert (breaker.status().half_open_calls, breaker.status().success_count) == (0, 2)


def test_a_refusal_on_an_exit_stack_leaves_no_entry(clock):
    """A refusal on an `ExitStack` leaves no entry behind [B14]."""
    breaker = open_breaker(clock)
    with pytest.raises(CircuitOpenError), contextlib.ExitStack() as stack:
        stack.enter_context(breaker)
    clock.advance(10)
    with contextlib.ExitStack() as stack:
        stack.enter_context(breaker)
        assert breaker.status().half_open_calls == 1
    assert breaker.status().success_count == 1


class Delegate:
    """A context manager that delegates to a breaker."""

    def __init__(self, breaker):
        self.breaker = breaker

    def __enter__(self):
        """Enter the breaker."""
        return self.breaker.__enter__()

    def __exit__(self, *exc_info):
        """Leave the breaker."""
        return self.breaker.__exit__(*exc_info)

    async def __aenter__(self):
        """Enter the breaker."""
        return await self.breaker.__aenter__()

    async def __aexit__(self, *exc_info):
        """Leave the breaker."""
        return await self.breaker.__aexit__(*exc_info)


class Subclass(CircuitBreaker):
    """A breaker that overrides both methods of the sync block."""

    def __enter__(self):
        """Enter the block."""
        return super().__enter__()

    def __exit__(self, *exc_info):
        """Leave the block."""
        return super().__exit__(*exc_info)


@pytest.mark.parametrize("make", [build, half_open_breaker])
def test_a_delegating_class_guards_its_block(clock, make):
    """A class that delegates to a breaker counts success and failure, and keeps no slot [B14]."""
    breaker = make(clock, half_open_max_calls=1, success_threshold=5)
    for _ in range(3):
        with Delegate(breaker):
            assert breaker.status().half_open_calls == int(make is half_open_breaker)
        assert breaker.status().half_open_calls == 0
    with pytest.raises(BoomError), Delegate(Delegate(breaker)):
        raise BoomError
    status = breaker.status()
    assert (status.state, status.failure_count) in {(CircuitState.OPEN, 0), (CircuitState.CLOSED, 1)}


@pytest.mark.anyio
async def test_a_delegating_class_guards_its_async_block(clock):
    """A class that delegates to a breaker guards async blocks [B14]."""
    breaker = half_open_breaker(clock, half_open_max_calls=1, success_threshold=5)
    for successes in range(1, 4):
        async with Delegate(breaker):
            assert breaker.status().half_open_calls == 1
        assert (breaker.status().half_open_calls, breaker.status().success_count) == (0, successes)
    with pytest.raises(BoomError):
        async with Delegate(breaker):
            raise BoomError
    assert breaker.state is CircuitState.OPEN


def test_delegating_classes_nest(clock):
    """Delegating classes nest in one another and with blocks of the breaker [B14]."""
    breaker = half_open_breaker(clock, half_open_max_calls=3, success_threshold=10)
    for _ in range(3):
        with Delegate(breaker), breaker, Delegate(breaker):
            refused(breaker)
        assert breaker.status().half_open_calls == 0
    assert breaker.status().success_count == 9


def test_a_subclass_that_overrides_the_methods_guards_its_block(clock):
    """A subclass that overrides `__enter__` and `__exit__` guards its blocks [B14]."""
    breaker = Subclass("api", clock=clock)
    fail(breaker)
    with breaker:
        pass
    assert breaker.status().failure_count == 0
    with pytest.raises(BoomError), breaker:
        raise BoomError
    assert breaker.status().failure_count == 1
    breaker.trip()
    clock.advance(30)
    with breaker:
        assert breaker.status().half_open_calls == 1
    assert (breaker.status().half_open_calls, breaker.status().success_count) == (0, 1)


def test_an_unmatched_exit_settles_an_unmatched_entry(clock):
    """An unmatched exit settles an unmatched entry, not the entry of a block that is still open [B14]."""
    breaker = build(clock, failure_threshold=5)
    delegate = Delegate(breaker)
    delegate.__enter__()
    breaker.reset()
    with contextlib.suppress(BoomError), breaker:
        delegate.__exit__(BoomError, BoomError(), None)
        assert breaker.status().failure_count == 0
        raise BoomError
    assert breaker.status().failure_count == 1


def test_a_block_settles_no_unmatched_entry(clock):
    """Blocks settle their own entries while unmatched entries wait for their exits [B14]."""
    breaker = half_open_breaker(clock, half_open_max_calls=2, success_threshold=100)
    delegates = [Delegate(breaker)]
    delegates[0].__enter__()
    for successes in range(1, 50):
        with breaker:
            refused(breaker)
        assert (breaker.status().half_open_calls, breaker.status().success_count) == (1, successes)
    delegates[0].__exit__(None, None, None)
    assert breaker.status().half_open_calls == 0


def test_an_old_unmatched_entry_takes_no_later_outcome(clock):
    """An unmatched entry of an earlier period does not take the outcome of a later block [B14] [B5]."""
    breaker = build(clock, failure_threshold=100)
    breaker.__enter__()
    breaker.reset()
    for count in range(1, 20):
        with contextlib.suppress(BoomError), breaker:
            raise BoomError
        assert breaker.status().failure_count == count


def test_methods_may_be_read_before_they_are_called(clock):
    """Reading both methods first and calling them later, in either order, guards one whole block [B14]."""
    breaker = half_open_breaker(clock, half_open_max_calls=1, success_threshold=10)
    enter, exit_ = breaker.__enter__, breaker.__exit__
    enter()
    refused(breaker)
    exit_(None, None, None)
    exit_, enter = breaker.__exit__, breaker.__enter__
    enter()
    refused(breaker)
    exit_(None, None, None)
    enter, exit_ = type(breaker).__enter__, type(breaker).__exit__
    enter(breaker)
    refused(breaker)
    exit_(breaker, None, None, None)
    assert (breaker.status().half_open_calls, breaker.status().success_count) == (0, 3)


@pytest.mark.parametrize(
    "read",
    [lambda breaker: breaker.__exit__, lambda breaker: breaker.__aexit__, inspect.getmembers],
    ids=["exit", "aexit", "all"],
)
@pytest.mark.parametrize("make", [build, half_open_breaker])
def test_reading_the_methods_disturbs_no_block(clock, make, read):
    """Reading a breaker's methods without calling them disturbs no later block, on a stack or not [B14]."""
    for enter in (None, "stack", "delegate"):
        breaker = make(clock, half_open_max_calls=1, success_threshold=10)
        with contextlib.ExitStack() as stack:
            read(breaker)
            stack.enter_context(
                breaker if enter == "stack" else Delegate(breaker) if enter else suspended_block(breaker)
            )
            read(breaker)
            assert breaker.status().half_open_calls == int(make is half_open_breaker)
            read(breaker)
        assert breaker.status().half_open_calls == 0
        assert breaker.status().success_count == int(make is half_open_breaker)
        read(breaker)
        with contextlib.suppress(BoomError), contextlib.ExitStack() as stack:
            stack.enter_context(breaker)
            raise BoomError
        status = breaker.status()
        assert (status.state, status.failure_count) in {(CircuitState.OPEN, 0), (CircuitState.CLOSED, 1)}


@contextlib.contextmanager
def suspended_block(breaker):
    """Guard a block with a generator-based context manager."""
    with breaker:
        yield


def test_breaker_is_a_context_manager(clock):
    """A breaker is an `AbstractContextManager` and an `AbstractAsyncContextManager` [B14]."""
    breaker = build(clock)
    assert isinstance(breaker, contextlib.AbstractContextManager)
    assert isinstance(breaker, contextlib.AbstractAsyncContextManager)
    assert callable(breaker.__enter__)
    assert callable(breaker.__exit__)


def test_a_breaker_keeps_no_finished_frame_alive(clock):
    """The breaker does not keep the frame of a finished block alive [B14]."""
    breaker = build(clock)

    class Local:
        pass

    def block():
        local = Local()
        with contextlib.suppress(BoomError), breaker:
            raise BoomError
        with breaker:
            pass
        return weakref.ref(local)

    assert block()() is None


def test_breaker_is_freed_after_its_blocks(clock):
    """Finished blocks do not keep a breaker alive [B14]."""
    breaker = build(clock)
    with breaker:
        pass
    with contextlib.ExitStack() as stack:
        stack.enter_context(breaker)
    gone = weakref.ref(breaker)
    del breaker, stack
    gc.collect()
    assert gone() is None


def test_permits_on_exit_stacks_settle_their_own_calls(clock):
    """Permits on exit stacks each settle their own call, in any order of leaving [B14] [B13]."""
    breaker = build(clock, failure_threshold=5)
    old = contextlib.ExitStack()
    old.enter_context(breaker.acquire())
    breaker.reset()
    new = contextlib.ExitStack()
    new.enter_context(breaker.acquire())
    error = BoomError()
    assert not old.__exit__(BoomError, error, None)
    assert breaker.status().failure_count == 0
    assert not new.__exit__(BoomError, error, None)
    assert breaker.status().failure_count == 1


def test_a_predicate_that_raises_in_a_block_is_logged(clock, caplog):
    """A predicate that raises at the end of a block is logged, and the block's exception passes [B14] [B7]."""

    def broken(_):
        raise RuntimeError("bug in a predicate")

    breaker = half_open_breaker(clock, ignore_exceptions=broken, record_exceptions=())
    error = BoomError()
    with pytest.raises(BoomError) as caught, breaker:
        raise error
    assert caught.value is error
    assert breaker.status().half_open_calls == 0
    assert any("bug in a predicate" in line for line in logged(caplog))


def test_mixed_blocks_keep_no_slot(clock):
    """After any mixture of blocks no slot is held, and the next call is admitted [B14]."""
    breaker = half_open_breaker(clock, half_open_max_calls=4, success_threshold=10_000)
    for _ in range(20):
        delegate, stack, block = Delegate(breaker), contextlib.ExitStack(), suspended(breaker)
        delegate.__enter__()
        next(block)
        stack.enter_context(breaker)
        with breaker:
            refused(breaker)
            in_thread(stack.close)
            delegate.__exit__(None, None, None)
        leave(block)
        assert breaker.status().half_open_calls == 0
    succeed(breaker)
    assert breaker.status().success_count == 81
