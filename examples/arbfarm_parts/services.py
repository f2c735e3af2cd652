"""Local HTTP services that fail on demand, and a plain client for them."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from enum import Enum
from functools import partial
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class Mode(Enum):
    """How a service responds."""

    WORKING = "answers"
    BROKEN = "answers 503"
    SILENT = "accepts requests and does not answer"
    GARBLED = "answers with half of the JSON"


class Service:
    """A local HTTP server, on its own threads, that responds as its mode says."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.mode = Mode.WORKING
        self.removed: set[str] = set()
        self.requests = 0
        self.port = 0
        self._not_silent = threading.Event()
        self.open()

    def open(self) -> None:
        """Listen: at first on any free port, later on the same one again."""
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), partial(Handler, self))
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """Close the listening socket, so that new connections are refused."""
        self._server.shutdown()
        self._server.server_close()

    def set_mode(self, mode: Mode) -> None:
        """Change the mode. When a service stops being silent, it answers the requests that wait."""
        self.mode = mode
        (self._not_silent.clear if mode is Mode.SILENT else self._not_silent.set)()

    def answer(self, path: str) -> tuple[int, bytes]:
        """Return the status and the body for a request."""
        self.requests += 1
        if self.mode is Mode.SILENT:
            self._not_silent.wait()
        if self.mode is Mode.BROKEN or path in self.removed:
            return (503 if self.mode is Mode.BROKEN else 410), b""
        body = json.dumps({"service": self.name, "path": path, "number": self.requests}).encode()
        return 200, body[:20] if self.mode is Mode.GARBLED else body

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.set_mode(Mode.WORKING)
        self.close()


class Handler(BaseHTTPRequestHandler):
    """Handles one request for a service."""

    def __init__(self, service: Service, *connection: Any) -> None:
        self.service = service
        super().__init__(*connection)

    def do_GET(self) -> None:
        """Answer the request; the client may have disconnected."""
        status, body = self.service.answer(self.path)
        with suppress(OSError):
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Print nothing: the clients report the results."""


class StatusError(HTTPException):
    """A service answered with a status other than 200."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status


def http_get(service: Service, path: str, timeout: float | None) -> bytes:
    """Send a request to a service; None is no timeout."""
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
"""The exceptions of a failed call: no connection, a timeout, an invalid or unexpected answer."""
