"""The event stream."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from swarmguard import CircuitBreakerRegistry, EventBus, Overseer
from swarmguard.asgi import create_app
from tests.integrations.asgi.serving import serving


class Reader:
    """Reads a stream of server-sent events, one at a time."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self._lines = response.iter_lines()

    def next(self) -> dict[str, str]:
        """Return the fields of the next event, without comments."""
        fields: dict[str, str] = {}
        for line in self._lines:
            if not line and fields:
                return fields
            name, _, value = line.partition(": ")
            if name:
                fields[name] = value
        raise AssertionError("the stream has ended")


@contextmanager
def reading(url: str, topics: str | None = None) -> Iterator[Reader]:
    """Read a swarm's events during a `with` block."""
    params = {} if topics is None else {"topics": topics}
    with httpx2.stream("GET", f"{url}/swarm/events", params=params, timeout=10) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Reader(response)


def count_subscriptions(bus: EventBus) -> int:
    """Return the number of the bus's subscriptions."""
    return sum(mailbox() is not None for mailbox in bus._mailboxes)


def wait_for_subscriptions(bus: EventBus, number: int) -> None:
    """Wait until the bus has that number of subscriptions, or fail after ten seconds."""
    for _ in range(1000):
        if count_subscriptions(bus) == number:
            return
        threading.Event().wait(0.01)
    raise AssertionError(f"{count_subscriptions(bus)} readers, not {number}")


def test_events_are_streamed(url: str, overseer: Overseer, registry: CircuitBreakerRegistry) -> None:
    """Each event is sent as JSON, in order, with its sequence number as the id. [H4]"""
    with reading(url) as reader:
        scanner = overseer.register_agent("Scanner")
        registry.get_or_create("jupiter").trip()
        started, opened = reader.next(), reader.next()
    assert started.keys() == {"id", "data"}
    event = json.loads(started["data"])
    assert (started["id"], event["sequence"], event["topic"]) == ("1", 1, "arb.swarm.agent.started")
    assert event["payload"] == {"agent_id": str(scanner), "agent_type": "Scanner"}
    assert json.loads(opened["data"])["topic"] == "arb.swarm.circuit.opened"


def test_topics(url: str, overseer: Overseer, registry: CircuitBreakerRegistry) -> None:
    """A reader gets the events of its topics only. [H4]"""
    with reading(url, "arb.swarm.circuit.*") as circuits, reading(url, "arb.swarm.paused") as paused:
        overseer.register_agent("Scanner")
        registry.get_or_create("jupiter").trip()
        overseer.pause_swarm()
        assert json.loads(circuits.next()["data"])["source"] == "jupiter"
        assert json.loads(paused.next()["data"])["topic"] == "arb.swarm.paused"


def test_bad_topics(client: httpx2.Client, bus: EventBus) -> None:
    """Invalid topics are answered with 400 and the reason. [H3]"""
    for topics in ("*.agent", "arb.*.x", ""):
        response = client.get("/swarm/events", params={"topics": topics})
        assert response.status_code == 400
        assert response.json()["error"].startswith("topics must be ")
    assert count_subscriptions(bus) == 0


def test_without_a_bus(overseer: Overseer) -> None:
    """Without a bus, the path does not exist. [H4]"""
    with serving(create_app(overseer, authorize=lambda _: True)) as url:
        assert httpx2.get(f"{url}/swarm/events").json() == {"error": "Not Found", "code": 404}


def test_head_opens_no_stream(client: httpx2.Client, bus: EventBus) -> None:
    """A HEAD request is answered and leaves no subscription. [H4]"""
    assert client.head("/swarm/events").headers["content-type"].startswith("text/event-stream")
    wait_for_subscriptions(bus, 0)


def test_any_text_can_be_sent(url: str, overseer: Overseer) -> None:
    """Line breaks and lone surrogates in an error do not break the stream. [H4]"""
    scanner = overseer.register_agent("Scanner")
    with reading(url, "arb.swarm.agent.failed") as reader:
        overseer.record_agent_failure(scanner, "a\r\ndata: b\n\n\ud800")
        assert json.loads(reader.next()["data"])["payload"]["error"] == "a\r\ndata: b\n\n\ud800"


def test_a_slow_reader_loses_the_oldest_events(url: str, overseer: Overseer, bus: EventBus) -> None:
    """A slow reader loses the oldest events, gets their number, and does not slow down the others. [H4]"""
    where = urlsplit(url)
    connection = HTTPConnection(where.hostname, where.port, timeout=10)
    scanner = overseer.register_agent("Scanner")
    with closing(connection):
        connection.request("GET", f"{where.path}/swarm/events?topics=arb.swarm.agent.*")
        response = connection.getresponse()
        wait_for_subscriptions(bus, 1)
        emitted = 0
        while not bus._mailboxes[0]().dropped:  # until the sockets and the buffer are full
            overseer.record_agent_failure(scanner, "x" * 50_000)
            overseer.record_agent_success(scanner)
            emitted += 2
        got: list[dict[str, Any]] = []
        lost = 0
        while not got or got[-1]["sequence"] < emitted + 1:
            name, _, value = response.readline().decode().rstrip().partition(": ")
            if name == "data":
                data = json.loads(value)
                if "dropped" in data:
                    lost += data["dropped"]
                else:
                    got.append(data)
        response.close()
    assert lost > 0
    assert len(got) + lost == emitted
    numbers = [event["sequence"] for event in got]
    assert numbers == sorted(numbers)


def test_subscriptions_of_disconnected_readers_are_closed(url: str, bus: EventBus, overseer: Overseer) -> None:
    """When a reader disconnects, its subscription is closed, even if no event is published. [H4]"""
    with reading(url), reading(url):
        wait_for_subscriptions(bus, 2)
    wait_for_subscriptions(bus, 0)


def test_a_hundred_readers(bus: EventBus, overseer: Overseer) -> None:
    """Each of a hundred readers gets every event. [H4]"""
    with serving(create_app(overseer, authorize=lambda _: True, bus=bus)) as url, ExitStack() as stack:
        readers = [stack.enter_context(reading(url)) for _ in range(100)]
        overseer.pause_swarm()
        overseer.resume_swarm()
        for reader in readers:
            topics = [json.loads(reader.next()["data"])["topic"] for _ in range(2)]
            assert topics == ["arb.swarm.paused", "arb.swarm.resumed"]
        stack.close()
        wait_for_subscriptions(bus, 0)


HOST = """
import socket, uvicorn
from swarmguard import EventBus, Overseer
from swarmguard.asgi import create_app

bus = EventBus()
app = create_app(Overseer(sink=bus), authorize=lambda _: True, bus=bus)
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="critical")).run(sockets=[listener])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the signal is Unix's")
def test_a_server_with_readers_stops(tmp_path: object) -> None:
    """A server stops on a signal although readers are connected. [H4]"""
    with subprocess.Popen([sys.executable, "-c", HOST], stdout=subprocess.PIPE, text=True) as host:
        url = f"http://127.0.0.1:{host.stdout.readline().strip()}"
        with reading(url):
            host.send_signal(signal.SIGTERM)
            assert host.wait(20) in (0, -signal.SIGTERM)
