"""The search that leaves out repetitions, held against the library's own, which leaves out nothing."""

from __future__ import annotations

from functools import partial
from itertools import permutations

import interleave_test
import pytest

from tests.schedules import test_breaker_schedules as breakers
from tests.schedules import test_overseer_schedules as overseers
from tests.schedules import test_registry_schedules as registries
from tests.schedules.exploring import explore
from tests.schedules.searching import Search
from tests.schedules.test_bus_schedules import Bus
from tests.schedules.worlds import Breaker, Swarm, doing

FEW = {
    "three other ways in",
    "a success among failures",
    "blocks of two threads and a trip",
    "a permit is dropped",
    "successes are jotted down while one fails",
    "time passes in a time window",
    "silence while time passes",
    "reading while others add",
}
WORLDS = {
    **{
        name: (partial(Breaker, config, *before), programs)
        for name, (config, before, programs) in breakers.SCENARIOS.items()
    },
    **{
        name: (partial(Swarm, overseers.CONFIG, *before), [doing(*steps) for steps in programs])
        for name, (before, programs) in overseers.SCENARIOS.items()
    },
    **{
        name: (partial(registries.Registry, *before), [doing(*steps) for steps in programs])
        for name, (before, programs) in registries.SCENARIOS.items()
    },
}


def all_that_comes(strategy, make, programs) -> set[str]:
    """Return everything that two threads may come to: their answers, what was over before what, and the outcome."""
    seen = set()

    def note(history, outcome):
        operations = [operation for actor in history.actors for operation in actor.operations]
        order = [one.ended < other.began for one, other in permutations(operations, 2)]
        answers = [(operation.name, operation.answer) for operation in operations]
        seen.add(repr((answers, order, outcome)))

    explore(make, programs[:2], note, "line", strategy)
    return seen


@pytest.mark.parametrize("name", sorted(FEW))
def test_nothing_is_left_out_that_comes_to_something_else(name: str) -> None:
    """With two threads and one preemption both searches come to the same."""
    everything = all_that_comes(interleave_test.DFSStrategy(max_preemptions=1), *WORLDS[name])
    assert all_that_comes(Search(1), *WORLDS[name]) == everything
    assert len(everything) > 1


def test_nothing_is_left_out_of_what_readers_get() -> None:
    """The same, for a subscriber who is behind while two threads publish and read."""
    world = partial(Bus, 1), [lambda bus, _: bus.publish("a", 2, _), Bus.drain]
    everything = all_that_comes(interleave_test.DFSStrategy(max_preemptions=1), *world)
    assert all_that_comes(Search(1), *world) == everything
    assert len(everything) > 1
