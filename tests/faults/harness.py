"""What the fault tests share: parallel jobs, and checks that hold after any fault."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from swarmguard import AgentHealth, BreakerMode, CircuitBreaker, CircuitState, Overseer
from swarmguard._breaker.machine import TRANSITIONS, Trigger
from swarmguard.testing import EventRecorder, FakeClock
from tests.breaker_tools import fail, refused, succeed
from tests.threads.interleave import wait_for


def side_by_side(*jobs: Callable[[], Any]) -> list[Any]:
    """Run the jobs at once, each in its own thread, and return their results; raise the first error."""
    results: dict[int, Any] = {}
    errors: list[BaseException] = []

    def work(index: int) -> None:
        try:
            results[index] = jobs[index]()
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(index,), daemon=True) for index in range(len(jobs))]
    for thread in threads:
        thread.start()
    wait_for(threads)
    if errors:
        raise errors[0]
    return [results[index] for index in range(len(jobs))]


def check_numbers(events: EventRecorder) -> None:
    """Check that each emitter's events are complete, in order and without duplicates."""
    last: Counter[str] = Counter()
    for event in events.events:
        last[event.source] += 1
        assert event.sequence == last[event.source], events.events


def check_transitions(events: EventRecorder, breaker: CircuitBreaker) -> None:
    """Check that the events of this breaker follow the transition table and end in its current state."""
    check_numbers(events)
    state = CircuitState.CLOSED
    for event in events.events:
        if event.source == breaker.name and not event.topic.endswith("mode_changed"):
            assert event.payload["previous_state"] == state
            state = TRANSITIONS[state, Trigger(event.payload["reason"])]
            assert event.payload["state"] == state
    assert state is breaker.state is breaker.status().state


def take_round(breaker: CircuitBreaker, clock: FakeClock) -> None:
    """Reset the breaker, and take it through all its states."""
    breaker.set_mode(BreakerMode.NORMAL)
    breaker.reset()
    succeed(breaker)
    fail(breaker, breaker.config.failure_threshold)
    refused(breaker)
    clock.advance(breaker.retry_after)
    succeed(breaker, breaker.config.success_threshold)
    assert breaker.state is breaker.status().state is CircuitState.CLOSED


def check_counts(overseer: Overseer) -> None:
    """Check that the swarm's counts match its agents."""
    health = overseer.get_swarm_health()
    counted = Counter(status.health for status in overseer.get_all_agent_statuses())
    assert counted == {
        health: number
        for health, number in {
            AgentHealth.HEALTHY: health.healthy_agents,
            AgentHealth.DEGRADED: health.degraded_agents,
            AgentHealth.UNHEALTHY: health.unhealthy_agents,
            AgentHealth.DEAD: health.dead_agents,
        }.items()
        if number
    }
    assert health.total_agents == counted.total()
    assert health.overall_health == max(counted, default=AgentHealth.HEALTHY)
