"""A registry under every schedule of two threads within the bound; `THREADS=3` runs three."""

from __future__ import annotations

from functools import partial

import pytest

from swarmguard import CircuitBreaker, CircuitBreakerConfig, CircuitBreakerRegistry
from swarmguard.testing import FakeClock
from tests.schedules.exploring import explore, explore_each, linearizable
from tests.schedules.worlds import Step, World, doing

STRICT = CircuitBreakerConfig(failure_threshold=1)


class Registry(World):
    """A registry with a name for each operation."""

    def __init__(self, *before: Step) -> None:
        self.registry = CircuitBreakerRegistry(clock=FakeClock())
        self.all(before)

    def ask(self, name: str, config: CircuitBreakerConfig | None) -> object:
        try:
            return self.registry.get_or_create(name, config).config
        except ValueError:
            return "refused"

    def remove(self, name: str) -> bool:
        return self.registry.remove(name)

    def known(self, name: str) -> bool:
        return name in self.registry

    def states(self) -> object:
        return list(self.registry.get_all_states())

    def statuses(self) -> object:
        return [status.name for status in self.registry.statuses()]

    def reset_all(self) -> None:
        self.registry.reset_all()

    def outcome(self) -> object:
        return [(breaker.name, breaker.config) for breaker in self.registry]


BEFORE = (("ask", "api", STRICT),)
SCENARIOS: dict[str, tuple[tuple[Step, ...], list[tuple[Step, ...]]]] = {
    "three threads ask": ((), [(("ask", "api", None),)] * 3),
    "two configurations": (
        (),
        [(("ask", "api", STRICT),), (("ask", "api", CircuitBreakerConfig()),), (("known", "api"),)],
    ),
    "asking and removing": (BEFORE, [(("remove", "api"),), (("ask", "api", None),), (("remove", "api"),)]),
    "reading while others add": (
        BEFORE,
        [(("states",), ("statuses",)), (("ask", "other", None),), (("remove", "api"), ("reset_all",))],
    ),
}


@pytest.mark.parametrize(("before", "programs"), SCENARIOS.values(), ids=SCENARIOS)
def test_registries_are_linearizable(before, programs, explored) -> None:
    """In every schedule, threads see a registry that does one thing at a time [R1] [R2]."""
    make = partial(Registry, *before)
    explored("schedules", explore_each(make, [doing(*steps) for steps in programs], linearizable(make)))


def test_threads_that_ask_at_once_get_one_breaker(explored) -> None:
    """In every schedule, all threads that ask for a name get the same breaker [R1] [T19]."""

    class Asked:
        def __init__(self) -> None:
            self.registry = CircuitBreakerRegistry(clock=FakeClock())
            self.got: list[CircuitBreaker] = []

        def outcome(self) -> None:
            assert len(self.registry) == 1
            assert all(breaker is self.registry.get("api") for breaker in self.got)

    def ask(asked: Asked, actor: object) -> None:
        asked.got.append(asked.registry.get_or_create("api"))

    explored("schedules", explore(Asked, [ask] * 3))
