"""The imports of the metrics modules."""

from __future__ import annotations

import subprocess
import sys

import pytest


def run(code):
    """Run code in a new interpreter, with warnings as errors."""
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("module", ["otel", "prometheus"])
def test_neither_loads_the_overseer(module):
    """Neither module imports the overseer."""
    done = run(f"import sys, swarmguard.{module}; print(*sys.modules)")
    assert not [name for name in done.stdout.split() if name.startswith("swarmguard._overseer")]


def test_otel_needs_only_the_api():
    """`swarmguard.otel` does not import OpenTelemetry's SDK."""
    done = run("import sys, swarmguard.otel; print(*sys.modules)")
    assert not [name for name in done.stdout.split() if name.startswith("opentelemetry.sdk")]
