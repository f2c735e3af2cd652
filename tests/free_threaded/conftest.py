"""The tests of this folder need a Python that runs threads in parallel, so they are skipped where the GIL is on."""

from __future__ import annotations

import pytest

from tests.breaker_tools import HAS_GIL


@pytest.fixture(autouse=True)
def free_threaded() -> None:
    """Skip the test where threads do not run in parallel."""
    if HAS_GIL:
        pytest.skip("this Python has a GIL")
