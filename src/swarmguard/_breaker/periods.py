"""The periods of a circuit, with the rules of each state, and the tickets of the calls that they admit.

A period is one stay in a state (gobreaker calls it a generation). It decides whether a call is admitted, when it has
expired, and which outcome ends it; the machine makes the transition. Periods take `now`, and use no lock or clock.
"""

from __future__ import annotations

from abc import abstractmethod
from contextlib import suppress
from enum import Enum, StrEnum
from typing import ClassVar, Final, NamedTuple

from swarmguard._breaker.config import CircuitBreakerConfig
from swarmguard._breaker.counting import Counter
from swarmguard._common.deadlines import reached, until
from swarmguard.circuit import CircuitState
from swarmguard.errors import RefusalReason

CLOSED, OPEN, HALF_OPEN = CircuitState


class Trigger(StrEnum):
    """The cause of a transition; the values are the `reason` of events."""

    THRESHOLD = "threshold"
    """The trip policy counted enough failures."""
    PROBE_ADMITTED = "probe_admitted"
    """The open time was over, and a call was made."""
    PROBE_FAILED = "probe_failed"
    """A probe failed."""
    RECOVERED = "recovered"
    """Enough probes succeeded."""
    TRIPPED = "tripped"
    """`trip()` was called."""
    RESET = "reset"
    """`reset()` was called."""


class Refusal(NamedTuple):
    """A call that is not admitted.

    Attributes:
        state: The state of the circuit.
        retry_after: The seconds until a call may be admitted; None when only an operator can admit one.
        reason: Why the call is refused.
    """

    state: CircuitState
    retry_after: float | None
    reason: RefusalReason


class Unrecorded(Enum):
    """The ticket of a call that a mode admitted: its outcome is not recorded."""

    UNRECORDED = "unrecorded"


UNRECORDED: Final = Unrecorded.UNRECORDED


class Period:
    """One stay in a state.

    Not an `ABC`: `isinstance` would be slow, and the core uses it for every refusal.
    """

    __slots__ = ()
    state: ClassVar[CircuitState]

    @abstractmethod
    def admit(self, now: float) -> ClosedPeriod | ProbeSlot | Refusal:
        """Return the ticket of a call that is made at `now`, or the refusal."""

    def has_expired(self, now: float) -> bool:
        """Return whether the next call ends the period. Only an open period expires."""
        return False

    def retry_after(self, now: float) -> float:
        """Return the seconds until a call may be admitted."""
        return 0.0

    def failure_count(self, now: float) -> int:
        """Return the failures that count at `now`."""
        return 0

    def success_count(self) -> int:
        """Return the probes that have succeeded."""
        return 0

    def half_open_calls(self, now: float) -> int:
        """Return the slots that probes hold at `now`."""
        return 0


class ClosedPeriod(Period):
    """Admits every call, and counts the outcomes. The period is also the ticket of each call that it admits.

    Args:
        counter: Counts the outcomes, and decides when they trip the policy.

    Attributes:
        counts_successes: False while a success would change nothing, so that it need not be recorded. The fast path
            reads it without the lock after each call.
    """

    __slots__ = ("counter", "counts_successes")
    state = CLOSED

    def __init__(self, counter: Counter) -> None:
        self.counter: Counter = counter
        self.counts_successes: bool = counter.counts_successes

    @property
    def period(self) -> ClosedPeriod:
        """The period that admitted the call, as for every ticket."""
        return self

    def admit(self, now: float) -> ClosedPeriod:
        return self

    def record(self, failed: bool, slow: bool, now: float) -> Trigger | None:
        """Count the outcome of a call; return the trigger, and change nothing, if it trips the policy."""
        trips = self.counter.record(failed, slow, now)
        self.counts_successes = self.counter.counts_successes
        return Trigger.THRESHOLD if trips else None

    def recount(self) -> None:
        """Add up the counter's sums again, after an interrupt."""
        self.counter.recount()
        self.counts_successes = self.counter.counts_successes

    def release(self) -> None:
        """Do nothing: a call of a closed period holds no slot."""

    def failure_count(self, now: float) -> int:
        return self.counter.failure_count(now)


class OpenPeriod(Period):
    """Refuses every call until its deadline; the first call after that becomes the first probe.

    Args:
        seconds: The length of the period.
        now: Its start.
    """

    __slots__ = ("deadline", "seconds")
    state = OPEN

    def __init__(self, seconds: float, now: float) -> None:
        self.seconds: float = seconds
        self.deadline: float = now + seconds

    def admit(self, now: float) -> Refusal:
        return Refusal(OPEN, self.retry_after(now), "open")

    def has_expired(self, now: float) -> bool:
        return reached(now, self.deadline)

    def retry_after(self, now: float) -> float:
        return until(now, self.deadline)


class HalfOpenPeriod(Period):
    """Admits a limited number of probes at a time, and counts their successes.

    Args:
        config: Sets the number of slots, the length of a lease and the successes that close the circuit.
    """

    __slots__ = ("_config", "slots", "successes")
    state = HALF_OPEN

    def __init__(self, config: CircuitBreakerConfig) -> None:
        self._config = config
        self.slots: list[ProbeSlot] = []  # the oldest lease first
        self.successes: int = 0

    def admit(self, now: float) -> ProbeSlot | Refusal:
        self.slots = self._held(now)
        if len(self.slots) >= self._config.half_open_max_calls:
            return Refusal(HALF_OPEN, until(now, self.slots[0].lease_end), "half_open")
        slot = ProbeSlot(self, now + self._config.lease)
        self.slots.append(slot)
        return slot

    def retry_after(self, now: float) -> float:
        held = self._held(now)
        return 0.0 if len(held) < self._config.half_open_max_calls else until(now, held[0].lease_end)

    def succeed(self) -> Trigger | None:
        """Count the success of a probe; return the trigger if it closes the circuit."""
        self.successes += 1
        return Trigger.RECOVERED if self.successes >= self._config.success_threshold else None

    def success_count(self) -> int:
        return self.successes

    def half_open_calls(self, now: float) -> int:
        return len(self._held(now))

    def _held(self, now: float) -> list[ProbeSlot]:
        return [slot for slot in self.slots if not reached(now, slot.lease_end)]


class ProbeSlot:
    """The slot of one probe in a half-open period, and the ticket of its call.

    Args:
        period: The half-open period.
        lease_end: The moment from which another probe may take the slot.
    """

    __slots__ = ("lease_end", "period")

    def __init__(self, period: HalfOpenPeriod, lease_end: float) -> None:
        self.period: HalfOpenPeriod = period
        self.lease_end: float = lease_end

    def record(self, failed: bool, slow: bool, now: float) -> Trigger | None:
        """Count the outcome of the probe; return the trigger if it ends the period."""
        if failed:
            return Trigger.PROBE_FAILED
        self.release()
        return self.period.succeed()

    def release(self) -> None:
        """Free the slot, and count nothing."""
        with suppress(ValueError):  # the lease has ended, or the slot was freed before
            self.period.slots.remove(self)


Ticket = ClosedPeriod | ProbeSlot | Unrecorded
