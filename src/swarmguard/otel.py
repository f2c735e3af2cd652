"""Metrics for [OpenTelemetry](https://opentelemetry.io), and an event on the span whose call a breaker refuses.

```python
metrics = OTelMetrics()
breakers = CircuitBreakerRegistry(sink=metrics, observer=metrics.observe)
overseer = Overseer(sink=metrics, registry=breakers)
metrics.watch(overseer)
```

It needs OpenTelemetry's API alone; what becomes of the data is decided by the SDK that the program sets up.
`swarmguard.prometheus` is the same for prometheus_client.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from weakref import WeakKeyDictionary

from swarmguard import _metrics
from swarmguard._breaker.values import Outcome
from swarmguard._common.extra import Extra
from swarmguard._common.fields import wrong_type
from swarmguard.circuit import CircuitState

with Extra("otel"):
    from opentelemetry import trace
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter

__all__ = ["OTelMetrics"]

# Attributes. Where the metric of the same name counts, the attribute tells one series from another.
_NAME = "swarmguard.circuit.name"
_STATE = "swarmguard.circuit.state"
_REASON = "swarmguard.circuit.transition.reason"
_OUTCOME = "swarmguard.circuit.call.outcome"
_TYPE = "swarmguard.agent.type"
_HEALTH = "swarmguard.agent.health"

_REFUSED = "swarmguard.circuit.refused"

_global_watches = _metrics.Watches()
_watches: WeakKeyDictionary[MeterProvider, _metrics.Watches] = WeakKeyDictionary()
"""A provider keeps the callbacks of the first who makes a gauge, so all who come later must add to what these read."""


class OTelMetrics(_metrics.Metrics):
    """A sink and an observer that count for OpenTelemetry, with gauges that show what it watches.

    Give the same one to every breaker, registry and overseer as their `sink`; give `metrics.observe` as `observer`
    where calls are to be counted; and `watch` them to have their states read at each collection.

    Where calls are observed, a refusal also adds an event, `swarmguard.circuit.refused`, to the span that is current
    in its caller.

    Args:
        meter_provider: Where the metrics go. None: to the global one, which may be set later.

    Raises:
        TypeError: It is no `MeterProvider`.
    """

    def __init__(self, *, meter_provider: MeterProvider | None = None) -> None:
        watches = _global_watches
        if meter_provider is not None:
            if not isinstance(meter_provider, MeterProvider):
                wrong_type("meter_provider", "a MeterProvider or None", meter_provider)
            watches = _watches.setdefault(meter_provider, _metrics.Watches())
        super().__init__(watches)
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
            "swarmguard.circuit.state", [partial(_states, watches)], "{circuit}", _metrics.STATE
        )
        meter.create_observable_up_down_counter(
            "swarmguard.agent.count", [partial(_agents, watches)], "{agent}", _metrics.AGENTS
        )
        meter.create_observable_gauge(
            "swarmguard.agent.heartbeat.age", [partial(_heartbeat_ages, watches)], "s", _metrics.HEARTBEAT_AGE
        )

    def _moved(self, name: str, state: str, reason: str) -> None:
        self._transitions.add(1, {_NAME: name, _STATE: state, _REASON: reason})

    def _restarted(self, agent_type: str) -> None:
        self._restarts.add(1, {_TYPE: agent_type})

    def _exhausted(self, agent_type: str) -> None:
        self._exhaustions.add(1, {_TYPE: agent_type})

    def _called(self, name: str, outcome: Outcome, seconds: float) -> None:
        self._calls.add(1, {_NAME: name, _OUTCOME: outcome})
        if outcome == "refused":
            trace.get_current_span().add_event(_REFUSED, {_NAME: name})
        else:
            self._durations.record(seconds, {_NAME: name})


def _states(watches: _metrics.Watches, _: CallbackOptions) -> Iterator[Observation]:
    for name, current in watches.circuits().items():
        for state in CircuitState:
            yield Observation(int(state is current), {_NAME: name, _STATE: state.value})


def _agents(watches: _metrics.Watches, _: CallbackOptions) -> Iterator[Observation]:
    for agent_type, crew in watches.crews().items():
        for health, number in crew.by_health.items():
            yield Observation(number, {_TYPE: agent_type, _HEALTH: health.value})


def _heartbeat_ages(watches: _metrics.Watches, _: CallbackOptions) -> Iterator[Observation]:
    for agent_type, crew in watches.crews().items():
        yield Observation(crew.heartbeat_age, {_TYPE: agent_type})
