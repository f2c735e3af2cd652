"""The transports: the choice of the breaker, the outcome of a request, and when it is counted."""

from __future__ import annotations

import copy
import pickle
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import anyio
import pytest

from swarmguard import (
    BreakerMode,
    CallRecord,
    CircuitBreakerConfig,
    CircuitBreakerRegistry,
    CircuitOpenError,
    CircuitState,
)
from swarmguard.testing import EventRecorder, FakeClock
from tests.integrations.http.faces import Face
from tests.integrations.http.scripted import ScriptedServer, chunks, nothing, status, without_date

pytestmark = pytest.mark.anyio

OPEN_AT_ONCE = CircuitBreakerConfig(failure_threshold=1, success_threshold=1)


@pytest.fixture
def hasty(clock: FakeClock) -> CircuitBreakerRegistry:
    """Return a registry whose breakers open at the first failure."""
    return CircuitBreakerRegistry(OPEN_AT_ONCE, clock=clock)


class Outcomes:
    """An observer that records the outcomes."""

    def __init__(self) -> None:
        self.outcomes: list[str] = []

    def __call__(self, record: CallRecord) -> None:
        """Record the outcome."""
        self.outcomes.append(record.outcome)


@pytest.fixture
def outcomes() -> Outcomes:
    """Return an observer that records the outcomes."""
    return Outcomes()


@pytest.fixture
def observed(clock: FakeClock, outcomes: Outcomes) -> CircuitBreakerRegistry:
    """Return a registry with that observer."""
    return CircuitBreakerRegistry(clock=clock, observer=outcomes)


# Failures


@pytest.mark.parametrize("code", [500, 502, 503, 529, 599, 429])
async def test_statuses_that_are_failures(
    face: Face, server: ScriptedServer, registry: CircuitBreakerRegistry, code: int
) -> None:
    """Statuses of 5xx and 429 open the circuit, and the host gets no more requests."""
    server.script.extend([status(code)] * 2)
    async with face.open(registry) as client:
        for _ in range(2):
            assert (await client.get(server.url)).status_code == code
        with pytest.raises(CircuitOpenError):
            await client.get(server.url)
    assert len(server.requests) == 2
    assert registry.get_all_states() == {server.host: CircuitState.OPEN}


@pytest.mark.parametrize("code", [200, 204, 301, 400, 401, 404, 408, 422])
async def test_statuses_that_are_successes(
    face: Face, server: ScriptedServer, observed: CircuitBreakerRegistry, outcomes: Outcomes, code: int
) -> None:
    """Any other status is a success, including those for mistakes of the caller."""
    server.script.append(status(code, body=b""))
    async with face.open(observed) as client:
        await client.get(server.url)
    assert outcomes.outcomes == ["success"]


async def test_transport_errors_are_failures(
    face: Face, server: ScriptedServer, registry: CircuitBreakerRegistry
) -> None:
    """A broken connection is a failure, and the client's own exception is raised."""
    server.script.extend([nothing, nothing])
    async with face.open(registry) as client:
        for _ in range(2):
            with pytest.raises(face.client.RemoteProtocolError):
                await client.get(server.url)
        with pytest.raises(CircuitOpenError):
            await client.get(server.url)


async def test_timeouts_are_failures(face: Face, server: ScriptedServer, hasty: CircuitBreakerRegistry) -> None:
    """A timeout of the client is a failure."""
    server.script.append(lambda _: server.go_on.wait())
    async with face.open(hasty) as client:
        with pytest.raises(face.client.ReadTimeout):
            await client.get(server.url, timeout=0.05)
    assert hasty.get(server.host).state is CircuitState.OPEN


async def test_refused_connections_are_failures(face: Face, hasty: CircuitBreakerRegistry, unused_port: int) -> None:
    """A refused connection is a failure."""
    async with face.open(hasty) as client:
        with pytest.raises(face.client.ConnectError):
            await client.get(f"http://127.0.0.1:{unused_port}/")
    assert hasty.get(f"127.0.0.1:{unused_port}").state is CircuitState.OPEN


async def test_mistakes_of_the_caller_are_neutral(
    face: Face, server: ScriptedServer, observed: CircuitBreakerRegistry, outcomes: Outcomes
) -> None:
    """A request that cannot be sent is neutral, since it says nothing about the host."""
    async with face.open(observed) as client:
        with pytest.raises(face.client.UnsupportedProtocol):
            await client.get("gopher://example.com/")
        with pytest.raises(face.client.LocalProtocolError):
            await client.get(server.url, headers={"x": "a\nb"})
        with pytest.raises(face.client.UnsupportedProtocol):
            await client.get("/no/host")
    assert outcomes.outcomes == ["neutral", "neutral"]


async def test_a_cancelled_request_is_neutral(
    library: str, anyio_backend: str, server: ScriptedServer, observed: CircuitBreakerRegistry, outcomes: Outcomes
) -> None:
    """A cancelled request is neutral. [B6]"""
    face = Face(library, is_async=True)
    called = threading.Event()
    server.script.append(lambda _: (called.set(), server.go_on.wait()))
    async with face.open(observed) as client, anyio.create_task_group() as tasks:
        tasks.start_soon(client.get, server.url)
        assert await anyio.to_thread.run_sync(called.wait, 10)
        tasks.cancel_scope.cancel()
    assert outcomes.outcomes == ["neutral"]


# Refusals


async def test_a_refusal_is_an_error_of_both_kinds(
    face: Face, server: ScriptedServer, registry: CircuitBreakerRegistry
) -> None:
    """A refusal is a `CircuitOpenError` with its attributes, and a `TransportError` with its request. [B15]"""
    registry.get_or_create(server.host).trip(7)
    async with face.open(registry) as client:
        with pytest.raises(face.client.TransportError) as caught:
            await client.get(f"{server.url}/a")
        again = [await refusal_of(client, server.url), await refusal_of(client, server.url)]
    refusal = caught.value
    assert isinstance(refusal, CircuitOpenError)
    assert isinstance(refusal, face.guard.CircuitOpenTransportError)
    assert (refusal.name, refusal.state, refusal.reason) == (server.host, CircuitState.OPEN, "open")
    assert refusal.retry_after == pytest.approx(7)
    assert str(refusal) == f"circuit '{server.host}' is open: call refused, try again in 7.000 s"
    assert refusal.request.url.path == "/a"
    assert refusal.__cause__ is refusal.__context__ is None
    assert again[0] is not again[1]
    assert server.requests == []


async def refusal_of(client: Any, url: str) -> CircuitOpenError:
    """Return the error of a refused request."""
    with pytest.raises(CircuitOpenError) as caught:
        await client.get(url)
    return caught.value


async def test_a_refusal_survives_copying(face: Face, server: ScriptedServer, registry: CircuitBreakerRegistry) -> None:
    """A pickled or copied refusal keeps its attributes and its request. [B15]"""
    registry.get_or_create(server.host).set_mode(BreakerMode.ISOLATED)
    async with face.open(registry) as client:
        refusal = await refusal_of(client, server.url)
    for twin in (copy.copy(refusal), pickle.loads(pickle.dumps(refusal))):
        assert type(twin) is type(refusal)
        assert twin.args == refusal.args
        assert twin.request.url == refusal.request.url
        assert twin.reason == "isolated"


def test_a_refusal_made_by_hand(library: str) -> None:
    """A refusal can be created without a request; reading the request then raises the client's error."""
    guard = Face(library, is_async=False).guard
    refusal = guard.CircuitOpenTransportError("jupiter", CircuitState.OPEN, 1.5, "open")
    assert refusal.retry_after == 1.5
    with pytest.raises(RuntimeError, match="request"):
        refusal.request  # noqa: B018 - reading it is what is tested


async def test_a_custom_refusal(face: Face, server: ScriptedServer, registry: CircuitBreakerRegistry) -> None:
    """`refusal=` sets the exception class of refusals."""

    class UnavailableError(face.guard.CircuitOpenTransportError, LookupError):
        pass

    registry.get_or_create(server.host).trip()
    async with face.open(registry, refusal=UnavailableError) as client:
        with pytest.raises(LookupError) as caught:
            await client.get(server.url)
    assert type(caught.value) is UnavailableError


async def test_an_inner_refusal_is_neutral(
    face: Face, server: ScriptedServer, observed: CircuitBreakerRegistry, outcomes: Outcomes, clock: FakeClock
) -> None:
    """A transport does not count the refusals of a transport that it wraps. [B6]"""
    inner = CircuitBreakerRegistry(clock=clock)
    inner.get_or_create(server.host).trip()
    async with face.open(observed, face.transport(inner)) as client:
        await refusal_of(client, server.url)
    assert outcomes.outcomes == ["neutral"]


# Recovery


async def test_recovery(face: Face, server: ScriptedServer, registry: CircuitBreakerRegistry, clock: FakeClock) -> None:
    """When the open time has passed, a successful response closes the circuit."""
    server.script.extend([status(500), status(500)])
    async with face.open(registry) as client:
        for _ in range(2):
            await client.get(server.url)
        await refusal_of(client, server.url)
        clock.advance(30)
        assert (await client.get(server.url)).status_code == 200
    assert registry.get(server.host).state is CircuitState.CLOSED


async def test_retry_after_in_seconds(
    face: Face, server: ScriptedServer, hasty: CircuitBreakerRegistry, clock: FakeClock
) -> None:
    """The circuit stays open for the seconds of `Retry-After`. [B18]"""
    server.script.append(status(429, {"Retry-After": "120"}))
    async with face.open(hasty) as client:
        await client.get(server.url)
        clock.advance(119)
        assert (await refusal_of(client, server.url)).retry_after == pytest.approx(1)
        clock.advance(1)
        await client.get(server.url)


async def test_retry_after_as_a_date(face: Face, server: ScriptedServer, hasty: CircuitBreakerRegistry) -> None:
    """A date in `Retry-After` is compared with the `Date` header, not with the breaker's clock. [B18]"""
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=600), usegmt=True)
    server.script.append(status(503, {"Retry-After": soon}))
    async with face.open(hasty) as client:
        await client.get(server.url)
    assert hasty.get(server.host).retry_after == pytest.approx(600, abs=60)


async def test_retry_after_without_a_date_header(
    face: Face, server: ScriptedServer, hasty: CircuitBreakerRegistry, clock: FakeClock
) -> None:
    """Without a `Date` header, a date is compared with the breaker's clock. [B18] [C1]"""
    date = format_datetime(clock.now() + timedelta(seconds=90), usegmt=True)
    server.script.append(without_date(503, {"Retry-After": date}))
    async with face.open(hasty) as client:
        await client.get(server.url)
    assert hasty.get(server.host).retry_after == pytest.approx(90)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        (" 5 ", 5.0),
        ("Sat, 01 Jan 2000 00:01:00 GMT", 60.0),
        ("Saturday, 01-Jan-00 00:01:00 GMT", 60.0),
        ("Sat Jan  1 00:01:00 2000", 60.0),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1e3", None),
        ("9" * 400, None),
        ("Sat, 99 Jan 2000 00:01:00 GMT", None),
    ],
)
def test_values_of_retry_after(library: str, clock: FakeClock, value: str, seconds: float | None) -> None:
    """Whole seconds and the three forms of HTTP dates are read; any other value is ignored. [B18]"""
    face = Face(library, is_async=False)
    read = face.guard.http_config(clock=clock).retry_after
    assert read(face.client.Response(429, headers={"retry-after": value})) == seconds


def test_retry_after_of_an_exception(library: str) -> None:
    """`Retry-After` is read from the response of an exception, if it has one. [B18]"""
    face = Face(library, is_async=False)
    read = face.guard.http_config().retry_after
    request = face.client.Request("GET", "http://example.com")
    response = face.client.Response(429, headers={"retry-after": "3"}, request=request)
    with pytest.raises(face.client.HTTPStatusError) as caught:
        response.raise_for_status()
    assert read(caught.value) == 3
    assert read(face.client.ReadTimeout("late")) is None


# Bodies


async def test_a_streamed_response_counts_when_it_ends(
    face: Face, server: ScriptedServer, observed: CircuitBreakerRegistry, outcomes: Outcomes
) -> None:
    """A response counts as a success at the end of its body, not at its headers."""
    server.script.append(chunks(b"one", b"two"))
    async with face.open(observed) as client:
        response = await client.send(server.url)
        assert outcomes.outcomes == []
        assert await client.read(response) == b"onetwo"
        assert outcomes.outcomes == ["success"]
    assert outcomes.outcomes == ["success"]


async def test_a_stream_that_breaks_is_a_failure(
    face: Face, server: ScriptedServer, observed: CircuitBreakerRegistry, outcomes: Outcomes
) -> None:
    """A body that breaks off is a failure, although the status was 200."""
    server.script.append(chunks(b"one", last=lambda: None))
    async with face.open(observed) as client:
        response = await client.send(server.url)
        with pytest.raises(face.client.RemoteProtocolError):
            await client.read(response)
    assert outcomes.outcomes == ["failure"]


LEFT_BY_THE_CLIENT = pytest.mark.filterwarnings(
    # On trio: both clients leave their own generators unfinished. Those of swarmguard are not ignored.
    r"ignore:Async generator 'httpx2?\.:ResourceWarning",
    r"ignore:Async generator 'httpcore2?\.:ResourceWarning",
)


@LEFT_BY_THE_CLIENT
async def test_closing_early_is_neutral(
    face: Face, server: ScriptedServer, observed: CircuitBreakerRegistry, outcomes: Outcomes
) -> None:
    """Closing a response before the end of its body is neutral."""
    server.script.append(chunks(b"one", last=server.go_on.wait))
    server.script.append(chunks(b"one", last=server.go_on.wait))
    async with face.open(observed) as client:
        response = await client.send(server.url)
        await client.close(response)
        response = await client.send(server.url)
        async with client.pieces(response) as pieces:
            assert await anext(pieces) == b"one"
            await client.close(response)
    assert outcomes.outcomes == ["neutral", "neutral"]


async def test_closing_early_frees_the_slot_of_a_probe(face: Face, server: ScriptedServer, clock: FakeClock) -> None:
    """Closing the response of a probe frees its slot. [B3]"""
    config = CircuitBreakerConfig(failure_threshold=1, success_threshold=1, half_open_max_calls=1)
    registry = CircuitBreakerRegistry(config, clock=clock)
    registry.get_or_create(server.host, config).trip(1)
    clock.advance(1)
    server.script.append(chunks(b"one", last=server.go_on.wait))
    async with face.open(registry) as client:
        response = await client.send(server.url)
        assert (await refusal_of(client, server.url)).reason == "half_open"
        await client.close(response)
        await client.get(server.url)
    assert registry.get(server.host).state is CircuitState.CLOSED


async def test_a_failing_status_counts_at_once(
    face: Face, server: ScriptedServer, observed: CircuitBreakerRegistry, outcomes: Outcomes
) -> None:
    """A failing status counts even if the body is never read."""
    server.script.append(status(503))
    async with face.open(observed) as client:
        response = await client.send(server.url)
        assert outcomes.outcomes == ["failure"]
        await client.close(response)
    assert outcomes.outcomes == ["failure"]


@LEFT_BY_THE_CLIENT
async def test_the_permit_can_be_settled_early(
    face: Face, server: ScriptedServer, observed: CircuitBreakerRegistry, outcomes: Outcomes
) -> None:
    """The permit in the response's extensions can be settled before the end of the body. [B13]"""
    server.script.append(chunks(b"last words", last=server.go_on.wait))
    async with face.open(observed) as client:
        response = await client.send(server.url)
        async with client.pieces(response) as pieces:
            assert await anext(pieces) == b"last words"
            assert response.extensions["circuit_permit"].succeed()
        await client.close(response)
    assert outcomes.outcomes == ["success"]


@LEFT_BY_THE_CLIENT
@pytest.mark.parametrize(
    ("parts", "outcome"),
    [
        ([b"data: 1\n\n", b"data: [DONE]\n\n"], "success"),
        ([b"data: 1\r\n\r\ndata: [D", b"ONE]\r\n\r\n"], "success"),
        ([b"data: 1\n\n", b"data: [DONE]\n\ndata: 2\n\n"], "neutral"),
    ],
)
async def test_done_ends_a_stream(
    face: Face,
    server: ScriptedServer,
    observed: CircuitBreakerRegistry,
    outcomes: Outcomes,
    parts: list[bytes],
    outcome: str,
) -> None:
    """A stream that is closed after `[DONE]` is a success, as OpenAI's SDK closes it there."""
    server.script.append(chunks(*parts, last=server.go_on.wait))
    async with face.open(observed) as client:
        response = await client.send(server.url)
        async with client.pieces(response) as pieces:
            assert b"".join([await anext(pieces) for _ in parts]) == b"".join(parts)
            await client.close(response)
    assert outcomes.outcomes == [outcome]


async def test_a_response_is_unchanged(face: Face, server: ScriptedServer, registry: CircuitBreakerRegistry) -> None:
    """The status, the headers, the body and the transport's extensions are unchanged."""
    server.script.append(status(418, {"X-Tea": "pot", "Set-Cookie": "a=1"}, b'{"short": true}'))
    async with face.open(registry) as client:
        response = await client.get(server.url)
        assert client.client.cookies["a"] == "1"
    assert (response.status_code, response.headers["x-tea"], response.json()) == (418, "pot", {"short": True})
    assert {"http_version", "network_stream"} <= set(response.extensions)


# Which breaker


async def test_each_host_has_its_own_breaker(
    face: Face, server: ScriptedServer, registry: CircuitBreakerRegistry
) -> None:
    """An open circuit of one host does not affect another host."""
    with ScriptedServer().running() as other:
        server.script.extend([status(500), status(500)])
        async with face.open(registry) as client:
            for _ in range(2):
                await client.get(server.url)
                await client.get(other.url)
            await refusal_of(client, server.url)
            await client.get(other.url)
    assert registry.get_all_states() == {server.host: CircuitState.OPEN, other.host: CircuitState.CLOSED}


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://API.example.com/v1", "api.example.com"),
        ("https://api.example.com:443/", "api.example.com"),
        ("http://api.example.com:443/", "api.example.com:443"),
        ("https://user:secret@api.example.com/", "api.example.com"),
        ("https://bücher.example/", "xn--bcher-kva.example"),
        ("http://[::1]:8000/", "[::1]:8000"),
    ],
)
async def test_names_of_hosts(face: Face, registry: CircuitBreakerRegistry, url: str, name: str) -> None:
    """The breaker's name is the host, with the port unless it is the default, and never a password."""
    async with face.open(registry, face.client.MockTransport(lambda _: face.client.Response(200))) as client:
        await client.get(url)
    assert list(registry.get_all_states()) == [name]


async def test_a_custom_key(face: Face, server: ScriptedServer, registry: CircuitBreakerRegistry) -> None:
    """`key=` names the breaker; None leaves a request unguarded."""

    def key(request: Any) -> str | None:
        return None if request.url.path == "/health" else request.url.path

    server.script.extend([status(500)] * 4)
    async with face.open(registry, key=key) as client:
        for path in ("/health", "/health", "/a", "/b"):
            await client.get(server.url + path)
    assert list(registry.get_all_states()) == ["/a", "/b"]


async def test_an_existing_breaker_keeps_its_config(
    face: Face, server: ScriptedServer, registry: CircuitBreakerRegistry
) -> None:
    """A breaker that exists already keeps its config, and failing statuses count for it too. [R1]"""
    config = CircuitBreakerConfig(failure_threshold=1)
    breaker = registry.get_or_create(server.host, config)
    server.script.append(status(500))
    async with face.open(registry) as client:
        await client.get(server.url)
    assert breaker.state is CircuitState.OPEN
    assert breaker.config is config


async def test_custom_filters(face: Face, server: ScriptedServer, clock: FakeClock) -> None:
    """The registry's own `record_result`, `retry_after` and `ignore_exceptions` are kept."""
    config = CircuitBreakerConfig(
        failure_threshold=1,
        record_result=lambda response: response.status_code == 404,
        retry_after=lambda _: 99,
        ignore_exceptions=face.client.RemoteProtocolError,
    )
    registry = CircuitBreakerRegistry(config, clock=clock)
    server.script.extend([status(500), nothing, status(404)])
    async with face.open(registry) as client:
        await client.get(server.url)
        with pytest.raises(face.client.RemoteProtocolError):
            await client.get(server.url)
        await client.get(server.url)
        assert (await refusal_of(client, server.url)).retry_after == pytest.approx(99)


async def test_a_record_result_that_raises(
    face: Face, server: ScriptedServer, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """If `record_result` raises, the response is returned, counts as a success, and the error is logged. [B7]"""
    config = CircuitBreakerConfig(record_result=lambda _: 1 / 0)
    registry = CircuitBreakerRegistry(config, clock=clock)
    async with face.open(registry) as client:
        assert (await client.get(server.url)).status_code == 200
    assert "record_result" in caplog.text


def test_http_config(library: str) -> None:
    """`http_config` sets unset fields, keeps the others, and returns equal configs for equal ones. [R1]"""
    guard = Face(library, is_async=False).guard
    base = CircuitBreakerConfig(failure_threshold=7, record_result=bool)
    config = guard.http_config(base)
    assert (config.failure_threshold, config.record_result) == (7, bool)
    assert guard.http_config(base) == config
    assert guard.http_config(config) == config
    assert pickle.loads(pickle.dumps(config)).record_result is bool
    with pytest.raises(TypeError, match="config must be a CircuitBreakerConfig, got None"):
        guard.http_config(None)


async def test_redirects_count_for_their_own_host(
    face: Face, server: ScriptedServer, registry: CircuitBreakerRegistry
) -> None:
    """Each hop of a redirect uses the breaker of its own host."""
    with ScriptedServer().running() as other:
        server.script.append(status(302, {"Location": other.url}))
        other.script.append(status(500))
        async with face.open(registry) as client:
            await client.get(server.url, follow_redirects=True)
    assert registry.get(server.host).status().failure_count == 0
    assert registry.get(other.host).status().failure_count == 1


# Being a transport


async def test_the_wrapped_transport_is_entered_and_closed(face: Face, registry: CircuitBreakerRegistry) -> None:
    """Opening and closing the client opens and closes the wrapped transport."""
    calls: list[str] = []
    base = face.client.AsyncBaseTransport if face.is_async else face.client.BaseTransport

    if face.is_async:

        class Sender(base):
            async def __aenter__(self) -> Any:
                calls.append("enter")
                return self

            async def aclose(self) -> None:
                calls.append("close")

        async with face.open(registry, Sender()):
            pass
        await face.transport(registry, Sender()).aclose()
    else:

        class Sender(base):
            def __enter__(self) -> Any:
                calls.append("enter")
                return self

            def close(self) -> None:
                calls.append("close")

        async with face.open(registry, Sender()):
            pass
        face.transport(registry, Sender()).close()
    assert calls == ["enter", "close", "close"]


def test_bad_arguments(face: Face, registry: CircuitBreakerRegistry) -> None:
    """A wrong argument raises an error with its name, what is allowed, and what was given."""
    wrong = face.client.HTTPTransport() if face.is_async else face.client.AsyncHTTPTransport()
    with pytest.raises(TypeError, match="registry must be a CircuitBreakerRegistry, got None"):
        face.transport(None)
    with pytest.raises(TypeError, match=r"transport must be an? \w*BaseTransport"):
        face.transport(registry, wrong)
    with pytest.raises(TypeError, match="key must be a callable or None, got 'host'"):
        face.transport(registry, key="host")
    for refusal in (CircuitOpenError, "refused"):
        with pytest.raises(TypeError, match="refusal must be CircuitOpenTransportError or a subclass of it"):
            face.transport(registry, refusal=refusal)


async def test_events_name_the_host(
    face: Face, server: ScriptedServer, events: EventRecorder, clock: FakeClock
) -> None:
    """The events of the registry's sink have the host as their source. [C3]"""
    registry = CircuitBreakerRegistry(OPEN_AT_ONCE, clock=clock, sink=events)
    server.script.append(status(500))
    async with face.open(registry) as client:
        await client.get(server.url)
    assert [(event.topic, event.source) for event in events.events] == [("arb.swarm.circuit.opened", server.host)]
