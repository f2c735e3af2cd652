"""ArbFarm in miniature: a swarm of trading agents, and three HTTP services that really fail.

The services listen on loopback and fail one after another, each in its own way: jupiter_api answers 503, helius_rpc
takes calls and answers none, birdeye_api refuses connections and later talks nonsense. Five agents live on them:

    Scanner     reads prices from birdeye_api, and crashes on an answer that it cannot read
    Strategist  reads routes from jupiter_api, and fails for good when that service retires them
    Executor    takes quotes from jupiter_api and block hashes from helius_rpc
    Harvester   waits for notices of helius_rpc with neither a timeout nor a breaker, so it hangs when the service does
    Archivist   reads history from birdeye_api; nobody supervises it, the overseer's own loop has it restarted

Circuit breakers stand between agents and services, an overseer watches the agents, and an operator breaks things,
mends them, and pauses the swarm. Only what the operator does is scripted. Each of its steps waits for what has to
follow from the one before; if that does not come, the program says so and ends with exit status 1.

With --json, every line on stdout is an object with a "kind" and the seconds "elapsed": an "event" has what
`Event.to_dict()` gives; "opening", "chapter" and "told" are the story around the events; "status" is the swarm's
status at the end, and "verdict" a summary in numbers.
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
from arbfarm_parts.services import CALL_ERRORS, Mood, Service, StatusError, http_get
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

CALL_TIMEOUT = 0.5  # seconds for a call to a service
TURN = 0.1  # seconds between the turns of an agent

# The rules are those of every swarm; only the durations are made for a short story.
BREAKERS = CircuitBreakerConfig(
    failure_threshold=3,
    success_threshold=2,
    timeout_duration=1.0,
    half_open_max_calls=1,
    success_exceptions=lambda exc: isinstance(exc, StatusError) and exc.status < 500,  # the service did answer
)
AGENTS = OverseerConfig(heartbeat_interval_secs=0.25, heartbeat_timeout_secs=2.0, restart_cooldown_secs=1.0)
EVERYBODY = frozenset({"Scanner", "Strategist", "Executor", "Harvester", "Archivist"})

OPENING = """\
ArbFarm: five agents live on three HTTP services of this machine, and everything goes wrong once.

  jupiter_api  {jupiter_api}  quotes and routes
  helius_rpc   {helius_rpc}  block hashes and notices
  birdeye_api  {birdeye_api}  prices and history

  When     What                 Who          Why"""
VERDICT = """\
Verdict: {refused} calls were refused instead of sent, and {cached} answered from the cache; {sent} were sent. \
Restarts done: {restarts}; agents given up: {exhausted}."""

Turn = Callable[[], Awaitable[None]]
"""What an agent does, again and again."""


class Farm:
    """The agents, the breakers that they call through, and the overseer that watches them."""

    def __init__(self, bus: EventBus, chronicle: Chronicle, services: Mapping[str, Service]) -> None:
        self.chronicle = chronicle
        self.services = services
        self.calls: Counter[str] = Counter()  # by outcome, as the breakers tell them
        self.answers: dict[tuple[str, str], bytes] = {}  # the cache: the last ones, by service and path
        self.cached = 0
        self.resting: set[str] = set()
        self.given_up: set[str] = set()
        self.registry = CircuitBreakerRegistry(BREAKERS, sink=bus, observer=self.observe)
        self.overseer = Overseer(AGENTS, sink=bus, registry=self.registry)
        self.get_jupiter = self.guarded("jupiter_api")
        self.get_helius = self.guarded("helius_rpc")
        self.get_birdeye = self.guarded("birdeye_api")

    def observe(self, record: CallRecord) -> None:
        """Count a call, made or refused."""
        self.calls[record.outcome] += 1

    def guarded(self, name: str) -> Callable[[str], Awaitable[bytes]]:
        """Return a service's client: behind a breaker, with the last answers for when that refuses."""
        breaker = self.registry.get_or_create(name)

        def cached(path: str) -> bytes:
            self.cached += 1
            return self.answers[name, path]

        @breaker.with_fallback(cached)
        async def get(path: str) -> bytes:
            # The timeout is inside the breaker, where it is a failure; around the breaker it would count for nothing.
            answer = await to_thread.run_sync(http_get, self.services[name], path, CALL_TIMEOUT)
            self.answers[name, path] = answer
            return answer

        return get

    async def scan(self) -> None:
        """Take the Scanner's turn."""
        json.loads(await self.get_birdeye("/prices"))

    async def plan(self) -> None:
        """Take the Strategist's turn."""
        await self.get_jupiter("/routes")

    async def execute(self) -> None:
        """Take the Executor's turn."""
        await self.get_jupiter("/quote")
        await self.get_helius("/blockhash")

    async def harvest(self) -> None:
        """Take the Harvester's turn."""
        service = self.services["helius_rpc"]
        await to_thread.run_sync(http_get, service, "/notices", None, abandon_on_cancel=True)

    async def work(self, turn: Turn, agent: AgentHandle) -> None:
        """Be a supervised agent. A call that fails is reported; any other error is a crash."""
        while True:
            self.rest(agent.agent_type)
            await agent.checkpoint()
            self.resting.discard(agent.agent_type)
            try:
                await turn()
            except CALL_ERRORS as error:
                agent.failure(error)
            else:
                agent.success()
            await anyio.sleep(TURN)

    async def archive(self, agent_id: UUID) -> None:
        """Be the Archivist, the plain way: it reports by its id, and when it dies nobody is told."""
        while True:
            self.rest("Archivist")
            await self.overseer.wait_until_resumed()
            self.resting.discard("Archivist")
            try:
                await to_thread.run_sync(http_get, self.services["birdeye_api"], "/history", CALL_TIMEOUT)
            except CALL_ERRORS as error:
                self.chronicle.tell("Archivist", f"ends without telling the overseer: {error!r}")
                return
            self.overseer.record_agent_success(agent_id)
            await anyio.sleep(TURN)

    def rest(self, agent_type: str) -> None:
        """Note that an agent is between two turns."""
        self.resting.add(agent_type)
        self.chronicle.stir()

    async def keep(self, agent_type: str, turn: Turn, heartbeat: Literal["auto", "manual"] = "auto") -> None:
        """Have an agent supervised, for as long as there is hope."""
        try:
            await self.overseer.supervise(agent_type, partial(self.work, turn), heartbeat=heartbeat)
        except AgentExhaustedError as error:
            self.given_up.add(agent_type)
            end = f"gives the {agent_type} up after {error.restart_count} restarts"
            self.chronicle.tell("host", f"{end}; its last error: {error.__cause__!r}")
            self.chronicle.stir()

    async def live(self, story: Callable[[Farm], Awaitable[None]]) -> None:
        """Run everything for as long as the story lasts."""
        async with anyio.create_task_group() as tasks:

            async def restart(agent_id: UUID, agent_type: str) -> None:
                self.chronicle.tell("host", f"starts the {agent_type}'s task again")
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


# The story, chapter by chapter


async def story(farm: Farm) -> None:
    """Break everything once, and show how the swarm came out of it."""
    await all_is_well(farm)
    await jupiter_breaks(farm)
    await helius_hangs(farm)
    await birdeye_goes_away(farm)
    await birdeye_talks_nonsense(farm)
    await maintenance(farm)
    await strategist_is_given_up(farm)
    show_end(farm)


async def all_is_well(farm: Farm) -> None:
    """Wait until calls flow, and there is an answer to each in the cache."""
    await farm.chronicle.wait_for("calls to flow", lambda: farm.calls["success"] >= 20 and len(farm.answers) == 4)
    farm.chronicle.tell("breakers", f"{farm.calls['success']} calls went well, {farm.calls['failure']} failed")


async def jupiter_breaks(farm: Farm) -> None:
    """Have a circuit open, its service spared, and the circuit closed again."""
    chronicle, jupiter, before = farm.chronicle, farm.services["jupiter_api"], farm.cached
    chronicle.chapter("The operator breaks jupiter_api: it answers 503.")
    jupiter.turn(Mood.BROKEN)
    await chronicle.until("circuit.opened jupiter_api")
    await chronicle.wait_for("answers from the cache", lambda: farm.cached >= before + 5)
    jupiter.turn(Mood.WELL)
    chronicle.tell("operator", "mends jupiter_api")
    await chronicle.until("circuit.closed jupiter_api recovered")
    chronicle.tell("cache", f"answered {farm.cached - before} calls in place of jupiter_api")


async def helius_hangs(farm: Farm) -> None:
    """Have one agent saved by its breaker's timeouts, and another that has neither found silent and restarted."""
    chronicle, helius, before = farm.chronicle, farm.services["helius_rpc"], farm.cached
    chronicle.chapter("The operator hangs helius_rpc: it takes calls and does not answer.")
    helius.turn(Mood.SILENT)
    await chronicle.until("circuit.opened helius_rpc", "agent.failed Harvester heartbeat_timeout")
    helius.turn(Mood.WELL)
    chronicle.tell("operator", "mends helius_rpc")
    await chronicle.until("agent.recovered Harvester restart", "circuit.closed helius_rpc recovered")
    chronicle.tell("cache", f"answered {farm.cached - before} calls in place of helius_rpc")


async def birdeye_goes_away(farm: Farm) -> None:
    """Have a test call fail, and an agent that died without a word missed and restarted by the overseer's loop."""
    chronicle, birdeye, before = farm.chronicle, farm.services["birdeye_api"], farm.cached
    chronicle.chapter("The operator stops birdeye_api: it refuses connections.")
    await to_thread.run_sync(birdeye.close)
    await chronicle.until("circuit.opened birdeye_api probe_failed")
    birdeye.open()
    chronicle.tell("operator", "starts birdeye_api again")
    await chronicle.until("agent.recovered Archivist restart", "circuit.closed birdeye_api recovered")
    chronicle.tell("cache", f"answered {farm.cached - before} calls in place of birdeye_api")


async def birdeye_talks_nonsense(farm: Farm) -> None:
    """Have an agent crash and restarted."""
    chronicle, birdeye = farm.chronicle, farm.services["birdeye_api"]
    chronicle.chapter("The operator garbles birdeye_api: it answers 200 with half of the JSON.")
    birdeye.turn(Mood.GARBLED)
    await chronicle.until("agent.failed Scanner crashed")
    birdeye.turn(Mood.WELL)
    chronicle.tell("operator", "mends birdeye_api")
    await chronicle.until("agent.recovered Scanner restart")


async def maintenance(farm: Farm) -> None:
    """Have everybody wait, check that it is quiet, and go on."""
    chronicle, services = farm.chronicle, farm.services.values()
    chronicle.chapter("The operator pauses the swarm, and retires /routes of jupiter_api for good.")
    farm.overseer.pause_swarm()
    await chronicle.wait_for("every agent to rest", lambda: farm.resting >= EVERYBODY)
    before = sum(service.requests for service in services)
    await anyio.sleep(1)
    came = sum(service.requests for service in services) - before
    if came:
        raise StoryError(f"{came} requests came while the swarm was paused")
    chronicle.tell("services", "have had no request for a second: all agents wait")
    farm.services["jupiter_api"].retired.add("/routes")
    farm.overseer.resume_swarm()
    await chronicle.until("resumed swarm")


async def strategist_is_given_up(farm: Farm) -> None:
    """Have an agent use up its restarts, while its service's circuit and the other agents are well."""
    chronicle, overseer, registry = farm.chronicle, farm.overseer, farm.registry
    chronicle.chapter("The Strategist misses its /routes: 410, each time.")
    await chronicle.until("agent.exhausted Strategist")
    await chronicle.wait_for("the host to hear of it", lambda: farm.given_up == {"Strategist"})
    chronicle.tell("jupiter_api", f"is {registry.get_all_states()['jupiter_api']}: to its breaker, a 410 is an answer")

    def others_are_well() -> bool:
        circuits = set(registry.get_all_states().values())
        return circuits == {CircuitState.CLOSED} and overseer.get_swarm_health().healthy_agents == len(EVERYBODY) - 1

    await chronicle.wait_for("all circuits closed and all other agents Healthy", others_are_well)


def show_end(farm: Farm) -> None:
    """Show the swarm as it is now, and what breakers and overseer have done for it."""
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
    """Return the swarm's status as JSON, one agent or circuit a line."""
    parts = []
    for key, value in status.items():
        lines = ",\n    ".join(json.dumps(item) for item in value) if isinstance(value, list) else ""
        parts.append(f'  "{key}": ' + (f"[\n    {lines}\n  ]" if lines else json.dumps(value)))
    return "{\n" + ",\n".join(parts) + "\n}"


async def play(as_json: bool) -> None:
    """Start the services, and run the farm and its story."""
    with ExitStack() as stack:
        services = {name: stack.enter_context(Service(name)) for name in ("jupiter_api", "helius_rpc", "birdeye_api")}
        addresses = {name: f"http://127.0.0.1:{service.port}" for name, service in services.items()}
        bus = EventBus()
        chronicle = Chronicle(bus, as_json)
        chronicle.say("opening", OPENING.format(**addresses), addresses)
        chronicle.chapter("The agents start.")
        await Farm(bus, chronicle, services).live(story)


def main() -> int:
    """Run the program, and return its exit status."""
    summary, _, details = (__doc__ or "").partition("\n\n")
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=summary, epilog=details, formatter_class=layout)
    parser.add_argument("--json", action="store_true", help="print one JSON object a line, for machines")
    parser.add_argument("--trio", action="store_true", help="run on trio instead of asyncio")
    options = parser.parse_args()
    if options.trio and find_spec("trio") is None:
        parser.error("trio is not installed")
    status = 0
    try:
        anyio.run(play, options.json, backend="trio" if options.trio else "asyncio")
    except* StoryError as failed:
        print(f"The story did not happen: {failed.exceptions[0]}", file=sys.stderr)
        status = 1
    except* KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        status = 130
    except* BrokenPipeError:  # whoever read the output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
