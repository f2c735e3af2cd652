"""The Grafana dashboard and the alerts of the documentation: every query parses, and asks for what there is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from swarmguard.prometheus import PrometheusMetrics
from tests.integrations.metrics.scenario import Swarm

ROOT = Path(__file__).parents[3]
DASHBOARD = json.loads((ROOT / "examples" / "grafana-dashboard.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
VARIABLES = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
[ALERTS] = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8"), re.DOTALL)
GRAFANA = {"$__rate_interval": "5m", "$job": ".*", "$circuit": ".*", "$agent_type": ".*"}

ALERTS_TEST = """
rule_files: [rules.yml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 'swarmguard_circuit_state{job="farm", name="quotes", state="Open"}', values: '0x4 1x30'}
      - {series: 'swarmguard_circuit_state{job="farm", name="quotes", state="Closed"}', values: '1x4 0x30'}
      - {series: 'swarmguard_circuit_transitions_total{job="farm", name="quotes", state="Open", reason="threshold"}',
         values: '0x10 1+1x20'}
      - {series: 'swarmguard_circuit_calls_total{job="farm", name="quotes", outcome="refused"}', values: '0+10x35'}
      - {series: 'swarmguard_circuit_calls_total{job="farm", name="quotes", outcome="success"}', values: '0+90x35'}
      - {series: 'swarmguard_agents{job="farm", agent_type="Scanner", health="Dead"}', values: '0x4 2x30'}
      - {series: 'swarmguard_agents{job="farm", agent_type="Scanner", health="Healthy"}', values: '2x4 0x30'}
      - {series: 'swarmguard_agent_exhaustions_total{job="farm", agent_type="Scanner"}', values: '0x20 1x15'}
    alert_rule_test:
      - {eval_time: 4m, alertname: CircuitNotClosed, exp_alerts: []}
      - eval_time: 11m
        alertname: CircuitNotClosed
        exp_alerts:
          - exp_labels: {severity: warning, job: farm, name: quotes}
            exp_annotations: {summary: The circuit quotes has not been closed for five minutes.}
      - {eval_time: 11m, alertname: CircuitFlapping, exp_alerts: []}
      - eval_time: 25m
        alertname: CircuitFlapping
        exp_alerts:
          - exp_labels: {severity: warning, job: farm, name: quotes}
            exp_annotations: {summary: The circuit quotes opens again and again.}
      - eval_time: 12m
        alertname: CallsRefused
        exp_alerts:
          - exp_labels: {severity: warning, job: farm, name: quotes}
            exp_annotations: {summary: The circuit quotes refuses 10% of its calls.}
      - {eval_time: 19m, alertname: AgentExhausted, exp_alerts: []}
      - eval_time: 22m
        alertname: AgentExhausted
        exp_alerts:
          - exp_labels: {severity: critical, job: farm, agent_type: Scanner}
            exp_annotations: {summary: An agent of type Scanner is Dead and has no restart left.}
      - {eval_time: 4m, alertname: AgentDead, exp_alerts: []}
      - eval_time: 11m
        alertname: AgentDead
        exp_alerts:
          - exp_labels: {severity: warning, job: farm, agent_type: Scanner}
            exp_annotations: {summary: 2 agents of type Scanner have been Dead for five minutes.}
"""


@pytest.fixture(scope="module")
def exported():
    """Give the labels of every series that the metrics export, by its name."""
    registry = CollectorRegistry()
    swarm = Swarm(PrometheusMetrics(registry=registry))
    swarm.live()
    return {sample.name: {*sample.labels} for family in registry.collect() for sample in family.samples}


def asked(query):
    """Return the labels that the query selects by, for each series that it asks for."""
    selectors = re.findall(r"\b(swarmguard_\w+)(?:\{([^}]*)\})?", query)
    assert selectors
    return {name: {*re.findall(r"(\w+)[=!]", matchers)} - {"job", "__name__"} for name, matchers in selectors}


@pytest.mark.parametrize("query", [*QUERIES, ALERTS], ids=str)
def test_what_is_asked_for_is_exported(exported, query):
    """Each series of a query is one that is exported, with these labels."""
    for name, labels in asked(query).items():
        assert labels <= exported[name]


def test_everything_is_shown(exported):
    """Each metric that is exported has a panel."""
    shown = {name for query in QUERIES for name in asked(query)}
    assert shown == {name for name in exported if not name.endswith(("_created", "_count", "_sum"))}


def test_prometheus_understands_every_query(promtool, tmp_path):
    """Prometheus's own parser takes each query, once Grafana's variables have their values."""
    queries = list(QUERIES)
    for variable, value in GRAFANA.items():
        queries = [query.replace(variable, value) for query in queries]
    rules = [{"record": f"query_{number}", "expr": query} for number, query in enumerate(queries)]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}), encoding="utf-8")  # JSON is YAML
    promtool("check", "rules", file)


def test_the_alerts_fire(promtool, tmp_path):
    """The alerts of the documentation are valid rules, and fire when they should, and not before."""
    (tmp_path / "rules.yml").write_text(ALERTS, encoding="utf-8")
    (tmp_path / "test.yml").write_text(ALERTS_TEST, encoding="utf-8")
    promtool("check", "rules", tmp_path / "rules.yml")
    promtool("test", "rules", tmp_path / "test.yml")


def test_the_dashboard_can_be_imported():
    """It has what Grafana wants of a file to import, and every panel takes the data source that is chosen there."""
    assert DASHBOARD["id"] is None
    assert DASHBOARD["schemaVersion"] >= 41
    assert VARIABLES["datasource"]["type"] == "datasource"
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    for panel in PANELS:
        assert panel["datasource"] == chosen
        assert all(target["datasource"] == chosen for target in panel["targets"])
        assert panel["title"]
        assert panel["description"]


def test_the_dashboard_uses_its_variables():
    """Every variable in a query is defined or Grafana's own, and every one that is defined is used."""
    used = {name for query in QUERIES for name in re.findall(r"\$(\w+)", query)}
    assert used - {"__rate_interval"} == set(VARIABLES) - {"datasource"}


def test_no_panels_overlap():
    """Each panel has its place on the 24 columns to itself."""
    taken = set()
    for panel in DASHBOARD["panels"]:
        grid = panel["gridPos"]
        cells = {
            (x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken
        taken |= cells
