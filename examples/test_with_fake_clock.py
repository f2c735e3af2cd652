"""Tests of code that uses swarmguard: a clock that only the test moves, and a sink that records every event.

Run this file with pytest. The tests never sleep: 30 seconds, or a day, pass at once.
"""

from __future__ import annotations

from functools import partial
from uuid import UUID

import anyio
import pytest

from swarmguard import AgentHandle, AgentHealth, CircuitBreaker, CircuitOpenError, CircuitState, Overseer
from swarmguard.testing import EventRecorder, FakeClock


class Payments:
    """The code under test: the client of a service, with a breaker."""

    def __init__(self, breaker: CircuitBreaker) -> None:
        self.up = True
        self.pay = breaker(self._pay)

    def _pay(self, amount: int) -> str:
        if not self.up:
            raise ConnectionError("the service does not answer")
        return f"paid {amount}"


def test_open_circuit_protects_the_service_and_recovers() -> None:
    """Five failures open the circuit; 30 seconds later, three successful probes close it."""
    clock, recorder = FakeClock(), EventRecorder()
    breaker = CircuitBreaker("payments", clock=clock, sink=recorder)
    payments = Payments(breaker)

    payments.up = False
    for _ in range(5):
        with pytest.raises(ConnectionError):
            payments.pay(10)
    with pytest.raises(CircuitOpenError) as refusal:
        payments.pay(10)
    assert refusal.value.retry_after == 30

    payments.up = True
    clock.advance(30)
    for _ in range(3):
        assert payments.pay(10) == "paid 10"
    assert breaker.state is CircuitState.CLOSED
    assert recorder.topics == [
        "arb.swarm.circuit.opened",
        "arb.swarm.circuit.half_opened",
        "arb.swarm.circuit.closed",
    ]


def test_one_failed_probe_opens_the_circuit_again() -> None:
    """A failed probe opens the circuit for another 30 seconds."""
    clock, recorder = FakeClock(), EventRecorder()
    breaker = CircuitBreaker("payments", clock=clock, sink=recorder)
    payments = Payments(breaker)

    payments.up = False
    breaker.trip()
    clock.advance(30)
    with pytest.raises(ConnectionError):
        payments.pay(10)
    assert breaker.retry_after == 30
    assert recorder.events[-1].payload["reason"] == "probe_failed"


@pytest.mark.anyio
async def test_an_agent_that_hangs_is_restarted() -> None:
    """An agent without a heartbeat for 30 s is restarted at once, and the next time after a cooldown of 60 s."""
    clock = FakeClock()
    overseer = Overseer(clock=clock)
    starts: list[float] = []

    async def forecaster(agent: AgentHandle) -> None:
        agent.heartbeat()
        starts.append(clock.monotonic())
        await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(overseer.supervise, "Forecaster", forecaster, heartbeat="manual"))
        await clock.run_for(100)
        tasks.cancel_scope.cancel()
    assert starts == [0, 30, 90]


@pytest.mark.anyio
async def test_host_restarts_a_dead_agent() -> None:
    """The overseer's loop finds an agent without heartbeats, and calls `restart` for it."""
    clock, recorder = FakeClock(), EventRecorder()
    overseer = Overseer(clock=clock, sink=recorder)
    forecaster = overseer.register_agent("Forecaster")
    restarted: list[tuple[UUID, str]] = []

    async def restart(agent_id: UUID, agent_type: str) -> None:
        restarted.append((agent_id, agent_type))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(overseer.run, restart)
        await clock.run_for(29)
        assert restarted == []
        await clock.run_for(1)
        assert restarted == [(forecaster, "Forecaster")]
        tasks.cancel_scope.cancel()
    assert overseer.get_agent_status(forecaster).health is AgentHealth.HEALTHY
    assert recorder.topics == ["arb.swarm.agent.started", "arb.swarm.agent.failed", "arb.swarm.agent.recovered"]
