"""An agent in another process, which needs an HTTP client but not swarmguard.

This program is the host: it has the overseer and the HTTP server, and restarts agents. The agent is the program in
`AGENT`, which another Python process runs. It registers, sends heartbeats, and fails until it is Dead. Then the host
restarts it, and it works.
"""

from __future__ import annotations

import os
import secrets
import socket
import sys
from uuid import UUID

import anyio
import uvicorn
from starlette.requests import Request

from swarmguard import Event, EventBus, Overseer, OverseerConfig
from swarmguard.asgi import create_app

AGENT = """
import os

import httpx2

broken = os.environ["BROKEN"] == "yes"
headers = {"Authorization": "Bearer " + os.environ["TOKEN"]}
with httpx2.Client(base_url=os.environ["SWARM"], headers=headers) as swarm:
    me = {"agent_id": os.environ.get("AGENT_ID")}
    if me["agent_id"] is None:
        registered = swarm.post("/swarm/agents", json={"agent_type": "Forecaster"}).raise_for_status()
        me["agent_id"] = registered.json()["agent_id"]
    swarm.post("/swarm/heartbeat", json=me).raise_for_status()
    for attempt in range(6):
        if broken:
            swarm.post("/swarm/failure", json=me | {"error": "no answer from the weather API"}).raise_for_status()
        else:
            swarm.post("/swarm/success", json=me).raise_for_status()
    print(swarm.get("/swarm/agents/" + me["agent_id"]).json()["health"])
"""

TOKEN = secrets.token_urlsafe()


def authorize(request: Request) -> bool:
    """Allow requests that carry the token."""
    return secrets.compare_digest(request.headers.get("authorization", "").encode(), f"Bearer {TOKEN}".encode())


async def run_agent(url: str, *, broken: bool, agent_id: UUID | None = None) -> str:
    """Run the agent in a new process, and return what it prints."""
    environment = os.environ | {"SWARM": url, "TOKEN": TOKEN, "BROKEN": "yes" if broken else "no"}
    if agent_id is not None:
        environment["AGENT_ID"] = str(agent_id)
    process = await anyio.run_process([sys.executable, "-c", AGENT], env=environment, stderr=None)
    return process.stdout.decode().strip()


def report(event: Event) -> None:
    """Print what happens to the agent."""
    health = event.payload.get("health", "")
    print(f"host:  {event.topic.removeprefix('arb.swarm.')} {health}".rstrip())


async def main() -> None:
    """Start the server and an agent that fails, and restart the agent."""
    bus = EventBus()

    def sink(event: Event) -> None:
        report(event)
        bus(event)

    overseer = Overseer(OverseerConfig(heartbeat_interval_secs=0.1), sink=sink)
    app = create_app(overseer, authorize=authorize, bus=bus)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))

    async def restart(agent_id: UUID, agent_type: str) -> None:
        print(f"host:  restarting {agent_type}")
        print("agent:", await run_agent(url, broken=False, agent_id=agent_id))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with anyio.create_task_group() as host:
            host.start_soon(server.serve, [listener])
            async with anyio.create_task_group() as watch:
                with bus.subscribe("arb.swarm.agent.recovered") as recoveries:
                    print("agent:", await run_agent(url, broken=True))
                    watch.start_soon(overseer.run, restart)
                    await anext(recoveries)
                watch.cancel_scope.cancel()
            print("host: ", overseer.get_swarm_health().overall_health)
            server.should_exit = True


if __name__ == "__main__":
    anyio.run(main)
