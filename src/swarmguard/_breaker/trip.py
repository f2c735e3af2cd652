"""When a closed circuit opens: the policies that users choose, and the tallies that count for them.

A policy is a value (frozen, comparable, picklable). Its `tally()` starts the count of one closed period; a period of
a closed circuit *is* its tally, so a late result knows its period by identity. Tallies are not safe for concurrent
use: the breaker's machine guards them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from contextlib import suppress
from itertools import islice
from typing import Final

import attrs

from swarmguard._common.deadlines import reached
from swarmguard._common.fields import (
    check_count,
    count,
    optional,
    seconds,
    share,
    to_seconds,
    to_seconds_or_none,
    wrong_type,
)
from swarmguard.circuit import CircuitState

DEFAULT_MINIMUM_CALLS = 20
"""What `minimum_calls=None` stands for; a smaller count window stands for itself."""


class Tally:
    """The count of one closed period.

    Attributes:
        heeds_success: False while another success would change nothing: such a one need not be recorded at all.
        jots: True while a success decides nothing, though it changes the count: it may be jotted down.
    """

    __slots__ = ("heeds_success", "jots")
    state: Final = CircuitState.CLOSED

    def __init__(self, *, heeds_success: bool) -> None:
        self.heeds_success: bool = heeds_success
        self.jots: bool = False

    @abstractmethod
    def record(self, failed: bool, slow: bool, now: float) -> bool:
        """Count an outcome and return False; or, leaving the tally as it was, return True: this one trips."""

    @abstractmethod
    def failure_count(self, now: float) -> int:
        """Return the failures that count at `now`. A reading: it may come while `record` is at work in this thread."""

    @abstractmethod
    def jot(self, now: float) -> bool:
        """Jot a success down, without a lock; return False when it has to be recorded after all."""


@attrs.frozen
class ConsecutiveFailures:
    """Open after so many failures in a row; a success starts the count again.

    Args:
        threshold: The failures in a row that open the circuit, 1 or more; 5 by default, as in the Rust service whose
            names and defaults this package keeps.

    Raises:
        TypeError: The threshold is no whole number.
        ValueError: It is less than 1.
    """

    threshold: int = attrs.field(default=5, validator=count(1))

    @property
    def slow_call_duration(self) -> None:
        """No call is slow: durations are not looked at."""

    def tally(self) -> Tally:
        """Start the count of a closed period."""
        return ConsecutiveTally(self.threshold)


class ConsecutiveTally(Tally):
    """Counts failures in a row."""

    __slots__ = ("_failures", "_threshold")

    def __init__(self, threshold: int) -> None:
        super().__init__(heeds_success=False)
        self._threshold = threshold
        self._failures = 0

    def record(self, failed: bool, slow: bool, now: float) -> bool:
        failures = self._failures + 1 if failed else 0
        if failures >= self._threshold:
            return True
        self._failures = failures
        self.heeds_success = failed
        return False

    def failure_count(self, now: float) -> int:
        return self._failures

    def jot(self, now: float) -> bool:
        return False


@attrs.frozen
class CountWindow:
    """The last so many calls.

    Args:
        size: How many calls, 1 or more; 100 by default.

    Raises:
        TypeError: The size is no whole number.
        ValueError: It is less than 1.
    """

    size: int = attrs.field(default=100, validator=count(1))


@attrs.frozen
class TimeWindow:
    """The calls of the last so many seconds; a call is forgotten when it is that old, however long the idle gap.

    Args:
        seconds: The length in seconds (or a `timedelta`), more than 0; 10.0 by default.

    Raises:
        TypeError: The length is no duration.
        ValueError: It is not finite or not more than 0.
    """

    seconds: float = attrs.field(default=10.0, converter=to_seconds, validator=seconds(zero=False))


@attrs.frozen(kw_only=True)
class FailureRate:
    """Open when too large a share of the recent calls failed, or was slow.

    The question is asked after every recorded call, once the window holds `minimum_calls`.

    Args:
        threshold: The share of failed calls at which the circuit opens: more than 0, at most 1.
        window: Which calls are looked at: `CountWindow(100)` or a `TimeWindow`.
        minimum_calls: How many calls the window must hold before the question is asked: 1 or more. None means 20, or
            the whole of a smaller count window.
        slow_call_duration: A call that takes this many seconds or longer is slow; more than 0. None: no call is.
        slow_call_rate: The share of slow calls, failed or not, at which the circuit opens: more than 0, at most 1.

    Raises:
        TypeError: A value is of the wrong type.
        ValueError: A value is out of range, or the window can never hold `minimum_calls`.
    """

    threshold: float = attrs.field(default=0.5, validator=share())
    window: CountWindow | TimeWindow = attrs.field(factory=CountWindow)
    minimum_calls: int | None = None
    slow_call_duration: float | None = attrs.field(
        default=None, converter=to_seconds_or_none, validator=optional(seconds(zero=False))
    )
    slow_call_rate: float = attrs.field(default=1.0, validator=share())

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.window, CountWindow | TimeWindow):
            wrong_type("window", "a CountWindow or a TimeWindow", self.window)
        if self.minimum_calls is None:
            return
        check_count("minimum_calls", self.minimum_calls, minimum=1)
        if isinstance(self.window, CountWindow) and self.minimum_calls > self.window.size:
            raise ValueError(
                f"minimum_calls must be at most the window's size of {self.window.size}, or the circuit could never"
                f" open, got {self.minimum_calls}"
            )

    @property
    def enough_calls(self) -> int:
        """The calls that the window must hold: `minimum_calls`, or what its None stands for."""
        if self.minimum_calls is not None:
            return self.minimum_calls
        if isinstance(self.window, CountWindow):
            return min(DEFAULT_MINIMUM_CALLS, self.window.size)
        return DEFAULT_MINIMUM_CALLS

    def tally(self) -> Tally:
        """Start the count of a closed period."""
        if isinstance(self.window, CountWindow):
            return CountTally(self, self.window.size)
        return TimeTally(self, self.window.seconds)


class RateTally(Tally):
    """What the two windows have in common.

    A success that can open nothing is jotted down without a lock, and counted when the next outcome is recorded: before
    anything is decided, so nobody can see the difference.
    """

    MOST_JOTTED: Final = 1000
    __slots__ = ("_enough", "_failed", "_jotted", "_slow", "_slow_threshold", "_threshold")

    def __init__(self, policy: FailureRate) -> None:
        super().__init__(heeds_success=True)
        self._threshold = policy.threshold
        self._slow_threshold = policy.slow_call_rate
        self._enough = policy.enough_calls
        self._failed = 0
        self._slow = 0
        self._jotted: deque[float] = deque()  # the moments; threads append, whoever records takes them out

    def jot(self, now: float) -> bool:
        jotted = self._jotted
        if len(jotted) >= self.MOST_JOTTED:
            return False
        jotted.append(now)
        if self.jots:
            return True
        # A failure was recorded in that instant, so a success may decide again. If this one (or another's: they are all
        # alike) is still here, it was not counted, and is recorded after all.
        try:
            jotted.pop()
        except IndexError:
            return True
        return False

    def _take_jotted(self) -> list[float]:
        """Take out what has been jotted down so far."""
        jotted, taken = self._jotted, []
        with suppress(IndexError):  # a thread may take one back meanwhile
            for _ in range(len(jotted)):
                taken.append(jotted.popleft())  # noqa: PERF401 - what was taken out must not be lost
        return taken

    def _trips(self, calls: int, failed: int, slow: int) -> bool:
        """Tell whether a window of so many calls opens the circuit."""
        if calls < self._enough:
            return False
        return failed / calls >= self._threshold or slow / calls >= self._slow_threshold


class CountTally(RateTally):
    """The last calls of a count window.

    Once the window holds enough calls, a success only makes the rates smaller: it decides nothing any more.
    """

    __slots__ = ("_calls", "_size")

    def __init__(self, policy: FailureRate, size: int) -> None:
        super().__init__(policy)
        self._size = size
        self._calls: deque[tuple[bool, bool]] = deque()

    def record(self, failed: bool, slow: bool, now: float) -> bool:
        for _ in self._take_jotted()[-self._size :]:
            self._count(False, False)
        full = len(self._calls) == self._size
        old_failed, old_slow = self._calls[0] if full else (False, False)
        if self._trips(len(self._calls) + (not full), self._failed + failed - old_failed, self._slow + slow - old_slow):
            return True
        self._count(failed, slow)
        self.heeds_success = bool(self._failed or self._slow or len(self._calls) < self._size)
        self.jots = len(self._calls) >= self._enough
        return False

    def failure_count(self, now: float) -> int:
        pushed_out = max(0, len(self._calls) + len(self._jotted) - self._size)
        return sum(failed for failed, _ in islice(self._calls, pushed_out, None))

    def _count(self, failed: bool, slow: bool) -> None:
        if len(self._calls) == self._size:
            old_failed, old_slow = self._calls.popleft()
            self._failed -= old_failed
            self._slow -= old_slow
        self._calls.append((failed, slow))
        self._failed += failed
        self._slow += slow


class _Tick:
    """The calls of a time window from one moment to another, which as a rule is the same."""

    __slots__ = ("at", "calls", "end", "failed", "slow")

    def __init__(self, at: float, end: float) -> None:
        self.at = at
        self.end = end
        self.calls = 0
        self.failed = 0
        self.slow = 0


class TimeTally(RateTally):
    """The calls of a time window, each kept with its own moment.

    While none of them failed or was slow, a success decides nothing. (Otherwise it may: by forgetting successes the
    rates have grown, and the question is asked with the next call.)

    Past a thousand moments, calls closer together than a thousandth of the window share one, so that a busy window
    stays small; it then forgets up to a thousandth of its length too early.
    """

    EXACT_TICKS: Final = 1000
    __slots__ = ("_calls", "_seconds", "_ticks")

    def __init__(self, policy: FailureRate, seconds: float) -> None:
        super().__init__(policy)
        self._seconds = seconds
        self._ticks: deque[_Tick] = deque()
        self._calls = 0
        self.jots = True

    def record(self, failed: bool, slow: bool, now: float) -> bool:
        if failed or slow:
            self.jots = False  # before the jotted are counted, so that whoever jots meanwhile learns of it
        self._count_jotted()
        self._forget(now)
        calls, failures, slows = self._calls + 1, self._failed + failed, self._slow + slow
        if self._trips(calls, failures, slows):
            return True
        tick = self._tick(now)
        tick.calls += 1
        tick.failed += failed
        tick.slow += slow
        self._calls, self._failed, self._slow = calls, failures, slows
        self.jots = not (failures or slows)
        return False

    def failure_count(self, now: float) -> int:
        return sum(tick.failed for tick in self._ticks if not reached(now, tick.at + self._seconds))

    def _forget(self, now: float) -> None:
        while self._ticks and reached(now, self._ticks[0].at + self._seconds):
            tick = self._ticks.popleft()
            self._calls -= tick.calls
            self._failed -= tick.failed
            self._slow -= tick.slow

    def _count_jotted(self) -> None:
        jotted = self._take_jotted()
        if jotted:
            tick = self._tick(jotted[0])
            for at in jotted:
                if at > tick.end:  # as `_tick` asks, without the call
                    tick = self._tick(at)
                tick.calls += 1
            self._calls += len(jotted)

    def _tick(self, now: float) -> _Tick:
        if not self._ticks or now > self._ticks[-1].end:
            room = self._seconds / self.EXACT_TICKS if len(self._ticks) >= self.EXACT_TICKS else 0.0
            self._ticks.append(_Tick(now, now + room))
        return self._ticks[-1]
