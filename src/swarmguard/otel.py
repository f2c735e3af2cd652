"""Metrics for [OpenTelemetry](https://opentelemetry.io), and a span event for every call that a breaker refuses.

```python
metrics = OTelMetrics()
breakers = CircuitBreakerRegistry(sink=metrics, observer=metrics.observe)
overseer = Overseer(sink=metrics, registry=breakers)
metrics.watch(overseer)
```

Only OpenTelemetry's API is needed. The SDK that the program sets up decides where the data goes.
`swarmguard.prometheus` offers the same metrics for prometheus_client.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from weakref import WeakKeyDictionary

from typing_extensions import override

from swarmguard import _metrics
from swarmguard._breaker.values import Outcome
from swarmguard._common.extra import Extra
from swarmguard._common.fields import wrong_type
from swarmguard.circuit import CircuitState

with Extra("otel"):
    from opentelemetry import trace
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter

__all__ = ["OTelMetrics"]

# Names of attributes.
_NAME = "swarmguard.circuit.name"
_STATE = "swarmguard.circuit.state"
_REASON = "swarmguard.circuit.transition.reason"
_OUTCOME = "swarmguard.circuit.call.outcome"
_TYPE = "swarmguard.agent.type"
_HEALTH = "swarmguard.agent.health"

_REFUSED = "swarmguard.circuit.refused"

_watched_globally = _metrics.WatchList()
_watched_by: WeakKeyDictionary[MeterProvider, _metrics.WatchList] = WeakKeyDictionary()
"""The objects watched for each provider.

If a gauge is created twice, a provider keeps the first one's callbacks. So all `OTelMetrics` of a provider share the
list that these callbacks read.
"""


class OTelMetrics(_metrics.Metrics):
    """A sink and an observer that count for OpenTelemetry, and gauges of the watched objects' states.

    Pass the same instance to all breakers, registries and overseers as their `sink`. Pass `metrics.observe` as
    `observer` to count calls. Call `watch` to have states read at each collection.

    With the observer, each refusal also adds the event `swarmguard.circuit.refused` to the caller's current span.

    Args:
        meter_provider: Where the metrics go. None: to the global provider, which may be set later.

    Raises:
        TypeError: `meter_provider` is not a `MeterProvider`.
    """

    def __init__(self, *, meter_provider: MeterProvider | None = None) -> None:
        watched = _watched_globally
        if meter_provider is not None:
            if not isinstance(meter_provider, MeterProvider):
                wrong_type("meter_provider", "a MeterProvider or None", meter_provider)
            watched = _watched_by.setdefault(meter_provider, _metrics.WatchList())
        super().__init__(watched)
        meter = get_meter("swarmguard", version("swarmguard"), meter_provider)
        self._transitions = meter.create_counter("swarmguard.circuit.transitions", "{transition}", _metrics.TRANSITIONS)
        self._calls = meter.create_counter("swarmguard.circuit.calls", "{call}", _metrics.CALLS)
        self._durations = meter.create_histogram(
            "swarmguard.circuit.call.duration",
            "s",
            _metrics.DURATION,
            explicit_bucket_boundaries_advisory=_metrics.BUCKETS,
        )
        self._restarts = meter.create_counter("swarmguard.agent.restarts", "{restart}", _metrics.RESTARTS)
        self._exhaustions = meter.create_counter("swarmguard.agent.exhaustions", "{exhaustion}", _metrics.EXHAUSTIONS)
        meter.create_observable_up_down_counter(
            "swarmguard.circuit.state", [partial(_states, watched)], "{circuit}", _metrics.STATE
        )
        meter.create_observable_up_down_counter(
            "swarmguard.agent.count", [partial(_agents, watched)], "{agent}", _metrics.AGENTS
        )
        meter.create_observable_gauge(
            "swarmguard.agent.heartbeat.age", [partial(_heartbeat_ages, watched)], "s", _metrics.HEARTBEAT_AGE
        )

    @override
    def _count_transition(self, name: str, state: str, reason: str) -> None:
        self._transitions.add(1, {_NAME: name, _STATE: state, _REASON: reason})

    @override
    def _count_restart(self, agent_type: str) -> None:
        self._restarts.add(1, {_TYPE: agent_type})

    @override
    def _count_exhaustion(self, agent_type: str) -> None:
        self._exhaustions.add(1, {_TYPE: agent_type})

    @override
    def _count_call(self, name: str, outcome: Outcome, seconds: float) -> None:
        self._calls.add(1, {_NAME: name, _OUTCOME: outcome})
        if outcome == "refused":
            trace.get_current_span().add_event(_REFUSED, {_NAME: name})
        else:
            self._durations.record(seconds, {_NAME: name})


def _states(watched: _metrics.WatchList, _: CallbackOptions) -> Iterator[Observation]:
    for name, current in watched.circuits().items():
        for state in CircuitState:
            yield Observation(int(state is current), {_NAME: name, _STATE: state.value})


def _agents(watched: _metrics.WatchList, _: CallbackOptions) -> Iterator[Observation]:
    for agent_type, group in watched.agent_groups().items():
        for health, number in group.by_health.items():
            yield Observation(number, {_TYPE: agent_type, _HEALTH: health.value})


def _heartbeat_ages(watched: _metrics.WatchList, _: CallbackOptions) -> Iterator[Observation]:
    for agent_type, group in watched.agent_groups().items():
        yield Observation(group.heartbeat_age, {_TYPE: agent_type})
