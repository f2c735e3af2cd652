"""The half-open circuit: probes, their slots, and the leases of the slots."""

from __future__ import annotations

import anyio
import pytest

from swarmguard import CircuitOpenError, CircuitState
from tests.breaker_tools import (
    SAFETY,
    due_breaker,
    fail,
    half_open_breaker,
    logged,
    neutral,
    open_breaker,
    refused,
    succeed,
)


@pytest.mark.parametrize("slots", [1, 2, 3, 10])
def test_slots_limit_the_probes(clock, slots):
    """At most `half_open_max_calls` probes are in flight, including the one that half-opened the circuit [B3]."""
    breaker = due_breaker(clock, half_open_max_calls=slots)
    permits = [breaker.acquire() for _ in range(slots)]
    error = refused(breaker)
    assert (error.state, error.reason) == (CircuitState.HALF_OPEN, "half_open")
    assert breaker.status().half_open_calls == slots
    assert all(permit.release() for permit in permits)
    assert breaker.status().half_open_calls == 0


@pytest.mark.parametrize("end", ["succeed", "release"])
def test_an_ended_probe_frees_its_slot(clock, end):
    """A probe that ends frees one slot, which one other probe can take [B3]."""
    breaker = due_breaker(clock, half_open_max_calls=2, success_threshold=10)
    first, _second = breaker.acquire(), breaker.acquire()
    getattr(first, end)()
    _third = breaker.acquire()
    refused(breaker)


@pytest.mark.anyio
async def test_a_call_without_a_free_slot_does_not_wait(clock):
    """A call without a free slot is refused at once, never queued, however long the probe takes [B3]."""
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
def test_enough_successes_close_the_circuit(clock, events, needed):
    """`success_threshold` successful probes close the circuit, and not one fewer [B3]."""
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


@pytest.mark.parametrize(("needed", "slots"), [(5, 1), (5, 2), (3, 2), (2, 5)])
def test_the_success_threshold_may_differ_from_the_slots(clock, needed, slots):
    """The circuit closes whether `success_threshold` is above or below `half_open_max_calls` [B3]."""
    breaker = due_breaker(clock, success_threshold=needed, half_open_max_calls=slots)
    successes = 0
    while breaker.state is not CircuitState.CLOSED:
        permits = [breaker.acquire() for _ in range(slots)]
        for permit in permits:
            assert permit.succeed()
            successes += breaker.state is not CircuitState.CLOSED
            assert successes < needed
    assert successes == needed - 1


def test_probes_in_flight_at_the_closing_change_nothing(clock):
    """Probes that are still in flight when the circuit closes change nothing [B3] [B5]."""
    breaker = due_breaker(clock, success_threshold=1, half_open_max_calls=3, failure_threshold=1)
    first, second, third = (breaker.acquire() for _ in range(3))
    first.succeed()
    before = breaker.status()
    assert before.state is CircuitState.CLOSED
    second.fail()
    third.succeed()
    assert breaker.status() == before


def test_one_failed_probe_opens_the_circuit_again(clock, events):
    """One failed probe opens the circuit again, for a full open time from that moment [B3]."""
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


def test_a_failed_probe_discards_the_successes(clock):
    """The successes before a failed probe do not count in the next half-open period [B3]."""
    breaker = due_breaker(clock, success_threshold=2)
    succeed(breaker)
    fail(breaker)
    clock.advance(10)
    succeed(breaker)
    assert (breaker.state, breaker.status().success_count) == (CircuitState.HALF_OPEN, 1)


def test_a_failed_probe_frees_all_slots(clock):
    """Probes that hang over a re-opening hold no slot of the next half-open period [B3] [B5]."""
    breaker = due_breaker(clock, half_open_max_calls=3)
    failing, *_hanging = (breaker.acquire() for _ in range(3))
    failing.fail()
    clock.advance(10)
    permits = [breaker.acquire() for _ in range(3)]
    assert breaker.status().half_open_calls == len(permits)


def test_a_neutral_probe_changes_nothing(clock):
    """A neutral probe neither closes nor opens the circuit, and frees its slot [B3] [B6]."""
    breaker = due_breaker(clock, success_threshold=2, half_open_max_calls=1)
    neutral(breaker, 20)
    status = breaker.status()
    assert (status.state, status.success_count, status.half_open_calls) == (CircuitState.HALF_OPEN, 0, 0)
    succeed(breaker, 2)
    assert breaker.state is CircuitState.CLOSED


def test_closing_resets_the_consecutive_failures(clock):
    """A circuit that closed again opens only after `failure_threshold` new consecutive failures [B1] [B3]."""
    breaker = due_breaker(clock, failure_threshold=3, success_threshold=1)
    succeed(breaker)
    assert breaker.status().failure_count == 0
    fail(breaker, 2)
    assert breaker.state is CircuitState.CLOSED
    fail(breaker)
    assert breaker.state is CircuitState.OPEN


def test_a_hung_probe_holds_its_slot_until_its_lease_ends(clock):
    """A hung probe loses its slot after `probe_timeout`, and not a nanosecond before [B4]."""
    breaker = due_breaker(clock, half_open_max_calls=1, probe_timeout=4)
    hung = breaker.acquire()
    clock.advance(4 - 1e-9)
    refused(breaker)
    clock.advance(1e-9)
    succeed(breaker)
    assert breaker.state is CircuitState.HALF_OPEN
    del hung


@pytest.mark.parametrize(("timeout", "lease"), [(10, 30), (30, 30), (45, 45), (0, 30)])
def test_the_default_lease_is_the_open_time_or_thirty_seconds(clock, timeout, lease):
    """Without `probe_timeout` a lease lasts `timeout_duration` or 30 s, whichever is longer [B4]."""
    breaker = due_breaker(clock, half_open_max_calls=1, timeout_duration=timeout)
    hung = breaker.acquire()
    assert breaker.retry_after == lease
    clock.advance(lease - 1e-9)
    refused(breaker)
    clock.advance(1e-9)
    neutral(breaker)
    del hung


def test_hung_probes_never_block_recovery(clock):
    """However many probes hang, new ones are admitted after each lease, and can close the circuit [B4] [T16]."""
    breaker = due_breaker(clock, half_open_max_calls=2, probe_timeout=5, success_threshold=2)
    hung = []
    for _ in range(10):
        hung += [breaker.acquire(), breaker.acquire()]
        refused(breaker)
        clock.advance(5)
    succeed(breaker, 2)
    assert breaker.state is CircuitState.CLOSED


def test_each_slot_has_its_own_lease(clock):
    """Each slot has its own lease, which begins when its probe is admitted [B4]."""
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


def test_the_end_of_a_lease_is_not_an_outcome(clock, events):
    """The end of a lease neither opens nor closes the circuit, and emits nothing [B4]."""
    breaker = due_breaker(clock, events, half_open_max_calls=1, probe_timeout=5)
    hung = breaker.acquire()
    emitted = list(events.topics)
    clock.advance(3600)
    status = breaker.status()
    assert (status.state, status.success_count, status.half_open_calls) == (CircuitState.HALF_OPEN, 0, 0)
    assert events.topics == emitted
    del hung


def test_a_success_after_the_lease_counts(clock):
    """Late successes close the circuit, since a service that is slower than the lease is healthy [B4] [T16]."""
    breaker = due_breaker(clock, half_open_max_calls=1, probe_timeout=5, success_threshold=3)
    for successes in range(3):
        assert breaker.status().success_count == successes
        slow = breaker.acquire()
        clock.advance(60)
        assert slow.succeed()
    assert breaker.state is CircuitState.CLOSED


def test_a_failure_after_the_lease_counts(clock):
    """A probe that fails after its lease opens the circuit in the same period [B4]."""
    breaker = due_breaker(clock, half_open_max_calls=1, probe_timeout=5)
    slow = breaker.acquire()
    clock.advance(60)
    slow.fail()
    assert (breaker.state, breaker.retry_after) == (CircuitState.OPEN, 10.0)


@pytest.mark.parametrize("end", ["succeed", "release"])
def test_a_probe_past_its_lease_frees_no_other_slot(clock, caplog, end):
    """A probe that ends after its lease frees no slot that another probe holds by now, and logs nothing [B4]."""
    breaker = due_breaker(clock, half_open_max_calls=1, probe_timeout=5, success_threshold=10)
    slow = breaker.acquire()
    clock.advance(5)
    other = breaker.acquire()
    assert getattr(slow, end)()
    refused(breaker)
    assert breaker.status().half_open_calls == 1
    assert logged(caplog) == []
    other.release()
    assert breaker.status().half_open_calls == 0


def test_a_slot_is_freed_only_once(clock):
    """The end of a lease and the later end of its probe free one slot, not two [B4]."""
    breaker = due_breaker(clock, half_open_max_calls=2, probe_timeout=5, success_threshold=10)
    slow = [breaker.acquire(), breaker.acquire()]
    clock.advance(5)
    for permit in slow:
        permit.release()
    permits = [breaker.acquire(), breaker.acquire()]
    refused(breaker)
    assert breaker.status().half_open_calls == len(permits)


def test_the_circuit_is_never_open_for_ever(clock):
    """After a hundred failed probes the open time still ends, and the next success counts [B4]."""
    breaker = open_breaker(clock, success_threshold=1)
    for _ in range(100):
        assert breaker.retry_after == 10.0
        clock.advance(10)
        fail(breaker)
    clock.advance(10)
    succeed(breaker)
    assert breaker.state is CircuitState.CLOSED


def test_an_idle_half_open_circuit_stays_usable(clock):
    """A half-open circuit without calls for a year keeps the successes that it has counted [B4]."""
    breaker = half_open_breaker(clock, success_threshold=2)
    succeed(breaker)
    clock.advance(365 * 86_400)
    assert breaker.status().success_count == 1
    succeed(breaker)
    assert breaker.state is CircuitState.CLOSED
