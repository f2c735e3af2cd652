"""The pytest plugin: fixtures for a clock, a recorder of events and a registry, and a marker that opens circuits.

pytest loads the plugin at its start wherever swarmguard is installed, before plugins that measure coverage. So it
imports only what pytest has imported already; swarmguard itself is imported when a test uses a fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from swarmguard import CircuitBreaker, CircuitBreakerRegistry
    from swarmguard.testing import EventRecorder, FakeClock

MARKER = "open_circuit"


class OpenCircuit(Protocol):
    """The type of the fixture `open_circuit`."""

    def __call__(self, breaker: CircuitBreaker | str, duration: float | None = None) -> CircuitBreaker:
        """Open a circuit until the end of the test.

        Args:
            breaker: The breaker, or the name of a breaker in `breaker_registry`, which is created if it is missing.
            duration: How long the circuit stays open, in seconds of the breaker's clock. None: for the breaker's
                `timeout_duration`.

        Returns:
            The breaker.
        """
        ...


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers", f"{MARKER}(*names): open these circuits of the fixture breaker_registry for the test"
    )


@pytest.fixture
def fake_clock() -> FakeClock:
    """A clock that stands still until the test moves it: `fake_clock.advance(30)`."""
    from swarmguard.testing import FakeClock  # noqa: PLC0415 - see the module's docstring

    return FakeClock()


@pytest.fixture
def event_recorder() -> EventRecorder:
    """A sink that keeps every event: `event_recorder.topics`."""
    from swarmguard.testing import EventRecorder  # noqa: PLC0415

    return EventRecorder()


@pytest.fixture
def breaker_registry(fake_clock: FakeClock, event_recorder: EventRecorder) -> CircuitBreakerRegistry:
    """A registry whose breakers use `fake_clock` and send their events to `event_recorder`.

    To use your program's own registry, override this fixture in a `conftest.py`.
    """
    from swarmguard import CircuitBreakerRegistry  # noqa: PLC0415

    return CircuitBreakerRegistry(clock=fake_clock, sink=event_recorder)


@pytest.fixture
def open_circuit(request: pytest.FixtureRequest) -> Iterator[OpenCircuit]:
    """A function that opens a circuit and resets it at the end of the test: `open_circuit("weather")`."""
    opened: list[CircuitBreaker] = []

    def open_it(breaker: CircuitBreaker | str, duration: float | None = None) -> CircuitBreaker:
        if isinstance(breaker, str):
            registry: CircuitBreakerRegistry = request.getfixturevalue("breaker_registry")
            breaker = registry.get_or_create(breaker)
        breaker.trip(duration)
        opened.append(breaker)
        return breaker

    yield open_it
    for breaker in opened:
        breaker.reset()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Add the fixture `_marked_circuits` to a test with the marker; an autouse fixture would be part of every test."""
    names: list[str] = getattr(item, "fixturenames", [])
    if item.get_closest_marker(MARKER) is not None and "_marked_circuits" not in names:
        # pytest sets fixtures up in the order of this list. Those of a wider scope come first and see closed circuits.
        wider = [name for name in names if _scope_of(item, name) != "function"]
        names.insert(len(wider), "_marked_circuits")


def _scope_of(item: pytest.Item, fixture: str) -> str:
    definitions = item._fixtureinfo.name2fixturedefs.get(fixture)  # type: ignore[attr-defined] # not public
    return definitions[-1].scope if definitions else "function"


@pytest.fixture
def _marked_circuits(request: pytest.FixtureRequest, open_circuit: OpenCircuit) -> None:
    """Open the circuits that the test's markers name."""
    for marker in request.node.iter_markers(MARKER):
        if marker.kwargs or not marker.args or not all(isinstance(name, str) and name for name in marker.args):
            arguments = [*map(repr, marker.args), *(f"{name}={value!r}" for name, value in marker.kwargs.items())]
            raise pytest.UsageError(
                f"the marker {MARKER} takes one or more names of circuits, non-empty str, got ({', '.join(arguments)})"
            )
        for name in marker.args:
            open_circuit(name)
