"""The core of a breaker: the state machine with its lock, its clock, its sink and its observer.

Every face (decorator, `with`, `call`, `acquire`, …) goes through the core, on one of two paths:

- *The fast path.* While the circuit is closed and nothing unusual is configured, `closed_period` is the current
  period. A face reads it once before the call. After a success it looks at `counts_successes` of that period. As a
  rule that is False, and the call is done: no lock, no clock, nothing allocated. A success that cannot change the count
  is skipped. One that only adds to a window is queued without the lock, and counted before the next decision.
- *The slow path.* `closed_period` is None. `admit` answers with a ticket or with the refusal to raise, and the outcome
  of an admitted call is settled with its ticket. The lock is taken only where it may change something: not while the
  circuit is closed, and not before an open circuit is due. (Under the lock a refusal takes 2.6 times as long.)

The faces repeat the fast path in their own bodies, since a shared function would cost more than the path itself (a call
through the closure of a decorator took 756 ns instead of 506). Those copies are marked, and a test holds them equal.

What is read without the lock, and why this is safe:

| Field                       | Written by    | Read unlocked by      | Why this is safe                        |
|-----------------------------|---------------|-----------------------|-----------------------------------------|
| `closed_period`             | lock holder   | every face, `state`   | Cleared before a change can be seen and |
|                             |               |                       | set after it: a caller that has seen    |
|                             |               |                       | the circuit open is not admitted by it. |
| `_machine.period`           | lock holder   | `admit`, `state`      | Complete before it is assigned, and no  |
|                             |               |                       | object is used twice. `admit` reads it  |
|                             |               |                       | again after it has decided.             |
| `_machine.mode`             | lock holder   | `admit`, `mode`       | Read between two equal readings of the  |
|                             |               |                       | period, so it was in force during it.   |
| `_machine.latest`           | lock holder   | `admit`               | A call whose `now` is before it takes   |
|                             |               |                       | the lock, so that it cannot contradict  |
|                             |               |                       | a status that was returned.             |
| `counts_successes`          | lock holder   | every face            | A success that reads the old value came |
| (of a closed period)        |               |                       | before the outcome that changes it.     |
| `deferred` (of a counter)   | any thread    | any thread            | The deque's methods are atomic;         |
|                             |               |                       | `allowed` is cleared before the counter |
|                             |               |                       | empties it.                             |
| `_reporter`'s waiting calls | any thread    | any thread            | The list's methods are atomic, so each  |
|                             |               |                       | call is reported once.                  |

Everything else in the machine is read and written under the lock. Methods that need it say so in their first line.

An outcome takes this way: `settle` (or `record_success`, `record_exception`) → `_record` → `_locked_settle` →
`machine.settle` → `ticket.record` → `counter.record`. If it would open the circuit, and the opening has a delay, the
machine answers `NEEDS_DELAY` and changes nothing; `_record` then computes the delay without the lock and settles again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from swarmguard._breaker.classify import Classified, classify_exception
from swarmguard._breaker.config import CircuitBreakerConfig
from swarmguard._breaker.delay import delay_of, jitter_source
from swarmguard._breaker.machine import (
    ISOLATED,
    NO_DELAY,
    NORMAL,
    BreakerMachine,
    Change,
    OpenDelay,
    Settled,
)
from swarmguard._breaker.observing import CallReporter, Observer
from swarmguard._breaker.periods import (
    CLOSED,
    HALF_OPEN,
    OPEN,
    UNRECORDED,
    ClosedPeriod,
    OpenPeriod,
    ProbeSlot,
    Refusal,
    Ticket,
)
from swarmguard._breaker.values import FAILURE, NEUTRAL, SUCCESS, BreakerStatus
from swarmguard._common.deadlines import reached
from swarmguard._common.monitor import SKIPPED, Monitor, NotRun
from swarmguard._common.outbox import Outbox
from swarmguard.circuit import BreakerMode, CircuitState
from swarmguard.clock import Clock
from swarmguard.errors import CircuitOpenError, RefusalReason
from swarmguard.events import JSON, Sink

STALE, NEEDS_DELAY = Settled.STALE, Settled.NEEDS_DELAY

_new_error: Final = CircuitOpenError.__new__
"""Creates a refusal without its Python `__init__`, in a third of the time. The error is complete; see `errors`."""

_TOPICS: Final = {OPEN: "circuit.opened", HALF_OPEN: "circuit.half_opened", CLOSED: "circuit.closed"}


class BreakerCore:
    """One breaker, without its faces.

    Args:
        name: The breaker's name.
        config: How it behaves.
        clock: The source of time.
        sink: Takes an event for each change of state or mode; None: no events are made.
        observer: Takes a record of each call; None: no records are made.
        topic_prefix: The prefix of the events' topics.
    """

    __slots__ = (
        "__weakref__",
        "_delay",
        "_jitter",
        "_machine",
        "_monitor",
        "_outbox",
        "_reporter",
        "_slow_seconds",
        "closed_period",
        "config",
        "monotonic",
        "name",
    )

    def __init__(
        self,
        name: str,
        config: CircuitBreakerConfig,
        clock: Clock,
        sink: Sink | None,
        observer: Observer | None,
        topic_prefix: str,
    ) -> None:
        self.name: str = name
        self.config: CircuitBreakerConfig = config
        self.monotonic: Callable[[], float] = clock.monotonic  # bound once: every recorded call reads the clock
        self._outbox = None if sink is None else Outbox(name, sink, clock, topic_prefix)
        self._monitor = Monitor(self._outbox)
        self._reporter = None if observer is None else CallReporter(name, observer, self._monitor, clock.monotonic)
        self._machine = BreakerMachine(config)
        # None: an opening has a delay, which is computed when an outcome needs it.
        self._delay = NO_DELAY if config.jitter == 0 and config.retry_after is None else None
        self._jitter = jitter_source(config)
        self._slow_seconds = config.trip_policy.slow_call_duration
        self.closed_period: ClosedPeriod | None = None
        self._choose_path()

    # Readings

    @property
    def state(self) -> CircuitState:
        """The state of the circuit."""
        return CLOSED if self.closed_period is not None else self._machine.period.state

    @property
    def mode(self) -> BreakerMode:
        """The mode that an operator has set."""
        return self._machine.mode

    def retry_after(self) -> float | None:
        """Return the seconds until a call may be admitted; None when only an operator can admit one."""
        return self._monitor.read(self._machine.retry_after, self.monotonic())

    def status(self) -> BreakerStatus:
        """Return the status at this instant."""
        return self._monitor.read(self._machine.status, self.name, self.monotonic())

    # Admission

    def admit(self, now: float) -> Ticket | CircuitOpenError:
        """Admit a call that is made at `now`, or refuse it.

        Returns:
            The ticket of the call; or the refusal, not raised yet: it is cheapest to raise in the outermost frame.
        """
        machine = self._machine
        period = machine.period
        if machine.mode is NORMAL:  # a closed circuit, and an open one that is not due, need no lock
            if isinstance(period, OpenPeriod):
                wait = period.deadline - now
                is_due = wait <= 1.0 and reached(now, period.deadline)  # `reached` only matters near the deadline
                if not is_due and machine.latest <= now and machine.period is period:
                    if self._reporter is not None:
                        self._reporter.report("refused", now)
                    return _new_error(CircuitOpenError, self.name, OPEN, wait, "open")
            elif isinstance(period, ClosedPeriod) and machine.period is period:
                return period
        answer = self._monitor.try_run(self._locked_admit, now)
        if answer is SKIPPED:
            answer = self._admit_from_inside(now)
        return self._refuse(now, *answer) if isinstance(answer, Refusal) else answer

    def admit_late(self) -> None:
        """Admit, or refuse, a call whose closed period ended after it had taken the fast path.

        Raises:
            CircuitOpenError: The circuit has opened meanwhile, or is isolated.
        """
        status = self.status()
        if status.mode is ISOLATED:
            raise self._refuse(0.0, status.state, None, "isolated")
        if status.mode is NORMAL and status.state is not CLOSED:
            reason: RefusalReason = "open" if status.state is OPEN else "half_open"
            raise self._refuse(0.0, status.state, status.retry_after, reason)

    # Settling on the fast path

    def record_success(self, period: ClosedPeriod) -> None:
        """Record a success of the fast path. Not called while `period.counts_successes` is False."""
        deferred = period.counter.deferred
        if deferred is None or not (
            deferred.allowed and period is self.closed_period and deferred.add(self.monotonic())
        ):
            self._record(period, SUCCESS, None, None)

    def record_exception(self, period: ClosedPeriod, exc: BaseException) -> None:
        """Classify and record an exception of the fast path."""
        outcome = classify_exception(self.config, exc)
        if outcome != NEUTRAL:
            self._record(period, outcome, exc, None)

    # Settling a permit

    def settle(self, ticket: Ticket, started: float, outcome: Classified, evidence: object) -> None:
        """Settle the call of a permit.

        Args:
            ticket: What `admit` returned.
            started: The moment at which the call was admitted.
            outcome: How it ended.
            evidence: Its exception or its result.
        """
        settled = None
        if outcome == NEUTRAL:
            self._release(ticket)
        else:
            settled = self._record(ticket, outcome, evidence, started)
        if self._reporter is not None:
            self._reporter.report("stale" if settled is STALE else outcome, started)

    def drop(self, ticket: Ticket, started: float) -> None:
        """Release a permit that was garbage-collected unsettled.

        This may run on any thread, inside any lock. So it waits for nothing and calls no user code: the slot is free
        for the next call, and the observer gets the record with that of the next call.
        """
        self._release(ticket)
        if self._reporter is not None:
            self._reporter.report_later(NEUTRAL, started)

    # An operator's actions

    def reset(self) -> None:
        """Close the circuit, and start a new period."""
        self._monitor.run(self._locked_apply, self._machine.reset, self.monotonic())

    def trip(self, seconds: float | None) -> None:
        """Open the circuit for `seconds`; None: for as long as an opening lasts now."""
        delay = delay_of(self.config, self._jitter, None) if seconds is None else NO_DELAY
        self._monitor.run(self._locked_apply, self._machine.trip, self.monotonic(), seconds, delay)

    def set_mode(self, mode: BreakerMode) -> None:
        """Set the mode."""
        self._monitor.run(self._locked_set_mode, mode, self.monotonic())

    # Under the lock

    def _locked_admit(self, now: float) -> Ticket | Refusal:
        """Requires the lock. Admit or refuse a call."""
        try:
            answer, change = self._machine.admit(now)
            if change is not None:
                self._locked_complete_change(change)
            return answer
        except BaseException:
            self._repair()
            raise

    def _locked_settle(self, ticket: Ticket, now: float, failed: bool, slow: bool, delay: OpenDelay | None) -> Settled:
        """Requires the lock. Count an outcome in the machine."""
        try:
            settled, change = self._machine.settle(ticket, now, failed, slow, delay)
            if change is not None:
                self._locked_complete_change(change)
            return settled
        except BaseException:
            self._repair()
            raise

    def _locked_apply(self, action: Callable[..., Change | None], *args: object) -> None:
        """Requires the lock. Run `reset` or `trip` of the machine."""
        self.closed_period = None
        try:
            change = action(*args)
            if change is not None:
                self._locked_complete_change(change)
        finally:
            self._choose_path()

    def _locked_set_mode(self, mode: BreakerMode, now: float) -> None:
        """Requires the lock. Set the mode, and queue its event."""
        self.closed_period = None  # first: a thread that sees the new mode must not find the fast path of the old one
        previous = self._machine.set_mode(now, mode)
        self._choose_path()
        if mode is not previous and self._outbox is not None:
            payload = {"name": self.name, "mode": mode.value, "previous_mode": previous.value}
            self._outbox.put("circuit.mode_changed", payload, now)

    def _locked_complete_change(self, change: Change) -> None:
        """Requires the lock. Choose the path of the new period, and queue the event of the change."""
        self._choose_path()
        if self._outbox is None:
            return
        payload: dict[str, JSON] = {
            "name": self.name,
            "state": change.state.value,
            "previous_state": change.previous.value,
            "reason": change.trigger.value,
        }
        period = self._machine.period
        if isinstance(period, OpenPeriod):
            payload |= {"open_seconds": period.seconds, "openings": self._machine.openings}
        self._outbox.put(_TOPICS[change.state], payload, change.moment)

    def _choose_path(self) -> None:
        """Requires the lock. Allow the fast path if the circuit is closed and a call needs nothing but its period."""
        period = self._machine.period
        needs_permit = (
            self._reporter is not None
            or self._slow_seconds is not None
            or self.config.record_result is not None
            or self.mode is not NORMAL
        )
        self.closed_period = period if isinstance(period, ClosedPeriod) and not needs_permit else None

    def _repair(self) -> None:
        """Requires the lock. Make path and counts right after a signal or a `MemoryError` interrupted a change."""
        self.closed_period = None  # the slow path is right for every state
        period = self._machine.period
        if isinstance(period, ClosedPeriod):
            period.recount()
        self._choose_path()

    # Without the lock

    def _record(self, ticket: Ticket, outcome: Classified, evidence: object, started: float | None) -> Settled | NotRun:
        """Record a success or a failure."""
        now = self.monotonic()
        failed = outcome == FAILURE
        slow = self._slow_seconds is not None and started is not None and reached(now, started + self._slow_seconds)
        settled = self._monitor.try_run(self._locked_settle, ticket, now, failed, slow, self._delay)
        if settled is SKIPPED:  # this thread is inside the monitor, where user code must not run
            self._monitor.defer(self._locked_settle, ticket, now, failed, slow, OpenDelay(self._jitter()))
        elif settled is NEEDS_DELAY:
            delay = delay_of(self.config, self._jitter, evidence if failed else None)
            return self._monitor.run(self._locked_settle, ticket, now, failed, slow, delay)
        return settled

    def _refuse(
        self, now: float, state: CircuitState, retry_after: float | None, reason: RefusalReason
    ) -> CircuitOpenError:
        if self._reporter is not None:
            self._reporter.report("refused", now)
        return _new_error(CircuitOpenError, self.name, state, retry_after, reason)

    def _release(self, ticket: Ticket) -> None:
        if isinstance(ticket, ProbeSlot):
            self._monitor.defer(ticket.release)

    def _admit_from_inside(self, now: float) -> Ticket | Refusal:
        """Answer a finalizer or a signal handler whose own thread is inside the monitor.

        The machine may be half-way through a change, so nothing is changed: no probe is admitted. (A closed circuit
        has admitted the call already.)
        """
        period = self._machine.period
        if self.mode is ISOLATED:
            return Refusal(period.state, None, "isolated")
        if self.mode is not NORMAL:
            return UNRECORDED
        reason: RefusalReason = "open" if isinstance(period, OpenPeriod) else "half_open"
        return Refusal(period.state, self._machine.retry_after(now), reason)
