"""The integrations do not affect users who do not use them."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Each integration with an extra, and a library that it cannot do without.
LIBRARIES = {
    "asgi": "sse_starlette",
    "httpx": "httpx",
    "httpx2": "httpx2",
    "otel": "opentelemetry",
    "prometheus": "prometheus_client",
}


@pytest.mark.parametrize("module", LIBRARIES)
def test_a_missing_library(module: str) -> None:
    """Importing an integration without its library raises an error with the command that installs it."""
    program = f"import sys; sys.modules['{LIBRARIES[module]}'] = None; import swarmguard.{module}"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.stderr.splitlines()[-1] == (
        f"ImportError: swarmguard.{module} cannot be imported (import of {LIBRARIES[module]} halted; "
        f'None in sys.modules): pip install "swarmguard[{module}]"'
    )


def test_the_package_imports_no_integration() -> None:
    """Importing swarmguard and all its names loads no library of an integration."""
    program = "import sys; from swarmguard import *; import swarmguard.testing; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {name.split(".")[0] for name in result.stdout.split()} & set(LIBRARIES.values())
