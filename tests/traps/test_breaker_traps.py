"""Defects that were found in other circuit breakers: each test fails on such a defect."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import subprocess
import sys
import textwrap
import threading
import traceback
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

import swarmguard
from swarmguard import (
    BreakerMode,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitBreakerRegistry,
    CircuitOpenError,
    CircuitState,
    CountWindow,
    FailureRate,
    TimeWindow,
)
from swarmguard.testing import FakeClock
from tests.breaker_tools import (
    SAFETY,
    BoomError,
    FatalError,
    boom,
    build,
    due_breaker,
    fail,
    half_open_breaker,
    in_thread,
    logged,
    open_breaker,
    raising,
    refused,
    succeed,
)
from tests.threads.interleave import Interleaver

ENDS = ["succeed", "fail", "release"]


# T01


@pytest.mark.anyio
async def test_a_cancelled_probe_is_neutral(clock):
    """A cancelled probe neither closes the circuit, nor counts as a failure, nor keeps its slot [T01]."""
    breaker = due_breaker(clock, success_threshold=1, half_open_max_calls=1)
    for _ in range(5):
        with anyio.CancelScope() as scope:
            scope.cancel()
            await breaker.execute(anyio.sleep_forever)
        assert scope.cancelled_caught
        assert (breaker.state, breaker.status().half_open_calls) == (CircuitState.HALF_OPEN, 0)
    assert await breaker.execute(anyio.lowlevel.checkpoint) is None
    assert breaker.state is CircuitState.CLOSED


@pytest.mark.anyio
async def test_a_cancelled_call_never_opens_the_circuit(clock):
    """A cancelled call on a closed circuit is not a failure: a timeout around the breaker never opens it [T01]."""
    breaker = build(clock, failure_threshold=1)
    for _ in range(5):
        with anyio.move_on_after(0):
            await breaker.execute(anyio.sleep_forever)
    assert breaker.state is CircuitState.CLOSED


# T02


class Service:
    """A service that counts the callers inside it, and holds them until all the others are inside or refused."""

    def __init__(self, callers):
        self.callers = callers
        self.inside = self.most = self.refused = 0
        self.changed = threading.Condition()

    def count_refusal(self):
        """Count a caller that was refused."""
        with self.changed:
            self.refused += 1
            self.changed.notify_all()

    def serve(self):
        """Hold the caller until all others are inside or refused."""
        with self.changed:
            self.inside += 1
            self.most = max(self.most, self.inside)
            self.changed.notify_all()
            assert self.changed.wait_for(lambda: self.inside + self.refused == self.callers, SAFETY)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("slots", [1, 3])
def test_of_twenty_threads_only_the_probes_run(clock, slots, seed):
    """Of twenty threads that arrive when the open time ends, only the probes reach the service [T02]."""
    breaker = due_breaker(clock, half_open_max_calls=slots, success_threshold=100)
    service = Service(20)

    def caller():
        try:
            breaker.call(service.serve)
        except CircuitOpenError:
            service.count_refusal()

    Interleaver(seed).run([caller] * 20)
    assert (service.most, service.refused) == (slots, 20 - slots)


@pytest.mark.anyio
@pytest.mark.parametrize("slots", [1, 3])
async def test_of_twenty_tasks_only_the_probes_run(clock, slots):
    """Of twenty tasks that arrive when the open time ends, only the probes reach the service [T02]."""
    breaker = due_breaker(clock, half_open_max_calls=slots, success_threshold=100)
    reached, refusals, all_arrived = [], [], anyio.Event()

    async def service():
        reached.append(1)
        await all_arrived.wait()

    async def caller():
        try:
            await breaker.execute(service)
        except CircuitOpenError:
            refusals.append(1)

    with anyio.fail_after(SAFETY):
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(caller)
            await anyio.wait_all_tasks_blocked()
            assert (len(reached), len(refusals)) == (slots, 20 - slots)
            all_arrived.set()


# T03


@pytest.mark.parametrize("end", ENDS)
def test_a_late_call_changes_nothing_of_a_half_open_circuit(clock, end):
    """A late call neither closes nor opens the half-open circuit, nor frees a slot that it never held [T03]."""
    breaker = build(clock, failure_threshold=1, success_threshold=1, timeout_duration=10, half_open_max_calls=1)
    late = breaker.acquire()
    fail(breaker)
    clock.advance(10)
    probe = breaker.acquire()
    getattr(late, end)()
    assert (breaker.state, breaker.status().half_open_calls) == (CircuitState.HALF_OPEN, 1)
    refused(breaker)
    probe.succeed()
    assert breaker.state is CircuitState.CLOSED


# T04


def test_late_failures_do_not_prolong_the_open_time(clock):
    """Failures of calls that were under way when the circuit opened do not prolong the open time [T04]."""
    breaker = build(clock, failure_threshold=1, timeout_duration=10)
    late = [breaker.acquire() for _ in range(9)]
    fail(breaker)
    for permit in late:
        clock.advance(1)
        permit.fail()
    assert breaker.retry_after == 1.0
    clock.advance(1)
    succeed(breaker)


# T05


def test_a_late_failure_does_not_undo_a_reset(clock):
    """The late failure of a call that was under way at `reset()` does not trip the circuit again [T05]."""
    breaker = build(clock, failure_threshold=1)

    def fail_after_reset():
        breaker.reset()
        boom()

    with pytest.raises(BoomError):
        breaker.call(fail_after_reset)
    assert (breaker.state, breaker.status().failure_count) == (CircuitState.CLOSED, 0)


# T06


def test_calls_run_concurrently(clock):
    """Ten threads can be inside the guarded function at once: no lock is held while it runs [T06]."""
    breaker = build(clock)
    all_inside = threading.Barrier(10)
    Interleaver(0).run([lambda: breaker.call(all_inside.wait, SAFETY)] * 10)


def test_a_hung_call_does_not_block_the_operator(clock):
    """`trip`, `reset`, readings and `set_mode` do not wait for a call that hangs [T06]."""
    breaker = build(clock)
    inside, go = threading.Event(), threading.Event()

    def hang():
        inside.set()
        go.wait(SAFETY)

    thread = threading.Thread(target=breaker.call, args=(hang,), daemon=True)
    thread.start()
    assert inside.wait(SAFETY)
    for command in (breaker.trip, breaker.reset, breaker.status, lambda: breaker.set_mode(BreakerMode.ISOLATED)):
        in_thread(command)
    assert thread.is_alive()
    go.set()
    thread.join(SAFETY)


# T07


async def failing_coroutine_function():
    """Fail when awaited."""
    raise BoomError


def run_async(awaitable):
    """Run a coroutine that never waits, without an event loop."""
    with contextlib.suppress(StopIteration):
        awaitable.__await__().send(None)


def test_a_coroutine_counts_when_it_has_run(clock):
    """A coroutine counts when it has run, not when it is created: five failures open the circuit [T07]."""
    for face in (
        lambda breaker: breaker(failing_coroutine_function)(),
        lambda breaker: breaker.execute(failing_coroutine_function),
        lambda breaker: breaker.execute(lambda: failing_coroutine_function()),  # noqa: PLW0108 - the lambda is tested
    ):
        breaker = build(clock)
        for _ in range(5):
            with pytest.raises(BoomError):
                run_async(face(breaker))
        assert breaker.state is CircuitState.OPEN


def test_a_returned_coroutine_raises_and_is_no_success(clock):
    """A coroutine returned under `call` or by a plain function raises a `TypeError`, and is never a success [T07]."""
    breaker = half_open_breaker(clock, success_threshold=1)

    @breaker
    def disguised():
        return failing_coroutine_function()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for face in (disguised, lambda: breaker.call(failing_coroutine_function), lambda: breaker.call(disguised)):
            with pytest.raises(TypeError):
                face()
        gc.collect()
    assert caught == []
    status = breaker.status()
    assert (status.state, status.success_count, status.half_open_calls) == (CircuitState.HALF_OPEN, 0, 0)


# T08


def test_a_failure_in_mid_iteration_is_recorded(clock):
    """A failure in the middle of an iteration is recorded [T08]."""
    breaker = build(clock, failure_threshold=1)

    @breaker
    def numbers():
        yield 1
        boom()

    with pytest.raises(BoomError):
        list(numbers())
    assert breaker.state is CircuitState.OPEN


def test_break_out_of_a_generator_is_neutral(clock):
    """`break` counts neither as a failure nor as a success, and frees the slot [T08]."""
    breaker = half_open_breaker(clock, success_threshold=1)

    @breaker
    def numbers():
        yield from range(5)

    for _ in numbers():
        break
    gc.collect()
    assert (breaker.state, breaker.status().half_open_calls) == (CircuitState.HALF_OPEN, 0)


def test_send_and_throw_work_through_the_guard(clock):
    """`send`, `throw` and the return value work through the guard [T08]."""

    @build(clock)
    def echo():
        got = yield "ready"
        try:
            yield got
        except BoomError:
            return "thrown"

    iterator = echo()
    assert [next(iterator), iterator.send("sent")] == ["ready", "sent"]
    with pytest.raises(StopIteration) as caught:
        iterator.throw(BoomError())
    assert caught.value.value == "thrown"


@pytest.mark.anyio
async def test_a_failure_in_mid_async_iteration_is_recorded(clock):
    """For async generators too, failures count and leaving early does not [T08]."""
    breaker = half_open_breaker(clock, success_threshold=1)

    @breaker
    async def numbers():
        yield 1
        boom()

    async with contextlib.aclosing(numbers()) as iterator:
        assert await anext(iterator) == 1
    assert (breaker.state, breaker.status().half_open_calls) == (CircuitState.HALF_OPEN, 0)
    with pytest.raises(BoomError):
        async for _ in numbers():
            pass
    assert breaker.state is CircuitState.OPEN


# T09


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, FatalError])
def test_an_interrupted_call_is_neutral(clock, error):
    """`KeyboardInterrupt` and similar exceptions are not failures, and do not close a half-open circuit [T09]."""
    breaker = build(clock, failure_threshold=1, record_exceptions=BaseException)
    with pytest.raises(error):
        breaker.call(raising(error()))
    assert breaker.state is CircuitState.CLOSED
    breaker = due_breaker(clock, success_threshold=1, half_open_max_calls=1)
    with pytest.raises(error):
        breaker.call(raising(error()))
    assert (breaker.state, breaker.status().half_open_calls) == (CircuitState.HALF_OPEN, 0)


# T10


def test_an_ignored_exception_is_no_success(clock):
    """An ignored exception neither resets the failure count nor closes a half-open circuit [T10]."""
    breaker = build(clock, failure_threshold=2, ignore_exceptions=KeyError)
    fail(breaker)
    with pytest.raises(KeyError):
        breaker.call(raising(KeyError()))
    fail(breaker)
    assert breaker.state is CircuitState.OPEN
    clock.advance(30)
    for _ in range(20):
        with pytest.raises(KeyError):
            breaker.call(raising(KeyError()))
        assert breaker.state is CircuitState.HALF_OPEN


def test_an_ignored_exception_leaks_no_slot(clock):
    """However many probes raise ignored exceptions, slots stay free, and the circuit can close [T10]."""
    breaker = due_breaker(clock, half_open_max_calls=2, success_threshold=2, ignore_exceptions=KeyError)
    for _ in range(20):
        with pytest.raises(KeyError):
            breaker.call(raising(KeyError()))
    succeed(breaker, 2)
    assert breaker.state is CircuitState.CLOSED


# T11


class WallClock(FakeClock):
    """A clock whose wall time can be set."""

    wall = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self):
        """Return the wall time."""
        return self.wall


@pytest.mark.parametrize("hours", [1, -1])
def test_a_wall_clock_jump_does_not_move_the_probe(hours):
    """A jump of the wall clock neither admits a probe early nor delays one [T11]."""
    clock = WallClock()
    breaker = open_breaker(clock)
    clock.wall += timedelta(hours=hours)
    refused(breaker)
    clock.advance(10)
    succeed(breaker)


# T12


def test_every_face_is_refused(clock):
    """`with breaker:` and `breaker.call` do not run while the circuit is open [T12]."""
    breaker = open_breaker(clock)
    ran = []
    with pytest.raises(CircuitOpenError), breaker:
        ran.append("with")
    with pytest.raises(CircuitOpenError):
        breaker.call(ran.append, "call")
    assert ran == []


# T13


def test_tracebacks_do_not_grow(clock):
    """Each refusal is a new object, whose traceback is as short as the first one's [T13]."""
    breaker = open_breaker(clock)
    errors = []
    for _ in range(20):
        try:
            breaker.call(boom)
        except CircuitOpenError as error:
            errors.append(error)
    assert len({id(error) for error in errors}) == 20
    assert len({len(traceback.extract_tb(error.__traceback__)) for error in errors}) == 1


# T14


@pytest.mark.parametrize("make", [build, half_open_breaker])
def test_a_block_across_contexts_keeps_no_slot(clock, make):
    """A block entered in one context and left in another raises nothing and keeps no slot [T14]."""
    breaker = make(clock, half_open_max_calls=1, success_threshold=100)

    def dependency():
        with breaker:
            yield

    for _ in range(5):
        iterator = dependency()
        contextvars.Context().run(next, iterator)
        assert contextvars.Context().run(next, iterator, "end") == "end"
        contextvars.Context().run(breaker.__enter__)
        contextvars.Context().run(breaker.__exit__, None, None, None)
    assert breaker.status().half_open_calls == 0
    succeed(breaker)


# T15


def test_a_classifier_that_raises_keeps_no_slot(clock, caplog):
    """A classifier that raises keeps no slot, and the circuit can still close [T15]."""

    def broken(_):
        raise RuntimeError("bug in the classifier")

    breaker = due_breaker(
        clock, half_open_max_calls=1, success_threshold=5, ignore_exceptions=broken, record_result=broken
    )
    succeed(breaker, 4)
    assert breaker.status().half_open_calls == 0
    fail(breaker)
    assert breaker.state is CircuitState.OPEN
    clock.advance(10)
    succeed(breaker, 5)
    assert breaker.state is CircuitState.CLOSED
    assert any("bug in the classifier" in line for line in logged(caplog))


# T16


def test_a_hung_probe_does_not_block_recovery(clock):
    """A hung probe does not block recovery for longer than its lease [T16]."""
    breaker = due_breaker(clock, half_open_max_calls=1, success_threshold=1, probe_timeout=5)
    hung = breaker.acquire()
    clock.advance(5)
    succeed(breaker)
    assert breaker.state is CircuitState.CLOSED
    del hung


def test_a_service_slower_than_the_lease_closes_the_circuit(clock):
    """A healthy service whose calls take longer than the lease closes the circuit [T16]."""
    breaker = due_breaker(clock, half_open_max_calls=1, success_threshold=3, probe_timeout=5, timeout_duration=5)
    for _ in range(3):
        breaker.call(lambda: clock.advance(60))
    assert breaker.state is CircuitState.CLOSED


# T17


def test_a_minimum_above_the_window_is_refused():
    """A `minimum_calls` above the window's size is refused instead of never being reached [T17]."""
    with pytest.raises(ValueError, match="minimum_calls"):
        FailureRate(window=CountWindow(10), minimum_calls=11)


def test_a_time_window_is_empty_after_an_idle_hour(clock):
    """A time window does not keep old failures across an idle hour [T17]."""
    breaker = build(clock, trip=FailureRate(window=TimeWindow(10), minimum_calls=2))
    fail(breaker)
    clock.advance(3600)
    fail(breaker)
    assert breaker.state is CircuitState.CLOSED


def test_calls_longer_than_the_window_count(clock):
    """Calls that take longer than the window are counted when they end [T17]."""
    breaker = build(clock, trip=FailureRate(window=TimeWindow(10), minimum_calls=2))
    permits = [breaker.acquire(), breaker.acquire()]
    clock.advance(60)
    for permit in permits:
        permit.fail()
    assert breaker.state is CircuitState.OPEN


# T18


def test_a_listener_that_raises_does_not_break_the_call(clock, caplog):
    """A listener that raises does not break the call [T18]."""

    def broken(_):
        raise RuntimeError("bug in the listener")

    breaker = build(clock, broken, observer=broken, failure_threshold=1)
    assert breaker.call(lambda: "ok") == "ok"
    error = BoomError()
    with pytest.raises(BoomError) as caught:
        breaker.call(raising(error))
    assert caught.value is error
    assert breaker.state is CircuitState.OPEN
    assert any("bug in the listener" in line for line in logged(caplog))


def test_a_listener_may_read_the_breaker(clock):
    """A listener may read the breaker, from another thread too: it is not called under the lock [T18]."""
    seen = []
    breaker = build(clock, lambda _: seen.append(in_thread(lambda: breaker.status().state)), failure_threshold=1)
    fail(breaker)
    assert seen == [CircuitState.OPEN]


# T19


def test_one_name_is_one_breaker(clock):
    """Sync and async functions under one name share one breaker [T19]."""
    registry = CircuitBreakerRegistry(CircuitBreakerConfig(failure_threshold=2), clock=clock)
    with pytest.raises(BoomError):
        registry.get_or_create("api")(boom)()
    with pytest.raises(BoomError):
        run_async(registry.get_or_create("api")(failing_coroutine_function)())
    assert registry.get_all_states() == {"api": CircuitState.OPEN}


def test_a_second_configuration_overwrites_nothing(clock):
    """Asking with another configuration raises an error and leaves the breaker unchanged [T19]."""
    registry = CircuitBreakerRegistry(clock=clock)
    breaker = registry.get_or_create("api", CircuitBreakerConfig(failure_threshold=2))
    with pytest.raises(ValueError, match="api"):
        registry.get_or_create("api", CircuitBreakerConfig(failure_threshold=3))
    assert registry.get_or_create("api") is breaker
    assert breaker.config.failure_threshold == 2


# T20


def test_isolation_does_not_end_with_time(clock):
    """An isolated breaker stays isolated, however much time passes [T20]."""
    breaker = build(clock)
    breaker.set_mode(BreakerMode.ISOLATED)
    for _ in range(5):
        clock.advance(86_400)
        assert refused(breaker).retry_after is None
    assert breaker.mode is BreakerMode.ISOLATED


# T21


def test_a_timeout_of_zero_is_not_the_default(clock):
    """`timeout_duration=0` is zero, not the default [T21]."""
    breaker = open_breaker(clock, timeout_duration=0)
    assert (breaker.config.timeout_duration, breaker.retry_after) == (0.0, 0.0)
    succeed(breaker)


# T22

TYPED = """
    import asyncio
    from collections.abc import Callable, Coroutine
    from typing import Any, assert_type

    from swarmguard import CircuitBreaker

    breaker = CircuitBreaker("api")

    @breaker
    def plain(a: int, /, b: str, *, c: bool = True) -> float:
        return 1.0

    @breaker
    async def coroutine(a: int) -> str:
        return "x"

    assert_type(plain(1, "b", c=False), float)
    assert_type(coroutine(1), Coroutine[Any, Any, str])

    async def main() -> None:
        task = asyncio.create_task(coroutine(1))
        assert_type(await task, str)
        assert_type(await breaker.execute(coroutine, 1), str)
        assert_type(breaker.call(plain, 1, "b"), float)

    plain("1", "b")  # error: arg-type
    plain(1)  # error: call-arg
    coroutine()  # error: call-arg
    breaker.call(plain, 1, 2)  # error: arg-type
"""


def test_types_are_kept(tmp_path):
    """A decorated function keeps its types, and a decorated `async def` is typed as a coroutine function [T22]."""
    pytest.importorskip("mypy", reason="the type checker is not installed")
    source = textwrap.dedent(TYPED)
    program = tmp_path / "program.py"
    program.write_text(source)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--no-error-summary", "--show-error-codes"]
    command += ["--cache-dir", str(tmp_path), "--config-file", "", str(program)]
    where = Path(swarmguard.__file__).parent.parent
    environment = {} if where.name == "site-packages" else {"MYPYPATH": str(where)}
    checked = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    found = {
        (line.split(":")[1], line.rpartition("[")[2].rstrip("]"))
        for line in checked.stdout.splitlines()
        if line.startswith("program.py:") and ": error: " in line and not line.endswith("[unused-coroutine]")
    }
    expected = {
        (str(number), line.partition("# error: ")[2])
        for number, line in enumerate(source.splitlines(), 1)
        if "# error: " in line
    }
    assert found == expected, checked.stdout + checked.stderr


# T23


@pytest.mark.parametrize("seed", range(10))
def test_counts_are_exact_under_threads(clock, seed):
    """The counts are exact when many threads fail at once [T23]."""
    window = FailureRate(window=CountWindow(1000), minimum_calls=1000)
    for breaker in (build(clock, failure_threshold=1000), build(clock, trip=window)):
        Interleaver(seed).run([lambda breaker=breaker: fail(breaker, 8)] * 4)
        assert breaker.status().failure_count == 32


@pytest.mark.parametrize("seed", range(10))
def test_threads_open_the_circuit_once(clock, events, seed):
    """Threads that fail at once open the circuit once, and one event is emitted [T23]."""
    breaker = build(clock, events, failure_threshold=3, backoff_multiplier=2)
    permits = [breaker.acquire() for _ in range(8)]
    Interleaver(seed).run([permit.fail for permit in permits])
    assert (breaker.status().openings, breaker.retry_after) == (1, 30.0)
    assert events.topics == ["arb.swarm.circuit.opened"]


# T24


@pytest.mark.anyio
async def test_callers_do_not_queue_behind_a_probe(clock):
    """While a probe hangs, other callers are refused at once; none waits for its outcome [T24]."""
    breaker = due_breaker(clock, half_open_max_calls=1)
    with anyio.fail_after(SAFETY):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(breaker.execute, anyio.sleep_forever)
            await anyio.wait_all_tasks_blocked()
            for _ in range(20):
                with pytest.raises(CircuitOpenError) as caught:
                    await breaker.execute(anyio.lowlevel.checkpoint)
                assert caught.value.reason == "half_open"
            tasks.cancel_scope.cancel()


def test_threads_do_not_queue_behind_a_probe(clock):
    """While a probe hangs in one thread, other threads are refused at once [T24]."""
    breaker = due_breaker(clock, half_open_max_calls=1)
    inside, go = threading.Event(), threading.Event()

    def hang():
        inside.set()
        go.wait(SAFETY)

    thread = threading.Thread(target=breaker.call, args=(hang,), daemon=True)
    thread.start()
    assert inside.wait(SAFETY)
    assert in_thread(refused, breaker).reason == "half_open"
    go.set()
    thread.join(SAFETY)


def test_create_task_takes_a_guarded_coroutine(clock):
    """`create_task(f())` works at run time as well [T22]."""
    breaker = CircuitBreaker("api", clock=clock)

    @breaker
    async def work():
        return "done"

    async def main():
        return await asyncio.create_task(work())

    assert asyncio.run(main()) == "done"
