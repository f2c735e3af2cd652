"""Circuit breakers for [HTTPX2](https://pypi.org/project/httpx2/): transports that give every host its own breaker.

```python
registry = CircuitBreakerRegistry()
client = httpx2.Client(transport=CircuitBreakerTransport(registry))
```
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

with Extra("httpx2"):
    import httpx2

__all__ = ["AsyncCircuitBreakerTransport", "CircuitBreakerTransport", "CircuitOpenTransportError", "http_config"]

Key = Callable[[httpx2.Request], str | None]
"""Returns the name of a request's breaker, or None to leave the request unguarded."""


class CircuitOpenTransportError(CircuitOpenError, httpx2.TransportError):
    """A breaker refused a request; the request was not sent.

    It is both a `CircuitOpenError` and an `httpx2.TransportError`, so code that catches either catches it.

    Args:
        name: The breaker's name.
        state: The breaker's state at the refusal.
        retry_after: Seconds until a probe may be admitted; None when only an operator can end the refusals.
        reason: `"open"`, `"half_open"` or `"isolated"`.
        request: The refused request, or None if it is not known.
    """

    def __init__(
        self,
        name: str,
        state: CircuitState,
        retry_after: float | None,
        reason: RefusalReason,
        *,
        request: httpx2.Request | None = None,
    ) -> None:
        httpx2.TransportError.__init__(self, "", request=request)
        self.args: tuple[Any, ...] = (name, state, retry_after, reason)  # the properties, `str` and pickle read these


def http_config(
    config: CircuitBreakerConfig = CircuitBreakerConfig(), *, clock: Clock = SystemClock()
) -> CircuitBreakerConfig:
    """Return a config whose unset fields are set for HTTP.

    - `record_result`: a status of 5xx or 429 is a failure.
    - `retry_after`: the `Retry-After` header of such a response, in seconds or as a date.
    - `ignore_exceptions`: `UnsupportedProtocol` and `LocalProtocolError`, which are mistakes of the caller.

    The transports apply it to their registry's default config. Call it yourself for a breaker that you create.

    Args:
        config: The config to complete. Fields that it sets are kept.
        clock: The clock whose `now` a `Retry-After` date is compared with if the response has no `Date` header.

    Returns:
        The completed config. Completing it again changes nothing.

    Raises:
        TypeError: `config` is not a `CircuitBreakerConfig`.
    """
    return _http.complete(config, clock, (httpx2.LocalProtocolError, httpx2.UnsupportedProtocol))


class CircuitBreakerTransport(_http.Transport[httpx2.Request, httpx2.Response], httpx2.BaseTransport):
    """A transport for `httpx2.Client` that checks a circuit breaker before it sends a request.

    A request that raises, and a status of 5xx or 429, is a failure. Any other response is a success when its body has
    been read to the end, and neutral if it is closed before that.

    Args:
        registry: Holds the breakers. A missing one is created with the registry's default config, completed by
            `http_config`; an existing one keeps its config. Transports, sync and async, may share a registry.
        transport: Sends the requests. None creates an `httpx2.HTTPTransport()`.
        key: Returns the name of a request's breaker, or None to leave the request unguarded. Without a `key`, the name
            is the host, with the port unless it is the scheme's default: `"api.openai.com"`, `"127.0.0.1:8000"`.
        refusal: The exception class for refusals: `CircuitOpenTransportError`, or a subclass with the same arguments.

    Raises:
        TypeError: An argument has the wrong type.
    """

    def __init__(
        self,
        registry: CircuitBreakerRegistry,
        transport: httpx2.BaseTransport | None = None,
        *,
        key: Key | None = None,
        refusal: type[CircuitOpenTransportError] = CircuitOpenTransportError,
    ) -> None:
        sender = httpx2.HTTPTransport() if transport is None else transport
        check_instance("transport", sender, httpx2.BaseTransport)
        breakers = _http.HostBreakers(registry, key, refusal, CircuitOpenTransportError, http_config)
        super().__init__(breakers, sender, _with_body)


class AsyncCircuitBreakerTransport(_http.AsyncTransport[httpx2.Request, httpx2.Response], httpx2.AsyncBaseTransport):
    """A transport for `httpx2.AsyncClient` that checks a circuit breaker before it sends a request.

    Args:
        registry: As for `CircuitBreakerTransport`.
        transport: Sends the requests. None creates an `httpx2.AsyncHTTPTransport()`.
        key: As for `CircuitBreakerTransport`.
        refusal: As for `CircuitBreakerTransport`.

    Raises:
        TypeError: An argument has the wrong type.
    """

    def __init__(
        self,
        registry: CircuitBreakerRegistry,
        transport: httpx2.AsyncBaseTransport | None = None,
        *,
        key: Key | None = None,
        refusal: type[CircuitOpenTransportError] = CircuitOpenTransportError,
    ) -> None:
        sender = httpx2.AsyncHTTPTransport() if transport is None else transport
        check_instance("transport", sender, httpx2.AsyncBaseTransport)
        breakers = _http.HostBreakers(registry, key, refusal, CircuitOpenTransportError, http_config)
        super().__init__(breakers, sender, _with_async_body)


class _Body(_http.Body, httpx2.SyncByteStream):
    """A response body of the type that the client expects."""


class _AsyncBody(_http.AsyncBody, httpx2.AsyncByteStream):
    """A response body of the type that the async client expects."""


def _with_body(response: httpx2.Response, permit: Permit) -> httpx2.Response:
    return _replace_body(response, permit, _Body(cast(httpx2.SyncByteStream, response.stream), permit))


def _with_async_body(response: httpx2.Response, permit: Permit) -> httpx2.Response:
    return _replace_body(response, permit, _AsyncBody(cast(httpx2.AsyncByteStream, response.stream), permit))


def _replace_body(response: httpx2.Response, permit: Permit, body: _Body | _AsyncBody) -> httpx2.Response:
    """Return the response with another body. The permit is among its extensions, for users who settle it early."""
    return httpx2.Response(
        response.status_code,
        headers=response.headers,
        stream=body,
        extensions={**response.extensions, "circuit_permit": permit},
    )
