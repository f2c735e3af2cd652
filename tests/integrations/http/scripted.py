"""A real HTTP server on loopback with scripted responses, valid and broken ones."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[[BaseHTTPRequestHandler], None]


class ScriptedServer:
    """Sends the responses of `script` in turn, and 200 when the script is used up.

    Attributes:
        url: The server's URL.
        host: The same without the scheme.
        script: The responses to come.
        requests: The method, path and body of the requests so far.
        go_on: Releases the responses that wait for it.
    """

    def __init__(self) -> None:
        self.script: deque[Answer] = deque()
        self.requests: list[tuple[str, str, bytes]] = []
        self.go_on = threading.Event()
        served = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                served.requests.append((self.command, self.path, body))
                (served.script.popleft() if served.script else status(200))(self)

            do_GET = do_POST = do_HEAD = answer  # noqa: N815 - http.server requires these names

            def log_message(self, *args: object) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.handle_error = lambda *_: None  # some tests disconnect
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.host}"

    @contextmanager
    def running(self) -> Iterator[ScriptedServer]:
        """Serve during a `with` block."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            self.go_on.set()
            self._server.shutdown()
            thread.join()
            self._server.server_close()


def status(code: int, headers: dict[str, str] | None = None, body: bytes = b"{}") -> Answer:
    """Respond with a status, headers and a complete body."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in ({"content-type": "application/json"} | (headers or {})).items():
            handler.send_header(name, value)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)

    return answer


def without_date(code: int, headers: dict[str, str]) -> Answer:
    """Respond with a status and headers, but no `Date` header."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response_only(code)
        for name, value in (headers | {"content-length": "0"}).items():
            handler.send_header(name, value)
        handler.end_headers()

    return answer


def chunks(*parts: bytes, content_type: str = "text/event-stream", last: Callable[[], object] | None = None) -> Answer:
    """Respond with 200 and a chunked body.

    If `last` is given, it is called after the parts, and the body ends without its last chunk.
    """

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("content-type", content_type)
        handler.send_header("transfer-encoding", "chunked")
        handler.end_headers()
        for part in parts:
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            handler.wfile.flush()
        if last is None:
            handler.wfile.write(b"0\r\n\r\n")
        else:
            last()
            handler.close_connection = True

    return answer


def nothing(handler: BaseHTTPRequestHandler) -> None:
    """Close the connection without a response."""
    handler.close_connection = True
