"""The exceptions that the package raises.

Every error has its facts as attributes, so that callers never parse a message. Every error can be pickled and copied,
since it passes all of its facts to `Exception`, from which pickle rebuilds it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from swarmguard.circuit import CircuitState

if TYPE_CHECKING:
    from uuid import UUID

RefusalReason = Literal["open", "half_open", "isolated"]


class SwarmGuardError(Exception):
    """The base class of every exception that swarmguard raises itself."""


class CircuitBreakerError(SwarmGuardError):
    """The base class of the exceptions of circuit breakers."""


class CircuitOpenError(CircuitBreakerError):
    """The breaker refused a call: the protected code did not run.

    Each refusal raises a new instance.

    Args:
        name: The breaker's name.
        state: The state of the circuit.
        retry_after: The seconds until a probe may be admitted; 0.0 when one may be admitted now, None when only an
            operator can end the refusals (the breaker is isolated).
        reason: `"open"` (the open time is not over), `"half_open"` (every slot is taken, or the state changed while the
            call began) or `"isolated"` (the mode).
    """

    def __init__(self, name: str, state: CircuitState, retry_after: float | None, reason: RefusalReason) -> None:
        super().__init__(name, state, retry_after, reason)

    # The facts are read from `args`, which `BaseException.__new__` sets: an error made by `__new__` alone is complete.

    @property
    def name(self) -> str:
        """The breaker's name."""
        return cast(str, self.args[0])

    @property
    def state(self) -> CircuitState:
        """The state of the circuit at the time of the refusal."""
        return cast(CircuitState, self.args[1])

    @property
    def retry_after(self) -> float | None:
        """The seconds until a probe may be admitted; None when only an operator can end the refusals."""
        return cast("float | None", self.args[2])

    @property
    def reason(self) -> RefusalReason:
        """Why the call was refused."""
        return cast("RefusalReason", self.args[3])

    def __str__(self) -> str:
        match self.reason:
            case "isolated":
                return f"circuit {self.name!r} is isolated by an operator: call refused until its mode is set to NORMAL"
            case "half_open":
                why = "is half-open and admits no further probe now"
            case _:
                why = "is open"
        return f"circuit {self.name!r} {why}: call refused, try again in {self.retry_after or 0.0:.3f} s"


class UnknownAgentError(SwarmGuardError):
    """No agent with this id is registered.

    Args:
        agent_id: The id.
    """

    def __init__(self, agent_id: UUID) -> None:
        super().__init__(agent_id)
        self.agent_id = agent_id

    def __str__(self) -> str:
        return f"no agent is registered with the id {self.agent_id}"


class DuplicateAgentError(SwarmGuardError):
    """An agent with this id is registered already.

    Args:
        agent_id: The id.
    """

    def __init__(self, agent_id: UUID) -> None:
        super().__init__(agent_id)
        self.agent_id = agent_id

    def __str__(self) -> str:
        return f"an agent is registered already with the id {self.agent_id}"


class StaleAgentError(SwarmGuardError):
    """The handle belongs to an earlier incarnation of the agent, or to an agent that has ended: stop using it.

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
    """A supervised agent died and will not be restarted. Its last error is the `__cause__`.

    Args:
        agent_id: The agent's id. The agent stays listed as Dead until it is unregistered.
        agent_type: The agent's type.
        restart_count: The restarts that were made.
    """

    def __init__(self, agent_id: UUID, agent_type: str, restart_count: int) -> None:
        super().__init__(agent_id, agent_type, restart_count)
        self.agent_id = agent_id
        self.agent_type = agent_type
        self.restart_count = restart_count

    def __str__(self) -> str:
        return f"agent {self.agent_type!r} ({self.agent_id}) is dead after {self.restart_count} restarts"
