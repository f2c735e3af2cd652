"""Circuit breakers for [HTTPX](https://pypi.org/project/httpx/): a transport that gives every host its own.

```python
registry = CircuitBreakerRegistry()
client = httpx.Client(transport=CircuitBreakerTransport(registry))
```

`swarmguard.httpx2` is the same for HTTPX2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from swarmguard import _http
from swarmguard._breaker.config import CircuitBreakerConfig
from swarmguard._breaker.permit import Permit
from swarmguard._breaker.registry import CircuitBreakerRegistry
from swarmguard._common.extra import Extra
from swarmguard._common.fields import check_instance
from swarmguard.circuit import CircuitState
from swarmguard.clock import Clock, SystemClock
from swarmguard.errors import CircuitOpenError, RefusalReason

with Extra("httpx"):
    import httpx

__all__ = ["AsyncCircuitBreakerTransport", "CircuitBreakerTransport", "CircuitOpenTransportError", "http_config"]

Key = Callable[[httpx.Request], str | None]
"""From a request to its breaker's name; None for a request that is not to be guarded."""


class CircuitOpenTransportError(CircuitOpenError, httpx.TransportError):
    """A breaker refused a request: it was not sent.

    It is a `CircuitOpenError` and a `TransportError` of the client's, so it is caught by whoever catches either.

    Args:
        name: The breaker's name.
        state: The breaker's state at the refusal.
        retry_after: Seconds until a test call may be admitted; None when only an operator can end the refusals.
        reason: `"open"`, `"half_open"` or `"isolated"`.
        request: What was refused; None when it is not known (yet).
    """

    def __init__(
        self,
        name: str,
        state: CircuitState,
        retry_after: float | None,
        reason: RefusalReason,
        *,
        request: httpx.Request | None = None,
    ) -> None:
        httpx.TransportError.__init__(self, "", request=request)
        self.args: tuple[Any, ...] = (name, state, retry_after, reason)  # which the properties, `str` and pickle read


def http_config(
    config: CircuitBreakerConfig = CircuitBreakerConfig(), *, clock: Clock = SystemClock()
) -> CircuitBreakerConfig:
    """Return a config with what it leaves open filled in for HTTP.

    - `record_result`: a status of 5xx or 429 is a failure.
    - `retry_after`: what the `Retry-After` of such an answer says, in seconds or as a date.
    - `ignore_exceptions`: `UnsupportedProtocol` and `LocalProtocolError`, which are the caller's own mistakes.

    The transports do so with their registry's default. Use it for a breaker that you make yourself.

    Args:
        config: What it does not leave open stays.
        clock: What a date is compared with, if the answer does not say when it was given.

    Raises:
        TypeError: It is no config.
    """
    return _http.complete(config, clock, (httpx.LocalProtocolError, httpx.UnsupportedProtocol))


class CircuitBreakerTransport(_http.Transport[httpx.Request, httpx.Response], httpx.BaseTransport):
    """A transport that asks a breaker before it sends.

    What raises, and what is answered with 5xx or 429, is a failure; an answer whose body was read to its end is a
    success; one that is closed early is neutral.

    Args:
        registry: Where the breakers are. One that is not there yet is made, with the registry's default config as
            `http_config` completes it; one that is there keeps its own.
        transport: What sends. None: a new `httpx.HTTPTransport()`.
        key: Names the breaker of a request; a request for which it answers None is not guarded. None: the host, with
            the port where it is not the scheme's own: `"api.openai.com"`, `"127.0.0.1:8000"`.
        refusal: What refusals are raised as: `CircuitOpenTransportError` or a subclass that takes the same arguments.

    Raises:
        TypeError: An argument is of the wrong type.
    """

    def __init__(
        self,
        registry: CircuitBreakerRegistry,
        transport: httpx.BaseTransport | None = None,
        *,
        key: Key | None = None,
        refusal: type[CircuitOpenTransportError] = CircuitOpenTransportError,
    ) -> None:
        sender = httpx.HTTPTransport() if transport is None else transport
        check_instance("transport", sender, httpx.BaseTransport)
        guard = _http.Guard(registry, key, refusal, CircuitOpenTransportError, http_config)
        super().__init__(guard, sender, _with_body)


class AsyncCircuitBreakerTransport(_http.AsyncTransport[httpx.Request, httpx.Response], httpx.AsyncBaseTransport):
    """What `CircuitBreakerTransport` is, for `httpx.AsyncClient`; both may share a registry.

    Args:
        registry: Where the breakers are. One that is not there yet is made, with the registry's default config as
            `http_config` completes it; one that is there keeps its own.
        transport: What sends. None: a new `httpx.AsyncHTTPTransport()`.
        key: Names the breaker of a request; a request for which it answers None is not guarded. None: the host, with
            the port where it is not the scheme's own: `"api.openai.com"`, `"127.0.0.1:8000"`.
        refusal: What refusals are raised as: `CircuitOpenTransportError` or a subclass that takes the same arguments.

    Raises:
        TypeError: An argument is of the wrong type.
    """

    def __init__(
        self,
        registry: CircuitBreakerRegistry,
        transport: httpx.AsyncBaseTransport | None = None,
        *,
        key: Key | None = None,
        refusal: type[CircuitOpenTransportError] = CircuitOpenTransportError,
    ) -> None:
        sender = httpx.AsyncHTTPTransport() if transport is None else transport
        check_instance("transport", sender, httpx.AsyncBaseTransport)
        guard = _http.Guard(registry, key, refusal, CircuitOpenTransportError, http_config)
        super().__init__(guard, sender, _with_async_body)


class _Body(_http.Body, httpx.SyncByteStream):
    """A body as this client takes it."""


class _AsyncBody(_http.AsyncBody, httpx.AsyncByteStream):
    """A body as this client takes it."""


def _with_body(response: httpx.Response, permit: Permit) -> httpx.Response:
    return _answer(response, permit, _Body(cast(httpx.SyncByteStream, response.stream), permit))


def _with_async_body(response: httpx.Response, permit: Permit) -> httpx.Response:
    return _answer(response, permit, _AsyncBody(cast(httpx.AsyncByteStream, response.stream), permit))


def _answer(response: httpx.Response, permit: Permit, body: _Body | _AsyncBody) -> httpx.Response:
    """Return the response with another body; its permit is there for those who know the verdict before the end."""
    return httpx.Response(
        response.status_code,
        headers=response.headers,
        stream=body,
        extensions={**response.extensions, "circuit_permit": permit},
    )
