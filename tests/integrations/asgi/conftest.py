"""A swarm behind a real uvicorn, and a real client."""

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
    """Give a bus."""
    return EventBus()


@pytest.fixture
def registry(clock: FakeClock, bus: EventBus) -> CircuitBreakerRegistry:
    """Give the swarm's circuits."""
    return CircuitBreakerRegistry(clock=clock, sink=bus)


@pytest.fixture
def overseer(clock: FakeClock, bus: EventBus, registry: CircuitBreakerRegistry) -> Overseer:
    """Give the swarm's overseer."""
    return Overseer(clock=clock, sink=bus, registry=registry)


class Stage:
    """An application that is whichever one plays: starting a server for each test would take most of the time."""

    def __init__(self) -> None:
        self.app: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Play it."""
        await self.app(scope, receive, send)


@pytest.fixture(scope="session")
def stage() -> Iterator[tuple[Stage, str]]:
    """Give a server's application, and the server's URL."""
    stage = Stage()
    with serving(stage) as url:
        yield stage, url


@pytest.fixture(params=["alone", "in FastAPI", "in Starlette"])
def url(request: pytest.FixtureRequest, overseer: Overseer, bus: EventBus, stage: tuple[Stage, str]) -> str:
    """Serve the swarm, alone and mounted, and give the URL in front of its paths."""
    app = create_app(overseer, authorize=lambda _: True, bus=bus)
    prefix = "/ops/v1"
    if request.param == "in FastAPI":
        outer = FastAPI()
        outer.mount(prefix, app)
    elif request.param == "in Starlette":
        outer = Starlette(routes=[Mount(prefix, app)])
    else:
        outer, prefix = app, ""
    stage[0].app = outer
    return stage[1] + prefix


@pytest.fixture
def client(url: str) -> Iterator[httpx2.Client]:
    """Give a client of the swarm."""
    with httpx2.Client(base_url=url, timeout=10) as client:
        yield client
