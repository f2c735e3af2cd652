"""A breaker and an agent that report to the log and to Prometheus, and the metrics that Prometheus scrapes.

`grafana-dashboard.json` in this folder shows these metrics in Grafana.
"""

import logging
import sys
from urllib.request import urlopen

import anyio
from prometheus_client import start_http_server

from swarmguard import (
    AgentHandle,
    CircuitBreakerConfig,
    CircuitBreakerRegistry,
    CircuitOpenError,
    Event,
    Overseer,
    OverseerConfig,
)
from swarmguard.logging import LoggingSink
from swarmguard.prometheus import PrometheusMetrics

logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(levelname)-8s %(message)s")
log, metrics = LoggingSink(), PrometheusMetrics()


def sink(event: Event) -> None:
    """Log the event, and count it."""
    log(event)
    metrics(event)


breakers = CircuitBreakerRegistry(CircuitBreakerConfig(failure_threshold=2), sink=sink, observer=metrics.observe)
overseer = Overseer(OverseerConfig(restart_cooldown_secs=0.01), sink=sink, registry=breakers)
metrics.watch(overseer)


@breakers.get_or_create("weather")
def forecast() -> str:
    """Stand in for a request to an API that is down."""
    raise ConnectionError("the API does not answer")


async def forecaster(agent: AgentHandle) -> None:
    """Crash while the API fails; work without it once the circuit is open."""
    try:
        forecast()
    except CircuitOpenError:
        agent.success()


server, thread = start_http_server(0, addr="127.0.0.1")  # in production, a fixed port for Prometheus to scrape
overseer.register_agent("Assistant")
anyio.run(overseer.supervise, "Forecaster", forecaster)

print()
with urlopen(f"http://127.0.0.1:{server.server_port}/metrics") as answer:
    for line in answer.read().decode().splitlines():
        if line.startswith("swarmguard") and "_created" not in line and "_bucket" not in line:
            print(line)

server.shutdown()
server.server_close()
thread.join()
