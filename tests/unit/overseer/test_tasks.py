"""Tasks that run beside a block."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from swarmguard._overseer.tasks import BackgroundTasks, is_being_cancelled

pytestmark = pytest.mark.anyio


async def test_tasks_end_with_the_block():
    """Tasks are cancelled when the block ends, and one that has ended before is no matter."""
    ended = []

    async def task(name):
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(name)

    async with BackgroundTasks() as tasks:
        tasks.start(task, "first")
        tasks.start(task, "second")
        tasks.start(anyio.lowlevel.checkpoint)
        await anyio.wait_all_tasks_blocked()
        assert ended == []
    assert sorted(ended) == ["first", "second"]


async def test_task_that_has_not_begun():
    """A block that ends at once ends its tasks too."""
    async with BackgroundTasks() as tasks:
        tasks.start(anyio.sleep_forever)


@pytest.mark.parametrize("error", [ValueError("boom"), KeyboardInterrupt(), SystemExit(1)])
async def test_error_of_a_task_ends_the_block(error):
    """What a task raises cancels the block and leaves it bare."""

    async def task():
        raise error

    with pytest.raises(type(error)) as caught:
        async with BackgroundTasks() as tasks:
            tasks.start(task)
            await anyio.sleep_forever()
    assert caught.value is error


async def test_first_error_of_several():
    """Of several tasks' errors the first one is raised."""
    errors = [ValueError("first"), ValueError("second")]

    async def task():
        try:
            await anyio.sleep_forever()
        finally:
            raise errors.pop(0)

    with pytest.raises(ValueError, match="first"):
        async with BackgroundTasks() as tasks:
            tasks.start(task)
            tasks.start(task)
            await anyio.wait_all_tasks_blocked()
    assert errors == []


async def test_error_of_a_task_as_the_block_is_cancelled():
    """An error goes before a cancellation, as in any task group."""

    async def task():
        try:
            await anyio.sleep_forever()
        finally:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        with anyio.CancelScope() as scope:
            async with BackgroundTasks() as tasks:
                tasks.start(task)
                await anyio.wait_all_tasks_blocked()
                scope.cancel()
                await anyio.sleep_forever()


async def test_cancellation_as_the_block_waits_for_its_tasks():
    """A cancellation that comes while the block waits for its tasks to end is not lost."""
    ended = []

    async def task():
        try:
            await anyio.sleep_forever()
        finally:
            scope.cancel()
            with anyio.CancelScope(shield=True):
                await anyio.wait_all_tasks_blocked()
            ended.append(True)

    with anyio.CancelScope() as scope:
        async with BackgroundTasks() as tasks:
            tasks.start(task)
            await anyio.wait_all_tasks_blocked()
    assert scope.cancelled_caught
    assert ended == [True]


async def test_scopes_ask_a_task_to_stop(anyio_backend):
    """Only a scope that is cancelled and reaches the task asks it to stop."""
    stray = asyncio.CancelledError() if anyio_backend == "asyncio" else BaseException()
    assert not is_being_cancelled(stray)
    with anyio.CancelScope() as scope:
        scope.cancel()
        assert is_being_cancelled(stray)
        with anyio.CancelScope(shield=True):
            assert not is_being_cancelled(stray)
            await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_native_cancellation_asks_a_task_to_stop():
    """`Task.cancel()` asks a task to stop, though no scope is cancelled."""
    asked = []

    async def work():
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError as exc:
            asked.append(is_being_cancelled(exc))
            raise

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert asked == [True]
