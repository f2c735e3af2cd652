"""What the threads share: a breaker, or an overseer, with a name for each operation."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack
from functools import cache
from typing import Any
from uuid import UUID

import interleave_test

from swarmguard import (
    BreakerMode,
    CallRecord,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitOpenError,
    CircuitState,
    Overseer,
    OverseerConfig,
    Permit,
    SwarmGuardError,
)
from swarmguard.testing import EventRecorder, FakeClock
from tests.breaker_tools import BoomError
from tests.schedules.exploring import Actor, Program

Step = tuple[Any, ...]
"""The name of an operation, and its arguments."""


class World:
    """An object with a method for each operation."""

    def do(self, name: str, *args: Any) -> object:
        """Do one operation, and return its answer; an exception of the package is an answer."""
        try:
            return getattr(self, name)(*args)
        except SwarmGuardError as error:
            return error

    def all(self, steps: tuple[Step, ...]) -> None:
        """Do the operations one after the other."""
        for step in steps:
            self.do(*step)


@cache
def doing(*steps: Step) -> Program:
    """Return the program of a thread that does these operations."""

    def program(world: World, actor: Actor) -> None:
        for step in steps:
            actor.do(lambda step=step: world.do(*step), *step)

    return program


@cache
def following(*programs: Program) -> Program:
    """Return the program of a thread that runs these, one after the other."""

    def program(world: World, actor: Actor) -> None:
        for each in programs:
            each(world, actor)

    return program


# --- breakers ---------------------------------------------------------------------------------------------------------


class Breaker(World):
    """A breaker, its permits by name, and the events that its sink received."""

    def __init__(
        self, config: CircuitBreakerConfig, *before: Step, observer: Callable[[CallRecord], object] | None = None
    ) -> None:
        self.clock, self.events = FakeClock(), EventRecorder()
        self.breaker = CircuitBreaker("api", config, clock=self.clock, sink=self.events, observer=observer)
        self.permits: dict[object, Permit] = {}
        self.all(before)

    def admit(self, key: object) -> object:
        self.permits[key] = self.breaker.acquire()
        return None

    def settle(self, key: object, how: str) -> object:
        return getattr(self.permits[key], how)() if key in self.permits else None

    def drop(self, key: object) -> None:
        self.permits.pop(key, None)

    def reset(self) -> None:
        self.breaker.reset()

    def trip(self, seconds: float) -> None:
        self.breaker.trip(seconds)

    def mode(self, mode: BreakerMode) -> None:
        self.breaker.set_mode(mode)

    def state(self) -> CircuitState:
        return self.breaker.state

    def in_force(self) -> BreakerMode:
        return self.breaker.mode

    def status(self) -> object:
        return self.breaker.status()

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def succeed(self, times: int) -> None:
        for _ in range(times):
            self.breaker.call(int)

    def outcome(self) -> object:
        assert [event.sequence for event in self.events.events] == list(range(1, len(self.events.events) + 1))
        events = [(event.topic.removeprefix("arb.swarm."), dict(event.payload)) for event in self.events.events]
        return self.breaker.status(), events, self._failures_to_open()

    def _failures_to_open(self) -> int:
        """Return how many more failures open a closed circuit, which shows what its policy has counted."""
        failures = 0
        while self.breaker.state is CircuitState.CLOSED and self.breaker.mode is BreakerMode.NORMAL:
            self.breaker.acquire().fail()
            failures += 1
        return failures


Face = Callable[[CircuitBreaker, Callable[[], None]], object]


def by_call(breaker: CircuitBreaker, work: Callable[[], None]) -> None:
    """Run the work through `call`."""
    breaker.call(work)


def by_decorator(breaker: CircuitBreaker, work: Callable[[], None]) -> None:
    """Run the work in a decorated function."""
    with interleave_test.no_interleave():  # decorating is not the subject
        guarded = breaker(work)
    guarded()


def by_block(breaker: CircuitBreaker, work: Callable[[], None]) -> None:
    """Run the work in a block."""
    with breaker:
        work()


def by_generator(breaker: CircuitBreaker, work: Callable[[], None]) -> None:
    """Run the work in a decorated generator."""

    def items() -> Iterator[None]:
        work()
        yield

    with interleave_test.no_interleave():
        guarded = breaker(items)
    for _ in guarded():
        pass


def by_execute(breaker: CircuitBreaker, work: Callable[[], None]) -> None:
    """Run the work through `execute`."""

    async def work_async() -> None:
        work()

    _run(breaker.execute(work_async))


def by_async_block(breaker: CircuitBreaker, work: Callable[[], None]) -> None:
    """Run the work in an async block."""

    async def block() -> None:
        async with breaker:
            work()

    _run(block())


def _run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that never suspends."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise AssertionError("the coroutine has suspended")


def by_stack(breaker: CircuitBreaker, work: Callable[[], None]) -> None:
    """Run the work in an exit stack, which loads the breaker's methods from its class."""
    with ExitStack() as stack:
        stack.enter_context(breaker)
        work()


def by_permit(breaker: CircuitBreaker, work: Callable[[], None]) -> None:
    """Run the work in the block of a permit."""
    with breaker.acquire():
        work()


@cache
def calling(face: Face, *endings: str) -> Program:
    """Return the program of a thread that makes calls, each of which ends with "succeed" or "fail".

    A call is two operations: the call is admitted between its start and the start of the work, and settled between the
    end of the work and its own end.
    """

    def program(world: Breaker, actor: Actor) -> None:
        for number, how in enumerate(endings):
            key = (actor.number, number)  # unique to this call
            admitting = actor.begin("admit", key)
            settling = None

            def work(key: object = key, how: str = how, admitting: Any = admitting) -> None:
                nonlocal settling
                actor.end(admitting)
                settling = actor.begin("settle", key, how)
                if how == "fail":
                    raise BoomError

            try:
                face(world.breaker, work)
            except BoomError:
                pass
            except CircuitOpenError as refusal:
                actor.end(admitting, refusal)
            if settling is not None:
                actor.end(settling, True)

    return program


# --- overseers --------------------------------------------------------------------------------------------------------


class Swarm(World):
    """An overseer whose agents have numbers, and the events that its sink received."""

    def __init__(self, config: OverseerConfig, *before: Step) -> None:
        self.clock, self.events = FakeClock(), EventRecorder()
        self.overseer = Overseer(config, clock=self.clock, sink=self.events)
        self.all(before)

    def register(self, number: int) -> object:
        return self.overseer.register_agent("Worker", UUID(int=number))

    def unregister(self, number: int) -> None:
        self.overseer.unregister_agent(UUID(int=number))

    def heartbeat(self, number: int) -> None:
        self.overseer.record_agent_heartbeat(UUID(int=number))

    def success(self, number: int) -> None:
        self.overseer.record_agent_success(UUID(int=number))

    def failure(self, number: int, error: str) -> None:
        self.overseer.record_agent_failure(UUID(int=number), error)

    def check(self) -> object:
        return self.overseer.check_heartbeats()

    def needing_restart(self) -> object:
        return self.overseer.get_agents_needing_restart()

    def begin_restart(self, number: int) -> None:
        self.overseer.begin_restart(UUID(int=number))

    def recover(self, number: int) -> None:
        self.overseer.record_agent_recovery(UUID(int=number))

    def restart_failed(self, number: int, error: str) -> None:
        self.overseer.record_restart_failure(UUID(int=number), error)

    def reset(self, number: int) -> None:
        self.overseer.reset_agent(UUID(int=number))

    def pause(self) -> None:
        self.overseer.pause_swarm()

    def resume(self) -> None:
        self.overseer.resume_swarm()

    def paused(self) -> bool:
        return self.overseer.is_paused

    def status(self, number: int) -> object:
        return self.overseer.get_agent_status(UUID(int=number)).to_dict()

    def swarm(self) -> object:
        return self.overseer.get_swarm_status().to_dict()

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def outcome(self) -> object:
        assert [event.sequence for event in self.events.events] == list(range(1, len(self.events.events) + 1))
        events = [(event.topic.removeprefix("arb.swarm."), dict(event.payload)) for event in self.events.events]
        return self.swarm(), self.needing_restart(), events
