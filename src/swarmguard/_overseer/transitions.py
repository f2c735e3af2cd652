"""Every way in which an agent's health may change, and what is announced when it does.

Health is read, never set: it is the worst of three readings (failures, freshness, down; see `agent`). This table says
which readings can follow which, for each cause; the machine takes the topic and the reason of every event of a change
of health from it, and a change that does not stand in it raises. What to see in it:

- A failure moves health one step at a time, down only. It is the only cause that can make an agent less than Dead
  unwell.
- Silence and a crash lead to Dead from everywhere, and nowhere else.
- A heartbeat never worsens health. It may leave any health as it is (it says *alive*, not *working*), and what it
  leads to from Dead depends on the failures that are still remembered.
- A success, a restart and a reset lead to Healthy, and nowhere else, with two exceptions: a reset does not make a
  stale agent fresh, and under `supervise` a Dead agent has no main to succeed: nothing but a restart ends its death.
- Only worsening and returning to Healthy are announced, each once; a restart is announced even if the agent was
  Healthy.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from swarmguard._overseer.values import AgentHealth

HEALTHY, DEGRADED, UNHEALTHY, DEAD = AgentHealth


class Cause(StrEnum):
    """What may change an agent's health."""

    FAILURE = "failure"
    """A failure was reported."""
    SILENCE = "silence"
    """The last heartbeat was found to be as old as the timeout."""
    CRASH = "crash"
    """The agent crashed, or its restart failed."""
    SUCCESS = "success"
    """A success was reported."""
    HEARTBEAT = "heartbeat"
    """The agent beat."""
    RESTART = "restart"
    """The agent was restarted."""
    RESET = "reset"
    """An operator forgave it."""


class HealthEvent(NamedTuple):
    """What is announced: an event's topic, without the prefix, and its `reason`."""

    topic: str
    reason: str


Moves = Mapping[AgentHealth, Mapping[AgentHealth, HealthEvent | None]]
"""For each health, the healths that can follow it; None where the change is not announced."""


class IllegalTransitionError(RuntimeError):
    """The machine wanted to make a move that `TRANSITIONS` does not know: a bug of this package."""


_FAILURES: Final = HealthEvent("agent.failed", "failures")
_SILENT: Final = HealthEvent("agent.failed", "heartbeat_timeout")
_CRASHED: Final = HealthEvent("agent.failed", "crashed")
_SUCCEEDED: Final = HealthEvent("agent.recovered", "success")
_BEAT: Final = HealthEvent("agent.recovered", "heartbeat")
_RESTARTED: Final = HealthEvent("agent.recovered", "restart")

TRANSITIONS: Final[Mapping[Cause, Moves]] = {
    Cause.FAILURE: {
        HEALTHY: {DEGRADED: _FAILURES},
        DEGRADED: {DEGRADED: None, UNHEALTHY: _FAILURES},
        UNHEALTHY: {UNHEALTHY: None, DEAD: _FAILURES},
        DEAD: {DEAD: None},
    },
    Cause.SILENCE: {
        HEALTHY: {DEAD: _SILENT},
        DEGRADED: {DEAD: _SILENT},
        UNHEALTHY: {DEAD: _SILENT},
        DEAD: {DEAD: None},
    },
    Cause.CRASH: {
        HEALTHY: {DEAD: _CRASHED},
        DEGRADED: {DEAD: _CRASHED},
        UNHEALTHY: {DEAD: _CRASHED},
        DEAD: {DEAD: None},
    },
    Cause.SUCCESS: {
        HEALTHY: {HEALTHY: None},
        DEGRADED: {HEALTHY: _SUCCEEDED},
        UNHEALTHY: {HEALTHY: _SUCCEEDED},
        DEAD: {HEALTHY: _SUCCEEDED, DEAD: None},
    },
    Cause.HEARTBEAT: {
        HEALTHY: {HEALTHY: None},
        DEGRADED: {DEGRADED: None, HEALTHY: _BEAT},
        UNHEALTHY: {UNHEALTHY: None, HEALTHY: _BEAT},
        DEAD: {DEAD: None, UNHEALTHY: None, DEGRADED: None, HEALTHY: _BEAT},
    },
    Cause.RESTART: {
        HEALTHY: {HEALTHY: _RESTARTED},
        DEGRADED: {HEALTHY: _RESTARTED},
        UNHEALTHY: {HEALTHY: _RESTARTED},
        DEAD: {HEALTHY: _RESTARTED},
    },
    Cause.RESET: {
        HEALTHY: {HEALTHY: None},
        DEGRADED: {HEALTHY: _RESTARTED},
        UNHEALTHY: {HEALTHY: _RESTARTED},
        DEAD: {HEALTHY: _RESTARTED, DEAD: None},
    },
}
"""`TRANSITIONS[cause][before][after]` is what is announced, or None; a key that is missing is an illegal move."""


def event_for(cause: Cause, before: AgentHealth, after: AgentHealth) -> HealthEvent | None:
    """Return what is announced of a move, None for nothing.

    Raises:
        IllegalTransitionError: There is no such move.
    """
    try:
        return TRANSITIONS[cause][before][after]
    except KeyError:
        raise IllegalTransitionError(f"no {cause.value} leads from {before.value} to {after.value}") from None
