"""A swarm served by a real uvicorn, and a real client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from swarmguard import CircuitBreakerRegistry, EventBus, Overseer
from swarmguard.asgi import create_app
from swarmguard.testing import FakeClock
from tests.integrations.asgi.serving import serving


@pytest.fixture
def bus() -> EventBus:
    """Return a bus."""
    return EventBus()


@pytest.fixture
def registry(clock: FakeClock, bus: EventBus) -> CircuitBreakerRegistry:
    """Return the swarm's registry."""
    return CircuitBreakerRegistry(clock=clock, sink=bus)


@pytest.fixture
def overseer(clock: FakeClock, bus: EventBus, registry: CircuitBreakerRegistry) -> Overseer:
    """Return the swarm's overseer."""
    return Overseer(clock=clock, sink=bus, registry=registry)


class Switch:
    """An application that calls another one, so that one server serves all tests: starting a server is slow."""

    def __init__(self) -> None:
        self.app: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Call the application of the current test."""
        await self.app(scope, receive, send)


@pytest.fixture(scope="session")
def switch() -> Iterator[tuple[Switch, str]]:
    """Serve a `Switch` and return it with the server's URL."""
    switch = Switch()
    with serving(switch) as url:
        yield switch, url


@pytest.fixture(params=["alone", "in FastAPI", "in Starlette"])
def url(request: pytest.FixtureRequest, overseer: Overseer, bus: EventBus, switch: tuple[Switch, str]) -> str:
    """Serve the swarm, alone or mounted, and return the URL before its paths."""
    app = create_app(overseer, authorize=lambda _: True, bus=bus)
    prefix = "/ops/v1"
    if request.param == "in FastAPI":
        outer = FastAPI()
        outer.mount(prefix, app)
    elif request.param == "in Starlette":
        outer = Starlette(routes=[Mount(prefix, app)])
    else:
        outer, prefix = app, ""
    switch[0].app = outer
    return switch[1] + prefix


@pytest.fixture
def client(url: str) -> Iterator[httpx2.Client]:
    """Return a client of the swarm."""
    with httpx2.Client(base_url=url, timeout=10) as client:
        yield client
