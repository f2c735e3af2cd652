"""Two LLM providers with one breaker each: when one fails, the other answers.

The program uses the SDKs of OpenAI and Anthropic. The providers are servers on this machine that fail as the real ones
do. The breakers use a fake clock, so that 30 seconds pass at once.
"""

from __future__ import annotations

import anthropic
import openai
from llm_parts.providers import Provider

from swarmguard import CircuitBreakerConfig, CircuitBreakerRegistry, CircuitOpenError, Event
from swarmguard.httpx2 import CircuitBreakerTransport, CircuitOpenTransportError
from swarmguard.testing import FakeClock

QUESTION = [{"role": "user", "content": "What is a circuit breaker?"}]


class ProviderDownError(CircuitOpenTransportError, openai.OpenAIError, anthropic.AnthropicError):
    """A refusal. To the SDKs it is an error of their own, so they neither retry nor wrap it."""


class Assistant:
    """Asks the first provider, and the second one if the first cannot answer."""

    def __init__(self, first: Provider, second: Provider, registry: CircuitBreakerRegistry) -> None:
        transport = CircuitBreakerTransport(registry, refusal=ProviderDownError)
        self.gpt = openai.OpenAI(
            api_key="none",
            base_url=f"{first.url}/v1",
            http_client=openai.DefaultHttpxClient(transport=transport),
            max_retries=0,  # so that the requests below are easy to count; the default works as well
        )
        self.claude = anthropic.Anthropic(
            api_key="none",
            base_url=second.url,
            http_client=anthropic.DefaultHttpxClient(transport=transport),
            max_retries=0,
        )

    def ask(self) -> str:
        """Return an answer, and which provider gave it."""
        try:
            stream = self.gpt.chat.completions.create(model="gpt", messages=QUESTION, stream=True)
            return "gpt: " + "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        except openai.OpenAIError as error:
            why = "not asked" if isinstance(error, CircuitOpenError) else type(error).__name__
            with self.claude.messages.stream(model="claude", max_tokens=100, messages=QUESTION) as stream:
                return f"claude: {stream.get_final_text()} (gpt: {why})"


def report(event: Event) -> None:
    """Print what happens to a circuit."""
    print(f"   -- {event.payload['name']}: {event.topic.removeprefix('arb.swarm.')}")


def main() -> None:
    """Ask while the first provider fails in different ways."""
    clock = FakeClock()
    config = CircuitBreakerConfig(failure_threshold=2, success_threshold=1)
    registry = CircuitBreakerRegistry(config, clock=clock, sink=report)
    with Provider("gpt").running() as first, Provider("claude").running() as second:
        assistant = Assistant(first, second, registry)

        print("Both providers work.")
        print("  ", assistant.ask())

        print("The streams of the first provider break off. After two failures, it gets no more requests.")
        first.fault = "cut"
        for _ in range(4):
            print("  ", assistant.ask())
        assert (first.requests, second.requests) == (3, 4)

        print("Half a minute later it works again: the next request is a probe.")
        first.fault = None
        clock.advance(30)
        print("  ", assistant.ask())

        print("It is rate limited, and its Retry-After says 45 seconds.")
        first.fault = "rate limit"
        for _ in range(3):
            print("  ", assistant.ask())
        waits = {breaker.name: breaker.retry_after for breaker in registry if breaker.retry_after}
        print("   ", *(f"{name} gets no requests for {seconds:.0f} s" for name, seconds in waits.items()))
        assert list(waits.values()) == [45.0]

        assistant.gpt.close()
        assistant.claude.close()


if __name__ == "__main__":
    main()
