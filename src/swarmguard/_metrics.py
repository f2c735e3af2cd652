"""What the metrics of both libraries share: which events and calls are counted, and what is read of who is watched.

Counters follow the events and the call records. Gauges are read when somebody asks for them, so they are never out of
date and cost nothing meanwhile.
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

Subject = Union[CircuitBreakerRegistry, CircuitBreaker, "Overseer"]
"""What can be watched."""

BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""The upper bounds in seconds of the durations' histogram: from a cache's answer to a language model's."""

# What the metrics are, in both libraries' words.
STATE: Final = "1 for the state that the circuit is in, 0 for the others."
TRANSITIONS: Final = "Changes of a circuit's state, by the state that it came to and the reason."
CALLS: Final = "Calls by what became of them; a refused call did not run."
DURATION: Final = "How long the calls that ran took."
AGENTS: Final = "Registered agents by health."
HEARTBEAT_AGE: Final = "Time since the last heartbeat of the agent that has been silent longest."
RESTARTS: Final = "Restarts that brought an agent back."
EXHAUSTIONS: Final = "Times that an agent was Dead with no restart left."


class Metrics(ABC):
    """A sink that counts, with an observer beside it, and what is watched.

    Args:
        watches: Where what is watched is kept.
    """

    def __init__(self, watches: Watches) -> None:
        self._watches = watches

    def __call__(self, event: Event) -> None:
        """Count an event: this makes the metrics a sink."""
        match event.topic.split(".")[-2:], event.payload:
            case (
                ["circuit", "opened" | "half_opened" | "closed"],
                {"name": str(name), "state": str(state), "reason": str(reason)},
            ):
                self._moved(as_text(name), state, reason)
            case ["agent", "recovered"], {"agent_type": str(agent_type), "reason": "restart"}:
                self._restarted(as_text(agent_type))
            case ["agent", "exhausted"], {"agent_type": str(agent_type)}:
                self._exhausted(as_text(agent_type))
            case _:  # what a gauge shows, or nobody counts
                pass

    def observe(self, record: CallRecord) -> None:
        """Count a call, and time it if it ran: give this to a breaker or a registry as its `observer`."""
        self._called(as_text(record.name), record.outcome, record.seconds)

    def watch(self, *subjects: Subject) -> None:
        """Show from now on, whenever the metrics are read, how these are doing.

        They are held weakly: what the program has dropped is no longer shown. Watching the same one again changes
        nothing.

        Args:
            subjects: Overseers, registries and single breakers. An overseer shows its agents, and the circuits of its
                registry if it has one.

        Raises:
            TypeError: One of them is none of these. Nothing is watched then.
        """
        self._watches.add(subjects)

    @abstractmethod
    def _moved(self, name: str, state: str, reason: str) -> None: ...

    @abstractmethod
    def _restarted(self, agent_type: str) -> None: ...

    @abstractmethod
    def _exhausted(self, agent_type: str) -> None: ...

    @abstractmethod
    def _called(self, name: str, outcome: Outcome, seconds: float) -> None: ...


@attrs.define
class Crew:
    """The agents of one type: how many are how well, and how long the most silent one has been so, in seconds."""

    by_health: dict[AgentHealth, int]
    heartbeat_age: float = 0.0

    def count(self, agent: AgentStatus) -> None:
        """Count an agent in."""
        self.by_health[agent.health] += 1
        self.heartbeat_age = max(self.heartbeat_age, agent.seconds_since_heartbeat)


@runtime_checkable
class _HasAgents(Protocol):
    @property
    def registry(self) -> CircuitBreakerRegistry | None: ...

    def get_all_agent_statuses(self) -> list[AgentStatus]: ...


class Watches:
    """What is watched, held weakly. Safe to use from any thread: the tuple is replaced, never changed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: tuple[ref[Subject], ...] = ()

    def add(self, subjects: tuple[Subject, ...]) -> None:
        """Watch these as well."""
        for subject in subjects:
            if not isinstance(subject, CircuitBreakerRegistry | CircuitBreaker | _HasAgents):
                wrong_type("what is watched", "a CircuitBreakerRegistry, a CircuitBreaker or an Overseer", subject)
        with self._lock:
            self._known = tuple(ref(subject) for subject in dict.fromkeys([*self._alive(), *subjects]))

    def circuits(self) -> dict[str, CircuitState]:
        """Return the state of every circuit by name; of two of the same name, one that is not closed is shown."""
        states: dict[str, CircuitState] = {}
        for breaker in self._breakers():
            name, state = as_text(breaker.name), breaker.state
            if state is not CircuitState.CLOSED:
                states[name] = state
            else:
                states.setdefault(name, state)
        return states

    def crews(self) -> dict[str, Crew]:
        """Return the agents of each type that has any."""
        crews: dict[str, Crew] = {}
        for agent in self._agents():
            agent_type = as_text(agent.agent_type)
            crew = crews.get(agent_type)
            if crew is None:  # every health is counted from 0, so that none is missing
                crew = crews[agent_type] = Crew(dict.fromkeys(type(agent.health), 0))
            crew.count(agent)
        return crews

    def _breakers(self) -> Iterator[CircuitBreaker]:
        for subject in self._alive():
            source = subject.registry if isinstance(subject, _HasAgents) else subject
            if isinstance(source, CircuitBreakerRegistry):
                yield from source
            elif isinstance(source, CircuitBreaker):
                yield source

    def _agents(self) -> Iterator[AgentStatus]:
        for subject in self._alive():
            if isinstance(subject, _HasAgents):
                yield from subject.get_all_agent_statuses()

    def _alive(self) -> Iterator[Subject]:
        return (subject for known in self._known if (subject := known()) is not None)


def as_text(name: str) -> str:
    """Return the name as text that UTF-8 can encode: lone surrogates, which it cannot, are written as escapes."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
