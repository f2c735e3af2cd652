"""The part of the HTTP transports that is the same for every client library.

`swarmguard.httpx` and `swarmguard.httpx2` add the types of their library to it, and are the same file but for the
library's name.

The permit of a request is settled as soon as the outcome is certain:

- when sending raises: the exception decides, as for any call;
- when the headers arrive and the status is a failure: failure;
- when the body ends: success; when reading it raises, the exception decides; when it is closed early: neutral, since
  the rest of the body is unknown.

A server-sent event `[DONE]` counts as the end of the body. OpenAI's API ends its streams so, and its SDK closes the
response there without reading on.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

import attrs

from swarmguard._breaker.config import CircuitBreakerConfig
from swarmguard._breaker.permit import Permit
from swarmguard._breaker.registry import CircuitBreakerRegistry
from swarmguard._common.fields import check_callable_or_none, check_instance, wrong_type
from swarmguard.clock import Clock, SystemClock
from swarmguard.errors import CircuitOpenError


class URL(Protocol):
    """The part of a client library's URL that is used here."""

    @property
    def netloc(self) -> bytes:
        """The host, with the port unless it is the scheme's default."""
        ...


class Request(Protocol):
    """The part of a client library's request that is used here."""

    @property
    def url(self) -> URL:
        """The URL that the request goes to."""
        ...


class Response(Protocol):
    """The part of a client library's response that is used here."""

    @property
    def status_code(self) -> int:
        """The HTTP status code."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers; names are case-insensitive."""
        ...


RequestT = TypeVar("RequestT", bound=Request)
ResponseT = TypeVar("ResponseT", bound=Response)

DONE = (b"data: [DONE]\n\n", b"data: [DONE]\r\n\r\n")
"""The last event of a stream of OpenAI's API and of compatible ones."""

_TAIL_LENGTH = max(map(len, DONE))


class HostBreakers(Generic[RequestT]):
    """The breakers of a registry, looked up by the host of a request or by a key function.

    Args:
        registry: Holds the breakers. A missing one is created with the registry's default config, completed for HTTP.
        key: Returns a request's breaker name, or None to leave the request unguarded. None stands for `host_of`.
        refusal: The exception class that a refusal is raised as.
        base: The class that `refusal` must be or derive from.
        complete: The client module's `http_config`.

    Raises:
        TypeError: An argument has the wrong type.
    """

    __slots__ = ("_config", "_key", "_refusal", "_registry")

    def __init__(
        self,
        registry: CircuitBreakerRegistry,
        key: Callable[[RequestT], str | None] | None,
        refusal: type[CircuitOpenError],
        base: type[CircuitOpenError],
        complete: Callable[..., CircuitBreakerConfig],
    ) -> None:
        self._registry = check_instance("registry", registry, CircuitBreakerRegistry)
        check_callable_or_none("key", key)
        allowed = f"{base.__name__} or a subclass of it"
        if not issubclass(check_instance("refusal", refusal, type, allowed), base):
            wrong_type("refusal", allowed, refusal)
        self._key = host_of if key is None else key
        self._refusal: Callable[..., CircuitOpenError] = refusal
        self._config = complete(registry.default_config, clock=registry.clock)

    def admit(self, request: RequestT) -> Permit | None:
        """Ask the request's breaker for a permit.

        Returns:
            The permit, or None if the request is not guarded.

        Raises:
            CircuitOpenError: The breaker refused; an instance of this object's `refusal`.
        """
        name = self._key(request)
        if name is None:
            return None
        breaker = self._registry.get(name) or self._registry.get_or_create(name, self._config)
        try:
            return breaker.acquire()
        except CircuitOpenError as refused:
            facts = refused.args
        raise self._refusal(*facts, request=request)  # outside of `except`, so that it has no context


class settling:  # noqa: N801 - used like a function, as `contextlib.closing` is
    """A `with` block around one step of a call: sending the request, or reading a chunk of the body.

    An exception settles the permit by the breaker's filters. The end of an iterator settles it as a success. A step
    that completes settles nothing. (A class, since a generator-based context manager takes three times as long.)
    """

    __slots__ = ("_permit",)

    def __init__(self, permit: Permit) -> None:
        self._permit = permit

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(exc, StopIteration | StopAsyncIteration):
            self._permit.succeed()
        elif exc is not None:
            self._permit._raised(exc)


class Transport(Generic[RequestT, ResponseT]):
    """A sync transport that checks a breaker before it passes a request on.

    Args:
        breakers: Admits the requests.
        sender: The client library's transport that sends the requests.
        with_body: Returns the response with a body that settles the permit.
    """

    def __init__(
        self,
        breakers: HostBreakers[RequestT],
        sender: Any,
        with_body: Callable[[ResponseT, Permit], ResponseT],
    ) -> None:
        self._breakers = breakers
        self._sender = sender
        self._with_body = with_body

    def handle_request(self, request: RequestT) -> ResponseT:
        """Send the request if its breaker admits it.

        Returns:
            The response, as soon as its headers have arrived.

        Raises:
            CircuitOpenTransportError: The breaker refused the request; it was not sent.
        """
        permit = self._breakers.admit(request)
        response: ResponseT
        if permit is None:
            response = self._sender.handle_request(request)
            return response
        with settling(permit):
            response = self._sender.handle_request(request)
        return response if failed_at_once(permit, response) else self._with_body(response, permit)

    def close(self) -> None:
        """Close the wrapped transport."""
        self._sender.close()

    def __enter__(self) -> Self:
        self._sender.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self._sender.__exit__(exc_type, exc_value, traceback)


class AsyncTransport(Generic[RequestT, ResponseT]):
    """The async counterpart of `Transport`."""

    def __init__(
        self,
        breakers: HostBreakers[RequestT],
        sender: Any,
        with_body: Callable[[ResponseT, Permit], ResponseT],
    ) -> None:
        self._breakers = breakers
        self._sender = sender
        self._with_body = with_body

    async def handle_async_request(self, request: RequestT) -> ResponseT:
        """Send the request if its breaker admits it.

        Returns:
            The response, as soon as its headers have arrived.

        Raises:
            CircuitOpenTransportError: The breaker refused the request; it was not sent.
        """
        permit = self._breakers.admit(request)
        response: ResponseT
        if permit is None:
            response = await self._sender.handle_async_request(request)
            return response
        with settling(permit):
            response = await self._sender.handle_async_request(request)
        return response if failed_at_once(permit, response) else self._with_body(response, permit)

    async def aclose(self) -> None:
        """Close the wrapped transport."""
        await self._sender.aclose()

    async def __aenter__(self) -> Self:
        await self._sender.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self._sender.__aexit__(exc_type, exc_value, traceback)


class SettledByBody:
    """Base of a response body that settles the permit of its request.

    Args:
        stream: The client library's stream of the body.
        permit: The request's permit.
    """

    def __init__(self, stream: Any, permit: Permit) -> None:
        self._stream = stream
        self._permit = permit
        self._tail = b""

    def _passed_on(self, chunk: bytes) -> bytes:
        """Return the chunk; settle the permit as a success if the chunk completes a `[DONE]` event."""
        self._tail = (self._tail + chunk[-_TAIL_LENGTH:])[-_TAIL_LENGTH:]
        if self._tail.endswith(DONE):
            self._permit.succeed()
        return chunk


class Body(SettledByBody):
    """A sync response body.

    It is its own iterator, not a generator: on trio, a generator that a client leaves half-read causes a warning.
    """

    def __iter__(self) -> Iterator[bytes]:
        self._chunks = iter(self._stream)
        return self

    def __next__(self) -> bytes:
        with settling(self._permit):
            return self._passed_on(next(self._chunks))

    def close(self) -> None:
        """Close the body. If the permit is unsettled, the call is neutral."""
        try:
            self._stream.close()
        finally:
            self._permit.release()


class AsyncBody(SettledByBody):
    """The async counterpart of `Body`."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        self._chunks = aiter(self._stream)
        return self

    async def __anext__(self) -> bytes:
        with settling(self._permit):
            return self._passed_on(await anext(self._chunks))

    async def aclose(self) -> None:
        """Close the body. If the permit is unsettled, the call is neutral."""
        try:
            await self._stream.aclose()
        finally:
            self._permit.release()


def failed_at_once(permit: Permit, response: Response) -> bool:
    """Settle the permit if the response's status is a failure.

    A breaker without a `record_result`, made outside of the transport, uses `is_failure` as well.

    Returns:
        True if the permit is settled; False if the body is still to settle it.
    """
    return permit._failed_early(response, default=is_failure)


def host_of(request: Request) -> str | None:
    """Return the host that a request goes to, with the port unless it is the scheme's default.

    Returns:
        None for a URL without a host. The wrapped transport rejects such a request.
    """
    return request.url.netloc.decode("ascii") or None


def complete(
    config: CircuitBreakerConfig, clock: Clock, callers_mistakes: tuple[type[Exception], ...]
) -> CircuitBreakerConfig:
    """Return a config whose unset fields are set for HTTP.

    Args:
        config: The config to complete.
        clock: The clock for `RetryAfter`.
        callers_mistakes: The default of `ignore_exceptions`.

    Raises:
        TypeError: `config` is not a `CircuitBreakerConfig`.
    """
    check_instance("config", config, CircuitBreakerConfig)
    return attrs.evolve(
        config,
        record_result=config.record_result or is_failure,
        retry_after=config.retry_after or RetryAfter(clock),
        ignore_exceptions=callers_mistakes if config.ignore_exceptions == () else config.ignore_exceptions,
    )


def is_failure(response: Response) -> bool:
    """Return True for a status of 5xx, or 429 (too many requests)."""
    return response.status_code >= 500 or response.status_code == 429


@attrs.frozen
class RetryAfter:
    """Reads from a response's `Retry-After` header how long to wait before the next request.

    Args:
        clock: The clock whose `now` a date is compared with if the response has no `Date` header. With one, the two
            headers are compared, so that a wrong local clock does no harm.
    """

    clock: Clock = SystemClock()

    def __call__(self, evidence: object) -> float | None:
        """Return the requested wait.

        Args:
            evidence: A response, or an exception; the `response` attribute of an exception is used if it has one.

        Returns:
            Seconds, 0 or more; None if the header is missing or invalid.
        """
        headers: Mapping[str, str] = getattr(getattr(evidence, "response", evidence), "headers", {})
        value = headers.get("retry-after", "").strip()
        if value.isdecimal():
            seconds = float(value)
        else:
            date = _date(value)
            if date is None:
                return None
            seconds = (date - (_date(headers.get("date", "")) or self.clock.now())).total_seconds()
        return max(seconds, 0.0) if math.isfinite(seconds) else None


def _date(text: str) -> datetime | None:
    """Return an HTTP date as an aware `datetime`, or None if the text is not one. A date without a zone is in UTC."""
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
