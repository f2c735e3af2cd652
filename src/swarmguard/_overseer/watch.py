"""`run`: the loop that looks for silent agents and has the Dead restarted."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from uuid import UUID

import anyio

from swarmguard._common.deadlines import until
from swarmguard._overseer.agent import Attempt, Trouble
from swarmguard._overseer.core import Core
from swarmguard._overseer.crew import Crew, asked_to_stop
from swarmguard.clock import Clock

if TYPE_CHECKING:
    from anyio.abc import TaskStatus

Restart = Callable[[UUID, str], Awaitable[object]]
"""Restarts an agent, given its id and type."""

logger = logging.getLogger("swarmguard")


class Ticker:
    """Regular ticks, each due one interval after the one before it."""

    __slots__ = ("_clock", "_due", "_interval")

    def __init__(self, clock: Clock, interval: float) -> None:
        self._clock = clock
        self._interval = interval
        self._due = clock.monotonic() + interval

    async def tick(self) -> float:
        """Wait for the next tick, and return the last moment at which it would have come in time.

        That is one interval after it was due. Whether it came in time is for the machine to say, by the time at which
        it acts: the process may stop between any two lines.
        """
        await self._clock.sleep(until(self._clock.monotonic(), self._due))
        in_time = self._due + self._interval
        self._due = self._clock.monotonic() + self._interval
        return in_time


async def watch(core: Core, restart: Restart | None, task_status: TaskStatus[None]) -> None:
    """Watch over all agents until cancelled."""
    async with Crew() as crew:
        yard = None if restart is None else RestartYard(core, crew, restart)
        ticker = Ticker(core.clock, core.config.heartbeat_interval_secs)
        task_status.started()
        while True:
            core.do(core.machine.watch, await ticker.tick())
            if yard is not None:
                yard.restart_needy()


class RestartYard:
    """Runs the restarts: a few at a time, the next as soon as one has ended.

    Args:
        core: The overseer.
        crew: Where the restarts run, so that none of them holds up the watch.
        restart: The host's callback.
    """

    __slots__ = ("_core", "_crew", "_restart", "_running", "_waiting")

    def __init__(self, core: Core, crew: Crew, restart: Restart) -> None:
        self._core = core
        self._crew = crew
        self._restart = restart
        self._running = 0
        self._waiting: deque[UUID] = deque()

    def restart_needy(self) -> None:
        """Have every agent restarted that needs it now, as places become free."""
        needy = self._core.look(self._core.machine.needing_restart)
        self._waiting = deque(agent_id for agent_id, _ in needy)
        self._fill()

    def _fill(self) -> None:
        while self._waiting and self._running < self._core.config.max_concurrent_restarts:
            self._running += 1
            self._crew.start(self._work, self._waiting.popleft())

    async def _work(self, agent_id: UUID) -> None:
        # The attempt is opened here and not before the task is started: a task that is cancelled before it has run
        # could not take it back.
        attempt = self._core.do(self._core.machine.claim, agent_id)
        if attempt is not None:
            await self._try(attempt)
        self._running -= 1
        self._fill()

    async def _try(self, attempt: Attempt) -> None:
        machine = self._core.machine
        try:
            await self._restart(attempt.agent.agent_id, attempt.agent.agent_type)
        except anyio.get_cancelled_exc_class() as exc:
            if asked_to_stop(exc):
                self._core.do(machine.abandon, attempt)
                raise
            self._failed(attempt, exc)
        except Exception as exc:  # noqa: BLE001 - whatever it is, the restart failed
            self._failed(attempt, exc)
        except BaseException:
            self._core.do(machine.abandon, attempt)
            raise
        else:
            self._core.do(machine.end_well, attempt)

    def _failed(self, attempt: Attempt, exc: BaseException) -> None:
        agent = attempt.agent
        logger.error("restarting agent %r (%s) failed", agent.agent_type, agent.agent_id, exc_info=exc)
        self._core.do(self._core.machine.end_badly, attempt, Trouble.of(exc))
