"""A registry under every schedule of a few threads, within the bounds."""

from __future__ import annotations

import pytest

from swarmguard import CircuitBreaker, CircuitBreakerConfig, CircuitBreakerRegistry
from swarmguard.testing import FakeClock
from tests.schedules.exploring import explore, linearizable
from tests.schedules.worlds import Named, Step, doing

STRICT = CircuitBreakerConfig(failure_threshold=1)


class Registry(Named):
    """A registry whose breakers are numbered in the order in which they are seen."""

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

    def outcome(self) -> object:
        return [(breaker.name, breaker.config) for breaker in self.registry]


class PureRegistry(Named):
    """A registry as a dict of configurations."""

    def __init__(self, *before: Step) -> None:
        self.configs: dict[str, CircuitBreakerConfig] = {}
        self.all(before)

    def ask(self, name: str, config: CircuitBreakerConfig | None) -> object:
        kept = self.configs.setdefault(name, config or CircuitBreakerConfig())
        return kept if config in (None, kept) else "refused"

    def remove(self, name: str) -> bool:
        return self.configs.pop(name, None) is not None

    def known(self, name: str) -> bool:
        return name in self.configs

    def states(self) -> object:
        return list(self.configs)

    def outcome(self) -> object:
        return list(self.configs.items())


BEFORE = (("ask", "api", STRICT),)
SCENARIOS: dict[str, tuple[tuple[Step, ...], list[tuple[Step, ...]]]] = {
    "three ask": ((), [(("ask", "api", None),)] * 3),
    "two configurations": (
        (),
        [(("ask", "api", STRICT),), (("ask", "api", CircuitBreakerConfig()),), (("known", "api"),)],
    ),
    "asking and removing": (BEFORE, [(("ask", "api", None),), (("remove", "api"),), (("remove", "api"),)]),
    "reading while others add": (
        BEFORE,
        [(("states",), ("states",)), (("ask", "other", None),), (("remove", "api"),)],
    ),
}


@pytest.mark.parametrize(("before", "programs"), SCENARIOS.values(), ids=SCENARIOS)
def test_registries_are_linearizable(before, programs, explored) -> None:
    """Whoever goes first, threads see a registry that does one thing at a time [R1] [R2]."""
    threads = [doing(*steps) for steps in programs]
    explored("schedules", explore(lambda: Registry(*before), threads, linearizable(lambda: PureRegistry(*before))))


def test_threads_that_ask_at_once_get_one_breaker(explored) -> None:
    """Whoever goes first, everybody who asks for a name gets the same breaker [R1] [T19]."""

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
