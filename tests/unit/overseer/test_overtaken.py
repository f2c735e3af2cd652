"""Reports that another thread, and time, overtake after they have read the clock."""

from __future__ import annotations

import pytest

from swarmguard import Overseer, OverseerConfig
from tests.overtaken import OvertakenClock

READINGS = {
    "status": lambda overseer, agent: overseer.get_agent_status(agent),
    "statuses": lambda overseer, agent: overseer.get_all_agent_statuses(),
    "swarm": lambda overseer, agent: overseer.get_swarm_status(),
    "needing": lambda overseer, agent: overseer.get_agents_needing_restart(),
}


@pytest.mark.parametrize("read", READINGS.values(), ids=READINGS)
def test_a_late_report_does_not_undo_a_reading(read):
    """A late failure is not older than a reading before it, so it is not cleared too early [O3] [O10]."""
    clock = OvertakenClock()
    overseer = Overseer(OverseerConfig(failure_memory_secs=30), clock=clock)
    agent = overseer.register_agent("Scanner")
    clock.others = [lambda: (clock.advance(20), read(overseer, agent))]
    overseer.record_agent_failure(agent, "late")
    clock.advance(29)
    overseer.record_agent_heartbeat(agent)
    assert overseer.get_agent_status(agent).consecutive_failures == 1
    clock.advance(1)
    overseer.record_agent_heartbeat(agent)
    assert overseer.get_agent_status(agent).consecutive_failures == 0
