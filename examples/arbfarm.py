"""ArbFarm, a small trading farm: a swarm of agents, and three HTTP services that fail.

The services run on this machine and fail one after another, each in its own way: jupiter_api answers 503, helius_rpc
accepts requests and never answers, birdeye_api refuses connections and later sends broken JSON. Five agents use them:

    Scanner     reads prices from birdeye_api, and crashes on an answer that it cannot parse
    Strategist  reads routes from jupiter_api, and keeps failing when that service removes them
    Executor    reads quotes from jupiter_api and block hashes from helius_rpc
    Harvester   waits for notices from helius_rpc without a timeout or a breaker, so it hangs when the service hangs
    Archivist   reads history from birdeye_api; it is not supervised, the overseer's `run` has it restarted

The agents call the services through circuit breakers, an overseer monitors the agents, and an operator breaks things,
repairs them, and pauses the swarm. Only the operator follows a script. Each of its steps waits for the expected events.
If they do not come, the program reports it and ends with exit status 1.

With --json, every line on stdout is an object with a "kind" and the "elapsed" seconds: an "event" has the fields of
`Event.to_dict()`; "opening", "chapter" and "told" are the story around the events; "status" is the status of the swarm
at the end, and "verdict" a summary in numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from typing import Literal
from uuid import UUID

import anyio
from anyio import to_thread
from arbfarm_parts.services import CALL_ERRORS, Mode, Service, StatusError, http_get
from arbfarm_parts.terminal import Chronicle, StoryError

from swarmguard import (
    AgentExhaustedError,
    AgentHandle,
    CallRecord,
    CircuitBreakerConfig,
    CircuitBreakerRegistry,
    CircuitState,
    EventBus,
    Overseer,
    OverseerConfig,
)

CALL_TIMEOUT = 0.5  # the timeout of a call to a service, in seconds
TURN = 0.1  # the pause between two turns of an agent, in seconds

# Only the durations differ from those of a real swarm, so that the program is short.
BREAKERS = CircuitBreakerConfig(
    failure_threshold=3,
    success_threshold=2,
    timeout_duration=1.0,
    half_open_max_calls=1,
    success_exceptions=lambda exc: isinstance(exc, StatusError) and exc.status < 500,  # the service answered
)
AGENTS = OverseerConfig(heartbeat_interval_secs=0.25, heartbeat_timeout_secs=2.0, restart_cooldown_secs=1.0)
AGENT_TYPES = frozenset({"Scanner", "Strategist", "Executor", "Harvester", "Archivist"})

OPENING = """\
ArbFarm, a small trading farm: five agents use three HTTP services, and everything fails once.

  jupiter_api  {jupiter_api}  quotes and routes
  helius_rpc   {helius_rpc}  block hashes and notices
  birdeye_api  {birdeye_api}  prices and history

  When     What                 Who          Why"""
VERDICT = """\
Verdict: {sent} calls were sent, {refused} were refused, and {cached} of these were answered from the cache. \
Restarts: {restarts}; exhausted agents: {exhausted}."""

Turn = Callable[[], Awaitable[None]]
"""One turn of an agent's loop."""


class Farm:
    """The agents, their breakers, and the overseer that monitors them."""

    def __init__(self, bus: EventBus, chronicle: Chronicle, services: Mapping[str, Service]) -> None:
        self.chronicle = chronicle
        self.services = services
        self.calls: Counter[str] = Counter()  # by outcome
        self.answers: dict[tuple[str, str], bytes] = {}  # the cache: the last answer for each service and path
        self.cached = 0
        self.waiting: set[str] = set()
        self.exhausted: set[str] = set()
        self.registry = CircuitBreakerRegistry(BREAKERS, sink=bus, observer=self.observe)
        self.overseer = Overseer(AGENTS, sink=bus, registry=self.registry)
        self.get_jupiter = self.guarded("jupiter_api")
        self.get_helius = self.guarded("helius_rpc")
        self.get_birdeye = self.guarded("birdeye_api")

    def observe(self, record: CallRecord) -> None:
        """Count the outcome of a call."""
        self.calls[record.outcome] += 1

    def guarded(self, name: str) -> Callable[[str], Awaitable[bytes]]:
        """Return a client for a service, with a breaker; refused calls get the last answer from the cache."""
        breaker = self.registry.get_or_create(name)

        def cached(path: str) -> bytes:
            self.cached += 1
            return self.answers[name, path]

        @breaker.with_fallback(cached)
        async def get(path: str) -> bytes:
            # The timeout is inside the breaker, where it counts as a failure; outside, it would not count.
            answer = await to_thread.run_sync(http_get, self.services[name], path, CALL_TIMEOUT)
            self.answers[name, path] = answer
            return answer

        return get

    async def scan(self) -> None:
        """Run one turn of the Scanner."""
        json.loads(await self.get_birdeye("/prices"))

    async def plan(self) -> None:
        """Run one turn of the Strategist."""
        await self.get_jupiter("/routes")

    async def execute(self) -> None:
        """Run one turn of the Executor."""
        await self.get_jupiter("/quote")
        await self.get_helius("/blockhash")

    async def harvest(self) -> None:
        """Run one turn of the Harvester."""
        service = self.services["helius_rpc"]
        await to_thread.run_sync(http_get, service, "/notices", None, abandon_on_cancel=True)

    async def work(self, turn: Turn, agent: AgentHandle) -> None:
        """Run a supervised agent. A failed call is reported; any other error is a crash."""
        while True:
            self.wait(agent.agent_type)
            await agent.checkpoint()
            self.waiting.discard(agent.agent_type)
            try:
                await turn()
            except CALL_ERRORS as error:
                agent.failure(error)
            else:
                agent.success()
            await anyio.sleep(TURN)

    async def archive(self, agent_id: UUID) -> None:
        """Run the Archivist, which reports by its id. If it ends, only its missing heartbeats show it."""
        while True:
            self.wait("Archivist")
            await self.overseer.wait_until_resumed()
            self.waiting.discard("Archivist")
            try:
                await to_thread.run_sync(http_get, self.services["birdeye_api"], "/history", CALL_TIMEOUT)
            except CALL_ERRORS as error:
                self.chronicle.tell("Archivist", f"ends without a report to the overseer: {error!r}")
                return
            self.overseer.record_agent_success(agent_id)
            await anyio.sleep(TURN)

    def wait(self, agent_type: str) -> None:
        """Note that an agent is between two turns, or paused."""
        self.waiting.add(agent_type)
        self.chronicle.stir()

    async def keep(self, agent_type: str, turn: Turn, heartbeat: Literal["auto", "manual"] = "auto") -> None:
        """Supervise an agent until its restart budget is exhausted."""
        try:
            await self.overseer.supervise(agent_type, partial(self.work, turn), heartbeat=heartbeat)
        except AgentExhaustedError as error:
            self.exhausted.add(agent_type)
            end = f"does not restart the {agent_type} again after {error.restart_count} restarts"
            self.chronicle.tell("host", f"{end}; last error: {error.__cause__!r}")
            self.chronicle.stir()

    async def live(self, story: Callable[[Farm], Awaitable[None]]) -> None:
        """Run the agents and the overseer until the story ends."""
        async with anyio.create_task_group() as tasks:

            async def restart(agent_id: UUID, agent_type: str) -> None:
                self.chronicle.tell("host", f"starts the task of the {agent_type} again")
                tasks.start_soon(self.archive, agent_id)

            tasks.start_soon(self.chronicle.listen)
            await tasks.start(self.overseer.run, restart)
            tasks.start_soon(self.keep, "Scanner", self.scan)
            tasks.start_soon(self.keep, "Strategist", self.plan)
            tasks.start_soon(self.keep, "Executor", self.execute)
            tasks.start_soon(self.keep, "Harvester", self.harvest, "manual")
            tasks.start_soon(self.archive, self.overseer.register_agent("Archivist"))
            await story(self)
            tasks.cancel_scope.cancel()


# The story, one function for each chapter


async def story(farm: Farm) -> None:
    """Break everything once, and show how the swarm recovers."""
    await everything_works(farm)
    await jupiter_breaks(farm)
    await helius_hangs(farm)
    await birdeye_stops(farm)
    await birdeye_sends_broken_json(farm)
    await maintenance(farm)
    await strategist_is_exhausted(farm)
    show_end(farm)


async def everything_works(farm: Farm) -> None:
    """Wait until calls succeed and the cache has an answer for each path."""
    await farm.chronicle.wait_for("calls to succeed", lambda: farm.calls["success"] >= 20 and len(farm.answers) == 4)
    farm.chronicle.tell("breakers", f"{farm.calls['success']} calls succeeded, {farm.calls['failure']} failed")


async def jupiter_breaks(farm: Farm) -> None:
    """Show a circuit that opens, relieves its service, and closes again."""
    chronicle, jupiter, before = farm.chronicle, farm.services["jupiter_api"], farm.cached
    chronicle.chapter("The operator breaks jupiter_api: it answers 503.")
    jupiter.set_mode(Mode.BROKEN)
    await chronicle.until("circuit.opened jupiter_api")
    await chronicle.wait_for("answers from the cache", lambda: farm.cached >= before + 5)
    jupiter.set_mode(Mode.WORKING)
    chronicle.tell("operator", "repairs jupiter_api")
    await chronicle.until("circuit.closed jupiter_api recovered")
    chronicle.tell("cache", f"answered {farm.cached - before} calls instead of jupiter_api")


async def helius_hangs(farm: Farm) -> None:
    """Show that a hung service opens a circuit, and that an agent that hangs with it is restarted."""
    chronicle, helius, before = farm.chronicle, farm.services["helius_rpc"], farm.cached
    chronicle.chapter("The operator makes helius_rpc hang: it accepts requests and does not answer.")
    helius.set_mode(Mode.SILENT)
    await chronicle.until("circuit.opened helius_rpc", "agent.failed Harvester heartbeat_timeout")
    helius.set_mode(Mode.WORKING)
    chronicle.tell("operator", "repairs helius_rpc")
    await chronicle.until("agent.recovered Harvester restart", "circuit.closed helius_rpc recovered")
    chronicle.tell("cache", f"answered {farm.cached - before} calls instead of helius_rpc")


async def birdeye_stops(farm: Farm) -> None:
    """Show a failed probe, and an agent that ends without a report and is restarted by the overseer's loop."""
    chronicle, birdeye, before = farm.chronicle, farm.services["birdeye_api"], farm.cached
    chronicle.chapter("The operator stops birdeye_api: it refuses connections.")
    await to_thread.run_sync(birdeye.close)
    await chronicle.until("circuit.opened birdeye_api probe_failed")
    birdeye.open()
    chronicle.tell("operator", "starts birdeye_api again")
    await chronicle.until("agent.recovered Archivist restart", "circuit.closed birdeye_api recovered")
    chronicle.tell("cache", f"answered {farm.cached - before} calls instead of birdeye_api")


async def birdeye_sends_broken_json(farm: Farm) -> None:
    """Show an agent that crashes and is restarted."""
    chronicle, birdeye = farm.chronicle, farm.services["birdeye_api"]
    chronicle.chapter("The operator breaks birdeye_api: it answers 200 with half of the JSON.")
    birdeye.set_mode(Mode.GARBLED)
    await chronicle.until("agent.failed Scanner crashed")
    birdeye.set_mode(Mode.WORKING)
    chronicle.tell("operator", "repairs birdeye_api")
    await chronicle.until("agent.recovered Scanner restart")


async def maintenance(farm: Farm) -> None:
    """Show that a paused swarm sends no requests, and that it resumes."""
    chronicle, services = farm.chronicle, farm.services.values()
    chronicle.chapter("The operator pauses the swarm, and removes /routes from jupiter_api for good.")
    farm.overseer.pause_swarm()
    await chronicle.wait_for("every agent to wait", lambda: farm.waiting >= AGENT_TYPES)
    before = sum(service.requests for service in services)
    await anyio.sleep(1)
    came = sum(service.requests for service in services) - before
    if came:
        raise StoryError(f"{came} requests were sent while the swarm was paused")
    chronicle.tell("services", "got no request for a second: all agents wait")
    farm.services["jupiter_api"].removed.add("/routes")
    farm.overseer.resume_swarm()
    await chronicle.until("resumed swarm")


async def strategist_is_exhausted(farm: Farm) -> None:
    """Show an agent that uses up its restart budget, while all circuits are closed and the other agents Healthy."""
    chronicle, overseer, registry = farm.chronicle, farm.overseer, farm.registry
    chronicle.chapter("The Strategist gets 410 for /routes each time.")
    await chronicle.until("agent.exhausted Strategist")
    await chronicle.wait_for("the host to notice", lambda: farm.exhausted == {"Strategist"})
    chronicle.tell("jupiter_api", f"is {registry.get_all_states()['jupiter_api']}: for its breaker, 410 is a success")

    def others_are_healthy() -> bool:
        circuits = set(registry.get_all_states().values())
        return circuits == {CircuitState.CLOSED} and overseer.get_swarm_health().healthy_agents == len(AGENT_TYPES) - 1

    await chronicle.wait_for("all circuits closed and all other agents Healthy", others_are_healthy)


def show_end(farm: Farm) -> None:
    """Show the status of the swarm, and what the breakers and the overseer did."""
    chronicle, refused = farm.chronicle, farm.calls["refused"]
    status = farm.overseer.get_swarm_status().to_dict()
    chronicle.say("status", f"The swarm at the end:\n{pretty(status)}", status)
    facts = {
        "sent": farm.calls.total() - refused,
        "refused": refused,
        "cached": farm.cached,
        "restarts": chronicle.count("agent.recovered", "restart"),
        "exhausted": chronicle.count("agent.exhausted"),
    }
    chronicle.say("verdict", VERDICT.format(**facts), facts)
    if refused != farm.cached:
        raise StoryError("some refused calls were not answered from the cache")


def pretty(status: Mapping[str, object]) -> str:
    """Return the status as JSON, with one line for each agent and circuit."""
    parts = []
    for key, value in status.items():
        lines = ",\n    ".join(json.dumps(item) for item in value) if isinstance(value, list) else ""
        parts.append(f'  "{key}": ' + (f"[\n    {lines}\n  ]" if lines else json.dumps(value)))
    return "{\n" + ",\n".join(parts) + "\n}"


async def play(as_json: bool) -> None:
    """Start the services, and run the farm and the story."""
    with ExitStack() as stack:
        services = {name: stack.enter_context(Service(name)) for name in ("jupiter_api", "helius_rpc", "birdeye_api")}
        addresses = {name: f"http://127.0.0.1:{service.port}" for name, service in services.items()}
        bus = EventBus()
        chronicle = Chronicle(bus, as_json)
        chronicle.say("opening", OPENING.format(**addresses), addresses)
        chronicle.chapter("The agents start.")
        await Farm(bus, chronicle, services).live(story)


def main() -> int:
    """Run the program and return its exit status."""
    summary, _, details = (__doc__ or "").partition("\n\n")
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=summary, epilog=details, formatter_class=layout)
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")
    parser.add_argument("--trio", action="store_true", help="run on trio instead of asyncio")
    options = parser.parse_args()
    if options.trio and find_spec("trio") is None:
        parser.error("trio is not installed")
    status = 0
    try:
        anyio.run(play, options.json, backend="trio" if options.trio else "asyncio")
    except* StoryError as failed:
        print(f"The story failed: {failed.exceptions[0]}", file=sys.stderr)
        status = 1
    except* KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        status = 130
    except* BrokenPipeError:  # the reader of the output, `head` for example, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
