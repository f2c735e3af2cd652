"""Responses in the formats of the two providers, valid ones and errors."""

from __future__ import annotations

import json
from typing import Any

from tests.integrations.http.scripted import Answer, chunks, status

JSON = dict[str, Any]


def openai_whole(text: str) -> Answer:
    """Respond with a chat completion of OpenAI."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return answer({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]})


def openai_stream(*texts: str, stops: bool = False) -> Answer:
    """Stream a chat completion of OpenAI; with `stops`, break off after the texts."""
    parts = [f"data: {json.dumps(openai_chunk(text))}\n\n".encode() for text in texts]
    return chunks(*parts, last=lambda: None) if stops else chunks(*parts, b"data: [DONE]\n\n")


def openai_chunk(text: str) -> JSON:
    """Return a chunk of a streamed chat completion."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def anthropic_message(*content: JSON) -> JSON:
    """Return a message of Anthropic."""
    return {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "content": list(content),
        "model": "m",
        "stop_reason": "end_turn" if content else None,
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }


def anthropic_whole(text: str) -> Answer:
    """Respond with a message of Anthropic."""
    return answer(anthropic_message({"type": "text", "text": text}))


def anthropic_stream(*texts: str, stops: bool = False) -> Answer:
    """Stream a message of Anthropic; with `stops`, break off after the texts."""
    deltas = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}} for text in texts
    ]
    opening = [
        {"type": "message_start", "message": anthropic_message()},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    ]
    closing = [
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
    ]
    events = opening + deltas + ([] if stops else closing)
    parts = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]
    return chunks(*parts, last=lambda: None) if stops else chunks(*parts)


def overloaded(**headers: str) -> Answer:
    """Respond as Anthropic does when it is overloaded."""
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    return answer(error, 529, headers)


def rate_limited(**headers: str) -> Answer:
    """Respond as both providers do when a client exceeds its rate limit."""
    error = {"message": "Rate limit reached", "type": "rate_limit_error", "code": "rate_limit_exceeded"}
    return answer({"type": "error", "error": error}, 429, headers)


def answer(body: JSON, code: int = 200, headers: dict[str, str] | None = None) -> Answer:
    """Respond with JSON; `_` in the names of headers stands for `-`."""
    named = {name.replace("_", "-"): value for name, value in (headers or {}).items()}
    return status(code, named, json.dumps(body).encode())
