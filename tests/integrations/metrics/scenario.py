"""A scripted run of a small swarm, and the metrics that it must produce."""

from __future__ import annotations

import threading

from swarmguard import (
    AgentHealth,
    CircuitBreakerConfig,
    CircuitBreakerRegistry,
    CircuitOpenError,
    CircuitState,
    Overseer,
    OverseerConfig,
)
from swarmguard.testing import FakeClock

STATES = {"jupiter": CircuitState.CLOSED, "kraken": CircuitState.OPEN}
MOVES = {
    ("jupiter", "Open", "threshold"): 1,
    ("jupiter", "HalfOpen", "probe_admitted"): 1,
    ("jupiter", "Closed", "recovered"): 1,
    ("kraken", "Open", "tripped"): 2,
}
CALLS = {
    ("jupiter", "success"): 2,
    ("jupiter", "failure"): 2,
    ("jupiter", "neutral"): 1,
    ("jupiter", "stale"): 1,
    ("jupiter", "refused"): 1,
    ("kraken", "refused"): 2,
}
DURATIONS = {"jupiter": (6, 2.25)}  # the number of calls that ran, and the sum of their seconds
AGENTS = {
    ("Scanner", AgentHealth.HEALTHY): 1,
    ("Scanner", AgentHealth.DEAD): 1,
    ("Courier", AgentHealth.DEGRADED): 1,
}
AGES = {"Scanner": 9.0, "Courier": 2.0}
RESTARTS = {"Scanner": 1, "Courier": 0}
EXHAUSTIONS = {"Scanner": 1, "Courier": 0}


class Swarm:
    """Two circuits and three agents, connected to `metrics` in every way."""

    def __init__(self, metrics):
        self.clock = FakeClock()
        self.breakers = CircuitBreakerRegistry(
            CircuitBreakerConfig(failure_threshold=2, success_threshold=1, timeout_duration=30),
            clock=self.clock,
            sink=metrics,
            observer=metrics.observe,
        )
        self.overseer = Overseer(OverseerConfig(max_restart_attempts=1), clock=self.clock, sink=metrics)
        metrics.watch(self.breakers, self.overseer)

    def run(self):
        """Run the whole script."""
        self.call_jupiter()
        self.trip_kraken()
        self.run_agents()

    def call_jupiter(self):
        """Open the circuit by two failures while another call runs, and close it by a probe half a minute later."""
        jupiter = self.breakers.get_or_create("jupiter")
        jupiter.call(self.clock.advance, 0.25)
        late = jupiter.acquire()
        jupiter.acquire().release()
        for _ in range(2):
            with jupiter.acquire() as permit:
                self.clock.advance(0.5)
                permit.fail()
        late.succeed()
        refused(jupiter)
        self.clock.advance(30)
        jupiter.call(int)

    def trip_kraken(self):
        """Trip the circuit twice, and have it refuse two calls."""
        kraken = self.breakers.get_or_create("kraken")
        kraken.trip()
        kraken.trip()
        refused(kraken)
        refused(kraken)

    def run_agents(self):
        """Restart one scanner, exhaust the other, and degrade the courier."""
        alice, bob = (self.overseer.register_agent("Scanner") for _ in range(2))
        for _ in range(6):
            self.overseer.record_agent_failure(alice, "no feed")
        self.overseer.begin_restart(alice)
        self.overseer.record_agent_recovery(alice)
        self.clock.advance(7)
        courier = self.overseer.register_agent("Courier")
        self.overseer.record_agent_failure(courier, "lost")
        self.overseer.record_agent_heartbeat(alice)
        self.overseer.record_restart_failure(bob, "no feed")
        self.clock.advance(2)


def refused(breaker):
    """Make a call that the breaker refuses."""
    try:
        breaker.call(int)
    except CircuitOpenError:
        return
    raise AssertionError("the call was admitted")


def at_once(*actions):
    """Run each action fifty times in each of two threads, all at once, and raise the first error."""
    together = threading.Barrier(2 * len(actions))
    errors = []

    def repeat(action):
        together.wait()
        try:
            for turn in range(50):
                action(turn)
        except BaseException as exc:  # noqa: BLE001 - raised below
            errors.append(exc)

    threads = [threading.Thread(target=repeat, args=[action]) for action in 2 * actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
