"""HTTP services on loopback that can be made to fail, and a plain client for them."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from enum import Enum
from functools import partial
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class Mood(Enum):
    """How a service treats its callers."""

    WELL = "answers"
    BROKEN = "answers 503"
    SILENT = "takes calls and answers none"
    GARBLED = "answers with half of the JSON"


class Service:
    """An HTTP server on loopback, on threads of its own, that does what its mood says."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.mood = Mood.WELL
        self.retired: set[str] = set()
        self.requests = 0
        self.port = 0
        self._mended = threading.Event()
        self.open()

    def open(self) -> None:
        """Listen: on any free port at first, later on the same again."""
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), partial(Handler, self))
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """Close the listening socket: whoever calls now is refused."""
        self._server.shutdown()
        self._server.server_close()

    def turn(self, mood: Mood) -> None:
        """Change the mood; the calls that a silent service has kept waiting are answered then."""
        self.mood = mood
        (self._mended.clear if mood is Mood.SILENT else self._mended.set)()

    def answer(self, path: str) -> tuple[int, bytes]:
        """Return the status and the body for a request."""
        self.requests += 1
        if self.mood is Mood.SILENT:
            self._mended.wait()
        if self.mood is Mood.BROKEN or path in self.retired:
            return (503 if self.mood is Mood.BROKEN else 410), b""
        body = json.dumps({"service": self.name, "path": path, "number": self.requests}).encode()
        return 200, body[:20] if self.mood is Mood.GARBLED else body

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.turn(Mood.WELL)
        self.close()


class Handler(BaseHTTPRequestHandler):
    """Answers one request as its service sees fit."""

    def __init__(self, service: Service, *connection: Any) -> None:
        self.service = service
        super().__init__(*connection)

    def do_GET(self) -> None:
        """Answer; a caller may have left meanwhile."""
        status, body = self.service.answer(self.path)
        with suppress(OSError):
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Keep quiet: the callers tell how it went."""


class StatusError(HTTPException):
    """A service answered, but not with 200."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status


def http_get(service: Service, path: str, timeout: float | None) -> bytes:
    """Call a service from a worker thread, for `timeout` seconds at most, or for ever."""
    connection = HTTPConnection("127.0.0.1", service.port, timeout=timeout)
    try:
        connection.request("GET", path)
        with connection.getresponse() as answer:
            if answer.status != 200:
                raise StatusError(answer.status, answer.reason)
            return answer.read()
    finally:
        connection.close()


CALL_ERRORS = (OSError, HTTPException)
"""What a call to a service can raise: a refusal, a timeout, an answer that is no good."""
