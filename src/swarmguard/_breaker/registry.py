"""`CircuitBreakerRegistry`: breakers by name."""

from __future__ import annotations

from collections.abc import Iterator

from swarmguard._breaker.breaker import CircuitBreaker
from swarmguard._breaker.config import CircuitBreakerConfig
from swarmguard._breaker.observing import Observer
from swarmguard._breaker.values import BreakerStatus
from swarmguard._common.fields import check_callable_or_none, check_instance, check_text, check_wiring
from swarmguard._common.monitor import Monitor
from swarmguard.circuit import CircuitState
from swarmguard.clock import Clock, SystemClock
from swarmguard.events import Sink


class CircuitBreakerRegistry:
    """The breakers of a program, one for each name. All methods are safe to call from any thread.

    Args:
        default_config: The configuration of breakers that are created without one.
        clock: The clock of every breaker; by default the system's clock.
        sink: The sink of every breaker. None: no events are emitted.
        observer: The observer of every breaker. None: no records are made.
        topic_prefix: The prefix of the events' topics.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: The prefix is empty.
    """

    __slots__ = ("__weakref__", "_breakers", "_clock", "_default_config", "_observer", "_sink", "_topic_prefix")

    def __init__(
        self,
        default_config: CircuitBreakerConfig = CircuitBreakerConfig(),
        *,
        clock: Clock = SystemClock(),
        sink: Sink | None = None,
        observer: Observer | None = None,
        topic_prefix: str = "arb.swarm",
    ) -> None:
        check_wiring(clock, sink, topic_prefix)
        check_callable_or_none("observer", observer)
        self._default_config = check_instance("default_config", default_config, CircuitBreakerConfig)
        self._clock = clock
        self._sink = sink
        self._observer = observer
        self._topic_prefix = topic_prefix
        self._breakers = _Breakers()

    @property
    def default_config(self) -> CircuitBreakerConfig:
        """The configuration of breakers that are created without one."""
        return self._default_config

    @property
    def clock(self) -> Clock:
        """The clock of the breakers."""
        return self._clock

    def get_or_create(self, name: str, config: CircuitBreakerConfig | None = None) -> CircuitBreaker:
        """Return the breaker of this name; create it if there is none.

        Args:
            name: Any non-empty text.
            config: The configuration of the breaker. None: the registry's default for a new breaker, and whatever it
                has for an existing one.

        Returns:
            The breaker. Threads that ask at the same time all get the same one.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: The name is empty, or the existing breaker has another configuration. It keeps that one.
        """
        if type(name) is not str:
            check_text("name", name)
        if config is not None and type(config) is not CircuitBreakerConfig:
            check_instance("config", config, CircuitBreakerConfig)
        breaker = self._breakers.by_name.get(name)
        if breaker is None:
            breaker = self._breakers.add(name, self._make(name, config))
        if config is not None and config != breaker.config:
            raise ValueError(
                f"config must equal that of the existing breaker {name!r}, {breaker.config!r}, got {config!r};"
                " leave it out, or remove the breaker first"
            )
        return breaker

    def get(self, name: str) -> CircuitBreaker | None:
        """Return the breaker of this name.

        Args:
            name: The name.

        Returns:
            The breaker; None if there is none.
        """
        return self._breakers.by_name.get(name)

    def reset(self, name: str) -> bool:
        """Reset the breaker of this name.

        Args:
            name: The name.

        Returns:
            True if there is such a breaker; False if not.
        """
        breaker = self._breakers.by_name.get(name)
        if breaker is None:
            return False
        breaker.reset()
        return True

    def reset_all(self) -> None:
        """Reset every breaker."""
        for breaker in self:
            breaker.reset()

    def remove(self, name: str) -> bool:
        """Remove the breaker of this name. It still works for code that holds a reference to it.

        Args:
            name: The name.

        Returns:
            True if there was such a breaker; False if not.
        """
        return self._breakers.remove(name)

    def get_all_states(self) -> dict[str, CircuitState]:
        """Return a new dict of every breaker's state by name, the oldest breaker first."""
        return {breaker.name: breaker.state for breaker in self}

    def statuses(self) -> list[BreakerStatus]:
        """Return every breaker's status, the oldest breaker first."""
        return [breaker.status() for breaker in self]

    def __contains__(self, name: object) -> bool:
        return name in self._breakers.by_name

    def __len__(self) -> int:
        return len(self._breakers.by_name)

    def __iter__(self) -> Iterator[CircuitBreaker]:
        """Iterate over the breakers that exist now, the oldest first. Adding and removing during the loop is safe."""
        return iter(self._breakers.by_name.copy().values())

    def _make(self, name: str, config: CircuitBreakerConfig | None) -> CircuitBreaker:
        return CircuitBreaker(
            name,
            self._default_config if config is None else config,
            clock=self._clock,
            sink=self._sink,
            observer=self._observer,
            topic_prefix=self._topic_prefix,
        )


class _Breakers(Monitor):
    """The breakers of a registry by name: changed under the lock, read without it.

    The operations on the dict are atomic, so only forks need the lock. Without the GIL, a dict has a lock of its own,
    which another thread may hold at the fork and which no thread of the child releases. So the child gets a copy, which
    is made while no change is under way.

    Attributes:
        by_name: The breakers, the oldest first.
    """

    __slots__ = ("_copy", "by_name")

    def __init__(self) -> None:
        super().__init__()
        self.by_name: dict[str, CircuitBreaker] = {}
        self._copy = self.by_name

    def add(self, name: str, breaker: CircuitBreaker) -> CircuitBreaker:
        """Add a breaker unless one of this name exists; return the one that is there now."""
        return self.read(self._add, name, breaker)

    def remove(self, name: str) -> bool:
        """Remove the breaker of this name; return whether there was one."""
        return self.read(self._remove, name)

    def hold_for_fork(self) -> None:
        super().hold_for_fork()
        self._copy = self.by_name.copy()

    def release_after_fork(self) -> None:
        self._copy = self.by_name
        super().release_after_fork()

    def renew_after_fork(self) -> None:
        self.by_name = self._copy
        super().renew_after_fork()

    def _add(self, name: str, breaker: CircuitBreaker) -> CircuitBreaker:
        return self.by_name.setdefault(name, breaker)

    def _remove(self, name: str) -> bool:
        return self.by_name.pop(name, None) is not None
