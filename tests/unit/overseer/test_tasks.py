"""Background tasks of a block."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from swarmguard._overseer.tasks import BackgroundTasks, is_being_cancelled

pytestmark = pytest.mark.anyio


async def test_tasks_end_with_the_block():
    """The end of the block cancels its tasks; a task that has ended before does not matter."""
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
    """The end of the block cancels a task that has not started yet."""
    async with BackgroundTasks() as tasks:
        tasks.start(anyio.sleep_forever)


@pytest.mark.parametrize("error", [ValueError("boom"), KeyboardInterrupt(), SystemExit(1)])
async def test_error_of_a_task_ends_the_block(error):
    """An error of a task cancels the block and leaves it unchanged."""

    async def task():
        raise error

    with pytest.raises(type(error)) as caught:
        async with BackgroundTasks() as tasks:
            tasks.start(task)
            await anyio.sleep_forever()
    assert caught.value is error


async def test_first_error_of_several():
    """If several tasks raise, the first error leaves the block."""
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
    """An error of a task replaces a cancellation, as in any task group."""

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


async def test_cancelled_by_a_scope(anyio_backend):
    """A task is being cancelled if a cancelled scope reaches it."""
    stray = asyncio.CancelledError() if anyio_backend == "asyncio" else BaseException()
    assert not is_being_cancelled(stray)
    with anyio.CancelScope() as scope:
        scope.cancel()
        assert is_being_cancelled(stray)
        with anyio.CancelScope(shield=True):
            assert not is_being_cancelled(stray)
            await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_cancelled_natively():
    """A task is being cancelled by `Task.cancel()`, even if no scope is cancelled."""
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
