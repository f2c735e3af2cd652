"""`swarmguard.prometheus` with the real prometheus_client, scraped over loopback."""

from __future__ import annotations

import gc
import urllib.request
from contextlib import contextmanager

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest, start_http_server
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from swarmguard import (
    AgentHealth,
    BreakerMode,
    CallRecord,
    CircuitBreaker,
    CircuitBreakerRegistry,
    CircuitState,
    Overseer,
)
from swarmguard.prometheus import PrometheusMetrics
from swarmguard.testing import EventRecorder, FakeClock
from tests.integrations.metrics import scenario
from tests.integrations.metrics.scenario import Swarm, at_once, refused

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture
def registry():
    """Return a Prometheus registry for one test."""
    return CollectorRegistry()


@pytest.fixture
def metrics(registry):
    """Return metrics in that registry."""
    return PrometheusMetrics(registry=registry)


@contextmanager
def served(registry):
    """Serve the registry on loopback during a `with` block; the value is the URL."""
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    try:
        yield f"http://127.0.0.1:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def get(url, accept="text/plain"):
    """Return the response to a scrape."""
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": accept}), timeout=30) as response:
        return response.read().decode()


def samples(families, name):
    """Return the samples of a name: values by the label values, in the order of the label names."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
        if sample.name == name
    }


def read(registry, name):
    """Return the samples of a name as a scrape shows them."""
    return samples(parse_text(generate_latest(registry).decode()), name)


def check_run(families):
    """Check that the metrics are exactly those of the scripted run."""
    families = list(families)
    assert samples(families, "swarmguard_circuit_state") == {
        (name, state.value): state is current for name, current in scenario.STATES.items() for state in CircuitState
    }
    moves = samples(families, "swarmguard_circuit_transitions_total")
    moved = {(name, state, reason): count for (name, reason, state), count in moves.items() if count}
    assert moved == scenario.MOVES
    calls = samples(families, "swarmguard_circuit_calls_total")
    assert {key: count for key, count in calls.items() if count} == scenario.CALLS
    counts = samples(families, "swarmguard_circuit_call_duration_seconds_count")
    sums = samples(families, "swarmguard_circuit_call_duration_seconds_sum")
    assert {name: (counts[name,], sums[name,]) for (name,) in counts} == scenario.DURATIONS
    assert samples(families, "swarmguard_agents") == {
        (kind, health.value): scenario.AGENTS.get((kind, health), 0) for kind in scenario.AGES for health in AgentHealth
    }
    ages = samples(families, "swarmguard_agent_heartbeat_age_seconds")
    assert {kind: age for (kind,), age in ages.items()} == pytest.approx(scenario.AGES)
    restarts = samples(families, "swarmguard_agent_restarts_total")
    assert {kind: count for (kind,), count in restarts.items()} == scenario.RESTARTS
    exhaustions = samples(families, "swarmguard_agent_exhaustions_total")
    assert {kind: count for (kind,), count in exhaustions.items()} == scenario.EXHAUSTIONS


@pytest.mark.parametrize(("accept", "parse"), [("text/plain", parse_text), (OPENMETRICS, parse_openmetrics)])
def test_all_metrics_of_a_scripted_run(registry, metrics, accept, parse):
    """A scrape, in Prometheus's format or OpenMetrics, has every metric of a scripted run. [B20]"""
    swarm = Swarm(metrics)
    swarm.run()
    with served(registry) as url:
        check_run(parse(get(url, accept)))


def test_a_scrape_of_some_metrics(registry, metrics):
    """A scrape that selects metrics by name gets only these."""
    swarm = Swarm(metrics)
    swarm.run()
    with served(registry) as url:
        families = list(parse_text(get(f"{url}?name[]=swarmguard_agents&name[]=swarmguard_circuit_calls_total")))
    names = {sample.name for family in families for sample in family.samples}
    assert names == {"swarmguard_agents", "swarmguard_circuit_calls_total"}


def test_promtool(registry, metrics, promtool):
    """Prometheus's linter accepts the names, types, units and help texts."""
    Swarm(metrics).run()
    promtool("check", "metrics", text=generate_latest(registry).decode())


@pytest.mark.parametrize("name", ['"', "\\", "\n", 'a\nb{c="d"} 1\n# HELP x', "Ünïcode 🤖", "\\n", " ", "a\tb\r\nc"])
def test_any_name_can_be_scraped(registry, metrics, promtool, name):
    """A parser reads any name of a circuit or agent back unchanged. [R3]"""
    breakers, overseer = CircuitBreakerRegistry(sink=metrics, observer=metrics.observe), Overseer(sink=metrics)
    metrics.watch(breakers, overseer)
    breakers.get_or_create(name).call(int)
    overseer.record_agent_recovery(overseer.register_agent(name))
    with served(registry) as url:
        answers = [parse_text(get(url)), parse_openmetrics(get(url, OPENMETRICS))]
    for families in map(list, answers):
        assert samples(families, "swarmguard_circuit_calls_total")[name, "success"] == 1
        assert samples(families, "swarmguard_circuit_state")[name, "Closed"] == 1
        assert samples(families, "swarmguard_agents")[name, "Healthy"] == 1
        assert samples(families, "swarmguard_agent_restarts_total") == {(name,): 1}
    promtool("check", "metrics", text=generate_latest(registry).decode())


def test_a_name_with_a_lone_surrogate(registry, metrics):
    """A lone surrogate in a name is escaped, so that the scrape works. [R3]"""
    breakers = CircuitBreakerRegistry(sink=metrics, observer=metrics.observe)
    metrics.watch(breakers)
    breakers.get_or_create("a\ud800b").call(int)
    assert read(registry, "swarmguard_circuit_calls_total")["a\\ud800b", "success"] == 1
    assert read(registry, "swarmguard_circuit_state")["a\\ud800b", "Closed"] == 1


def test_counters_begin_at_zero(registry, metrics):
    """The counters of watched objects exist at 0, so that Prometheus sees the first increase."""
    swarm = Swarm(metrics)
    swarm.breakers.get_or_create("jupiter")
    swarm.overseer.register_agent("Scanner")
    assert read(registry, "swarmguard_circuit_calls_total") == {
        ("jupiter", outcome): 0 for outcome in ("success", "failure", "neutral", "stale", "refused")
    }
    assert read(registry, "swarmguard_circuit_transitions_total") == {
        ("jupiter", "threshold", "Open"): 0,
        ("jupiter", "probe_failed", "Open"): 0,
        ("jupiter", "tripped", "Open"): 0,
        ("jupiter", "probe_admitted", "HalfOpen"): 0,
        ("jupiter", "recovered", "Closed"): 0,
        ("jupiter", "reset", "Closed"): 0,
    }
    assert read(registry, "swarmguard_agent_restarts_total") == {("Scanner",): 0}
    assert read(registry, "swarmguard_agent_exhaustions_total") == {("Scanner",): 0}


def test_reading_changes_nothing(registry, metrics):
    """A scrape makes no transition, declares no agent dead and emits no event. [B8]"""
    clock, events = FakeClock(), EventRecorder()
    breaker, overseer = CircuitBreaker("jupiter", clock=clock, sink=events), Overseer(clock=clock, sink=events)
    metrics.watch(breaker, overseer)
    overseer.register_agent("Scanner")
    breaker.trip()
    clock.advance(100)
    before = list(events.events)
    assert read(registry, "swarmguard_circuit_state")["jupiter", "Open"] == 1
    assert read(registry, "swarmguard_agents")["Scanner", "Healthy"] == 1
    assert read(registry, "swarmguard_agent_heartbeat_age_seconds") == {("Scanner",): 100}
    assert events.events == before


def test_without_the_observer(registry, metrics):
    """Without the observer, the metrics count transitions but no calls, and calls stay on the fast path. [B20]"""
    breaker = CircuitBreaker("jupiter", sink=metrics)
    breaker.call(int)
    assert breaker._core.closed_period is not None
    breaker.trip()
    refused(breaker)
    assert read(registry, "swarmguard_circuit_calls_total") == {}
    assert read(registry, "swarmguard_circuit_transitions_total") == {("jupiter", "tripped", "Open"): 1}


def test_other_events_are_not_counted(registry, metrics):
    """Events other than transitions, restarts and exhaustions are not counted. [O5]"""
    breaker, overseer = CircuitBreaker("jupiter", sink=metrics), Overseer(sink=metrics)
    breaker.set_mode(BreakerMode.ISOLATED)
    overseer.pause_swarm()
    agent = overseer.register_agent("Scanner")
    overseer.record_agent_failure(agent, "no feed")
    overseer.record_agent_success(agent)  # recovered, but not restarted
    assert read(registry, "swarmguard_circuit_transitions_total") == {}
    assert read(registry, "swarmguard_agent_restarts_total") == {}


def test_topic_prefix_does_not_matter(registry, metrics):
    """Events are counted by the end of the topic, whatever the prefix. [C3]"""
    CircuitBreaker("jupiter", sink=metrics, topic_prefix="x").trip()
    CircuitBreaker("jupiter", sink=metrics, topic_prefix="a.b.c").trip()
    assert read(registry, "swarmguard_circuit_transitions_total") == {("jupiter", "tripped", "Open"): 2}


def test_watched_objects_are_held_weakly(registry, metrics):
    """A registry or overseer that is garbage-collected disappears from the gauges. [O10]"""
    swarm = Swarm(metrics)
    swarm.breakers.get_or_create("jupiter")
    swarm.overseer.register_agent("Scanner")
    assert read(registry, "swarmguard_circuit_state")
    assert read(registry, "swarmguard_agents")
    del swarm
    gc.collect()
    assert read(registry, "swarmguard_circuit_state") == {}
    assert read(registry, "swarmguard_agents") == {}
    kept = CircuitBreakerRegistry()
    kept.get_or_create("kraken")
    metrics.watch(kept)
    assert read(registry, "swarmguard_circuit_state")["kraken", "Closed"] == 1


def test_watching_twice_is_watching_once(registry, metrics):
    """An object that is watched twice, directly or through its registry, counts once."""
    overseer, breakers = Overseer(), CircuitBreakerRegistry()
    overseer.register_agent("Scanner")
    metrics.watch(overseer, breakers, overseer)
    metrics.watch(overseer, breakers, breakers.get_or_create("jupiter"))
    assert read(registry, "swarmguard_agents")["Scanner", "Healthy"] == 1
    assert read(registry, "swarmguard_circuit_state") == {
        ("jupiter", "Closed"): 1,
        ("jupiter", "Open"): 0,
        ("jupiter", "HalfOpen"): 0,
    }


def test_an_overseer_includes_its_registry(registry, metrics):
    """Watching an overseer also shows the circuits of its registry, once. [O10]"""
    breakers = CircuitBreakerRegistry()
    breakers.get_or_create("jupiter")
    overseer = Overseer(registry=breakers)
    metrics.watch(overseer)
    assert read(registry, "swarmguard_circuit_state")["jupiter", "Closed"] == 1
    metrics.watch(breakers)
    assert len(read(registry, "swarmguard_circuit_state")) == 3


@pytest.mark.parametrize("order", [1, -1])
def test_circuits_with_the_same_name(registry, metrics, order):
    """If two circuits have the same name, one that is not closed shows; agents of two overseers add up."""
    breakers = [CircuitBreaker("jupiter"), CircuitBreaker("jupiter")]
    overseers = [Overseer(), Overseer()]
    breakers[0].trip()
    for overseer in overseers:
        overseer.register_agent("Scanner")
    metrics.watch(*breakers[::order], *overseers)
    assert read(registry, "swarmguard_circuit_state")["jupiter", "Open"] == 1
    assert read(registry, "swarmguard_circuit_state")["jupiter", "Closed"] == 0
    assert read(registry, "swarmguard_agents")["Scanner", "Healthy"] == 2


@pytest.mark.parametrize("wrong", [None, "jupiter", object(), CircuitBreaker])
def test_watching_a_wrong_object(registry, metrics, wrong):
    """A wrong object is a `TypeError`, and none of the arguments is watched."""
    breakers = CircuitBreakerRegistry()
    breakers.get_or_create("jupiter")
    with pytest.raises(TypeError, match=r"^what is watched must be a CircuitBreakerRegistry, a CircuitBreaker or an O"):
        metrics.watch(breakers, wrong)
    assert read(registry, "swarmguard_circuit_state") == {}


def test_one_instance_for_each_registry(registry, metrics):
    """A second instance in the same registry is a `ValueError` and leaves nothing behind."""
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        PrometheusMetrics(registry=registry)
    PrometheusMetrics(registry=CollectorRegistry())
    registry.unregister(metrics)
    assert generate_latest(registry) == b""
    PrometheusMetrics(registry=registry)


def test_default_registry():
    """By default, the metrics are in prometheus_client's default registry."""
    metrics = PrometheusMetrics()
    try:
        CircuitBreaker("jupiter", sink=metrics).trip()
        assert read(REGISTRY, "swarmguard_circuit_transitions_total") == {("jupiter", "tripped", "Open"): 1}
    finally:
        REGISTRY.unregister(metrics)


def test_a_circuit_breaker_registry_is_a_type_error():
    """A `CircuitBreakerRegistry` in place of a `CollectorRegistry` is a `TypeError`."""
    with pytest.raises(TypeError, match=r"^registry must be a prometheus_client\.CollectorRegistry, got <"):
        PrometheusMetrics(registry=CircuitBreakerRegistry())


def test_durations_fall_into_buckets(registry, metrics):
    """A duration counts in every bucket that it fits into; a refused call has no duration."""
    for seconds in (0.004, 0.3, 45.0, 300.0):
        metrics.observe(CallRecord("jupiter", "success", seconds))
    metrics.observe(CallRecord("jupiter", "refused", 0.0))
    buckets = read(registry, "swarmguard_circuit_call_duration_seconds_bucket")
    assert buckets["0.005", "jupiter"] == 1
    assert buckets["0.25", "jupiter"] == 1
    assert buckets["0.5", "jupiter"] == 2
    assert buckets["30.0", "jupiter"] == 2
    assert buckets["60.0", "jupiter"] == 3
    assert buckets["120.0", "jupiter"] == 3
    assert buckets["+Inf", "jupiter"] == 4


def test_threads_call_watch_and_scrape(registry, metrics):
    """Threads may call, create breakers, watch and scrape at the same time without losing a count. [B9]"""
    breakers = CircuitBreakerRegistry(sink=metrics, observer=metrics.observe)

    def call(turn):
        breakers.get_or_create(f"host {turn % 10}").call(int)

    def watch(turn):
        metrics.watch(breakers, CircuitBreakerRegistry(), Overseer())

    def scrape(turn):
        generate_latest(registry)

    at_once(call, watch, scrape)
    assert read(registry, "swarmguard_circuit_calls_total")["host 3", "success"] == 10
    assert len(read(registry, "swarmguard_circuit_state")) == 30
