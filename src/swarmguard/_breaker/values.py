"""The values that a breaker shows: its state, its mode, a snapshot, and the record of one call."""

from __future__ import annotations

from typing import Literal

import attrs

from swarmguard.circuit import BreakerMode, CircuitState
from swarmguard.events import JSON

Outcome = Literal["success", "failure", "neutral", "stale", "refused"]


@attrs.frozen(kw_only=True)
class BreakerStatus:
    """A breaker at one instant: everything was read under one lock.

    Attributes:
        name: The breaker's name.
        state: Where the circuit stands.
        mode: The operator's mode.
        failure_count: Closed: the failures in a row, or those in the window of a `FailureRate`; otherwise 0.
        success_count: Half-open: the test calls that have succeeded so far; otherwise 0.
        half_open_calls: Half-open: the places that test calls hold; otherwise 0.
        openings: How often the circuit has opened since it was last closed.
        retry_after: Seconds until a test call may be admitted; 0.0 when a call may be admitted now, None when nothing
            but an operator will admit one.
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
        """Return the status as a dict that `json.dumps` takes."""
        return {**attrs.asdict(self), "state": self.state.value, "mode": self.mode.value}


@attrs.frozen
class CallRecord:
    """What became of one call: given to a breaker's `observer`.

    Attributes:
        name: The breaker's name.
        outcome: `"success"`, `"failure"` or `"neutral"`, as the call was judged; `"stale"` for a success or failure of
            an earlier period, which moved nothing; `"refused"` for a call that did not run.
        seconds: How long the call took, by the breaker's clock; 0.0 for a refused one.
    """

    name: str
    outcome: Outcome
    seconds: float
