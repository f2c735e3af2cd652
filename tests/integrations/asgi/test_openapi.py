"""The OpenAPI document."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx2

from swarmguard import CircuitBreakerRegistry, Overseer
from swarmguard.asgi import create_app
from tests.integrations.asgi.serving import serving


def test_the_document(url: str, client: httpx2.Client) -> None:
    """The document lists every path, and the path that the application is mounted at."""
    document = client.get("/swarm/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    assert document["servers"] == [{"url": httpx2.URL(url).path}]
    assert "/swarm/events" in document["paths"]
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations) == 16


def test_without_a_bus(overseer: Overseer) -> None:
    """Without a bus, the document has no event stream."""
    with serving(create_app(overseer, authorize=lambda _: True)) as url:
        assert "/swarm/events" not in httpx2.get(f"{url}/swarm/openapi.json").json()["paths"]


def test_schemathesis(overseer: Overseer, registry: CircuitBreakerRegistry, tmp_path: Path) -> None:
    """The application accepts what the document allows, refuses other requests, and responds as documented."""
    for name in ("jupiter", "a/b"):
        registry.get_or_create(name)
    with serving(create_app(overseer, authorize=lambda _: True)) as url:
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{url}/swarm/openapi.json"),
            *("--phases", "coverage,fuzzing,stateful", "--max-examples", "5", "--checks", "all"),
            *("--generation-deterministic", "--no-color", "--suppress-health-check", "all"),
        ]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Tested: 14" in result.stdout
