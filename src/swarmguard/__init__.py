"""Keep a swarm of agents alive: circuit breakers for the services they call, an overseer for the agents themselves."""

from swarmguard._breaker.breaker import CircuitBreaker
from swarmguard._breaker.config import CircuitBreakerConfig
from swarmguard._breaker.permit import Permit
from swarmguard._breaker.registry import CircuitBreakerRegistry
from swarmguard._breaker.states import BreakerMode, BreakerStatus, CallRecord, CircuitState
from swarmguard._breaker.trip import ConsecutiveFailures, CountWindow, FailureRate, TimeWindow
from swarmguard._overseer.config import OverseerConfig
from swarmguard._overseer.handle import AgentHandle
from swarmguard._overseer.overseer import Overseer
from swarmguard._overseer.values import AgentHealth, AgentStatus, SwarmHealth, SwarmStatus
from swarmguard.bus import EventBus
from swarmguard.clock import Clock, SystemClock
from swarmguard.errors import (
    AgentExhaustedError,
    CircuitBreakerError,
    CircuitOpenError,
    DuplicateAgentError,
    StaleAgentError,
    SwarmGuardError,
    UnknownAgentError,
)
from swarmguard.events import Event

__all__ = [
    "AgentExhaustedError",
    "AgentHandle",
    "AgentHealth",
    "AgentStatus",
    "BreakerMode",
    "BreakerStatus",
    "CallRecord",
    "CircuitBreaker",
    "CircuitBreakerConfig",
    "CircuitBreakerError",
    "CircuitBreakerRegistry",
    "CircuitOpenError",
    "CircuitState",
    "Clock",
    "ConsecutiveFailures",
    "CountWindow",
    "DuplicateAgentError",
    "Event",
    "EventBus",
    "FailureRate",
    "Overseer",
    "OverseerConfig",
    "Permit",
    "StaleAgentError",
    "SwarmGuardError",
    "SwarmHealth",
    "SwarmStatus",
    "SystemClock",
    "TimeWindow",
    "UnknownAgentError",
]
