"""The cost of a healthy call, by counting: how many bytecode instructions run besides the caller's own.

A count does not depend on the machine or on what else it does. It does not depend on the version of Python either, as
far as that can be had: instructions that only mark a place in the bytecode are left out. When a change goes over a
bound, look at the profile before you raise it: `docs/performance.md` says how to measure.
"""

from __future__ import annotations

import dis
import functools
import sys

import pytest

from swarmguard import CircuitBreaker, CircuitBreakerConfig, CountWindow, FailureRate, TimeWindow

MARKERS = {dis.opmap[name] for name in ("NOP", "NOT_TAKEN", "PRECALL", "RESUME") if name in dis.opmap}
"""Instructions that do no work. Python 3.11 has a PRECALL before each call, 3.14 a NOT_TAKEN after each branch."""


def instructions(act):
    """Return how many instructions `act` runs that do some work, in all the Python functions that it calls."""
    count = 0

    def trace(frame, event, arg):
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode" and frame.f_code.co_code[frame.f_lasti] not in MARKERS
        return trace

    before = sys.gettrace()  # coverage traces as well
    for _ in range(2):  # Python 3.12 traces nothing in the first run
        count = 0
        sys.settrace(trace)
        try:
            act()
        finally:
            sys.settrace(before)
    return count


def run(coroutine):
    """Run a coroutine that never waits."""
    with pytest.raises(StopIteration):
        coroutine.send(None)


def service(x):
    """Return the argument."""
    return x


async def async_service(x):
    """Return the argument."""
    return x


@functools.wraps(service)
def wrapper(*args, **kwargs):
    """Call `service`, and do nothing else."""
    return service(*args, **kwargs)


@functools.wraps(async_service)
async def async_wrapper(*args, **kwargs):
    """Await `async_service`, and do nothing else."""
    return await async_service(*args, **kwargs)


FULL = FailureRate(window=CountWindow(20))
"""A count window that the warm-up fills."""


@pytest.mark.parametrize(
    ("trip", "bound"),
    [(None, 25), (FULL, 25), (FailureRate(window=TimeWindow(10)), 75)],
    ids=["default", "count window", "time window"],
)
def test_a_healthy_call_takes_few_instructions(trip, bound):
    """A decorated call on a closed circuit runs few instructions more than an empty wrapper [B20]."""
    breaker = CircuitBreaker("api", CircuitBreakerConfig(trip=trip))
    guarded, guarded_async = breaker(service), breaker(async_service)
    for _ in range(30):
        guarded(1)
    sync = instructions(lambda: guarded(1)) - instructions(lambda: wrapper(1))
    coroutine = instructions(lambda: run(guarded_async(1))) - instructions(lambda: run(async_wrapper(1)))
    assert 0 < sync <= bound
    assert 0 < coroutine <= bound


def test_a_healthy_block_takes_few_instructions():
    """An empty `with breaker:` on a closed circuit runs few instructions [B20]."""
    breaker = CircuitBreaker("api")

    def block():
        with breaker:
            pass

    def nothing():
        pass

    block()
    assert instructions(block) - instructions(nothing) <= 75
