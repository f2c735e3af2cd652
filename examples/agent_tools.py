"""An LLM agent with a tool that calls a weather API through a breaker; an overseer supervises the agent.

The agent is a pydantic-ai agent, and its model is a plain function, so the program needs no network. The API is down at
first, and the model crashes the agent once. In the end the agent has its forecast.
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


def report(event: Event) -> None:
    """Print an event."""
    print(f"      -- {event.topic.removeprefix('arb.swarm.')} {event.payload.get('reason', '')}".rstrip())


class WeatherAPI:
    """A fake weather API that is down for the first two calls."""

    def __init__(self) -> None:
        self.calls = 0

    async def forecast(self, city: str) -> str:
        """Return the forecast for a city."""
        self.calls += 1
        if self.calls <= 2:
            raise ConnectionError(f"no forecast for {city}")
        return "sunny"


def model(messages: list[ModelMessage], _info: AgentInfo) -> ModelResponse:
    """Stand in for the model: call the tool, then report its answer."""
    last = messages[-1].parts[-1]
    if isinstance(last, ToolReturnPart):
        return ModelResponse(parts=[TextPart(f"The forecast is: {last.content}")])
    return ModelResponse(parts=[ToolCallPart("forecast", {"city": "Oslo"})])


async def main() -> None:
    """Run the agent until it has a forecast."""
    api = WeatherAPI()
    config = CircuitBreakerConfig(failure_threshold=2, success_threshold=1, timeout_duration=0.05)
    breaker = CircuitBreaker("weather", config, sink=report)
    assistant = Agent(FunctionModel(model))

    @assistant.tool_plain
    async def forecast(city: str) -> str:
        """Return the forecast for a city."""
        try:
            return await breaker.execute(api.forecast, city)
        except CircuitOpenError:
            return "not available at the moment"
        except ConnectionError as error:
            return str(error)

    turns = 0

    async def answer_question(agent: AgentHandle) -> None:
        """Ask the model until there is a forecast."""
        nonlocal turns
        while True:
            await agent.checkpoint()
            turns += 1
            if turns == 2:
                raise ValueError("the model returned an invalid answer")
            answer = (await assistant.run("What is the weather in Oslo?")).output
            print("assistant:", answer)
            if answer.endswith("sunny"):
                agent.success()
                return
            agent.failure(answer)
            if breaker.retry_after:
                await anyio.sleep(breaker.retry_after / 2 if turns < 5 else breaker.retry_after)

    overseer = Overseer(OverseerConfig(restart_cooldown_secs=0.01), sink=report)
    await overseer.supervise("Assistant", answer_question, heartbeat="manual")
    print(f"The API got {api.calls} calls in {turns - 1} turns.")


if __name__ == "__main__":
    anyio.run(main)
