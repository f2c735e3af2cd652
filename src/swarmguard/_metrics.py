"""The part of the metrics that is the same for Prometheus and OpenTelemetry.

Counters count events and call records as they come. Gauges read the watched objects when the metrics are collected, so
they are always current and cost nothing between two collections.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Protocol, Union, runtime_checkable
from weakref import ref

import attrs

from swarmguard._breaker.breaker import CircuitBreaker
from swarmguard._breaker.registry import CircuitBreakerRegistry
from swarmguard._breaker.values import CallRecord, Outcome
from swarmguard._common.fields import wrong_type
from swarmguard.circuit import CircuitState
from swarmguard.events import Event

if TYPE_CHECKING:
    from swarmguard._overseer.overseer import Overseer
    from swarmguard._overseer.values import AgentHealth, AgentStatus

Watchable = Union[CircuitBreakerRegistry, CircuitBreaker, "Overseer"]
"""The types that `Metrics.watch` takes."""

BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Upper bounds of the histogram of call durations, in seconds: wide enough for a cache and for a language model."""

# The descriptions of the metrics, shown by both libraries.
STATE: Final = "1 for the state that the circuit is in, 0 for the others."
TRANSITIONS: Final = "Transitions of a circuit, by the new state and the reason."
CALLS: Final = "Calls by outcome; a refused call did not run."
DURATION: Final = "Duration of the calls that ran."
AGENTS: Final = "Registered agents by health."
HEARTBEAT_AGE: Final = "Longest time that an agent of the type has gone without a heartbeat."
RESTARTS: Final = "Restarts that brought an agent back."
EXHAUSTIONS: Final = "Number of times an agent was Dead with no restart left."


class Metrics(ABC):
    """A sink and an observer that count, and a list of the objects whose states are read.

    Args:
        watched: The objects that the gauges read.
    """

    def __init__(self, watched: WatchList) -> None:
        self._watched = watched

    def __call__(self, event: Event) -> None:
        """Count an event. This makes the metrics a sink.

        Args:
            event: An event of a breaker or an overseer. Transitions of circuits, restarts and exhaustions of agents
                are counted; other events are not.
        """
        match event.topic.split(".")[-2:], event.payload:
            case (
                ["circuit", "opened" | "half_opened" | "closed"],
                {"name": str(name), "state": str(state), "reason": str(reason)},
            ):
                self._count_transition(as_text(name), state, reason)
            case ["agent", "recovered"], {"agent_type": str(agent_type), "reason": "restart"}:
                self._count_restart(as_text(agent_type))
            case ["agent", "exhausted"], {"agent_type": str(agent_type)}:
                self._count_exhaustion(as_text(agent_type))
            case _:  # not counted; some of it shows in a gauge
                pass

    def observe(self, record: CallRecord) -> None:
        """Count a call, and record its duration if it ran. Pass this as the `observer` of a breaker or a registry.

        Args:
            record: The record of the call.
        """
        self._count_call(as_text(record.name), record.outcome, record.seconds)

    def watch(self, *watched: Watchable) -> None:
        """Show the states of these objects in the gauges from now on.

        They are held weakly: an object that the program has dropped is no longer shown. Watching an object twice is
        the same as watching it once.

        Args:
            watched: Overseers, registries and single breakers. An overseer shows its agents, and the circuits of its
                registry if it has one.

        Raises:
            TypeError: An argument is none of these. None of the arguments is watched then.
        """
        self._watched.add(watched)

    @abstractmethod
    def _count_transition(self, name: str, state: str, reason: str) -> None: ...

    @abstractmethod
    def _count_restart(self, agent_type: str) -> None: ...

    @abstractmethod
    def _count_exhaustion(self, agent_type: str) -> None: ...

    @abstractmethod
    def _count_call(self, name: str, outcome: Outcome, seconds: float) -> None: ...


@attrs.define
class AgentGroup:
    """The agents of one type.

    Attributes:
        by_health: The number of agents of each health.
        heartbeat_age: The longest time since an agent's last heartbeat, in seconds.
    """

    by_health: dict[AgentHealth, int]
    heartbeat_age: float = 0.0

    def add(self, agent: AgentStatus) -> None:
        """Add an agent to the counts."""
        self.by_health[agent.health] += 1
        self.heartbeat_age = max(self.heartbeat_age, agent.seconds_since_heartbeat)


@runtime_checkable
class _HasAgents(Protocol):
    @property
    def registry(self) -> CircuitBreakerRegistry | None: ...

    def get_all_agent_statuses(self) -> list[AgentStatus]: ...


class WatchList:
    """Weak references to the watched objects. Thread-safe: the tuple of references is replaced, never changed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._references: tuple[ref[Watchable], ...] = ()

    def add(self, watched: tuple[Watchable, ...]) -> None:
        """Add objects that are not on the list yet.

        Raises:
            TypeError: An object cannot be watched. The list is unchanged.
        """
        for one in watched:
            if not isinstance(one, CircuitBreakerRegistry | CircuitBreaker | _HasAgents):
                wrong_type("what is watched", "a CircuitBreakerRegistry, a CircuitBreaker or an Overseer", one)
        with self._lock:
            self._references = tuple(ref(one) for one in dict.fromkeys([*self._alive(), *watched]))

    def circuits(self) -> dict[str, CircuitState]:
        """Return the state of every circuit by name. If two have the same name, one that is not closed wins."""
        states: dict[str, CircuitState] = {}
        for breaker in self._breakers():
            name, state = as_text(breaker.name), breaker.state
            if state is not CircuitState.CLOSED:
                states[name] = state
            else:
                states.setdefault(name, state)
        return states

    def agent_groups(self) -> dict[str, AgentGroup]:
        """Return the agents grouped by type."""
        groups: dict[str, AgentGroup] = {}
        for agent in self._agents():
            agent_type = as_text(agent.agent_type)
            group = groups.get(agent_type)
            if group is None:  # with a 0 for every health, so that no series is missing
                group = groups[agent_type] = AgentGroup(dict.fromkeys(type(agent.health), 0))
            group.add(agent)
        return groups

    def _breakers(self) -> Iterator[CircuitBreaker]:
        for watched in self._alive():
            source = watched.registry if isinstance(watched, _HasAgents) else watched
            if isinstance(source, CircuitBreakerRegistry):
                yield from source
            elif isinstance(source, CircuitBreaker):
                yield source

    def _agents(self) -> Iterator[AgentStatus]:
        for watched in self._alive():
            if isinstance(watched, _HasAgents):
                yield from watched.get_all_agent_statuses()

    def _alive(self) -> Iterator[Watchable]:
        return (watched for reference in self._references if (watched := reference()) is not None)


def as_text(name: str) -> str:
    """Return the name as text that can be encoded as UTF-8, with lone surrogates escaped."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
