"""Breakers under finalizers, signals and interrupts at every line of the package, and under threads.

The schedules of a few threads with a few calls are in `tests/schedules`. What is random here goes beyond their bound:
long runs of many calls, and more switches between threads. It also runs on Python 3.11.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
import threading

import anyio
import pytest

from swarmguard import (
    BreakerMode,
    CircuitOpenError,
    CircuitState,
    CountWindow,
    FailureRate,
    TimeWindow,
)
from swarmguard._breaker.counting import DeferredSuccesses
from swarmguard.testing import EventRecorder, FakeClock
from tests.breaker_tools import (
    SAFETY,
    BoomError,
    boom,
    build,
    due_breaker,
    fail,
    in_thread,
    refused,
)
from tests.threads.interleave import PACKAGE, Interleaver, at_every_line, struck, wait_for

SEEDS = pytest.mark.parametrize("seed", range(4))
signals = pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="the platform has no such signal")


def attempt(breaker, fn):
    """Call through the breaker, and return how the call ended."""
    try:
        breaker.call(fn)
    except CircuitOpenError:
        return "refused"
    except BoomError:
        return "failure"
    return "success"


def check_transitions(events, breaker):
    """Check that the events are numbered without gaps, follow each other, and end in the breaker's state."""
    seen = breaker.status()
    assert [event.sequence for event in events.events] == list(range(1, len(events.events) + 1))
    moves = [event.payload for event in events.events if not event.topic.endswith("mode_changed")]
    state = "Closed"
    for move in moves:
        assert move["previous_state"] == state
        state = move["state"]
    assert breaker.state == seen.state == state


def check_usable(breaker, clock):
    """Check that the breaker works from here on, in this thread and in another."""
    in_thread(use, breaker, clock)  # a lock that is still held would block other threads only
    use(breaker, clock)


def use(breaker, clock):
    """Take the breaker through all its states."""
    breaker.set_mode(BreakerMode.NORMAL)
    breaker.reset()
    breaker.acquire().succeed()
    for _ in range(breaker.config.failure_threshold):
        assert breaker.state is CircuitState.CLOSED
        breaker.acquire().fail()
    refused(breaker)
    clock.advance(breaker.retry_after)
    for _ in range(breaker.config.success_threshold):
        assert breaker.state is not CircuitState.CLOSED
        breaker.acquire().succeed()
    assert breaker.state is CircuitState.CLOSED


# The harness


class Racy:
    """A counter without a lock."""

    value = 0

    def add(self):
        """Add one; an addition in between is lost."""
        value = self.value
        self.value = value + 1


def test_the_harness_shows_a_missing_lock():
    """A read and a write without a lock lose updates under the interleaver [T23]."""
    lost = 0
    for seed in range(10):
        racy = Racy()
        jobs = [lambda racy=racy: [racy.add() for _ in range(20)]] * 3
        Interleaver(seed, within=__file__).run(jobs)
        lost += racy.value < 60
    assert lost


def test_the_harness_restores_the_tracer():
    """The tracer from before is restored, even when a job fails [T23]."""
    seen = []

    def tracer(*_):
        seen.append(1)

    before, before_threads = sys.gettrace(), threading.gettrace()
    sys.settrace(tracer)
    threading.settrace(tracer)
    try:
        with pytest.raises(BoomError):
            Interleaver(0).run([boom])
        with contextlib.suppress(BoomError), struck(1, boom):
            build(FakeClock())
        after, after_threads = sys.gettrace(), threading.gettrace()
    finally:
        sys.settrace(before)
        threading.settrace(before_threads)
    assert after is tracer
    assert after_threads is tracer


def test_the_harness_strikes_every_line():
    """An act is struck at each of its lines in turn, and the number of lines is returned [T23]."""
    struck_at = []

    def strike(_):
        frame = sys._getframe()
        while not frame.f_code.co_filename.startswith(PACKAGE):
            frame = frame.f_back
        struck_at.append((frame.f_code.co_name, frame.f_lineno))

    lines = at_every_line(lambda: build(FakeClock()), fail, strike, lambda _: None)
    assert lines == len(struck_at) > 10
    assert len(set(struck_at)) > 10


# Threads


@SEEDS
def test_events_follow_the_changes_of_state(clock, seed):
    """Under any threads, the events are numbered and ordered as the circuit changed state [B14] [C3] [C6] [T23]."""
    events = EventRecorder()
    breaker = build(clock, events, failure_threshold=1, success_threshold=1, timeout_duration=0)

    def calls():
        for _ in range(6):
            attempt(breaker, boom)
            pass_a_block(breaker)
            attempt(breaker, lambda: None)

    def operator():
        for _ in range(4):
            breaker.trip()
            breaker.set_mode(BreakerMode.SHADOW)
            breaker.reset()
            breaker.set_mode(BreakerMode.NORMAL)

    Interleaver(seed).run([calls, calls, operator])
    check_transitions(events, breaker)
    assert len(events.events) > 8
    assert breaker.status().half_open_calls == 0


@pytest.mark.parametrize("seed", range(12))
def test_deferred_successes_are_counted_exactly(clock, seed, monkeypatch):
    """Successes that threads defer while others record failures are counted once each [B17] [T23].

    To lose one that is deferred while the queue is emptied takes three switches in the middle of a call.
    """
    monkeypatch.setattr(DeferredSuccesses, "LIMIT", 5)
    policy = FailureRate(threshold=9 / 41, window=TimeWindow(10), minimum_calls=41)
    breaker = build(clock, trip=policy)
    service = breaker(lambda fails: boom() if fails else None)

    def calls():
        for fails in (False,) * 8 + (True, True):
            with contextlib.suppress(BoomError):
                service(fails)

    Interleaver(seed).run([calls] * 4)
    assert breaker.state is CircuitState.CLOSED
    fail(breaker)  # opens only if it is the ninth failure of exactly 41 calls
    assert breaker.state is CircuitState.OPEN


# No lock is held while user code runs


def meddling(breaker_of, answer=None):
    """Return a callback that uses the breaker from another thread, which would hang if a lock were held."""
    busy = threading.Event()

    def callback(*_):
        if not busy.is_set():  # the other thread reads the clock as well
            busy.set()
            try:
                for act in (breaker_of().status, lambda: breaker_of().retry_after, lambda: breaker_of().acquire):
                    in_thread(act)
            finally:
                busy.clear()
            used.append(1)
        return answer

    used = callback.used = []
    return callback


@pytest.mark.parametrize(
    ("field", "answer"),
    [
        ("record_exceptions", True),
        ("ignore_exceptions", False),
        ("success_exceptions", False),
        ("record_result", True),
        ("retry_after", 5.0),
        ("random", 0.5),
    ],
)
def test_no_lock_is_held_around_settings(clock, field, answer):
    """No lock is held while a predicate, `retry_after` or `random` runs [B9]."""
    callback = meddling(lambda: breaker, answer)
    config = {field: callback} | ({"jitter": 1.0} if field == "random" else {})
    breaker = build(clock, failure_threshold=2, **config)
    for _ in range(2):
        if field == "record_result":
            breaker.call(lambda: 503)
        else:
            fail(breaker)
    assert breaker.state is CircuitState.OPEN
    assert callback.used


@pytest.mark.parametrize("role", ["sink", "observer", "fn"])
def test_no_lock_is_held_around_callbacks(clock, role):
    """No lock is held while the sink, the observer or the guarded function runs [B9]."""
    callback = meddling(lambda: breaker)
    roles = {role: callback} if role != "fn" else {}
    breaker = build(clock, failure_threshold=1, success_threshold=1, timeout_duration=0, **roles)
    for _ in range(2):
        attempt(breaker, callback if role == "fn" else lambda: None)
        attempt(breaker, boom)
    breaker.trip()
    breaker.set_mode(BreakerMode.SHADOW)
    breaker.reset()
    assert callback.used


class MeddlingClock(FakeClock):
    """A clock that uses a breaker whenever it is read."""

    meddle = None

    def monotonic(self):
        """Use the breaker, and return the time."""
        if self.meddle is not None:
            self.meddle()
        return super().monotonic()


def test_no_lock_is_held_around_the_clock(events):
    """No lock is held while the clock is read, since it may be user code [B9]."""
    clock = MeddlingClock()
    breaker = build(clock, events, failure_threshold=1, timeout_duration=0, jitter=0.5, observer=lambda _: None)
    clock.meddle = meddling(lambda: breaker)
    attempt(breaker, boom)
    attempt(breaker, lambda: None)
    attempt(breaker, boom)
    breaker.trip()
    breaker.reset()
    breaker.set_mode(BreakerMode.ISOLATED)
    refused(breaker)
    with contextlib.suppress(CircuitOpenError), breaker:
        pass
    assert len(clock.meddle.used) > 8


def test_one_breaker_serves_many_loops_and_threads(clock):
    """One breaker serves event loops of both kinds and plain threads at once [B9]."""
    breaker = build(clock, failure_threshold=1000)
    all_ready = threading.Barrier(4)

    async def failing():
        await anyio.lowlevel.checkpoint()
        raise BoomError

    async def loop():
        await anyio.to_thread.run_sync(all_ready.wait, SAFETY)
        for _ in range(20):
            with contextlib.suppress(BoomError):
                await breaker.execute(failing)
            with contextlib.suppress(BoomError):
                async with breaker:
                    await failing()

    def plain():
        all_ready.wait(SAFETY)
        fail(breaker, 40)

    jobs = [
        lambda: anyio.run(loop, backend="trio"),
        lambda: anyio.run(loop, backend="asyncio"),
        lambda: asyncio.run(loop()),
        plain,
    ]
    threads = [threading.Thread(target=job, daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    wait_for(threads)
    assert breaker.status().failure_count == 160


# Finalizers


def guarded_generator(breaker):
    """Return a guarded generator that is suspended in its call."""

    @breaker
    def numbers():
        yield 1
        yield 2

    iterator = numbers()
    next(iterator)
    return iterator


def guarded_block(breaker):
    """Return a generator that is suspended in a block."""

    def block():
        with breaker:
            yield

    iterator = block()
    next(iterator)
    return iterator


def guarded_async_generator(breaker):
    """Return a guarded async generator that is suspended in its call, without an event loop."""

    @breaker
    async def numbers():
        yield 1
        yield 2

    iterator = numbers()
    with contextlib.suppress(StopIteration):
        anext(iterator).__await__().__next__()
    return iterator


HOLDERS = pytest.mark.parametrize(
    "hold",
    [lambda breaker: breaker.acquire(), guarded_generator, guarded_block, guarded_async_generator],
    ids=["permit", "generator", "block", "async generator"],
)
ACTS = pytest.mark.parametrize(
    "act",
    [
        lambda breaker: attempt(breaker, lambda: None),
        lambda breaker: attempt(breaker, boom),
        lambda breaker: breaker.status(),
        lambda breaker: breaker.retry_after,
        lambda breaker: breaker.reset(),
        lambda breaker: breaker.trip(),
        lambda breaker: breaker.set_mode(BreakerMode.SHADOW),
        lambda breaker: list(guarded_generator(breaker)),
        lambda breaker: list(guarded_block(breaker)),
    ],
    ids=["success", "failure", "status", "retry_after", "reset", "trip", "set_mode", "generator", "block"],
)


class Case:
    """A half-open breaker, an object that holds one of its slots, and the outcomes that the observer got."""

    def __init__(self, hold, **config):
        self.clock = FakeClock()
        self.events = EventRecorder()
        self.seen = []
        self.over = True
        observer = {"noting": self.note, True: self.observe}.get(config.pop("observed", False))
        self.breaker = build(
            self.clock,
            self.events,
            observer=observer,
            **{"failure_threshold": 1, "success_threshold": 5, "timeout_duration": 10, "half_open_max_calls": 3}
            | config,
        )
        self.breaker.trip()
        self.clock.advance(10)
        self.breaker.acquire().release()
        self.held = [hold(self.breaker)]
        self.seen.clear()
        self.over = False

    def note(self, record):
        """Record the outcome, as an observer."""
        self.seen.append(record.outcome)

    def observe(self, record):
        """Record the outcome, and read the breaker from another thread; record whether that hangs."""
        self.seen.append(record.outcome)
        if self.over:
            return
        looker = threading.Thread(target=self.breaker.status, daemon=True)
        looker.start()
        looker.join(SAFETY / 6)
        if looker.is_alive():
            self.seen.append("locked out")


@HOLDERS
@ACTS
@pytest.mark.parametrize("observed", [False, True])
def test_a_finalizer_may_strike_at_every_line(hold, act, observed):
    """An object that holds a slot may be collected at any line: nothing hangs, and the slot is free [B13] [B9]."""

    def check(case):
        case.over = True
        assert "locked out" not in case.seen
        case.held.clear()
        check_transitions(case.events, case.breaker)
        assert case.breaker.status().half_open_calls == 0
        check_usable(case.breaker, case.clock)

    def run():
        return at_every_line(
            lambda: Case(hold, observed=observed),
            lambda case: act(case.breaker),
            lambda case: case.held.clear(),
            check,
        )

    assert in_thread(run) > 3


@HOLDERS
def test_a_finalizer_does_not_wait_for_another_thread(hold):
    """A finalizer in one thread does not wait while another thread is at any line of the breaker [B13]."""

    def strike(case):
        in_thread(case.held.clear)

    lines = in_thread(
        at_every_line,
        lambda: Case(hold),
        lambda case: case.breaker.reset(),
        strike,
        lambda case: check_usable(case.breaker, case.clock),
    )
    assert lines > 3


def test_an_eager_collector_releases_every_slot(clock):
    """With garbage collection at every allocation, cycles of permits and generators are released in time [B13]."""
    breaker = due_breaker(clock, half_open_max_calls=50, success_threshold=100_000)

    def make_cycles():
        for _ in range(30):
            for hold in (lambda breaker: breaker.acquire(), guarded_generator, guarded_block):
                with contextlib.suppress(CircuitOpenError):
                    cycle = [hold(breaker)]
                    cycle.append(cycle)
                    del cycle
                breaker.status()
                attempt(breaker, lambda: None)

    threads = [threading.Thread(target=make_cycles, daemon=True) for _ in range(3)]
    frozen = gc.get_freeze_count()
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()  # otherwise every collection would scan the objects of other tests
    gc.set_threshold(1)
    try:
        for thread in threads:
            thread.start()
        wait_for(threads)
    finally:
        gc.set_threshold(*thresholds)
        if not frozen:
            gc.unfreeze()
    gc.collect()
    assert breaker.status().half_open_calls == 0


# Signals


@pytest.fixture
def alarm():
    """Raise in the main thread if it hangs."""

    def fail_the_test(*_):
        raise AssertionError("the main thread hangs")

    before = signal.signal(signal.SIGALRM, fail_the_test)
    signal.setitimer(signal.ITIMER_REAL, SAFETY * 2)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def handler(act):
    """Call `act` in a signal handler."""
    before = signal.signal(signal.SIGUSR1, lambda *_: act())
    try:
        yield lambda: signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)


STRIKES = pytest.mark.parametrize(
    "strike",
    [
        lambda breaker: breaker.reset(),
        lambda breaker: breaker.trip(),
        lambda breaker: breaker.status(),
        lambda breaker: breaker.set_mode(BreakerMode.SHADOW),
        lambda breaker: attempt(breaker, lambda: None),
        lambda breaker: attempt(breaker, boom),
        lambda breaker: pass_a_block(breaker),  # noqa: PLW0108 - it is defined below
    ],
    ids=["reset", "trip", "status", "set_mode", "success", "failure", "block"],
)


def pass_a_block(breaker):
    """Enter a block and leave it, unless it is refused."""
    with contextlib.suppress(CircuitOpenError), breaker:
        pass


@signals
@ACTS
@STRIKES
@pytest.mark.parametrize("start", ["closed", "half-open"])
@pytest.mark.usefixtures("alarm")
def test_a_signal_handler_may_strike_at_every_line(act, strike, start):
    """A signal handler may use the breaker between any two of its lines: no deadlock, no partial change [B9]."""

    def make():
        case = Case(lambda breaker: breaker.acquire())
        if start == "closed":
            case.breaker.reset()
        return case

    def check(case):
        check_transitions(case.events, case.breaker)
        case.held.clear()
        check_usable(case.breaker, case.clock)

    cases = []

    def strike_first():
        strike(cases[-1].breaker)

    def act_on(case):
        cases.append(case)
        with contextlib.suppress(CircuitOpenError):
            act(case.breaker)

    with handler(strike_first) as send:
        assert at_every_line(make, act_on, lambda _: send(), check) > 3


@signals
@pytest.mark.usefixtures("alarm")
def test_an_outcome_of_a_signal_handler_counts_once():
    """An outcome that a signal handler records counts exactly once, at whatever line it strikes [B9] [T23]."""
    clock = FakeClock()

    subjects = []

    def make():
        breaker = build(clock, failure_threshold=100)
        subjects.append((breaker, breaker.acquire()))
        return subjects[-1]

    def check(subject):
        breaker, permit = subject
        permit.fail()  # the last run is not struck
        assert breaker.status().failure_count == 2

    with handler(lambda: subjects[-1][1].fail()) as send:  # noqa: PLW0108 - the last subject at the time of the signal
        assert at_every_line(make, lambda subject: fail(subject[0]), lambda _: send(), check) > 3


@signals
@pytest.mark.usefixtures("alarm")
@ACTS
def test_a_reset_in_a_signal_handler_is_done(act):
    """A `reset` in a signal handler is done, at the latest, when the call that it interrupted returns [B16] [B9]."""
    cases = []

    def make():
        cases.append(Case(lambda breaker: breaker.acquire(), success_threshold=1, failure_threshold=100))
        return cases[-1]

    def act_on(case):
        with contextlib.suppress(CircuitOpenError):
            case.breaker.set_mode(BreakerMode.NORMAL)
            act(case.breaker)
            case.breaker.set_mode(BreakerMode.NORMAL)

    def check(case):
        state = case.breaker.state
        assert case.breaker.status().state is state

    with handler(lambda: cases[-1].breaker.reset()) as send:  # noqa: PLW0108 - the last case at the time of the signal
        at_every_line(make, act_on, lambda _: send(), check)


@signals
@pytest.mark.usefixtures("alarm")
@pytest.mark.parametrize("observed", [False, "noting"])
def test_closed_circuit_admits_signal_handlers(observed):
    """A closed circuit admits the calls of a signal handler at whatever line it strikes [B1] [B9]."""
    outcomes, cases = [], []

    def make():
        case = Case(lambda breaker: breaker.acquire(), observed=observed, failure_threshold=100)
        case.breaker.reset()
        return case

    def act(case):
        cases.append(case)
        fail(case.breaker)

    with handler(lambda: outcomes.append(attempt(cases[-1].breaker, lambda: None))) as send:
        at_every_line(make, act, lambda _: send(), lambda _: None)
    assert set(outcomes) == {"success"}


# Interrupts


@ACTS
@pytest.mark.parametrize("start", ["closed", "half-open"])
@pytest.mark.parametrize("observed", [False, "noting"])
def test_an_interrupt_at_any_call_leaves_the_breaker_usable(monkeypatch, act, start, observed):
    """A `KeyboardInterrupt` at the start of any function of the package leaves the breaker usable [B4] [B6]."""
    unraisable = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: unraisable.append(repr(args.exc_value)))

    def make():
        case = Case(lambda breaker: breaker.acquire(), observed=observed)
        if start == "closed":
            case.breaker.reset()
        return case

    def strike(_):
        raise KeyboardInterrupt

    def act_on(case):
        with contextlib.suppress(KeyboardInterrupt, CircuitOpenError):
            act(case.breaker)

    def check(case):
        case.held.clear()
        case.clock.advance(3600)  # an interrupt may keep a slot until its lease ends
        check_usable(case.breaker, case.clock)

    assert in_thread(lambda: at_every_line(make, act_on, strike, check, event="call")) >= 1
    assert set(unraisable) <= {"KeyboardInterrupt()"}  # in a finalizer it cannot be caught


# Blocks


@pytest.mark.parametrize("error", [None, BoomError()], ids=["success", "failure"])
def test_a_block_entered_during_a_change_settles_no_other_call(error):
    """A block that is entered while the circuit changes state never settles another block's call [B14]."""

    class Subject:
        def __init__(self):
            self.clock = FakeClock()
            self.breaker = build(
                self.clock, failure_threshold=1, success_threshold=2, timeout_duration=0, half_open_max_calls=2
            )
            self.early = guarded_block(self.breaker)
            self.entered = None

        def overtake(self):
            in_thread(self.breaker.trip)
            in_thread(lambda: self.breaker.acquire().release())

        def enter(self):
            with contextlib.suppress(CircuitOpenError):
                self.entered = guarded_block(self.breaker)

        def leave_early(self):
            with contextlib.suppress(StopIteration, BoomError):
                next(self.early) if error is None else self.early.throw(error)

    def check(subject):
        before = subject.breaker.status()
        subject.leave_early()
        if before.state is not CircuitState.CLOSED:
            assert subject.breaker.status() == before
        if subject.entered is not None:
            with contextlib.suppress(StopIteration):
                next(subject.entered)
        assert subject.breaker.status().half_open_calls == 0

    assert in_thread(at_every_line, Subject, Subject.enter, Subject.overtake, check) > 3


@pytest.mark.parametrize("window", [CountWindow(6), TimeWindow(10)], ids=repr)
def test_an_interrupt_at_every_line_leaves_the_sums_of_a_window_right(window):
    """Wherever an interrupt strikes while a failure is recorded, the sums of the window equal its calls [B17]."""

    def make():
        breaker = build(FakeClock(), trip=FailureRate(threshold=0.9, window=window, minimum_calls=2))
        service = breaker(lambda: None)
        for _ in range(3):
            service()
        fail(breaker)
        for _ in range(2):
            service()
        return breaker

    def act(breaker):
        with contextlib.suppress(KeyboardInterrupt):
            fail(breaker)

    def strike(breaker):
        raise KeyboardInterrupt

    def sums(counter):
        return counter._failed, counter._slow, getattr(counter, "_calls", None) if isinstance(window, TimeWindow) else 0

    def check(breaker):
        counter = breaker._core._machine.period.counter
        found = sums(counter)
        counter.recount()
        assert found == sums(counter)

    assert at_every_line(make, act, strike, check) > 30
