"""Two agents with one problem each: one crashes, one hangs. The overseer restarts both.

Both send their heartbeats themselves (`heartbeat="manual"`), so that the overseer
notices an agent that hangs.
"""

from functools import partial

import anyio

from swarmguard import AgentHandle, Event, Overseer, OverseerConfig


def report(event: Event) -> None:
    """Print what happens to the agents."""
    topic = event.topic.removeprefix("arb.swarm.agent.")
    print(event.payload["agent_type"], topic, event.payload.get("reason", ""))


# The defaults are 10, 30 and 60 seconds; this program is in a hurry.
config = OverseerConfig(
    heartbeat_interval_secs=0.1,
    heartbeat_timeout_secs=0.5,
    restart_cooldown_secs=0.1,
)
overseer = Overseer(config, sink=report)


async def forecaster(agent: AgentHandle) -> None:
    """Crash in the first incarnation, work in the second."""
    await agent.checkpoint()
    if overseer.get_agent_status(agent.agent_id).restart_count == 0:
        raise ValueError("cannot parse the forecast")
    agent.success()


async def assistant(agent: AgentHandle) -> None:
    """Hang in the first incarnation, work in the second."""
    await agent.checkpoint()
    if overseer.get_agent_status(agent.agent_id).restart_count == 0:
        await anyio.sleep_forever()  # a request without a timeout, for example
    agent.success()


async def main() -> None:
    """Run both agents until they are done."""
    supervise = partial(overseer.supervise, heartbeat="manual")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(supervise, "Forecaster", forecaster)
        tasks.start_soon(supervise, "Assistant", assistant)


anyio.run(main)
