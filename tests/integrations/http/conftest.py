"""Fixtures that run each test with both client libraries, sync and async."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from swarmguard import CircuitBreakerConfig, CircuitBreakerRegistry
from swarmguard.testing import FakeClock
from tests.integrations.http.faces import Face
from tests.integrations.http.scripted import ScriptedServer


@pytest.fixture(params=["httpx", "httpx2"])
def library(request: pytest.FixtureRequest) -> str:
    """Return the name of a client library."""
    return request.param


@pytest.fixture(params=["sync", "async"])
def face(request: pytest.FixtureRequest, library: str) -> Face:
    """Return a client library, sync or async."""
    return Face(library, request.param == "async")


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """Run a server with scripted responses."""
    with ScriptedServer().running() as server:
        yield server


@pytest.fixture
def registry(clock: FakeClock) -> CircuitBreakerRegistry:
    """Return a registry whose breakers open at the second failure."""
    return CircuitBreakerRegistry(CircuitBreakerConfig(failure_threshold=2, success_threshold=1), clock=clock)


@pytest.fixture
def unused_port() -> int:
    """Return a port that no server listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
