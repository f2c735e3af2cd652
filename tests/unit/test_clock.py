"""The `Clock` protocol and the system's clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import anyio
import pytest

from swarmguard.clock import Clock, SystemClock
from swarmguard.testing import FakeClock


@pytest.mark.parametrize("clock", [SystemClock(), FakeClock()], ids=repr)
def test_both_clocks_satisfy_the_protocol(clock):
    """`SystemClock` and `FakeClock` are instances of `Clock`. [C1]"""
    assert isinstance(clock, Clock)


def test_an_incomplete_clock():
    """An object without `sleep` is not a `Clock`. [C1]"""
    assert not isinstance(time, Clock)


def test_monotonic():
    """`monotonic` of the system's clock is `time.monotonic`. [C1]"""
    before = time.monotonic()
    reading = SystemClock().monotonic()
    assert before <= reading <= time.monotonic()


def test_now_is_aware_and_utc():
    """`now` of the system's clock is the current time, aware and in UTC. [C1]"""
    before = datetime.now(UTC)
    reading = SystemClock().now()
    assert reading.utcoffset() == timedelta(0)
    assert before <= reading <= datetime.now(UTC)


@pytest.mark.anyio
async def test_sleep(monkeypatch):
    """The system's clock sleeps in the running event loop for the given seconds. [C1]"""
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    monkeypatch.setattr(anyio, "sleep", sleep)
    await SystemClock().sleep(2.5)
    assert slept == [2.5]


@pytest.mark.anyio
@pytest.mark.parametrize("seconds", [0, -1.0])
async def test_sleeping_for_zero_or_less_is_a_checkpoint(seconds):
    """Sleeping for 0 seconds or less only lets other tasks run, and can be cancelled. [C1]"""
    with anyio.CancelScope() as scope:
        await SystemClock().sleep(seconds)
        scope.cancel()
        await SystemClock().sleep(seconds)
    assert scope.cancelled_caught


def test_repr():
    """The repr is the call that creates the clock."""
    assert repr(SystemClock()) == "SystemClock()"
