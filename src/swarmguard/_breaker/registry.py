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
    """The breakers of a program, one for each name, safe to use from any thread.

    Args:
        default_config: How breakers behave that are asked for without a configuration of their own.
        clock: Given to every breaker.
        sink: Given to every breaker.
        observer: Given to every breaker.
        topic_prefix: Given to every breaker.

    Raises:
        TypeError: An argument is of the wrong type.
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
        """How breakers behave that are asked for without a configuration of their own."""
        return self._default_config

    @property
    def clock(self) -> Clock:
        """Where the breakers read the time."""
        return self._clock

    def get_or_create(self, name: str, config: CircuitBreakerConfig | None = None) -> CircuitBreaker:
        """Return the one breaker of that name, making it when there is none.

        Args:
            name: Any non-empty text.
            config: How the breaker behaves. None: as the registry's default says, or as the existing one does.

        Raises:
            TypeError: An argument is of the wrong type.
            ValueError: The name is empty, or the existing breaker has another configuration, which it keeps.
        """
        if type(name) is not str:
            check_text("name", name)
        if config is not None and type(config) is not CircuitBreakerConfig:
            check_instance("config", config, CircuitBreakerConfig)
        breaker = self._breakers.by_name.get(name)
        if breaker is None:
            breaker = self._breakers.add(name, self._make(name, config))
        if config is not None and config != breaker.config:
            raise ValueError(f"the breaker {name!r} exists with another config, {breaker.config!r}, got {config!r}")
        return breaker

    def get(self, name: str) -> CircuitBreaker | None:
        """Return the breaker of that name, or None."""
        return self._breakers.by_name.get(name)

    def reset(self, name: str) -> bool:
        """Reset the breaker of that name.

        Returns:
            Whether there is one.
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
        """Forget the breaker of that name; whoever holds it may go on using it.

        Returns:
            Whether there was one.
        """
        return self._breakers.remove(name)

    def get_all_states(self) -> dict[str, CircuitState]:
        """Return every breaker's state by name, the oldest breaker first: a copy."""
        return {breaker.name: breaker.state for breaker in self}

    def statuses(self) -> list[BreakerStatus]:
        """Return every breaker's status, the oldest breaker first."""
        return [breaker.status() for breaker in self]

    def __contains__(self, name: object) -> bool:
        return name in self._breakers.by_name

    def __len__(self) -> int:
        return len(self._breakers.by_name)

    def __iter__(self) -> Iterator[CircuitBreaker]:
        """Iterate over the breakers of this moment, the oldest first, whatever is added or removed meanwhile."""
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

    One dict operation is atomic, so the lock is for forks alone. Without the GIL each dict has a lock of its own, which
    another thread can hold at the fork and which nothing in the child releases. The child gets a copy instead, made
    while no change is under way.

    Attributes:
        by_name: The breakers, the oldest first.
    """

    __slots__ = ("_copy", "by_name")

    def __init__(self) -> None:
        super().__init__()
        self.by_name: dict[str, CircuitBreaker] = {}
        self._copy = self.by_name

    def add(self, name: str, breaker: CircuitBreaker) -> CircuitBreaker:
        """Add a breaker, unless there is one of that name, and return the one that is there now."""
        return self.look(self._add, name, breaker)

    def remove(self, name: str) -> bool:
        """Remove the breaker of that name, and return whether there was one."""
        return self.look(self._remove, name)

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
