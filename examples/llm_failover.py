"""Two LLM providers, one breaker each: when one is in trouble, the other answers.

The SDKs are the real ones. The providers are servers on loopback that fail as the real ones do, and the breakers' clock
is a fake one, so that thirty seconds pass at once.
"""

from __future__ import annotations

import anthropic
import openai
from llm_parts.providers import Provider

from swarmguard import CircuitBreakerConfig, CircuitBreakerRegistry, CircuitOpenError, Event
from swarmguard.httpx2 import CircuitBreakerTransport, CircuitOpenTransportError
from swarmguard.testing import FakeClock

QUESTION = [{"role": "user", "content": "How do I get rich?"}]


class ProviderDownError(CircuitOpenTransportError, openai.OpenAIError, anthropic.AnthropicError):
    """A refusal. The SDKs take it for an error of their own, which they neither retry nor wrap."""


class Desk:
    """Asks the first provider, and the second one when the first cannot answer."""

    def __init__(self, first: Provider, second: Provider, registry: CircuitBreakerRegistry) -> None:
        transport = CircuitBreakerTransport(registry, refusal=ProviderDownError)
        self.gpt = openai.OpenAI(
            api_key="none",
            base_url=f"{first.url}/v1",
            http_client=openai.DefaultHttpxClient(transport=transport),
            max_retries=0,  # so that the story below is easy to count; the SDK's default works as well
        )
        self.claude = anthropic.Anthropic(
            api_key="none",
            base_url=second.url,
            http_client=anthropic.DefaultHttpxClient(transport=transport),
            max_retries=0,
        )

    def ask(self) -> str:
        """Return an answer, and say who gave it."""
        try:
            stream = self.gpt.chat.completions.create(model="gpt", messages=QUESTION, stream=True)
            return "gpt: " + "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        except openai.OpenAIError as error:
            why = "not asked" if isinstance(error, CircuitOpenError) else type(error).__name__
            with self.claude.messages.stream(model="claude", max_tokens=100, messages=QUESTION) as stream:
                return f"claude: {stream.get_final_text()} (gpt: {why})"


def say(event: Event) -> None:
    """Print an event."""
    print(f"   -- {event.payload['name']}: {event.topic.removeprefix('arb.swarm.')}")


def main() -> None:
    """Tell the story."""
    clock = FakeClock()
    config = CircuitBreakerConfig(failure_threshold=2, success_threshold=1)
    registry = CircuitBreakerRegistry(config, clock=clock, sink=say)
    with Provider("gpt").running() as first, Provider("claude").running() as second:
        desk = Desk(first, second, registry)

        print("Both are well.")
        print("  ", desk.ask())

        print("The first one's streams stop half-way. Two of them, and it is not asked any more.")
        first.trouble = "cut"
        for _ in range(4):
            print("  ", desk.ask())
        assert (first.asked, second.asked) == (3, 4)

        print("Half a minute later it is asked again, and is well.")
        first.trouble = None
        clock.advance(30)
        print("  ", desk.ask())

        print("It has too many customers, and asks for 45 seconds.")
        first.trouble = "rate limit"
        for _ in range(3):
            print("  ", desk.ask())
        waits = {breaker.name: breaker.retry_after for breaker in registry if breaker.retry_after}
        print("   ", *(f"{name} is left alone for {seconds:.0f} s" for name, seconds in waits.items()))
        assert list(waits.values()) == [45.0]

        desk.gpt.close()
        desk.claude.close()


if __name__ == "__main__":
    main()
