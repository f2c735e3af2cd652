"""The core of an overseer: its lock, its clock, its sink, and the tasks that wait until the swarm is resumed.

`Overseer` is the face. Handles, `run` and `supervise` use the core too. One lock, that of `_monitor`, guards the pure
machine with all its parts and records. Under it runs the machine's own code only: the clock is read before the lock is
taken, and events are delivered after it is released. A method that requires the lock says so in its first line; all
methods of the machine and of its parts require it.

What is shared between threads:

=========================== ======================== =========================== =====================================
Field                       Written by               Read without the lock by    Why that is right
=========================== ======================== =========================== =====================================
`config`, `clock`,          `__init__`               all                         They never change.
`machine`, `_monitor`
`machine.paused`            `pause`, `resume`, under `is_paused`                 It is one attribute, so the value was
                            the lock                                             current at some moment of the read.
                                                                                 `wait_until_resumed` reads it again
                                                                                 under the lock before it waits.
All else in `machine`       its methods, under the   nothing
                            lock
`_waiting`                  `_enlist`, `_resume` and nothing
                            the end of a wait, under
                            the lock
`agent_id`, `agent_type`,   `new_agent`, before the  handles, `run`, `supervise` They never change.
`started_at`, `supervision` agent is registered
of an `Agent`
All else in an `Agent`      the machine, under the   `supervise`, once the agent Only for the text of the error that
                            lock                     is exhausted:               is raised. The count changes only if
                                                     `restart_count`             a user resets or restarts the agent
                                                                                 at that moment.
`Supervision.notify`        `supervise`, before the  nothing                     A notification that comes after the
                            agent is registered and                              end of the supervision wakes a task
                            when it ends; between,                               that has ended, which does nothing.
                            the machine, under the
                            lock
`Supervision.error`         the machine, under the   `supervise`, when it ends   After its last death, an agent has no
                            lock; `supervise`, when                              main that could die again. At worst,
                            it ends                                              a restart recorded at that moment
                                                                                 clears the error first.
=========================== ======================== =========================== =====================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias, TypeVar, TypeVarTuple
from uuid import UUID, uuid4

from anyio.lowlevel import checkpoint

from swarmguard._common.fields import check_instance, check_text
from swarmguard._common.monitor import SKIPPED, Monitor, NotRun
from swarmguard._common.outbox import Outbox
from swarmguard._common.waking import Waker
from swarmguard._overseer.agent import Agent, Incarnation, Supervision
from swarmguard._overseer.config import OverseerConfig
from swarmguard._overseer.machine import OverseerMachine
from swarmguard._overseer.values import SwarmHealth
from swarmguard.clock import Clock
from swarmguard.events import Sink

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
PutOff: TypeAlias = Literal[NotRun.PUT_OFF]
"""The answer to an action that was put off. Only a finalizer or a signal handler gets it, or a thread that is still
running while the interpreter exits."""


class OverseerCore:
    """One overseer without its public methods.

    Args:
        config: The thresholds and times of the rules.
        clock: The source of time.
        sink: Called with every event; None for no events.
    """

    __slots__ = ("_monitor", "_waiting", "clock", "config", "machine")

    def __init__(self, config: OverseerConfig, clock: Clock, sink: Sink | None) -> None:
        outbox = None if sink is None else Outbox("overseer", sink, clock, config.topic_prefix)
        self.config: OverseerConfig = config
        self.clock: Clock = clock
        self.machine: OverseerMachine = OverseerMachine(config, None if outbox is None else outbox.put)
        self._monitor = Monitor(outbox)
        self._waiting: set[Waker] = set()

    # Changes

    def do(self, action: Callable[[float, *Ts], T], *args: *Ts) -> T | PutOff:
        """Run a method of the machine under the lock, then deliver the events that it emitted.

        `core.do(core.machine.check)` means `core.machine.check(now)`. The method is passed as a value because it may
        have to run later. A finalizer or a signal handler can interrupt a thread that holds the lock, and call the
        overseer from that thread; its action is then put off until the interrupted one is complete (see `Monitor`).

        Returns:
            What the action returned, or `PUT_OFF`.
        """
        now = self.clock.monotonic()
        result = self._monitor.try_run(action, now, *args)  # not `run`: a heartbeat would pay for one more call
        return self._monitor.put_off(action, now, *args) if result is SKIPPED else result

    def do_for(self, incarnation: Incarnation, action: Callable[[float, UUID, *Ts], T], *args: *Ts) -> T | PutOff:
        """Run a method of the machine that takes an agent's id, for the agent of this incarnation.

        `core.do_for(incarnation, core.machine.heartbeat)` means `core.machine.heartbeat(now, agent_id)`.

        Returns:
            What the action returned, or `PUT_OFF`.

        Raises:
            StaleAgentError: The incarnation has ended.
        """
        return self.do(self.machine.do_for, incarnation, action, *args)

    def new_agent(self, agent_type: str, agent_id: UUID | None, supervision: Supervision | None = None) -> Agent:
        """Create an agent's record, which is not registered yet.

        Raises:
            TypeError: The type is not a str, or the id is neither None nor a UUID.
            ValueError: The type is empty.
        """
        check_text("agent_type", agent_type)
        if agent_id is None:
            agent_id = uuid4()
        check_instance("agent_id", agent_id, UUID, "a UUID or None")
        return Agent(agent_id, agent_type, self.clock.now(), supervision)

    # Readings

    def read(self, reading: Callable[[float, *Ts], T], *args: *Ts) -> T:
        """Return a reading of the machine as of now. A reading is never put off."""
        return self._monitor.read(reading, self.clock.monotonic(), *args)

    def health(self) -> SwarmHealth:
        """Return the number of agents by health."""
        return self._monitor.read(self.machine.health)

    @property
    def is_paused(self) -> bool:
        """Whether the swarm is paused."""
        return self.machine.paused

    # Pausing

    def resume(self) -> None:
        """Resume the swarm and wake every task that waits for it."""
        self.do(self._resume)

    async def wait_until_resumed(self) -> None:
        """Wait until the swarm is not paused, or has been resumed since the call."""
        waker = Waker()
        if self._monitor.run(self._enlist, waker) is True:
            try:
                await waker.wait()
            finally:
                self._monitor.run(self._waiting.discard, waker)
        else:
            await checkpoint()

    def _enlist(self, waker: Waker) -> bool:
        """Requires the lock. Add a waiting task if the swarm is paused; return whether it is."""
        if self.machine.paused:
            self._waiting.add(waker)
        return self.machine.paused

    def _resume(self, now: float) -> None:
        """Requires the lock. Resume the swarm and wake every task that waits for it."""
        self.machine.resume(now)
        while self._waiting:
            self._waiting.pop().wake()
