"""A model of a circuit breaker after the rules B1 to B6, B13, B16 to B18 and B20: slow, and easy to verify.

It imports nothing from the package. Times are whole nanoseconds (the end of an open time may be a fraction, since it is
multiplied), counts are computed from the list of results each time, and states, reasons and outcomes are plain text.
Where a rule decides something, the model calls `reached`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil

from tests.properties.reaching import reached

SECOND = 10**9


def exactly(number: float) -> Fraction:
    """Return the decimal number that a float is printed as."""
    return Fraction(str(number))


def to_ns(seconds: float) -> int:
    """Return a duration in whole nanoseconds."""
    return round(exactly(seconds) * SECOND)


@dataclass(frozen=True)
class Rate:
    """The failure-rate policy of B17: `calls` or `seconds` is the window's size, the other is None."""

    calls: int | None = None
    seconds: float | None = None
    threshold: float = 0.5
    minimum: int | None = None
    slow_seconds: float | None = None
    slow_threshold: float = 1.0

    @property
    def least(self) -> int:
        """The minimum number of calls in the window."""
        if self.minimum is not None:
            return self.minimum
        return 20 if self.calls is None else min(20, self.calls)


@dataclass(frozen=True)
class Setup:
    """The part of a breaker's configuration that the model needs."""

    failures: int = 5
    rate: Rate | None = None
    successes: int = 3
    open_seconds: float = 30.0
    slots: int = 3
    probe_seconds: float | None = None
    multiplier: float = 1.0
    cap: float | None = None
    jitter: float = 0.0

    @property
    def lease(self) -> int:
        """The lease of a slot, in nanoseconds."""
        seconds = max(self.open_seconds, 30.0) if self.probe_seconds is None else self.probe_seconds
        return to_ns(seconds)


@dataclass(frozen=True)
class Refusal:
    """The facts of a refusal."""

    reason: str
    state: str
    retry_after: Fraction | None


@dataclass(eq=False)
class Call:
    """An admitted call. `period` is None if a mode admitted it; its outcome is not recorded."""

    period: int | None
    began: int
    settled: bool = False


@dataclass(frozen=True)
class Emitted:
    """An event: its topic without the prefix, its time, and its payload with durations in nanoseconds."""

    topic: str
    at: int
    payload: dict[str, object]


@dataclass(frozen=True)
class Record:
    """The observer's record of one call; that of a `forgotten` call may come later, with the next call."""

    outcome: str
    took: int
    forgotten: bool = False


@dataclass(frozen=True)
class Result:
    """A recorded success or failure of the current period."""

    at: int
    failed: bool
    took: int


@dataclass
class BreakerModel:
    """The state of one breaker, and the events and records that it has emitted so far."""

    setup: Setup
    state: str = "Closed"
    mode: str = "Normal"
    period: int = 0
    opened_until: Fraction = Fraction(0)
    openings: int = 0
    results: list[Result] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    emitted: list[Emitted] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)

    # --- admitting -------------------------------------------------------------------------------------------------

    def admit(self, now: int) -> Call | Refusal:
        """Admit a call, or refuse it."""
        if self.mode == "Isolated":
            reached("B16", "isolated refuses")
            return self._refuse(Refusal("isolated", self.state, None))
        if self.mode == "Disabled":
            reached("B16", "disabled admits")
            return self._let_through(now)
        wait = self.wait(now)
        if wait > 0 and self.mode == "Shadow":
            reached("B16", "shadow admits what it would refuse")
            return self._let_through(now)
        if wait > 0:
            reached("B2", "an open circuit refuses", self.state == "Open")
            reached("B3", "a call without a free slot is refused", self.state == "HalfOpen")
            return self._refuse(Refusal("open" if self.state == "Open" else "half_open", self.state, wait))
        if self.state == "Open":
            reached("B2", "the first call after the open time is a probe")
            reached("B2", "a probe exactly at the end of the open time", self.opened_until == now)
            self._move("HalfOpen", "circuit.half_opened", "probe_admitted", now)
        elif self.state == "HalfOpen":
            running = [call for call in self.calls if call.period == self.period and not call.settled]
            reached("B3", "another slot is free")
            reached("B4", "a slot is free after its lease", len(running) >= self.setup.slots)
        else:
            reached("B1", "a closed circuit admits")
        call = Call(self.period, now)
        self.calls.append(call)
        return call

    def _refuse(self, refusal: Refusal) -> Refusal:
        self.records.append(Record("refused", 0))
        return refusal

    def _let_through(self, now: int) -> Call:
        call = Call(None, now)
        self.calls.append(call)
        return call

    def lease_ends(self, now: int) -> list[int]:
        """Return the ends of the leases that run now."""
        if self.state != "HalfOpen":
            return []
        running = [call for call in self.calls if call.period == self.period and not call.settled]
        return sorted(call.began + self.setup.lease for call in running if call.began + self.setup.lease > now)

    def wait(self, now: int) -> Fraction:
        """Return how long all calls will be refused, if the mode is normal."""
        if self.state == "Open":
            return max(Fraction(0), self.opened_until - now)
        ends = self.lease_ends(now)
        return Fraction(ends[0] - now if self.state == "HalfOpen" and len(ends) >= self.setup.slots else 0)

    # --- settling --------------------------------------------------------------------------------------------------

    def forget(self, call: Call, now: int) -> None:
        """Release a call whose permit was dropped."""
        reached("B13", "a dropped permit is released")
        call.settled = True
        self.records.append(Record("neutral", now - call.began, forgotten=True))

    def settle(self, call: Call, outcome: str, now: int, answer: float | None = None, draw: float = 0.0) -> bool:
        """End a call; `answer` is the result of `retry_after`, `draw` that of `random`."""
        if call.settled:
            reached("B13", "a permit is settled once")
            return False
        call.settled = True
        took = now - call.began
        if outcome != "neutral" and call.period is not None and call.period != self.period:
            outcome = "stale"
        self.records.append(Record(outcome, took))
        reached("B5", "a late result changes nothing", outcome == "stale")
        reached("B6", "a neutral outcome is not counted", outcome == "neutral")
        reached("B16", "a call admitted by a mode is not recorded", call.period is None)
        reached("B16", "disabled records nothing", call.period is not None and self.mode == "Disabled")
        if outcome in ("neutral", "stale") or call.period is None or self.mode == "Disabled":
            return True
        reached("B4", "a probe counts after its lease", self.state == "HalfOpen" and took >= self.setup.lease)
        reached("B16", "shadow records", self.mode == "Shadow")
        self.results.append(Result(now, outcome == "failure", took))
        if self.state == "Closed":
            if self._trips(now, failed=outcome == "failure"):
                self._open("threshold", now, self._open_time(answer, draw))
        elif outcome == "failure":
            self._open("probe_failed", now, self._open_time(answer, draw))
        elif self.success_count >= self.setup.successes:
            self._close("recovered", now)
        return True

    @property
    def success_count(self) -> int:
        """Return the successes of this half-open period."""
        return sum(not result.failed for result in self.results) if self.state == "HalfOpen" else 0

    def window(self, now: int) -> list[Result]:
        """Return the results in the window."""
        rate = self.setup.rate
        assert rate is not None
        if rate.calls is not None:
            return self.results[-rate.calls :]
        assert rate.seconds is not None
        return [result for result in self.results if now - result.at < to_ns(rate.seconds)]

    def failure_count(self, now: int) -> int:
        """Return the consecutive failures, or those in the window."""
        if self.state != "Closed":
            return 0
        if self.setup.rate is not None:
            return sum(result.failed for result in self.window(now))
        streak = 0
        for result in reversed(self.results):
            if not result.failed:
                break
            streak += 1
        return streak

    def _trips(self, now: int, *, failed: bool) -> bool:
        rate = self.setup.rate
        if rate is None:
            reached(
                "B1", "a success resets the count", not failed and len(self.results) > 1 and self.results[-2].failed
            )
            reached("B1", "consecutive failures open", failed and self.failure_count(now) >= self.setup.failures)
            return failed and self.failure_count(now) >= self.setup.failures
        held = self.window(now)
        reached("B17", "a count window forgets", rate.calls is not None and len(held) < len(self.results))
        reached("B17", "a time window forgets", rate.calls is None and len(held) < len(self.results))
        if len(held) < rate.least:
            reached("B17", "too few calls never open")
            return False
        if Fraction(sum(result.failed for result in held), len(held)) >= exactly(rate.threshold):
            reached("B17", f"the failure rate opens, {'time' if rate.calls is None else 'count'} window")
            reached("B17", "a success may open", not failed)
            return True
        if rate.slow_seconds is None:
            return False
        slow = sum(result.took >= to_ns(rate.slow_seconds) for result in held)
        reached("B17", "the slow call rate opens", Fraction(slow, len(held)) >= exactly(rate.slow_threshold))
        return Fraction(slow, len(held)) >= exactly(rate.slow_threshold)

    def _open_time(self, answer: float | None, draw: float) -> Fraction:
        setup = self.setup
        seconds = exactly(setup.open_seconds) * exactly(setup.multiplier) ** self.openings
        reached("B18", "consecutive openings change the open time", self.openings > 0 and setup.multiplier != 1)
        if setup.cap is not None:
            reached("B18", "the maximum open time applies", seconds > exactly(setup.cap))
            seconds = min(seconds, exactly(setup.cap))
        reached("B18", "jitter extends the open time", setup.jitter > 0 and draw > 0)
        seconds *= 1 + exactly(setup.jitter) * exactly(draw)
        if answer is not None:
            reached(
                "B18", "Retry-After extends the open time", min(exactly(answer), exactly(setup.cap or 3600)) > seconds
            )
            seconds = max(seconds, min(exactly(answer), exactly(setup.cap or 3600)))
        return seconds * SECOND

    # --- moving ----------------------------------------------------------------------------------------------------

    def _move(self, state: str, topic: str, reason: str, now: int, **more: object) -> None:
        payload = {"state": state, "previous_state": self.state, "reason": reason, **more}
        self.state = state
        self.period += 1
        self.results = []
        self.emitted.append(Emitted(topic, now, payload))

    def _open(self, reason: str, now: int, length: Fraction) -> None:
        reached("B3", "a failed probe opens", reason == "probe_failed")
        reached("B3", "a failure opens after successes", reason == "probe_failed" and len(self.results) > 1)
        self.openings += 1
        self.opened_until = now + length
        self._move("Open", "circuit.opened", reason, now, open_seconds=length, openings=self.openings)

    def _close(self, reason: str, now: int) -> None:
        reached("B3", "enough successes close", reason == "recovered")
        reached("B3", "more successes than slots", reason == "recovered" and self.setup.successes > self.setup.slots)
        reached("B18", "closing resets the back-off", self.openings > 1)
        self.openings = 0
        self._move("Closed", "circuit.closed", reason, now)

    # --- the operator ----------------------------------------------------------------------------------------------

    def reset(self, now: int) -> None:
        """Close the circuit, reset all counts, and start a new period, in any mode."""
        reached("B16", "reset under a mode", self.mode != "Normal")
        if self.state != "Closed":
            reached("B16", f"reset closes, {self.state}")
            self._close("reset", now)
        else:
            reached("B16", "reset clears the counts of a closed circuit", bool(self.results))
            self.period += 1
            self.results = []
            self.openings = 0

    def trip(self, now: int, duration: float | None = None, draw: float = 0.0) -> None:
        """Open the circuit for `duration` seconds, or for the open time of this consecutive opening."""
        reached("B16", f"trip opens, {self.state}")
        reached("B16", "trip for a given time", duration is not None)
        self._open("tripped", now, self._open_time(None, draw) if duration is None else Fraction(to_ns(duration)))

    def set_mode(self, mode: str, now: int) -> None:
        """Change the mode."""
        if mode != self.mode:
            reached("B16", f"{mode} in force")
            reached("B16", "a mode starts no new period", any(not call.settled for call in self.calls))
            self.emitted.append(Emitted("circuit.mode_changed", now, {"mode": mode, "previous_mode": self.mode}))
            self.mode = mode

    # --- reading ---------------------------------------------------------------------------------------------------

    def retry_after(self, now: int) -> Fraction | None:
        """Return the time until a call may be admitted; None if only an operator can change that."""
        if self.mode == "Isolated":
            return None
        full = self.state == "HalfOpen" and self.wait(now) > 0
        reached("B8", "without a free slot, retry after the first lease", full and self.mode == "Normal")
        reached("B8", "open and due", self.state == "Open" and self.wait(now) == 0 and self.mode == "Normal")
        return self.wait(now) if self.mode == "Normal" else Fraction(0)

    def status(self, now: int) -> dict[str, object]:
        """Return the fields of a status."""
        return {
            "state": self.state,
            "mode": self.mode,
            "failure_count": self.failure_count(now),
            "success_count": self.success_count,
            "half_open_calls": len(self.lease_ends(now)),
            "openings": self.openings,
        }

    def edges(self, now: int) -> list[int]:
        """Return the future moments at which time alone changes the status."""
        rate = self.setup.rate
        moments = [ceil(self.opened_until)] if self.state == "Open" else []
        moments += self.lease_ends(now)
        if rate is not None and rate.seconds is not None:
            moments += [result.at + to_ns(rate.seconds) for result in self.results]
        if rate is not None and rate.slow_seconds is not None:
            moments += [call.began + to_ns(rate.slow_seconds) for call in self.calls if not call.settled]
        return sorted({moment for moment in moments if moment > now})

    def on_a_fraction(self, now: int) -> bool:
        """Return whether an open time ends less than a nanosecond from `now`, but not exactly at `now`."""
        return self.state == "Open" and 0 < abs(self.opened_until - now) < 1


@dataclass(frozen=True)
class Filters:
    """The exception filters of a breaker."""

    success: tuple[type[BaseException], ...] = ()
    ignore: tuple[type[BaseException], ...] = ()
    record: tuple[type[BaseException], ...] = (Exception,)


def classify(error: BaseException, filters: Filters, refusal: type[BaseException]) -> str:
    """Return the outcome of an exception; `refusal` is the type that breakers raise."""
    if isinstance(error, BaseExceptionGroup):
        reached("B6", "a group is classified by its leaves")
        outcomes = [classify(leaf, filters, refusal) for leaf in error.exceptions]
        return next((outcome for outcome in ("failure", "success") if outcome in outcomes), "neutral")
    if not isinstance(error, Exception) or isinstance(error, refusal):
        reached("B6", "a refusal of another breaker is neutral", isinstance(error, refusal))
        reached("B6", "an exception that is no Exception is neutral", not isinstance(error, Exception))
        return "neutral"
    if isinstance(error, filters.success):
        reached("B6", "success_exceptions")
        return "success"
    if isinstance(error, filters.ignore):
        reached("B6", "ignore_exceptions")
        return "neutral"
    reached("B6", "an exception that is not recorded is neutral", not isinstance(error, filters.record))
    return "failure" if isinstance(error, filters.record) else "neutral"
