"""The OpenAPI document of `swarmguard.asgi`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version

from swarmguard._overseer.values import AgentHealth
from swarmguard.circuit import BreakerMode, CircuitState
from swarmguard.events import JSON

Object = dict[str, JSON]


def document(root_path: str, *, with_events: bool) -> Object:
    """Return the document.

    Args:
        root_path: The path that the application is mounted at; empty if it is not mounted.
        with_events: Whether the application has the path `/swarm/events`.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "swarmguard",
            "version": version("swarmguard"),
            "description": "The agents and circuit breakers of a swarm.",
        },
        "servers": [{"url": root_path or "/"}],
        "paths": {**_PATHS, **(_EVENTS if with_events else {})},
        "components": {"schemas": _SCHEMAS},
    }


def _schema(name: str) -> Object:
    return {"$ref": f"#/components/schemas/{name}"}


def _list_of(schema: Object) -> Object:
    return {"type": "array", "items": schema}


def _object(properties: Mapping[str, JSON], optional: tuple[str, ...] = ()) -> Object:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _answer(description: str, schema: Object, media_type: str = "application/json") -> Object:
    return {"description": description, "content": {media_type: {"schema": schema}}}


def _operation(name: str, summary: str, answers: Mapping[str, JSON], errors: Mapping[str, str], **more: JSON) -> Object:
    refusals = {code: _answer(why, _schema("Error")) for code, why in errors.items()}
    return {"operationId": name, "summary": summary, "responses": {**answers, **refusals}, **more}


def _reading(name: str, summary: str, schema: Object, errors: Mapping[str, str] | None = None, **more: JSON) -> Object:
    return _operation(name, summary, {"200": _answer(summary, schema)}, errors or {}, **more)


def _change(name: str, summary: str, errors: Mapping[str, str] | None = None, **more: JSON) -> Object:
    return _operation(
        name,
        summary,
        {"200": _answer("Done", _schema("Done"))},
        {"403": _NOT_AUTHORIZED, "413": _TOO_LONG, **(errors or {})},
        **more,
    )


def _body(properties: Mapping[str, JSON], optional: tuple[str, ...] = ()) -> Object:
    content: Object = {"application/json": {"schema": _object(properties, optional)}}
    return {"required": True, "content": content}


def _in_path(name: str, description: str, schema: Object) -> list[JSON]:
    return [{"name": name, "in": "path", "required": True, "description": description, "schema": schema}]


_TEXT: Object = {"type": "string"}
_NAME: Object = {"type": "string", "minLength": 1}
_COUNT: Object = {"type": "integer", "minimum": 0}
_FLAG: Object = {"type": "boolean"}
_UUID: Object = {"type": "string", "format": "uuid"}

_NOT_AUTHORIZED = "Not authorized"
_TOO_LONG = "The body is larger than 64 KiB"
_ON_AGENT = {"400": "Invalid JSON, field or id", "404": "Unknown agent"}
_AGENT_ID = _in_path("agent_id", "The agent's id", _UUID)

_SCHEMAS: Object = {
    "Health": {"type": "string", "enum": [health.value for health in AgentHealth]},
    "Agent": _object(
        {
            "agent_type": _NAME,
            "agent_id": _UUID,
            "health": _schema("Health"),
            "seconds_since_heartbeat": _COUNT,
            "consecutive_failures": _COUNT,
            "restart_count": _COUNT,
            "started_at": {"type": "string", "format": "date-time"},
            "error_message": {"type": ["string", "null"]},
            "is_stale": _FLAG,
        }
    ),
    "CircuitBreaker": _object(
        {
            "name": _NAME,
            "state": {"type": "string", "enum": [state.value for state in CircuitState]},
            "mode": {"type": "string", "enum": [mode.value for mode in BreakerMode]},
            "failure_count": _COUNT,
            "success_count": _COUNT,
            "half_open_calls": _COUNT,
            "openings": _COUNT,
            "retry_after": {"type": ["number", "null"], "minimum": 0},
        }
    ),
    "SwarmHealth": _object(
        {
            "total_agents": _COUNT,
            "healthy_agents": _COUNT,
            "degraded_agents": _COUNT,
            "unhealthy_agents": _COUNT,
            "dead_agents": _COUNT,
            "overall_health": _schema("Health"),
            "is_paused": _FLAG,
        }
    ),
    "SwarmStatus": _object(
        {
            "health": _schema("SwarmHealth"),
            "agents": _list_of(_schema("Agent")),
            "circuit_breakers": _list_of(_schema("CircuitBreaker")),
        }
    ),
    "Done": _object({"success": _FLAG, "message": _TEXT}),
    "Error": _object({"error": _TEXT, "code": {"type": "integer"}}),
}

_PATHS: Object = {
    "/swarm/status": {"get": _reading("status", "The whole swarm", _schema("SwarmStatus"))},
    "/swarm/health": {"get": _reading("health", "The number of agents by health", _schema("SwarmHealth"))},
    "/swarm/agents": {
        "get": _reading("agents", "All agents", _list_of(_schema("Agent"))),
        "post": _operation(
            "register",
            "Register an agent",
            {"201": _answer("Registered", _schema("Agent"))},
            {
                "400": "Invalid JSON, field or id",
                "403": _NOT_AUTHORIZED,
                "409": "The id is registered already",
                "413": _TOO_LONG,
            },
            requestBody=_body(
                {"agent_type": _NAME, "agent_id": {"type": ["string", "null"], "format": "uuid"}}, ("agent_id",)
            ),
        ),
    },
    "/swarm/agents/{agent_id}": {
        "get": _reading(
            "agent", "One agent", _schema("Agent"), {"400": "Invalid id", "404": "Unknown agent"}, parameters=_AGENT_ID
        ),
        "delete": _change(
            "unregister", "Unregister an agent", {"400": "Invalid id", "404": "Unknown agent"}, parameters=_AGENT_ID
        ),
    },
    "/swarm/heartbeat": {
        "post": _change("heartbeat", "Record a heartbeat", _ON_AGENT, requestBody=_body({"agent_id": _UUID}))
    },
    "/swarm/failure": {
        "post": _change(
            "failure", "Record a failure", _ON_AGENT, requestBody=_body({"agent_id": _UUID, "error": _TEXT})
        )
    },
    "/swarm/success": {
        "post": _change("success", "Record a success", _ON_AGENT, requestBody=_body({"agent_id": _UUID}))
    },
    "/swarm/pause": {"post": _change("pause", "Pause the swarm")},
    "/swarm/resume": {"post": _change("resume", "Resume the swarm")},
    "/swarm/circuit-breakers": {
        "get": _reading("circuit_breakers", "All circuit breakers", _list_of(_schema("CircuitBreaker")))
    },
    "/swarm/circuit-breakers/reset-all": {"post": _change("reset_all", "Reset all circuit breakers")},
    "/swarm/circuit-breakers/{name}/reset": {
        "post": _change(
            "reset",
            "Reset a circuit breaker",
            {"404": "Unknown circuit breaker"},
            parameters=_in_path("name", "The breaker's name, percent-encoded, including its slashes", _NAME),
        )
    },
    "/swarm/openapi.json": {"get": _reading("openapi", "This document", {"type": "object"})},
}

_EVENTS: Object = {
    "/swarm/events": {
        "get": _operation(
            "events",
            "Stream the events",
            {"200": _answer("An endless stream of server-sent events", _TEXT, "text/event-stream")},
            {"400": "Invalid topics"},
            parameters=[
                {
                    "name": "topics",
                    "in": "query",
                    "description": "A topic, or a prefix with `*` as the last segment: `arb.swarm.agent.*`",
                    "schema": {"type": "string", "default": "*"},
                }
            ],
        )
    }
}
