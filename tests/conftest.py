"""What all tests share: both event loops, a clock that stands still until it is moved, and a recorder of events."""

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

# A forked child is not traced. Its lines would be lost anyway, and coverage's own lock, held by another thread at the
# fork, would hang it. This comes before swarmguard is imported, since the package's hook would be traced first.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=functools.partial(sys.settrace, None))

# HYPOTHESIS_PROFILE picks one: `local` looks at something new in every run, `ci` looks deeper and always at the same,
# so that a red run is red again when it is repeated; `quick` is `ci` in short, for the runs that repeat the suite on
# other versions. None has a deadline: how fast a machine is proves nothing.
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
    """Give a clock whose time only the test moves."""
    from swarmguard.testing import FakeClock

    return FakeClock()


@pytest.fixture
def events() -> EventRecorder:
    """Give a sink that keeps every event."""
    from swarmguard.testing import EventRecorder

    return EventRecorder()


@pytest.fixture
def explored(record_property: Callable[[str, object], None]) -> Callable[[str, int], None]:
    """Give a function that counts what a test went through, by kind: the summary of the run tells the sums."""
    return lambda kind, number: record_property(f"explored {kind}", number)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell what the tests of this run went through, from every worker's reports."""
    sums: Counter[str] = Counter()
    for report in terminalreporter.stats.get("passed", []):
        for name, number in report.user_properties:
            if name.startswith("explored "):
                sums[name] += number
    for name, number in sorted(sums.items()):
        terminalreporter.write_line(f"{name}: {number:,}")
