"""`AgentHandle`, and the block of `async with overseer.agent(...)`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Literal, cast
from uuid import UUID

from swarmguard._common.fields import wrong_type, wrong_value
from swarmguard._overseer.agent import ErrorReport, Incarnation
from swarmguard._overseer.core import OverseerCore
from swarmguard._overseer.tasks import BackgroundTasks
from swarmguard.errors import StaleAgentError

Heartbeat = Literal["auto", "manual"]


def check_heartbeat(heartbeat: object) -> None:
    """Raise unless the value is `"auto"` or `"manual"`."""
    if not isinstance(heartbeat, str):
        wrong_type("heartbeat", '"auto" or "manual"', heartbeat)
    if heartbeat not in ("auto", "manual"):
        wrong_value("heartbeat", '"auto" or "manual"', heartbeat)


class AgentHandle:
    """The handle with which an agent's own code reports: one for each incarnation of the agent.

    `Overseer.agent` and `Overseer.supervise` create it. The handle is stale once its incarnation has ended: the agent
    was restarted or unregistered, or it died under `supervise`. From then on every method raises `StaleAgentError`,
    and the code that holds the handle should stop. The methods that are not async may be called from any thread.
    """

    __slots__ = ("_core", "_incarnation")

    def __init__(self, core: OverseerCore, incarnation: Incarnation) -> None:
        self._core = core
        self._incarnation = incarnation

    @property
    def agent_id(self) -> UUID:
        """The agent's id. It can also be read when the handle is stale."""
        return self._incarnation.agent.agent_id

    @property
    def agent_type(self) -> str:
        """The agent's type, as it was registered. It can also be read when the handle is stale."""
        return self._incarnation.agent.agent_type

    def heartbeat(self) -> None:
        """Send a heartbeat: the agent is alive, whether or not it works. See `Overseer.record_agent_heartbeat`.

        Raises:
            StaleAgentError: The handle is stale.
        """
        self._core.do_for(self._incarnation, self._core.machine.heartbeat)

    def success(self) -> None:
        """Report a success: the agent is alive and works. See `Overseer.record_agent_success`.

        Raises:
            StaleAgentError: The handle is stale.
        """
        self._core.do_for(self._incarnation, self._core.machine.success)

    def failure(self, error: str | BaseException) -> None:
        """Report a failure: the agent's failure count goes up by one. See `Overseer.record_agent_failure`.

        Args:
            error: What went wrong: a text or an exception. Its text becomes the agent's `error_message`.

        Raises:
            StaleAgentError: The handle is stale.
            TypeError: `error` is neither a str nor an exception.
        """
        self._core.do_for(self._incarnation, self._core.machine.failure, ErrorReport.of(error))

    async def checkpoint(self) -> None:
        """Send a heartbeat, wait while the swarm is paused, and send another heartbeat.

        Raises:
            StaleAgentError: The handle is stale, or became stale during the wait.
        """
        self.heartbeat()
        await self._core.wait_until_resumed()
        while self._core.is_paused:  # paused again before this task ran
            await self._core.wait_until_resumed()
        self.heartbeat()

    def __repr__(self) -> str:
        agent = self._incarnation.agent
        return f"<AgentHandle {agent.agent_type!r} {agent.agent_id} incarnation {self._incarnation.incarnation}>"


@asynccontextmanager
async def agent_block(
    core: OverseerCore, agent_type: str, agent_id: UUID | None, heartbeat: Heartbeat
) -> AsyncGenerator[AgentHandle, None]:
    """Register an agent for the duration of a block, and send heartbeats for it if `heartbeat` is `"auto"`."""
    agent = core.new_agent(agent_type, agent_id)
    incarnation = Incarnation(agent, agent.incarnation)
    handle = AgentHandle(core, incarnation)
    core.do(core.machine.register, agent)
    try:
        async with BackgroundTasks() as tasks:
            if heartbeat == "auto":
                tasks.start(_keep_alive, core, handle)
            yield handle
    except BaseException as exc:
        if _is_failure(exc):
            with suppress(StaleAgentError):
                handle.failure(exc)
        raise
    finally:
        core.do(core.machine.finish, incarnation)


async def _keep_alive(core: OverseerCore, handle: AgentHandle) -> None:
    """Send heartbeats until the handle is stale."""
    with suppress(StaleAgentError):
        while True:
            await core.clock.sleep(core.config.beat_every_secs)
            handle.heartbeat()


def _is_failure(exc: BaseException) -> bool:
    """Return whether an exception, or one in a group, is an `Exception`, not only a cancellation or an interrupt."""
    if isinstance(exc, BaseExceptionGroup):
        return any(_is_failure(leaf) for leaf in cast("BaseExceptionGroup[BaseException]", exc).exceptions)
    return isinstance(exc, Exception)
