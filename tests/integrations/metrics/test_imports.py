"""Who imports what: nothing is loaded that was not asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest


def run(code):
    """Run the code in an interpreter of its own, with warnings as errors."""
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("module", ["otel", "prometheus"])
def test_neither_loads_the_overseer(module):
    """Metrics of breakers alone load nothing of the overseer's."""
    done = run(f"import sys, swarmguard.{module}; print(*sys.modules)")
    assert not [name for name in done.stdout.split() if name.startswith("swarmguard._overseer")]


def test_otel_needs_the_api_alone():
    """The SDK is the program's own affair."""
    done = run("import sys, swarmguard.otel; print(*sys.modules)")
    assert not [name for name in done.stdout.split() if name.startswith("opentelemetry.sdk")]
