"""The swarm over HTTP: an ASGI application that a host mounts in its own server.

```python
app = FastAPI()
app.mount("/ops", create_app(overseer, authorize=authorize))
```

GET requests are open to every client and change nothing. `authorize` decides about all others. The responses are built
from the `to_dict()` of the overseer's and the breakers' statuses. The overseer's methods do not block, so the handlers
call them in the event loop.
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
"""The maximum size of a request's body, in bytes."""

PING_SECONDS = 15
"""The interval of the comments that keep a quiet event stream open through proxies, in seconds."""

Authorize = Callable[[Request], bool | Awaitable[bool]]
Handler = Callable[[Request], Awaitable[Response]]


def create_app(
    overseer: Overseer,
    registry: CircuitBreakerRegistry | None = None,
    *,
    authorize: Authorize,
    bus: EventBus | None = None,
) -> Starlette:
    """Return the ASGI application of a swarm. Mount it in your own application, or serve it.

    Args:
        overseer: The overseer of the swarm.
        registry: The circuit breakers to show. None: those of the overseer's registry, if it has one.
        authorize: Decides whether a request may change something. Called with the `starlette.requests.Request` for
            every method but GET and HEAD. True allows the request; any other result is answered with 403. It may be
            async; a plain function runs in a worker thread, so it may block. There is no default: the host must decide
            who may control the swarm.
        bus: The bus whose events `GET /swarm/events` streams. None: the path does not exist.

    Returns:
        The application.

    Raises:
        TypeError: An argument has the wrong type.
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
            HTTPException: _http_error,
            UnknownAgentError: _not_found,
            DuplicateAgentError: _conflict,
            ClientDisconnect: _disconnected,
            Exception: _internal_error,
        },
    )
    app.router.redirect_slashes = False  # an unknown path is 404, not a redirect
    return app


class _Api:
    """The request handlers, one for each path and method."""

    def __init__(
        self, overseer: Overseer, registry: CircuitBreakerRegistry | None, authorize: Authorize, bus: EventBus | None
    ) -> None:
        self._overseer = overseer
        self._registry = CircuitBreakerRegistry() if registry is None else registry
        self._authorize = authorize
        self._bus = bus

    def routes(self) -> list[Route]:
        """Return the routes of all paths."""
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
        """Return the route of a path.

        Args:
            path: The path.
            handlers: The handlers by method.
        """

        async def endpoint(request: Request) -> Response:
            if request.method in ("GET", "HEAD"):
                return await handlers["GET"](request)
            request = Request(request.scope, _limited(request.receive))
            if not await self._is_authorized(request):
                raise HTTPException(403, "not authorized")
            await request.body()  # so that a body over the limit is refused even if the handler reads none
            return await handlers[request.method](request)

        return Route(path, endpoint, methods=list(handlers))

    async def _is_authorized(self, request: Request) -> bool:
        """Call `authorize` in a worker thread, where it may block, and await its result if it is async."""
        # The result is wrapped in a tuple, since trio accepts no coroutine as the result of a thread.
        (answer,) = await run_in_threadpool(lambda: (self._authorize(request),))
        # Only True allows the request. Any other object, such as a response meant as a refusal, may be truthy.
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
        return _EventStream(subscription)

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
            raise HTTPException(404, f"no circuit breaker is named {name!r}")
        return _done("circuit breaker reset")

    async def reset_all(self, request: Request) -> Response:
        self._registry.reset_all()
        return _done("all circuit breakers reset")

    def _circuits(self) -> list[JSON]:
        return [status.to_dict() for status in self._registry.statuses()]

    def _show(self, agent_id: UUID, code: int = 200) -> Response:
        return _json(self._overseer.get_agent_status(agent_id).to_dict(), code)


class _Body:
    """The JSON object in a request's body. All its fields are known, and no required one is missing."""

    def __init__(self, fields: Mapping[str, object]) -> None:
        self._fields = fields

    @classmethod
    async def of(
        cls, request: Request, *, required: AbstractSet[str], optional: AbstractSet[str] = frozenset()
    ) -> _Body:
        try:
            fields = json.loads(await request.body(), parse_constant=_reject_constant)
        except RecursionError:
            _bad_request("the body must be JSON, got a value that is nested too deeply")
        except ValueError as error:
            _bad_request(f"the body must be JSON: {error}")
        if not isinstance(fields, dict):
            _bad_request(f"the body must be a JSON object, got {_shown(fields)}")
        for name in sorted(required - fields.keys()):
            _bad_request(f"{name} is missing")
        for name in sorted(fields.keys() - required - optional):
            _bad_request(f"unknown field {name!r}; the fields are {', '.join(sorted(required | optional))}")
        return cls(fields)

    def text(self, name: str, *, empty: bool = False) -> str:
        value = self._fields[name]
        if not isinstance(value, str) or not (value or empty):
            _bad_request(f"{name} must be a {'' if empty else 'non-empty '}string, got {_shown(value)}")
        return value

    def uuid(self, name: str) -> UUID:
        value = self._fields[name]
        if not isinstance(value, str):
            _bad_request(f"{name} must be a UUID in a string, got {_shown(value)}")
        return _uuid(value)

    def uuid_or_none(self, name: str) -> UUID | None:
        return None if self._fields.get(name) is None else self.uuid(name)


def _limited(receive: Receive) -> Receive:
    """Return a `receive` that enforces the limit on the body, for `authorize` as well as for the handlers."""
    length = 0

    async def limited() -> Message:
        nonlocal length
        message = await receive()
        length += len(message.get("body", b""))
        if length > BODY_LIMIT:
            raise HTTPException(413, f"the body must have at most {BODY_LIMIT} bytes", {"Connection": "close"})
        return message

    return limited


class _EventStream(EventSourceResponse):
    """The response that streams a subscription's events.

    It closes the subscription itself: a generator that was never started would not run its `finally`.
    """

    def __init__(self, subscription: Subscription) -> None:
        super().__init__(_sent(subscription), ping=PING_SECONDS)
        self._subscription = subscription

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._subscription:
            await super().__call__(scope, receive, send)


async def _sent(subscription: Subscription) -> AsyncIterator[ServerSentEvent]:
    """Yield the subscription's events, and before them the number of events dropped since the last one."""
    reported = 0
    async for event in subscription:
        dropped = subscription.dropped
        if dropped > reported:
            yield ServerSentEvent(json.dumps({"dropped": dropped - reported}), event="dropped")
            reported = dropped
        yield ServerSentEvent(json.dumps(event.to_dict()), id=str(event.sequence))


class _CircuitName(PathConvertor):
    """A circuit's name in a path: any text, including slashes and line breaks."""

    regex = "(?s:.+)"


register_url_convertor("swarmguard_circuit", _CircuitName())  # the prefix keeps the name unique in the process


class _AsciiJSONResponse(JSONResponse):
    """A JSON response in ASCII. Names and errors may hold lone surrogates, which UTF-8 cannot encode."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


def _json(content: JSON, code: int = 200) -> Response:
    return _AsciiJSONResponse(content, code)


def _done(message: str) -> Response:
    return _json({"success": True, "message": message})


def _error(code: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return _AsciiJSONResponse({"error": message, "code": code}, code, headers)


def _bad_request(message: str) -> NoReturn:
    raise HTTPException(400, message)


def _shown(value: object) -> str:
    """Return a value as JSON, cut to 80 characters, for an error message."""
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        _bad_request(f"agent_id must be a UUID, got {_shown(text)}")


def _reject_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


# Exception handlers


async def _http_error(_request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    return _error(exc.status_code, exc.detail, exc.headers)


async def _not_found(_request: Request, exc: Exception) -> Response:
    return _error(404, str(exc))


async def _conflict(_request: Request, exc: Exception) -> Response:
    return _error(409, str(exc))


async def _disconnected(_request: Request, _exc: Exception) -> Response:
    return _error(400, "the body is incomplete")  # the client has disconnected and will not read this


async def _internal_error(_request: Request, _exc: Exception) -> Response:
    return _error(500, "internal server error")  # Starlette raises the exception again for the server to log
