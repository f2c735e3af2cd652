"""The transports: which breaker, what is a failure, and when a response counts."""

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
    """Give a registry whose breakers open at the first failure."""
    return CircuitBreakerRegistry(OPEN_AT_ONCE, clock=clock)


class Outcomes:
    """A registry's observer that keeps the outcomes."""

    def __init__(self) -> None:
        self.outcomes: list[str] = []

    def __call__(self, record: CallRecord) -> None:
        """Keep the outcome."""
        self.outcomes.append(record.outcome)


@pytest.fixture
def outcomes() -> Outcomes:
    """Give an observer."""
    return Outcomes()


@pytest.fixture
def observed(clock: FakeClock, outcomes: Outcomes) -> CircuitBreakerRegistry:
    """Give a registry whose calls are observed."""
    return CircuitBreakerRegistry(clock=clock, observer=outcomes)


# Failures


@pytest.mark.parametrize("code", [500, 502, 503, 529, 599, 429])
async def test_statuses_that_are_failures(
    face: Face, server: ScriptedServer, registry: CircuitBreakerRegistry, code: int
) -> None:
    """5xx and 429 open the circuit, and the host is left alone from then on."""
    server.script.extend([status(code)] * 2)
    async with face.open(registry) as talk:
        for _ in range(2):
            assert (await talk.get(server.url)).status_code == code
        with pytest.raises(CircuitOpenError):
            await talk.get(server.url)
    assert len(server.requests) == 2
    assert registry.get_all_states() == {server.host: CircuitState.OPEN}


@pytest.mark.parametrize("code", [200, 204, 301, 400, 401, 404, 408, 422])
async def test_statuses_that_are_not(
    face: Face, server: ScriptedServer, observed: CircuitBreakerRegistry, outcomes: Outcomes, code: int
) -> None:
    """The service has answered: anything else is a success, the caller's own mistakes included."""
    server.script.append(status(code, body=b""))
    async with face.open(observed) as talk:
        await talk.get(server.url)
    assert outcomes.outcomes == ["success"]


async def test_transport_errors_are_failures(
    face: Face, server: ScriptedServer, registry: CircuitBreakerRegistry
) -> None:
    """A connection that breaks counts, and the client's own error comes through."""
    server.script.extend([nothing, nothing])
    async with face.open(registry) as talk:
        for _ in range(2):
            with pytest.raises(face.client.RemoteProtocolError):
                await talk.get(server.url)
        with pytest.raises(CircuitOpenError):
            await talk.get(server.url)


async def test_timeouts_are_failures(face: Face, server: ScriptedServer, hasty: CircuitBreakerRegistry) -> None:
    """A timeout of the client's is inside the breaker, so it counts."""
    server.script.append(lambda _: server.go_on.wait())
    async with face.open(hasty) as talk:
        with pytest.raises(face.client.ReadTimeout):
            await talk.get(server.url, timeout=0.05)
    assert hasty.get(server.host).state is CircuitState.OPEN


async def test_nobody_there(face: Face, hasty: CircuitBreakerRegistry, unused_port: int) -> None:
    """A refused connection counts."""
    async with face.open(hasty) as talk:
        with pytest.raises(face.client.ConnectError):
            await talk.get(f"http://127.0.0.1:{unused_port}/")
    assert hasty.get(f"127.0.0.1:{unused_port}").state is CircuitState.OPEN


async def test_the_callers_own_mistakes_are_neutral(
    face: Face, server: ScriptedServer, observed: CircuitBreakerRegistry, outcomes: Outcomes
) -> None:
    """A request that cannot be sent says nothing of the host."""
    async with face.open(observed) as talk:
        with pytest.raises(face.client.UnsupportedProtocol):
            await talk.get("gopher://example.com/")
        with pytest.raises(face.client.LocalProtocolError):
            await talk.get(server.url, headers={"x": "a\nb"})
        with pytest.raises(face.client.UnsupportedProtocol):
            await talk.get("/no/host")
    assert outcomes.outcomes == ["neutral", "neutral"]


async def test_a_cancelled_request_is_neutral(
    library: str, anyio_backend: str, server: ScriptedServer, observed: CircuitBreakerRegistry, outcomes: Outcomes
) -> None:
    """A cancellation says nothing of the host. [B6]"""
    face = Face(library, is_async=True)
    asked = threading.Event()
    server.script.append(lambda _: (asked.set(), server.go_on.wait()))
    async with face.open(observed) as talk, anyio.create_task_group() as tasks:
        tasks.start_soon(talk.get, server.url)
        assert await anyio.to_thread.run_sync(asked.wait, 10)
        tasks.cancel_scope.cancel()
    assert outcomes.outcomes == ["neutral"]


# Refusals


async def test_a_refusal_is_caught_by_either_name(
    face: Face, server: ScriptedServer, registry: CircuitBreakerRegistry
) -> None:
    """It is a `CircuitOpenError` with its facts, and the client's `TransportError` with its request. [B15]"""
    registry.get_or_create(server.host).trip(7)
    async with face.open(registry) as talk:
        with pytest.raises(face.client.TransportError) as caught:
            await talk.get(f"{server.url}/a")
        again = [await refusal_of(talk, server.url), await refusal_of(talk, server.url)]
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


async def refusal_of(talk: Any, url: str) -> CircuitOpenError:
    """Return the error of a request that is refused."""
    with pytest.raises(CircuitOpenError) as caught:
        await talk.get(url)
    return caught.value


async def test_a_refusal_survives_copying(face: Face, server: ScriptedServer, registry: CircuitBreakerRegistry) -> None:
    """Pickled and copied, it keeps its facts and its request. [B15]"""
    registry.get_or_create(server.host).set_mode(BreakerMode.ISOLATED)
    async with face.open(registry) as talk:
        refusal = await refusal_of(talk, server.url)
    for twin in (copy.copy(refusal), pickle.loads(pickle.dumps(refusal))):
        assert type(twin) is type(refusal)
        assert twin.args == refusal.args
        assert twin.request.url == refusal.request.url
        assert twin.reason == "isolated"


def test_a_refusal_made_by_hand(library: str) -> None:
    """Users' tests can make one; its request is then not known, as with the client's own errors."""
    guard = Face(library, is_async=False).guard
    refusal = guard.CircuitOpenTransportError("jupiter", CircuitState.OPEN, 1.5, "open")
    assert refusal.retry_after == 1.5
    with pytest.raises(RuntimeError, match="request"):
        refusal.request  # noqa: B018 - reading it is what is tested


async def test_a_refusal_of_the_users_own(face: Face, server: ScriptedServer, registry: CircuitBreakerRegistry) -> None:
    """`refusal=` says what a refusal is raised as."""

    class UnavailableError(face.guard.CircuitOpenTransportError, LookupError):
        pass

    registry.get_or_create(server.host).trip()
    async with face.open(registry, refusal=UnavailableError) as talk:
        with pytest.raises(LookupError) as caught:
            await talk.get(server.url)
    assert type(caught.value) is UnavailableError


async def test_an_inner_refusal_is_neutral(
    face: Face, server: ScriptedServer, observed: CircuitBreakerRegistry, outcomes: Outcomes, clock: FakeClock
) -> None:
    """A transport around another one does not count the inner one's refusals. [B6]"""
    inner = CircuitBreakerRegistry(clock=clock)
    inner.get_or_create(server.host).trip()
    async with face.open(observed, face.transport(inner)) as talk:
        await refusal_of(talk, server.url)
    assert outcomes.outcomes == ["neutral"]


# Recovery


async def test_recovery(face: Face, server: ScriptedServer, registry: CircuitBreakerRegistry, clock: FakeClock) -> None:
    """When its time is up, one good answer closes the circuit again."""
    server.script.extend([status(500), status(500)])
    async with face.open(registry) as talk:
        for _ in range(2):
            await talk.get(server.url)
        await refusal_of(talk, server.url)
        clock.advance(30)
        assert (await talk.get(server.url)).status_code == 200
    assert registry.get(server.host).state is CircuitState.CLOSED


async def test_retry_after_in_seconds(
    face: Face, server: ScriptedServer, hasty: CircuitBreakerRegistry, clock: FakeClock
) -> None:
    """The service is left alone for as long as it asks. [B18]"""
    server.script.append(status(429, {"Retry-After": "120"}))
    async with face.open(hasty) as talk:
        await talk.get(server.url)
        clock.advance(119)
        assert (await refusal_of(talk, server.url)).retry_after == pytest.approx(1)
        clock.advance(1)
        await talk.get(server.url)


async def test_retry_after_as_a_date(face: Face, server: ScriptedServer, hasty: CircuitBreakerRegistry) -> None:
    """A date is compared with the answer's own, whatever our clock says: it stands in the year 2000. [B18]"""
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=600), usegmt=True)
    server.script.append(status(503, {"Retry-After": soon}))
    async with face.open(hasty) as talk:
        await talk.get(server.url)
    assert hasty.get(server.host).retry_after == pytest.approx(600, abs=60)


async def test_retry_after_as_a_date_alone(
    face: Face, server: ScriptedServer, hasty: CircuitBreakerRegistry, clock: FakeClock
) -> None:
    """Where the answer does not say when it was given, the breakers' clock does. [B18] [C1]"""
    date = format_datetime(clock.now() + timedelta(seconds=90), usegmt=True)
    server.script.append(without_date(503, {"Retry-After": date}))
    async with face.open(hasty) as talk:
        await talk.get(server.url)
    assert hasty.get(server.host).retry_after == pytest.approx(90)


@pytest.mark.parametrize(
    ("asked", "seconds"),
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
def test_what_retry_after_may_say(library: str, clock: FakeClock, asked: str, seconds: float | None) -> None:
    """Whole seconds and the three forms of HTTP dates are read; anything else asks for nothing. [B18]"""
    face = Face(library, is_async=False)
    read = face.guard.http_config(clock=clock).retry_after
    assert read(face.client.Response(429, headers={"retry-after": asked})) == seconds


def test_retry_after_of_an_exception(library: str) -> None:
    """An exception that has a response is asked for that one's; any other asks for nothing. [B18]"""
    face = Face(library, is_async=False)
    read = face.guard.http_config().retry_after
    request = face.client.Request("GET", "http://example.com")
    response = face.client.Response(429, headers={"retry-after": "3"}, request=request)
    with pytest.raises(face.client.HTTPStatusError) as caught:
        response.raise_for_status()
    assert read(caught.value) == 3
    assert read(face.client.ReadTimeout("late")) is None


# Bodies


async def test_a_streamed_answer_counts_when_it_ends(
    face: Face, server: ScriptedServer, observed: CircuitBreakerRegistry, outcomes: Outcomes
) -> None:
    """The headers are no success yet; the end of the body is."""
    server.script.append(chunks(b"one", b"two"))
    async with face.open(observed) as talk:
        response = await talk.send(server.url)
        assert outcomes.outcomes == []
        assert await talk.read(response) == b"onetwo"
        assert outcomes.outcomes == ["success"]
    assert outcomes.outcomes == ["success"]


async def test_a_stream_that_breaks_is_a_failure(
    face: Face, server: ScriptedServer, observed: CircuitBreakerRegistry, outcomes: Outcomes
) -> None:
    """A body that stops before its end counts, though the status was 200."""
    server.script.append(chunks(b"one", last=lambda: None))
    async with face.open(observed) as talk:
        response = await talk.send(server.url)
        with pytest.raises(face.client.RemoteProtocolError):
            await talk.read(response)
    assert outcomes.outcomes == ["failure"]


LEFT_BY_THE_CLIENT = pytest.mark.filterwarnings(
    # On trio. Both clients leave their own generators so; none of ours may be among them.
    r"ignore:Async generator 'httpx2?\.:ResourceWarning",
    r"ignore:Async generator 'httpcore2?\.:ResourceWarning",
)


@LEFT_BY_THE_CLIENT
async def test_closing_early_is_neutral(
    face: Face, server: ScriptedServer, observed: CircuitBreakerRegistry, outcomes: Outcomes
) -> None:
    """Who hangs up knows nothing of what would have come."""
    server.script.append(chunks(b"one", last=server.go_on.wait))
    server.script.append(chunks(b"one", last=server.go_on.wait))
    async with face.open(observed) as talk:
        response = await talk.send(server.url)
        await talk.hang_up(response)
        response = await talk.send(server.url)
        async with talk.pieces(response) as pieces:
            assert await anext(pieces) == b"one"
            await talk.hang_up(response)
    assert outcomes.outcomes == ["neutral", "neutral"]


async def test_closing_early_frees_the_place_of_a_test_call(
    face: Face, server: ScriptedServer, clock: FakeClock
) -> None:
    """A test call that is hung up leaves its place to the next one. [B3]"""
    config = CircuitBreakerConfig(failure_threshold=1, success_threshold=1, half_open_max_calls=1)
    registry = CircuitBreakerRegistry(config, clock=clock)
    registry.get_or_create(server.host, config).trip(1)
    clock.advance(1)
    server.script.append(chunks(b"one", last=server.go_on.wait))
    async with face.open(registry) as talk:
        response = await talk.send(server.url)
        assert (await refusal_of(talk, server.url)).reason == "half_open"
        await talk.hang_up(response)
        await talk.get(server.url)
    assert registry.get(server.host).state is CircuitState.CLOSED


async def test_a_failing_status_counts_at_once(
    face: Face, server: ScriptedServer, observed: CircuitBreakerRegistry, outcomes: Outcomes
) -> None:
    """Whoever raises for the status and never reads the body has counted all the same."""
    server.script.append(status(503))
    async with face.open(observed) as talk:
        response = await talk.send(server.url)
        assert outcomes.outcomes == ["failure"]
        await talk.hang_up(response)
    assert outcomes.outcomes == ["failure"]


@LEFT_BY_THE_CLIENT
async def test_the_permit_is_at_hand(
    face: Face, server: ScriptedServer, observed: CircuitBreakerRegistry, outcomes: Outcomes
) -> None:
    """Whoever knows the verdict before the body's end settles the permit. [B13]"""
    server.script.append(chunks(b"last words", last=server.go_on.wait))
    async with face.open(observed) as talk:
        response = await talk.send(server.url)
        async with talk.pieces(response) as pieces:
            assert await anext(pieces) == b"last words"
            assert response.extensions["circuit_permit"].succeed()
        await talk.hang_up(response)
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
async def test_a_stream_that_says_done_has_ended(
    face: Face,
    server: ScriptedServer,
    observed: CircuitBreakerRegistry,
    outcomes: Outcomes,
    parts: list[bytes],
    outcome: str,
) -> None:
    """Whoever closes after `[DONE]` closes late enough: it is how OpenAI's streams end."""
    server.script.append(chunks(*parts, last=server.go_on.wait))
    async with face.open(observed) as talk:
        response = await talk.send(server.url)
        async with talk.pieces(response) as pieces:
            assert b"".join([await anext(pieces) for _ in parts]) == b"".join(parts)
            await talk.hang_up(response)
    assert outcomes.outcomes == [outcome]


async def test_an_answer_comes_through_whole(
    face: Face, server: ScriptedServer, registry: CircuitBreakerRegistry
) -> None:
    """Status, headers, body and the transport's own facts are as they were."""
    server.script.append(status(418, {"X-Tea": "pot", "Set-Cookie": "a=1"}, b'{"short": true}'))
    async with face.open(registry) as talk:
        response = await talk.get(server.url)
        assert talk.client.cookies["a"] == "1"
    assert (response.status_code, response.headers["x-tea"], response.json()) == (418, "pot", {"short": True})
    assert {"http_version", "network_stream"} <= set(response.extensions)


# Which breaker


async def test_every_host_has_its_own(face: Face, server: ScriptedServer, registry: CircuitBreakerRegistry) -> None:
    """One host's trouble leaves the others alone."""
    with ScriptedServer().running() as other:
        server.script.extend([status(500), status(500)])
        async with face.open(registry) as talk:
            for _ in range(2):
                await talk.get(server.url)
                await talk.get(other.url)
            await refusal_of(talk, server.url)
            await talk.get(other.url)
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
    """The name is the host's, with the port where it is not the scheme's own, and never a password."""
    async with face.open(registry, face.client.MockTransport(lambda _: face.client.Response(200))) as talk:
        await talk.get(url)
    assert list(registry.get_all_states()) == [name]


async def test_a_key_of_the_users_own(face: Face, server: ScriptedServer, registry: CircuitBreakerRegistry) -> None:
    """`key=` names the breaker; None leaves a request unguarded."""

    def key(request: Any) -> str | None:
        return None if request.url.path == "/health" else request.url.path

    server.script.extend([status(500)] * 4)
    async with face.open(registry, key=key) as talk:
        for path in ("/health", "/health", "/a", "/b"):
            await talk.get(server.url + path)
    assert list(registry.get_all_states()) == ["/a", "/b"]


async def test_a_breaker_that_is_there_keeps_its_config(
    face: Face, server: ScriptedServer, registry: CircuitBreakerRegistry
) -> None:
    """A host gets thresholds of its own by making its breaker first; its statuses are judged all the same. [R1]"""
    config = CircuitBreakerConfig(failure_threshold=1)
    breaker = registry.get_or_create(server.host, config)
    server.script.append(status(500))
    async with face.open(registry) as talk:
        await talk.get(server.url)
    assert breaker.state is CircuitState.OPEN
    assert breaker.config is config


async def test_a_judge_of_the_users_own(face: Face, server: ScriptedServer, clock: FakeClock) -> None:
    """The registry's own `record_result`, `retry_after` and `ignore_exceptions` are kept."""
    config = CircuitBreakerConfig(
        failure_threshold=1,
        record_result=lambda response: response.status_code == 404,
        retry_after=lambda _: 99,
        ignore_exceptions=face.client.RemoteProtocolError,
    )
    registry = CircuitBreakerRegistry(config, clock=clock)
    server.script.extend([status(500), nothing, status(404)])
    async with face.open(registry) as talk:
        await talk.get(server.url)
        with pytest.raises(face.client.RemoteProtocolError):
            await talk.get(server.url)
        await talk.get(server.url)
        assert (await refusal_of(talk, server.url)).retry_after == pytest.approx(99)


async def test_a_judge_that_raises(
    face: Face, server: ScriptedServer, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer comes through, counts as a success, and the log says what happened. [B7]"""
    config = CircuitBreakerConfig(record_result=lambda _: 1 / 0)
    registry = CircuitBreakerRegistry(config, clock=clock)
    async with face.open(registry) as talk:
        assert (await talk.get(server.url)).status_code == 200
    assert "record_result" in caplog.text


def test_http_config(library: str) -> None:
    """It fills in what is open, keeps what is set, and the same config comes out equal: breakers can share it. [R1]"""
    guard = Face(library, is_async=False).guard
    base = CircuitBreakerConfig(failure_threshold=7, record_result=bool)
    config = guard.http_config(base)
    assert (config.failure_threshold, config.record_result) == (7, bool)
    assert guard.http_config(base) == config
    assert guard.http_config(config) == config
    assert pickle.loads(pickle.dumps(config)).record_result is bool
    with pytest.raises(TypeError, match="config must be a CircuitBreakerConfig, got None"):
        guard.http_config(None)


async def test_redirects_are_judged_where_they_lead(
    face: Face, server: ScriptedServer, registry: CircuitBreakerRegistry
) -> None:
    """Each hop asks the breaker of its own host."""
    with ScriptedServer().running() as other:
        server.script.append(status(302, {"Location": other.url}))
        other.script.append(status(500))
        async with face.open(registry) as talk:
            await talk.get(server.url, follow_redirects=True)
    assert registry.get(server.host).status().failure_count == 0
    assert registry.get(other.host).status().failure_count == 1


# Being a transport


async def test_the_wrapped_transport_is_entered_and_closed(face: Face, registry: CircuitBreakerRegistry) -> None:
    """Opening and closing the client reaches the transport that sends."""
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
    """What is wrong is named, with what is allowed and what came."""
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
    """The registry's sink hears of a host's trouble. [C3]"""
    registry = CircuitBreakerRegistry(OPEN_AT_ONCE, clock=clock, sink=events)
    server.script.append(status(500))
    async with face.open(registry) as talk:
        await talk.get(server.url)
    assert [(event.topic, event.source) for event in events.events] == [("arb.swarm.circuit.opened", server.host)]
