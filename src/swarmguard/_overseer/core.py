"""The shell around the machine: its lock, its clock, its outbox, and those who wait for the swarm to be resumed.

`Overseer` is the face that users see; handles, `run` and `supervise` stand on the core as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple
from uuid import UUID, uuid4

from anyio.lowlevel import checkpoint

from swarmguard._common.fields import check_instance, check_text
from swarmguard._common.monitor import SKIPPED, Monitor
from swarmguard._common.outbox import Outbox
from swarmguard._common.waking import Waker
from swarmguard._overseer.agent import Agent, Supervision
from swarmguard._overseer.config import OverseerConfig
from swarmguard._overseer.machine import OverseerMachine
from swarmguard._overseer.values import SwarmHealth
from swarmguard.clock import Clock
from swarmguard.events import Sink

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class OverseerCore:
    """One overseer, without its face.

    Args:
        config: How agents are judged and restarted.
        clock: Where the time comes from.
        sink: Who gets the events; None for nobody.
    """

    __slots__ = ("_monitor", "_waiting", "clock", "config", "machine")

    def __init__(self, config: OverseerConfig, clock: Clock, sink: Sink | None) -> None:
        outbox = None if sink is None else Outbox("overseer", sink, clock, config.topic_prefix)
        self.config: OverseerConfig = config
        self.clock: Clock = clock
        self.machine: OverseerMachine = OverseerMachine(config, None if outbox is None else outbox.put)
        self._monitor = Monitor(outbox)
        self._waiting: set[Waker] = set()

    def do(self, action: Callable[[float, *Ts], T], *args: *Ts) -> T | None:
        """Do one of the machine's actions now, and deliver what it emitted.

        Returns:
            What the action returned; None where it has to be put off (see `Monitor`).
        """
        now = self.clock.monotonic()
        result = self._monitor.try_run(action, now, *args)
        if result is SKIPPED:
            self._monitor.defer(action, now, *args)
            return None
        return result

    def look(self, reading: Callable[[float, *Ts], T], *args: *Ts) -> T:
        """Return one of the machine's readings as of now."""
        return self._monitor.look(reading, self.clock.monotonic(), *args)

    def health(self) -> SwarmHealth:
        """Return how many agents are how well."""
        return self._monitor.look(self.machine.health)

    def new_agent(self, agent_type: str, agent_id: UUID | None, supervision: Supervision | None = None) -> Agent:
        """Make an agent's record, not registered yet.

        Raises:
            TypeError: The type is no text, or the id is neither None nor a UUID.
            ValueError: The type is empty.
        """
        check_text("agent_type", agent_type)
        if agent_id is None:
            agent_id = uuid4()
        check_instance("agent_id", agent_id, UUID, "a UUID or None")
        return Agent(agent_id, agent_type, self.clock.now(), supervision)

    def resume(self) -> None:
        """Resume the swarm and wake all who wait for that."""
        self.do(self._resume)

    async def wait_until_resumed(self) -> None:
        """Wait until the swarm is not paused, or has been resumed since the call."""
        waker = Waker()
        if not self._monitor.run(self._enlist, waker):
            await checkpoint()
            return
        try:
            await waker.wait()
        finally:
            self._monitor.run(self._waiting.discard, waker)

    def _enlist(self, waker: Waker) -> bool:
        if self.machine.paused:
            self._waiting.add(waker)
        return self.machine.paused

    def _resume(self, now: float) -> None:
        self.machine.resume(now)
        while self._waiting:
            self._waiting.pop().wake()
