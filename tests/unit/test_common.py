"""The code that breakers and overseers share: fields, deadlines, `call_logged`, the monitor, the outbox and wakers."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import re
import select
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import anyio
import anyio.lowlevel
import anyio.to_thread
import attrs
import pytest
import trio

from swarmguard._common import fields, monitor, waking
from swarmguard._common.call_logged import call_logged
from swarmguard._common.deadlines import reached, until
from swarmguard._common.extra import Extra
from swarmguard._common.fields import check_wiring
from swarmguard._common.monitor import PUT_OFF, SKIPPED, Monitor
from swarmguard._common.outbox import Outbox
from swarmguard._common.waking import Waker
from swarmguard.clock import SystemClock
from swarmguard.testing import EventRecorder, FakeClock
from tests.breaker_tools import SAFETY

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
HUGE = 10**400  # an integer that no float can hold


def at_fork():
    """Run the next callback of `before_fork` just before a fork."""
    if before_fork:
        before_fork.pop()()


before_fork = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=at_fork)  # registered after the package's own hook, so it runs before that hook


def in_a_child(work):
    """Return the text of what `work` returns in a forked child; a child that hangs is killed and fails the test."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, str(work()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    answered = select.select([reading], [], [], 30)[0]
    if not answered:
        os.kill(child, 9)
    os.waitpid(child, 0)
    with os.fdopen(reading) as answer:
        assert answered, "the child hangs"
        return answer.read()


# Fields


@pytest.mark.parametrize(
    ("value", "seconds"), [(0, 0.0), (3, 3.0), (0.25, 0.25), (timedelta(minutes=1), 60.0), (timedelta(0), 0.0)]
)
def test_every_form_of_a_duration_becomes_a_float(value, seconds):
    """A duration may be an int, a float or a timedelta, and becomes a float."""
    checked = fields.check_seconds("pause", value)
    assert (checked, type(checked)) == (seconds, float)


@pytest.mark.parametrize("value", [-1, -0.5, math.nan, math.inf, -math.inf, HUGE, -HUGE, timedelta(seconds=-1)])
def test_a_duration_out_of_range_raises(value):
    """A negative or non-finite duration raises a `ValueError` with its name, the allowed values and the value."""
    with pytest.raises(ValueError, match=r"^pause must be a finite number of seconds, 0 or more, got "):
        fields.check_seconds("pause", value)


@pytest.mark.parametrize("value", ["1", None, True, 1j, [1]])
def test_a_duration_of_a_wrong_type_raises(value):
    """A value that is not a duration, such as a bool, raises a `TypeError`."""
    with pytest.raises(TypeError, match=r"^pause must be a number of seconds \(int, float or timedelta\), got "):
        fields.check_seconds("pause", value)


def test_a_duration_of_zero_can_be_refused():
    """Where zero has no meaning, it raises a `ValueError` that says so."""
    assert fields.check_seconds("pause", 1e-9, zero=False) == 1e-9
    with pytest.raises(ValueError, match=r"^pause must be a finite number of seconds, more than 0, got 0$"):
        fields.check_seconds("pause", 0, zero=False)


def test_a_count_is_a_whole_number_from_its_minimum_on():
    """A count is a whole number at or above its minimum; a bool is not a count."""
    assert fields.check_count("size", 1, minimum=1) == 1
    with pytest.raises(ValueError, match=r"^size must be a whole number, 1 or more, got 0$"):
        fields.check_count("size", 0, minimum=1)
    for value in (1.0, "1", None, True):
        with pytest.raises(TypeError, match=r"^size must be a whole number, 1 or more, got "):
            fields.check_count("size", value, minimum=1)


def test_a_number_is_checked_against_its_range():
    """A number is checked against its range, with or without the lower edge, and becomes a float."""
    assert fields.check_number("jitter", 1, "0 to 1", low=0, high=1) == 1.0
    assert fields.check_number("jitter", 0, "0 to 1", low=0, high=1) == 0.0
    assert fields.check_number("factor", 10**6, "more than 0", low=0, above_low=True) == 1e6
    with pytest.raises(ValueError, match=r"^share must be more than 0, got 0$"):
        fields.check_number("share", 0, "more than 0", low=0, high=1, above_low=True)
    for value in ("1", None, True, timedelta(1)):
        with pytest.raises(TypeError, match=r"^jitter must be 0 to 1, got "):
            fields.check_number("jitter", value, "0 to 1", low=0, high=1)


@pytest.mark.parametrize("value", [-1, math.nan, math.inf, -math.inf, HUGE, -HUGE])
def test_a_number_that_is_not_finite_is_out_of_range(value):
    """A number that is not finite is out of every range, and so is one that no float can hold."""
    with pytest.raises(ValueError, match=r"^factor must be 0 or more, got "):
        fields.check_number("factor", value, "0 or more", low=0)


def test_a_value_whose_repr_raises_gets_the_right_error():
    """A value whose `repr` raises still gets the right error."""

    class Shy:
        def __repr__(self):
            raise RuntimeError

    with pytest.raises(TypeError, match=r"^name must be a non-empty str, got an object whose repr\(\) failed \(Shy\)$"):
        fields.check_text("name", Shy())


def test_a_text_is_a_non_empty_str():
    """A text is a non-empty `str`."""
    assert fields.check_text("name", " ") == " "
    with pytest.raises(ValueError, match=r"^name must be a non-empty str, got ''$"):
        fields.check_text("name", "")
    with pytest.raises(TypeError, match=r"^name must be a non-empty str, got b'x' \(bytes\)$"):
        fields.check_text("name", b"x")


def test_a_value_that_is_not_callable_raises():
    """A value that is not callable raises a `TypeError` that says what is expected."""
    fields.check_callable("fn", print)
    for value in (None, 1):
        with pytest.raises(TypeError, match=rf"^fn must be a callable, got {value} \({type(value).__name__}\)$"):
            fields.check_callable("fn", value)
    with pytest.raises(TypeError, match=r"^main must be an async callable, got 1 \(int\)$"):
        fields.check_callable("main", 1, "an async callable")


def test_a_callback_is_a_callable_or_none():
    """A callback is a callable or None."""
    fields.check_callable_or_none("sink", None)
    fields.check_callable_or_none("sink", print)
    with pytest.raises(TypeError, match=r"^sink must be a callable or None, got 1 \(int\)$"):
        fields.check_callable_or_none("sink", 1)


@pytest.mark.parametrize("seconds", [0, 2.5, -1, math.inf, -math.inf])
def test_a_sleep_may_be_zero_negative_or_infinite(seconds):
    """A sleep may last zero, negative or infinite seconds."""
    assert fields.check_delay("seconds", seconds) == seconds


def test_a_sleep_beyond_all_floats_is_infinite():
    """An integer that no float can hold becomes an infinite sleep, positive or negative."""
    assert fields.check_delay("seconds", 10**400) == math.inf
    assert fields.check_delay("seconds", -(10**400)) == -math.inf


def test_an_invalid_sleep_raises():
    """A sleep that is not a number, or NaN, is refused."""
    for value in ("1", None, True, timedelta(1)):
        got = re.escape(f"got {value!r} ({type(value).__name__})")
        with pytest.raises(TypeError, match=rf"^seconds must be a number of seconds \(int or float\), {got}$"):
            fields.check_delay("seconds", value)
    with pytest.raises(ValueError, match=r"^seconds must be a number of seconds, got nan$"):
        fields.check_delay("seconds", math.nan)


def test_a_value_that_is_not_an_instance_raises():
    """A value that is not an instance of the class raises a `TypeError` that names the class."""
    clock = SystemClock()
    assert fields.check_instance("clock", clock, SystemClock) is clock
    with pytest.raises(TypeError, match=r"^clock must be a SystemClock, got None \(NoneType\)$"):
        fields.check_instance("clock", None, SystemClock)
    with pytest.raises(TypeError, match=r"^clock must be something else, got None"):
        fields.check_instance("clock", None, SystemClock, "something else")


@attrs.frozen(kw_only=True)
class Settings:
    """A configuration with a field of every kind."""

    pause: float = attrs.field(default=1.0, converter=fields.to_seconds, validator=fields.seconds())
    limit: float = attrs.field(default=1.0, converter=fields.to_seconds, validator=fields.seconds(zero=False))
    reset: float | None = attrs.field(
        default=None, converter=fields.to_seconds_or_none, validator=fields.optional(fields.seconds())
    )
    size: int = attrs.field(default=1, validator=fields.count(1))
    rate: float = attrs.field(default=0.5, validator=fields.share())
    name: str = attrs.field(default="x", validator=fields.text())


def test_duration_fields_store_floats():
    """Duration fields take every form of a duration and store a float; None stays None."""
    settings = Settings(pause=timedelta(seconds=2), limit=3, reset=timedelta(hours=1))
    assert (settings.pause, settings.limit, settings.reset) == (2.0, 3.0, 3600.0)
    assert isinstance(settings.limit, float)
    assert Settings().reset is None


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("pause", -1, ValueError),
        ("pause", HUGE, ValueError),
        ("pause", -HUGE, ValueError),
        ("pause", "1", TypeError),
        ("pause", True, TypeError),
        ("limit", 0, ValueError),
        ("reset", math.nan, ValueError),
        ("size", 0, ValueError),
        ("size", 1.5, TypeError),
        ("rate", 0, ValueError),
        ("rate", 1.01, ValueError),
        ("name", "", ValueError),
        ("name", None, TypeError),
    ],
)
def test_an_invalid_field_is_named(field, value, error):
    """The error names the invalid field."""
    with pytest.raises(error, match=f"^{field} must be "):
        Settings(**{field: value})


def test_the_clock_the_sink_and_the_prefix_are_checked():
    """The clock, the sink and the topic prefix are checked, and the error names the argument. [C1]"""
    check_wiring(SystemClock(), None, "arb.swarm")
    with pytest.raises(TypeError, match=r"^clock must be a Clock, "):
        check_wiring(None, None, "arb.swarm")
    with pytest.raises(TypeError, match=r"^sink must be "):
        check_wiring(FakeClock(), "sink", "arb.swarm")
    with pytest.raises(ValueError, match=r"^topic_prefix must be "):
        check_wiring(FakeClock(), print, "")


# Deadlines


def test_a_deadline_is_reached_at_its_own_time():
    """A deadline is reached at its own time, and not a nanosecond before."""
    assert reached(30.0, 30.0)
    assert reached(31.0, 30.0)
    assert not reached(30.0 - 1e-9, 30.0)
    assert not reached(0.0, math.inf)


@pytest.mark.parametrize("start", [0.0, 0.1, 12345.678, 1e9 / 3])
def test_a_deadline_survives_float_arithmetic(start):
    """A duration in ten steps or in one ends at the same time, wherever the clock starts."""
    now = start
    for _ in range(10):
        now += 0.1
    assert reached(now, start + 1.0)
    assert until(now, start + 1.0) == 0.0


def test_the_time_until_a_deadline_is_never_negative():
    """The time until a deadline is never negative, and 0.0 exactly when the deadline is reached."""
    assert until(10.0, 12.5) == 2.5
    assert until(12.5, 12.5) == 0.0
    assert until(13.0, 12.5) == 0.0
    assert until(1.0, math.inf) == math.inf


# call_logged


def test_the_answer_of_a_callback_is_returned(caplog):
    """The answer of the callback is returned, and nothing is logged."""
    assert call_logged("the sink", None, max, 1, 2) == 2
    assert caplog.records == []


def test_an_error_of_a_callback_is_logged(caplog):
    """An error of the callback goes to the `swarmguard` logger, and the fallback is returned. [C4]"""
    assert call_logged("the sink", "fallback", int, "x") == "fallback"
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("swarmguard", logging.ERROR)
    assert record.getMessage() == "the sink raised; ignored"
    assert record.exc_info[0] is ValueError


def test_nothing_is_logged_as_the_interpreter_ends(monkeypatch, caplog):
    """A callback that raises during interpreter shutdown gives the fallback, even if logging is gone. [C4]"""
    monkeypatch.setattr(sys, "is_finalizing", lambda: True)
    assert call_logged("the sink", "fallback", lambda: 1 / 0) == "fallback"
    assert caplog.records == []


def test_an_interrupt_in_a_callback_passes_through():
    """A `KeyboardInterrupt` in a callback is not caught."""

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call_logged("the sink", None, interrupt)


# The monitor


def test_run_returns_the_result():
    """`run` returns the action's result, and raises the action's exception."""
    guard = Monitor()
    assert guard.run(max, 1, 2) == 2
    with pytest.raises(ZeroDivisionError):
        guard.run(divmod, 1, 0)
    assert guard.run(max, 3, 4) == 4


def test_look_returns_the_result():
    """`look` returns the reading's result."""
    assert Monitor().read(max, 1, 2) == 2


def test_a_second_thread_waits_for_the_first():
    """A second thread waits until the first has left."""
    guard, inside, go, done = Monitor(), threading.Event(), threading.Event(), []

    def slow():
        inside.set()
        go.wait(10)
        done.append("first")

    with ThreadPoolExecutor(2) as pool:
        pool.submit(guard.run, slow)
        inside.wait(10)
        second = pool.submit(guard.run, done.append, "second")
        go.set()
        second.result(10)
    assert done == ["first", "second"]


def test_an_action_from_inside_is_put_off():
    """An action on the thread that is inside runs at the end, and `run` returns `PUT_OFF`."""
    guard, done = Monitor(), []

    def action():
        assert guard.run(done.append, "from inside") is PUT_OFF
        done.append("the whole action")
        return "answer"

    assert guard.run(action) == "answer"
    assert done == ["the whole action", "from inside"]


def test_try_run_skips_an_action_from_inside():
    """`try_run` returns `SKIPPED`, and runs nothing, on the thread that is inside; elsewhere it runs the action."""
    guard, done = Monitor(), []

    def action():
        return [guard.try_run(done.append, "from inside")]

    assert guard.run(action) == [SKIPPED]
    assert done == []
    assert guard.try_run(max, 1, 2) == 2


def test_a_finalizer_inside_an_action_is_put_off():
    """A finalizer that uses the monitor in the middle of an action runs after the action."""
    guard, done = Monitor(), []

    class LastWords:
        def __del__(self):
            guard.run(done.append, "finalizer")

    def action(held):
        held.clear()
        done.append("action")

    guard.run(action, [LastWords()])
    assert done == ["action", "finalizer"]


def test_a_put_off_action_may_put_off_another_one():
    """A put-off action may put off another one: all of them run before the monitor is left."""
    guard, done = Monitor(), []

    def put_off(depth):
        done.append(depth)
        if depth < 3:
            guard.run(put_off, depth + 1)

    guard.run(put_off, 0)
    assert done == [0, 1, 2, 3]


def test_put_off_actions_run_after_an_error_too():
    """Put-off actions run even if the action that they interrupted fails."""
    guard, done = Monitor(), []

    def action():
        guard.run(done.append, "put off")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        guard.run(action)
    assert done == ["put off"]


def test_an_error_of_a_put_off_action_is_logged(caplog):
    """An error of a put-off action is logged, and the remaining actions run."""
    guard, done = Monitor(), []
    guard.defer(int, "x")
    guard.defer(done.append, "second")
    assert guard.run(max, 1, 2) == 2
    assert done == ["second"]
    assert [record.getMessage().split(";")[0] for record in caplog.records] == ["a deferred action raised"]


def test_an_interrupt_leaves_the_monitor_usable():
    """A `KeyboardInterrupt` during a put-off action leaves the monitor usable."""

    def interrupt():
        raise KeyboardInterrupt

    def action():
        guard.run(interrupt)

    guard = Monitor()
    with pytest.raises(KeyboardInterrupt):
        guard.run(action)
    assert guard.run(max, 1, 2) == 2


def test_a_reading_from_inside_is_not_put_off():
    """A reading inside the monitor, on the same thread, runs at once."""
    guard = Monitor()
    assert guard.run(guard.read, max, 1, 2) == 2


def test_an_action_during_a_reading_is_put_off():
    """An action in the middle of a reading is put off, so the reading is consistent."""
    guard, state = Monitor(), [1, 1]

    def change():
        state[:] = [2, 2]

    def reading():
        first = state[0]
        guard.run(change)
        return first, state[1]

    assert guard.read(reading) == (1, 1)
    assert state == [2, 2]


def test_a_lock_that_a_stopped_thread_holds_is_not_waited_for(monkeypatch):
    """At interpreter shutdown, a lock held by a stopped thread is not waited for, and a free one is taken. [B9]"""
    guard, holds, go_on = Monitor(), threading.Event(), threading.Event()

    def hold():
        holds.set()
        assert go_on.wait(SAFETY)

    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(guard.run, hold)
        assert holds.wait(SAFETY)
        monkeypatch.setattr(sys, "is_finalizing", lambda: True)
        assert guard.try_run(lambda: "done") is SKIPPED
        assert guard.read(lambda: "seen") == "seen"
        go_on.set()
        held.result(SAFETY)
    assert guard.run(lambda: "done") == "done"
    assert guard.read(lambda: "seen") == "seen"


def test_defer_does_not_wait_for_another_thread():
    """While another thread is inside, `defer` returns at once, and the action runs before that thread leaves."""
    guard, inside, go, done = Monitor(), threading.Event(), threading.Event(), []

    def action():
        inside.set()
        go.wait(10)

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(guard.run, action)
        inside.wait(10)
        guard.defer(done.append, "deferred")
        assert done == []
        go.set()
        running.result(10)
    assert done == ["deferred"]


@pytest.mark.parametrize("take", [Monitor.run, Monitor.read])
def test_deferred_actions_run_before_the_next_action_or_reading(take):
    """Deferred actions run before the next action or reading."""
    guard, done = Monitor(), []
    guard.defer(done.append, 1)
    guard.defer(done.append, 2)
    assert take(guard, done.copy) == [1, 2]


def test_events_are_delivered_after_the_lock_is_released(clock, events):
    """A sink may read the object that emits, even from another thread, since no lock is held. [C4]"""
    seen = []
    with ThreadPoolExecutor(1) as pool:

        def sink(event):
            events(event)
            seen.append(pool.submit(guard.read, len, events.events).result(10))

        outbox = Outbox("me", sink, clock, "arb.swarm")
        guard = Monitor(outbox)
        guard.run(outbox.put, "paused", {}, 0.0)
    assert seen == [1]


def test_events_of_a_failed_action_are_delivered(clock, events):
    """An event that was queued before its action failed is delivered. [C6]"""
    outbox = Outbox("me", events, clock, "arb.swarm")
    guard = Monitor(outbox)

    def action():
        outbox.put("paused", {}, 0.0)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        guard.run(action)
    assert events.topics == ["arb.swarm.paused"]


def test_events_of_deferred_actions_are_delivered_by_a_reader(clock, events):
    """Events of deferred actions are delivered by the next user of the monitor, even by a reading. [C6]"""
    outbox = Outbox("me", events, clock, "arb.swarm")
    guard = Monitor(outbox)
    guard.defer(outbox.put, "paused", {}, 0.0)
    guard.read(max, 1, 2)
    assert events.topics == ["arb.swarm.paused"]


# Forks


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_waits_until_a_change_is_complete():
    """A fork while another thread is in the middle of an action gives the child a whole state and a free lock. [B19]"""
    guard, inside, go, halves = Monitor(), threading.Event(), threading.Event(), []

    def action():
        halves.append("first half")
        inside.set()
        go.wait(10)
        halves.append("second half")

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(guard.run, action)
        inside.wait(10)
        before_fork.append(go.set)
        assert in_a_child(lambda: guard.read(len, halves)) == "2"
        running.result(10)
    assert guard.run(halves.copy) == ["first half", "second half"]


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_forked_inside_an_action_can_finish_it():
    """A child that is forked in the middle of an action can finish the action and continue. [B19]"""
    guard = Monitor()

    def child():
        return "in the child", guard.run(max, 1, 2)

    assert guard.run(in_a_child, child) == "('in the child', <NotRun.PUT_OFF: 'put off'>)"
    assert in_a_child(lambda: guard.run(max, 1, 2)) == "2"


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_delivers_its_own_events(clock, events):
    """While a parent thread hangs in the sink, the child's events are delivered, and the parent's only once. [B19]"""
    stuck, go = threading.Event(), threading.Event()

    def sink(event):
        events(event)
        if event.sequence == 1:
            stuck.set()
            go.wait(10)

    outbox = Outbox("me", sink, clock, "arb.swarm")
    guard = Monitor(outbox)

    def child():
        guard.run(outbox.put, "resumed", {}, 0.0)
        return [event.sequence for event in events.events]

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(guard.run, outbox.put, "paused", {}, 0.0)
        stuck.wait(10)
        guard.run(outbox.put, "agent.started", {}, 0.0)
        assert in_a_child(child) == "[1, 3]"
        go.set()
        running.result(10)
    assert [event.sequence for event in events.events] == [1, 2]


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_sink_may_fork(clock, events):
    """A sink that forks returns in the child as in the parent. [B19]"""

    def sink(event):
        events(event)
        if event.sequence == 1:
            reading, writing = os.pipe()
            forked[:] = [os.fork(), reading, writing]

    forked = []
    outbox = Outbox("me", sink, clock, "arb.swarm")
    guard = Monitor(outbox)
    try:
        guard.run(outbox.put, "paused", {}, 0.0)
        guard.run(outbox.put, "resumed", {}, 0.0)
        answer = str(events.topics).encode()
    except BaseException as error:
        answer = repr(error).encode()
        if forked[0]:
            raise
    child, reading, writing = forked
    if child == 0:
        os.write(writing, answer)
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as heard:
        assert heard.read() == answer == b"['arb.swarm.paused', 'arb.swarm.resumed']"


def test_a_child_gets_new_locks(clock, events):
    """The fork hook frees all monitors and outboxes in the child, even if a parent thread held them. [B19]"""
    outbox = Outbox("me", events, clock, "arb.swarm")
    guards = Monitor(outbox), Monitor()
    outbox._delivering.acquire()
    outbox.put("paused", {}, 0.0)
    monitor._before_fork()
    monitor._after_fork_in_child()
    with ThreadPoolExecutor(1) as pool:
        for guard in guards:
            pool.submit(guard.run, outbox.put, "resumed", {}, 0.0).result(10)
    assert [event.sequence for event in events.events] == [2]
    assert monitor._held == []


def test_a_parent_gets_its_monitors_back():
    """The fork hook releases all monitors in the parent. [B19]"""
    guard = Monitor()
    monitor._before_fork()
    assert guard in monitor._held
    monitor._after_fork_in_parent()
    assert monitor._held == []
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(guard.run, max, 1, 2).result(10) == 2


def test_monitors_are_not_kept_for_forks():
    """The fork hooks keep no unused monitor alive."""
    guard = Monitor()
    identity = id(guard)
    assert identity in monitor._monitors
    del guard
    assert identity not in monitor._monitors


# The outbox


def make(sink, clock=None):
    """Return a monitor whose outbox delivers to the sink, and a function that emits an event."""
    outbox = Outbox("overseer", sink, clock or FakeClock(), "arb.swarm")
    guard = Monitor(outbox)
    return guard, lambda **payload: guard.run(outbox.put, "paused", payload, 0.0)


def test_an_event_is_numbered_dated_and_named():
    """An event has the topic prefix, its source, its number, and the date at which it was queued. [C3]"""
    clock, recorder = FakeClock(), EventRecorder()
    outbox = Outbox("payments", recorder, clock, "my.prefix")
    outbox.put("circuit.opened", {"name": "payments"}, clock.monotonic())
    born = clock.now()
    clock.advance(1.5)
    outbox.put("circuit.closed", {}, clock.monotonic())
    outbox.deliver()
    first, second = recorder.events
    assert (first.topic, first.source, first.sequence, first.at) == ("my.prefix.circuit.opened", "payments", 1, born)
    assert (second.topic, second.sequence, second.at) == ("my.prefix.circuit.closed", 2, born + timedelta(seconds=1.5))
    assert first.payload == {"name": "payments"}


def test_an_empty_outbox_delivers_nothing():
    """An empty outbox delivers nothing."""
    recorder = EventRecorder()
    Outbox("me", recorder, FakeClock(), "arb.swarm").deliver()
    assert recorder.events == []


def test_an_error_of_the_sink_is_logged(caplog):
    """An error of the sink is logged with the topic, and the next event is delivered. [C4]"""
    recorder = EventRecorder()

    def sink(event):
        recorder(event)
        raise ValueError("no")

    _, emit = make(sink)
    emit()
    emit()
    assert [event.sequence for event in recorder.events] == [1, 2]
    assert [record.name for record in caplog.records] == ["swarmguard"] * 2
    assert "arb.swarm.paused" in caplog.records[0].getMessage()


@pytest.mark.parametrize("reading", ["monotonic", "now"])
def test_a_clock_that_raises_when_an_event_is_dated(caplog, monkeypatch, reading):
    """An error of the clock goes to the log with the topic; the event is dropped, and the next one is sent. [C4]"""
    recorder = EventRecorder()
    clock = FakeClock()
    _, emit = make(recorder, clock)
    with monkeypatch.context() as broken:
        broken.setattr(FakeClock, reading, lambda self: 1 / 0)
        emit()
    emit()
    assert [event.sequence for event in recorder.events] == [2]
    (record,) = caplog.records
    assert record.getMessage() == "the clock, dating arb.swarm.paused, raised; ignored"
    assert record.exc_info[0] is ZeroDivisionError


def test_a_sink_that_interrupts():
    """A `KeyboardInterrupt` in the sink reaches the caller, and the next call delivers the remaining events. [C6]"""
    recorder = EventRecorder()

    def sink(event):
        recorder(event)
        if event.sequence == 1:
            raise KeyboardInterrupt

    _, emit = make(sink)
    with pytest.raises(KeyboardInterrupt):
        emit()
    emit()
    assert [event.sequence for event in recorder.events] == [1, 2]


def test_a_sink_that_emits_gets_its_events_in_order():
    """A sink that causes events gets them in order, after the one that it is handling. [C4] [C6]"""
    heard = []

    def sink(event):
        heard.append(("begins", event.sequence))
        if event.sequence < 3:
            emit()
        heard.append(("ends", event.sequence))

    _, emit = make(sink)
    emit()
    assert heard == [(what, sequence) for sequence in (1, 2, 3) for what in ("begins", "ends")]


def test_a_hanging_sink_delays_no_other_thread():
    """While one thread hangs in the sink, other threads emit and continue; their events follow in order. [C6]"""
    stuck, go, recorder = threading.Event(), threading.Event(), EventRecorder()

    def sink(event):
        recorder(event)
        if event.sequence == 1:
            stuck.set()
            go.wait(10)

    _, emit = make(sink)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(emit)
        stuck.wait(10)
        for _ in range(3):
            emit()
        assert [event.sequence for event in recorder.events] == [1]
        go.set()
        running.result(10)
    assert [event.sequence for event in recorder.events] == [1, 2, 3, 4]


def test_an_event_at_the_release_of_the_lock_is_delivered():
    """An event that is queued just before the delivering thread releases the lock is delivered by that thread. [C6]"""
    recorder = EventRecorder()
    outbox = Outbox("me", recorder, FakeClock(), "arb.swarm")

    class LateTurn:
        """A lock at whose release another thread has just queued an event."""

        def __init__(self):
            self.lock = threading.Lock()
            self.acquire = self.lock.acquire

        def release(self):
            if len(recorder.events) == 1:
                outbox.put("resumed", {}, 0.0)
                outbox.deliver()
            self.lock.release()

    outbox._delivering = LateTurn()
    outbox.put("paused", {}, 0.0)
    outbox.deliver()
    assert recorder.topics == ["arb.swarm.paused", "arb.swarm.resumed"]


def test_events_of_many_threads_stay_in_order():
    """Under many threads the sink gets every event once, in the order of its number and of the change. [C6]"""
    recorder, changes = EventRecorder(), []
    outbox = Outbox("me", recorder, FakeClock(), "arb.swarm")
    guard = Monitor(outbox)

    def change():
        changes.append(len(changes) + 1)
        outbox.put("paused", {"change": changes[-1]}, 0.0)

    def work(_):
        for _ in range(200):
            guard.run(change)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert [event.sequence for event in recorder.events] == list(range(1, 1601))
    assert [event.payload["change"] for event in recorder.events] == changes


def test_an_event_is_delivered_before_the_call_returns():
    """An event is delivered before the call that caused it returns, if no other thread is delivering. [C6]"""
    recorder = EventRecorder()
    _, emit = make(recorder)
    for emitted in range(1, 4):
        emit()
        assert len(recorder.events) == emitted


# Waking


@pytest.mark.anyio
@pytest.mark.parametrize("wake", [Waker.wake, Waker.wake_at_once])
async def test_a_task_wakes_another_task_of_its_loop(wake):
    """A task wakes another task of its loop before or during its wait; waking it twice does no harm."""
    early, late = Waker(), Waker()
    wake(early)
    wake(early)
    await early.wait()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(late.wait)
        await FakeClock().run_for(0)
        wake(late)


@pytest.mark.anyio
@pytest.mark.parametrize("wake", [Waker.wake, Waker.wake_at_once])
async def test_a_thread_without_a_loop_wakes_a_task(wake):
    """A thread without an event loop wakes a task."""
    waker = Waker()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waker.wait)
        await anyio.to_thread.run_sync(wake, waker)


@pytest.mark.anyio
@pytest.mark.parametrize("wake", [Waker.wake, Waker.wake_at_once])
@pytest.mark.parametrize("other", ["asyncio", "trio"])
async def test_a_task_of_another_loop_wakes_a_task(wake, other):
    """A task of another loop, on either backend, wakes a task."""
    waker = Waker()

    async def elsewhere():
        assert Waker().loop is not waker.loop
        wake(waker)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waker.wait)
        await anyio.to_thread.run_sync(lambda: anyio.run(elsewhere, backend=other))


@pytest.mark.parametrize("wake", [Waker.wake, Waker.wake_at_once])
@pytest.mark.parametrize("run", [asyncio.run, lambda main: trio.run(lambda: main)], ids=["asyncio", "trio"])
def test_waking_a_task_of_a_closed_loop_does_nothing(wake, run):
    """Waking a task of a closed loop does nothing and raises nothing."""

    async def main():
        return Waker()

    wake(run(main()))


@pytest.mark.anyio
async def test_wakers_of_one_loop_have_the_same_loop():
    """Wakers of one loop have the same `loop`."""
    assert Waker().loop is Waker().loop


def test_an_action_deferred_during_the_release_runs():
    """An action that is deferred at the moment of the release still runs. [B9]"""
    guard, done = Monitor(), []
    lock = guard._lock

    class Late:
        """The monitor's lock; at its first release a finalizer strikes."""

        def __enter__(self):
            return lock.__enter__()

        def __exit__(self, *exc_info):
            if not done:
                guard.defer(done.append, "late")
            lock.__exit__(*exc_info)

        def _is_owned(self):
            return lock._is_owned()

    guard._lock = Late()
    assert guard.run(max, 1, 2) == 2
    assert done[0] == "late"
    guard._lock = lock  # where classes are immortal, the monitor is still there at the next fork


@pytest.mark.parametrize("with_outbox", [False, True])
def test_a_child_gets_a_free_lock_and_an_empty_outbox(clock, events, with_outbox):
    """After a fork the child has a new, free lock, and its outbox drops the events that the parent delivers. [B19]"""
    outbox = Outbox("me", events, clock, "arb.swarm") if with_outbox else None
    guard = Monitor(outbox)
    if outbox is not None:
        outbox.put("paused", {}, 0.0)
    before = guard._lock
    guard.hold_for_fork()
    guard.renew_after_fork()
    assert guard._lock is not before
    assert not guard.is_inside()
    assert guard.run(max, 1, 2) == 2
    assert not events.events


def test_a_fork_in_the_middle_of_an_action_keeps_the_lock():
    """A child that was forked inside an action keeps the lock until the action is done. [B19]"""
    guard = Monitor()

    def action():
        guard.hold_for_fork()
        guard.renew_after_fork()
        return guard.is_inside()

    assert guard.run(action)
    assert not guard.is_inside()
    assert guard.run(max, 1, 2) == 2


def test_a_missing_library_names_its_extra():
    """A failed import names the extra to install; other errors and successful blocks are not affected."""
    with pytest.raises(ImportError) as caught, Extra("tea"):
        import no_such_pot  # noqa: F401 - does not exist
    assert str(caught.value) == (
        "swarmguard.tea cannot be imported (No module named 'no_such_pot'): pip install \"swarmguard[tea]\""
    )
    assert caught.value.name == "no_such_pot"
    with pytest.raises(LookupError, match=r"^cold$"), Extra("tea"):
        raise LookupError("cold")
    with Extra("tea"):
        pass


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_child_wakes_no_task_of_its_parent(backend, monkeypatch):
    """A waker from before a fork does nothing in the child, whose copy of the loop never runs. [B19]"""

    async def host():
        waker = Waker()
        monkeypatch.setattr(waking, "_process", waking._process)  # restored afterwards
        waking._after_fork_in_child()
        waker.wake()
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        assert not waker._event.is_set()

    anyio.run(host, backend=backend)
