"""The counters of a closed period: how many calls failed, and whether that is enough to open the circuit.

There is one counter for each policy of `policy.py`. A counter takes plain numbers, holds no lock, and is not safe for
concurrent use: the core guards it. Two things are read without the lock, so that a healthy call need not take it:

- `counts_successes` is False while a success would change nothing. Such a success is not recorded at all.
- `deferred`, where a counter has it, takes successes that change the count but cannot open the circuit. The counter
  counts them before it records the next outcome, and so before the next decision.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from itertools import islice
from typing import Final, NamedTuple, Protocol

from swarmguard._common.deadlines import reached


class Counter(Protocol):
    """What a closed period needs of its counter."""

    @property
    def deferred(self) -> DeferredSuccesses | None:
        """The successes that wait to be counted; None for a counter that defers none."""
        ...

    @property
    def counts_successes(self) -> bool:
        """Whether another success would change the count."""
        ...

    def record(self, failed: bool, slow: bool, now: float) -> bool:
        """Count an outcome and return False. If it trips the policy, leave the count as it was and return True."""
        ...

    def failure_count(self, now: float) -> int:
        """Return the failures that count at `now`. May be called while `record` runs in the same thread."""
        ...

    def recount(self) -> None:
        """Add up the sums again, after a signal or a `MemoryError` has interrupted `record`."""
        ...


class ConsecutiveCounter:
    """Counts consecutive failures.

    Args:
        threshold: The number of failures that trips the policy.
    """

    __slots__ = ("_failures", "_threshold")

    def __init__(self, threshold: int) -> None:
        self._threshold = threshold
        self._failures = 0

    @property
    def deferred(self) -> None:
        """None: a success resets the count, so none can be deferred."""

    @property
    def counts_successes(self) -> bool:
        return self._failures > 0

    def record(self, failed: bool, slow: bool, now: float) -> bool:
        failures = self._failures + 1 if failed else 0
        if failures >= self._threshold:
            return True
        self._failures = failures
        return False

    def failure_count(self, now: float) -> int:
        return self._failures

    def recount(self) -> None:
        """Do nothing: there are no sums."""


class DeferredSuccesses:
    """Successes that are queued without the lock until their counter counts them.

    A time window that took the lock for each success would cost a call about four times an empty wrapper.

    Attributes:
        allowed: False while a success may open the circuit, so that it must be recorded under the lock.
    """

    LIMIT: Final = 1000
    __slots__ = ("_moments", "allowed")

    def __init__(self, *, allowed: bool) -> None:
        self.allowed: bool = allowed
        self._moments: deque[float] = deque()  # any thread appends; the counter takes them out

    def add(self, now: float) -> bool:
        """Queue a success without the lock; return False if it must be recorded instead."""
        moments = self._moments
        if len(moments) >= self.LIMIT:
            return False
        moments.append(now)
        if self.allowed:
            return True
        # A failure was recorded meanwhile, so successes may open the circuit again. Take one entry back (they are
        # interchangeable) and record it under the lock; if none is left, this one has been counted.
        try:
            moments.pop()
        except IndexError:
            return True
        return False

    def take(self) -> list[float]:
        """Take out the successes that are queued now, and return their moments."""
        moments, taken = self._moments, []
        with suppress(IndexError):  # a thread may take an entry back meanwhile
            for _ in range(len(moments)):
                taken.append(moments.popleft())  # noqa: PERF401 - what was taken out must not be lost
        return taken

    def __len__(self) -> int:
        return len(self._moments)


class RateThresholds(NamedTuple):
    """The rates at which a window trips its policy.

    Attributes:
        minimum_calls: The calls that the window must hold before its rates are compared.
        failure_rate: The share of failed calls that trips the policy.
        slow_call_rate: The share of slow calls that trips it.
    """

    minimum_calls: int
    failure_rate: float
    slow_call_rate: float

    def are_reached(self, calls: int, failed: int, slow: int) -> bool:
        """Return whether a window of so many calls trips the policy."""
        if calls < self.minimum_calls:
            return False
        return failed / calls >= self.failure_rate or slow / calls >= self.slow_call_rate


class CountWindowCounter:
    """Counts the last calls, up to a fixed number of them.

    Once the window holds `minimum_calls`, a success only lowers the rates, so it can be deferred.

    Args:
        size: The number of calls that the window holds.
        thresholds: The rates that trip the policy.
    """

    __slots__ = ("_calls", "_failed", "_size", "_slow", "_thresholds", "deferred")

    def __init__(self, size: int, thresholds: RateThresholds) -> None:
        self._size = size
        self._thresholds = thresholds
        self._calls: deque[tuple[bool, bool]] = deque()
        self._failed = 0
        self._slow = 0
        self.deferred: DeferredSuccesses = DeferredSuccesses(allowed=False)

    @property
    def counts_successes(self) -> bool:
        return bool(self._failed or self._slow or len(self._calls) < self._size)

    def record(self, failed: bool, slow: bool, now: float) -> bool:
        for _ in self.deferred.take()[-self._size :]:
            self._add(False, False)
        full = len(self._calls) == self._size
        old_failed, old_slow = self._calls[0] if full else (False, False)
        calls = len(self._calls) + (not full)
        if self._thresholds.are_reached(calls, self._failed + failed - old_failed, self._slow + slow - old_slow):
            return True
        self._add(failed, slow)
        self.deferred.allowed = len(self._calls) >= self._thresholds.minimum_calls
        return False

    def failure_count(self, now: float) -> int:
        pushed_out = max(0, len(self._calls) + len(self.deferred) - self._size)
        return sum(failed for failed, _ in islice(self._calls, pushed_out, None))

    def recount(self) -> None:
        self._failed = sum(failed for failed, _ in self._calls)
        self._slow = sum(slow for _, slow in self._calls)

    def _add(self, failed: bool, slow: bool) -> None:
        if len(self._calls) == self._size:
            old_failed, old_slow = self._calls.popleft()
            self._failed -= old_failed
            self._slow -= old_slow
        self._calls.append((failed, slow))
        self._failed += failed
        self._slow += slow


class _Bucket:
    """The calls of a time window between two moments, which are equal unless the window is busy."""

    __slots__ = ("calls", "end", "failed", "slow", "start")

    def __init__(self, start: float, end: float) -> None:
        self.start = start
        self.end = end
        self.calls = 0
        self.failed = 0
        self.slow = 0


class TimeWindowCounter:
    """Counts the calls of the last `seconds` seconds.

    While no call in the window failed or was slow, a success cannot open the circuit, so it can be deferred. Otherwise
    it can: as older successes leave the window, the rates grow, and they are compared after the next call.

    Each moment has a bucket of its own, up to a thousand. Past that, calls closer together than a thousandth of the
    window share a bucket, so that a busy window stays small; they leave it up to a thousandth of its length too early.

    Args:
        seconds: The length of the window.
        thresholds: The rates that trip the policy.
    """

    EXACT_BUCKETS: Final = 1000
    __slots__ = ("_buckets", "_calls", "_failed", "_seconds", "_slow", "_thresholds", "deferred")

    def __init__(self, seconds: float, thresholds: RateThresholds) -> None:
        self._seconds = seconds
        self._thresholds = thresholds
        self._buckets: deque[_Bucket] = deque()
        self._calls = 0
        self._failed = 0
        self._slow = 0
        self.deferred: DeferredSuccesses = DeferredSuccesses(allowed=True)

    @property
    def counts_successes(self) -> bool:
        return True

    def record(self, failed: bool, slow: bool, now: float) -> bool:
        if failed or slow:
            self.deferred.allowed = False  # before the queue is emptied: a thread that adds meanwhile must see it
        self._count_deferred()
        self._drop_expired(now)
        calls, failures, slow_calls = self._calls + 1, self._failed + failed, self._slow + slow
        if self._thresholds.are_reached(calls, failures, slow_calls):
            return True
        bucket = self._bucket(now)
        bucket.calls += 1
        bucket.failed += failed
        bucket.slow += slow
        self._calls, self._failed, self._slow = calls, failures, slow_calls
        self.deferred.allowed = not (failures or slow_calls)
        return False

    def failure_count(self, now: float) -> int:
        return sum(bucket.failed for bucket in self._buckets if not reached(now, bucket.start + self._seconds))

    def recount(self) -> None:
        self._calls = sum(bucket.calls for bucket in self._buckets)
        self._failed = sum(bucket.failed for bucket in self._buckets)
        self._slow = sum(bucket.slow for bucket in self._buckets)

    def _drop_expired(self, now: float) -> None:
        while self._buckets and reached(now, self._buckets[0].start + self._seconds):
            bucket = self._buckets.popleft()
            self._calls -= bucket.calls
            self._failed -= bucket.failed
            self._slow -= bucket.slow

    def _count_deferred(self) -> None:
        moments = self.deferred.take()
        if moments:
            bucket = self._bucket(moments[0])
            for moment in moments:
                if moment > bucket.end:  # as `_bucket` checks, without the call
                    bucket = self._bucket(moment)
                bucket.calls += 1
            self._calls += len(moments)

    def _bucket(self, now: float) -> _Bucket:
        if not self._buckets or now > self._buckets[-1].end:
            length = self._seconds / self.EXACT_BUCKETS if len(self._buckets) >= self.EXACT_BUCKETS else 0.0
            self._buckets.append(_Bucket(now, now + length))
        return self._buckets[-1]
