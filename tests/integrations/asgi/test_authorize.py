"""The `authorize` callback of `create_app`."""

from __future__ import annotations

import functools
import threading

import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import Response

from swarmguard import Overseer
from swarmguard.asgi import create_app
from tests.integrations.asgi.serving import serving


def by_token(request: Request) -> bool:
    """Allow a request with the token."""
    return request.headers.get("authorization") == "Bearer sesame"


async def by_token_async(request: Request) -> bool:
    """Allow a request with the token."""
    return by_token(request)


class ByToken:
    """Allows a request with the token."""

    async def __call__(self, request: Request) -> bool:
        """Allow a request with the token."""
        return by_token(request)


@pytest.mark.parametrize(
    "authorize",
    [by_token, by_token_async, ByToken(), functools.partial(by_token_async)],
    ids=["sync", "async", "object", "partial"],
)
def test_changes_need_authorization(overseer: Overseer, authorize: object) -> None:
    """`authorize` is called for every method but GET and HEAD; a refusal is 403 and changes nothing. [H]"""
    scanner = overseer.register_agent("Scanner")
    with (
        serving(create_app(overseer, authorize=authorize)) as url,
        httpx2.Client(base_url=url, timeout=10) as client,
    ):
        for method, path in (
            ("POST", "agents"),
            ("POST", "heartbeat"),
            ("POST", "failure"),
            ("POST", "success"),
            ("POST", "pause"),
            ("POST", "resume"),
            ("POST", "circuit-breakers/reset-all"),
            ("POST", "circuit-breakers/jupiter/reset"),
            ("DELETE", f"agents/{scanner}"),
        ):
            response = client.request(method, f"/swarm/{path}", content=b"not even JSON")
            assert (response.status_code, response.json()) == (403, {"error": "not authorized", "code": 403})
        assert client.get(f"/swarm/agents/{scanner}").status_code == 200
        assert not overseer.is_paused
        assert client.post("/swarm/pause", headers={"authorization": "Bearer sesame"}).status_code == 200
        assert overseer.is_paused


def test_authorize_may_read_the_body(overseer: Overseer) -> None:
    """`authorize` may read the body, and the handler can read it again. [H]"""
    scanner = overseer.register_agent("Scanner")

    async def authorize(request: Request) -> bool:
        return str(scanner).encode() in await request.body()

    with serving(create_app(overseer, authorize=authorize)) as url:
        response = httpx2.post(f"{url}/swarm/failure", json={"agent_id": str(scanner), "error": "x"})
    assert response.status_code == 200
    assert overseer.get_agent_status(scanner).consecutive_failures == 1


def test_authorize_cannot_read_a_body_over_the_limit(overseer: Overseer) -> None:
    """The limit on the body also applies to `authorize`. [H3]"""
    read = []

    async def authorize(request: Request) -> bool:
        read.append(await request.body())
        return True

    with serving(create_app(overseer, authorize=authorize)) as url:
        response = httpx2.post(f"{url}/swarm/pause", content=(b"x" * 1000 for _ in range(70)))
    assert (response.status_code, read) == (413, [])


def test_a_plain_authorize_may_block(overseer: Overseer) -> None:
    """While a plain `authorize` blocks, the server answers other requests. [H]"""
    called, go_on = threading.Event(), threading.Event()

    def authorize(request: Request) -> bool:
        called.set()
        return go_on.wait(10)

    with serving(create_app(overseer, authorize=authorize)) as url:
        pausing = threading.Thread(target=httpx2.post, args=[f"{url}/swarm/pause"])
        pausing.start()
        assert called.wait(10)
        assert httpx2.get(f"{url}/swarm/health").json()["is_paused"] is False
        go_on.set()
        pausing.join()
    assert overseer.is_paused


def test_only_true_allows_a_request(overseer: Overseer) -> None:
    """A truthy result that is not True, such as a response, is a refusal. [H]"""
    with serving(create_app(overseer, authorize=lambda _: Response("no", 401))) as url:
        assert httpx2.post(f"{url}/swarm/pause").status_code == 403
    assert not overseer.is_paused
