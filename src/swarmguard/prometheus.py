"""Metrics for [Prometheus](https://prometheus.github.io/client_python/): circuits, calls and agents.

```python
metrics = PrometheusMetrics()
breakers = CircuitBreakerRegistry(sink=metrics, observer=metrics.observe)
overseer = Overseer(sink=metrics, registry=breakers)
metrics.watch(overseer)
```

`swarmguard.otel` offers the same metrics for OpenTelemetry.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final, get_args

from typing_extensions import override

from swarmguard import _metrics
from swarmguard._breaker.machine import TRANSITIONS
from swarmguard._breaker.values import Outcome
from swarmguard._common.extra import Extra
from swarmguard._common.fields import check_instance
from swarmguard.circuit import CircuitState

with Extra("prometheus"):
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, Metric
    from prometheus_client.core import GaugeMetricFamily

__all__ = ["PrometheusMetrics"]

_STATES_AND_REASONS: Final = sorted({(state.value, trigger.value) for (_, trigger), state in TRANSITIONS.items()})


class PrometheusMetrics(_metrics.Metrics):
    """A sink and an observer that count for Prometheus, and a collector of the watched objects' states.

    Pass the same instance to all breakers, registries and overseers as their `sink`. Pass `metrics.observe` as
    `observer` to count calls. Call `watch` to have states read at each scrape.

    Args:
        registry: The `prometheus_client.CollectorRegistry` that the metrics are registered with. (Not a
            `CircuitBreakerRegistry`.) The default is the one that `start_http_server`, `make_wsgi_app` and
            `make_asgi_app` serve.

    Raises:
        TypeError: `registry` is not a `CollectorRegistry`.
        ValueError: `registry` has these metrics already. Share one `PrometheusMetrics` instead.
    """

    def __init__(self, *, registry: CollectorRegistry = REGISTRY) -> None:
        check_instance("registry", registry, CollectorRegistry, "a prometheus_client.CollectorRegistry")
        super().__init__(_metrics.WatchList())
        # Not registered one by one: this object is the collector, so that a registry takes all of them or none.
        self._transitions = Counter(
            "swarmguard_circuit_transitions_total", _metrics.TRANSITIONS, ["name", "state", "reason"], registry=None
        )
        self._calls = Counter("swarmguard_circuit_calls_total", _metrics.CALLS, ["name", "outcome"], registry=None)
        self._durations = Histogram(
            "swarmguard_circuit_call_duration_seconds",
            _metrics.DURATION,
            ["name"],
            registry=None,
            buckets=_metrics.BUCKETS,
        )
        self._restarts = Counter("swarmguard_agent_restarts_total", _metrics.RESTARTS, ["agent_type"], registry=None)
        self._exhaustions = Counter(
            "swarmguard_agent_exhaustions_total", _metrics.EXHAUSTIONS, ["agent_type"], registry=None
        )
        registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """Return the metrics without samples. `prometheus_client` calls this when the collector is registered."""
        counted = chain.from_iterable(counter.describe() for counter in self._counted())
        return [*_circuit_gauges({}), *_agent_gauges({}), *counted]

    def collect(self) -> Iterable[Metric]:
        """Return the metrics with their current samples. `prometheus_client` calls this at each scrape."""
        circuits, groups = self._watched.circuits(), self._watched.agent_groups()
        self._count_from_zero(circuits, groups)
        counted = chain.from_iterable(counter.collect() for counter in self._counted())
        return [*_circuit_gauges(circuits), *_agent_gauges(groups), *counted]

    def _counted(self) -> tuple[Counter | Histogram, ...]:
        return self._transitions, self._calls, self._durations, self._restarts, self._exhaustions

    def _count_from_zero(self, circuits: Iterable[str], agent_types: Iterable[str]) -> None:
        """Create the counters of watched objects at 0. Prometheus sees no increase in a counter that appears at 1."""
        for name in circuits:
            for state, reason in _STATES_AND_REASONS:
                self._transitions.labels(name, state, reason)
            for outcome in get_args(Outcome):
                self._calls.labels(name, outcome)
        for agent_type in agent_types:
            self._restarts.labels(agent_type)
            self._exhaustions.labels(agent_type)

    @override
    def _count_transition(self, name: str, state: str, reason: str) -> None:
        self._transitions.labels(name, state, reason).inc()

    @override
    def _count_restart(self, agent_type: str) -> None:
        self._restarts.labels(agent_type).inc()

    @override
    def _count_exhaustion(self, agent_type: str) -> None:
        self._exhaustions.labels(agent_type).inc()

    @override
    def _count_call(self, name: str, outcome: Outcome, seconds: float) -> None:
        self._calls.labels(name, outcome).inc()
        if outcome != "refused":
            self._durations.labels(name).observe(seconds)


def _circuit_gauges(circuits: dict[str, CircuitState]) -> Iterator[Metric]:
    states = GaugeMetricFamily("swarmguard_circuit_state", _metrics.STATE, labels=["name", "state"])
    for name, current in circuits.items():
        for state in CircuitState:
            states.add_metric([name, state.value], float(state is current))
    yield states


def _agent_gauges(groups: dict[str, _metrics.AgentGroup]) -> Iterator[Metric]:
    agents = GaugeMetricFamily("swarmguard_agents", _metrics.AGENTS, labels=["agent_type", "health"])
    ages = GaugeMetricFamily("swarmguard_agent_heartbeat_age_seconds", _metrics.HEARTBEAT_AGE, labels=["agent_type"])
    for agent_type, group in groups.items():
        ages.add_metric([agent_type], group.heartbeat_age)
        for health, number in group.by_health.items():
            agents.add_metric([agent_type, health.value], number)
    yield agents
    yield ages
