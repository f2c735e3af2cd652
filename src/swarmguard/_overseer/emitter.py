"""The payloads of the overseer's events. Which event is emitted, and when, is decided in `machine`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from swarmguard._overseer.agent import Agent, ErrorReport
from swarmguard._overseer.values import AgentHealth
from swarmguard.events import JSON

Emit = Callable[[str, Mapping[str, JSON], float], object]
"""Takes an event's topic (without the prefix), its payload and its moment."""


class Emitter:
    """Builds events and passes them on.

    Args:
        emit: Takes every event; None if there is no sink.
    """

    __slots__ = ("_emit",)

    def __init__(self, emit: Emit | None) -> None:
        self._emit = emit

    def started(self, agent: Agent, now: float) -> None:
        """Emit `agent.started`."""
        self._about("agent.started", agent, now)

    def stopped(self, agent: Agent, now: float) -> None:
        """Emit `agent.stopped`."""
        self._about("agent.stopped", agent, now)

    def failed(self, agent: Agent, reason: str, previous: AgentHealth, error: ErrorReport | None, now: float) -> None:
        """Emit `agent.failed`; `previous` is the health before."""
        self._about(
            "agent.failed",
            agent,
            now,
            reason=reason,
            health=agent.health.value,
            previous_health=previous.value,
            error=None if error is None else error.text,
            consecutive_failures=agent.failures,
        )

    def recovered(self, agent: Agent, reason: str, restart_count: int, now: float) -> None:
        """Emit `agent.recovered`."""
        self._about("agent.recovered", agent, now, reason=reason, restart_count=restart_count)

    def exhausted(self, agent: Agent, now: float) -> None:
        """Emit `agent.exhausted`."""
        self._about("agent.exhausted", agent, now, restart_count=agent.restart_count, error=agent.error_message)

    def paused(self, now: float) -> None:
        """Emit `paused`."""
        self._about_swarm("paused", now)

    def resumed(self, now: float) -> None:
        """Emit `resumed`."""
        self._about_swarm("resumed", now)

    def _about(self, topic: str, agent: Agent, now: float, **facts: JSON) -> None:
        if self._emit is not None:
            self._emit(topic, {"agent_id": str(agent.agent_id), "agent_type": agent.agent_type, **facts}, now)

    def _about_swarm(self, topic: str, now: float) -> None:
        if self._emit is not None:
            self._emit(topic, {}, now)
