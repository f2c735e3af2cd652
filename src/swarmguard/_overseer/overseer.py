"""`Overseer`: the face of the swarm's supervision."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from anyio import TASK_STATUS_IGNORED

from swarmguard._common.fields import check_callable, check_callable_or_none, check_instance, check_wiring, wrong_type
from swarmguard._common.monitor import PUT_OFF
from swarmguard._overseer.agent import ErrorReport
from swarmguard._overseer.config import OverseerConfig
from swarmguard._overseer.core import OverseerCore
from swarmguard._overseer.handle import AgentHandle, Heartbeat, agent_block, check_heartbeat
from swarmguard._overseer.run import Restart, watch
from swarmguard._overseer.supervise import Main, Supervisor
from swarmguard._overseer.values import AgentStatus, SwarmHealth, SwarmStatus
from swarmguard.clock import Clock, SystemClock
from swarmguard.events import Sink

if TYPE_CHECKING:
    from anyio.abc import TaskStatus

    from swarmguard._breaker.registry import CircuitBreakerRegistry

T = TypeVar("T")


class Overseer:
    """Knows the agents of a swarm: who is alive, who is well, and who is to be restarted when.

    The plain methods may be called from any thread and need no event loop. A host that wants more starts `run` in its
    own task group, guards an agent's code with `agent`, or leaves the whole of it to `supervise`.

    Args:
        config: How agents are judged and restarted.
        clock: Where it reads the time; the system's own by default.
        sink: Called with an `Event` after each change; None: nobody is.
        registry: The circuit breakers that `get_swarm_status` shows beside the agents; None: it shows none.

    Raises:
        TypeError: An argument is of the wrong type.
    """

    __slots__ = ("__weakref__", "_core", "_registry")

    def __init__(
        self,
        config: OverseerConfig = OverseerConfig(),
        *,
        clock: Clock = SystemClock(),
        sink: Sink | None = None,
        registry: CircuitBreakerRegistry | None = None,
    ) -> None:
        check_instance("config", config, OverseerConfig, "an OverseerConfig")
        check_wiring(clock, sink, config.topic_prefix)
        if registry is not None and not callable(getattr(registry, "statuses", None)):
            wrong_type("registry", "a CircuitBreakerRegistry or None", registry)
        self._core = OverseerCore(config, clock, sink)
        self._registry = registry

    @property
    def config(self) -> OverseerConfig:
        """How agents are judged and restarted."""
        return self._core.config

    @property
    def clock(self) -> Clock:
        """Where the overseer reads the time."""
        return self._core.clock

    @property
    def registry(self) -> CircuitBreakerRegistry | None:
        """The circuit breakers that `get_swarm_status` shows; None when it shows none."""
        return self._registry

    # Registration

    def register_agent(self, agent_type: str, agent_id: UUID | None = None) -> UUID:
        """Register an agent; it starts Healthy, and registering is its first heartbeat. Emits `agent.started`.

        Args:
            agent_type: What kind of agent it is: any non-empty text.
            agent_id: Its id. None: a new random one.

        Returns:
            The agent's id.

        Raises:
            DuplicateAgentError: An agent of that id is registered already.
        """
        agent = self._core.new_agent(agent_type, agent_id)
        self._core.do(self._core.machine.register, agent)
        return agent.agent_id

    def unregister_agent(self, agent_id: UUID) -> None:
        """Forget an agent. Emits `agent.stopped`; a supervised agent's main is cancelled.

        Raises:
            UnknownAgentError: No agent of that id is registered.
        """
        self._core.do(self._core.machine.unregister, _checked(agent_id))

    # What agents report

    def record_agent_heartbeat(self, agent_id: UUID) -> None:
        """Record that the agent is alive. It says nothing about whether the agent works.

        It makes a stale agent fresh, and clears the failure count only when `failure_memory_secs` have passed since
        the last failure and the count is below Dead.

        Raises:
            UnknownAgentError: No agent of that id is registered.
        """
        self._core.do(self._core.machine.heartbeat, _checked(agent_id))

    def record_agent_success(self, agent_id: UUID) -> None:
        """Record that the agent did something well: it is alive, its failure count is zero, and it is not down.

        The last error message is kept for people to read.

        Raises:
            UnknownAgentError: No agent of that id is registered.
        """
        self._core.do(self._core.machine.success, _checked(agent_id))

    def record_agent_failure(self, agent_id: UUID, error: str | BaseException) -> None:
        """Record that the agent failed at something: its failure count goes up by one.

        Args:
            agent_id: The agent's id.
            error: What went wrong, as text or as the exception; kept as `error_message`.

        Raises:
            UnknownAgentError: No agent of that id is registered.
        """
        self._core.do(self._core.machine.failure, _checked(agent_id), ErrorReport.of(error))

    # Watching and restarting by hand

    def check_heartbeats(self) -> list[UUID]:
        """Mark every agent stale whose last heartbeat is `heartbeat_timeout_secs` old or older.

        Nothing is judged while the swarm is paused.

        Returns:
            The agents that were newly marked, the longest silent first.
        """
        found = self._core.do(self._core.machine.check)
        return [] if found is PUT_OFF else found

    def get_agents_needing_restart(self) -> list[tuple[UUID, str]]:
        """Return the id and type of every agent that may be restarted now, in the order of registration.

        Those are the Dead with budget left, whose cooldown is over, with no attempt under way, and not under
        `supervise`; none while the swarm is paused or when `auto_recovery_enabled` is False. Reading changes nothing.
        """
        return self._core.look(self._core.machine.needing_restart)

    def begin_restart(self, agent_id: UUID) -> None:
        """Open an attempt to restart the agent, and count it. With one open already, nothing happens.

        Raises:
            UnknownAgentError: No agent of that id is registered.
        """
        self._core.do(self._core.machine.begin_restart, _checked(agent_id))

    def record_agent_recovery(self, agent_id: UUID) -> None:
        """Record that the agent was restarted: it is Healthy, fresh, without failures, and a new incarnation.

        Ends the open attempt; with none open, the restart is counted now. Handles of the earlier incarnation become
        stale; under `supervise`, its main is cancelled and the next one started. Emits `agent.recovered`.

        Raises:
            UnknownAgentError: No agent of that id is registered.
        """
        self._core.do(self._core.machine.recover, _checked(agent_id))

    def record_restart_failure(self, agent_id: UUID, error: str | BaseException) -> None:
        """Record that restarting the agent failed: it is Dead, and its cooldown starts.

        Ends the open attempt; with none open, a failed one is counted now.

        Args:
            agent_id: The agent's id.
            error: What went wrong, as text or as the exception; kept as `error_message`.

        Raises:
            UnknownAgentError: No agent of that id is registered.
        """
        self._core.do(self._core.machine.restart_failed, _checked(agent_id), ErrorReport.of(error))

    def reset_agent(self, agent_id: UUID) -> None:
        """Forgive an agent: its failures, its crash and its restarts are forgotten, and so is the cooldown.

        A stale agent stays stale, and a supervised one stays Dead until its main runs again, which is then at once.

        Raises:
            UnknownAgentError: No agent of that id is registered.
        """
        self._core.do(self._core.machine.reset, _checked(agent_id))

    # Pausing

    @property
    def is_paused(self) -> bool:
        """Whether the swarm is paused."""
        return self._core.is_paused

    def pause_swarm(self) -> None:
        """Pause the swarm: everything is recorded, nothing is restarted, and no silence is judged.

        Emits `paused`, unless it is paused already.
        """
        self._core.do(self._core.machine.pause)

    def resume_swarm(self) -> None:
        """Resume the swarm, give every agent a full timeout, and wake all who wait.

        Emits `resumed`, unless it is not paused.
        """
        self._core.resume()

    async def wait_until_resumed(self) -> None:
        """Wait until the swarm is resumed; at once when it is not paused. In any number of loops and threads."""
        await self._core.wait_until_resumed()

    # Readings

    def get_agent_status(self, agent_id: UUID) -> AgentStatus:
        """Return the agent as it is now.

        Raises:
            UnknownAgentError: No agent of that id is registered.
        """
        return self._core.look(self._core.machine.status, _checked(agent_id))

    def get_all_agent_statuses(self) -> list[AgentStatus]:
        """Return every agent as it is now, in the order of registration."""
        return self._core.look(self._core.machine.statuses)

    def get_swarm_health(self) -> SwarmHealth:
        """Return how many agents are how well; overall health is the worst agent's, Healthy for an empty swarm."""
        return self._core.health()

    def get_swarm_status(self) -> SwarmStatus:
        """Return health and agents, of one instant, and the circuits of the registry."""
        health, agents = self._core.look(self._core.machine.snapshot)
        breakers = () if self._registry is None else tuple(self._registry.statuses())
        return SwarmStatus(health=health, agents=agents, circuit_breakers=breakers)

    # Running

    def agent(
        self, agent_type: str, agent_id: UUID | None = None, *, heartbeat: Heartbeat = "auto"
    ) -> AbstractAsyncContextManager[AgentHandle]:
        """Return an `async with` block that is an agent: registered at its start, unregistered at its end.

        Its value is an `AgentHandle`. An exception that leaves the block is recorded as a failure and goes on
        unchanged; a cancellation is no failure. If the agent was restarted by somebody else meanwhile, the block has
        become a leftover of an earlier incarnation, and its end leaves the new one alone.

        Args:
            agent_type: What kind of agent it is: any non-empty text.
            agent_id: Its id. None: a new random one.
            heartbeat: `"auto"`: a task beside the block beats every `heartbeat_interval_secs`, which shows that the
                event loop is alive. `"manual"`: only the handle's own calls beat, so that a hung agent is seen.

        Raises:
            DuplicateAgentError: On entering, if an agent of that id is registered already.
        """
        check_heartbeat(heartbeat)
        return agent_block(self._core, agent_type, agent_id, heartbeat)

    async def run(self, restart: Restart | None = None, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Check heartbeats every `heartbeat_interval_secs`, and restart agents that need it, until cancelled.

        A check that comes more than an interval late counts as a beat of every agent that is not stale: it was the
        watcher who was away. Supervised agents are left to their supervisor.

        Args:
            restart: `await restart(agent_id, agent_type)` restarts an agent. Returning is a recovery; raising is a
                failed restart, and is logged; being cancelled by the host is neither, and is not counted. At most
                `max_concurrent_restarts` are under way at once. None: nothing is restarted.
            task_status: For `await task_group.start(overseer.run)`, which returns once the watch has begun.
        """
        check_callable_or_none("restart", restart)
        await watch(self._core, restart, task_status)

    async def supervise(
        self,
        agent_type: str,
        main: Main[T],
        *,
        heartbeat: Heartbeat = "auto",
        task_status: TaskStatus[UUID] = TASK_STATUS_IGNORED,
    ) -> T | None:
        """Keep an agent running: register it, run its main, and run it again when it dies.

        Args:
            agent_type: What kind of agent it is: any non-empty text.
            main: `await main(agent)` is the agent; `agent` is the handle of this incarnation.
            heartbeat: `"auto"` beats beside main, so that crashes are seen. `"manual"` leaves beating to main, so that
                hangs are seen as well.
            task_status: For `await task_group.start(…)`, which returns the agent's id once it is registered.

        Returns:
            What main returned; None if the agent was unregistered by somebody else.

        Raises:
            AgentExhaustedError: It died and has no restart left, or `auto_recovery_enabled` is False. Its cause is the
                last error. The agent stays listed as Dead until it is unregistered.
        """
        check_heartbeat(heartbeat)
        check_callable("main", main, "an async callable that takes an AgentHandle")
        return await Supervisor(self._core, agent_type, main, heartbeat).run(task_status)


def _checked(agent_id: object) -> UUID:
    if not isinstance(agent_id, UUID):
        wrong_type("agent_id", "a UUID", agent_id)
    return agent_id
