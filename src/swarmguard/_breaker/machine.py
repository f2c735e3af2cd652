"""The state machine of one breaker: every transition of a circuit, without a lock, a clock or a listener.

Every method takes `now`, a moment of a monotonic clock, and returns what happened: an answer for the caller and, where
the circuit changed its state, the `Change`. The machine is not safe for concurrent use: the core guards it.

The rules in short:

- The state changes along `TRANSITIONS` only. A transition that is not in the table raises `KeyError`.
- Each stay in a state is a *period*, an object of its own. The classes of `periods.py` hold the rules of the states:
  whether a call is admitted, when a period has expired, and which outcome ends it.
- A call that is admitted gets a *ticket*: the closed period itself, or a `ProbeSlot` of the half-open period. An
  outcome counts only while the period of its ticket is the current one, so a late outcome changes nothing: no state, no
  count, no slot, no timer.
- A probe leases its slot. When the lease ends, another probe may take the slot, but the outcome of the slow probe still
  counts.
- A mode overrides the state: it changes which calls are admitted and which outcomes are recorded, never the period.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import Enum
from typing import Final, NamedTuple

from swarmguard._breaker.config import CircuitBreakerConfig
from swarmguard._breaker.periods import (
    CLOSED,
    HALF_OPEN,
    OPEN,
    UNRECORDED,
    ClosedPeriod,
    HalfOpenPeriod,
    OpenPeriod,
    Period,
    Refusal,
    Ticket,
    Trigger,
)
from swarmguard._breaker.values import BreakerStatus
from swarmguard.circuit import BreakerMode, CircuitState

NORMAL, ISOLATED, DISABLED, SHADOW = BreakerMode

LONGEST_RETRY_AFTER: Final = 3600.0
"""The longest opening in seconds that `retry_after` can cause when `max_timeout_duration` is None."""

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
