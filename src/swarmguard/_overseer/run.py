"""`Overseer.run`: the loop that checks heartbeats and restarts the agents that need it."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from uuid import UUID

import anyio

from swarmguard._common.monitor import PUT_OFF
from swarmguard._overseer.agent import Attempt, ErrorReport
from swarmguard._overseer.core import OverseerCore
from swarmguard._overseer.tasks import BackgroundTasks, Ticker, is_being_cancelled

if TYPE_CHECKING:
    from anyio.abc import TaskStatus

Restart = Callable[[UUID, str], Awaitable[object]]
"""The host's callback: an async callable that restarts an agent, given its id and type."""

logger = logging.getLogger("swarmguard")


async def watch(core: OverseerCore, restart: Restart | None, task_status: TaskStatus[None]) -> None:
    """Check the heartbeats of all agents at every interval, and restart agents, until cancelled."""
    async with BackgroundTasks() as tasks:
        pool = None if restart is None else RestartPool(core, tasks, restart)
        ticker = Ticker(core.clock, core.config.heartbeat_interval_secs)
        task_status.started()
        while True:
            deadline = await ticker.tick()
            core.do(core.machine.watch, deadline)
            if pool is not None:
                pool.start_due()


class RestartPool:
    """Runs restarts beside the watch: at most `max_concurrent_restarts`, and the next as soon as one has ended.

    Args:
        core: The overseer.
        tasks: Runs the restarts.
        restart: The host's callback.
    """

    __slots__ = ("_core", "_restart", "_running", "_tasks", "_waiting")

    def __init__(self, core: OverseerCore, tasks: BackgroundTasks, restart: Restart) -> None:
        self._core = core
        self._tasks = tasks
        self._restart = restart
        self._running = 0
        self._waiting: deque[UUID] = deque()

    def start_due(self) -> None:
        """Start a restart of every agent that needs one. Those over the limit wait for a running one to end."""
        due = self._core.read(self._core.machine.needing_restart)
        self._waiting = deque(agent_id for agent_id, _ in due)
        self._fill()

    def _fill(self) -> None:
        while self._waiting and self._running < self._core.config.max_concurrent_restarts:
            self._running += 1
            self._tasks.start(self._work, self._waiting.popleft())

    async def _work(self, agent_id: UUID) -> None:
        # The attempt is opened in the task, not before the task is started: a task that is cancelled before its first
        # step could not abandon the attempt.
        attempt = self._core.do(self._core.machine.claim_restart, agent_id)
        if attempt is not None and attempt is not PUT_OFF:
            await self._try(attempt)
        self._running -= 1
        self._fill()

    async def _try(self, attempt: Attempt) -> None:
        machine = self._core.machine
        try:
            await self._restart(attempt.agent.agent_id, attempt.agent.agent_type)
        except anyio.get_cancelled_exc_class() as exc:
            if is_being_cancelled(exc):
                self._core.do(machine.abandon_attempt, attempt)
                raise
            self._failed(attempt, exc)
        except Exception as exc:  # noqa: BLE001 - any error of the callback is a failed restart
            self._failed(attempt, exc)
        except BaseException:
            self._core.do(machine.abandon_attempt, attempt)
            raise
        else:
            self._core.do(machine.attempt_succeeded, attempt)

    def _failed(self, attempt: Attempt, exc: BaseException) -> None:
        agent = attempt.agent
        logger.error("restarting agent %r (%s) failed", agent.agent_type, agent.agent_id, exc_info=exc)
        self._core.do(self._core.machine.attempt_failed, attempt, ErrorReport.of(exc))
