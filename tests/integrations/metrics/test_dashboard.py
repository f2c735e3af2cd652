"""The Grafana dashboard and the documented alerts: their queries parse and use existing metrics."""

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
    """Return the labels of every exported series by its name."""
    registry = CollectorRegistry()
    swarm = Swarm(PrometheusMetrics(registry=registry))
    swarm.run()
    return {sample.name: {*sample.labels} for family in registry.collect() for sample in family.samples}


def selected(query):
    """Return the labels that a query selects by, for each of its series."""
    selectors = re.findall(r"\b(swarmguard_\w+)(?:\{([^}]*)\})?", query)
    assert selectors
    return {name: {*re.findall(r"(\w+)[=!]", matchers)} - {"job", "__name__"} for name, matchers in selectors}


@pytest.mark.parametrize("query", [*QUERIES, ALERTS], ids=str)
def test_queries_use_exported_metrics(exported, query):
    """Each series of a query is exported with the labels that the query uses."""
    for name, labels in selected(query).items():
        assert labels <= exported[name]


def test_everything_is_shown(exported):
    """Each exported metric has a panel."""
    shown = {name for query in QUERIES for name in selected(query)}
    assert shown == {name for name in exported if not name.endswith(("_created", "_count", "_sum"))}


def test_prometheus_understands_every_query(promtool, tmp_path):
    """Prometheus's own parser accepts each query, with Grafana's variables replaced."""
    queries = list(QUERIES)
    for variable, value in GRAFANA.items():
        queries = [query.replace(variable, value) for query in queries]
    rules = [{"record": f"query_{number}", "expr": query} for number, query in enumerate(queries)]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}), encoding="utf-8")  # JSON is YAML
    promtool("check", "rules", file)


def test_the_alerts_fire(promtool, tmp_path):
    """The documented alerts are valid rules, and fire when they should and not before."""
    (tmp_path / "rules.yml").write_text(ALERTS, encoding="utf-8")
    (tmp_path / "test.yml").write_text(ALERTS_TEST, encoding="utf-8")
    promtool("check", "rules", tmp_path / "rules.yml")
    promtool("test", "rules", tmp_path / "test.yml")


def test_the_dashboard_can_be_imported():
    """The dashboard has what Grafana requires, and every panel uses the chosen data source."""
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
    """Every variable in a query is defined, and every defined variable is used."""
    used = {name for query in QUERIES for name in re.findall(r"\$(\w+)", query)}
    assert used - {"__rate_interval"} == set(VARIABLES) - {"datasource"}


def test_no_panels_overlap():
    """No two panels overlap on the grid of 24 columns."""
    taken = set()
    for panel in DASHBOARD["panels"]:
        grid = panel["gridPos"]
        cells = {
            (x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken
        taken |= cells
