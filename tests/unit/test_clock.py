"""The `Clock` protocol and the system clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import anyio
import pytest

from swarmguard.clock import Clock, SystemClock
from swarmguard.testing import FakeClock


@pytest.mark.parametrize("clock", [SystemClock(), FakeClock()], ids=repr)
def test_both_clocks_keep_the_protocol(clock):
    """`SystemClock` and `FakeClock` are both a `Clock`. [C1]"""
    assert isinstance(clock, Clock)


def test_what_is_no_clock_is_told_apart():
    """An object without `sleep` is not a `Clock`. [C1]"""
    assert not isinstance(time, Clock)


def test_monotonic_is_the_machines():
    """The system clock's seconds are those of `time.monotonic`, so they never go back. [C1]"""
    before = time.monotonic()
    reading = SystemClock().monotonic()
    assert before <= reading <= time.monotonic()


def test_now_is_aware_and_utc():
    """The system clock's date is the machine's, aware and in UTC. [C1]"""
    before = datetime.now(UTC)
    reading = SystemClock().now()
    assert reading.utcoffset() == timedelta(0)
    assert before <= reading <= datetime.now(UTC)


@pytest.mark.anyio
async def test_sleep_takes_as_long_as_asked(monkeypatch):
    """The system clock sleeps in the running event loop for the given seconds. [C1]"""
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    monkeypatch.setattr(anyio, "sleep", sleep)
    await SystemClock().sleep(2.5)
    assert slept == [2.5]


@pytest.mark.anyio
@pytest.mark.parametrize("seconds", [0, -1.0])
async def test_no_time_to_sleep_is_a_checkpoint(seconds):
    """Sleeping for 0 seconds or less only lets other tasks run, and can be cancelled, on both backends. [C1]"""
    with anyio.CancelScope() as scope:
        await SystemClock().sleep(seconds)
        scope.cancel()
        await SystemClock().sleep(seconds)
    assert scope.cancelled_caught


def test_repr():
    """The repr of the system clock is the expression that creates it."""
    assert repr(SystemClock()) == "SystemClock()"
