"""The shell around one breaker's machine: it owns the lock, the clock, the judge and the listeners.

Every way into a breaker (decorator, `with`, `call`, `acquire`, …) goes through the gate, and takes one of two lanes:

- *The fast lane.* While the circuit is closed and nothing unusual is on, `fast` is the current period. A way in reads
  it once before the call and remembers it; after a success it looks at `heeds_success` and, as a rule, is done: no
  lock, no clock, nothing allocated. A success that changes nothing need not be recorded to have been counted, and one
  that changes a window's count but decides nothing is jotted down without the lock.
- *The permit lane.* `admit` answers with a `Permit`, which must be settled, or refuses. It takes the monitor only where
  that may change something: not in a closed circuit, and not before an open one is due.

`fast` is cleared before a change can be seen and set after it is whole, and `state` looks at it first, so whoever has
seen the circuit open is never let through by it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from swarmguard._breaker.config import CircuitBreakerConfig
from swarmguard._breaker.judge import FAILURE, NEUTRAL, SUCCESS, Verdict, judge_exception
from swarmguard._breaker.machine import (
    ISOLATED,
    NO_WISHES,
    NORMAL,
    UNRECORDED,
    BreakerMachine,
    Change,
    Open,
    Place,
    Refusal,
    Settled,
    Terms,
    Ticket,
)
from swarmguard._breaker.permit import Permit
from swarmguard._breaker.trip import Tally
from swarmguard._breaker.values import BreakerStatus, CallRecord, Outcome
from swarmguard._common.call_logged import call_logged
from swarmguard._common.deadlines import reached, until
from swarmguard._common.fields import check_number, check_seconds
from swarmguard._common.monitor import Monitor
from swarmguard._common.outbox import Outbox
from swarmguard.circuit import BreakerMode, CircuitState
from swarmguard.clock import Clock
from swarmguard.errors import CircuitOpenError, RefusalReason
from swarmguard.events import JSON, Sink

Observer = Callable[[CallRecord], object]
"""Any callable that takes a `CallRecord`; what it returns is not looked at."""

CLOSED, OPEN, HALF_OPEN = CircuitState
STALE, NEEDS_TERMS = Settled.STALE, Settled.NEEDS_TERMS

_TOPICS: Final = {OPEN: "circuit.opened", HALF_OPEN: "circuit.half_opened", CLOSED: "circuit.closed"}

_new = CircuitOpenError.__new__
"""Makes a refusal that is whole, without a call of its `__init__`, which would only tell it what it knows."""


class Gate:
    """One breaker, without its faces.

    Args:
        name: The breaker's name.
        config: How it behaves.
        clock: Where it reads the time.
        sink: Who is told of every change; None for nobody.
        observer: Who is told of every call; None for nobody.
        topic_prefix: What stands before the events' topics.
    """

    __slots__ = (
        "__weakref__",
        "_late",
        "_machine",
        "_monitor",
        "_monotonic",
        "_observer",
        "_outbox",
        "_random",
        "_slow_at",
        "_terms",
        "config",
        "fast",
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
        self._monotonic = clock.monotonic  # bound once: it is asked for with every call that is recorded
        self._observer = observer
        self._late: list[tuple[Outcome, float]] = []  # what the observer could not be told of at once
        self._outbox = None if sink is None else Outbox(name, sink, clock, topic_prefix)
        self._monitor = Monitor(self._outbox)
        self._machine = BreakerMachine(config)
        self._terms = NO_WISHES if config.jitter == 0 and config.retry_after is None else None
        self._random = _source_of_jitter(config)
        self._slow_at = config.trip_policy.slow_call_duration
        self.fast: Tally | None = None
        self._choose_lane()

    # What is read

    @property
    def state(self) -> CircuitState:
        """Where the circuit stands."""
        return CLOSED if self.fast is not None else self._machine.period.state

    @property
    def mode(self) -> BreakerMode:
        """The operator's mode."""
        return self._machine.mode

    def retry_after(self) -> float | None:
        """The seconds until a call may be admitted; None when only an operator will admit one."""
        return self._monitor.look(self._machine.retry_after, self._monotonic())

    def status(self) -> BreakerStatus:
        """Everything at one instant."""
        return self._monitor.look(self._machine.status, self.name, self._monotonic())

    # Admitting

    def refusal(self) -> CircuitOpenError | None:
        """Return the refusal of a call that comes now, where it takes no lock to know it: nothing will change.

        To raise it from the outermost frame is cheaper than to have it pass through those of `admit`. Whoever does must
        not keep it in a variable meanwhile: it and the frame would keep each other alive.
        """
        machine = self._machine
        period = machine.period
        if isinstance(period, Open):
            now = self._monotonic()
            if machine.mode is not NORMAL or machine.period is not period or machine.latest > now:
                return None  # not all of one instant
            wait = period.deadline - now
            if wait > 1.0 or until(now, period.deadline):
                if self._observer is None:
                    return _new(CircuitOpenError, self.name, OPEN, wait, "open")
                return self._refused(now, OPEN, wait, "open")
        return None

    def admit(self) -> Permit:
        """Return a permit, or raise a fresh `CircuitOpenError`."""
        now = self._monotonic()
        machine = self._machine
        period = machine.period
        if isinstance(period, Tally) and machine.mode is NORMAL and machine.period is period:  # likewise
            return Permit(self, period, now)
        refusal = self.refusal()
        if refusal is not None:
            try:
                raise refusal
            finally:
                del refusal
        answer = self._monitor.run(self._admit, now, put_off=False) or self._admit_from_inside(now)
        if isinstance(answer, Refusal):
            raise self._refused(now, *answer)
        return Permit(self, answer, now)

    def overtaken(self) -> None:
        """Let a call through, or refuse it, whose period on the fast lane ended while it was coming in.

        If the circuit opened in that instant, it refused the call then; otherwise the call came before the change.
        """
        status = self.status()
        if status.mode is ISOLATED:
            raise self._refused(0.0, status.state, None, "isolated")
        if status.mode is NORMAL and status.state is not CLOSED:
            reason: RefusalReason = "open" if status.state is OPEN else "half_open"
            raise self._refused(0.0, status.state, status.retry_after, reason)

    # Settling on the fast lane

    def succeeded(self, period: Tally) -> None:
        """Record a success of the fast lane; callers leave it out while `period.heeds_success` is False."""
        if not (period.jots and period is self.fast and period.jot(self._monotonic())):
            self._settle(period, SUCCESS, None, None)

    def raised(self, period: Tally, exc: BaseException) -> None:
        """Judge and record an exception of the fast lane."""
        verdict = judge_exception(self.config, exc)
        if verdict is not NEUTRAL:
            self._settle(period, verdict, exc, None)

    # Settling a permit

    def settle(self, ticket: Ticket, started: float, verdict: Verdict, evidence: object) -> None:
        """Record what became of a permit's call; `evidence` is its exception or its result."""
        settled = None
        if verdict is NEUTRAL:
            self._release(ticket)
        else:
            settled = self._settle(ticket, verdict, evidence, started)
        observer = self._observer
        if observer is not None:
            self._observe(observer, "stale" if settled is STALE else verdict.value, started)

    def drop(self, ticket: Ticket, started: float) -> None:
        """Release a permit that the garbage collector found unsettled.

        That may happen on any thread, inside any lock, so nothing is waited for and nobody is called: the place is
        free for whoever looks next, and the observer hears of it with the next call.
        """
        self._release(ticket)
        if self._observer is not None:
            self._late.append(("neutral", started))

    # What an operator does

    def reset(self) -> None:
        """Close the circuit and start afresh."""
        self._monitor.run(self._apply, self._machine.reset, self._monotonic())

    def trip(self, seconds: float | None) -> None:
        """Open the circuit for `seconds`; None for as long as an opening now takes."""
        terms = self._ask_terms(None) if seconds is None else NO_WISHES
        self._monitor.run(self._apply, self._machine.trip, self._monotonic(), seconds, terms)

    def set_mode(self, mode: BreakerMode) -> None:
        """Put the operator's mode in force."""
        self._monitor.run(self._set_mode, mode, self._monotonic())

    # Under the monitor

    def _admit(self, now: float) -> Ticket | Refusal:
        try:
            answer, change = self._machine.admit(now)
            if change is not None:
                self._changed(change)
            return answer
        except BaseException:
            self._broken_off()
            raise

    def _record(self, ticket: Ticket, now: float, failed: bool, slow: bool, terms: Terms | None) -> Settled:
        try:
            settled, change = self._machine.settle(ticket, now, failed, slow, terms)
            if change is not None:
                self._changed(change)
            return settled
        except BaseException:
            self._broken_off()
            raise

    def _broken_off(self) -> None:
        """Choose the lane anew where a signal, or the want of memory, broke off what may have moved the circuit."""
        self.fast = None  # the permit lane is right for every circuit
        self._choose_lane()

    def _apply(self, action: Callable[..., Change | None], *args: object) -> None:
        self.fast = None
        try:
            change = action(*args)
            if change is not None:
                self._changed(change)
        finally:
            self._choose_lane()

    def _set_mode(self, mode: BreakerMode, now: float) -> None:
        self.fast = None  # first of all: nobody who sees the new mode may find the old lane open
        previous = self._machine.set_mode(now, mode)
        self._choose_lane()
        if mode is not previous and self._outbox is not None:
            payload = {"name": self.name, "mode": mode.value, "previous_mode": previous.value}
            self._outbox.put("circuit.mode_changed", payload, now)

    def _changed(self, change: Change) -> None:
        self._choose_lane()
        if self._outbox is None:
            return
        payload: dict[str, JSON] = {
            "name": self.name,
            "state": change.state.value,
            "previous_state": change.previous.value,
            "reason": change.trigger.value,
        }
        period = self._machine.period
        if isinstance(period, Open):
            payload |= {"open_seconds": period.seconds, "openings": self._machine.openings}
        self._outbox.put(_TOPICS[change.state], payload, change.moment)

    def _choose_lane(self) -> None:
        """Open the fast lane when the circuit is closed and a call needs nothing but its period."""
        period = self._machine.period
        needs_permit = (
            self._observer is not None
            or self._slow_at is not None
            or self.config.record_result is not None
            or self.mode is not NORMAL
        )
        self.fast = period if isinstance(period, Tally) and not needs_permit else None

    # Outside the monitor

    def _settle(self, ticket: Ticket, verdict: Verdict, evidence: object, started: float | None) -> Settled | None:
        now = self._monotonic()
        failed = verdict is FAILURE
        slow = self._slow_at is not None and started is not None and reached(now, started + self._slow_at)
        settled = self._monitor.run(self._record, ticket, now, failed, slow, self._terms, put_off=False)
        if settled is None:  # this thread is inside the monitor: the users' callables must not be asked there
            self._monitor.defer(self._record, ticket, now, failed, slow, Terms(self._random()))
        elif settled is NEEDS_TERMS:
            terms = self._ask_terms(evidence if failed else None)
            settled = self._monitor.run(self._record, ticket, now, failed, slow, terms)
        return settled

    def _refused(
        self, now: float, state: CircuitState, retry_after: float | None, reason: RefusalReason
    ) -> CircuitOpenError:
        observer = self._observer
        if observer is not None:
            self._observe(observer, "refused", now)
        return _new(CircuitOpenError, self.name, state, retry_after, reason)

    def _release(self, ticket: Ticket) -> None:
        if isinstance(ticket, Place):
            self._monitor.defer(self._machine.release, ticket)

    def _admit_from_inside(self, now: float) -> Ticket | Refusal:
        """Answer a finalizer or a signal handler that came while its own thread is inside the monitor.

        The machine may be half-way through a change, so nothing is changed: no test call is admitted. (A closed circuit
        has admitted it already.)
        """
        period = self._machine.period
        if self.mode is ISOLATED:
            return Refusal(period.state, None, "isolated")
        if self.mode is not NORMAL:
            return UNRECORDED
        reason: RefusalReason = "open" if isinstance(period, Open) else "half_open"
        return Refusal(period.state, self._machine.retry_after(now), reason)

    def _ask_terms(self, evidence: object) -> Terms:
        """Ask the user's callables what an opening takes; one that raises is logged and left out."""
        config = self.config
        draw, wish = 0.0, None
        if config.jitter:
            draw = self._random()
            if config.random is not None:
                draw = call_logged("random", draw, _draw, config.random)
        if config.retry_after is not None and evidence is not None:
            wish = call_logged("retry_after", None, _wish, config.retry_after, evidence)
        return Terms(draw, wish)

    def _observe(self, observer: Observer, outcome: Outcome, started: float) -> None:
        """Tell the observer of a call, and of those that it could not be told of when they ended."""
        self._late.append((outcome, started))
        if self._monitor.is_inside():  # a finalizer or a signal handler: no user's code runs under the lock
            return
        now = self._monotonic()
        with suppress(IndexError):  # until none is left: other threads may be telling as well
            while True:
                outcome, started = self._late.pop(0)
                seconds = 0.0 if outcome == "refused" else now - started
                call_logged("the observer", None, observer, CallRecord(self.name, outcome, seconds))


def _source_of_jitter(config: CircuitBreakerConfig) -> Callable[[], float]:
    """Return what jitter is drawn from without a source of the user's: at hand even when the interpreter ends."""
    if not config.jitter:
        return float  # 0.0: nothing is drawn
    import random  # noqa: PLC0415 - seldom needed, and not cheap to load

    return random.random


def _draw(source: Callable[[], float]) -> float:
    return check_number("random", source(), "a callable to a number from 0 to 1", low=0, high=1)


def _wish(source: Callable[[object], float | None], evidence: object) -> float | None:
    answer = source(evidence)
    return None if answer is None else check_seconds("retry_after", answer)
