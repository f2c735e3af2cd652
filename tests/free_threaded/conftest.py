"""The tests of this folder need a Python that runs threads in parallel, so they are skipped where the GIL is on."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture(autouse=True)
def free_threaded() -> None:
    """Skip the test where threads do not run in parallel."""
    if getattr(sys, "_is_gil_enabled", lambda: True)():
        pytest.skip("this Python has a GIL")
