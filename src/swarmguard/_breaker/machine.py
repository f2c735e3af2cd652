"""The breaker's state machine: pure decisions, without a lock, a clock or a listener.

Not safe for concurrent use; the gate guards it. Every method takes `now`, a monotonic moment, and returns what
happened: an answer for the caller and, where the circuit moved, the `Change`.

The rules in one place:

- The circuit moves along `TRANSITIONS` and in no other way; what is not in the table raises.
- Each stay in a state is a *period*, an object of its own. A call's ticket is the period that admitted it (or a
  `Place` in it), so a result that comes after the period has ended is known by identity to be stale, and moves
  nothing: not the state, not a count, not a place, not a timer.
- A closed period is its policy's tally. An open period is a deadline. A half-open period is a set of places and a
  count of successes.
- A place is leased, not owned: past the lease another test call may have it, while the slow one keeps its verdict.
- A mode stands above all that. It changes who is admitted and what is recorded, never the period.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import Enum, StrEnum
from typing import Final, NamedTuple, cast

from swarmguard._breaker.config import CircuitBreakerConfig
from swarmguard._breaker.trip import Tally
from swarmguard._breaker.values import BreakerStatus
from swarmguard._common.deadlines import reached, until
from swarmguard.circuit import BreakerMode, CircuitState
from swarmguard.errors import RefusalReason

LONGEST_RETRY_AFTER = 3600.0
"""How far a service's own retry-after may extend an opening when the configuration caps nothing: an hour."""


class Trigger(StrEnum):
    """What moves a circuit; the values are the events' `reason`."""

    THRESHOLD = "threshold"
    """The trip policy has seen enough failures."""
    PROBE_ADMITTED = "probe_admitted"
    """The open time was up and a call came."""
    PROBE_FAILED = "probe_failed"
    """A test call failed."""
    RECOVERED = "recovered"
    """Enough test calls succeeded."""
    TRIPPED = "tripped"
    """Somebody called `trip()`."""
    RESET = "reset"
    """Somebody called `reset()`."""


TRANSITIONS: Final[Mapping[tuple[CircuitState, Trigger], CircuitState]] = {
    (CircuitState.CLOSED, Trigger.THRESHOLD): CircuitState.OPEN,
    (CircuitState.CLOSED, Trigger.TRIPPED): CircuitState.OPEN,
    (CircuitState.CLOSED, Trigger.RESET): CircuitState.CLOSED,
    (CircuitState.OPEN, Trigger.PROBE_ADMITTED): CircuitState.HALF_OPEN,
    (CircuitState.OPEN, Trigger.TRIPPED): CircuitState.OPEN,
    (CircuitState.OPEN, Trigger.RESET): CircuitState.CLOSED,
    (CircuitState.HALF_OPEN, Trigger.RECOVERED): CircuitState.CLOSED,
    (CircuitState.HALF_OPEN, Trigger.PROBE_FAILED): CircuitState.OPEN,
    (CircuitState.HALF_OPEN, Trigger.TRIPPED): CircuitState.OPEN,
    (CircuitState.HALF_OPEN, Trigger.RESET): CircuitState.CLOSED,
}
"""Every move a circuit can make; a move to the same state starts a new period."""


class Open:
    """An open period: nothing is admitted before `deadline`."""

    __slots__ = ("deadline", "seconds")
    state: Final = CircuitState.OPEN

    def __init__(self, seconds: float, now: float) -> None:
        self.seconds = seconds
        self.deadline = now + seconds


class HalfOpen:
    """A half-open period: its test calls' places, the oldest lease first, and the successes so far."""

    __slots__ = ("places", "successes")
    state: Final = CircuitState.HALF_OPEN

    def __init__(self) -> None:
        self.places: dict[Place, None] = {}
        self.successes: int = 0

    def held(self, now: float) -> list[Place]:
        """Return the places whose lease still runs."""
        return [place for place in self.places if not reached(now, place.lease_end)]


class Place:
    """A test call's place in a half-open period; the call's ticket."""

    __slots__ = ("lease_end", "period")

    def __init__(self, period: HalfOpen, lease_end: float) -> None:
        self.period: HalfOpen = period
        self.lease_end: float = lease_end


class Unrecorded:
    """The ticket of a call that a mode let through: nothing is counted for it."""

    __slots__ = ()


UNRECORDED: Final = Unrecorded()

NORMAL, ISOLATED, DISABLED, SHADOW = BreakerMode

Period = Tally | Open | HalfOpen
Ticket = Tally | Place | Unrecorded


class Refusal(NamedTuple):
    """Why a call was not admitted, and the seconds until one may be; None when only an operator will admit one."""

    state: CircuitState
    retry_after: float | None
    reason: RefusalReason


class Terms(NamedTuple):
    """What an opening needs to know from outside the machine.

    Attributes:
        draw: The random number, 0 up to 1, of the jitter.
        retry_after: The seconds that the service asked for; None when it did not.
    """

    draw: float = 0.0
    retry_after: float | None = None


NO_WISHES: Final = Terms()


class Settled(Enum):
    """What became of a result."""

    COUNTED = "counted"
    """It was taken; in a mode that records nothing, it was heard and dropped."""
    STALE = "stale"
    """Its period has ended: it moved nothing."""
    NEEDS_TERMS = "needs terms"
    """It opens the circuit, and the caller gave no `Terms`: nothing was changed, settle again with them."""


class Change(NamedTuple):
    """A move of the circuit."""

    trigger: Trigger
    previous: CircuitState
    state: CircuitState
    moment: float


_COUNTED: Final = (Settled.COUNTED, None)
_STALE: Final = (Settled.STALE, None)


class BreakerMachine:
    """One circuit.

    Args:
        config: How it behaves.
    """

    __slots__ = ("_config", "_policy", "latest", "mode", "openings", "period")

    def __init__(self, config: CircuitBreakerConfig) -> None:
        self._config = config
        self._policy = config.trip_policy
        self.latest = float("-inf")
        self.mode = BreakerMode.NORMAL
        self.openings = 0
        self.period: Period = self._policy.tally()

    def admit(self, now: float) -> tuple[Ticket | Refusal, Change | None]:
        """Admit a call, or say why not."""
        if self.mode is DISABLED:
            return UNRECORDED, None
        if self.mode is ISOLATED:
            return Refusal(self.period.state, None, "isolated"), None
        answer, change = self._admit(self._clamp(now))
        if self.mode is SHADOW and isinstance(answer, Refusal):
            return UNRECORDED, change
        return answer, change

    def settle(
        self, ticket: Ticket, now: float, failed: bool, slow: bool, terms: Terms | None
    ) -> tuple[Settled, Change | None]:
        """Take the result of a call that was admitted with `ticket`.

        `terms=None` says that the caller would rather be asked for them when they are needed.
        """
        now = self._clamp(now)
        if isinstance(ticket, Tally):
            if ticket is not self.period:
                return _STALE
            if self.mode is DISABLED or not ticket.record(failed, slow, now):
                return _COUNTED
            return self._open(Trigger.THRESHOLD, now, terms)
        if isinstance(ticket, Place):
            return self._settle_place(ticket, now, failed, terms)
        return _COUNTED

    def release(self, place: Place) -> None:
        """Take a neutral result of a test call: its place is free again, and nothing is counted."""
        place.period.places.pop(place, None)

    def reset(self, now: float) -> Change | None:
        """Close the circuit and start afresh; the change is None if it was closed."""
        change = self._move(Trigger.RESET, self._clamp(now))
        return None if change.previous is CircuitState.CLOSED else change

    def trip(self, now: float, seconds: float | None, terms: Terms) -> Change:
        """Open the circuit for `seconds`, or for as long as an opening now takes."""
        return self._move(Trigger.TRIPPED, self._clamp(now), seconds, terms)

    def set_mode(self, now: float, mode: BreakerMode) -> BreakerMode:
        """Put a mode in force, and return the one before."""
        self._clamp(now)
        previous, self.mode = self.mode, mode
        return previous

    def retry_after(self, now: float) -> float | None:
        """Return the seconds until a call may be admitted; None when nothing but an operator will admit one."""
        if self.mode is ISOLATED:
            return None
        if self.mode is not NORMAL:
            return 0.0
        now = self._clamp(now)
        if isinstance(self.period, Open):
            return until(now, self.period.deadline)
        if isinstance(self.period, HalfOpen):
            held = self.period.held(now)
            if len(held) >= self._config.half_open_max_calls:
                return until(now, held[0].lease_end)
        return 0.0

    def status(self, name: str, now: float) -> BreakerStatus:
        """Return everything at one instant."""
        period, latest = self.period, self._clamp(now)
        return BreakerStatus(
            name=name,
            state=period.state,
            mode=self.mode,
            failure_count=period.failure_count(latest) if isinstance(period, Tally) else 0,
            success_count=period.successes if isinstance(period, HalfOpen) else 0,
            half_open_calls=len(period.held(latest)) if isinstance(period, HalfOpen) else 0,
            openings=self.openings,
            retry_after=self.retry_after(now),
        )

    def _clamp(self, now: float) -> float:
        """Return a moment no earlier than any before: threads read their clock before they get their turn.

        A moment at which somebody has only looked is one of those before: what a status has told is not undone.
        """
        if now > self.latest:
            self.latest = now
        return self.latest

    def _admit(self, now: float) -> tuple[Ticket | Refusal, Change | None]:
        period, change = self.period, None
        if isinstance(period, Tally):
            return period, None
        if isinstance(period, Open):
            if not reached(now, period.deadline):
                return Refusal(CircuitState.OPEN, until(now, period.deadline), "open"), None
            change = self._move(Trigger.PROBE_ADMITTED, now)
            period = cast(HalfOpen, self.period)
        period.places = dict.fromkeys(period.held(now))
        if len(period.places) >= self._config.half_open_max_calls:
            first = next(iter(period.places))
            return Refusal(CircuitState.HALF_OPEN, until(now, first.lease_end), "half_open"), None
        place = Place(period, now + self._config.lease)
        period.places[place] = None
        return place, change

    def _settle_place(
        self, place: Place, now: float, failed: bool, terms: Terms | None
    ) -> tuple[Settled, Change | None]:
        period = place.period
        if period is not self.period:
            return _STALE
        if failed and self.mode is not DISABLED:
            return self._open(Trigger.PROBE_FAILED, now, terms)
        period.places.pop(place, None)
        if self.mode is DISABLED:
            return _COUNTED
        period.successes += 1
        if period.successes < self._config.success_threshold:
            return _COUNTED
        return Settled.COUNTED, self._move(Trigger.RECOVERED, now)

    def _open(self, trigger: Trigger, now: float, terms: Terms | None) -> tuple[Settled, Change | None]:
        if terms is None:
            return Settled.NEEDS_TERMS, None
        return Settled.COUNTED, self._move(trigger, now, None, terms)

    def _move(self, trigger: Trigger, now: float, seconds: float | None = None, terms: Terms = NO_WISHES) -> Change:
        """Follow the table; the new period is whole before it takes the old one's place."""
        previous = self.period.state
        state = TRANSITIONS[previous, trigger]
        if state is CircuitState.OPEN:
            self.openings += 1
            self.period = Open(self._open_seconds(terms) if seconds is None else seconds, now)
        elif state is CircuitState.HALF_OPEN:
            self.period = HalfOpen()
        else:
            self.openings = 0
            self.period = self._policy.tally()
        return Change(trigger, previous, state, now)

    def _open_seconds(self, terms: Terms) -> float:
        """Return how long this opening lasts: the back-off, capped, then the jitter, then the service's own wish."""
        config = self._config
        cap = config.max_timeout_duration
        seconds = config.timeout_duration
        try:
            seconds *= config.backoff_multiplier ** (self.openings - 1)
        except OverflowError:
            seconds = sys.float_info.max if seconds else 0.0
        seconds = min(seconds, sys.float_info.max if cap is None else cap)
        seconds = min(seconds * (1 + config.jitter * terms.draw), sys.float_info.max)
        if terms.retry_after is None:
            return seconds
        return max(seconds, min(terms.retry_after, LONGEST_RETRY_AFTER if cap is None else cap))
