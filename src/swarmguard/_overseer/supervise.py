"""`supervise`: one agent, kept running.

The supervisor runs main in its own task, one incarnation after the other, and decides nothing itself: the machine
says when an incarnation has ended and when the next may start. Whoever ends one, in whatever thread, rings the
supervision's alarm, and a task beside main then cancels it. By that time its handle is stale, so that it can say
nothing more, however long it takes to end.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Generic, NoReturn, TypeVar, TypeVarTuple
from uuid import UUID

import anyio

from swarmguard._common.waking import Waker
from swarmguard._overseer.agent import Life, Supervision, Trouble
from swarmguard._overseer.core import Core
from swarmguard._overseer.crew import Crew, asked_to_stop
from swarmguard._overseer.handle import AgentHandle, Heartbeat
from swarmguard._overseer.machine import Verdict
from swarmguard._overseer.watch import Ticker
from swarmguard.errors import AgentExhaustedError, StaleAgentError

if TYPE_CHECKING:
    from anyio.abc import TaskStatus

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Main = Callable[[AgentHandle], Awaitable[T]]
"""What an agent does, given the handle of its incarnation."""

logger = logging.getLogger("swarmguard")


class NotAsyncError(TypeError):
    """Main is a plain function: no crash of an agent, but a mistake of whoever wrote the call."""


class Supervisor(Generic[T]):
    """Keeps one agent's main running.

    Args:
        core: The overseer.
        agent_type: What kind of agent it is.
        main: What it does.
        heartbeat: Whether the supervisor beats for it.
    """

    __slots__ = ("_agent", "_beats", "_core", "_given_up", "_main", "_result", "_supervision")

    def __init__(self, core: Core, agent_type: str, main: Main[T], heartbeat: Heartbeat) -> None:
        self._core = core
        self._main = main
        self._beats = heartbeat == "auto"
        self._supervision = Supervision()
        self._agent = core.new_agent(agent_type, None, self._supervision)
        self._given_up = False
        self._result: T | None = None

    async def run(self, task_status: TaskStatus[UUID]) -> T | None:
        """Register the agent and run it until it returns, is unregistered, or is exhausted."""
        life, waker = Life(self._agent, self._agent.incarnation), Waker()
        self._supervision.alarm = waker.wake
        self._core.do(self._core.machine.register, self._agent)
        try:
            task_status.started(self._agent.agent_id)
            while not await self._live(life, waker):
                following = await self._next_life()
                if following is None:
                    break
                life, waker = following
            return self._result
        finally:
            if not self._given_up:
                self._core.do(self._core.machine.dismiss, self._agent)

    # One incarnation

    async def _live(self, life: Life, waker: Waker) -> bool:
        """Run main until it has ended; True when that is the end of the agent as well."""
        scope = anyio.CancelScope()
        async with Crew() as crew:
            crew.start(self._cancel_when_rung, waker, scope)
            crew.start(self._attend, life, scope)
            try:
                with scope:
                    result = await self._call_main(life)
                    if self._core.do(self._core.machine.leave, life):
                        self._result = result
                        return True
            except anyio.get_cancelled_exc_class() as exc:
                if asked_to_stop(exc):
                    raise
                self._crashed(life, exc)
            except NotAsyncError:
                raise
            except Exception as exc:  # noqa: BLE001 - whatever it is, the agent crashed
                self._crashed(life, exc)
        return False

    async def _call_main(self, life: Life) -> T:
        work = self._main(AgentHandle(self._core, life))
        if not inspect.isawaitable(work):
            raise NotAsyncError(f"main must be an async callable, got {self._main!r}, which returned {work!r}")
        return await work

    def _crashed(self, life: Life, exc: BaseException) -> None:
        recorded = self._core.do(self._core.machine.crash, life, Trouble.of(exc))
        if recorded or isinstance(exc, StaleAgentError) or not isinstance(exc, Exception):
            return
        agent = life.agent
        logger.warning("agent %r (%s) raised as it was stopped", agent.agent_type, agent.agent_id, exc_info=exc)

    async def _cancel_when_rung(self, waker: Waker, scope: anyio.CancelScope) -> None:
        await waker.wait()
        scope.cancel()

    async def _attend(self, life: Life, scope: anyio.CancelScope) -> None:
        config = self._core.config
        interval = config.beat_every_secs if self._beats else config.heartbeat_interval_secs
        ticker = Ticker(self._core.clock, interval)
        while self._core.do(self._core.machine.attend, life, self._beats, await ticker.tick()):
            pass
        scope.cancel()

    # Between two

    async def _next_life(self) -> tuple[Life, Waker] | None:
        """Wait until the next incarnation may start, and start it; None when there is none to start."""
        while True:
            waker = Waker()
            turn = self._core.do(self._core.machine.turn, self._agent, self._supervision, waker.wake)
            match turn:
                case Life():
                    return turn, waker
                case float():
                    await self._wait(waker, self._core.clock.sleep, turn)
                case Verdict.PAUSED:
                    await self._wait(waker, self._core.wait_until_resumed)
                case Verdict.EXHAUSTED:
                    self._give_up()
                case _:
                    return None

    async def _wait(self, waker: Waker, wait: Callable[[*Ts], Awaitable[None]], *args: *Ts) -> None:
        """Wait for that, or until the alarm is rung."""

        async def then_wake() -> None:
            await wait(*args)
            waker.wake()

        async with Crew() as crew:
            crew.start(then_wake)
            await waker.wait()

    def _give_up(self) -> NoReturn:
        """Raise what ends the supervision of a dead agent."""
        self._given_up = True
        agent, trouble = self._agent, self._supervision.end()
        if trouble is None:
            timeout = self._core.config.heartbeat_timeout_secs
            cause: BaseException = TimeoutError(f"agent {agent.agent_type!r} gave no heartbeat for {timeout:g} s")
        else:
            cause = trouble.to_exception()
        raise AgentExhaustedError(agent.agent_id, agent.agent_type, agent.restart_count) from cause
