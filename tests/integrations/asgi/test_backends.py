"""The application called directly on asyncio and on trio, since uvicorn runs on asyncio only."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from swarmguard import EventBus, Overseer
from swarmguard.asgi import create_app

Message = dict[str, Any]


def scope(method: str, path: str) -> Message:
    """Return the ASGI scope of a request."""
    return {"type": "http", "method": method, "path": path, "query_string": b"", "headers": []}


async def ask(app: Any, method: str, path: str, body: bytes = b"") -> tuple[int, Any]:
    """Send a request and return the status and the JSON of the response."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope(method, path), receive, send)
    return sent[0]["status"], json.loads(b"".join(message["body"] for message in sent[1:]))


async def allow(request: object) -> bool:
    """Allow every request."""
    return True


@pytest.mark.anyio
@pytest.mark.parametrize("authorize", [allow, lambda _: True], ids=["async", "sync"])
async def test_a_change(overseer: Overseer, authorize: Callable[[Any], Awaitable[bool] | bool]) -> None:
    """A change is authorized and made. [H2]"""
    app = create_app(overseer, authorize=authorize)
    status, agent = await ask(app, "POST", "/swarm/agents", b'{"agent_type": "Scanner"}')
    assert status == 201
    assert agent == overseer.get_all_agent_statuses()[0].to_dict()


@pytest.mark.anyio
async def test_a_stream(overseer: Overseer, bus: EventBus) -> None:
    """A reader gets the events, and the stream ends when the reader disconnects. [H4]"""
    app = create_app(overseer, authorize=allow, bus=bus)
    sending, receiving = anyio.create_memory_object_stream[Message](10)
    hung_up = anyio.Event()

    async def receive() -> Message:
        await hung_up.wait()
        return {"type": "http.disconnect"}

    with anyio.fail_after(10), sending, receiving:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(app, scope("GET", "/swarm/events"), receive, sending.send)
            assert (await receiving.receive())["status"] == 200
            overseer.pause_swarm()
            assert (await receiving.receive())["body"].startswith(b'id: 1\r\ndata: {"topic": "arb.swarm.paused"')
            hung_up.set()
