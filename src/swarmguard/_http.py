"""What the transports of every HTTP client share: which breaker guards a request, and what an answer says of the host.

The transports themselves, `swarmguard.httpx` and `swarmguard.httpx2`, only give all this their client's types. A
request's permit is settled

- at once, when sending it raises, or when the answer's status is a failure already;
- by the body otherwise: read to its end, it is a success; broken, it is judged by what was raised; closed early, it is
  neutral, since nobody knows what would have come. (A stream of events that has said `[DONE]` has ended: OpenAI's own
  client closes it there, and waits for no more.)
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
    """What is asked of a URL."""

    @property
    def netloc(self) -> bytes:
        """The host, and the port where it is not the scheme's own."""
        ...


class Request(Protocol):
    """What is asked of a request."""

    @property
    def url(self) -> URL:
        """Where it goes."""
        ...


class Response(Protocol):
    """What is asked of a response."""

    @property
    def status_code(self) -> int:
        """The status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, whatever their case."""
        ...


RequestT = TypeVar("RequestT", bound=Request)
ResponseT = TypeVar("ResponseT", bound=Response)

DONE = (b"data: [DONE]\n\n", b"data: [DONE]\r\n\r\n")
"""How the event streams of OpenAI's API, and of the many that speak it, say that they have ended."""

_LONGEST = max(map(len, DONE))


class Guard(Generic[RequestT]):
    """A registry's breakers in front of the hosts that a client talks to.

    Args:
        registry: Where the breakers are.
        key: From a request to its breaker's name; None, or an answer of None: see `host_of`.
        refusal: What a refusal is raised as.
        base: What `refusal` must be, or be a subclass of.
        complete: The client's `http_config`.
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
        """Return the permit of a request, None for one that is not guarded, or raise the refusal."""
        name = self._key(request)
        if name is None:
            return None
        breaker = self._registry.get(name) or self._registry.get_or_create(name, self._config)
        try:
            return breaker.acquire()
        except CircuitOpenError as refused:
            facts = refused.args
        raise self._refusal(*facts, request=request)


class Step:
    """A step of a call: the sending of its request, or the reading of a piece of the answer. An error ends the call.

    So does the end of the pieces, which is a success. Without a permit nothing is counted.
    """

    __slots__ = ("_permit",)

    def __init__(self, permit: Permit | None) -> None:
        self._permit = permit

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._permit is None or exc is None:
            return
        if isinstance(exc, StopIteration | StopAsyncIteration):
            self._permit.succeed()
        else:
            self._permit._raised(exc)


class Transport(Generic[RequestT, ResponseT]):
    """A transport that asks a breaker before another one sends: the sync face.

    Args:
        guard: The breakers.
        sender: The other one, of the client's own kind.
        wrapped: Returns an answer with its body made the end of the call.
    """

    def __init__(
        self,
        guard: Guard[RequestT],
        sender: Any,
        wrapped: Callable[[ResponseT, Permit], ResponseT],
    ) -> None:
        self._guard = guard
        self._sender = sender
        self._wrapped = wrapped

    def handle_request(self, request: RequestT) -> ResponseT:
        """Send the request, if its breaker admits it.

        Raises:
            CircuitOpenTransportError: It does not.
        """
        permit = self._guard.admit(request)
        response: ResponseT
        with Step(permit):
            response = self._sender.handle_request(request)
        return response if permit is None or is_over(permit, response) else self._wrapped(response, permit)

    def close(self) -> None:
        """Close the transport that sends."""
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
    """What `Transport` is: the async face."""

    def __init__(
        self,
        guard: Guard[RequestT],
        sender: Any,
        wrapped: Callable[[ResponseT, Permit], ResponseT],
    ) -> None:
        self._guard = guard
        self._sender = sender
        self._wrapped = wrapped

    async def handle_async_request(self, request: RequestT) -> ResponseT:
        """Send the request, if its breaker admits it.

        Raises:
            CircuitOpenTransportError: It does not.
        """
        permit = self._guard.admit(request)
        response: ResponseT
        with Step(permit):
            response = await self._sender.handle_async_request(request)
        return response if permit is None or is_over(permit, response) else self._wrapped(response, permit)

    async def aclose(self) -> None:
        """Close the transport that sends."""
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


class Ending:
    """The end of a body that is the end of a call, and the permit to be settled there."""

    def __init__(self, permit: Permit) -> None:
        self._permit = permit
        self._tail = b""

    def _passed_on(self, piece: bytes) -> bytes:
        """Return the piece; the call is settled if it ends the stream by saying so."""
        self._tail = (self._tail + piece[-_LONGEST:])[-_LONGEST:]
        if self._tail.endswith(DONE):
            self._permit.succeed()
        return piece


class Body(Ending):
    """The body of an answer that may still go well or badly, sync.

    An iterator of its own and no generator, which trio would complain of where clients leave it half-read.
    """

    def __init__(self, stream: Any, permit: Permit) -> None:
        super().__init__(permit)
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        self._pieces = iter(self._stream)
        return self

    def __next__(self) -> bytes:
        with Step(self._permit):
            return self._passed_on(next(self._pieces))

    def close(self) -> None:
        """Close the body; the call is neutral if it is not settled."""
        try:
            self._stream.close()
        finally:
            self._permit.release()


class AsyncBody(Ending):
    """What `Body` is, async."""

    def __init__(self, stream: Any, permit: Permit) -> None:
        super().__init__(permit)
        self._stream = stream

    def __aiter__(self) -> AsyncIterator[bytes]:
        self._pieces = aiter(self._stream)
        return self

    async def __anext__(self) -> bytes:
        with Step(self._permit):
            return self._passed_on(await anext(self._pieces))

    async def aclose(self) -> None:
        """Close the body; the call is neutral if it is not settled."""
        try:
            await self._stream.aclose()
        finally:
            self._permit.release()


def is_over(permit: Permit, response: Response) -> bool:
    """Tell whether the answer's headers settle the permit: whether they are a failure already.

    A breaker that was made with no `record_result` of its own judges by the status, as those do that are made here.
    """
    return permit._failed_early(response, default=failed)


def host_of(request: Request) -> str | None:
    """Return the host that a request goes to, with the port where it is not the scheme's own.

    None for a URL without a host, which no transport takes: it is left to the transport to say so.
    """
    return request.url.netloc.decode("ascii") or None


def complete(
    config: CircuitBreakerConfig, clock: Clock, callers_own: tuple[type[Exception], ...]
) -> CircuitBreakerConfig:
    """Return a config with what it leaves open filled in: what a failure is, and how long the service asks to wait."""
    check_instance("config", config, CircuitBreakerConfig)
    return attrs.evolve(
        config,
        record_result=config.record_result or failed,
        retry_after=config.retry_after or RetryAfter(clock),
        ignore_exceptions=callers_own if config.ignore_exceptions == () else config.ignore_exceptions,
    )


def failed(response: Response) -> bool:
    """Tell whether a response says that the service is in trouble: a status of 5xx, or 429 (too many requests)."""
    return response.status_code >= 500 or response.status_code == 429


@attrs.frozen
class RetryAfter:
    """Reads how long a service asks to be left alone, from the `Retry-After` of its answer.

    Args:
        clock: Dates are compared with the answer's own `Date`, so that a clock that is off does no harm; where there
            is none, with this clock's `now`.
    """

    clock: Clock = SystemClock()

    def __call__(self, evidence: object) -> float | None:
        """Return the seconds, 0 or more; None where the service does not ask for any.

        Args:
            evidence: A response, or an exception; one that has a `response` is asked for that one's.
        """
        headers: Mapping[str, str] = getattr(getattr(evidence, "response", evidence), "headers", {})
        asked = headers.get("retry-after", "").strip()
        if asked.isdecimal():
            seconds = float(asked)
        else:
            moment = _date(asked)
            if moment is None:
                return None
            seconds = (moment - (_date(headers.get("date", "")) or self.clock.now())).total_seconds()
        return max(seconds, 0.0) if math.isfinite(seconds) else None


def _date(text: str) -> datetime | None:
    """Return the moment of an HTTP date, which is in UTC whether it says so or not; None if it is none."""
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
