"""Both halves of swarmguard in one small program.

An agent calls a weather API that is down, and crashes. The overseer restarts it. The circuit is open now, so the
restarted agent gets the fallback instead of another error.
"""

import anyio

from swarmguard import AgentHandle, CircuitBreaker, CircuitBreakerConfig, Event, Overseer


def report(event: Event) -> None:
    """Print what happens to the circuit and the agent."""
    print(event.topic.removeprefix("arb.swarm."), event.payload.get("error", ""))


breaker = CircuitBreaker("weather", CircuitBreakerConfig(failure_threshold=1), sink=report)
overseer = Overseer(sink=report)


@breaker.with_fallback(lambda city: f"sunny in {city}, an hour ago")
def forecast(city: str) -> str:
    """Stand in for a request to an API that is down."""
    raise ConnectionError(f"no forecast for {city}")


async def forecaster(agent: AgentHandle) -> None:
    """Print one forecast."""
    print(f"  {agent.agent_type} asks for a forecast")
    print(f"  {agent.agent_type} has one: {forecast('Oslo')}")


anyio.run(overseer.supervise, "Forecaster", forecaster)
