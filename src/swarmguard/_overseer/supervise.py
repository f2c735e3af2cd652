"""`Overseer.supervise`: run one agent, and run it again when it dies.

The supervisor runs the agent's main in its own task, one incarnation after the other. The rules in `machine` determine
when an incarnation ends and when the next may start. The call that ends an incarnation, in any thread, notifies the
supervisor, and a background task then cancels main. At that time the handle of the incarnation is stale already, so
main cannot report any more, however long it takes to end.

`OverseerCore.do` may return `PUT_OFF` at interpreter shutdown, which is truthy; so its answers are compared with True.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Generic, NoReturn, TypeVar, TypeVarTuple
from uuid import UUID

import anyio

from swarmguard._common.monitor import NotRun
from swarmguard._common.waking import Waker
from swarmguard._overseer.agent import ErrorReport, Incarnation, Supervision
from swarmguard._overseer.core import OverseerCore
from swarmguard._overseer.handle import AgentHandle, Heartbeat
from swarmguard._overseer.machine import Cooldown, NotStarted
from swarmguard._overseer.tasks import BackgroundTasks, Ticker, is_being_cancelled
from swarmguard.errors import AgentExhaustedError, StaleAgentError

if TYPE_CHECKING:
    from anyio.abc import TaskStatus

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Main = Callable[[AgentHandle], Awaitable[T]]
"""An agent's code: an async callable that takes the handle of its incarnation."""

logger = logging.getLogger("swarmguard")


class NotAsyncError(TypeError):
    """Main is not async: a mistake in the call of `supervise`, not a crash of the agent."""


class Supervisor(Generic[T]):
    """Runs one agent's main until the agent ends.

    Args:
        core: The overseer.
        agent_type: The agent's type.
        main: The agent's code.
        heartbeat: `"auto"` if the supervisor sends heartbeats for the agent.
    """

    __slots__ = ("_agent", "_beats", "_core", "_given_up", "_main", "_result", "_supervision")

    def __init__(self, core: OverseerCore, agent_type: str, main: Main[T], heartbeat: Heartbeat) -> None:
        self._core = core
        self._main = main
        self._beats = heartbeat == "auto"
        self._supervision = Supervision()
        self._agent = core.new_agent(agent_type, None, self._supervision)
        self._given_up = False
        self._result: T | None = None

    async def run(self, task_status: TaskStatus[UUID]) -> T | None:
        """Register the agent and run it until main returns, the agent is unregistered, or it is exhausted."""
        incarnation, waker = Incarnation(self._agent, self._agent.incarnation), Waker()
        self._supervision.notify = waker.wake
        self._core.do(self._core.machine.register, self._agent)
        try:
            task_status.started(self._agent.agent_id)
            while not await self._run_incarnation(incarnation, waker):
                following = await self._start_next()
                if following is None:
                    break
                incarnation, waker = following
            return self._result
        finally:
            if not self._given_up:
                self._core.do(self._core.machine.discard, self._agent)

    # During an incarnation

    async def _run_incarnation(self, incarnation: Incarnation, waker: Waker) -> bool:
        """Run main until it has ended. Return True if main returned and no incarnation follows."""
        scope = anyio.CancelScope()
        async with BackgroundTasks() as tasks:
            tasks.start(self._cancel_when_notified, waker, scope)
            tasks.start(self._keep_alive if self._beats else self._watch_for_silence, incarnation, scope)
            try:
                with scope:
                    result = await self._call_main(incarnation)
                    if self._core.do(self._core.machine.finish, incarnation) is True:
                        self._result = result
                        return True
            except anyio.get_cancelled_exc_class() as exc:
                if is_being_cancelled(exc):
                    raise
                self._crashed(incarnation, exc)
            except NotAsyncError:
                raise
            except Exception as exc:  # noqa: BLE001 - any error of main is a crash of the agent
                self._crashed(incarnation, exc)
        return False

    async def _call_main(self, incarnation: Incarnation) -> T:
        work = self._main(AgentHandle(self._core, incarnation))
        if not inspect.isawaitable(work):
            raise NotAsyncError(f"main must be an async callable, got {self._main!r}, which returned {work!r}")
        return await work

    def _crashed(self, incarnation: Incarnation, exc: BaseException) -> None:
        recorded = self._core.do(self._core.machine.crash, incarnation, ErrorReport.of(exc))
        if recorded is True or isinstance(exc, StaleAgentError) or not isinstance(exc, Exception):
            return
        agent = incarnation.agent
        logger.warning("agent %r (%s) raised while it was cancelled", agent.agent_type, agent.agent_id, exc_info=exc)

    async def _cancel_when_notified(self, waker: Waker, scope: anyio.CancelScope) -> None:
        await waker.wait()
        scope.cancel()

    async def _keep_alive(self, incarnation: Incarnation, scope: anyio.CancelScope) -> None:
        """Send heartbeats until the incarnation has ended."""
        ticker = Ticker(self._core.clock, self._core.config.beat_every_secs)
        while True:
            await ticker.tick()
            if self._core.do(self._core.machine.beat_for, incarnation) is not True:
                scope.cancel()
                return

    async def _watch_for_silence(self, incarnation: Incarnation, scope: anyio.CancelScope) -> None:
        """Check main's own heartbeats until the incarnation has ended."""
        ticker = Ticker(self._core.clock, self._core.config.heartbeat_interval_secs)
        while True:
            deadline = await ticker.tick()
            if self._core.do(self._core.machine.check_for, incarnation, deadline) is not True:
                scope.cancel()
                return

    # Between two incarnations

    async def _start_next(self) -> tuple[Incarnation, Waker] | None:
        """Wait until the next incarnation may start, and start it. Return None if there is no next one."""
        while True:
            waker = Waker()
            answer = self._core.do(self._core.machine.start_next, self._agent, self._supervision, waker.wake)
            match answer:
                case Incarnation():
                    return answer, waker
                case Cooldown(seconds):
                    await self._wait(waker, self._core.clock.sleep, seconds)
                case NotStarted.PAUSED:
                    await self._wait(waker, self._core.wait_until_resumed)
                case NotStarted.EXHAUSTED:
                    self._give_up()
                case NotStarted.GONE | NotRun.PUT_OFF:  # pragma: no branch - no other answer is left
                    return None

    async def _wait(self, waker: Waker, wait: Callable[[*Ts], Awaitable[None]], *args: *Ts) -> None:
        """Run `await wait(*args)`, but only until the supervisor is notified."""

        async def then_wake() -> None:
            await wait(*args)
            waker.wake()

        async with BackgroundTasks() as tasks:
            tasks.start(then_wake)
            await waker.wait()

    def _give_up(self) -> NoReturn:
        """End the supervision of a dead agent."""
        self._given_up = True
        agent, error = self._agent, self._supervision.end()
        if error is None:
            timeout = self._core.config.heartbeat_timeout_secs
            cause: BaseException = TimeoutError(f"agent {agent.agent_type!r} sent no heartbeat for {timeout:g} s")
        else:
            cause = error.to_exception()
        raise AgentExhaustedError(agent.agent_id, agent.agent_type, agent.restart_count) from cause
