"""The SDKs of OpenAI and Anthropic with a transport with breakers."""

from __future__ import annotations

import anthropic
import openai
import pytest

from swarmguard import CircuitOpenError, CircuitState
from tests.integrations.http.scripted import Answer, nothing
from tests.integrations.llm.conftest import Provider, ProviderDownError
from tests.integrations.llm.wire import overloaded, rate_limited

pytestmark = [
    pytest.mark.anyio,
    # On trio: OpenAI's SDK stops reading at `[DONE]` and does not close the client's generators.
    pytest.mark.filterwarnings(r"ignore:Async generator '(openai|httpx2|httpcore2)\.:ResourceWarning"),
]


async def test_responses_are_unchanged(provider: Provider) -> None:
    """A complete response and a streamed one are successes, and are returned unchanged."""
    provider.server.script.extend([provider.whole("42"), provider.stream("4", "2")])
    async with provider.open() as client:
        assert await provider.ask(client) == "42"
        assert await provider.stream_texts(client) == ["4", "2"]
    assert provider.outcomes == ["success", "success"]


@pytest.mark.parametrize("failure", [overloaded(), rate_limited(), nothing], ids=["529", "429", "no answer"])
async def test_a_failing_provider(provider: Provider, failure: Answer) -> None:
    """The SDK raises its own error while the circuit is closed, and the refusal when it is open."""
    provider.server.script.extend([failure, failure])
    async with provider.open(refusal=ProviderDownError) as client:
        for _ in range(2):
            with pytest.raises(provider.sdk.APIError):
                await provider.ask(client)
        with pytest.raises(CircuitOpenError) as caught:
            await provider.ask(client)
    assert caught.value.name == provider.server.host
    assert provider.outcomes == ["failure", "failure", "refused"]


async def test_a_stream_that_breaks_off(provider: Provider) -> None:
    """A stream that breaks off is a failure, although the status was 200."""
    provider.server.script.append(provider.stream("4", stops=True))
    async with provider.open() as client:
        with pytest.raises((provider.sdk.APIError, provider.sdk.APIConnectionError, Exception)) as caught:
            await provider.stream_texts(client)
    assert not isinstance(caught.value, CircuitOpenError)
    assert provider.outcomes == ["failure"]


async def test_retry_after(provider: Provider, clock) -> None:
    """The circuit stays open for the seconds of `Retry-After`. [B18]"""
    provider.server.script.extend([rate_limited(retry_after="60")] * 2)
    async with provider.open(refusal=ProviderDownError) as client:
        for _ in range(2):
            with pytest.raises(provider.sdk.RateLimitError):
                await provider.ask(client)
        clock.advance(59)
        with pytest.raises(CircuitOpenError) as caught:
            await provider.ask(client)
    assert caught.value.retry_after == pytest.approx(1)


async def test_a_refusal_is_not_retried(provider: Provider) -> None:
    """A refusal with the SDK's error class is neither retried nor wrapped."""
    provider.registry.get_or_create(provider.server.host).trip()
    async with provider.open(refusal=ProviderDownError, max_retries=5) as client:
        with pytest.raises(CircuitOpenError) as caught:
            await provider.ask(client)
        with pytest.raises({openai: openai.OpenAIError, anthropic: anthropic.AnthropicError}[provider.sdk]):
            await provider.stream_texts(client)
    assert type(caught.value) is ProviderDownError
    assert provider.outcomes == ["refused", "refused"]
    assert provider.server.requests == []


async def test_retries_end_when_the_circuit_opens(provider: Provider) -> None:
    """Each attempt of the SDK counts, and a refused attempt is the last."""
    provider.server.script.extend([overloaded(retry_after_ms="1")] * 9)
    async with provider.open(refusal=ProviderDownError, max_retries=5) as client:
        with pytest.raises(ProviderDownError):
            await provider.ask(client)
    assert provider.outcomes == ["failure", "failure", "refused"]
    assert len(provider.server.requests) == 2


async def test_a_refusal_without_retries(provider: Provider) -> None:
    """With `max_retries=0`, a plain refusal is the cause of the SDK's connection error."""
    provider.registry.get_or_create(provider.server.host).trip()
    async with provider.open(max_retries=0) as client:
        with pytest.raises(provider.sdk.APIConnectionError) as caught:
            await provider.ask(client)
    assert isinstance(caught.value.__cause__, CircuitOpenError)
    assert provider.outcomes == ["refused"]


async def test_recovery(provider: Provider, clock) -> None:
    """When the open time has passed, completed streams close the circuit."""
    breaker = provider.registry.get_or_create(provider.server.host)
    breaker.trip(5)
    clock.advance(5)
    async with provider.open() as client:
        for _ in range(3):
            provider.server.script.append(provider.stream("4", "2"))
            await provider.stream_texts(client)
    assert breaker.state is CircuitState.CLOSED
