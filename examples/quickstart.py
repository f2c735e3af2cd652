"""An agent that dies of a service that is down, and its second life, in which a circuit breaker spares it the calls."""

import anyio

from swarmguard import AgentHandle, CircuitBreaker, CircuitBreakerConfig, CircuitOpenError, Overseer

breaker = CircuitBreaker("quotes", CircuitBreakerConfig(failure_threshold=1), sink=lambda event: print(event.topic))
overseer = Overseer(sink=lambda event: print(event.topic, event.payload.get("error", "")))


@breaker.with_fallback(lambda symbol: f"{symbol} was at 101.7 an hour ago")
def quote(symbol: str) -> str:
    """Ask a service that is down."""
    raise ConnectionError(f"no answer about {symbol}")


async def scanner(agent: AgentHandle) -> None:
    """Crash in the first life, when the call fails; do well in the second, when it is refused."""
    print(f"  {agent.agent_type} asks for a quote")
    print(f"  {agent.agent_type} has: {quote('SOL')}")


anyio.run(overseer.supervise, "Scanner", scanner)  # starts it, and starts it again after the crash
try:
    breaker.call(print, "this is not printed")
except CircuitOpenError as refusal:
    print(refusal)
