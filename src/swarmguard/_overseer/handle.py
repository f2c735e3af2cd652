"""`AgentHandle`, and the `async with overseer.agent(…)` block."""

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
    """Raise unless it is one of the two ways to beat."""
    if not isinstance(heartbeat, str):
        wrong_type("heartbeat", '"auto" or "manual"', heartbeat)
    if heartbeat not in ("auto", "manual"):
        wrong_value("heartbeat", '"auto" or "manual"', heartbeat)


class AgentHandle:
    """What an agent's own code holds: it reports for one incarnation of the agent.

    Once the agent has ended, or was restarted, or died under `supervise`, the handle is stale and every method raises
    `StaleAgentError`: whoever still holds it should stop. The plain methods may be called from any thread.
    """

    __slots__ = ("_core", "_incarnation")

    def __init__(self, core: OverseerCore, incarnation: Incarnation) -> None:
        self._core = core
        self._incarnation = incarnation

    @property
    def agent_id(self) -> UUID:
        """The agent's id."""
        return self._incarnation.agent.agent_id

    @property
    def agent_type(self) -> str:
        """What kind of agent it is."""
        return self._incarnation.agent.agent_type

    def heartbeat(self) -> None:
        """Record that the agent is alive. It says nothing about whether the agent works.

        Raises:
            StaleAgentError: The handle is stale.
        """
        self._core.do_for(self._incarnation, self._core.machine.heartbeat)

    def success(self) -> None:
        """Record that the agent did something well: it is alive, and its failure count is zero.

        Raises:
            StaleAgentError: The handle is stale.
        """
        self._core.do_for(self._incarnation, self._core.machine.success)

    def failure(self, error: str | BaseException) -> None:
        """Record that the agent failed at something: its failure count goes up by one.

        Args:
            error: What went wrong, as text or as the exception; kept as the agent's `error_message`.

        Raises:
            StaleAgentError: The handle is stale.
        """
        self._core.do_for(self._incarnation, self._core.machine.failure, ErrorReport.of(error))

    async def checkpoint(self) -> None:
        """Beat, and wait while the swarm is paused.

        Raises:
            StaleAgentError: The handle is stale, or has become so while the swarm was paused.
        """
        self.heartbeat()
        await self._core.wait_until_resumed()
        while self._core.is_paused:  # again, before this task came to run
            await self._core.wait_until_resumed()
        self.heartbeat()

    def __repr__(self) -> str:
        agent = self._incarnation.agent
        return f"<AgentHandle {agent.agent_type!r} {agent.agent_id} incarnation {self._incarnation.incarnation}>"


@asynccontextmanager
async def agent_block(
    core: OverseerCore, agent_type: str, agent_id: UUID | None, heartbeat: Heartbeat
) -> AsyncGenerator[AgentHandle, None]:
    """Register an agent for the length of a block, and beat for it beside the block."""
    agent = core.new_agent(agent_type, agent_id)
    incarnation = Incarnation(agent, agent.incarnation)
    handle = AgentHandle(core, incarnation)
    core.do(core.machine.register, agent)
    try:
        async with BackgroundTasks() as tasks:
            if heartbeat == "auto":
                tasks.start(_beat, core, handle)
            yield handle
    except BaseException as exc:
        if _is_failure(exc):
            with suppress(StaleAgentError):
                handle.failure(exc)
        raise
    finally:
        core.do(core.machine.finish, incarnation)


async def _beat(core: OverseerCore, handle: AgentHandle) -> None:
    with suppress(StaleAgentError):
        while True:
            await core.clock.sleep(core.config.beat_every_secs)
            handle.heartbeat()


def _is_failure(exc: BaseException) -> bool:
    """Tell whether an exception, or one in a group, is more than a cancellation or an interrupt."""
    if isinstance(exc, BaseExceptionGroup):
        return any(_is_failure(leaf) for leaf in cast("BaseExceptionGroup[BaseException]", exc).exceptions)
    return isinstance(exc, Exception)
