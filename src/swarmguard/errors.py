"""What the package raises.

Every error carries its facts as attributes, so that callers never parse a message, and survives pickling and copying:
each passes all of its facts on to `Exception`, which is what pickle rebuilds it from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from swarmguard.circuit import CircuitState

if TYPE_CHECKING:
    from uuid import UUID

RefusalReason = Literal["open", "half_open", "isolated"]


class SwarmGuardError(Exception):
    """The base of every error that swarmguard raises on its own account."""


class CircuitBreakerError(SwarmGuardError):
    """The base of the errors of circuit breakers."""


class CircuitOpenError(CircuitBreakerError):
    """The breaker refused a call: the protected code did not run.

    A fresh one is raised for each refusal.

    Args:
        name: The breaker's name.
        state: The breaker's state at the refusal.
        retry_after: Seconds until a test call may be admitted, 0.0 when it may be now; None when only an operator can
            end the refusals (the breaker is isolated).
        reason: `"open"` (the service is left alone), `"half_open"` (every test call's place is taken) or `"isolated"`
            (an operator's mode).
    """

    def __init__(self, name: str, state: CircuitState, retry_after: float | None, reason: RefusalReason) -> None:
        super().__init__(name, state, retry_after, reason)

    # The facts are read from `args`, which `Exception` keeps as soon as the object is there. So whoever makes a refusal
    # by `__new__` alone, as the breaker does, has a whole one, for a third of the time.

    @property
    def name(self) -> str:
        """The breaker's name."""
        return cast(str, self.args[0])

    @property
    def state(self) -> CircuitState:
        """The breaker's state at the refusal."""
        return cast(CircuitState, self.args[1])

    @property
    def retry_after(self) -> float | None:
        """Seconds until a test call may be admitted; None when only an operator can end the refusals."""
        return cast("float | None", self.args[2])

    @property
    def reason(self) -> RefusalReason:
        """What refused the call."""
        return cast("RefusalReason", self.args[3])

    def __str__(self) -> str:
        match self.reason:
            case "isolated":
                return f"circuit {self.name!r} is isolated by an operator: call refused until the mode is set back"
            case "half_open":
                why = "is half-open and every test call's place is taken"
            case _:
                why = "is open"
        return f"circuit {self.name!r} {why}: call refused, try again in {self.retry_after or 0.0:.3f} s"


class UnknownAgentError(SwarmGuardError):
    """No agent of that id is registered.

    Args:
        agent_id: The id that was asked for.
    """

    def __init__(self, agent_id: UUID) -> None:
        super().__init__(agent_id)
        self.agent_id = agent_id

    def __str__(self) -> str:
        return f"no agent is registered with the id {self.agent_id}"


class DuplicateAgentError(SwarmGuardError):
    """An agent of that id is registered already.

    Args:
        agent_id: The id that is taken.
    """

    def __init__(self, agent_id: UUID) -> None:
        super().__init__(agent_id)
        self.agent_id = agent_id

    def __str__(self) -> str:
        return f"an agent is registered already with the id {self.agent_id}"


class StaleAgentError(SwarmGuardError):
    """The handle belongs to an earlier incarnation of the agent, or to one that has ended: its holder should stop.

    Args:
        agent_id: The agent's id.
        agent_type: The agent's type.
    """

    def __init__(self, agent_id: UUID, agent_type: str) -> None:
        super().__init__(agent_id, agent_type)
        self.agent_id = agent_id
        self.agent_type = agent_type

    def __str__(self) -> str:
        return f"this handle of agent {self.agent_type!r} ({self.agent_id}) is stale: the agent was restarted or ended"


class AgentExhaustedError(SwarmGuardError):
    """A supervised agent died and will not be restarted; its last error is the `__cause__`.

    Args:
        agent_id: The agent's id. It stays listed as Dead until it is unregistered.
        agent_type: The agent's type.
        restart_count: How many restarts were made.
    """

    def __init__(self, agent_id: UUID, agent_type: str, restart_count: int) -> None:
        super().__init__(agent_id, agent_type, restart_count)
        self.agent_id = agent_id
        self.agent_type = agent_type
        self.restart_count = restart_count

    def __str__(self) -> str:
        return f"agent {self.agent_type!r} ({self.agent_id}) is dead after {self.restart_count} restarts"
