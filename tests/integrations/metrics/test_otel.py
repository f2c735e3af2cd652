"""`swarmguard.otel` with the real OpenTelemetry SDK and in-memory readers and exporters."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from importlib.metadata import version

import anyio.lowlevel
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from swarmguard import (
    AgentHealth,
    CallRecord,
    CircuitBreaker,
    CircuitBreakerRegistry,
    CircuitOpenError,
    CircuitState,
    Overseer,
    otel,
)
from swarmguard.otel import OTelMetrics
from tests.integrations.metrics import scenario
from tests.integrations.metrics.scenario import Swarm, at_once, refused

NAME, STATE = "swarmguard.circuit.name", "swarmguard.circuit.state"
REASON, OUTCOME = "swarmguard.circuit.transition.reason", "swarmguard.circuit.call.outcome"
TYPE, HEALTH = "swarmguard.agent.type", "swarmguard.agent.health"


@pytest.fixture
def reader():
    """Return a reader that keeps what it collects."""
    return InMemoryMetricReader()


@pytest.fixture
def provider(reader):
    """Return a provider with that reader."""
    provider = MeterProvider([reader], shutdown_on_exit=False)
    yield provider
    provider.shutdown()


@pytest.fixture
def metrics(provider):
    """Return metrics for that provider."""
    return OTelMetrics(meter_provider=provider)


@pytest.fixture
def spans():
    """Return an exporter that keeps the spans of `tracer`."""
    return InMemorySpanExporter()


@pytest.fixture
def tracer(spans):
    """Return a tracer."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    yield provider.get_tracer("tests")
    provider.shutdown()


def collect(reader):
    """Collect now, and return the scope and the metrics by name."""
    data = reader.get_metrics_data()
    if data is None:
        return None, {}
    [resource] = data.resource_metrics
    [scope] = resource.scope_metrics
    return scope.scope, {metric.name: metric for metric in scope.metrics}


def points(reader, name, *keys):
    """Return the points of a metric by the values of its attributes, and check that it has these attributes only."""
    _, metrics = collect(reader)
    if name not in metrics:
        return {}
    found = metrics[name].data.data_points
    assert all(set(point.attributes) == set(keys) for point in found)
    return {tuple(point.attributes[key] for key in keys): point for point in found}


def values(reader, name, *keys):
    """Return the values of a metric by the values of its attributes."""
    return {key: point.value for key, point in points(reader, name, *keys).items()}


def test_all_metrics_of_a_scripted_run(reader, metrics):
    """A collection has every metric of a scripted run. [B20]"""
    swarm = Swarm(metrics)
    swarm.run()
    assert values(reader, "swarmguard.circuit.state", NAME, STATE) == {
        (name, state.value): state is current for name, current in scenario.STATES.items() for state in CircuitState
    }
    assert values(reader, "swarmguard.circuit.transitions", NAME, STATE, REASON) == scenario.MOVES
    assert values(reader, "swarmguard.circuit.calls", NAME, OUTCOME) == scenario.CALLS
    durations = points(reader, "swarmguard.circuit.call.duration", NAME)
    assert {name: (point.count, point.sum) for (name,), point in durations.items()} == scenario.DURATIONS
    assert values(reader, "swarmguard.agent.count", TYPE, HEALTH) == {
        (kind, health.value): scenario.AGENTS.get((kind, health), 0) for kind in scenario.AGES for health in AgentHealth
    }
    ages = values(reader, "swarmguard.agent.heartbeat.age", TYPE)
    assert {kind: age for (kind,), age in ages.items()} == pytest.approx(scenario.AGES)
    assert values(reader, "swarmguard.agent.restarts", TYPE) == {("Scanner",): 1}
    assert values(reader, "swarmguard.agent.exhaustions", TYPE) == {("Scanner",): 1}


def test_names_units_and_kinds(reader, metrics):
    """The metrics have their documented names, units and kinds, and the scope is named after the package."""
    swarm = Swarm(metrics)
    swarm.run()
    scope, found = collect(reader)
    assert (scope.name, scope.version) == ("swarmguard", version("swarmguard"))
    shapes = {
        name: (type(metric.data).__name__, getattr(metric.data, "is_monotonic", None), metric.unit)
        for name, metric in found.items()
    }
    assert shapes == {
        "swarmguard.circuit.state": ("Sum", False, "{circuit}"),
        "swarmguard.circuit.transitions": ("Sum", True, "{transition}"),
        "swarmguard.circuit.calls": ("Sum", True, "{call}"),
        "swarmguard.circuit.call.duration": ("Histogram", None, "s"),
        "swarmguard.agent.count": ("Sum", False, "{agent}"),
        "swarmguard.agent.heartbeat.age": ("Gauge", None, "s"),
        "swarmguard.agent.restarts": ("Sum", True, "{restart}"),
        "swarmguard.agent.exhaustions": ("Sum", True, "{exhaustion}"),
    }
    assert all(metric.description for metric in found.values())


def test_durations_fall_into_buckets_of_seconds(reader, metrics):
    """The histogram's bounds are in seconds, not the SDK's default ones in milliseconds."""
    for seconds in (0.004, 0.3, 45.0, 300.0):
        metrics.observe(CallRecord("jupiter", "success", seconds))
    [point] = points(reader, "swarmguard.circuit.call.duration", NAME).values()
    counts = dict(zip((*point.explicit_bounds, "more"), point.bucket_counts, strict=True))
    assert {bound: count for bound, count in counts.items() if count} == {0.005: 1, 0.5: 1, 60.0: 1, "more": 1}


def test_a_refusal_is_an_event_of_the_callers_span(metrics, tracer, spans):
    """Each refusal adds one event to the caller's current span; calls that run add none. [B20]"""
    breaker = CircuitBreaker("jupiter", observer=metrics.observe)
    with tracer.start_as_current_span("outer"):
        with tracer.start_as_current_span("inner"):
            breaker.call(int)
            breaker.trip()
            refused(breaker)
        refused(breaker)
    refused(breaker)  # outside any span
    events = {
        span.name: [(event.name, dict(event.attributes)) for event in span.events]
        for span in spans.get_finished_spans()
    }
    expected = [("swarmguard.circuit.refused", {NAME: "jupiter"})]
    assert events == {"inner": expected, "outer": expected}


@pytest.mark.anyio
async def test_a_refusal_finds_the_span_of_its_task(metrics, tracer, spans):
    """With concurrent tasks, each refusal is added to the span of its own task. [B9]"""
    breaker = CircuitBreaker("jupiter", observer=metrics.observe)
    breaker.trip()

    async def ask(turns):
        with tracer.start_as_current_span(str(turns)):
            for _ in range(turns):
                with pytest.raises(CircuitOpenError):
                    await breaker.execute(anyio.sleep, 0)
                await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        for turns in range(1, 4):
            tasks.start_soon(ask, turns)
    assert {span.name: len(span.events) for span in spans.get_finished_spans()} == {"1": 1, "2": 2, "3": 3}


def test_any_name_can_be_exported(reader, metrics):
    """Names become attributes unchanged, except for lone surrogates, which are escaped. [R3]"""
    breakers, overseer = CircuitBreakerRegistry(observer=metrics.observe), Overseer()
    metrics.watch(breakers, overseer)
    names = ['"', "a\nb", "Ünïcode 🤖", "a\ud800b"]
    for name in names:
        breakers.get_or_create(name).call(int)
        overseer.register_agent(name)
    shown = {*names[:3], "a\\ud800b"}
    assert {name for name, _ in values(reader, "swarmguard.circuit.calls", NAME, OUTCOME)} == shown
    assert {name for name, _ in values(reader, "swarmguard.circuit.state", NAME, STATE)} == shown
    assert {kind for (kind,) in values(reader, "swarmguard.agent.heartbeat.age", TYPE)} == shown


def test_watched_objects_are_held_weakly(reader, metrics):
    """A registry that is garbage-collected disappears from the gauges. [R2]"""
    breakers = CircuitBreakerRegistry()
    breakers.get_or_create("jupiter")
    metrics.watch(breakers)
    assert values(reader, "swarmguard.circuit.state", NAME, STATE)["jupiter", "Closed"] == 1
    del breakers
    gc.collect()
    assert values(reader, "swarmguard.circuit.state", NAME, STATE) == {}


def test_several_instances_of_one_provider(reader, provider, metrics):
    """Several instances with one provider show all watched objects, and their counts add up."""
    breakers = [CircuitBreaker("jupiter"), CircuitBreaker("kraken")]
    second = OTelMetrics(meter_provider=provider)
    metrics.watch(breakers[0])
    second.watch(*breakers)
    for one in (metrics, second):
        one.observe(CallRecord("jupiter", "success", 0.1))
    assert len(values(reader, "swarmguard.circuit.state", NAME, STATE)) == 6
    assert values(reader, "swarmguard.circuit.calls", NAME, OUTCOME) == {("jupiter", "success"): 2}


def test_providers_are_separate(reader, metrics):
    """Objects watched for one provider do not show for another, and a provider can be garbage-collected."""
    breaker = CircuitBreaker("jupiter")
    known = len(otel._watched_by)
    other = MeterProvider(shutdown_on_exit=False)
    OTelMetrics(meter_provider=other).watch(breaker)
    assert values(reader, "swarmguard.circuit.state", NAME, STATE) == {}
    assert len(otel._watched_by) == known + 1
    other.shutdown()
    del other
    gc.collect()
    assert len(otel._watched_by) == known


def test_wrong_provider():
    """An object that is not a `MeterProvider` is a `TypeError`."""
    with pytest.raises(TypeError, match=r"^meter_provider must be a MeterProvider or None, got 'global'"):
        OTelMetrics(meter_provider="global")


GLOBAL = """
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from swarmguard import CircuitBreaker, CircuitBreakerRegistry
from swarmguard.otel import OTelMetrics

early = OTelMetrics()  # before the program has set up OpenTelemetry
breakers = CircuitBreakerRegistry(sink=early, observer=early.observe)
early.watch(breakers)
breakers.get_or_create("jupiter").call(int)  # not counted: there is no SDK yet

reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader]))
late = OTelMetrics()
kraken = CircuitBreaker("kraken", observer=late.observe)
late.watch(kraken)
breakers.get_or_create("jupiter").call(int)
kraken.call(int)

[resource] = reader.get_metrics_data().resource_metrics
[scope] = resource.scope_metrics
for metric in scope.metrics:
    if metric.name in ("swarmguard.circuit.state", "swarmguard.circuit.calls"):
        points = metric.data.data_points
        print(metric.name, sorted({(point.attributes["swarmguard.circuit.name"], point.value) for point in points}))
"""


def test_the_global_provider_may_come_later():
    """Without a provider, the metrics go to the global one, even if it is set later."""
    command = [sys.executable, "-W", "error", "-c", GLOBAL]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONUTF8": "1"})
    assert done.stderr == ""
    assert sorted(done.stdout.splitlines()) == [
        "swarmguard.circuit.calls [('jupiter', 1), ('kraken', 1)]",
        "swarmguard.circuit.state [('jupiter', 0), ('jupiter', 1), ('kraken', 0), ('kraken', 1)]",
    ]


def test_without_an_sdk():
    """Without an SDK, everything works and nothing is recorded."""
    metrics = OTelMetrics()
    swarm = Swarm(metrics)
    swarm.run()


def test_threads_call_watch_and_collect(reader, metrics):
    """Threads may call, create breakers, watch and collect at the same time without losing a count. [B9]"""
    breakers = CircuitBreakerRegistry(sink=metrics, observer=metrics.observe)

    def call(turn):
        breakers.get_or_create(f"host {turn % 10}").call(int)

    def watch(turn):
        metrics.watch(breakers, CircuitBreakerRegistry(), Overseer())

    def collect_all(turn):
        reader.get_metrics_data()

    at_once(call, watch, collect_all)
    assert values(reader, "swarmguard.circuit.calls", NAME, OUTCOME)["host 3", "success"] == 10
    assert len(values(reader, "swarmguard.circuit.state", NAME, STATE)) == 30
