"""Tripping by the share of failed or slow calls."""

from __future__ import annotations

from collections import deque
from datetime import timedelta

import pytest

from swarmguard import BreakerMode, CircuitState, ConsecutiveFailures, CountWindow, FailureRate, TimeWindow
from swarmguard._breaker.counting import DeferredSuccesses, RateThresholds, TimeWindowCounter
from tests.breaker_tools import BoomError, build, fail, neutral, refused, succeed


def rate(clock, events=None, config=None, **policy):
    """Return a breaker that trips on a failure rate."""
    return build(clock, events, trip=FailureRate(**policy), **(config or {}))


def take(breaker, clock, seconds, *, good=True):
    """Make a call that takes so many seconds."""

    def work():
        clock.advance(seconds)
        if not good:
            raise BoomError

    try:
        breaker.call(work)
    except BoomError:
        assert not good


# Count windows


@pytest.mark.parametrize("failures_first", [True, False])
@pytest.mark.parametrize(
    ("threshold", "size", "failures"),
    [(0.5, 10, 5), (0.5, 9, 5), (0.3, 10, 3), (0.07, 100, 7), (0.29, 100, 29), (0.57, 100, 57), (1.0, 4, 4)],
)
def test_the_failure_rate_trips_at_its_threshold(clock, threshold, size, failures, failures_first):
    """A failure rate at or above the threshold opens the circuit; one failure fewer does not [B17]."""
    for failed, state in ((failures - 1, CircuitState.CLOSED), (failures, CircuitState.OPEN)):
        breaker = rate(clock, threshold=threshold, window=CountWindow(size), minimum_calls=size)
        calls = sorted([fail] * failed + [succeed] * (size - failed), key=lambda call: (call is fail) != failures_first)
        for call in calls:
            assert breaker.state is CircuitState.CLOSED
            call(breaker)
        assert breaker.state is state


def test_a_success_may_trip(clock, events):
    """The rates are compared after every recorded call, even after a success [B17]."""
    breaker = rate(clock, events, window=CountWindow(4))
    fail(breaker, 3)
    assert breaker.state is CircuitState.CLOSED
    succeed(breaker)
    assert breaker.state is CircuitState.OPEN
    assert events.events[0].payload["reason"] == "threshold"


@pytest.mark.parametrize(
    ("window", "minimum", "enough"),
    [
        (CountWindow(100), None, 20),
        (CountWindow(20), None, 20),
        (CountWindow(19), None, 19),
        (CountWindow(3), None, 3),
        (CountWindow(1), None, 1),
        (CountWindow(10), 10, 10),
        (CountWindow(10), 1, 1),
        (CountWindow(10), 4, 4),
        (TimeWindow(10), None, 20),
        (TimeWindow(10), 3, 3),
        (TimeWindow(10), 500, 500),
    ],
)
def test_nothing_trips_before_minimum_calls(clock, window, minimum, enough):
    """Nothing trips before `minimum_calls` calls; None means 20, or the size of a smaller count window [B17]."""
    breaker = rate(clock, window=window, minimum_calls=minimum)
    fail(breaker, enough - 1)
    assert breaker.state is CircuitState.CLOSED
    fail(breaker)
    assert breaker.state is CircuitState.OPEN


def test_the_default_policy_trips_at_half_of_the_last_hundred_calls(clock):
    """By default, half of the last hundred calls, and at least twenty calls, open the circuit [B17]."""
    breaker = rate(clock)
    assert FailureRate() == FailureRate(threshold=0.5, window=CountWindow(100), slow_call_rate=1.0)
    succeed(breaker, 60)
    fail(breaker, 49)
    assert breaker.state is CircuitState.CLOSED
    fail(breaker)
    assert breaker.state is CircuitState.OPEN


def test_a_count_window_holds_the_latest_calls(clock):
    """A count window holds the latest calls only [B17]."""
    breaker = rate(clock, threshold=0.5, window=CountWindow(10))
    for _ in range(10):
        fail(breaker, 4)
        assert breaker.status().failure_count == 4
        succeed(breaker, 6)
        assert breaker.status().failure_count == 4
        succeed(breaker, 4)
        assert breaker.status().failure_count == 0
    assert breaker.state is CircuitState.CLOSED


@pytest.mark.parametrize("size", [1, 2, 5, 33])
def test_a_count_window_counts_exactly(clock, size):
    """Whatever the order of outcomes, `failure_count` is the number of failures among the latest calls [B17]."""
    breaker = rate(clock, threshold=1.0, window=CountWindow(size + 1))
    history = []
    for number in range(300):
        good = number % (size + 1) == 0 or (number * number) % 7 < 3
        (succeed if good else fail)(breaker)
        history.append(good)
        assert breaker.status().failure_count == history[-(size + 1) :].count(False)
    assert breaker.state is CircuitState.CLOSED


def test_a_window_full_of_successes_trips_on_new_failures(clock):
    """A window that has long been full of successes trips as soon as the rate is reached [B17]."""
    breaker = rate(clock, threshold=0.2, window=CountWindow(10))
    succeed(breaker, 1000)
    fail(breaker)
    assert breaker.state is CircuitState.CLOSED
    fail(breaker)
    assert breaker.state is CircuitState.OPEN


def test_neutral_calls_are_not_in_the_window(clock):
    """Neutral calls do not enter the window [B17] [B6]."""
    breaker = rate(clock, window=CountWindow(4))
    fail(breaker, 2)
    neutral(breaker, 10)
    succeed(breaker)
    assert breaker.state is CircuitState.CLOSED
    neutral(breaker, 10)
    succeed(breaker)
    assert breaker.state is CircuitState.OPEN


def test_refused_calls_are_not_in_the_window(clock):
    """Refused calls do not enter the window [B17]."""
    breaker = rate(clock, window=CountWindow(4), config={"success_threshold": 1, "timeout_duration": 10})
    fail(breaker, 4)
    for _ in range(10):
        refused(breaker)
    clock.advance(10)
    succeed(breaker)
    assert breaker.status().failure_count == 0


def test_closing_starts_an_empty_window(clock):
    """A circuit that closes again starts with an empty window [B17]."""
    breaker = rate(clock, window=CountWindow(4), config={"success_threshold": 1, "timeout_duration": 10})
    fail(breaker, 4)
    clock.advance(10)
    succeed(breaker)
    assert (breaker.state, breaker.status().failure_count) == (CircuitState.CLOSED, 0)
    fail(breaker, 3)
    assert breaker.state is CircuitState.CLOSED
    fail(breaker)
    assert breaker.state is CircuitState.OPEN


def test_breakers_of_one_policy_have_separate_windows(clock):
    """Each breaker has a window of its own, even if breakers share a policy [B17]."""
    policy = FailureRate(window=CountWindow(2))
    one, two = build(clock, trip=policy), build(clock, trip=policy)
    fail(one, 2)
    assert (one.state, two.state, two.status().failure_count) == (CircuitState.OPEN, CircuitState.CLOSED, 0)


# Time windows


def test_a_call_leaves_a_time_window_to_the_nanosecond(clock):
    """A call leaves a time window, to the nanosecond, when it is as old as the window is long [B17]."""
    breaker = rate(clock, window=TimeWindow(10), minimum_calls=2)
    fail(breaker)
    clock.advance(10 - 1e-9)
    assert breaker.status().failure_count == 1
    clock.advance(1e-9)
    assert breaker.status().failure_count == 0
    fail(breaker)
    assert breaker.state is CircuitState.CLOSED
    clock.advance(10 - 1e-9)
    fail(breaker)
    assert breaker.state is CircuitState.OPEN


def test_a_time_window_is_empty_after_an_idle_gap(clock):
    """After an idle gap of any length, old calls are no longer in a time window [B17] [T17]."""
    breaker = rate(clock, window=TimeWindow(10), minimum_calls=4)
    for gap in (10, 11, 3600, 86_400 * 365):
        fail(breaker, 3)
        clock.advance(gap)
        assert breaker.status().failure_count == 0
        fail(breaker, 3)
        assert breaker.state is CircuitState.CLOSED
        clock.advance(gap)


def test_a_time_window_holds_the_latest_seconds(clock):
    """With one failure a second, a window of ten seconds holds ten failures, never more [B17]."""
    breaker = rate(clock, window=TimeWindow(10), minimum_calls=11)
    for second in range(100):
        fail(breaker)
        assert breaker.status().failure_count == min(second + 1, 10)
        clock.advance(1)
    assert breaker.state is CircuitState.CLOSED
    for _ in range(2):
        fail(breaker)
    assert breaker.state is CircuitState.OPEN


def test_successes_leave_a_time_window_too(clock):
    """Successes that have left the window do not dilute the failure rate [B17]."""
    breaker = rate(clock, window=TimeWindow(10), minimum_calls=2)
    succeed(breaker, 100)
    clock.advance(9)
    fail(breaker, 2)
    assert breaker.state is CircuitState.CLOSED
    clock.advance(1)
    fail(breaker)
    assert breaker.state is CircuitState.OPEN


def test_a_time_window_takes_a_timedelta(clock):
    """The length of a time window may be a `timedelta` [B17]."""
    breaker = rate(clock, window=TimeWindow(timedelta(minutes=1)), minimum_calls=2)
    fail(breaker)
    clock.advance(59)
    fail(breaker)
    assert breaker.state is CircuitState.OPEN


def test_a_busy_time_window_counts_every_call(clock):
    """A window of thousands of calls counts every one in a bounded number of buckets, and drops every one [B17]."""
    breaker = rate(clock, window=TimeWindow(10), minimum_calls=100_000)
    for _ in range(4000):
        breaker.acquire().fail()
        clock.advance(0.001)
    assert breaker.status().failure_count == 4000
    assert len(breaker._core.closed_period.counter._buckets) < 1300  # a thousand exact ones, then one per 0.01 s
    clock.advance(6.01)
    assert breaker.status().failure_count < 4000
    clock.advance(4)
    assert breaker.status().failure_count == 0


# Deferred successes


class InterruptedQueue(deque):
    """A queue of deferred successes that calls `before` or `after` around each addition."""

    def __init__(self, before=None, after=None):
        super().__init__()
        self.before, self.after = before, after

    def append(self, moment):
        """Add a moment, and make the calls."""
        if self.before:
            self.before()
        super().append(moment)
        if self.after:
            self.after()


def deferred_of(breaker):
    """Return the deferred successes of a closed breaker."""
    return breaker._core.closed_period.counter.deferred


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_success_deferred_during_a_failure_is_counted_once(clock, when):
    """A success that is deferred during a failure is counted once, and may be the one that trips [B17].

    Deferred before the failure, it is counted with it; deferred after it, it is recorded and compared.
    """
    breaker = rate(clock, window=TimeWindow(10), minimum_calls=3)
    deferred_of(breaker)._moments = InterruptedQueue(**{when: lambda: fail(breaker, 2)})
    breaker(lambda: None)()
    assert breaker.state is CircuitState.OPEN


def test_a_deferred_success_is_not_counted_twice(clock):
    """A deferred success that a failure has already counted is not recorded again [B17]."""
    breaker = rate(clock, window=TimeWindow(10), minimum_calls=4)
    deferred_of(breaker)._moments = InterruptedQueue(after=lambda: fail(breaker, 2))
    breaker(lambda: None)()
    assert breaker.state is CircuitState.CLOSED  # three calls, not four


def test_a_success_after_a_failure_is_not_deferred():
    """A success that comes after a failure has emptied the queue is recorded, since it may trip [B17]."""
    added = []

    class AddsAfterTake(DeferredSuccesses):
        def take(self):
            taken = super().take()
            added.append(self.add(0.0))
            return taken

    counter = TimeWindowCounter(10.0, RateThresholds(20, 0.5, 1.0))
    counter.deferred = AddsAfterTake(allowed=True)
    counter.record(True, False, 0.0)
    assert added == [False]


def test_each_deferred_success_leaves_the_window_at_its_own_age(clock):
    """A deferred success leaves the window at its own age, not at the age of the moment when it was counted [B17]."""
    breaker = rate(clock, window=TimeWindow(10), minimum_calls=4)
    service = breaker(lambda: None)
    for _ in range(3):
        service()
        clock.advance(1)
    clock.advance(7)  # the first is ten seconds old
    fail(breaker)
    assert breaker.state is CircuitState.CLOSED  # three calls
    fail(breaker)
    assert breaker.state is CircuitState.OPEN  # four, and half of them failed


def test_the_consecutive_policy_defers_no_success():
    """`ConsecutiveFailures` defers no success, since a success resets its count [B1]."""
    assert ConsecutiveFailures().new_counter().deferred is None


def test_a_success_is_skipped_or_deferred_where_it_cannot_trip():
    """A success that changes nothing is skipped, and one that cannot trip is deferred [B1] [B17].

    Only the cost shows this, so the test reads the counters: before the first success, before each one until and after
    the window is full, and before, with and after a failure.
    """
    assert not ConsecutiveFailures().new_counter().counts_successes
    full = FailureRate(window=CountWindow(4), minimum_calls=2).new_counter()
    seen = []
    for _ in range(5):
        seen.append((full.counts_successes, full.deferred.allowed))
        full.record(False, False, 0.0)
    assert seen == [(True, False), (True, False), (True, True), (True, True), (False, True)]
    timed = FailureRate(window=TimeWindow(10), minimum_calls=100).new_counter()
    assert timed.deferred.allowed
    timed.record(False, False, 0.0)
    assert timed.deferred.allowed
    timed.record(True, False, 0.0)
    assert not timed.deferred.allowed
    timed.record(False, False, 10.0)
    assert timed.deferred.allowed


def test_a_deferred_success_that_is_taken_back_is_recorded(clock):
    """A deferred success that its thread takes back while they are counted is recorded by that thread [B17]."""

    class QueueThatShrinks(deque):
        def __len__(self):
            return super().__len__() + 1

    breaker = rate(clock, window=TimeWindow(10), minimum_calls=2)
    deferred_of(breaker)._moments = QueueThatShrinks()
    breaker(lambda: None)()
    fail(breaker)
    assert breaker.state is CircuitState.OPEN


def test_successes_are_deferred_up_to_the_limit(monkeypatch):
    """Successes are deferred up to the limit, and not one more [B17]."""
    monkeypatch.setattr(DeferredSuccesses, "LIMIT", 3)
    deferred = DeferredSuccesses(allowed=True)
    assert [deferred.add(0.0) for _ in range(5)] == [True, True, True, False, False]


def test_buckets_are_shared_past_their_limit(monkeypatch):
    """Up to the limit each moment has a bucket; past it, calls within a thousandth of the window share one [B17].

    Here the limit is four buckets, so calls up to a quarter of the window apart share one.
    """
    monkeypatch.setattr(TimeWindowCounter, "EXACT_BUCKETS", 4)
    counter = FailureRate(window=TimeWindow(8), minimum_calls=100).new_counter()
    for moment in (0.0, 0.001, 0.002, 0.003, 1.0, 3.0, 3.001):
        counter.record(True, False, moment)
    assert [bucket.calls for bucket in counter._buckets] == [1, 1, 1, 1, 2, 1]
    assert [counter.failure_count(moment) for moment in (8.0, 8.001, 8.003, 8.999, 9.0)] == [6, 5, 3, 3, 1]


def test_deferred_successes_of_one_moment_are_counted_together():
    """Deferred successes are added to the calls that were counted before them [B17]."""
    counter = FailureRate(window=TimeWindow(10), minimum_calls=4).new_counter()
    for _ in range(2):
        counter.deferred.add(0.0)
        counter.record(False, False, 0.0)
    assert counter.record(True, False, 0.0) is False  # one of five
    counter.record(True, False, 0.0)
    assert counter.record(True, False, 0.0) is False  # three of seven
    assert counter.record(True, False, 0.0) is True


@pytest.mark.parametrize("window", [CountWindow(4), TimeWindow(10)])
def test_no_deferred_success_is_slow(window):
    """Without a `slow_call_duration` no success is slow, however low the `slow_call_rate` [B17]."""
    counter = FailureRate(window=window, minimum_calls=1, slow_call_rate=0.1).new_counter()
    for _ in range(20):
        if not counter.deferred.add(0.0):
            assert counter.record(False, False, 0.0) is False
    assert counter.record(False, False, 0.0) is False


def test_the_queue_of_deferred_successes_is_bounded(clock):
    """The queue of deferred successes is bounded, so memory does not grow with the number of calls [B17]."""
    breaker = rate(clock, window=TimeWindow(10))
    counter, service = breaker._core.closed_period.counter, breaker(lambda: None)
    for _ in range(5 * DeferredSuccesses.LIMIT):
        service()
    assert len(counter.deferred) <= DeferredSuccesses.LIMIT
    assert len(counter._buckets) == 1


@pytest.mark.parametrize("mode", [BreakerMode.DISABLED, BreakerMode.ISOLATED])
def test_a_success_under_a_new_mode_is_not_deferred(clock, mode):
    """A call that ends under a new mode is counted as that mode says, on whatever path it was admitted [B16]."""
    breaker = rate(clock, window=TimeWindow(10), minimum_calls=2)

    @breaker
    def service():
        breaker.set_mode(mode)

    service()
    breaker.set_mode(BreakerMode.NORMAL)
    fail(breaker)
    counted = mode is not BreakerMode.DISABLED
    assert (breaker.state is CircuitState.OPEN) == counted


# Slow calls


@pytest.mark.parametrize("window", [CountWindow(4), TimeWindow(1000)], ids=["count", "time"])
def test_slow_calls_trip_at_their_rate(clock, window):
    """A share of slow calls at or above `slow_call_rate` opens the circuit, even if all of them succeed [B17]."""
    breaker = rate(clock, window=window, minimum_calls=4, slow_call_duration=2, slow_call_rate=0.5)
    take(breaker, clock, 2)
    for _ in range(2):
        take(breaker, clock, 1)
    assert breaker.state is CircuitState.CLOSED
    take(breaker, clock, 3)
    assert breaker.state is CircuitState.OPEN


def test_a_call_is_slow_from_slow_call_duration_on(clock):
    """A call that takes `slow_call_duration` or longer is slow [B17]."""
    breaker = rate(clock, window=CountWindow(1), slow_call_duration=2)
    take(breaker, clock, 2 - 1e-9)
    assert breaker.state is CircuitState.CLOSED
    take(breaker, clock, 2)
    assert breaker.state is CircuitState.OPEN


def test_by_default_every_call_must_be_slow_to_trip(clock):
    """By default, every call of the window must be slow to open the circuit [B17]."""
    breaker = rate(clock, window=CountWindow(3), slow_call_duration=timedelta(seconds=2))
    for seconds in (2, 2, 1, 2, 2):
        take(breaker, clock, seconds)
        assert breaker.state is CircuitState.CLOSED
    take(breaker, clock, 2)
    assert breaker.state is CircuitState.OPEN


def test_a_quick_call_takes_no_slow_call_with_it(clock):
    """A quick call that is pushed out of a full window takes no slow call with it [B17]."""
    breaker = rate(clock, window=CountWindow(4), slow_call_duration=2)
    for seconds in (1, 1, 2, 2, 2):
        take(breaker, clock, seconds)
        assert breaker.state is CircuitState.CLOSED
    take(breaker, clock, 2)
    assert breaker.state is CircuitState.OPEN


def test_without_a_duration_no_call_is_slow(clock):
    """Without `slow_call_duration` no call is slow, however long it takes [B17]."""
    breaker = rate(clock, window=CountWindow(2), slow_call_rate=0.1)
    for _ in range(10):
        take(breaker, clock, 86_400)
    assert breaker.state is CircuitState.CLOSED


def test_slow_calls_of_one_moment_leave_the_window_together():
    """Slow calls of one moment are counted together, and leave a time window together [B17]."""
    counter = FailureRate(
        window=TimeWindow(10), minimum_calls=4, slow_call_duration=1, slow_call_rate=0.9, threshold=1.0
    ).new_counter()
    for moment in (0.0, 0.0, 5.0, 10.0):  # the first two have left the window when the last comes
        assert not counter.record(False, True, moment)
    assert not counter.record(False, False, 10.0)
    assert not counter.record(False, True, 10.0)  # three of four
    assert not counter.record(False, True, 10.0)
    assert not counter.record(False, True, 10.0)
    assert not counter.record(False, True, 10.0)
    assert not counter.record(False, True, 10.0)
    assert not counter.record(False, True, 10.0)  # eight of nine
    assert counter.record(False, True, 10.0)  # nine of ten


def test_slow_and_failed_calls_are_not_added_up(clock):
    """Slow calls and failed ones are not added up, but a failed call may be slow as well [B17]."""
    policy = {"window": CountWindow(4), "threshold": 0.5, "slow_call_duration": 2, "slow_call_rate": 0.5}
    breaker = rate(clock, **policy)
    take(breaker, clock, 2)
    take(breaker, clock, 0, good=False)
    for _ in range(2):
        take(breaker, clock, 0)
    assert breaker.state is CircuitState.CLOSED
    breaker = rate(clock, **policy | {"threshold": 1.0})
    take(breaker, clock, 2, good=False)
    take(breaker, clock, 2)
    for _ in range(2):
        take(breaker, clock, 0)
    assert breaker.state is CircuitState.OPEN


@pytest.mark.parametrize("good", [True, False])
def test_a_call_longer_than_the_window_counts(clock, good):
    """A call that takes longer than the time window is recorded when it ends [B17]."""
    breaker = rate(clock, window=TimeWindow(10), minimum_calls=1, slow_call_duration=5)
    take(breaker, clock, 60, good=good)
    assert breaker.state is CircuitState.OPEN


def test_slow_calls_count_on_every_face(clock):
    """Blocks, permits, decorated functions and generators are timed like calls [B17]."""

    def block(breaker):
        with breaker:
            clock.advance(2)

    def permit(breaker):
        with breaker.acquire():
            clock.advance(2)

    def function(breaker):
        breaker(lambda: clock.advance(2))()

    def generator(breaker):
        @breaker
        def numbers():
            clock.advance(1)
            yield
            clock.advance(1)

        list(numbers())

    def coroutine(breaker):
        @breaker
        async def work():
            clock.advance(2)

        with pytest.raises(StopIteration):
            work().send(None)

    for face in (block, permit, function, generator, coroutine):
        breaker = rate(clock, window=CountWindow(1), slow_call_duration=2)
        face(breaker)
        assert breaker.state is CircuitState.OPEN


# Half-open and other policies


def test_a_half_open_circuit_compares_no_rates(clock):
    """In half-open, one failure opens and `success_threshold` successes close, even slow ones [B17]."""
    config = {"success_threshold": 2, "timeout_duration": 10}
    breaker = rate(clock, window=CountWindow(10), minimum_calls=2, slow_call_duration=1, config=config)
    fail(breaker, 2)
    clock.advance(10)
    succeed(breaker)
    fail(breaker)
    assert breaker.state is CircuitState.OPEN
    clock.advance(10)
    take(breaker, clock, 5)
    assert breaker.state is CircuitState.HALF_OPEN
    take(breaker, clock, 5)
    assert breaker.state is CircuitState.CLOSED


@pytest.mark.parametrize("threshold", [1, 3])
def test_consecutive_failures_open_at_their_threshold(clock, threshold):
    """`ConsecutiveFailures(n)` opens at the n-th consecutive failure [B17] [B1]."""
    breaker = build(clock, trip=ConsecutiveFailures(threshold))
    for _ in range(3):
        fail(breaker, threshold - 1)
        succeed(breaker)
    fail(breaker, threshold - 1)
    assert breaker.state is CircuitState.CLOSED
    fail(breaker)
    assert breaker.state is CircuitState.OPEN


def test_consecutive_failures_are_five_by_default():
    """`ConsecutiveFailures()` opens at the fifth consecutive failure [B17]."""
    assert ConsecutiveFailures() == ConsecutiveFailures(5) == ConsecutiveFailures(threshold=5)


# Interrupts


@pytest.mark.parametrize(
    "policy",
    [
        ConsecutiveFailures(9),
        FailureRate(threshold=0.9, window=CountWindow(6)),
        FailureRate(threshold=0.9, window=TimeWindow(10)),
    ],
    ids=lambda policy: type(getattr(policy, "window", policy)).__name__,
)
def test_an_interrupt_leaves_the_count_right(clock, policy, monkeypatch):
    """An interrupt that leaves the sums of a counter wrong is repaired: the count is that of the calls [B1] [B17]."""
    breaker = build(clock, trip=policy)
    breaker(lambda: None)()
    fail(breaker, 2)
    counter = breaker._core.closed_period.counter

    def interrupted(self, failed, slow, now):
        if isinstance(policy, FailureRate):
            self._failed = self._slow = 7
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(type(counter), "record", interrupted)
        fail(breaker)
    if isinstance(policy, FailureRate):
        assert (counter._failed, counter._slow) == (2, 0)
    assert breaker.status().failure_count == 2
    assert breaker._core.closed_period is not None
