"""Overseers under every schedule of two threads within the bound; `THREADS=3` runs three."""

from __future__ import annotations

from functools import partial

import pytest

from swarmguard import OverseerConfig
from tests.schedules.exploring import explore_each, linearizable
from tests.schedules.worlds import Step, Swarm, doing

CONFIG = OverseerConfig(max_restart_attempts=1, restart_cooldown_secs=0)
ONE = (("register", 1),)
FIVE_FAILURES = (*ONE, *[("failure", 1, "broken")] * 5)
DEAD = (*ONE, *[("failure", 1, "broken")] * 6)
SILENT = (*ONE, ("advance", 30))

SCENARIOS: dict[str, tuple[tuple[Step, ...], list[tuple[Step, ...]]]] = {
    "the last failure and a success": (
        FIVE_FAILURES,
        [(("failure", 1, "again"),), (("success", 1),), (("needing_restart",), ("status", 1))],
    ),
    "three failures": (
        FIVE_FAILURES,
        [(("failure", 1, "first"),), (("failure", 1, "second"),), (("failure", 1, "third"),)],
    ),
    "an id is registered twice": ((), [(("register", 1),), (("register", 1),), (("unregister", 1),)]),
    "an agent is unregistered": (ONE, [(("unregister", 1),), (("failure", 1, "broken"),), (("heartbeat", 1),)]),
    "a heartbeat and a check": (SILENT, [(("check",),), (("heartbeat", 1),), (("check",),)]),
    "silence while time passes": (ONE, [(("advance", 30), ("check",)), (("heartbeat", 1),), (("status", 1),)]),
    "one restart is claimed twice": (
        DEAD,
        [(("begin_restart", 1),), (("begin_restart", 1),), (("recover", 1),)],
    ),
    "a restart ends twice": (
        (*DEAD, ("begin_restart", 1)),
        [(("recover", 1),), (("restart_failed", 1, "no"),), (("needing_restart",),)],
    ),
    "the last restart fails and the agent is reset": (
        (*DEAD, ("begin_restart", 1)),
        [(("restart_failed", 1, "no"),), (("reset", 1),), (("needing_restart",),)],
    ),
    "a pause and a check": (SILENT, [(("check",),), (("pause",),), (("resume",),)]),
    "pausing and resuming": ((), [(("pause",), ("resume",)), (("pause",),), (("paused",), ("paused",))]),
    "the whole swarm is read": (
        (*ONE, ("register", 2)),
        [(("failure", 1, "broken"), ("failure", 2, "broken")), (("swarm",), ("swarm",)), (("unregister", 2),)],
    ),
}


@pytest.mark.parametrize(("before", "programs"), SCENARIOS.values(), ids=SCENARIOS)
def test_overseers_are_linearizable(before, programs, explored) -> None:
    """In every schedule, threads see an overseer that does one thing at a time [O3] [O4] [O7] [O9] [C6] [T36]."""
    make = partial(Swarm, CONFIG, *before)
    explored("schedules", explore_each(make, [doing(*steps) for steps in programs], linearizable(make)))
