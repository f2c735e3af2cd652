"""The half-open circuit: test calls, their places and the leases on them."""

from __future__ import annotations

import anyio
import pytest

from swarmguard import CircuitOpenError, CircuitState
from tests.breaker_tools import SAFETY, due_breaker, fail, half_open_breaker, neutral, open_breaker, refused, succeed


@pytest.mark.parametrize("places", [1, 2, 3, 10])
def test_places(clock, places):
    """At most `half_open_max_calls` test calls are in flight, the one that half-opened the circuit included [B3]."""
    breaker = due_breaker(clock, half_open_max_calls=places)
    permits = [breaker.acquire() for _ in range(places)]
    error = refused(breaker)
    assert (error.state, error.reason) == (CircuitState.HALF_OPEN, "half_open")
    assert breaker.status().half_open_calls == places
    assert all(permit.release() for permit in permits)
    assert breaker.status().half_open_calls == 0


@pytest.mark.parametrize("end", ["succeed", "release"])
def test_ended_test_call_gives_its_place_back(clock, end):
    """A test call that ends makes place for one more, and for one only [B3]."""
    breaker = due_breaker(clock, half_open_max_calls=2, success_threshold=10)
    first, _second = breaker.acquire(), breaker.acquire()
    getattr(first, end)()
    _third = breaker.acquire()
    refused(breaker)


@pytest.mark.anyio
async def test_call_past_the_places_does_not_wait(clock):
    """A call past the places is refused at once, never queued, however long the test call takes [B3]."""
    breaker = due_breaker(clock, half_open_max_calls=1)
    with anyio.fail_after(SAFETY):
        async with anyio.create_task_group() as tasks:
            hung = anyio.Event()

            async def hang():
                hung.set()
                await anyio.sleep_forever()

            tasks.start_soon(breaker.execute, hang)
            await hung.wait()
            with pytest.raises(CircuitOpenError) as caught:
                await breaker.execute(anyio.lowlevel.checkpoint)
            assert caught.value.reason == "half_open"
            tasks.cancel_scope.cancel()


@pytest.mark.parametrize("needed", [1, 2, 3, 7])
def test_successes_close(clock, events, needed):
    """`success_threshold` successes of test calls close the circuit, and not one fewer [B3]."""
    breaker = due_breaker(clock, events, success_threshold=needed)
    for successes in range(needed - 1):
        assert breaker.status().success_count == successes
        succeed(breaker)
        assert breaker.state is CircuitState.HALF_OPEN
    succeed(breaker)
    assert breaker.state is CircuitState.CLOSED
    assert [topic.rpartition(".")[2] for topic in events.topics] == ["opened", "half_opened", "closed"]
    payload = events.events[-1].payload
    assert (payload["state"], payload["previous_state"]) == ("Closed", "HalfOpen")
    assert payload["reason"] == "recovered"


@pytest.mark.parametrize(("needed", "places"), [(5, 1), (5, 2), (3, 2), (2, 5)])
def test_more_successes_needed_than_places(clock, needed, places):
    """A `success_threshold` over or under `half_open_max_calls` closes the circuit all the same [B3]."""
    breaker = due_breaker(clock, success_threshold=needed, half_open_max_calls=places)
    successes = 0
    while breaker.state is not CircuitState.CLOSED:
        permits = [breaker.acquire() for _ in range(places)]
        for permit in permits:
            assert permit.succeed()
            successes += breaker.state is not CircuitState.CLOSED
            assert successes < needed
    assert successes == needed - 1


def test_success_after_the_closing_is_of_an_earlier_period(clock):
    """Test calls still in flight when the circuit closes change nothing any more [B3] [B5]."""
    breaker = due_breaker(clock, success_threshold=1, half_open_max_calls=3, failure_threshold=1)
    first, second, third = (breaker.acquire() for _ in range(3))
    first.succeed()
    before = breaker.status()
    assert before.state is CircuitState.CLOSED
    second.fail()
    third.succeed()
    assert breaker.status() == before


def test_one_failure_opens_again(clock, events):
    """One failed test call opens the circuit again, for a full open time from that moment [B3]."""
    breaker = due_breaker(clock, events, success_threshold=3)
    succeed(breaker, 2)
    clock.advance(5)
    fail(breaker)
    assert (breaker.state, breaker.retry_after) == (CircuitState.OPEN, 10.0)
    payload = events.events[-1].payload
    assert (payload["state"], payload["previous_state"]) == ("Open", "HalfOpen")
    assert (payload["reason"], payload["open_seconds"], payload["openings"]) == ("probe_failed", 10.0, 2)
    clock.advance(10 - 1e-9)
    refused(breaker)
    clock.advance(1e-9)
    succeed(breaker)


def test_failed_trial_starts_over(clock):
    """The successes of a trial that failed do not count for the next one [B3]."""
    breaker = due_breaker(clock, success_threshold=2)
    succeed(breaker)
    fail(breaker)
    clock.advance(10)
    succeed(breaker)
    assert (breaker.state, breaker.status().success_count) == (CircuitState.HALF_OPEN, 1)


def test_failed_trial_gives_all_places_back(clock):
    """Test calls that hang over a re-opening hold no place of the next trial [B3] [B5]."""
    breaker = due_breaker(clock, half_open_max_calls=3)
    failing, *_hanging = (breaker.acquire() for _ in range(3))
    failing.fail()
    clock.advance(10)
    permits = [breaker.acquire() for _ in range(3)]
    assert breaker.status().half_open_calls == len(permits)


def test_neutral_test_call_decides_nothing(clock):
    """A test call without a verdict neither closes nor opens: the trial goes on [B3] [B6]."""
    breaker = due_breaker(clock, success_threshold=2, half_open_max_calls=1)
    neutral(breaker, 20)
    status = breaker.status()
    assert (status.state, status.success_count, status.half_open_calls) == (CircuitState.HALF_OPEN, 0, 0)
    succeed(breaker, 2)
    assert breaker.state is CircuitState.CLOSED


def test_closing_starts_with_a_clean_streak(clock):
    """A circuit that closed again needs a whole streak to open [B1] [B3]."""
    breaker = due_breaker(clock, failure_threshold=3, success_threshold=1)
    succeed(breaker)
    assert breaker.status().failure_count == 0
    fail(breaker, 2)
    assert breaker.state is CircuitState.CLOSED
    fail(breaker)
    assert breaker.state is CircuitState.OPEN


def test_place_is_held_for_the_lease_and_no_longer(clock):
    """A hung test call gives its place up after `probe_timeout`, not a nanosecond before [B4]."""
    breaker = due_breaker(clock, half_open_max_calls=1, probe_timeout=4)
    hung = breaker.acquire()
    clock.advance(4 - 1e-9)
    refused(breaker)
    clock.advance(1e-9)
    succeed(breaker)
    assert breaker.state is CircuitState.HALF_OPEN
    del hung


@pytest.mark.parametrize(("timeout", "lease"), [(10, 30), (30, 30), (45, 45), (0, 30)])
def test_default_lease(clock, timeout, lease):
    """Without `probe_timeout` a place is held for `timeout_duration` or 30 s, whichever is longer [B4]."""
    breaker = due_breaker(clock, half_open_max_calls=1, timeout_duration=timeout)
    hung = breaker.acquire()
    assert breaker.retry_after == lease
    clock.advance(lease - 1e-9)
    refused(breaker)
    clock.advance(1e-9)
    neutral(breaker)
    del hung


def test_hung_test_calls_never_block_recovery(clock):
    """Whatever number of test calls hang, the service gets a new chance with every lease, and closes [B4]."""
    breaker = due_breaker(clock, half_open_max_calls=2, probe_timeout=5, success_threshold=2)
    hung = []
    for _ in range(10):
        hung += [breaker.acquire(), breaker.acquire()]
        refused(breaker)
        clock.advance(5)
    succeed(breaker, 2)
    assert breaker.state is CircuitState.CLOSED


def test_leases_end_one_by_one(clock):
    """Each place has its own lease, from the admission of its call [B4]."""
    breaker = due_breaker(clock, half_open_max_calls=2, probe_timeout=10)
    hung = [breaker.acquire()]
    clock.advance(6)
    hung.append(breaker.acquire())
    assert breaker.retry_after == 4.0
    clock.advance(4)
    hung.append(breaker.acquire())
    assert refused(breaker).retry_after == 6.0
    clock.advance(6)
    hung.append(breaker.acquire())
    refused(breaker)


def test_silence_is_no_verdict(clock):
    """The end of a lease neither opens nor closes the circuit, and emits nothing [B4]."""
    from swarmguard.testing import EventRecorder

    events = EventRecorder()
    breaker = due_breaker(clock, events, half_open_max_calls=1, probe_timeout=5)
    hung = breaker.acquire()
    told = list(events.topics)
    clock.advance(3600)
    status = breaker.status()
    assert (status.state, status.success_count, status.half_open_calls) == (CircuitState.HALF_OPEN, 0, 0)
    assert events.topics == told
    del hung


def test_success_after_the_lease_counts(clock):
    """A service slower than the lease is healthy all the same: its late successes close the circuit [B4]."""
    breaker = due_breaker(clock, half_open_max_calls=1, probe_timeout=5, success_threshold=3)
    for successes in range(3):
        assert breaker.status().success_count == successes
        slow = breaker.acquire()
        clock.advance(60)
        assert slow.succeed()
    assert breaker.state is CircuitState.CLOSED


def test_failure_after_the_lease_counts(clock):
    """A test call that fails after its lease opens the circuit in the same period [B4]."""
    breaker = due_breaker(clock, half_open_max_calls=1, probe_timeout=5)
    slow = breaker.acquire()
    clock.advance(60)
    slow.fail()
    assert (breaker.state, breaker.retry_after) == (CircuitState.OPEN, 10.0)


@pytest.mark.parametrize("end", ["succeed", "release"])
def test_lost_place_is_not_given_back_twice(clock, end):
    """A call that ends after its lease gives back no place that another call holds by now [B4]."""
    breaker = due_breaker(clock, half_open_max_calls=1, probe_timeout=5, success_threshold=10)
    slow = breaker.acquire()
    clock.advance(5)
    other = breaker.acquire()
    assert getattr(slow, end)()
    refused(breaker)
    assert breaker.status().half_open_calls == 1
    other.release()
    assert breaker.status().half_open_calls == 0


def test_lost_place_that_nobody_took_is_one_place(clock):
    """A lease that ended and its call that ends later make place once, not twice [B4]."""
    breaker = due_breaker(clock, half_open_max_calls=2, probe_timeout=5, success_threshold=10)
    slow = [breaker.acquire(), breaker.acquire()]
    clock.advance(5)
    for permit in slow:
        permit.release()
    permits = [breaker.acquire(), breaker.acquire()]
    refused(breaker)
    assert breaker.status().half_open_calls == len(permits)


def test_circuit_is_never_open_for_ever(clock):
    """Each open time of a service that fails a hundred trials ends, and the next success counts [B4]."""
    breaker = open_breaker(clock, success_threshold=1)
    for _ in range(100):
        assert breaker.retry_after == 10.0
        clock.advance(10)
        fail(breaker)
    clock.advance(10)
    succeed(breaker)
    assert breaker.state is CircuitState.CLOSED


def test_abandoned_half_open_circuit_stays_usable(clock):
    """A half-open circuit that nobody calls for a year takes up the trial where it stood [B4]."""
    breaker = half_open_breaker(clock, success_threshold=2)
    succeed(breaker)
    clock.advance(365 * 86_400)
    assert breaker.status().success_count == 1
    succeed(breaker)
    assert breaker.state is CircuitState.CLOSED
