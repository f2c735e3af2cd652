"""A real service on loopback with every kind of fault, and clients of all kinds that call it at once."""

from __future__ import annotations

import random
import socket
import struct
import threading
from collections import Counter, deque
from contextlib import AsyncExitStack, ExitStack, suppress
from functools import partial

import anyio
import anyio.to_thread
import httpx2
import pytest

from swarmguard import CircuitBreakerConfig, CircuitBreakerRegistry, CircuitOpenError, CircuitState
from swarmguard.httpx2 import AsyncCircuitBreakerTransport, CircuitBreakerTransport
from tests.breaker_tools import SAFETY
from tests.faults.harness import check_transitions, side_by_side
from tests.integrations.http.faces import Face
from tests.integrations.http.scripted import ScriptedServer, chunks, nothing, status, without_date
from tests.threads.interleave import wait_for

IMPATIENT = httpx2.Timeout(SAFETY, read=0.05)
"""Long enough for everything except an answer that stalls."""
CALLERS, CALLS = 4, 20
"""The number of callers that share a client, and the number of calls of each."""
WELL = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
DATES = {"date": "Mon, 06 Jan 2025 08:00:00 GMT", "retry-after": "Mon, 06 Jan 2025 08:01:10 GMT"}


def reset(handler):
    """Reset the connection instead of closing it."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    socket.close(handler.connection.detach())


def stall(handler):
    """Begin a response, and wait until the client gives up."""
    handler.wfile.write(WELL + b"half")
    with suppress(ConnectionError):
        handler.rfile.read(1)
    handler.close_connection = True


def writing(data):
    """Return a handler that sends these bytes and closes the connection."""

    def answer(handler):
        handler.wfile.write(data)
        handler.close_connection = True

    return answer


FAULTS = {
    "reset": reset,
    "silence": nothing,
    "stall": stall,
    "garbage": writing(b"\x15\x03\x01\x00\x02\x02\x50\r\n\r\n"),
    "half the headers": writing(WELL[:30]),
    "half the body": writing(WELL + b"half"),
    "busy for 70 s": status(429, {"retry-after": "70"}),
    "busy until a date": without_date(429, DATES),
    "down": status(503),
}


@pytest.fixture
def server():
    """Return a server that answers by a script."""
    with ScriptedServer().running() as server:
        yield server


@pytest.fixture
def closed_port():
    """Return a port that is bound, but not listened on."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.anyio
async def test_any_fault_of_a_probe_opens_the_circuit_again(clock, events, server, is_async, fault):
    """Any fault on the socket of a probe opens the circuit again and frees the slot [B3] [B18]."""
    config = CircuitBreakerConfig(failure_threshold=1, success_threshold=1, half_open_max_calls=1)
    registry = CircuitBreakerRegistry(config, clock=clock, sink=events)
    server.script.extend([status(503), FAULTS[fault], FAULTS[fault]])
    async with Face("httpx2", is_async).open(registry) as talk:
        await talk.get(server.url)
        breaker = registry.get(server.host)
        for openings in (2, 3):
            clock.advance(breaker.retry_after)
            with suppress(httpx2.TransportError):
                await talk.get(server.url, timeout=IMPATIENT)
            found = breaker.status()
            assert (found.state, found.openings, found.half_open_calls) == (CircuitState.OPEN, openings, 0)
            assert found.retry_after == (70.0 if "busy" in fault else 30.0)
        clock.advance(breaker.retry_after)
        assert (await talk.get(server.url)).status_code == 200
    assert breaker.state is CircuitState.CLOSED
    assert len(server.requests) == 4
    check_transitions(events, breaker)


def test_a_stalled_probe_does_not_block_recovery(clock, events, server):
    """After the lease of a stalled probe, another probe closes the circuit, and the stalled one is stale [B4] [B5]."""
    outcomes = []
    config = CircuitBreakerConfig(failure_threshold=1, success_threshold=1, half_open_max_calls=1, probe_timeout=5)
    registry = CircuitBreakerRegistry(
        config, clock=clock, sink=events, observer=lambda record: outcomes.append(record.outcome)
    )
    stalling = threading.Event()

    def half_a_response():
        stalling.set()
        server.go_on.wait(SAFETY)

    server.script.extend([status(503), chunks(b"half", last=half_a_response)])
    with httpx2.Client(transport=CircuitBreakerTransport(registry), timeout=SAFETY) as client:
        client.get(server.url)
        breaker = registry.get(server.host)
        clock.advance(30)

        def stalled():
            with pytest.raises(httpx2.RemoteProtocolError):
                client.get(server.url)

        def recover():
            assert stalling.wait(SAFETY)
            with pytest.raises(CircuitOpenError):
                client.get(server.url)
            clock.advance(5)
            assert client.get(server.url).status_code == 200
            assert breaker.state is CircuitState.CLOSED
            server.go_on.set()

        side_by_side(stalled, recover)
    assert outcomes == ["failure", "refused", "success", "stale"]
    check_transitions(events, breaker)


class Chaos:
    """An endless script, by a seed: every other response is a fault."""

    def __init__(self, seed):
        self._random = random.Random(seed)

    def popleft(self):
        """Return the next response."""
        return self._random.choice([*FAULTS.values(), *[status(200)] * len(FAULTS)])


class Crowd:
    """Callers that share one breaker for a service with two addresses, one of which has no server.

    Attributes:
        results: How the calls ended for their callers.
        outcomes: The outcomes that the observer got.
    """

    def __init__(self, clock, events, server, closed_port, seed):
        self.clock, self.server, self.seed = clock, server, seed
        self.urls = [server.url] * 9 + [f"http://127.0.0.1:{closed_port}"]
        self.results: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.counting = threading.Lock()
        config = CircuitBreakerConfig(failure_threshold=2, success_threshold=2, half_open_max_calls=2, probe_timeout=9)
        self.registry = CircuitBreakerRegistry(config, clock=clock, sink=events, observer=self.observe)
        self.met = threading.Barrier(3, action=self.recover)

    def observe(self, record):
        """Count the outcome as the observer."""
        with self.counting:
            self.outcomes[record.outcome] += 1

    def ended(self, result):
        """Record how a call ended."""
        with self.counting:
            self.results[result] += 1

    def refused(self, refusal):
        """Record a refusal, and advance the clock by its `retry_after`."""
        self.clock.advance(refusal.retry_after)
        self.ended("refused")

    def answered(self, response):
        """Record a call whose response was read."""
        self.ended("well" if response.status_code == 200 else "failed")

    def recover(self):
        """Make the service healthy when all callers are done, and check what they have left behind."""
        self.server.script = deque()
        breaker = self.registry.get("service")
        self.clock.advance(breaker.status().retry_after)
        assert breaker.status().half_open_calls == 0
        with httpx2.Client(transport=self.transport()) as client:
            while breaker.state is not CircuitState.CLOSED:
                client.get(self.server.url, timeout=SAFETY).raise_for_status()
                self.ended("well")

    def transport(self, cls=CircuitBreakerTransport, sender=httpx2.HTTPTransport):
        """Return a transport for the service, with one connection for each caller."""
        return cls(self.registry, sender(limits=httpx2.Limits(max_connections=CALLERS)), key=lambda _: "service")

    def threads(self):
        """Call from threads."""
        with httpx2.Client(transport=self.transport(), timeout=IMPATIENT) as client:
            side_by_side(*[partial(self.call, client, random.Random(f"{self.seed}/{n}")) for n in range(CALLERS)])
            self.met.wait(SAFETY)
            with ExitStack() as stack:
                for _ in range(CALLERS):
                    answer = stack.enter_context(client.stream("GET", self.server.url, timeout=SAFETY))
                    assert answer.status_code == 200
                    self.ended("closed early")

    def call(self, client, chance):
        """Make the calls of one caller."""
        for _ in range(CALLS):
            try:
                with client.stream("GET", chance.choice(self.urls)) as response:
                    if response.status_code == 200 and chance.random() < 0.2:
                        self.ended("closed early")
                    else:
                        response.read()
                        self.answered(response)
            except CircuitOpenError as refusal:
                self.refused(refusal)
            except httpx2.TransportError:
                self.ended("failed")

    async def tasks(self):
        """Call from tasks."""
        transport = self.transport(AsyncCircuitBreakerTransport, httpx2.AsyncHTTPTransport)
        async with httpx2.AsyncClient(transport=transport, timeout=IMPATIENT) as client:
            async with anyio.create_task_group() as tasks:
                for n in range(CALLERS):
                    tasks.start_soon(self.call_async, client, random.Random(f"{self.seed}/{n}"))
            await anyio.to_thread.run_sync(self.met.wait, SAFETY)
            async with AsyncExitStack() as stack:
                for _ in range(CALLERS):
                    answer = await stack.enter_async_context(client.stream("GET", self.server.url, timeout=SAFETY))
                    assert answer.status_code == 200
                    self.ended("closed early")

    async def call_async(self, client, chance):
        """Make the calls of one caller; some are cancelled while they read."""
        for _ in range(CALLS):
            with anyio.CancelScope() as scope:
                try:
                    async with client.stream("GET", chance.choice(self.urls)) as response:
                        if response.status_code == 200 and chance.random() < 0.2:
                            scope.cancel()
                        await response.aread()
                        self.answered(response)
                except CircuitOpenError as refusal:
                    self.refused(refusal)
                except httpx2.TransportError:
                    self.ended("failed")
            if scope.cancelled_caught:
                self.ended("cancelled")


@pytest.mark.parametrize("seed", range(3))
def test_callers_leave_nothing_behind_after_all_faults(clock, events, server, closed_port, seed):
    """Threads and tasks on both backends that call a service through all its faults leave nothing behind [B3] [B20]."""
    crowd = Crowd(clock, events, server, closed_port, seed)
    server.script = Chaos(seed)
    loops = [partial(anyio.run, crowd.tasks, backend=backend) for backend in ("asyncio", "trio")]
    side_by_side(crowd.threads, *loops)
    breaker = crowd.registry.get("service")
    assert breaker.status().half_open_calls == 0
    check_transitions(events, breaker)
    outcomes, results = crowd.outcomes, crowd.results
    assert outcomes.total() == results.total()
    assert outcomes["refused"] == results["refused"]
    # A call that is cancelled after its last byte was read is a success.
    assert results["closed early"] <= outcomes["neutral"] <= results["closed early"] + results["cancelled"]
    assert outcomes["success"] <= results["well"]
    assert outcomes["failure"] <= results["failed"]
    assert {"circuit.opened", "circuit.half_opened", "circuit.closed"} == {
        topic.removeprefix("arb.swarm.") for topic in events.topics
    }
    wait_for(thread for thread in threading.enumerate() if "process_request" in thread.name)  # one for each connection
