"""Overseers under every schedule of a few threads, within bounds."""

from __future__ import annotations

import pytest

from swarmguard import OverseerConfig
from tests.schedules.exploring import explore, linearizable
from tests.schedules.worlds import PureSwarm, Step, Swarm, doing

CONFIG = OverseerConfig(max_restart_attempts=1, restart_cooldown_secs=0)
ONE = (("register", 1),)
FIVE_FAILURES = (*ONE, *[("failure", 1, "broken")] * 5)
DEAD = (*ONE, *[("failure", 1, "broken")] * 6)
SILENT = (*ONE, ("advance", 30))

SCENARIOS: dict[str, tuple[tuple[Step, ...], list[tuple[Step, ...]]]] = {
    "the last failure meets a success": (
        FIVE_FAILURES,
        [(("failure", 1, "again"),), (("success", 1),), (("needing",), ("status", 1))],
    ),
    "three failures": (
        FIVE_FAILURES,
        [(("failure", 1, "first"),), (("failure", 1, "second"),), (("failure", 1, "third"),)],
    ),
    "an id is taken twice": ((), [(("register", 1),), (("register", 1),), (("unregister", 1),)]),
    "an agent is unregistered": (ONE, [(("unregister", 1),), (("failure", 1, "broken"),), (("heartbeat", 1),)]),
    "a heartbeat meets the check": (SILENT, [(("check",),), (("heartbeat", 1),), (("check",),)]),
    "silence while time passes": (ONE, [(("advance", 30), ("check",)), (("heartbeat", 1),), (("status", 1),)]),
    "one restart is claimed twice": (
        DEAD,
        [(("begin_restart", 1),), (("begin_restart", 1),), (("recover", 1),)],
    ),
    "a restart ends twice": (
        (*DEAD, ("begin_restart", 1)),
        [(("recover", 1),), (("restart_failed", 1, "no"),), (("needing",),)],
    ),
    "the last restart fails and the agent is reset": (
        (*DEAD, ("begin_restart", 1)),
        [(("restart_failed", 1, "no"),), (("reset", 1),), (("needing",),)],
    ),
    "a pause meets the check": (SILENT, [(("pause",),), (("check",),), (("resume",),)]),
    "pausing and resuming": ((), [(("pause",), ("resume",)), (("pause",),), (("paused",), ("paused",))]),
    "the whole swarm is read": (
        (*ONE, ("register", 2)),
        [(("failure", 1, "broken"), ("failure", 2, "broken")), (("swarm",), ("swarm",)), (("unregister", 2),)],
    ),
}


@pytest.mark.parametrize(("before", "programs"), SCENARIOS.values(), ids=SCENARIOS)
def test_overseers_are_linearizable(before, programs, explored) -> None:
    """The threads get the answers of an overseer that runs one call at a time [O3] [O4] [O7] [O9] [C6] [T36]."""
    threads = [doing(*steps) for steps in programs]
    explored(
        "schedules", explore(lambda: Swarm(CONFIG, *before), threads, linearizable(lambda: PureSwarm(CONFIG, *before)))
    )
