"""Shared by all tests: both event loops, a clock that only the test advances, and a recorder of events."""

from __future__ import annotations

import functools
import os
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from swarmguard.testing import EventRecorder, FakeClock

# A forked child is not traced. Its coverage would be lost, and a lock of coverage that another thread holds at the fork
# would block it. This runs before swarmguard is imported, or the package's hook would be traced first.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=functools.partial(sys.settrace, None))

# HYPOTHESIS_PROFILE chooses one: `local` tries new examples in every run, `ci` tries more, and the same each time, so
# that a failure can be repeated; `quick` is a short `ci`, for the runs that repeat the suite on other versions. They
# have no deadline, since the speed of the machine is not tested.
settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, max_examples=300, print_blob=True)
settings.register_profile("quick", parent=settings.get_profile("ci"), max_examples=30)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "local"))


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run the test on asyncio, then on trio."""
    return request.param


@pytest.fixture
def clock() -> FakeClock:
    """Give a clock that only the test advances."""
    from swarmguard.testing import FakeClock

    return FakeClock()


@pytest.fixture
def events() -> EventRecorder:
    """Give a sink that keeps every event."""
    from swarmguard.testing import EventRecorder

    return EventRecorder()


@pytest.fixture
def explored(record_property: Callable[[str, object], None]) -> Callable[[str, int], None]:
    """Give a function that counts what a test explores, by kind; the summary of the run shows the sums."""
    return lambda kind, number: record_property(f"explored {kind}", number)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the tests of this run have explored, from the reports of all workers."""
    sums: Counter[str] = Counter()
    for report in terminalreporter.stats.get("passed", []):
        for name, number in report.user_properties:
            if name.startswith("explored "):
                sums[name] += number
    for name, number in sorted(sums.items()):
        terminalreporter.write_line(f"{name}: {number:,}")
