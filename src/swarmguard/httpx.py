"""Circuit breakers for [HTTPX](https://pypi.org/project/httpx/): a transport that gives every host its own.

```python
registry = CircuitBreakerRegistry()
client = httpx.Client(transport=CircuitBreakerTransport(registry))
```

`swarmguard.httpx2` is the same for HTTPX2.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import Self, cast

from swarmguard import _http
from swarmguard._breaker.config import CircuitBreakerConfig
from swarmguard._breaker.permit import Permit
from swarmguard._breaker.registry import CircuitBreakerRegistry
from swarmguard._breaker.states import CircuitState
from swarmguard._ground.extra import Extra
from swarmguard._ground.fields import check_instance
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
        self.args = (name, state, retry_after, reason)  # which the properties, `str` and pickle read


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


class CircuitBreakerTransport(httpx.BaseTransport):
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
        self._guard = _http.Guard(registry, key, refusal, CircuitOpenTransportError, http_config)
        sender = httpx.HTTPTransport() if transport is None else transport
        self._transport = check_instance("transport", sender, httpx.BaseTransport)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request, if its breaker admits it.

        Raises:
            CircuitOpenTransportError: It does not.
        """
        permit = self._guard.admit(request)
        if permit is None:
            return self._transport.handle_request(request)
        with _http.Step(permit):
            response = self._transport.handle_request(request)
        if _http.is_over(permit, response):
            return response
        return _answer(response, permit, _Body(cast(httpx.SyncByteStream, response.stream), permit))

    def close(self) -> None:
        """Close the transport that sends."""
        self._transport.close()

    def __enter__(self) -> Self:
        self._transport.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self._transport.__exit__(exc_type, exc_value, traceback)


class AsyncCircuitBreakerTransport(httpx.AsyncBaseTransport):
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
        self._guard = _http.Guard(registry, key, refusal, CircuitOpenTransportError, http_config)
        sender = httpx.AsyncHTTPTransport() if transport is None else transport
        self._transport = check_instance("transport", sender, httpx.AsyncBaseTransport)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request, if its breaker admits it.

        Raises:
            CircuitOpenTransportError: It does not.
        """
        permit = self._guard.admit(request)
        if permit is None:
            return await self._transport.handle_async_request(request)
        with _http.Step(permit):
            response = await self._transport.handle_async_request(request)
        if _http.is_over(permit, response):
            return response
        return _answer(response, permit, _AsyncBody(cast(httpx.AsyncByteStream, response.stream), permit))

    async def aclose(self) -> None:
        """Close the transport that sends."""
        await self._transport.aclose()

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self._transport.__aexit__(exc_type, exc_value, traceback)


class _Body(_http.Body[httpx.SyncByteStream], httpx.SyncByteStream):
    """The body of an answer: its end is the end of the call.

    An iterator of its own and no generator, which trio would complain of where clients leave it half-read.
    """

    def __iter__(self) -> Iterator[bytes]:
        self._pieces = iter(self._stream)
        return self

    def __next__(self) -> bytes:
        with _http.Step(self._permit):
            return self._passed_on(next(self._pieces))

    def close(self) -> None:
        try:
            self._stream.close()
        finally:
            self._permit.release()


class _AsyncBody(_http.Body[httpx.AsyncByteStream], httpx.AsyncByteStream):
    """The body of an answer: its end is the end of the call."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        self._pieces = aiter(self._stream)
        return self

    async def __anext__(self) -> bytes:
        with _http.Step(self._permit):
            return self._passed_on(await anext(self._pieces))

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            self._permit.release()


def _answer(response: httpx.Response, permit: Permit, body: _Body | _AsyncBody) -> httpx.Response:
    """Return the response with another body; its permit is there for those who know the verdict before the end."""
    return httpx.Response(
        response.status_code,
        headers=response.headers,
        stream=body,
        extensions={**response.extensions, "circuit_permit": permit},
    )
