"""The values that a breaker shows: a status, and the record of one call."""

from __future__ import annotations

from typing import Final, Literal

import attrs

from swarmguard.circuit import BreakerMode, CircuitState
from swarmguard.events import JSON

Outcome = Literal["success", "failure", "neutral", "stale", "refused"]
"""How a call ended, as recorded for the observer."""

SUCCESS: Final = "success"
FAILURE: Final = "failure"
NEUTRAL: Final = "neutral"


@attrs.frozen(kw_only=True)
class BreakerStatus:
    """A breaker at one instant: all values were read under one lock.

    Attributes:
        name: The breaker's name.
        state: The state of the circuit.
        mode: The mode that an operator has set.
        failure_count: Closed: the consecutive failures, or those in the window of a `FailureRate`; otherwise 0.
        success_count: Half-open: the probes that have succeeded; otherwise 0.
        half_open_calls: Half-open: the slots that probes hold; otherwise 0.
        openings: How often the circuit has opened since it was last closed.
        retry_after: The seconds until a call may be admitted; 0.0 when one may be admitted now, None when only an
            operator can admit one.
    """

    name: str
    state: CircuitState
    mode: BreakerMode
    failure_count: int
    success_count: int
    half_open_calls: int
    openings: int
    retry_after: float | None

    def to_dict(self) -> dict[str, JSON]:
        """Return the status as a dict that `json.dumps` takes.

        Returns:
            The attributes by name; `state` and `mode` as text.
        """
        return {**attrs.asdict(self), "state": self.state.value, "mode": self.mode.value}


@attrs.frozen
class CallRecord:
    """The record of one call, given to a breaker's `observer`.

    Attributes:
        name: The breaker's name.
        outcome: `"success"`, `"failure"` or `"neutral"`, as the configuration classifies the call; `"stale"` for a
            success or failure of an earlier period, which changed nothing; `"refused"` for a call that did not run.
        seconds: How long the call took, by the breaker's clock; 0.0 for a refused call.
    """

    name: str
    outcome: Outcome
    seconds: float
