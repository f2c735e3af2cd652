"""One call on its way through a gate, by whichever lane: for code that is not a single function call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swarmguard._breaker.gate import Gate
from swarmguard._breaker.permit import Permit, raised

if TYPE_CHECKING:
    from swarmguard._breaker.trip import Tally


class Passage:
    """What a block or a generator holds while it is guarded.

    While it is inside, `period` says so on the fast lane; off it, `period` is None and `permit` is there.

    Args:
        gate: Admits and settles.
    """

    __slots__ = ("gate", "period", "permit")

    permit: Permit

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.period: Tally | None = None

    def enter(self) -> None:
        """Have the call admitted, or raise `CircuitOpenError`."""
        self.period = period = self.gate.fast
        if period is None:
            self.permit = self.gate.admit()

    def leave(self, exc: BaseException | None) -> bool:
        """Settle the call by how it ended; return False, and do nothing, when it was not inside."""
        period = self.period
        if period is not None:
            self.period = None
            if exc is not None:
                self.gate.raised(period, exc)
            elif period.heeds_success:
                self.gate.succeeded(period)
            return True
        if not hasattr(self, "permit"):
            return False
        if exc is not None:
            raised(self.permit, exc)
        else:
            self.permit.succeed()
        return True
