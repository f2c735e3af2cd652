"""The pytest plugin: a fake clock, a recorder of events, a registry that has both, and circuits that are open.

pytest loads it at its start wherever swarmguard is installed, before anybody's tests and before the plugins that
measure coverage. So it imports nothing but what pytest has imported already; the rest comes when a test asks for it.
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
    """What the fixture `open_circuit` gives."""

    def __call__(self, breaker: CircuitBreaker | str, duration: float | None = None) -> CircuitBreaker:
        """Open a circuit until the end of the test.

        Args:
            breaker: The breaker, or the name of one of `breaker_registry`, which is made if it is not there.
            duration: For how many seconds of the breaker's clock it refuses. None: for as long as it usually does.

        Returns:
            The breaker.
        """
        ...


def pytest_configure(config: pytest.Config) -> None:
    """Tell pytest of the marker."""
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
    """A registry of breakers that live by `fake_clock` and tell `event_recorder`.

    A fixture of the same name in a `conftest.py` puts the program's own registry in its place.
    """
    from swarmguard import CircuitBreakerRegistry  # noqa: PLC0415

    return CircuitBreakerRegistry(clock=fake_clock, sink=event_recorder)


@pytest.fixture
def open_circuit(request: pytest.FixtureRequest) -> Iterator[OpenCircuit]:
    """A function that opens a circuit until the end of the test, when it is reset: `open_circuit("jupiter")`."""
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


@pytest.fixture(autouse=True)
def _marked_circuits(request: pytest.FixtureRequest) -> None:
    """Open the circuits that the test's markers name."""
    for marker in request.node.iter_markers(MARKER):
        if marker.kwargs or not marker.args or not all(isinstance(name, str) and name for name in marker.args):
            arguments = [*map(repr, marker.args), *(f"{name}={value!r}" for name, value in marker.kwargs.items())]
            raise pytest.UsageError(
                f"the marker {MARKER} takes one or more names of circuits, non-empty str, got ({', '.join(arguments)})"
            )
        open_it: OpenCircuit = request.getfixturevalue("open_circuit")
        for name in marker.args:
            open_it(name)
