"""The registry of breakers."""

from __future__ import annotations

import re
import threading

import pytest

from swarmguard import (
    BreakerMode,
    BreakerStatus,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitBreakerRegistry,
    CircuitState,
)
from swarmguard._common import monitor
from tests.breaker_tools import SAFETY, fail, refused, succeed

NAMES = [
    "jupiter_api",
    "a/b/c",
    "ünïcode ☂",
    " ",
    "a.b*",
    "%2F",
    "..",
    "\x00",
    "x" * 1000,
    "'\"\\",
    "名前",
    "__class__",
]


@pytest.fixture
def registry(clock, events):
    """Give a registry whose breakers open at the second failure."""
    return CircuitBreakerRegistry(CircuitBreakerConfig(failure_threshold=2), clock=clock, sink=events)


def test_get_or_create_creates_one_breaker(registry):
    """The first call creates the breaker, and all others return the same one [R1]."""
    breaker = registry.get_or_create("api")
    assert isinstance(breaker, CircuitBreaker)
    assert breaker.name == "api"
    assert registry.get_or_create("api") is registry.get("api") is breaker
    assert registry.get_or_create("other") is not breaker


def test_get_or_create_creates_no_second_breaker(registry, monkeypatch):
    """An existing breaker is found, and no second one is created and dropped [R1]."""
    breaker = registry.get_or_create("api")
    monkeypatch.setattr(CircuitBreakerRegistry, "_make", lambda *_: pytest.fail("a second breaker is created"))
    assert registry.get_or_create("api") is breaker


def test_a_breaker_gets_the_default_config(registry):
    """Without a configuration of its own a breaker gets the registry's [R1]."""
    assert registry.get_or_create("api").config == CircuitBreakerConfig(failure_threshold=2)
    assert CircuitBreakerRegistry().get_or_create("api").config == CircuitBreakerConfig()


def test_a_registry_shows_its_config_and_clock(clock):
    """A registry shows the config and the clock that it gives to its breakers."""
    config = CircuitBreakerConfig(failure_threshold=9)
    registry = CircuitBreakerRegistry(config, clock=clock)
    assert registry.default_config is config
    assert registry.clock is clock


def test_a_breaker_may_have_its_own_config(registry):
    """A breaker may have a configuration of its own, and is found with it or without one [R1]."""
    config = CircuitBreakerConfig(failure_threshold=7)
    breaker = registry.get_or_create("api", config)
    assert breaker.config == config
    assert registry.get_or_create("api", CircuitBreakerConfig(failure_threshold=7)) is breaker
    assert registry.get_or_create("api") is breaker


def test_a_different_config_raises(registry):
    """A configuration that differs raises a `ValueError` that shows both, and changes nothing [R1] [T19]."""
    breaker = registry.get_or_create("api", CircuitBreakerConfig(failure_threshold=7))
    fail(breaker)
    with pytest.raises(ValueError, match="api") as caught:
        registry.get_or_create("api", CircuitBreakerConfig(failure_threshold=8))
    assert "failure_threshold=7" in str(caught.value)
    assert "failure_threshold=8" in str(caught.value)
    assert registry.get("api") is breaker
    assert (breaker.config.failure_threshold, breaker.status().failure_count) == (7, 1)
    registry.get_or_create("plain")
    with pytest.raises(ValueError, match="plain"):
        registry.get_or_create("plain", CircuitBreakerConfig(failure_threshold=8))


@pytest.mark.parametrize(("name", "error"), [("", ValueError), (None, TypeError), (5, TypeError), ([], TypeError)])
def test_an_invalid_name_raises(registry, name, error):
    """An invalid name raises an error, and creates no breaker [R3]."""
    with pytest.raises(error, match=f"^name must be a non-empty str, got {re.escape(repr(name))}"):
        registry.get_or_create(name)
    assert len(registry) == 0


def test_a_str_subclass_is_a_name(registry):
    """An instance of a `str` subclass is a name, and the same one as the plain text [R3]."""

    class Name(str):
        __slots__ = ()

    assert registry.get_or_create(Name("api")) is registry.get_or_create("api")


@pytest.mark.parametrize("argument", ["default_config", "observer"])
def test_invalid_arguments_raise(argument):
    """An invalid argument of a registry raises a `TypeError` that names it [R1]."""
    with pytest.raises(TypeError, match=rf"^{argument} must be .*, got 5"):
        CircuitBreakerRegistry(**{argument: 5})


@pytest.mark.parametrize("existing", [True, False])
@pytest.mark.parametrize("config", [5, "config", {}])
def test_an_invalid_config_raises(registry, existing, config):
    """A `config` of a wrong type raises a `TypeError`, and nothing is created or changed [R1]."""
    if existing:
        registry.get_or_create("api")
    with pytest.raises(TypeError, match=rf"^config must be a CircuitBreakerConfig, got {re.escape(repr(config))}"):
        registry.get_or_create("api", config)
    assert len(registry) == int(existing)


def test_get_creates_nothing(registry):
    """`get` returns the breaker or None, and creates nothing [R2]."""
    assert registry.get("api") is None
    assert len(registry) == 0
    breaker = registry.get_or_create("api")
    assert registry.get("api") is breaker


def test_reset_resets_one_breaker(registry):
    """`reset` resets the named breaker, and returns whether there is one [R2]."""
    one, two = registry.get_or_create("one"), registry.get_or_create("two")
    fail(one, 2)
    fail(two, 2)
    assert registry.reset("one") is True
    assert registry.reset("three") is False
    assert "three" not in registry
    assert (one.state, two.state) == (CircuitState.CLOSED, CircuitState.OPEN)


def test_reset_all_resets_every_breaker(registry):
    """`reset_all` resets every breaker, and keeps the modes [R2] [B16]."""
    breakers = [registry.get_or_create(name) for name in NAMES]
    for breaker in breakers[::2]:
        fail(breaker, 2)
    breakers[0].set_mode(BreakerMode.ISOLATED)
    registry.reset_all()
    assert {breaker.state for breaker in breakers} == {CircuitState.CLOSED}
    assert breakers[0].mode is BreakerMode.ISOLATED


def test_get_all_states_returns_a_copy(registry):
    """`get_all_states` returns a copy, in the order of creation [R2]."""
    names = ["zeta", "alpha", "mid"]
    for name in names:
        registry.get_or_create(name)
    fail(registry.get("alpha"), 2)
    states = registry.get_all_states()
    assert list(states.items()) == [
        ("zeta", CircuitState.CLOSED),
        ("alpha", CircuitState.OPEN),
        ("mid", CircuitState.CLOSED),
    ]
    states.clear()
    assert list(registry.get_all_states()) == names


def test_reading_the_states_changes_none(registry, clock, events):
    """Reading the states changes none: a circuit whose open time has ended reads OPEN [R2] [B8]."""
    fail(registry.get_or_create("api"), 2)
    clock.advance(3600)
    events.clear()
    assert registry.get_all_states() == {"api": CircuitState.OPEN}
    assert [status.state for status in registry.statuses()] == [CircuitState.OPEN]
    assert events.topics == []


def test_statuses_are_in_the_order_of_creation(registry):
    """`statuses` returns the statuses of all breakers, in the order of creation [R2]."""
    for name in ("zeta", "alpha"):
        registry.get_or_create(name)
    fail(registry.get("alpha"))
    statuses = list(registry.statuses())
    assert all(isinstance(status, BreakerStatus) for status in statuses)
    assert [(status.name, status.failure_count) for status in statuses] == [("zeta", 0), ("alpha", 1)]


def test_remove_frees_the_name(registry):
    """A removed breaker works on for code that holds it, and a new breaker may take the name [R2]."""
    breaker = registry.get_or_create("api", CircuitBreakerConfig(failure_threshold=1))
    assert registry.remove("api") is True
    assert "api" not in registry
    assert (registry.get("api"), len(registry), registry.get_all_states()) == (None, 0, {})
    fail(breaker)
    refused(breaker)
    other = registry.get_or_create("api")
    assert other is not breaker
    assert (other.config.failure_threshold, other.state) == (2, CircuitState.CLOSED)


def test_removing_an_unknown_name_changes_nothing(registry):
    """Removing an unknown name changes nothing, and returns False [R2]."""
    registry.get_or_create("api")
    assert registry.remove("other") is False
    assert len(registry) == 1


def test_a_registry_is_a_container(registry):
    """A registry contains its names, has a size, and iterates over its breakers in the order of creation [R2]."""
    breakers = [registry.get_or_create(name) for name in NAMES]
    assert list(registry) == breakers
    assert len(registry) == len(NAMES)
    assert all(name in registry for name in NAMES)
    assert "other" not in registry
    assert bool(CircuitBreakerRegistry()) in {True, False}


def test_iteration_while_breakers_are_added_and_removed(registry):
    """Breakers that are added or removed during an iteration do not disturb it [R2]."""
    for name in "abc":
        registry.get_or_create(name)
    seen = []
    for breaker in registry:
        seen.append(breaker.name)
        registry.get_or_create(breaker.name * 2)
        registry.remove("b")
    assert set("ac") <= set(seen)


def test_iteration_while_threads_add_and_remove(registry):
    """Iteration, states and statuses are safe while other threads add and remove [R2]."""
    stop, started = threading.Event(), threading.Barrier(3)

    def add(prefix):
        started.wait(SAFETY)
        for number in range(100_000):
            registry.get_or_create(f"{prefix}{number % 50}")
            registry.remove(f"{prefix}{(number + 25) % 50}")
            if stop.is_set():
                return

    threads = [threading.Thread(target=add, args=(prefix,), daemon=True) for prefix in "xy"]
    for thread in threads:
        thread.start()
    started.wait(SAFETY)
    for _ in range(200):
        assert all(isinstance(breaker, CircuitBreaker) for breaker in registry)
        registry.get_all_states()
        registry.statuses()
        registry.reset_all()
        len(registry)
    stop.set()
    for thread in threads:
        thread.join(SAFETY)
        assert not thread.is_alive()


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_names_stay_unchanged_everywhere(registry, clock, events, name):
    """Any non-empty text is a name, and appears unchanged in events, errors and statuses [R3]."""
    breaker = registry.get_or_create(name)
    fail(breaker, 2)
    assert refused(breaker).name == breaker.name == breaker.status().name == name
    assert breaker.status().to_dict()["name"] == name
    event = events.events[-1]
    assert (event.source, event.payload["name"], event.topic) == (name, name, "arb.swarm.circuit.opened")
    assert list(registry.get_all_states()) == [name]
    clock.advance(30)
    succeed(breaker)


def test_breakers_get_the_clock_the_sink_and_the_prefix(clock, events):
    """The breakers of a registry get its clock, its sink and its prefix [R1]."""
    registry = CircuitBreakerRegistry(clock=clock, sink=events, topic_prefix="my.app")
    breaker = registry.get_or_create("api")
    breaker.trip()
    clock.advance(12)
    assert breaker.retry_after == 18.0
    assert events.topics == ["my.app.circuit.opened"]


def test_each_breaker_numbers_its_own_events(registry, events):
    """Each breaker of a registry numbers its own events [C3]."""
    for name in ("one", "two"):
        registry.get_or_create(name).trip()
    assert [(event.source, event.sequence) for event in events.events] == [("one", 1), ("two", 1)]


def test_registries_share_no_breakers(registry, clock):
    """Two registries share no breakers [R1]."""
    other = CircuitBreakerRegistry(clock=clock)
    assert other.get_or_create("api") is not registry.get_or_create("api")


def test_a_forked_child_has_a_dict_of_its_own(registry):
    """A forked child has the breakers in a dict that no other thread can have been using at the fork [B19] [R1]."""
    breaker, shared = registry.get_or_create("api"), registry._breakers.by_name
    monitor._before_fork()
    monitor._after_fork_in_child()
    assert registry._breakers.by_name is not shared
    assert registry.get_or_create("api") is registry.get("api") is breaker
    assert registry.remove("api")
    assert shared == {"api": breaker}


def test_the_parent_of_a_fork_keeps_its_dict(registry):
    """The parent goes on with the dict that it had, and keeps no copy of it [B19] [R1]."""
    breaker, before = registry.get_or_create("api"), registry._breakers.by_name
    monitor._before_fork()
    monitor._after_fork_in_parent()
    assert registry._breakers.by_name is registry._breakers._copy is before
    assert registry.get_or_create("other") is not breaker
    assert [breaker.name for breaker in registry] == ["api", "other"]
