"""Every path and every error, with a real server and a real client."""

from __future__ import annotations

import json
import socket
import sys
import threading
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import httpx2
import pytest
from starlette.requests import Request

from swarmguard import CircuitBreakerRegistry, CircuitState, EventBus, Overseer
from swarmguard.asgi import BODY_LIMIT, create_app
from swarmguard.testing import FakeClock
from tests.integrations.asgi.serving import serving

UNKNOWN = UUID(int=7)


def done(response: httpx2.Response) -> bool:
    """Return whether a response reports success."""
    body = response.json()
    return (
        response.status_code == 200
        and body.keys() == {"success", "message"}
        and body["success"] is True
        and bool(body["message"])
    )


def error(response: httpx2.Response, code: int) -> str:
    """Return the message of an error, and check its code and shape."""
    body = response.json()
    assert response.headers["content-type"] == "application/json"
    assert (response.status_code, body["code"], body.keys()) == (code, code, {"error", "code"})
    assert "Traceback" not in body["error"]
    return body["error"]


# Reading


def test_an_agent(client: httpx2.Client, overseer: Overseer, clock: FakeClock) -> None:
    """An agent is returned with the documented fields. [H1]"""
    scanner = overseer.register_agent("Scanner")
    overseer.record_agent_failure(scanner, "timeout")
    clock.advance(7.9)
    assert client.get(f"/swarm/agents/{scanner}").json() == {
        "agent_type": "Scanner",
        "agent_id": str(scanner),
        "health": "Degraded",
        "seconds_since_heartbeat": 7,
        "consecutive_failures": 1,
        "restart_count": 0,
        "started_at": "2000-01-01T00:00:00+00:00",
        "error_message": "timeout",
        "is_stale": False,
    }
    assert client.get("/swarm/agents").json() == [client.get(f"/swarm/agents/{scanner}").json()]


def test_health(client: httpx2.Client, overseer: Overseer) -> None:
    """The health lists the number of agents by health. [H1]"""
    overseer.register_agent("Scanner")
    overseer.pause_swarm()
    assert client.get("/swarm/health").json() == {
        "total_agents": 1,
        "healthy_agents": 1,
        "degraded_agents": 0,
        "unhealthy_agents": 0,
        "dead_agents": 0,
        "overall_health": "Healthy",
        "is_paused": True,
    }


def test_circuit_breakers(client: httpx2.Client, registry: CircuitBreakerRegistry) -> None:
    """Circuit breakers are listed with their states. [H1]"""
    registry.get_or_create("jupiter_api")
    registry.get_or_create("helius_rpc").trip(5)
    listed = client.get("/swarm/circuit-breakers").json()
    assert [(circuit["name"], circuit["state"]) for circuit in listed] == [
        ("jupiter_api", "Closed"),
        ("helius_rpc", "Open"),
    ]
    assert listed == [status.to_dict() for status in registry.statuses()]


def test_status(client: httpx2.Client, overseer: Overseer, registry: CircuitBreakerRegistry) -> None:
    """The status combines the health, the agents and the circuit breakers. [H1]"""
    overseer.register_agent("Scanner")
    registry.get_or_create("jupiter_api")
    assert client.get("/swarm/status").json() == {
        "health": client.get("/swarm/health").json(),
        "agents": client.get("/swarm/agents").json(),
        "circuit_breakers": client.get("/swarm/circuit-breakers").json(),
    }


def test_reading_changes_nothing(
    client: httpx2.Client, overseer: Overseer, registry: CircuitBreakerRegistry, bus: EventBus, clock: FakeClock
) -> None:
    """A GET declares no agent dead, admits no probe and records no heartbeat. [H3]"""
    scanner = overseer.register_agent("Scanner")
    registry.get_or_create("jupiter").trip(1)
    clock.advance(100)
    before = overseer.get_swarm_status()
    with bus.subscribe() as events:
        for path in ("status", "health", "agents", f"agents/{scanner}", "circuit-breakers", "openapi.json"):
            assert client.get(f"/swarm/{path}").status_code == 200
            assert client.head(f"/swarm/{path}").status_code == 200
    assert overseer.get_swarm_status() == before
    assert events.drain() == []


def test_the_registry(overseer: Overseer, clock: FakeClock) -> None:
    """The circuit breakers are those of the overseer's registry, if it has one, or of the given registry. [H1]"""
    bare = Overseer(clock=clock)
    with serving(create_app(bare, authorize=lambda _: True)) as url:
        assert httpx2.get(f"{url}/swarm/circuit-breakers").json() == []
        assert done(httpx2.post(f"{url}/swarm/circuit-breakers/reset-all"))
    other = CircuitBreakerRegistry(clock=clock)
    other.get_or_create("elsewhere")
    with serving(create_app(overseer, other, authorize=lambda _: True)) as url:
        assert [circuit["name"] for circuit in httpx2.get(f"{url}/swarm/status").json()["circuit_breakers"]] == [
            "elsewhere"
        ]


# Agents


def test_registering(client: httpx2.Client, overseer: Overseer) -> None:
    """A registered agent gets a new id or keeps its own, and is returned. [H2]"""
    chosen = uuid4()
    for body in ({"agent_type": "Scanner"}, {"agent_type": "Scanner", "agent_id": None}):
        response = client.post("/swarm/agents", json=body)
        assert response.status_code == 201
        assert response.json() == overseer.get_agent_status(UUID(response.json()["agent_id"])).to_dict()
    body = {"agent_type": "Snipér/\n\ud800", "agent_id": str(chosen)}
    response = client.post("/swarm/agents", content=json.dumps(body))
    assert (response.status_code, response.json()["agent_id"]) == (201, str(chosen))
    assert client.get(f"/swarm/agents/{chosen}").json()["agent_type"] == body["agent_type"]
    assert str(chosen) in error(client.post("/swarm/agents", content=json.dumps(body)), 409)


def test_reports(client: httpx2.Client, overseer: Overseer, clock: FakeClock) -> None:
    """Heartbeats, failures and successes are recorded by the agent's id. [H2]"""
    scanner = overseer.register_agent("Scanner")
    clock.advance(5)
    assert done(client.post("/swarm/heartbeat", json={"agent_id": str(scanner)}))
    assert overseer.get_agent_status(scanner).seconds_since_heartbeat == 0
    assert done(client.post("/swarm/failure", json={"agent_id": str(scanner), "error": "Connection timeout"}))
    status = overseer.get_agent_status(scanner)
    assert (status.consecutive_failures, status.error_message) == (1, "Connection timeout")
    assert done(client.post("/swarm/success", json={"agent_id": str(scanner)}))
    assert overseer.get_agent_status(scanner).consecutive_failures == 0
    assert done(client.delete(f"/swarm/agents/{scanner}"))
    assert overseer.get_all_agent_statuses() == []


# Control


def test_pausing(client: httpx2.Client, overseer: Overseer) -> None:
    """The swarm can be paused and resumed any number of times. [H2]"""
    for path, paused in (("pause", True), ("pause", True), ("resume", False), ("resume", False)):
        assert done(client.post(f"/swarm/{path}"))
        assert overseer.is_paused is paused


@pytest.mark.parametrize(
    "name", ["jupiter", "a/b", "a/reset", "reset-all", "..", "/", "?x=1#y", "100%", "%2F", "ключ 🔑", " "]
)
def test_resetting_one(client: httpx2.Client, registry: CircuitBreakerRegistry, name: str) -> None:
    """A circuit with any name can be reset, and no other circuit changes. [H2] [R3]"""
    for each in (name, "bystander"):
        registry.get_or_create(each).trip()
    escaped = quote(name, safe="").replace(".", "%2E")
    assert done(client.post(f"/swarm/circuit-breakers/{escaped}/reset"))
    assert registry.get_all_states() == {name: CircuitState.CLOSED, "bystander": CircuitState.OPEN}


def test_a_name_with_a_line_break(overseer: Overseer, registry: CircuitBreakerRegistry) -> None:
    """A name with a line break works, but not through a mount, whose pattern excludes line breaks. [H2] [R3]"""
    registry.get_or_create("two\nlines").trip()
    with serving(create_app(overseer, authorize=lambda _: True)) as url:
        assert done(httpx2.post(f"{url}/swarm/circuit-breakers/two%0Alines/reset"))
    assert registry.get_all_states() == {"two\nlines": CircuitState.CLOSED}


def test_resetting_all(client: httpx2.Client, registry: CircuitBreakerRegistry) -> None:
    """All circuits are reset. [H2]"""
    for name in ("jupiter", "helius"):
        registry.get_or_create(name).trip()
    assert done(client.post("/swarm/circuit-breakers/reset-all"))
    assert set(registry.get_all_states().values()) == {CircuitState.CLOSED}


# Errors

NESTED = "the body must be JSON, got a value that is nested too deeply"
"""Since Python 3.14, as deep as `json` gets depends on the thread's stack: it may also see that the body is cut off."""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the body must be JSON: "),
        (b"{", "the body must be JSON: "),
        (b"\xff\xfe\xfd", "the body must be JSON: "),
        (b'{"agent_id": NaN}', "the body must be JSON: NaN is not JSON"),
        (b"[" * 60_000, NESTED if sys.version_info < (3, 14) else (NESTED, "the body must be JSON: ")),
        (b"[]", "the body must be a JSON object, got []"),
        (b'"text"', 'the body must be a JSON object, got "text"'),
        (b"{}", "agent_id is missing"),
        (b'{"agent_id": 7}', "agent_id must be a UUID in a string, got 7"),
        (b'{"agent_id": null}', "agent_id must be a UUID in a string, got null"),
        (b'{"agent_id": "x"}', 'agent_id must be a UUID, got "x"'),
        (b'{"agent_id": "%s"}' % (b"x" * 999), f'agent_id must be a UUID, got "{"x" * 79}…'),
        (b'{"agent_id": "x", "id": 1}', "unknown field 'id'; the fields are agent_id"),
    ],
)
def test_bad_bodies(client: httpx2.Client, content: bytes, message: str | tuple[str, ...]) -> None:
    """What is no JSON, or not of the right kind, is told what it should be and what it is. [H3]"""
    assert error(client.post("/swarm/heartbeat", content=content), 400).startswith(message)


@pytest.mark.parametrize("value", [7, None, "", ["x"], {"a": 1}, True])
def test_bad_texts(client: httpx2.Client, overseer: Overseer, value: object) -> None:
    """A text must be a string; a type must not be empty, but an error may, as `str(TimeoutError())` is. [H3]"""
    scanner = overseer.register_agent("Scanner")
    got = json.dumps(value)
    failed = client.post("/swarm/failure", json={"agent_id": str(scanner), "error": value})
    if value == "":
        assert done(failed)
        overseer.record_agent_success(scanner)
    else:
        assert error(failed, 400) == f"error must be a string, got {got}"
    assert error(client.post("/swarm/agents", json={"agent_type": value}), 400) == (
        f"agent_type must be a non-empty string, got {got}"
    )
    assert overseer.get_swarm_health().healthy_agents == 1


def test_unknown_agents(client: httpx2.Client) -> None:
    """An unknown id is 404, and an id that is not a UUID is 400. [H3]"""
    body = {"agent_id": str(UNKNOWN)}
    for response in (
        client.get(f"/swarm/agents/{UNKNOWN}"),
        client.delete(f"/swarm/agents/{UNKNOWN}"),
        client.post("/swarm/heartbeat", json=body),
        client.post("/swarm/success", json=body),
        client.post("/swarm/failure", json=body | {"error": "x"}),
    ):
        assert str(UNKNOWN) in error(response, 404)
    assert error(client.get("/swarm/agents/me"), 400) == 'agent_id must be a UUID, got "me"'
    assert error(client.delete("/swarm/agents/me"), 400) == 'agent_id must be a UUID, got "me"'


def test_unknown_circuits_and_paths(client: httpx2.Client) -> None:
    """An unknown circuit or path is 404. [H3]"""
    assert error(client.post("/swarm/circuit-breakers/jupiter/reset"), 404) == ("no circuit breaker is named 'jupiter'")
    for path in ("/swarm", "/swarm/", "/swarm/agents/", "/swarm/nothing", "/swarm/circuit-breakers//reset"):
        error(client.post(path), 404)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "status", {"GET", "HEAD"}),
        ("PUT", "agents", {"GET", "HEAD", "POST"}),
        ("PATCH", f"agents/{UNKNOWN}", {"GET", "HEAD", "DELETE"}),
        ("GET", "pause", {"POST"}),
        ("GET", "circuit-breakers/jupiter/reset", {"POST"}),
        ("OPTIONS", "heartbeat", {"POST"}),
    ],
)
def test_wrong_methods(client: httpx2.Client, overseer: Overseer, method: str, path: str, allowed: set[str]) -> None:
    """A method that a path does not support is 405, and `Allow` lists those that it supports. [H3]"""
    response = client.request(method, f"/swarm/{path}")
    error(response, 405)
    assert set(response.headers["allow"].split(", ")) == allowed
    assert not overseer.is_paused


def test_bodies_over_the_limit(client: httpx2.Client, overseer: Overseer) -> None:
    """At most 64 KiB of a body are read, with or without a `Content-Length`. [H3]"""
    scanner = overseer.register_agent("Scanner")

    def body(length: int) -> bytes:
        start = json.dumps({"agent_id": str(scanner), "error": ""}).encode()
        return start[:-2] + b"x" * (length - len(start)) + start[-2:]

    assert done(client.post("/swarm/failure", content=body(BODY_LIMIT)))
    assert error(client.post("/swarm/failure", content=body(BODY_LIMIT + 1)), 413) == (
        "the body must have at most 65536 bytes"
    )
    chunks = (b"x" * 1000 for _ in range(70))
    error(client.post("/swarm/failure", content=chunks), 413)
    for path in (
        "pause",
        "circuit-breakers/reset-all",
        "circuit-breakers/x/reset",
    ):  # also where the handler reads none
        error(client.post(f"/swarm/{path}", content=body(BODY_LIMIT + 1)), 413)
    assert not overseer.is_paused
    assert overseer.get_agent_status(scanner).consecutive_failures == 1


def test_disconnecting_during_the_body(overseer: Overseer) -> None:
    """A client that disconnects before the end of its body changes nothing and causes no server error. [H3]"""
    called = threading.Event()
    raised = []

    def authorize(request: Request) -> bool:
        called.set()
        return True

    app = create_app(overseer, authorize=authorize)

    async def host(scope: Any, receive: Any, send: Any) -> None:
        try:
            await app(scope, receive, send)
        except Exception as exc:
            raised.append(exc)
            raise

    with serving(host) as url, socket.create_connection(url.removeprefix("http://").split(":")) as connection:
        connection.sendall(b"POST /swarm/pause HTTP/1.1\r\nhost: swarm\r\ncontent-length: 9\r\n\r\nhalf")
        assert called.wait(10)
    assert not overseer.is_paused
    assert raised == []


def test_internal_errors(overseer: Overseer, caplog: pytest.LogCaptureFixture) -> None:
    """An unexpected exception is 500 without details. [H3]"""

    def authorize(request: object) -> bool:
        raise RuntimeError("secret")

    with serving(create_app(overseer, authorize=authorize)) as url:
        assert error(httpx2.post(f"{url}/swarm/pause"), 500) == "internal server error"
    assert not overseer.is_paused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"overseer": None}, "overseer must be an Overseer, got None"),
        ({"registry": 7}, "registry must be a CircuitBreakerRegistry or None, got 7"),
        ({"authorize": True}, "authorize must be a callable from a request to a bool, got True"),
        ({"bus": print}, "bus must be an EventBus or None, got <built-in function print>"),
    ],
)
def test_bad_arguments(overseer: Overseer, arguments: dict[str, object], message: str) -> None:
    """A wrong argument raises an error with its name, what is allowed, and what was given."""
    given = {"overseer": overseer, "authorize": bool} | arguments
    with pytest.raises(TypeError) as caught:
        create_app(given.pop("overseer"), **given)
    assert str(caught.value).startswith(message)


def test_authorize_has_no_default(overseer: Overseer) -> None:
    """`create_app` requires `authorize`. [H]"""
    with pytest.raises(TypeError, match="authorize"):
        create_app(overseer)
