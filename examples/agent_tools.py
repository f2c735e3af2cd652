"""An LLM agent whose tool calls a service by a breaker, and which an overseer keeps alive.

The agent is pydantic-ai's, its model a function that plays the model's part, so no network is needed. The service is
down at first, the model talks nonsense once, and all of it ends well.
"""

from __future__ import annotations

import anyio
from pydantic_ai import Agent, ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from swarmguard import (
    AgentHandle,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitOpenError,
    Event,
    Overseer,
    OverseerConfig,
)


def say(event: Event) -> None:
    """Print an event."""
    print(f"      -- {event.topic.removeprefix('arb.swarm.')} {event.payload.get('reason', '')}".rstrip())


class QuoteService:
    """Down for the first two calls."""

    def __init__(self) -> None:
        self.calls = 0

    async def quote(self, pair: str) -> float:
        """Return a price."""
        self.calls += 1
        if self.calls <= 2:
            raise ConnectionError(f"no answer for {pair}")
        return 101.5


def model(messages: list[ModelMessage], _info: AgentInfo) -> ModelResponse:
    """Play the model: ask for a quote, and then tell what came."""
    last = messages[-1].parts[-1]
    if isinstance(last, ToolReturnPart):
        return ModelResponse(parts=[TextPart(f"I have looked: {last.content}")])
    return ModelResponse(parts=[ToolCallPart("quote", {"pair": "SOL/USDC"})])


async def main() -> None:
    """Tell the story."""
    service = QuoteService()
    config = CircuitBreakerConfig(failure_threshold=2, success_threshold=1, timeout_duration=0.05)
    breaker = CircuitBreaker("quotes", config, sink=say)
    trader = Agent(FunctionModel(model))

    @trader.tool_plain
    async def quote(pair: str) -> str:
        """Return the price of a pair."""
        try:
            return f"{await breaker.execute(service.quote, pair)} USDC"
        except CircuitOpenError:
            return "quotes are not to be had now"
        except ConnectionError as error:
            return str(error)

    turns = 0

    async def trade(agent: AgentHandle) -> None:
        """Ask until there is a price."""
        nonlocal turns
        while True:
            await agent.checkpoint()
            turns += 1
            if turns == 2:
                raise ValueError("the model talks nonsense")
            answer = (await trader.run("What is SOL worth?")).output
            print("trader:", answer)
            if answer.endswith(" USDC"):
                agent.success()
                return
            agent.failure(answer)
            if breaker.retry_after:
                await anyio.sleep(breaker.retry_after / 2 if turns < 5 else breaker.retry_after)

    overseer = Overseer(OverseerConfig(restart_cooldown_secs=0.01), sink=say)
    await overseer.supervise("Trader", trade, heartbeat="manual")
    print(f"The service was asked {service.calls} times in {turns - 1} turns.")


if __name__ == "__main__":
    anyio.run(main)
