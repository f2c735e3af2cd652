"""The record of one agent, and the small values that refer to it.

An overseer may keep a million records, so a record has slots, and most of its fields share their value with other
records until the agent has an error. It holds data only: the rules are in `machine`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import attrs

from swarmguard._common.fields import wrong_type
from swarmguard._overseer.values import AgentHealth


class ErrorReport(NamedTuple):
    """An error that was reported: its text and, if an exception was passed, the exception."""

    text: str
    exception: BaseException | None = None

    @classmethod
    def of(cls, error: object) -> ErrorReport:
        """Return the report of an error that a user passed in.

        Raises:
            TypeError: It is neither a str nor an exception.
        """
        if isinstance(error, str):
            return cls(error)
        if not isinstance(error, BaseException):
            wrong_type("error", "a str or an exception", error)
        return cls(_describe(error), error)

    def to_exception(self) -> BaseException:
        """Return the exception, or a `RuntimeError` with the text."""
        return RuntimeError(self.text) if self.exception is None else self.exception


def _describe(exc: BaseException) -> str:
    """Return `"Type: text"`, or only the type's name if the exception has no text."""
    name = type(exc).__name__
    try:
        text = str(exc)
    except Exception:  # noqa: BLE001 - a __str__ that raises must not hide the error itself
        return name
    return f"{name}: {text}" if text else name


def _ignore() -> None:
    """Do nothing."""


@attrs.define(eq=False)
class Supervision:
    """The link from an agent's record to the task that supervises it.

    Attributes:
        notify: Called, under the lock, when the supervisor has to ask again whether the agent may run: the agent died,
            was restarted or reset from outside, or was unregistered.
        error: The error of the agent's last death; None if it died by silence.
    """

    notify: Callable[[], object] = _ignore
    error: ErrorReport | None = None

    def end(self) -> ErrorReport | None:
        """Drop both references and return the error: an exception keeps the frames of its traceback alive."""
        error, self.error = self.error, None
        self.notify = _ignore
        return error


@attrs.define(eq=False)
class Attempt:
    """A restart attempt that is under way. It can end once: only while it is the agent's `attempt`."""

    agent: Agent


@attrs.define(eq=False, weakref_slot=False)
class Agent:
    """An agent's record. Compared by identity: an id that is registered again gets a new record.

    Attributes:
        agent_id: Its id.
        agent_type: Its type: any non-empty text.
        started_at: The wall-clock time of its registration.
        supervision: The link to its supervisor; None unless the agent runs under `supervise`.
        number: Its position in the order of registration.
        registered: Whether it is registered.
        incarnation: A number that only grows: by one with every restart, and with every death under `supervise`.
        health: The health that the machine last read from the other fields.
        last_beat: The moment of its last sign of life; see `freshness`, whose floor may be later.
        failures: The failures since the last success.
        failed_at: The moment of the last of them.
        stale: Whether it is missing from the queue of `freshness`: it was found silent, or is not registered.
        down: Whether it crashed or its restart failed; under `supervise`, whether it died for any reason. A restart
            clears it.
        error_message: The text of the last error; None if there was none since the last restart.
        restart_count: The restarts that counted against the budget at the last change; see `restarts`.
        attempt: The restart attempt that is under way; None if there is none.
        attempt_ended: The moment at which the last attempt ended.
        steady_since: The moment since which it has been neither Dead nor restarted. Means nothing while it is Dead.
        exhausted: Whether `agent.exhausted` has been emitted since `restart_count` was last zero.
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
    stale: bool = True
    down: bool = False
    error_message: str | None = None
    restart_count: int = 0
    attempt: Attempt | None = None
    attempt_ended: float = 0.0
    steady_since: float = 0.0
    exhausted: bool = False


class Incarnation(NamedTuple):
    """One incarnation of one agent: what an `AgentHandle` reports for."""

    agent: Agent
    incarnation: int

    @property
    def is_current(self) -> bool:
        """Requires the lock. Whether the agent is registered and still in this incarnation."""
        return self.agent.registered and self.agent.incarnation == self.incarnation
