"""The states of a circuit, and the modes that an operator can put a breaker in."""

from __future__ import annotations

from enum import StrEnum


class CircuitState(StrEnum):
    """The state of a circuit. The values are what events, logs and HTTP show."""

    CLOSED = "Closed"
    """Calls are admitted."""
    OPEN = "Open"
    """Calls are refused. Once the open time is over, the next call is admitted as a probe."""
    HALF_OPEN = "HalfOpen"
    """A limited number of probes is admitted to find out whether the service has recovered."""


class BreakerMode(StrEnum):
    """A manual override of the state machine. A mode lasts until it is set back to `NORMAL`."""

    NORMAL = "Normal"
    """The state of the circuit decides."""
    ISOLATED = "Isolated"
    """Every call is refused, whatever its result would be and however much time passes."""
    DISABLED = "Disabled"
    """Every call is admitted, and nothing is recorded."""
    SHADOW = "Shadow"
    """Every call is admitted, while the circuit changes state and emits events as if it enforced them."""
