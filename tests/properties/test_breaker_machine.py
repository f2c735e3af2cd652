"""The breaker compared with its model: random configurations, many calls in flight, times at and around each edge."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from fractions import Fraction
from math import ceil
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from swarmguard import (
    BreakerMode,
    CallRecord,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitOpenError,
    CircuitState,
    FailureRate,
    TimeWindow,
)
from swarmguard.testing import EventRecorder, FakeClock
from tests.properties.breaker_faces import (
    CLASSIFIES_REPLIES,
    FILTERS,
    ONE_STEP,
    SUSPENDED,
    Ending,
    Reply,
    answer_of,
    durations,
    end_permit,
    end_suspended,
    endings,
    failures,
    is_bad,
    lengths,
    raising,
    rates,
    setups,
    the_config,
    wait_for,
)
from tests.properties.breaker_model import SECOND, BreakerModel, Call, Filters, Rate, Refusal, Setup, classify, to_ns
from tests.properties.reaching import reached

CLOSE_ENOUGH = 5e-10
"""Half a nanosecond: the tolerance of a float of seconds."""


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    """Disable the log of the callbacks that raise here, thousands of times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging.getLogger("swarmguard"), "disabled", True)
        yield


@dataclass(eq=False)
class Flight:
    """A call in flight: in the model, in the package, and its face."""

    face: str
    model: Call
    real: Any


class BreakerMachine(RuleBasedStateMachine):
    """Drives a breaker and its model."""

    flying: Bundle[Flight] = Bundle("flying")
    landed: Bundle[Flight] = Bundle("landed")

    @initialize(
        setup=setups(),
        filters=st.sampled_from(FILTERS),
        observed=st.sampled_from([False, False, True]),
        classified=st.sampled_from([False, False, True]),
        asks=st.booleans(),
        start=st.sampled_from([0.0, 1000.25, 123456.789]),
    )
    def build(
        self,
        setup: Setup,
        filters: tuple[Filters, dict[str, Any]],
        observed: bool,
        classified: bool,
        asks: bool,
        start: float,
    ) -> None:
        """Make the breaker and its model."""
        self.filters, options = filters
        self.classified = classified
        self.asks = asks
        self.now = 0
        self.draw = 0.0
        self.clock = FakeClock(start)
        self.began = self.clock.now()
        self.sink = EventRecorder()
        self.seen: list[CallRecord] = []
        self.emitted = 0
        self.observed = observed
        self.model = BreakerModel(setup)
        if classified:
            options = {**options, "record_result": is_bad}
        if asks:
            options = {**options, "retry_after": wait_for}
        self.breaker = CircuitBreaker(
            "service",
            the_config(setup, random=lambda: self.draw, **options),
            clock=self.clock,
            sink=self.sink,
            observer=self.seen.append if observed else None,
        )

    # Calls

    @rule(target=flying, face=st.sampled_from(["permit", "permit", "permit", *SUSPENDED]))
    def admit(self, face: str) -> Any:
        """Begin a call that stays in flight."""
        return self.admit_through(face)

    def admit_through(self, face: str) -> Any:
        """Begin a call through a face; return it, or nothing if it is refused."""
        self.go_to(self.now)  # an opening since then may end within the nanosecond
        model = self.model.admit(self.now)
        if isinstance(model, Refusal):
            with pytest.raises(CircuitOpenError) as refused:
                self.begin(face)
            self.check_refusal(refused.value, model)
            return multiple()
        return Flight(face, model, self.begin(face))

    def begin(self, face: str) -> Any:
        """Begin a call through a face."""
        if face == "permit":
            return self.breaker.acquire()
        thing = SUSPENDED[face](self.breaker)
        assert thing.send(None) == "paused"
        return thing

    def check_refusal(self, error: CircuitOpenError, model: Refusal) -> None:
        """Compare the facts of a refusal."""
        assert (error.name, error.reason, error.state) == ("service", model.reason, model.state)
        check_seconds(error.retry_after, model.retry_after)

    @rule(target=landed, flight=consumes(flying), ending=endings, thrown=st.booleans())
    def settle(self, flight: Flight, ending: Ending, thrown: bool) -> Flight:
        """End a call in flight in any way."""
        return self.settle_by(flight, ending, thrown=thrown)

    @rule(target=landed, flight=consumes(flying))
    def settle_well(self, flight: Flight) -> Flight:
        """End a call with a success."""
        return self.settle_by(flight, Ending("return"), thrown=False)

    @rule(target=landed, flight=consumes(flying), ending=failures)
    def settle_badly(self, flight: Flight, ending: Ending) -> Flight:
        """End a call with a failure."""
        return self.settle_by(flight, ending, thrown=False)

    @rule(target=landed, flight=consumes(flying), how=st.sampled_from(["release", "drop"]))
    def settle_neutrally(self, flight: Flight, how: str) -> Flight:
        """End a call with a neutral outcome."""
        return self.settle_by(flight, Ending(how), thrown=False)

    @rule(
        target=landed, flight=consumes(flying), ending=endings, mode=st.sampled_from(["ISOLATED", "DISABLED", "SHADOW"])
    )
    def settle_under_a_mode(self, flight: Flight, ending: Ending, mode: str) -> Flight:
        """Set a mode, and end a call that was admitted before it."""
        self.model.set_mode(BreakerMode[mode].value, self.now)
        self.breaker.set_mode(BreakerMode[mode])
        return self.settle_by(flight, ending, thrown=False)

    def settle_by(self, flight: Flight, ending: Ending, *, thrown: bool) -> Flight:
        """End a call in the breaker and in the model."""
        error = ending.make()
        outcome, answer = self.classify(flight.face, ending, error)
        if ending.how == "drop":
            self.model.forget(flight.model, self.now)
            flight.real = None
            return flight
        reached("B14" if "with" in flight.face else "B11" if "generator" in flight.face else "B13", flight.face)
        expected = self.model.settle(flight.model, outcome, self.now, answer, self.draw)
        if flight.face == "permit":
            settled = end_permit(flight.real, ending, error, thrown=thrown)
            assert settled in (None, expected)
        else:
            end_suspended(flight.real, ending, error, thrown=thrown)
        return flight

    def classify(self, face: str, ending: Ending, error: BaseException) -> tuple[str, float | None]:
        """Return the outcome of an ending, and the result of `retry_after`."""
        outcome, answer = self.classify_asking(face, ending, error)
        return outcome, answer if self.asks else None

    def classify_asking(self, face: str, ending: Ending, error: BaseException) -> tuple[str, float | None]:
        """Do the same for a configuration with a `retry_after`."""
        if ending.how in ("release", "drop"):
            return "neutral", None
        if ending.how == "return":
            failed = self.classified and bool(ending.bad) and face in CLASSIFIES_REPLIES
            return ("failure", answer_of(ending.after)) if failed else ("success", None)
        answer = answer_of(getattr(error, "after", None))
        if ending.how == "fail" and face == "permit":
            return "failure", answer
        return classify(error, self.filters, CircuitOpenError), answer

    @rule(flight=landed, ending=endings)
    def settle_again(self, flight: Flight, ending: Ending) -> None:
        """Settle a call twice; the second time returns False or nothing, and changes nothing."""
        if flight.face == "permit" and flight.real is not None:
            assert not self.model.settle(flight.model, "success", self.now)
            match ending.how:
                case "return":
                    assert flight.real.succeed() is False
                case "fail":
                    assert flight.real.fail(ending.make()) is False
                case "raise":
                    error = ending.make()
                    assert not flight.real.__exit__(type(error), error, None)
                case _:
                    assert flight.real.release() is False

    @rule(
        face=st.sampled_from(sorted(ONE_STEP)),
        calls=st.lists(st.tuples(endings, lengths), min_size=1, max_size=5),
        draw=st.sampled_from([0.0, 0.25, 0.5, 0.9]),
    )
    def call(self, face: str, calls: list[tuple[Ending, str]], draw: float) -> None:
        """Make a few calls in one step each; `draw` is the result of `random` from now on."""
        self.draw = draw
        for ending, length in calls:
            self.call_once(ONE_STEP[face], face, ending, self.nanoseconds(length))
            self.same()

    def nanoseconds(self, length: str) -> int:
        """Return a call's length in nanoseconds."""
        rate = self.model.setup.rate or Rate()
        slow, window = to_ns(rate.slow_seconds or 1.0), to_ns(rate.seconds or 1.0)
        return {"almost slow": slow - 1, "just slow": slow, "slow": slow + 1, "a window": window}.get(length, 0)

    def call_once(self, run: Callable[..., Reply], face: str, ending: Ending, length: int) -> None:
        """Make one call of a given duration."""
        self.go_to(self.now)  # an opening since then may end within the nanosecond
        reached("B12" if face == "call" else "B14" if face in ("with", "exit stack") else "B10", face)
        reply, error = ending.reply, ending.make()
        model = self.model.admit(self.now)
        if isinstance(model, Refusal):
            with pytest.raises(CircuitOpenError) as refused:
                run(self.breaker, lambda: pytest.fail("a refused call ran"))
            self.check_refusal(refused.value, model)
            return

        def outcome() -> Reply:
            self.go_to(self.now + length)
            return reply if ending.how == "return" else raising(error)

        if ending.how == "return":
            assert run(self.breaker, outcome) is reply
        else:
            with pytest.raises(type(error)) as caught:
                run(self.breaker, outcome)
            assert caught.value is error
            ending = Ending("raise")
        outcome, answer = self.classify(face, ending, error)
        self.model.settle(model, outcome, self.now, answer, self.draw)

    # Time

    def go_to(self, moment: int) -> None:
        """Advance the clock, but not to a nanosecond within which an open time ends, which a float cannot express."""
        while self.model.on_a_fraction(moment):
            moment += 1
        self.clock.advance((moment - self.now) / SECOND)
        self.now = moment

    @rule(amount=st.one_of(st.integers(0, 3), st.integers(0, 200 * SECOND), st.just(3600 * SECOND)))
    def pass_time(self, amount: int) -> None:
        """Advance the clock by some seconds."""
        self.go_to(self.now + amount)

    @precondition(lambda self: self.model.edges(self.now))
    @rule(data=st.data(), offset=st.sampled_from([-1, 0, 0, 0, 1]))
    def pass_time_to_an_edge(self, data: st.DataObject, offset: int) -> None:
        """Advance to a moment at which time alone changes the status, or one nanosecond before or after it."""
        edge = data.draw(st.sampled_from(self.model.edges(self.now)), label="edge")
        self.go_to(max(self.now, edge + offset))

    @precondition(lambda self: self.model.state == "Open")
    @rule(
        target=flying, face=st.sampled_from(["permit", "permit", *SUSPENDED]), offset=st.sampled_from([-1, 0, 0, 0, 1])
    )
    def probe(self, face: str, offset: int) -> Any:
        """Advance to the end of the open time, and begin a call."""
        self.go_to(max(self.now, ceil(self.model.opened_until) + offset))
        return self.admit_through(face)

    @precondition(lambda self: self.model.state == "HalfOpen")
    @rule(target=flying, face=st.sampled_from(["permit", "permit", "permit", *SUSPENDED]))
    def probe_again(self, face: str) -> Any:
        """Begin one more call of a half-open circuit."""
        return self.admit_through(face)

    # The operator

    @rule()
    def reset(self) -> None:
        """Reset the breaker."""
        self.model.reset(self.now)
        self.breaker.reset()

    @precondition(lambda self: self.model.openings < 5 or self.model.state != "Open")
    @precondition(lambda self: self.model.openings < 25)
    @rule(duration=st.one_of(st.none(), st.just(0.0), durations))
    def trip(self, duration: float | None) -> None:
        """Trip the breaker."""
        self.model.trip(self.now, duration, self.draw)
        if duration is None:
            self.breaker.trip()
        else:
            self.breaker.trip(duration)

    @rule(mode=st.sampled_from(["NORMAL", "NORMAL", "NORMAL", "ISOLATED", "DISABLED", "SHADOW"]))
    def set_mode(self, mode: str) -> None:
        """Set a mode."""
        chosen = BreakerMode[mode]
        self.model.set_mode(chosen.value, self.now)
        self.breaker.set_mode(chosen)

    @precondition(lambda self: self.model.mode != "Normal")
    @rule()
    def end_mode(self) -> None:
        """Set the mode back to normal."""
        self.model.set_mode("Normal", self.now)
        self.breaker.set_mode(BreakerMode.NORMAL)

    # The comparison

    @invariant()
    def same(self) -> None:
        """Compare everything visible, twice, since reading changes nothing."""
        for _ in range(2):
            self.check_status()
            assert [event.topic for event in self.sink.events] == [
                f"arb.swarm.{emitted.topic}" for emitted in self.model.emitted
            ]
        for event in self.sink.events:
            reached("C3", f"{event.topic} is emitted, in sequence")
            self.emitted += 1
            assert event.sequence == self.emitted
        for event, emitted in zip(self.sink.events, self.model.emitted, strict=True):
            assert event.source == "service"
            assert abs(event.at - (self.began + timedelta(microseconds=emitted.at / 1000))) <= timedelta(microseconds=1)
            payload = dict(event.payload)
            if "open_seconds" in emitted.payload:
                check_seconds(payload.pop("open_seconds"), emitted.payload["open_seconds"])
            assert payload == {
                "name": "service",
                **{key: value for key, value in emitted.payload.items() if key != "open_seconds"},
            }
        self.check_records()
        self.sink.clear()
        self.model.emitted.clear()

    def check_records(self) -> None:
        """Compare the records of the observer; that of a forgotten call may come later, with the next call."""
        expected = self.model.records if self.observed else []
        for record in expected[: len(self.seen)]:
            reached("B20", f"the observer receives a {record.outcome}")
        assert len(self.seen) <= len(expected)
        assert all(record.forgotten for record in expected[len(self.seen) :])
        for record, wanted in zip(self.seen, expected, strict=False):
            assert (record.name, record.outcome) == ("service", wanted.outcome)
            if wanted.forgotten:
                assert record.seconds >= wanted.took / SECOND - CLOSE_ENOUGH
            else:
                check_seconds(record.seconds, wanted.took)
        self.model.records = expected[len(self.seen) :]
        self.seen.clear()

    def check_status(self) -> None:
        """Compare the status and the other readings."""
        status = self.breaker.status()
        assert {
            "state": status.state,
            "mode": status.mode,
            "failure_count": status.failure_count,
            "success_count": status.success_count,
            "half_open_calls": status.half_open_calls,
            "openings": status.openings,
        } == self.model.status(self.now)
        assert (status.name, self.breaker.state, self.breaker.mode) == ("service", status.state, status.mode)
        check_seconds(status.retry_after, self.model.retry_after(self.now))
        check_seconds(self.breaker.retry_after, self.model.retry_after(self.now))


def check_seconds(seconds: object, expected: object) -> None:
    """Compare seconds with nanoseconds: 0 and None exactly, others to half a nanosecond."""
    if expected is None or expected == 0:
        assert seconds == expected
        return
    assert isinstance(seconds, float)
    assert isinstance(expected, int | Fraction)
    assert abs(seconds - expected / SECOND) <= CLOSE_ENOUGH, (seconds, expected)


class RecoveryMachine(BreakerMachine):
    """Starts with an open circuit that only recovery can close, to test half-open under each mode."""

    reset = trip = call = pass_time = None  # type: ignore[assignment]

    @initialize(
        setup=setups(st.none()),
        slots=st.sampled_from([1, 2, 3]),
        filters=st.sampled_from(FILTERS),
        observed=st.booleans(),
        classified=st.booleans(),
    )
    def build(
        self, setup: Setup, slots: int, filters: tuple[Filters, dict[str, Any]], observed: bool, classified: bool
    ) -> None:
        """Make the breaker and its model, and trip both."""
        setup = replace(setup, slots=slots)
        super().build(setup=setup, filters=filters, observed=observed, classified=classified, asks=True, start=1000.25)
        self.model.trip(self.now)
        self.breaker.trip()


class WindowMachine(BreakerMachine):
    """Has a failure rate and no operator, so that calls fill a window and time empties it."""

    reset = trip = set_mode = end_mode = None  # type: ignore[assignment]

    @initialize(setup=setups(rates()), observed=st.booleans(), start=st.sampled_from([0.0, 1000.25, 123456.789]))
    def build(self, setup: Setup, observed: bool, start: float) -> None:
        """Make the breaker and its model."""
        super().build(setup=setup, filters=FILTERS[0], observed=observed, classified=False, asks=False, start=start)


BreakerMachine.TestCase.settings = settings(max_examples=2 * settings.default.max_examples, stateful_step_count=30)
RecoveryMachine.TestCase.settings = settings(stateful_step_count=30)
WindowMachine.TestCase.settings = settings(max_examples=2 * settings.default.max_examples, stateful_step_count=20)
TestBreakerAgainstItsModel = BreakerMachine.TestCase
TestRecoveryAgainstTheModel = RecoveryMachine.TestCase
TestWindowsAgainstTheModel = WindowMachine.TestCase


# --- the fast path against the slow one -------------------------------------------------------------------------------


class Run:
    """One breaker under a script of steps, and the trace of its answers and statuses."""

    def __init__(self, setup: Setup, *, observed: bool, with_sink: bool = True, asks: bool = False) -> None:
        self.clock = FakeClock()
        self.sink = EventRecorder()
        self.trace: list[object] = []
        self.flights: list[tuple[str, Any]] = []
        self.breaker = CircuitBreaker(
            "service",
            the_config(setup, random=lambda: 0.5, retry_after=wait_for if asks else None),
            clock=self.clock,
            sink=self.sink if with_sink else None,
            observer=(lambda record: None) if observed else None,
        )

    def follow(self, script: list[Callable[[Run], object]]) -> list[object]:
        """Do every step, and return the trace."""
        for step in script:
            try:
                answer = step(self)
            except CircuitOpenError as refused:
                answer = (refused.reason, refused.state, refused.retry_after)
            self.trace.append((answer, self.breaker.status(), self.breaker.state))
        return self.trace

    def begin(self, face: str) -> None:
        """Begin a call that stays in flight."""
        if face == "permit":
            self.flights.append((face, self.breaker.acquire()))
            return
        thing = SUSPENDED[face](self.breaker)
        thing.send(None)
        self.flights.append((face, thing))

    def end(self, index: int, ending: Ending, *, thrown: bool) -> bool | None:
        """End one of the calls in flight."""
        if not self.flights:
            return None
        face, thing = self.flights.pop(index % len(self.flights))
        if ending.how == "drop":
            return None
        if face == "permit":
            return end_permit(thing, ending, ending.make(), thrown=thrown)
        return end_suspended(thing, ending, ending.make(), thrown=thrown)

    def call(self, face: str, ending: Ending) -> object:
        """Make a call in one step."""
        if ending.how == "return":
            ONE_STEP[face](self.breaker, lambda: ending.reply)
            return None
        error = ending.make()
        try:
            ONE_STEP[face](self.breaker, lambda: raising(error))
        except CircuitOpenError as refused:
            if refused is not error:
                raise
        except type(error):
            pass
        return None


def begin(face: str) -> Callable[[Run], object]:
    """Return the step that begins a call."""
    return lambda run: run.begin(face)


def end(index: int, ending: Ending, thrown: bool) -> Callable[[Run], object]:
    """Return the step that ends a call."""
    return lambda run: run.end(index, ending, thrown=thrown)


def at_once(face: str, ending: Ending) -> Callable[[Run], object]:
    """Return the step that makes a call."""
    return lambda run: run.call(face, ending)


def wait(seconds: float) -> Callable[[Run], object]:
    """Return the step that advances the clock."""
    return lambda run: run.clock.advance(seconds)


def trip(seconds: float | None) -> Callable[[Run], object]:
    """Return the step that trips the breaker."""
    return lambda run: run.breaker.trip(seconds)


def put(mode: BreakerMode) -> Callable[[Run], object]:
    """Return the step that sets a mode."""
    return lambda run: run.breaker.set_mode(mode)


ends = st.builds(end, st.integers(0, 5), endings, st.booleans())
one_step_calls = st.builds(at_once, st.sampled_from(sorted(ONE_STEP)), endings)
steps = st.one_of(
    st.builds(begin, st.sampled_from(["permit", *SUSPENDED])),
    ends,
    ends,
    one_step_calls,
    one_step_calls,
    st.builds(wait, durations),
    st.builds(trip, st.none() | durations),
    st.builds(put, st.sampled_from([BreakerMode.NORMAL, *BreakerMode])),
    st.just(lambda run: run.breaker.reset()),
)


@settings(max_examples=2 * settings.default.max_examples)
@given(setup=setups(), script=st.lists(steps, max_size=60), asks=st.booleans())
def test_fast_and_slow_path_have_the_same_answers(
    setup: Setup, script: list[Callable[[Run], object]], asks: bool
) -> None:
    """A script of calls has the same answers, statuses and events with an observer, without one, and without a sink.

    An observer, or a missing sink, selects another path through the code. [B1] [B20]
    """
    fast, slow = Run(setup, observed=False, asks=asks), Run(setup, observed=True, asks=asks)
    silent = Run(setup, observed=False, with_sink=False, asks=asks)
    assert fast.follow(script) == slow.follow(script) == silent.follow(script)
    assert fast.sink.events == slow.sink.events
    assert [event.sequence for event in fast.sink.events] == list(range(1, len(fast.sink.events) + 1))


# --- cases outside the machine --------------------------------------------------------------------------------------


@given(share=st.sampled_from([0.1, 0.5, 1.0]), base=durations)
def test_a_random_that_raises_leaves_the_open_time_within_the_jitter(share: float, base: float) -> None:
    """If `random` raises, the circuit still opens, for a time within the jitter. [B7] [B18]"""
    breaker = CircuitBreaker(
        "service",
        CircuitBreakerConfig(timeout_duration=base, jitter=share, random=lambda: 1 / 0),
        clock=FakeClock(),
    )
    breaker.trip()
    assert breaker.state is CircuitState.OPEN
    assert breaker.retry_after is not None
    assert base - CLOSE_ENOUGH <= breaker.retry_after <= base * (1 + share) + CLOSE_ENOUGH


@pytest.mark.parametrize("cap", [None, 60.0])
def test_thousands_of_openings_do_not_overflow(cap: float | None) -> None:
    """After thousands of consecutive openings the circuit still opens, for at most the maximum open time. [B18]"""
    config = CircuitBreakerConfig(backoff_multiplier=3.0, max_timeout_duration=cap)
    breaker = CircuitBreaker("service", config, clock=FakeClock())
    for _ in range(3000):
        breaker.trip()
    assert breaker.state is CircuitState.OPEN
    assert breaker.status().openings == 3000
    wait_now = breaker.retry_after
    assert wait_now is not None
    assert wait_now >= 60.0
    assert cap is None or wait_now == cap
    breaker.reset()
    breaker.trip()
    assert breaker.retry_after == 30.0


def test_a_time_window_keeps_a_call_for_its_full_length() -> None:
    """A call leaves a time window after exactly its length, for readings and for the policy. [B17]"""
    clock = FakeClock(1000.25)
    policy = FailureRate(threshold=1.0, window=TimeWindow(10.0), minimum_calls=2)
    breaker = CircuitBreaker("service", CircuitBreakerConfig(trip=policy), clock=clock)
    breaker.acquire().fail()
    clock.advance(to_ns(10.0) / SECOND - 1e-9)
    assert breaker.status().failure_count == 1
    clock.advance(1e-9)
    assert breaker.status().failure_count == 0
    breaker.acquire().fail()
    assert breaker.state is CircuitState.CLOSED


@pytest.mark.parametrize("face", ["permit", *SUSPENDED])
def test_a_call_admitted_by_a_disabled_breaker_is_never_recorded(face: str) -> None:
    """A call that a mode admitted is not recorded, even if it ends after the mode. [B16]"""
    run = Run(Setup(failures=1), observed=False)
    run.breaker.set_mode(BreakerMode.DISABLED)
    run.begin(face)
    run.breaker.set_mode(BreakerMode.NORMAL)
    run.end(0, Ending("raise"), thrown=False)
    assert run.breaker.state is CircuitState.CLOSED
    assert run.sink.topics == ["arb.swarm.circuit.mode_changed"] * 2
