"""What an overseer keeps about one agent, and how its health is read from that.

An overseer may have a million of these, so a record has slots and shares what it can: what an agent does not need while
it is well is None, a number or a flag until something goes wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

import attrs

from swarmguard._common.fields import wrong_type
from swarmguard._overseer.values import AgentHealth

DEAD_AT: Final = 6
"""The failures that make an agent Dead."""

_BY_FAILURES: Final = (
    AgentHealth.HEALTHY,
    *(AgentHealth.DEGRADED,) * 2,
    *(AgentHealth.UNHEALTHY,) * 3,
)


class ErrorReport(NamedTuple):
    """An error that was reported: its text, and the exception if it came as one."""

    text: str
    exception: BaseException | None = None

    @classmethod
    def of(cls, error: object) -> ErrorReport:
        """Describe an error; it may be anything that users pass in.

        Raises:
            TypeError: It is neither a text nor an exception.
        """
        if isinstance(error, str):
            return cls(error)
        if not isinstance(error, BaseException):
            wrong_type("error", "a str or an exception", error)
        return cls(_describe(error), error)

    def to_exception(self) -> BaseException:
        """Return the exception, or one that says the text."""
        return RuntimeError(self.text) if self.exception is None else self.exception


def _describe(exc: BaseException) -> str:
    """Return the exception's type's name and, after a colon, its text if it has one."""
    name = type(exc).__name__
    try:
        text = str(exc)
    except Exception:  # noqa: BLE001 - a broken __str__ must not hide that there was an error
        return name
    return f"{name}: {text}" if text else name


def _nothing() -> None:
    """Tell nobody."""


@attrs.define(eq=False)
class Supervision:
    """What the machine tells the task that supervises an agent.

    Attributes:
        notify: Called, under the monitor, when the supervisor has to look at the agent again: its incarnation has
            changed, it was reset or unregistered.
        error: What the agent died of the last time; None for silence.
    """

    notify: Callable[[], object] = _nothing
    error: ErrorReport | None = None

    def end(self) -> ErrorReport | None:
        """Let go of the supervisor, and of the last error, which is returned: an exception holds on to its frames."""
        error, self.error = self.error, None
        self.notify = _nothing
        return error


@attrs.define(eq=False)
class Attempt:
    """An attempt to restart an agent that is under way: whoever holds the object may end it, once."""

    agent: Agent


@attrs.define(eq=False, weakref_slot=False)
class Agent:
    """An agent's record. Compared by identity: an id that is registered again is another agent.

    Attributes:
        agent_id: Its id.
        agent_type: What kind of agent it is.
        started_at: When it was registered, for people.
        supervision: Who supervises it; None for an agent that is not under `supervise`.
        number: Its place in the order of registration.
        registered: Whether it is registered now.
        incarnation: 1, then one more with every restart, and with every death of a supervised agent.
        health: How well it is; always equal to `reading()` after a change.
        last_beat: The moment of its last sign of life. The machine's floor may be later.
        failures: How many there were since the last success.
        failed_at: The moment of the last of these.
        stale: Whether it has been found silent.
        down: Whether it crashed, or its restart failed.
        error_message: The last error.
        restart_count: How many restarts count against the budget, as of the last change; see `restarts`.
        attempt: The restart that is under way.
        attempt_ended: When the last one ended.
        steady_since: Since when it has been not Dead and not restarted. Means nothing while it is Dead.
        exhausted: Whether `agent.exhausted` has been emitted since `restart_count` was last set to zero.
    """

    agent_id: UUID
    agent_type: str
    started_at: datetime
    supervision: Supervision | None = None
    number: int = 0
    registered: bool = False
    incarnation: int = 1
    health: AgentHealth = AgentHealth.HEALTHY
    last_beat: float = 0.0
    failures: int = 0
    failed_at: float = 0.0
    stale: bool = False
    down: bool = False
    error_message: str | None = None
    restart_count: int = 0
    attempt: Attempt | None = None
    attempt_ended: float = 0.0
    steady_since: float = 0.0
    exhausted: bool = False

    def reading(self) -> AgentHealth:
        """Return the worst of the three readings: failures, freshness, down."""
        if self.stale or self.down or self.failures >= DEAD_AT:
            return AgentHealth.DEAD
        return _BY_FAILURES[self.failures]


class Incarnation(NamedTuple):
    """One incarnation of one agent: what a handle stands for."""

    agent: Agent
    incarnation: int

    @property
    def is_current(self) -> bool:
        """Whether the agent is registered and still in this incarnation."""
        return self.agent.registered and self.agent.incarnation == self.incarnation
