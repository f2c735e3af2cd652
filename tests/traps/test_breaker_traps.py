"""Defects that were found in other circuit breakers: each test fails on such a defect.

Where a test in `tests/unit` covers a defect, it carries the tag, and there is none here.
"""

from __future__ import annotations

import contextlib
import gc
import subprocess
import sys
import textwrap
import threading
import warnings
from pathlib import Path

import anyio
import pytest

import swarmguard
from swarmguard import (
    BreakerMode,
    CircuitBreakerConfig,
    CircuitBreakerRegistry,
    CircuitOpenError,
    CircuitState,
    FailureRate,
    TimeWindow,
)
from tests.breaker_tools import (
    SAFETY,
    BoomError,
    boom,
    build,
    due_breaker,
    fail,
    half_open_breaker,
    in_thread,
    logged,
    raising,
    refused,
    succeed,
)
from tests.faults.harness import side_by_side

ENDS = ["succeed", "fail", "release"]


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


@pytest.mark.parametrize("slots", [1, 3])
def test_of_twenty_threads_only_the_probes_run(clock, slots):
    """Of twenty threads that arrive when the open time ends, only the probes reach the service [T02]."""
    breaker = due_breaker(clock, half_open_max_calls=slots, success_threshold=100)
    service = Service(20)

    def caller():
        try:
            breaker.call(service.serve)
        except CircuitOpenError:
            service.count_refusal()

    side_by_side(*[caller] * 20)
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
    side_by_side(*[lambda: breaker.call(all_inside.wait, SAFETY)] * 10)


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


# T17


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
