"""Keep a swarm of agents alive: circuit breakers for the services they call, an overseer for the agents themselves.

A name is loaded when it is first used, so a program that only guards its calls never loads the overseer. `import
swarmguard` alone takes a sixth of the time of importing attrs and anyio; with every name it would take 2.5 times that.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swarmguard._breaker.breaker import CircuitBreaker as CircuitBreaker
    from swarmguard._breaker.config import CircuitBreakerConfig as CircuitBreakerConfig
    from swarmguard._breaker.permit import Permit as Permit
    from swarmguard._breaker.policy import ConsecutiveFailures as ConsecutiveFailures
    from swarmguard._breaker.policy import CountWindow as CountWindow
    from swarmguard._breaker.policy import FailureRate as FailureRate
    from swarmguard._breaker.policy import TimeWindow as TimeWindow
    from swarmguard._breaker.registry import CircuitBreakerRegistry as CircuitBreakerRegistry
    from swarmguard._breaker.values import BreakerStatus as BreakerStatus
    from swarmguard._breaker.values import CallRecord as CallRecord
    from swarmguard._overseer.config import OverseerConfig as OverseerConfig
    from swarmguard._overseer.handle import AgentHandle as AgentHandle
    from swarmguard._overseer.overseer import Overseer as Overseer
    from swarmguard._overseer.values import AgentHealth as AgentHealth
    from swarmguard._overseer.values import AgentStatus as AgentStatus
    from swarmguard._overseer.values import SwarmHealth as SwarmHealth
    from swarmguard._overseer.values import SwarmStatus as SwarmStatus
    from swarmguard.bus import EventBus as EventBus
    from swarmguard.circuit import BreakerMode as BreakerMode
    from swarmguard.circuit import CircuitState as CircuitState
    from swarmguard.clock import Clock as Clock
    from swarmguard.clock import SystemClock as SystemClock
    from swarmguard.errors import AgentExhaustedError as AgentExhaustedError
    from swarmguard.errors import CircuitBreakerError as CircuitBreakerError
    from swarmguard.errors import CircuitOpenError as CircuitOpenError
    from swarmguard.errors import DuplicateAgentError as DuplicateAgentError
    from swarmguard.errors import StaleAgentError as StaleAgentError
    from swarmguard.errors import SwarmGuardError as SwarmGuardError
    from swarmguard.errors import UnknownAgentError as UnknownAgentError
    from swarmguard.events import Event as Event
else:
    from importlib import import_module as _import_module

    _HOMES = {
        "swarmguard._breaker.breaker": ("CircuitBreaker",),
        "swarmguard._breaker.config": ("CircuitBreakerConfig",),
        "swarmguard._breaker.permit": ("Permit",),
        "swarmguard._breaker.registry": ("CircuitBreakerRegistry",),
        "swarmguard._breaker.values": ("BreakerStatus", "CallRecord"),
        "swarmguard._breaker.policy": ("ConsecutiveFailures", "CountWindow", "FailureRate", "TimeWindow"),
        "swarmguard._overseer.config": ("OverseerConfig",),
        "swarmguard._overseer.handle": ("AgentHandle",),
        "swarmguard._overseer.overseer": ("Overseer",),
        "swarmguard._overseer.values": ("AgentHealth", "AgentStatus", "SwarmHealth", "SwarmStatus"),
        "swarmguard.bus": ("EventBus",),
        "swarmguard.circuit": ("BreakerMode", "CircuitState"),
        "swarmguard.clock": ("Clock", "SystemClock"),
        "swarmguard.errors": (
            "AgentExhaustedError",
            "CircuitBreakerError",
            "CircuitOpenError",
            "DuplicateAgentError",
            "StaleAgentError",
            "SwarmGuardError",
            "UnknownAgentError",
        ),
        "swarmguard.events": ("Event",),
    }
    _HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

    __all__ = [*_HOME_OF]  # noqa: PLE0604 - strings all of them

    def __getattr__(name: str) -> object:
        try:
            home = _HOME_OF[name]
        except KeyError:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
        value = globals()[name] = getattr(_import_module(home), name)
        return value

    def __dir__() -> list[str]:
        return __all__
