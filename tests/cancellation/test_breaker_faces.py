"""Every async method of a breaker, cancelled at each of its await points."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

import pytest
from anyio.lowlevel import checkpoint

from swarmguard import CallRecord, CircuitBreaker, CircuitState
from tests.breaker_tools import build
from tests.cancellation.points import WAYS, Scene, at_every_point

Work = Callable[[], Awaitable[None]]


async def decorated(breaker: CircuitBreaker, work: Work) -> None:
    """Call a decorated coroutine function."""

    @breaker
    async def guarded() -> None:
        await work()

    await guarded()


async def executed(breaker: CircuitBreaker, work: Work) -> None:
    """Call through `execute`."""
    await breaker.execute(work)


async def block(breaker: CircuitBreaker, work: Work) -> None:
    """Work in `async with breaker`."""
    async with breaker:
        await work()


async def sync_block(breaker: CircuitBreaker, work: Work) -> None:
    """Work in `with breaker`."""
    with breaker:
        await work()


async def permit(breaker: CircuitBreaker, work: Work) -> None:
    """Work in a permit's block."""
    async with breaker.acquire():
        await work()


async def fallen_back(breaker: CircuitBreaker, work: Work) -> None:
    """Call a function with a fallback, which is not needed."""

    @breaker.with_fallback(work)
    async def guarded() -> None:
        await work()

    await guarded()


async def iterated(breaker: CircuitBreaker, work: Work) -> None:
    """Iterate over a decorated async generator."""

    @breaker
    async def stream() -> AsyncGenerator[int, None]:
        for number in range(3):
            await work()
            yield number

    async with aclosing(stream()) as items:
        async for _ in items:
            await checkpoint()


FACES = [decorated, executed, block, sync_block, permit, fallen_back, iterated]


@WAYS
@pytest.mark.parametrize("face", FACES, ids=lambda face: face.__name__)
@pytest.mark.parametrize("observed", [False, True], ids=["", "observed"])
def test_a_cancelled_probe_is_neutral(backend, native, face, observed, explored) -> None:
    """Wherever a probe is cancelled, it frees its slot and counts as nothing [B3] [B6] [T01]."""

    class Probe(Scene):
        def __init__(self) -> None:
            super().__init__()
            self.records: list[CallRecord] = []
            self.breaker = build(
                self.clock,
                self.events,
                half_open_max_calls=1,
                success_threshold=1,
                observer=self.records.append if observed else None,
            )
            self.breaker.trip(0)

        async def act(self) -> None:
            await face(self.breaker, self.work)

        async def work(self) -> None:
            await checkpoint()
            await self.clock.sleep(1)

        def check(self) -> None:
            status = self.breaker.status()
            state = CircuitState.CLOSED if self.done else CircuitState.HALF_OPEN
            assert (status.state, status.half_open_calls, status.success_count) == (state, 0, 0)
            assert [record.outcome for record in self.records] == ["success" if self.done else "neutral"] * observed

    explored("cancellation points", at_every_point(backend, native, Probe))


@WAYS
@pytest.mark.parametrize("face", FACES, ids=lambda face: face.__name__)
def test_a_cancelled_call_of_a_closed_circuit_is_neutral(backend, native, face, explored) -> None:
    """Wherever a call is cancelled, the consecutive failures stay as they are [B6] [T01]."""

    class Call(Scene):
        def __init__(self) -> None:
            super().__init__()
            self.breaker = build(self.clock, self.events)
            self.breaker.acquire().fail()

        async def act(self) -> None:
            await face(self.breaker, checkpoint)

        def check(self) -> None:
            assert self.breaker.status().failure_count == (0 if self.done else 1)

    explored("cancellation points", at_every_point(backend, native, Call))


@WAYS
def test_a_cancelled_fallback_leaves_the_breaker_alone(backend, native, explored) -> None:
    """Wherever the fallback of a refused call is cancelled, nothing is counted [B10]."""

    class Refused(Scene):
        def __init__(self) -> None:
            super().__init__()
            self.breaker = build(self.clock, self.events)
            self.breaker.trip(3600)
            self.before = self.breaker.status()

        async def act(self) -> None:
            @self.breaker.with_fallback(self.fall_back)
            async def guarded() -> None:
                raise AssertionError("the call is refused")

            await guarded()

        async def fall_back(self) -> None:
            await checkpoint()
            await checkpoint()

        def check(self) -> None:
            after = self.breaker.status()
            assert (after.state, after.openings) == (self.before.state, self.before.openings)

    explored("cancellation points", at_every_point(backend, native, Refused))
