"""Who may change something."""

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
    """Let in who has the token."""
    return request.headers.get("authorization") == "Bearer sesame"


async def by_token_async(request: Request) -> bool:
    """Let in who has the token."""
    return by_token(request)


class ByToken:
    """Lets in who has the token."""

    async def __call__(self, request: Request) -> bool:
        """Let in who has the token."""
        return by_token(request)


@pytest.mark.parametrize(
    "authorize",
    [by_token, by_token_async, ByToken(), functools.partial(by_token_async)],
    ids=["sync", "async", "object", "partial"],
)
def test_changes_are_asked_for(overseer: Overseer, authorize: object) -> None:
    """Every request but a reading one is asked for, and a refusal is 403 and changes nothing. [H]"""
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


def test_it_may_read_the_body(overseer: Overseer) -> None:
    """A signature over the body can be checked: the body is still there for the request. [H]"""
    scanner = overseer.register_agent("Scanner")

    async def authorize(request: Request) -> bool:
        return str(scanner).encode() in await request.body()

    with serving(create_app(overseer, authorize=authorize)) as url:
        response = httpx2.post(f"{url}/swarm/failure", json={"agent_id": str(scanner), "error": "x"})
    assert response.status_code == 200
    assert overseer.get_agent_status(scanner).consecutive_failures == 1


def test_it_reads_no_body_that_is_too_long(overseer: Overseer) -> None:
    """Who is not known yet cannot fill the memory: the limit holds for what `authorize` reads. [H3]"""
    read = []

    async def authorize(request: Request) -> bool:
        read.append(await request.body())
        return True

    with serving(create_app(overseer, authorize=authorize)) as url:
        response = httpx2.post(f"{url}/swarm/pause", content=(b"x" * 1000 for _ in range(70)))
    assert (response.status_code, read) == (413, [])


def test_a_slow_one_holds_up_nobody(overseer: Overseer) -> None:
    """One that is not async may block: the server goes on answering others meanwhile. [H]"""
    asked, go_on = threading.Event(), threading.Event()

    def authorize(request: Request) -> bool:
        asked.set()
        return go_on.wait(10)

    with serving(create_app(overseer, authorize=authorize)) as url:
        pausing = threading.Thread(target=httpx2.post, args=[f"{url}/swarm/pause"])
        pausing.start()
        assert asked.wait(10)
        assert httpx2.get(f"{url}/swarm/health").json()["is_paused"] is False
        go_on.set()
        pausing.join()
    assert overseer.is_paused


def test_nothing_but_true_lets_in(overseer: Overseer) -> None:
    """An answer that is no bool, a response that was meant to refuse, say, is a refusal. [H]"""
    with serving(create_app(overseer, authorize=lambda _: Response("no", 401))) as url:
        assert httpx2.post(f"{url}/swarm/pause").status_code == 403
    assert not overseer.is_paused
