"""`Overseer`: the public class of supervision."""

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
    """The overseer of a swarm of agents: it derives their health from their reports, and restarts dead agents.

    The methods that are not async may be called from any thread, with or without an event loop. A host that wants more
    can start `run` in its own task group, wrap an agent's code in `agent`, or let `supervise` run the agent.

    Args:
        config: The thresholds and times.
        clock: The source of time. The default is the system's clock.
        sink: Called with an `Event` after each change. None: no events are emitted.
        registry: The circuit breakers that `get_swarm_status` includes. None: it includes none.

    Raises:
        TypeError: An argument has the wrong type.
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
        """The configuration."""
        return self._core.config

    @property
    def clock(self) -> Clock:
        """The source of time."""
        return self._core.clock

    @property
    def registry(self) -> CircuitBreakerRegistry | None:
        """The circuit breakers that `get_swarm_status` includes; None if it includes none."""
        return self._registry

    # Registration

    def register_agent(self, agent_type: str, agent_id: UUID | None = None) -> UUID:
        """Register an agent. It starts Healthy, and its registration is its first heartbeat. Emits `agent.started`.

        Args:
            agent_type: The agent's type: any non-empty text.
            agent_id: The agent's id. None: a new random one.

        Returns:
            The agent's id.

        Raises:
            DuplicateAgentError: The id is registered already.
            TypeError: An argument has the wrong type.
            ValueError: `agent_type` is empty.
        """
        agent = self._core.new_agent(agent_type, agent_id)
        self._core.do(self._core.machine.register, agent)
        return agent.agent_id

    def unregister_agent(self, agent_id: UUID) -> None:
        """Unregister an agent. The main of a supervised agent is cancelled. Emits `agent.stopped`.

        Args:
            agent_id: The agent's id.

        Raises:
            UnknownAgentError: The id is not registered.
            TypeError: The id is not a UUID.
        """
        self._core.do(self._core.machine.unregister, _checked(agent_id))

    # Reports

    def record_agent_heartbeat(self, agent_id: UUID) -> None:
        """Record that an agent is alive. A heartbeat does not say that the agent works.

        A stale agent becomes fresh. The failure count is cleared only if it is below six and `failure_memory_secs` have
        passed since the last failure. Emits `agent.recovered` if the agent is Healthy again.

        Args:
            agent_id: The agent's id.

        Raises:
            UnknownAgentError: The id is not registered.
            TypeError: The id is not a UUID.
        """
        self._core.do(self._core.machine.heartbeat, _checked(agent_id))

    def record_agent_success(self, agent_id: UUID) -> None:
        """Record that an agent works. A success is a sign of life, clears the failure count, and ends being down.

        The last error message is kept. A supervised agent that is Dead stays Dead until its restart. Emits
        `agent.recovered` if the agent is Healthy again.

        Args:
            agent_id: The agent's id.

        Raises:
            UnknownAgentError: The id is not registered.
            TypeError: The id is not a UUID.
        """
        self._core.do(self._core.machine.success, _checked(agent_id))

    def record_agent_failure(self, agent_id: UUID, error: str | BaseException) -> None:
        """Record that an agent failed at something: its failure count goes up by one. Not a sign of life.

        One or two failures make an agent Degraded, three to five Unhealthy, six or more Dead. Emits `agent.failed` each
        time the health gets worse.

        Args:
            agent_id: The agent's id.
            error: What went wrong: a text or an exception. Its text becomes the agent's `error_message`.

        Raises:
            UnknownAgentError: The id is not registered.
            TypeError: The id is not a UUID, or `error` is neither a str nor an exception.
        """
        self._core.do(self._core.machine.failure, _checked(agent_id), ErrorReport.of(error))

    # Checks and restarts by the host

    def check_heartbeats(self) -> list[UUID]:
        """Mark every agent as stale whose last heartbeat is `heartbeat_timeout_secs` old or older.

        A stale agent is Dead. While the swarm is paused, no agent is marked. Emits `agent.failed` for each agent that
        was not Dead.

        Returns:
            The ids of the agents that were newly marked, the longest silent first.
        """
        stale = self._core.do(self._core.machine.check)
        return [] if stale is PUT_OFF else stale

    def get_agents_needing_restart(self) -> list[tuple[UUID, str]]:
        """Return the agents that may be restarted now.

        An agent may be restarted if it is Dead, has restart budget left, its cooldown is over, no restart attempt is
        under way, and it does not run under `supervise`. The call changes nothing.

        Returns:
            The id and the type of each agent, in the order of registration. Empty while the swarm is paused, and if
            `auto_recovery_enabled` is False.
        """
        return self._core.read(self._core.machine.needing_restart)

    def begin_restart(self, agent_id: UUID) -> None:
        """Open a restart attempt and count it. If one is open already, nothing happens.

        Args:
            agent_id: The agent's id.

        Raises:
            UnknownAgentError: The id is not registered.
            TypeError: The id is not a UUID.
        """
        self._core.do(self._core.machine.begin_restart, _checked(agent_id))

    def record_agent_recovery(self, agent_id: UUID) -> None:
        """Record that an agent was restarted. It is Healthy and fresh, without failures, in its next incarnation.

        This ends the open restart attempt. If none is open, a restart is counted now. Handles of earlier incarnations
        are stale from now on; under `supervise`, the agent's main is cancelled and run again. Emits `agent.recovered`.

        Args:
            agent_id: The agent's id.

        Raises:
            UnknownAgentError: The id is not registered.
            TypeError: The id is not a UUID.
        """
        self._core.do(self._core.machine.recover, _checked(agent_id))

    def record_restart_failure(self, agent_id: UUID, error: str | BaseException) -> None:
        """Record that the restart of an agent failed. The agent is Dead, and its cooldown starts.

        This ends the open restart attempt. If none is open, a failed one is counted now. Emits `agent.failed` if the
        agent was not Dead, and `agent.exhausted` if it has no restart left.

        Args:
            agent_id: The agent's id.
            error: What went wrong: a text or an exception. Its text becomes the agent's `error_message`.

        Raises:
            UnknownAgentError: The id is not registered.
            TypeError: The id is not a UUID, or `error` is neither a str nor an exception.
        """
        self._core.do(self._core.machine.restart_failed, _checked(agent_id), ErrorReport.of(error))

    def reset_agent(self, agent_id: UUID) -> None:
        """Clear an agent's failures, its crash, its restart count and its cooldown.

        A stale agent stays stale. A supervised agent that is Dead stays Dead, but its main is run again at once. Emits
        `agent.recovered` if the agent is Healthy again.

        Args:
            agent_id: The agent's id.

        Raises:
            UnknownAgentError: The id is not registered.
            TypeError: The id is not a UUID.
        """
        self._core.do(self._core.machine.reset, _checked(agent_id))

    # Pausing

    @property
    def is_paused(self) -> bool:
        """Whether the swarm is paused."""
        return self._core.is_paused

    def pause_swarm(self) -> None:
        """Pause the swarm: no agent is restarted, and none is marked as stale. Reports are still recorded.

        Emits `paused`. If the swarm is paused already, nothing happens.
        """
        self._core.do(self._core.machine.pause)

    def resume_swarm(self) -> None:
        """Resume the swarm. Every agent that is not stale gets a full heartbeat timeout, and all waiting tasks wake.

        Emits `resumed`. If the swarm is not paused, nothing happens.
        """
        self._core.resume()

    async def wait_until_resumed(self) -> None:
        """Wait until the swarm is resumed. Return at once if it is not paused.

        Any number of tasks may wait, in any number of event loops and threads.
        """
        await self._core.wait_until_resumed()

    # Readings

    def get_agent_status(self, agent_id: UUID) -> AgentStatus:
        """Return the current status of an agent.

        Args:
            agent_id: The agent's id.

        Returns:
            The status, a frozen value.

        Raises:
            UnknownAgentError: The id is not registered.
            TypeError: The id is not a UUID.
        """
        return self._core.read(self._core.machine.status, _checked(agent_id))

    def get_all_agent_statuses(self) -> list[AgentStatus]:
        """Return the current status of every agent, of one instant and in the order of registration."""
        return self._core.read(self._core.machine.statuses)

    def get_swarm_health(self) -> SwarmHealth:
        """Return the number of agents by health, and the worst health.

        Returns:
            The counts, a frozen value. The overall health of a swarm without agents is Healthy.
        """
        return self._core.health()

    def get_swarm_status(self) -> SwarmStatus:
        """Return the health of the swarm, and the status of every agent and every circuit breaker of the registry.

        Returns:
            The status, a frozen value. The agents are read at one instant, the breakers just after.
        """
        health, agents = self._core.read(self._core.machine.snapshot)
        breakers = () if self._registry is None else tuple(self._registry.statuses())
        return SwarmStatus(health=health, agents=agents, circuit_breakers=breakers)

    # Tasks

    def agent(
        self, agent_type: str, agent_id: UUID | None = None, *, heartbeat: Heartbeat = "auto"
    ) -> AbstractAsyncContextManager[AgentHandle]:
        """Return an `async with` block that is an agent: registered at its start, unregistered at its end.

        An exception that leaves the block is recorded as a failure and propagates unchanged. A cancellation is not a
        failure. If the agent was restarted meanwhile, the block belongs to an earlier incarnation, and its end does
        not unregister the agent.

        Args:
            agent_type: The agent's type: any non-empty text.
            agent_id: The agent's id. None: a new random one.
            heartbeat: `"auto"`: a background task sends a heartbeat every `heartbeat_interval_secs`, which shows that
                the event loop runs. `"manual"`: only the handle's methods count as signs of life, so an agent that
                hangs is found.

        Returns:
            An async context manager whose value is the agent's `AgentHandle`.

        Raises:
            DuplicateAgentError: When the block is entered, if the id is registered already.
            TypeError: `heartbeat` has the wrong type; when the block is entered, `agent_type` or `agent_id` has.
            ValueError: `heartbeat` is not one of the two; when the block is entered, `agent_type` is empty.
        """
        check_heartbeat(heartbeat)
        return agent_block(self._core, agent_type, agent_id, heartbeat)

    async def run(self, restart: Restart | None = None, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Check heartbeats every `heartbeat_interval_secs`, and restart agents that need it, until cancelled.

        A check that comes more than one interval late counts as a heartbeat of every agent that is not stale, because
        the event loop of the check did not run. Agents under `supervise` are not restarted here.

        Args:
            restart: An async callable: `await restart(agent_id, agent_type)` restarts an agent. If it returns, the
                agent has recovered. If it raises, the restart has failed, and the exception is logged. If the host
                cancels it, the attempt is not counted. At most `max_concurrent_restarts` run at a time. None: no agent
                is restarted.
            task_status: For `await task_group.start(overseer.run)`, which returns when the checks have started.

        Raises:
            TypeError: `restart` is neither a callable nor None.
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
        """Register an agent, run its main, and run it again each time the agent dies.

        An agent dies when its main raises, by its reported failures, or by silence. A main that is still running is
        then cancelled. The next one starts when it has ended and the cooldown is over. When main returns, the agent is
        unregistered.

        Args:
            agent_type: The agent's type: any non-empty text.
            main: The agent's code, an async callable: `await main(agent)`, with the `AgentHandle` of the incarnation.
            heartbeat: `"auto"`: a background task sends a heartbeat every `heartbeat_interval_secs`, so crashes are
                found, but not hangs. `"manual"`: only the handle's methods count as signs of life, so a main that hangs
                is found too.
            task_status: For `await task_group.start(...)`, which returns the agent's id once it is registered.

        Returns:
            What main returned; None if main was cancelled because the agent was unregistered.

        Raises:
            AgentExhaustedError: The agent died and has no restart left, or `auto_recovery_enabled` is False. Its
                `__cause__` is the last error, a `TimeoutError` after silence. The agent stays listed as Dead until it
                is unregistered.
            TypeError: An argument has the wrong type, or main is not async.
            ValueError: `agent_type` is empty, or `heartbeat` is not one of the two.
        """
        check_heartbeat(heartbeat)
        check_callable("main", main, "an async callable that takes an AgentHandle")
        return await Supervisor(self._core, agent_type, main, heartbeat).run(task_status)


def _checked(agent_id: object) -> UUID:
    if not isinstance(agent_id, UUID):
        wrong_type("agent_id", "a UUID", agent_id)
    return agent_id
