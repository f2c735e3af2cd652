"""The state machine of one breaker: every rule of a circuit, without a lock, a clock or a listener.

Every method takes `now`, a moment of a monotonic clock, and returns what happened: an answer for the caller and, where
the circuit changed its state, the `Change`. The machine is not safe for concurrent use: the core guards it.

The rules in short:

- The state changes along `TRANSITIONS` only. A transition that is not in the table raises `KeyError`.
- Each stay in a state is a *period*, an object of its own (gobreaker calls it a generation). `ClosedPeriod`,
  `OpenPeriod` and `HalfOpenPeriod` hold the rules of their states: whether they admit a call, and when they have
  expired.
- A call that is admitted gets a *ticket*: the closed period itself, or a `ProbeSlot` of the half-open period. An
  outcome counts only while the period of its ticket is the current one, so a late outcome changes nothing: no state, no
  count, no slot, no timer.
- A probe leases its slot. When the lease ends, another probe may take the slot, but the outcome of the slow probe still
  counts.
- A mode overrides the state: it changes which calls are admitted and which outcomes are recorded, never the period.
"""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from enum import Enum, StrEnum
from typing import ClassVar, Final, NamedTuple

from typing_extensions import override

from swarmguard._breaker.config import CircuitBreakerConfig
from swarmguard._breaker.counting import Counter
from swarmguard._breaker.values import BreakerStatus
from swarmguard._common.deadlines import reached, until
from swarmguard.circuit import BreakerMode, CircuitState
from swarmguard.errors import RefusalReason

CLOSED, OPEN, HALF_OPEN = CircuitState
NORMAL, ISOLATED, DISABLED, SHADOW = BreakerMode

LONGEST_RETRY_AFTER: Final = 3600.0
"""The seconds that a service's own retry-after may extend an opening to where the configuration sets no cap."""


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


TRANSITIONS: Final[Mapping[tuple[CircuitState, Trigger], CircuitState]] = {
    (CLOSED, Trigger.THRESHOLD): OPEN,
    (CLOSED, Trigger.TRIPPED): OPEN,
    (CLOSED, Trigger.RESET): CLOSED,
    (OPEN, Trigger.PROBE_ADMITTED): HALF_OPEN,
    (OPEN, Trigger.TRIPPED): OPEN,
    (OPEN, Trigger.RESET): CLOSED,
    (HALF_OPEN, Trigger.RECOVERED): CLOSED,
    (HALF_OPEN, Trigger.PROBE_FAILED): OPEN,
    (HALF_OPEN, Trigger.TRIPPED): OPEN,
    (HALF_OPEN, Trigger.RESET): CLOSED,
}
"""Every transition of a circuit. A transition to the same state starts a new period."""


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


class OpenDelay(NamedTuple):
    """The jitter and the retry-after of one opening. The core obtains them outside the lock: both call user code.

    Attributes:
        jitter: The random number, from 0 up to 1, that the configured jitter is multiplied by.
        retry_after: The seconds that the service asked for; None when it asked for none.
    """

    jitter: float = 0.0
    retry_after: float | None = None


NO_DELAY: Final = OpenDelay()


class Settled(Enum):
    """What the machine did with an outcome."""

    COUNTED = "counted"
    """It was counted, or ignored by a mode that records nothing."""
    STALE = "stale"
    """Its period has ended: it changed nothing."""
    NEEDS_DELAY = "needs delay"
    """It opens the circuit, but no delay was given. Nothing was changed: settle again with a delay."""


class Change(NamedTuple):
    """A transition that the circuit made."""

    trigger: Trigger
    previous: CircuitState
    state: CircuitState
    moment: float


class Unrecorded(Enum):
    """The ticket of a call that a mode admitted: its outcome is not recorded."""

    UNRECORDED = "unrecorded"


UNRECORDED: Final = Unrecorded.UNRECORDED


class Period:
    """One stay in a state.

    It is no `ABC`, since `isinstance` would be slow then, and the core uses it for every refusal.
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

    @override
    def admit(self, now: float) -> ClosedPeriod:
        return self

    def record(self, failed: bool, slow: bool, now: float) -> Trigger | None:
        """Count the outcome of a call; return the trigger, and change nothing, if it trips the policy."""
        self.counts_successes = True  # right whatever happens: an interrupt may end the next line half-way
        trips = self.counter.record(failed, slow, now)
        self.counts_successes = self.counter.counts_successes
        return Trigger.THRESHOLD if trips else None

    def release(self) -> None:
        """Settle a call as neutral: there is nothing to give back."""

    @override
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

    @override
    def admit(self, now: float) -> Refusal:
        return Refusal(OPEN, self.retry_after(now), "open")

    @override
    def has_expired(self, now: float) -> bool:
        return reached(now, self.deadline)

    @override
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

    @override
    def admit(self, now: float) -> ProbeSlot | Refusal:
        self.slots = self._held(now)
        if len(self.slots) >= self._config.half_open_max_calls:
            return Refusal(HALF_OPEN, until(now, self.slots[0].lease_end), "half_open")
        slot = ProbeSlot(self, now + self._config.lease)
        self.slots.append(slot)
        return slot

    @override
    def retry_after(self, now: float) -> float:
        held = self._held(now)
        return 0.0 if len(held) < self._config.half_open_max_calls else until(now, held[0].lease_end)

    def succeed(self) -> Trigger | None:
        """Count the success of a probe; return the trigger if it closes the circuit."""
        self.successes += 1
        return Trigger.RECOVERED if self.successes >= self._config.success_threshold else None

    @override
    def success_count(self) -> int:
        return self.successes

    @override
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

_COUNTED: Final = (Settled.COUNTED, None)
_STALE: Final = (Settled.STALE, None)
_NEEDS_DELAY: Final = (Settled.NEEDS_DELAY, None)


class BreakerMachine:
    """One circuit.

    Args:
        config: How the circuit behaves.

    Attributes:
        period: The current period.
        mode: The mode that an operator has set.
        openings: How often the circuit has opened since it was last closed.
        latest: The latest moment that any call, change or reading has used. No later one uses an earlier moment.
    """

    __slots__ = ("_config", "_policy", "latest", "mode", "openings", "period")

    def __init__(self, config: CircuitBreakerConfig) -> None:
        self._config = config
        self._policy = config.trip_policy
        self.latest: float = float("-inf")
        self.mode: BreakerMode = NORMAL
        self.openings: int = 0
        self.period: Period = ClosedPeriod(self._policy.new_counter())

    def admit(self, now: float) -> tuple[Ticket | Refusal, Change | None]:
        """Admit a call that is made at `now`, or refuse it."""
        if self.mode is DISABLED:
            return UNRECORDED, None
        if self.mode is ISOLATED:
            return Refusal(self.period.state, None, "isolated"), None
        now = self._clamp(now)
        change = self._move(Trigger.PROBE_ADMITTED, now) if self.period.has_expired(now) else None
        answer = self.period.admit(now)
        if self.mode is SHADOW and isinstance(answer, Refusal):
            return UNRECORDED, change
        return answer, change

    def settle(
        self, ticket: Ticket, now: float, failed: bool, slow: bool, delay: OpenDelay | None
    ) -> tuple[Settled, Change | None]:
        """Count the outcome, a success or a failure, of the call that was admitted with `ticket`.

        Args:
            ticket: What `admit` returned.
            now: The end of the call.
            failed: Whether it failed.
            slow: Whether it took as long as a slow call.
            delay: The delay of the opening, should the outcome open the circuit. None: return `NEEDS_DELAY` instead.
        """
        now = self._clamp(now)
        if ticket is UNRECORDED:
            return _COUNTED
        if ticket.period is not self.period:
            return _STALE
        if self.mode is DISABLED:
            ticket.release()
            return _COUNTED
        trigger = ticket.record(failed, slow, now)
        if trigger is None:
            return _COUNTED
        if delay is None and trigger is not Trigger.RECOVERED:
            return _NEEDS_DELAY
        return Settled.COUNTED, self._move(trigger, now, delay=delay or NO_DELAY)

    def reset(self, now: float) -> Change | None:
        """Close the circuit, and start a new period; return None if it was closed before."""
        change = self._move(Trigger.RESET, self._clamp(now))
        return None if change.previous is CLOSED else change

    def trip(self, now: float, seconds: float | None, delay: OpenDelay) -> Change:
        """Open the circuit for `seconds`. None: for the configured open time, with back-off and `delay`."""
        return self._move(Trigger.TRIPPED, self._clamp(now), seconds, delay)

    def set_mode(self, now: float, mode: BreakerMode) -> BreakerMode:
        """Set the mode, and return the previous one."""
        self._clamp(now)
        previous, self.mode = self.mode, mode
        return previous

    def retry_after(self, now: float) -> float | None:
        """Return the seconds until a call may be admitted; None when only an operator can admit one."""
        if self.mode is ISOLATED:
            return None
        return self.period.retry_after(self._clamp(now)) if self.mode is NORMAL else 0.0

    def status(self, name: str, now: float) -> BreakerStatus:
        """Return the status of the circuit at `now`."""
        period, latest = self.period, self._clamp(now)
        return BreakerStatus(
            name=name,
            state=period.state,
            mode=self.mode,
            failure_count=period.failure_count(latest),
            success_count=period.success_count(),
            half_open_calls=period.half_open_calls(latest),
            openings=self.openings,
            retry_after=self.retry_after(now),
        )

    def _clamp(self, now: float) -> float:
        """Return `now`, or the latest moment used before where that is later.

        Threads read the clock before they take the lock, so moments arrive out of order. Readings count as well: what
        a status has shown must not be undone by a call that read the clock earlier.
        """
        if now > self.latest:
            self.latest = now
        return self.latest

    def _move(self, trigger: Trigger, now: float, seconds: float | None = None, delay: OpenDelay = NO_DELAY) -> Change:
        """Make the transition of the table. The new period is complete before it replaces the old one."""
        previous = self.period.state
        state = TRANSITIONS[previous, trigger]
        if state is OPEN:
            self.openings += 1
            self.period = OpenPeriod(self._open_seconds(delay) if seconds is None else seconds, now)
        elif state is HALF_OPEN:
            self.period = HalfOpenPeriod(self._config)
        else:
            self.openings = 0
            self.period = ClosedPeriod(self._policy.new_counter())
        return Change(trigger, previous, state, now)

    def _open_seconds(self, delay: OpenDelay) -> float:
        """Return the length of this opening: the back-off, capped, then jittered, then extended by retry-after."""
        config = self._config
        cap = config.max_timeout_duration
        seconds = config.timeout_duration
        try:
            seconds *= config.backoff_multiplier ** (self.openings - 1)
        except OverflowError:
            seconds = sys.float_info.max if seconds else 0.0
        seconds = min(seconds, sys.float_info.max if cap is None else cap)
        seconds = min(seconds * (1 + config.jitter * delay.jitter), sys.float_info.max)
        if delay.retry_after is None:
            return seconds
        return max(seconds, min(delay.retry_after, LONGEST_RETRY_AFTER if cap is None else cap))
