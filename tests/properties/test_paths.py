"""Both paths of a breaker count alike: a success that is deferred has the effect of one that is recorded at once.

The same calls go through two breakers. One has an observer, so all of its calls take the slow path and are recorded at
once; the other takes the fast path whenever it can.
"""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmguard import CircuitOpenError, CountWindow, FailureRate, TimeWindow
from swarmguard._breaker.counting import DeferredSuccesses, TimeWindowCounter
from swarmguard.testing import FakeClock
from tests.breaker_tools import BoomError, build

WINDOWS = st.one_of(
    st.builds(CountWindow, st.integers(1, 12)), st.builds(TimeWindow, st.sampled_from([0.5, 1.0, 3.0, 10.0]))
)
STEPS = st.lists(
    st.one_of(
        st.just("success"),
        st.just("failure"),
        st.integers(2, 30).map(lambda times: ("successes", times)),
        st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.75, 3.0, 10.0]),
    ),
    max_size=60,
)


@st.composite
def policies(draw):
    """Draw a failure rate, strict or lenient, over a window of either kind."""
    window = draw(WINDOWS)
    most = window.size if isinstance(window, CountWindow) else 12
    return FailureRate(
        threshold=draw(st.sampled_from([0.05, 0.3, 0.5, 1.0])),
        window=window,
        minimum_calls=draw(st.none() | st.integers(1, most)),
    )


@pytest.fixture(autouse=True)
def small_limits(monkeypatch):
    """Let the queue of deferred successes run full, and moments share buckets, within a handful of calls."""
    monkeypatch.setattr(DeferredSuccesses, "LIMIT", 5)
    monkeypatch.setattr(TimeWindowCounter, "EXACT_BUCKETS", 20)


@given(policy=policies(), steps=STEPS)
def test_both_paths_count_alike(policy, steps):
    """A call moves the circuit and its counts alike, whichever path it took [B17] [B20]."""
    clock = FakeClock()
    paths = [
        build(clock, trip=policy, success_threshold=1, timeout_duration=1.0, observer=observer)
        for observer in (None, lambda record: None)
    ]

    def service(good):
        if not good:
            raise BoomError

    guarded = [breaker(service) for breaker in paths]

    def call(good):
        for function in guarded:
            with contextlib.suppress(BoomError, CircuitOpenError):
                function(good)

    for step in steps:
        match step:
            case "success":
                call(True)
            case "failure":
                call(False)
            case ("successes", times):
                for _ in range(times):
                    call(True)
            case seconds:
                clock.advance(seconds)
        fast, recorded = (breaker.status() for breaker in paths)
        assert fast == recorded
