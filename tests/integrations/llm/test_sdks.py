"""The OpenAI and Anthropic SDKs over our transport."""

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
    # On trio: OpenAI's SDK stops reading at `[DONE]`, and leaves the client's generators as they are.
    pytest.mark.filterwarnings(r"ignore:Async generator '(openai|httpx2|httpcore2)\.:ResourceWarning"),
]


async def test_answers_come_through(provider: Provider) -> None:
    """A whole answer and a streamed one are successes, and read as ever."""
    provider.server.script.extend([provider.whole("42"), provider.stream("4", "2")])
    async with provider.open() as client:
        assert await provider.ask(client) == "42"
        assert await provider.hear(client) == ["4", "2"]
    assert provider.outcomes == ["success", "success"]


@pytest.mark.parametrize("failure", [overloaded(), rate_limited(), nothing], ids=["529", "429", "no answer"])
async def test_a_provider_in_trouble(provider: Provider, failure: Answer) -> None:
    """The SDK's own error comes through while the circuit is closed, and a refusal when it is open."""
    provider.server.script.extend([failure, failure])
    async with provider.open(refusal=ProviderDownError) as client:
        for _ in range(2):
            with pytest.raises(provider.sdk.APIError):
                await provider.ask(client)
        with pytest.raises(CircuitOpenError) as caught:
            await provider.ask(client)
    assert caught.value.name == provider.server.host
    assert provider.outcomes == ["failure", "failure", "refused"]


async def test_a_stream_that_stops(provider: Provider) -> None:
    """An answer that breaks off is a failure, though it began with 200."""
    provider.server.script.append(provider.stream("4", stops=True))
    async with provider.open() as client:
        with pytest.raises((provider.sdk.APIError, provider.sdk.APIConnectionError, Exception)) as caught:
            await provider.hear(client)
    assert not isinstance(caught.value, CircuitOpenError)
    assert provider.outcomes == ["failure"]


async def test_retry_after(provider: Provider, clock) -> None:
    """A provider that asks for a minute gets a minute. [B18]"""
    provider.server.script.extend([rate_limited(retry_after="60")] * 2)
    async with provider.open(refusal=ProviderDownError) as client:
        for _ in range(2):
            with pytest.raises(provider.sdk.RateLimitError):
                await provider.ask(client)
        clock.advance(59)
        with pytest.raises(CircuitOpenError) as caught:
            await provider.ask(client)
    assert caught.value.retry_after == pytest.approx(1)


async def test_retries_do_not_multiply_a_refusal(provider: Provider) -> None:
    """A refusal that is an error of the SDK's own is neither retried nor wrapped: one refusal for one call."""
    provider.registry.get_or_create(provider.server.host).trip()
    async with provider.open(refusal=ProviderDownError, max_retries=5) as client:
        with pytest.raises(CircuitOpenError) as caught:
            await provider.ask(client)
        with pytest.raises({openai: openai.OpenAIError, anthropic: anthropic.AnthropicError}[provider.sdk]):
            await provider.hear(client)
    assert type(caught.value) is ProviderDownError
    assert provider.outcomes == ["refused", "refused"]
    assert provider.server.requests == []


async def test_retries_end_with_the_opening(provider: Provider) -> None:
    """Each of the SDK's attempts counts, and the first one that is refused is its last."""
    provider.server.script.extend([overloaded(retry_after_ms="1")] * 9)
    async with provider.open(refusal=ProviderDownError, max_retries=5) as client:
        with pytest.raises(ProviderDownError):
            await provider.ask(client)
    assert provider.outcomes == ["failure", "failure", "refused"]
    assert len(provider.server.requests) == 2


async def test_without_retries_any_refusal_will_do(provider: Provider) -> None:
    """With `max_retries=0` the refusal need not be the SDK's own: it is the cause of the SDK's connection error."""
    provider.registry.get_or_create(provider.server.host).trip()
    async with provider.open(max_retries=0) as client:
        with pytest.raises(provider.sdk.APIConnectionError) as caught:
            await provider.ask(client)
    assert isinstance(caught.value.__cause__, CircuitOpenError)
    assert provider.outcomes == ["refused"]


async def test_recovery(provider: Provider, clock) -> None:
    """When its time is up, a streamed answer that ends well closes the circuit again."""
    breaker = provider.registry.get_or_create(provider.server.host)
    breaker.trip(5)
    clock.advance(5)
    async with provider.open() as client:
        for _ in range(3):
            provider.server.script.append(provider.stream("4", "2"))
            await provider.hear(client)
    assert breaker.state is CircuitState.CLOSED
