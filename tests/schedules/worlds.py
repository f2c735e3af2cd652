"""What the threads work on, and the pure machines behind the same names."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any
from uuid import UUID

import interleave_test
from swarmguard._breaker.gate import Observer

from swarmguard import (
    BreakerMode,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitOpenError,
    CircuitState,
    Overseer,
    OverseerConfig,
    Permit,
    SwarmGuardError,
)
from swarmguard._breaker.machine import NO_DELAY, BreakerMachine, Change
from swarmguard._breaker.periods import ProbeSlot, Refusal, Ticket
from swarmguard._overseer.agent import Agent, ErrorReport
from swarmguard._overseer.machine import OverseerMachine
from swarmguard.testing import EventRecorder, FakeClock
from tests.breaker_tools import BoomError
from tests.schedules.exploring import Actor, Program
from tests.schedules.searching import touch
from tests.schedules.touching import CLOCK

Step = tuple[Any, ...]
"""An operation's name and its arguments."""


class Named:
    """Something with an operation behind each name."""

    def do(self, name: str, *args: Any) -> object:
        """Do one operation, and return its answer; an error of the package's is one."""
        try:
            return getattr(self, name)(*args)
        except SwarmGuardError as error:
            return error

    def all(self, steps: tuple[Step, ...]) -> None:
        """Do one after the other."""
        for step in steps:
            self.do(*step)


def doing(*steps: Step) -> Program:
    """Return the program of a thread that does these operations."""

    def program(world: Named, actor: Actor) -> None:
        for step in steps:
            actor.do(lambda step=step: world.do(*step), *step)

    return program


def following(*programs: Program) -> Program:
    """Return the program of a thread that runs these, one after the other."""

    def program(world: Named, actor: Actor) -> None:
        for each in programs:
            each(world, actor)

    return program


# --- breakers ---------------------------------------------------------------------------------------------------------


class Breaker(Named):
    """A breaker, its permits by name, and what its sink was told."""

    def __init__(self, config: CircuitBreakerConfig, *before: Step, observer: Observer | None = None) -> None:
        self.clock, self.events = FakeClock(), EventRecorder()
        self.breaker = CircuitBreaker("api", config, clock=self.clock, sink=self.events, observer=observer)
        self.permits: dict[object, Permit] = {}
        self.all(before)

    def admit(self, slot: object) -> object:
        self.permits[slot] = self.breaker.acquire()
        return None

    def expire(self, slot: object, how: str) -> object:
        return getattr(self.permits[slot], how)() if slot in self.permits else None

    def drop(self, slot: object) -> None:
        self.permits.pop(slot, None)

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
        touch(writes={CLOCK})
        self.clock.advance(seconds)

    def outcome(self) -> object:
        assert [event.sequence for event in self.events.events] == list(range(1, len(self.events.events) + 1))
        return self.breaker.status(), [
            (event.topic.removeprefix("arb.swarm."), *list(event.payload.values())[1:4]) for event in self.events.events
        ]


class PureBreaker(Named):
    """A breaker's machine, and what its changes tell."""

    def __init__(self, config: CircuitBreakerConfig, *before: Step) -> None:
        self.now = 0.0
        self.machine = BreakerMachine(config)
        self.tickets: dict[object, list[Ticket]] = {}
        self.told: list[tuple[str, ...]] = []
        self.all(before)

    def _tell(self, change: Change | None) -> None:
        if change is not None:
            topic = {"Open": "opened", "HalfOpen": "half_opened", "Closed": "closed"}[change.state]
            self.told.append((f"circuit.{topic}", change.state.value, change.previous.value, change.trigger.value))

    def admit(self, slot: object) -> object:
        answer, change = self.machine.admit(self.now)
        self._tell(change)
        if isinstance(answer, Refusal):
            return CircuitOpenError("api", answer.state, answer.retry_after, answer.reason)
        self.tickets[slot] = [answer]
        return None

    def expire(self, slot: object, how: str) -> object:
        if slot not in self.tickets:
            return None
        if not self.tickets[slot]:
            return False
        ticket = self.tickets[slot].pop()
        if how != "release":
            self._tell(self.machine.settle(ticket, self.now, how == "fail", False, NO_DELAY)[1])
        elif isinstance(ticket, ProbeSlot):
            ticket.release()
        return True

    def drop(self, slot: object) -> None:
        self.settle(slot, "release")
        self.tickets.pop(slot, None)

    def reset(self) -> None:
        self._tell(self.machine.reset(self.now))

    def trip(self, seconds: float) -> None:
        self._tell(self.machine.trip(self.now, seconds, NO_DELAY))

    def mode(self, mode: BreakerMode) -> None:
        if mode is not self.machine.mode:
            self.told.append(("circuit.mode_changed", mode.value, self.machine.mode.value))
        self.machine.set_mode(self.now, mode)

    def state(self) -> CircuitState:
        return self.machine.period.state

    def in_force(self) -> BreakerMode:
        return self.machine.mode

    def status(self) -> object:
        return self.machine.status("api", self.now)

    def advance(self, seconds: float) -> None:
        self.now += seconds

    def outcome(self) -> object:
        return self.status(), self.told


Face = Callable[[CircuitBreaker, Callable[[], None]], object]


def by_call(breaker: CircuitBreaker, work: Callable[[], None]) -> None:
    """Run the work through `call`."""
    breaker.call(work)


def by_decorator(breaker: CircuitBreaker, work: Callable[[], None]) -> None:
    """Run it decorated."""
    with interleave_test.no_interleave():  # nobody decorates while others call
        guarded = breaker(work)
    guarded()


def by_block(breaker: CircuitBreaker, work: Callable[[], None]) -> None:
    """Run it in a block."""
    with breaker:
        work()


def by_generator(breaker: CircuitBreaker, work: Callable[[], None]) -> None:
    """Run it in a decorated generator."""

    def items() -> Iterator[None]:
        work()
        yield

    with interleave_test.no_interleave():
        guarded = breaker(items)
    for _ in guarded():
        pass


def by_execute(breaker: CircuitBreaker, work: Callable[[], None]) -> None:
    """Run it through `execute`."""

    async def asked() -> None:
        work()

    _run(breaker.execute(asked))


def by_async_block(breaker: CircuitBreaker, work: Callable[[], None]) -> None:
    """Run it in an async block."""

    async def block() -> None:
        async with breaker:
            work()

    _run(block())


def _run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise AssertionError("it has waited")


def by_permit(breaker: CircuitBreaker, work: Callable[[], None]) -> None:
    """Run it in a permit's block."""
    with breaker.acquire():
        work()


def calling(face: Face, *endings: str) -> Program:
    """Return the program of a thread whose calls end like that: in "succeed" or in "fail".

    A call is two operations: it is admitted between its start and the work's, and settled between the work's end and
    its own.
    """

    def program(world: Breaker, actor: Actor) -> None:
        for number, how in enumerate(endings):
            slot = (actor.number, number)  # no other call's
            admitting = actor.begin("admit", slot)
            settling = None

            def work(slot: object = slot, how: str = how, admitting: Any = admitting) -> None:
                nonlocal settling
                actor.end(admitting)
                settling = actor.begin("settle", slot, how)
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


class Swarm(Named):
    """An overseer whose agents have numbers, and its events."""

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

    def needing(self) -> object:
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
        touch(writes={CLOCK})
        self.clock.advance(seconds)

    def outcome(self) -> object:
        assert [event.sequence for event in self.events.events] == list(range(1, len(self.events.events) + 1))
        emitted = [(event.topic.removeprefix("arb.swarm."), dict(event.payload)) for event in self.events.events]
        return self.swarm(), self.needing(), emitted


class PureSwarm(Named):
    """The machine of an overseer, and its events."""

    def __init__(self, config: OverseerConfig, *before: Step) -> None:
        self.clock = FakeClock()
        self.emitted: list[object] = []
        self.machine = OverseerMachine(config, lambda topic, payload, moment: self.emitted.append((topic, payload)))
        self.all(before)

    @property
    def now(self) -> float:
        return self.clock.monotonic()

    def register(self, number: int) -> object:
        agent = Agent(UUID(int=number), "Worker", self.clock.now())
        self.machine.register(self.now, agent)
        return agent.agent_id

    def unregister(self, number: int) -> None:
        self.machine.unregister(self.now, UUID(int=number))

    def heartbeat(self, number: int) -> None:
        self.machine.heartbeat(self.now, UUID(int=number))

    def success(self, number: int) -> None:
        self.machine.success(self.now, UUID(int=number))

    def failure(self, number: int, error: str) -> None:
        self.machine.failure(self.now, UUID(int=number), ErrorReport.of(error))

    def check(self) -> object:
        return self.machine.check(self.now)

    def needing(self) -> object:
        return self.machine.needing_restart(self.now)

    def begin_restart(self, number: int) -> None:
        self.machine.begin_restart(self.now, UUID(int=number))

    def recover(self, number: int) -> None:
        self.machine.recover(self.now, UUID(int=number))

    def restart_failed(self, number: int, error: str) -> None:
        self.machine.restart_failed(self.now, UUID(int=number), ErrorReport.of(error))

    def reset(self, number: int) -> None:
        self.machine.reset(self.now, UUID(int=number))

    def pause(self) -> None:
        self.machine.pause(self.now)

    def resume(self) -> None:
        self.machine.resume(self.now)

    def paused(self) -> bool:
        return self.machine.paused

    def status(self, number: int) -> object:
        return self.machine.status(self.now, UUID(int=number)).to_dict()

    def swarm(self) -> object:
        health, agents = self.machine.snapshot(self.now)
        return {"health": health.to_dict(), "agents": [agent.to_dict() for agent in agents], "circuit_breakers": []}

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def outcome(self) -> object:
        return self.swarm(), self.needing(), self.emitted
