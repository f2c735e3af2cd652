"""The observer of every call."""

from __future__ import annotations

import gc

import anyio
import attrs
import pytest

from swarmguard import BreakerMode, CallRecord, CircuitBreakerRegistry, CircuitOpenError, CircuitState
from tests.breaker_tools import BoomError, FatalError, build, in_thread, logged, raising, refused


class Records(list):
    """An observer that keeps the records."""

    def __call__(self, record):
        """Keep the record."""
        self.append(record)

    @property
    def outcomes(self):
        """The outcomes so far."""
        return [record.outcome for record in self]


@pytest.fixture
def records():
    """Give an observer that keeps the records."""
    return Records()


def call(breaker, error=None):
    """Make a call that succeeds, or raises `error`."""
    if error is None:
        breaker.call(lambda: None)
        return
    with pytest.raises(type(error)):
        breaker.call(raising(error))


def test_every_call_is_reported_once(clock, records):
    """Every call is reported once, with its outcome [B20]."""
    breaker = build(clock, observer=records, failure_threshold=2, ignore_exceptions=KeyError)
    for error in (None, BoomError(), KeyError(), FatalError(), BoomError()):
        call(breaker, error)
    refused(breaker)
    assert records.outcomes == ["success", "failure", "neutral", "neutral", "failure", "refused"]
    assert all(type(record) is CallRecord and record.name == "api" for record in records)


def test_a_record_is_frozen(clock, records):
    """A record is a frozen value [B20]."""
    call(build(clock, observer=records))
    assert records[0] == CallRecord("api", "success", 0.0)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        records[0].outcome = "failure"


def test_a_record_has_the_duration_of_the_call(clock, records):
    """A record has the seconds that the call took by the breaker's clock; a refusal took 0 [B20]."""
    breaker = build(clock, observer=records)
    clock.advance(1000)
    breaker.call(lambda: clock.advance(1.5))
    breaker.trip()
    refused(breaker)
    assert [record.seconds for record in records] == [1.5, 0.0]


def test_an_outcome_of_an_earlier_period_is_stale(clock, records):
    """A success or a failure of an earlier period is stale; a neutral outcome is neutral in any period [B20] [B5]."""
    breaker = build(clock, observer=records)
    permits = [breaker.acquire() for _ in range(3)]
    breaker.reset()
    permits[0].succeed()
    permits[1].fail()
    permits[2].release()
    assert records.outcomes == ["stale", "stale", "neutral"]


def test_a_probe_past_its_lease_is_not_stale(clock, records):
    """A probe that ends after its lease, but in its own period, is reported with its own outcome [B20] [B4]."""
    breaker = build(clock, observer=records, timeout_duration=10, probe_timeout=5)
    breaker.trip()
    clock.advance(10)
    permit = breaker.acquire()
    clock.advance(60)
    permit.succeed()
    assert records == [CallRecord("api", "success", 60.0)]


@pytest.mark.parametrize("reason", ["open", "half_open", "isolated"])
def test_refusals_are_reported_for_every_reason(clock, records, reason):
    """Refusals are reported, whatever their reason [B20]."""
    breaker = build(clock, observer=records, half_open_max_calls=1)
    permit = None
    if reason == "isolated":
        breaker.set_mode(BreakerMode.ISOLATED)
    else:
        breaker.trip()
    if reason == "half_open":
        clock.advance(30)
        permit = breaker.acquire()
    assert refused(breaker).reason == reason
    assert records == [CallRecord("api", "refused", 0.0)]
    del permit


@pytest.mark.parametrize("mode", [BreakerMode.DISABLED, BreakerMode.SHADOW])
def test_calls_that_only_a_mode_admitted_are_reported(clock, records, mode):
    """A call that only a mode admitted is reported with its own outcome [B20] [B16]."""
    breaker = build(clock, observer=records)
    breaker.trip()
    breaker.set_mode(mode)
    for error in (None, BoomError(), FatalError()):
        call(breaker, error)
    breaker.reset()
    call(breaker, BoomError())
    assert records.outcomes == ["success", "failure", "neutral", "failure"]


def test_every_sync_face_reports_once(clock, records):
    """Decorated functions, blocks, permits and generators are reported once each [B20]."""
    breaker = build(clock, observer=records)

    @breaker
    def numbers():
        clock.advance(1)
        yield 1
        clock.advance(1)
        yield 2

    breaker(lambda: clock.advance(2))()
    with breaker:
        clock.advance(2)
    with breaker.acquire():
        clock.advance(2)
    permit = breaker.acquire()
    clock.advance(2)
    permit.succeed()
    permit.succeed()
    assert list(numbers()) == [1, 2]
    assert records == [CallRecord("api", "success", 2.0)] * 5
    records.clear()
    iterator = numbers()
    next(iterator)
    iterator.close()
    assert records == [CallRecord("api", "neutral", 1.0)]


@pytest.mark.anyio
async def test_every_async_face_reports_once(clock, records):
    """Coroutine functions, `execute`, async blocks and async generators are reported once each [B20]."""
    breaker = build(clock, observer=records)

    async def work():
        await anyio.lowlevel.checkpoint()
        clock.advance(2)

    @breaker
    async def numbers():
        await work()
        yield 1

    await breaker.execute(work)
    await breaker(work)()
    async with breaker:
        await work()
    async with breaker.acquire():
        await work()
    assert [number async for number in numbers()] == [1]
    assert records == [CallRecord("api", "success", 2.0)] * 5
    with anyio.CancelScope() as scope:
        scope.cancel()
        await breaker.execute(anyio.sleep_forever)
    assert records[-1].outcome == "neutral"


def test_a_failed_result_is_reported_as_a_failure(clock, records):
    """A returned value that counts as a failure is reported as one [B20] [B6]."""
    build(clock, observer=records, record_result=lambda value: value == 503).call(lambda: 503)
    assert records.outcomes == ["failure"]


def test_a_dropped_permit_is_reported_as_neutral(clock, records):
    """A permit that is garbage-collected unsettled is reported as neutral, with the next call at the latest.

    [B20] [B13]
    """
    breaker = build(clock, observer=records)
    permit = breaker.acquire()
    del permit
    gc.collect()
    call(breaker)
    assert sorted(records.outcomes) == ["neutral", "success"]


def test_a_refusal_with_a_fallback_is_reported_once(clock, records):
    """A refusal that a fallback replaces is reported once, as refused [B20] [B10]."""
    breaker = build(clock, observer=records)
    breaker.trip()
    assert breaker.with_fallback(lambda: "cached")(lambda: "fresh")() == "cached"
    assert records.outcomes == ["refused"]


def test_an_observer_that_raises_changes_no_outcome(clock, caplog):
    """An observer that raises changes no outcome and hides no exception; its own error is logged [B20] [C4]."""

    def broken(_):
        raise RuntimeError("bug in the observer")

    breaker = build(clock, observer=broken, failure_threshold=1)
    assert breaker.call(lambda: "ok") == "ok"
    error = BoomError()
    with pytest.raises(BoomError) as caught:
        breaker.call(raising(error))
    assert caught.value is error
    assert error.__cause__ is error.__context__ is None
    with pytest.raises(CircuitOpenError):
        breaker.call(lambda: "ok")
    lines = logged(caplog)
    assert len(lines) == 3
    assert all("bug in the observer" in line for line in lines)


def test_an_observer_may_use_the_breaker(clock):
    """The observer may use the breaker, from other threads too, since no lock is held [B20] [B9]."""
    seen = []

    def observer(record):
        seen.append((record.outcome, str(breaker.state), str(in_thread(breaker.status).state)))
        if record.outcome == "failure":
            breaker.reset()

    breaker = build(clock, observer=observer, failure_threshold=1)
    call(breaker, BoomError())
    assert seen == [("failure", "Open", "Open")]
    assert breaker.state is CircuitState.CLOSED


def test_an_observer_is_called_after_the_outcome_is_counted(clock):
    """The call has been counted when the observer gets its record [B20]."""
    seen = []
    breaker = build(clock, observer=lambda _: seen.append(breaker.status().failure_count))
    for _ in range(3):
        call(breaker, BoomError())
    assert seen == [1, 2, 3]


def test_the_observer_of_a_registry_gets_the_records_of_its_breakers(clock, records):
    """A registry's observer gets the records of all its breakers [B20]."""
    registry = CircuitBreakerRegistry(clock=clock, observer=records)
    for name in ("one", "two"):
        call(registry.get_or_create(name))
    assert [record.name for record in records] == ["one", "two"]


def test_an_observer_changes_no_count(clock, records):
    """An observer changes neither states nor counts [B20]."""
    plain, observed = build(clock, failure_threshold=3), build(clock, observer=records, failure_threshold=3)
    for error in (None, BoomError(), BoomError(), None, KeyError(), BoomError(), FatalError(), BoomError()):
        for breaker in (plain, observed):
            call(breaker, error)
        assert plain.status() == observed.status()
    assert plain.state is observed.state is CircuitState.OPEN
