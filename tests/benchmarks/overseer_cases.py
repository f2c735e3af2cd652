"""The cost of an overseer's methods by the number of its agents. There are no peers for this."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle, islice
from random import Random
from threading import Lock
from time import monotonic
from uuid import UUID

from swarmguard import Overseer, OverseerConfig
from swarmguard.clock import SystemClock
from tests.benchmarks.case import FLOOR, OURS, Case, Contestant, Work

GROUP = "Overseer"
SIZES = (10, 1_000, 100_000, 1_000_000)
NEVER = 10**9
"""A heartbeat timeout, in seconds, that outlasts every case."""

SAMPLE = 1_000
"""The number of agents that report."""

DEAD = 10
"""The number of agents that need a restart."""


def new_ids(number: int) -> list[UUID]:
    """Return `number` ids, the same ones each time."""
    random = Random(number)
    return [UUID(int=random.getrandbits(128)) for _ in range(number)]


def spread(ids: Sequence[UUID], number: int) -> Sequence[UUID]:
    """Pick `number` ids, evenly spread, or all if there are fewer."""
    return ids[:: max(1, len(ids) // number)]


def swarm(ids: Sequence[UUID]) -> Overseer:
    """Return an overseer of these agents, none of which falls silent."""
    overseer = Overseer(OverseerConfig(heartbeat_timeout_secs=NEVER))
    for agent_id in ids:
        overseer.register_agent("Scanner", agent_id)
    return overseer


def repeat(action: Callable[[], object]) -> Work:
    """Return the work of repeating an action."""

    def work(n: int) -> None:
        for _ in range(n):
            action()

    return work


def heartbeat(size: int) -> Work:
    """Record heartbeats of a thousand agents in turn, which were registered one after the other."""
    ids = new_ids(size)
    return beats(swarm(ids), ids[:SAMPLE])


def heartbeat_anywhere(size: int) -> Work:
    """Record heartbeats of a thousand agents that are spread over more memory than the caches hold."""
    ids = new_ids(size)
    return beats(swarm(ids), spread(ids, SAMPLE))


def beats(overseer: Overseer, sample: Sequence[UUID]) -> Work:
    """Return the work of recording heartbeats of these agents in turn."""
    record = overseer.record_agent_heartbeat

    def work(n: int) -> None:
        for agent_id in islice(cycle(sample), n):
            record(agent_id)

    return work


def heartbeat_by_hand(size: int) -> Work:
    """Store the times of the heartbeats in a dict, under a lock."""
    ids = new_ids(size)
    last_beat, sample, lock = dict.fromkeys(ids, 0.0), ids[:SAMPLE], Lock()

    def work(n: int) -> None:
        for agent_id in islice(cycle(sample), n):
            with lock:
                last_beat[agent_id] = monotonic()

    return work


def failure(size: int) -> Work:
    """Record a failure, which makes a Healthy agent Degraded, and a success, which makes it Healthy again.

    With failures alone all agents would soon be Dead, and further failures of a Dead agent cost less.
    """
    ids = new_ids(size)
    overseer, sample = swarm(ids), ids[:SAMPLE]
    fail, succeed = overseer.record_agent_failure, overseer.record_agent_success

    def work(n: int) -> None:
        for agent_id in islice(cycle(sample), n):
            fail(agent_id, "no answer")
            succeed(agent_id)

    return work


def quiet_check(size: int) -> Work:
    """Check the heartbeats, and find no silent agent."""
    return repeat(swarm(new_ids(size)).check_heartbeats)


class HandClock(SystemClock):
    """A clock that is moved by setting an attribute, which costs almost nothing."""

    moment = 0.0

    def monotonic(self) -> float:
        """Return the time that was set."""
        return self.moment


def check(size: int, k: int) -> Work:
    """Check the heartbeats, find `k` newly silent agents, and record a heartbeat of each.

    `k` agents register each second, and the timeout is the time that the registration of all of them takes. So in each
    second after that the next `k` agents fall silent, and no others. The measurement includes their heartbeats, without
    which the next round would find none. Both must be linear in `k` and independent of `size`.

    This case uses all agents in turn, so a large swarm is mostly in cold memory.
    """
    clock = HandClock()
    overseer = Overseer(OverseerConfig(heartbeat_timeout_secs=size // k), clock=clock)
    for number, agent_id in enumerate(new_ids(size)):
        clock.moment = number // k
        overseer.register_agent("Scanner", agent_id)

    def work(n: int) -> int:
        """Return how many agents fell silent."""
        number = 0
        for _ in range(n):
            clock.moment += 1
            silent = overseer.check_heartbeats()
            number += len(silent)
            for agent_id in silent:
                overseer.record_agent_heartbeat(agent_id)
        return number

    return work


def health(size: int) -> Work:
    """Read the health of the swarm."""
    return repeat(swarm(new_ids(size)).get_swarm_health)


def needing_restart(size: int) -> Work:
    """List the agents that need a restart: the same few Dead ones, whatever the size of the swarm."""
    ids = new_ids(size)
    overseer = swarm(ids)
    for agent_id in spread(ids, DEAD):
        for _ in range(6):
            overseer.record_agent_failure(agent_id, "no answer")
    return repeat(overseer.get_agents_needing_restart)


def case(operation: str, size: int, **prepare: Callable[[int], Work]) -> Case:
    """Return the case of an operation with `size` agents."""
    return Case(
        name=f"{operation}, {size:,} agents",
        group=GROUP,
        contestants=tuple(Contestant(name=name, prepare=partial(way, size)) for name, way in prepare.items()),
        series=operation,
        size=size,
    )


CASES = (
    *(case("heartbeat", size, **{FLOOR: heartbeat_by_hand, OURS: heartbeat}) for size in SIZES),
    *(case("heartbeat far apart", size, **{OURS: heartbeat_anywhere}) for size in SIZES),
    *(case("failure and success", size, **{OURS: failure}) for size in SIZES),
    *(case("quiet check", size, **{OURS: quiet_check}) for size in SIZES),
    *(
        case(f"check with {k:,} newly stale", size, **{OURS: partial(check, k=k)})
        for k, sizes in {1: SIZES, 10: SIZES[3:], 100: SIZES[1:], 1_000: SIZES[3:]}.items()
        for size in sizes
    ),
    *(case("health summary", size, **{OURS: health}) for size in SIZES),
    *(case("needing restart", size, **{OURS: needing_restart}) for size in SIZES),
)
