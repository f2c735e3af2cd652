"""The async methods of the integrations, cancelled at each of their await points."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import httpx
import httpx2
import pytest
from anyio.lowlevel import checkpoint

import swarmguard.httpx
import swarmguard.httpx2
from swarmguard import CircuitBreakerConfig, CircuitBreakerRegistry, CircuitState, EventBus, Overseer
from swarmguard.asgi import create_app
from tests.cancellation.points import WAYS, Scene, at_every_point

CLIENTS = {
    "httpx": (httpx, swarmguard.httpx.AsyncCircuitBreakerTransport),
    "httpx2": (httpx2, swarmguard.httpx2.AsyncCircuitBreakerTransport),
}


@pytest.mark.filterwarnings("ignore:Async generator 'httpx")  # on trio, httpx drops generators of its own half-way
@WAYS
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("streamed", [False, True], ids=["read", "streamed"])
def test_a_cancelled_request_is_neutral(backend, native, client, streamed, explored) -> None:
    """Wherever a request is cancelled, on its way or in its body, it frees its slot and counts as nothing.

    [B3] [B6] [T01]
    """
    library, guard = CLIENTS[client]

    class Body(library.AsyncByteStream):
        closed = False

        async def __aiter__(self) -> AsyncGenerator[bytes, None]:
            for _ in range(3):
                await checkpoint()
                yield b"part"

        async def aclose(self) -> None:
            await checkpoint()
            self.closed = True

    class Request(Scene):
        def __init__(self) -> None:
            super().__init__()
            config = CircuitBreakerConfig(half_open_max_calls=1, success_threshold=1)
            self.registry = CircuitBreakerRegistry(config, clock=self.clock)
            self.breaker = self.registry.get_or_create("service")
            self.breaker.trip(0)

        async def answer(self, request: object) -> object:
            await checkpoint()
            return library.Response(200, stream=Body())

        async def act(self) -> None:
            transport = guard(self.registry, library.MockTransport(self.answer))
            async with library.AsyncClient(transport=transport) as client:
                if not streamed:
                    assert (await client.get("http://service/")).content == b"part" * 3
                    return
                async with (
                    client.stream("GET", "http://service/") as response,
                    aclosing(response.aiter_bytes()) as parts,  # on trio the client leaves it half-way
                ):
                    async for _ in parts:
                        await checkpoint()

        def check(self) -> None:
            status = self.breaker.status()
            assert (status.half_open_calls, status.success_count) == (0, 0)
            if self.done:
                assert status.state is CircuitState.CLOSED

    explored("cancellation points", at_every_point(backend, native, Request))


async def allow(request: object) -> bool:
    """Authorize every request after a short wait."""
    await checkpoint()
    return True


@WAYS
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/swarm/status"), ("POST", "/swarm/agents"), ("GET", "/swarm/events")]
)
def test_a_cancelled_answer_leaves_no_partial_state(backend, native, method, path, explored) -> None:
    """Wherever a request to the app is cancelled, an agent is registered fully or not at all, and no stream stays.

    [H2] [H4]
    """

    class Answer(Scene):
        def __init__(self) -> None:
            super().__init__()
            self.bus = EventBus()
            self.overseer = Overseer(clock=self.clock, sink=self.bus)
            self.app = create_app(self.overseer, authorize=allow, bus=self.bus)
            self.received = 0

        async def receive(self) -> dict[str, Any]:
            await checkpoint()
            self.received += 1
            if self.received == 1:
                return {"type": "http.request", "body": json.dumps({"agent_type": "Scanner"}).encode()}
            self.overseer.pause_swarm()
            await self.clock.sleep(5)
            return {"type": "http.disconnect"}

        async def send(self, message: object) -> None:
            await checkpoint()

        async def act(self) -> None:
            scope = {"type": "http", "method": method, "path": path, "headers": [], "query_string": b""}
            await self.app(scope, self.receive, self.send)

        def check(self) -> None:
            health = self.overseer.get_swarm_health()
            assert health.total_agents == health.healthy_agents == len(self.overseer.get_all_agent_statuses())
            assert health.total_agents in ({0, 1} if method == "POST" else {0})
            assert not [mailbox for known in self.bus._mailboxes if (mailbox := known()) is not None]

    explored("cancellation points", at_every_point(backend, native, Answer))
