"""The schedules find a lock that is missing, and the check rejects a history that no order explains."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace

import interleave_test
import pytest

from swarmguard import CircuitBreakerConfig, CircuitState
from swarmguard._common import monitor
from tests.schedules.exploring import Actor, History, explore, linearizable
from tests.schedules.worlds import Breaker, by_call, calling

make = partial(Breaker, CircuitBreakerConfig(failure_threshold=3))


class NoLock(interleave_test.RLock):
    """A lock that lets every thread in."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        return True

    def release(self) -> None:
        pass


def test_a_missing_lock_is_found(monkeypatch) -> None:
    """Without the lock of the monitor, some schedule of two failures loses one [T23]."""
    programs = [calling(by_call, "fail"), calling(by_call, "fail")]
    explore(make, programs, linearizable(make))
    monkeypatch.setattr(monitor, "threading", SimpleNamespace(RLock=NoLock))
    with pytest.raises(interleave_test.RaceFound, match="no order of"):
        explore(make, programs, linearizable(make))


@pytest.mark.parametrize("overlap", [True, False])
def test_an_order_must_keep_the_time(overlap: bool) -> None:
    """A breaker may be seen closed while another thread trips it, and no more when the trip has returned."""
    world, history = make(), History()
    tripping, looking = Actor(history), Actor(history)
    trip = tripping.begin("trip", 5)
    if overlap:
        look = looking.begin("state")
    world.do("trip", 5)
    tripping.end(trip)
    if not overlap:
        look = looking.begin("state")
    looking.end(look, CircuitState.CLOSED)
    with nullcontext() if overlap else pytest.raises(AssertionError, match="contradicts the time"):
        linearizable(make)(history, world.outcome())
