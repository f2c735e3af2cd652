"""Cancels a task at each of its await points: at the first one in one run, at the second in the next, and so on.

An await point is where a coroutine yields to its event loop. `Struck` drives the coroutine by hand and passes on what
it yields. Just before the chosen point it cancels the task, so the loop finds the task cancelled as it waits.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from typing import Any

import anyio
import pytest

from swarmguard.testing import EventRecorder, FakeClock

LONGEST = 300.0
"""Seconds after which a scene that does not end by itself is ended."""

WAYS = pytest.mark.parametrize(
    ("backend", "native"), [("asyncio", False), ("asyncio", True), ("trio", False)], ids=["asyncio", "task", "trio"]
)
"""By an anyio scope on both backends, and by asyncio's own `Task.cancel`."""


class Scene(ABC):
    """One run: the act of the task that is cancelled, and the check afterwards.

    Attributes:
        clock: The scene's clock, which runs by itself unless the scene moves it.
        moves_its_clock: Whether the scene moves its clock.
        events: A sink.
        done: Whether the act has run to its end.
    """

    moves_its_clock = False

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.events = EventRecorder()
        self.done = False

    async def play(self) -> None:
        """Run the act, and set `done`."""
        await self.act()
        self.done = True

    @abstractmethod
    async def act(self) -> None:
        """Do the work that may be cancelled."""

    @abstractmethod
    def check(self) -> None:
        """Check the state after the act."""


class Struck:
    """An awaitable that drives a coroutine and calls `strike` at its `number`-th await point, counted from 1."""

    def __init__(self, coroutine: Coroutine[Any, Any, None], number: int, strike: Callable[[], object]) -> None:
        self._coroutine = coroutine
        self._number = number
        self._strike = strike
        self.points = 0

    def __await__(self) -> Generator[Any, Any, None]:
        step: Callable[[], Any] = lambda: self._coroutine.send(None)  # noqa: E731 - the first step
        while True:
            try:
                handed_over = step()
            except StopIteration:
                return
            self.points += 1
            if self.points == self._number:
                self._strike()
            try:
                answer = yield handed_over
            except BaseException as error:  # noqa: BLE001 - passed on to the coroutine
                step = lambda error=error: self._coroutine.throw(error)  # noqa: E731
            else:
                step = lambda answer=answer: self._coroutine.send(answer)  # noqa: E731


def at_every_point(backend: str, native: bool, make: Callable[[], Scene]) -> int:
    """Run the scene repeatedly, cancelled one await point later each time; return the number of await points."""
    number = 0
    while True:
        number += 1
        scene = make()
        if not anyio.run(_run, scene, number, native, backend=backend):
            assert number > 1, "the scene has no await point"
            return number - 1


async def _run(scene: Scene, number: int, native: bool) -> bool:
    """Run the scene once, check its state, and return whether it was cancelled at this point."""
    async with anyio.create_task_group() as tasks:
        scope = anyio.CancelScope()
        if native:
            task = asyncio.ensure_future(struck := Struck(scene.play(), number, lambda: task.cancel()))  # noqa: PLW0108 - the task does not exist yet
            tasks.start_soon(_pass_time, scene, task.cancel)
            with suppress(asyncio.CancelledError):
                await task
        else:
            tasks.start_soon(_pass_time, scene, scope.cancel)
            with scope:
                await (struck := Struck(scene.play(), number, scope.cancel))
        tasks.cancel_scope.cancel()
    await FakeClock().run_for(0)  # asyncio ends dropped async generators in separate tasks
    scene.check()
    return struck.points >= number


async def _pass_time(scene: Scene, give_up: Callable[[], object]) -> None:
    """Let the scene's time pass, and end the scene if it has not ended by itself."""
    if not scene.moves_its_clock:
        await scene.clock.run_for(LONGEST)
        give_up()
