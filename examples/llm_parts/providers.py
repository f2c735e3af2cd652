"""Local servers with the formats of OpenAI and Anthropic, which fail on demand."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Provider:
    """A server that answers like an LLM provider.

    Args:
        name: The name of the model in its answers.

    Attributes:
        fault: `"overloaded"` (status 529), `"rate limit"` (429 with Retry-After), `"cut"` (a stream that breaks off),
            or None.
        requests: The number of requests so far.
        url: The URL of the server.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.fault: str | None = None
        self.requests = 0
        self._server = Server(("127.0.0.1", 0), partial(Handler, self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @contextmanager
    def running(self) -> Iterator[Provider]:
        """Serve during a `with` block."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()


class Server(ThreadingHTTPServer):
    """An HTTP server that ignores clients that close their connection early."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing."""


class Handler(BaseHTTPRequestHandler):
    """Handles the requests of one connection."""

    protocol_version = "HTTP/1.1"

    def __init__(self, provider: Provider, *args: Any) -> None:
        self.provider = provider
        super().__init__(*args)

    def do_POST(self) -> None:
        """Answer a request, or fail as `fault` says."""
        question = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.provider.requests += 1
        whole, events = (
            (openai_answer, openai_events)
            if self.path.endswith("/chat/completions")
            else (anthropic_answer, anthropic_events)
        )
        if self.provider.fault == "overloaded":
            self.reply(529, {"error": {"type": "overloaded_error", "message": "Overloaded"}})
        elif self.provider.fault == "rate limit":
            self.reply(429, {"error": {"message": "Rate limit reached"}}, {"retry-after": "45"})
        elif question.get("stream"):
            self.stream(events(self.provider.name))
        else:
            self.reply(200, whole(self.provider.name))

    def reply(self, status: int, body: dict[str, object], headers: dict[str, str] | None = None) -> None:
        """Send a JSON response."""
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"content-type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def stream(self, events: Iterator[str]) -> None:
        """Send a stream of events, and break it off after two of them if the fault is `cut`."""
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for count, event in enumerate(events):
            if self.provider.fault == "cut" and count == 2:
                self.close_connection = True
                return
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event.encode()))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *args: object) -> None:
        """Print nothing."""


WORDS = ("It", " refuses", " hopeless", " calls.")


def openai_answer(model: str) -> dict[str, object]:
    """Return an answer in OpenAI's format."""
    choice = {"index": 0, "message": {"role": "assistant", "content": "".join(WORDS)}, "finish_reason": "stop"}
    return {"id": "1", "object": "chat.completion", "created": 0, "model": model, "choices": [choice]}


def openai_events(model: str) -> Iterator[str]:
    """Return the events of a streamed answer in OpenAI's format."""
    for word in WORDS:
        choice = {"index": 0, "delta": {"content": word}, "finish_reason": None}
        chunk = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": model, "choices": [choice]}
        yield f"data: {json.dumps(chunk)}\n\n"
    yield "data: [DONE]\n\n"


def anthropic_answer(model: str, *, text: str | None = "".join(WORDS)) -> dict[str, object]:
    """Return an answer in Anthropic's format; with `text=None`, the beginning of a stream."""
    return {
        "id": "1",
        "type": "message",
        "role": "assistant",
        "content": [] if text is None else [{"type": "text", "text": text}],
        "model": model,
        "stop_reason": None if text is None else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }


def anthropic_events(model: str) -> Iterator[str]:
    """Return the events of a streamed answer in Anthropic's format."""
    events: list[dict[str, object]] = [
        {"type": "message_start", "message": anthropic_answer(model, text=None)},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}} for word in WORDS),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}},
        {"type": "message_stop"},
    ]
    for event in events:
        yield f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"
