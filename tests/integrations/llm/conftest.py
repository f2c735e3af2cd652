"""The SDKs of both providers, sync and async, with a transport with breakers and a server on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import anthropic
import openai
import pytest

from swarmguard import CallRecord, CircuitBreakerConfig, CircuitBreakerRegistry
from swarmguard.httpx2 import AsyncCircuitBreakerTransport, CircuitBreakerTransport, CircuitOpenTransportError
from swarmguard.testing import FakeClock
from tests.integrations.http.scripted import ScriptedServer
from tests.integrations.llm import wire

MESSAGES = [{"role": "user", "content": "What is the price of SOL?"}]


class ProviderDownError(CircuitOpenTransportError, openai.OpenAIError, anthropic.AnthropicError):
    """A refusal that both SDKs treat as an error of their own, which they neither retry nor wrap."""


class Provider:
    """An SDK, sync or async, behind one async interface.

    Attributes:
        sdk: The SDK's module.
        server: The server that plays the provider.
        outcomes: The outcomes of the breaker's calls.
    """

    def __init__(
        self, name: Literal["openai", "anthropic"], is_async: bool, server: ScriptedServer, clock: FakeClock
    ) -> None:
        self.sdk: Any = {"openai": openai, "anthropic": anthropic}[name]
        self.is_async = is_async
        self.server = server
        self.outcomes: list[str] = []
        self.registry = CircuitBreakerRegistry(
            CircuitBreakerConfig(failure_threshold=2, success_threshold=1), clock=clock, observer=self._observe
        )
        self.whole = getattr(wire, f"{name}_whole")
        self.stream = getattr(wire, f"{name}_stream")

    def _observe(self, record: CallRecord) -> None:
        self.outcomes.append(record.outcome)

    @asynccontextmanager
    async def open(self, *, max_retries: int = 0, **kwargs: Any) -> AsyncIterator[Any]:
        """Open a client of the SDK with a transport with breakers."""
        prefix = "Async" if self.is_async else ""
        transport = AsyncCircuitBreakerTransport if self.is_async else CircuitBreakerTransport
        http_client = getattr(self.sdk, f"Default{prefix}HttpxClient")(transport=transport(self.registry, **kwargs))
        make = getattr(self.sdk, prefix + {openai: "OpenAI", anthropic: "Anthropic"}[self.sdk])
        base_url = self.server.url + ("/v1" if self.sdk is openai else "")
        client = make(api_key="k", base_url=base_url, http_client=http_client, max_retries=max_retries)
        if self.is_async:
            async with client:
                yield client
        else:
            with client:
                yield client

    async def ask(self, client: Any) -> str:
        """Ask for a complete response and return its text."""
        answer = await self._create(client)
        return answer.choices[0].message.content if self.sdk is openai else answer.content[0].text

    async def stream_texts(self, client: Any) -> list[str]:
        """Ask for a streamed response and return the texts that arrive."""
        stream = await self._create(client, stream=True)
        texts: list[str] = []
        if self.is_async:
            async for event in stream:
                texts += self._texts(event)
        else:
            for event in stream:
                texts += self._texts(event)
        return texts

    async def _create(self, client: Any, **kwargs: Any) -> Any:
        if self.sdk is openai:
            answer = client.chat.completions.create(model="m", messages=MESSAGES, **kwargs)
        else:
            answer = client.messages.create(model="m", max_tokens=9, messages=MESSAGES, **kwargs)
        return await answer if self.is_async else answer

    def _texts(self, event: Any) -> list[str]:
        if self.sdk is openai:
            return [event.choices[0].delta.content]
        return [event.delta.text] if event.type == "content_block_delta" else []


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """Run a server with scripted responses."""
    with ScriptedServer().running() as server:
        yield server


@pytest.fixture(params=["openai", "anthropic"])
def sdk(request: pytest.FixtureRequest) -> str:
    """Return the name of an SDK."""
    return request.param


@pytest.fixture(params=["sync", "async"])
def provider(request: pytest.FixtureRequest, sdk: Any, server: ScriptedServer, clock: FakeClock) -> Provider:
    """Return a provider and its SDK."""
    return Provider(sdk, request.param == "async", server, clock)
