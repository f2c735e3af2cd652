"""The swarm over HTTP: an ASGI application that a host mounts in its own server.

```python
app = FastAPI()
app.mount("/ops", create_app(overseer, authorize=authorize))
```

Reading is open to whoever reaches the server, and changes nothing; the rest is asked of `authorize`. What goes over the
wire are the `to_dict()` of the values that the overseer and the breakers show. Nothing here decides anything: the
overseer's methods are quick and may be called from any thread, so the handlers call them as they are.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from collections.abc import Set as AbstractSet
from inspect import isawaitable
from typing import Any, NoReturn
from uuid import UUID

from swarmguard import _openapi
from swarmguard._breaker.registry import CircuitBreakerRegistry
from swarmguard._common.extra import Extra
from swarmguard._common.fields import check_callable, check_instance
from swarmguard._overseer.overseer import Overseer
from swarmguard.bus import EventBus, Subscription
from swarmguard.errors import DuplicateAgentError, UnknownAgentError
from swarmguard.events import JSON

with Extra("asgi"):
    from sse_starlette import EventSourceResponse, ServerSentEvent
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.convertors import PathConvertor, register_url_convertor
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route
    from starlette.types import Message, Receive, Scope, Send

__all__ = ["BODY_LIMIT", "PING_SECONDS", "create_app"]

BODY_LIMIT = 64 * 1024
"""The most bytes that a request's body may have."""

PING_SECONDS = 15
"""A stream of events that has nothing to say says so this often, lest a proxy hang up."""

Authorize = Callable[[Request], bool | Awaitable[bool]]
Handler = Callable[[Request], Awaitable[Response]]


def create_app(
    overseer: Overseer,
    registry: CircuitBreakerRegistry | None = None,
    *,
    authorize: Authorize,
    bus: EventBus | None = None,
) -> Starlette:
    """Return the ASGI application of a swarm. It listens nowhere: mount it in the host's own, or serve it.

    Args:
        overseer: The swarm.
        registry: The circuits to show. None: those of the overseer's registry, if it has one.
        authorize: Asked whether a request may change something, that is, for every request but GET (and HEAD, which is
            a GET without its answer). It takes the `starlette.requests.Request` and returns True to allow it; whatever
            else it returns is a refusal, which is answered with 403. It may be async; one that is not runs in a thread,
            so it may block. It has no default: who may pause a swarm is the host's to say.
        bus: Whose events `GET /swarm/events` streams. None: there is no such path.

    Raises:
        TypeError: An argument is of the wrong type.
    """
    check_instance("overseer", overseer, Overseer, "an Overseer")
    if registry is not None:
        check_instance("registry", registry, CircuitBreakerRegistry, "a CircuitBreakerRegistry or None")
    check_callable("authorize", authorize, "a callable from a request to a bool")
    if bus is not None:
        check_instance("bus", bus, EventBus, "an EventBus or None")
    api = _Api(overseer, overseer.registry if registry is None else registry, authorize, bus)
    app = Starlette(
        routes=api.routes(),
        exception_handlers={
            HTTPException: _refused,
            UnknownAgentError: _unknown_agent,
            DuplicateAgentError: _taken,
            ClientDisconnect: _gone,
            Exception: _failed,
        },
    )
    app.router.redirect_slashes = False  # a path that is not there is not there
    return app


class _Api:
    """The handlers, one for each path and method."""

    def __init__(
        self, overseer: Overseer, registry: CircuitBreakerRegistry | None, authorize: Authorize, bus: EventBus | None
    ) -> None:
        self._overseer = overseer
        self._registry = CircuitBreakerRegistry() if registry is None else registry
        self._authorize = authorize
        self._bus = bus

    def routes(self) -> list[Route]:
        """Return what answers where."""
        routes = [
            self._at("/swarm/status", GET=self.status),
            self._at("/swarm/health", GET=self.health),
            self._at("/swarm/agents", GET=self.agents, POST=self.register),
            self._at("/swarm/agents/{agent_id}", GET=self.agent, DELETE=self.unregister),
            self._at("/swarm/heartbeat", POST=self.heartbeat),
            self._at("/swarm/failure", POST=self.failure),
            self._at("/swarm/success", POST=self.success),
            self._at("/swarm/pause", POST=self.pause),
            self._at("/swarm/resume", POST=self.resume),
            self._at("/swarm/circuit-breakers", GET=self.breakers),
            self._at("/swarm/circuit-breakers/reset-all", POST=self.reset_all),
            self._at("/swarm/circuit-breakers/{name:swarmguard_circuit}/reset", POST=self.reset),
            self._at("/swarm/openapi.json", GET=self.openapi),
        ]
        if self._bus is not None:
            routes.append(self._at("/swarm/events", GET=self.events))
        return routes

    def _at(self, path: str, **handlers: Handler) -> Route:
        """Return the route of a path; `handlers` are by method."""

        async def endpoint(request: Request) -> Response:
            if request.method in ("GET", "HEAD"):
                return await handlers["GET"](request)
            request = Request(request.scope, _limited(request.receive))
            if not await self._allows(request):
                raise HTTPException(403, "not authorized")
            await request.body()  # one that is too long is refused by paths, too, that look for none
            return await handlers[request.method](request)

        return Route(path, endpoint, methods=list(handlers))

    async def _allows(self, request: Request) -> bool:
        """Ask `authorize`, of whatever kind it is, where it may block."""
        # In a tuple, since trio takes no coroutine from a thread.
        (answer,) = await run_in_threadpool(lambda: (self._authorize(request),))
        # Nothing but True lets in: not the response, say, that somebody returns to refuse.
        return (await answer if isawaitable(answer) else answer) is True

    # Reading

    async def status(self, request: Request) -> Response:
        return _json({**self._overseer.get_swarm_status().to_dict(), "circuit_breakers": self._circuits()})

    async def health(self, request: Request) -> Response:
        return _json(self._overseer.get_swarm_health().to_dict())

    async def agents(self, request: Request) -> Response:
        return _json([agent.to_dict() for agent in self._overseer.get_all_agent_statuses()])

    async def agent(self, request: Request) -> Response:
        return self._show(_uuid(request.path_params["agent_id"]))

    async def breakers(self, request: Request) -> Response:
        return _json(self._circuits())

    async def openapi(self, request: Request) -> Response:
        return _json(_openapi.document(request.scope.get("root_path", ""), with_events=self._bus is not None))

    async def events(self, request: Request) -> Response:
        assert self._bus is not None
        try:
            subscription = self._bus.subscribe(request.query_params.get("topics", "*"))
        except ValueError as error:
            raise HTTPException(400, str(error)) from None
        return _Events(subscription)

    # Agents

    async def register(self, request: Request) -> Response:
        body = await _Body.of(request, required={"agent_type"}, optional={"agent_id"})
        agent_id = self._overseer.register_agent(body.text("agent_type"), body.uuid_or_none("agent_id"))
        return self._show(agent_id, 201)

    async def unregister(self, request: Request) -> Response:
        self._overseer.unregister_agent(_uuid(request.path_params["agent_id"]))
        return _done("agent unregistered")

    async def heartbeat(self, request: Request) -> Response:
        body = await _Body.of(request, required={"agent_id"})
        self._overseer.record_agent_heartbeat(body.uuid("agent_id"))
        return _done("heartbeat recorded")

    async def failure(self, request: Request) -> Response:
        body = await _Body.of(request, required={"agent_id", "error"})
        self._overseer.record_agent_failure(body.uuid("agent_id"), body.text("error", empty=True))
        return _done("failure recorded")

    async def success(self, request: Request) -> Response:
        body = await _Body.of(request, required={"agent_id"})
        self._overseer.record_agent_success(body.uuid("agent_id"))
        return _done("success recorded")

    # Control

    async def pause(self, request: Request) -> Response:
        self._overseer.pause_swarm()
        return _done("swarm paused")

    async def resume(self, request: Request) -> Response:
        self._overseer.resume_swarm()
        return _done("swarm resumed")

    async def reset(self, request: Request) -> Response:
        name = request.path_params["name"]
        if not self._registry.reset(name):
            raise HTTPException(404, f"no circuit breaker has the name {name!r}")
        return _done("circuit breaker reset")

    async def reset_all(self, request: Request) -> Response:
        self._registry.reset_all()
        return _done("all circuit breakers reset")

    def _circuits(self) -> list[JSON]:
        return [status.to_dict() for status in self._registry.statuses()]

    def _show(self, agent_id: UUID, code: int = 200) -> Response:
        return _json(self._overseer.get_agent_status(agent_id).to_dict(), code)


class _Body:
    """The JSON object that a request brings, with all its fields known and none missing."""

    def __init__(self, fields: Mapping[str, object]) -> None:
        self._fields = fields

    @classmethod
    async def of(
        cls, request: Request, *, required: AbstractSet[str], optional: AbstractSet[str] = frozenset()
    ) -> _Body:
        try:
            fields = json.loads(await request.body(), parse_constant=_no_number)
        except RecursionError:
            _bad("the body must be JSON, got one that is nested too deeply")
        except ValueError as error:
            _bad(f"the body must be JSON: {error}")
        if not isinstance(fields, dict):
            _bad(f"the body must be a JSON object, got {_kind(fields)}")
        for name in sorted(required - fields.keys()):
            _bad(f"{name} is missing")
        for name in sorted(fields.keys() - required - optional):
            _bad(f"there is no field {name!r}: those are {', '.join(sorted(required | optional))}")
        return cls(fields)

    def text(self, name: str, *, empty: bool = False) -> str:
        value = self._fields[name]
        if not isinstance(value, str) or not (value or empty):
            _bad(f"{name} must be a {'' if empty else 'non-empty '}string, got {_kind(value)}")
        return value

    def uuid(self, name: str) -> UUID:
        value = self._fields[name]
        if not isinstance(value, str):
            _bad(f"{name} must be a UUID in a string, got {_kind(value)}")
        return _uuid(value)

    def uuid_or_none(self, name: str) -> UUID | None:
        return None if self._fields.get(name) is None else self.uuid(name)


def _limited(receive: Receive) -> Receive:
    """Return a `receive` that does not read on when the body is too long, whoever reads it: `authorize` may."""
    length = 0

    async def limited() -> Message:
        nonlocal length
        message = await receive()
        length += len(message.get("body", b""))
        if length > BODY_LIMIT:
            raise HTTPException(413, f"the body must have at most {BODY_LIMIT} bytes", {"Connection": "close"})
        return message

    return limited


class _Events(EventSourceResponse):
    """The answer that streams a subscription, and ends it: the stream may be dropped before anybody has read of it."""

    def __init__(self, subscription: Subscription) -> None:
        super().__init__(_told(subscription), ping=PING_SECONDS)
        self._subscription = subscription

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._subscription:
            await super().__call__(scope, receive, send)


async def _told(subscription: Subscription) -> AsyncIterator[ServerSentEvent]:
    """Tell a reader what the subscription gets, and how much it has lost by being slow."""
    told = 0
    async for event in subscription:
        dropped = subscription.dropped
        if dropped > told:
            yield ServerSentEvent(json.dumps({"dropped": dropped - told}), event="dropped")
            told = dropped
        yield ServerSentEvent(json.dumps(event.to_dict()), id=str(event.sequence))


class _Name(PathConvertor):
    """A circuit's name in a path: anything at all, slashes and line ends included."""

    regex = "(?s:.+)"


register_url_convertor("swarmguard_circuit", _Name())  # the names of convertors are the whole process's


class _Ascii(JSONResponse):
    """JSON that can hold whatever a `str` holds: error texts come from anywhere, lone surrogates included."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


def _json(content: JSON, code: int = 200) -> Response:
    return _Ascii(content, code)


def _done(message: str) -> Response:
    return _json({"success": True, "message": message})


def _error(code: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return _Ascii({"error": message, "code": code}, code, headers)


def _bad(message: str) -> NoReturn:
    raise HTTPException(400, message)


def _kind(value: object) -> str:
    """Say what a JSON value is, in its own words, and as much of it as a message can bear."""
    shown = json.dumps(value)
    return shown if len(shown) <= 80 else f"{shown[:80]}…"


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        _bad(f"agent_id must be a UUID, got {_kind(text)}")


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


# What is raised


async def _refused(_request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    return _error(exc.status_code, exc.detail, exc.headers)


async def _unknown_agent(_request: Request, exc: Exception) -> Response:
    return _error(404, str(exc))


async def _taken(_request: Request, exc: Exception) -> Response:
    return _error(409, str(exc))


async def _gone(_request: Request, _exc: Exception) -> Response:
    return _error(400, "the body must be whole")  # nobody reads this: the client hung up half-way


async def _failed(_request: Request, _exc: Exception) -> Response:
    return _error(500, "internal server error")  # the exception itself goes on to the server, which logs it
