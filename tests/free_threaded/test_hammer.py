"""Four threads that use one object at once, without a GIL, for many rounds."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import suppress
from functools import partial

import pytest

from swarmguard import (
    AgentHealth,
    CircuitBreakerConfig,
    CircuitBreakerRegistry,
    CircuitOpenError,
    CircuitState,
    CountWindow,
    Event,
    EventBus,
    FailureRate,
    Overseer,
    OverseerConfig,
    TimeWindow,
)
from swarmguard.testing import FakeClock
from tests.breaker_tools import BoomError, boom, build, due_breaker, fail, half_open_breaker, succeed
from tests.faults.harness import check_counts, check_numbers, check_transitions, side_by_side

THREADS = 4
ROUNDS = 200
CALLS = 400
"""Calls of one thread in the tests that count."""


def at_once(*jobs):
    """Run each job in a thread of its own, all of them from the same moment on, and return what they returned."""
    ready = threading.Barrier(len(jobs))

    def start(job):
        ready.wait()
        return job()

    return side_by_side(*[partial(start, job) for job in jobs])


def admitted(breaker):
    """Return a permit of the breaker, or None when it refuses."""
    with suppress(CircuitOpenError):
        return breaker.acquire()
    return None


# --- counts -----------------------------------------------------------------------------------------------------------


def in_a_call(breaker, fn):
    """Call `fn` by `call`."""
    breaker.call(fn)


def in_a_block(breaker, fn):
    """Call `fn` in a block."""
    with breaker:
        fn()


def decorated(breaker, fn):
    """Call `fn` decorated."""
    breaker(fn)()


def by_permit(breaker, fn):
    """Call `fn` and settle a permit."""
    with breaker.acquire():
        fn()


FACES = [in_a_call, in_a_block, decorated, by_permit]
POLICIES = {
    "consecutive": None,
    "count window": FailureRate(window=CountWindow(10**6), minimum_calls=10**6),
    "time window": FailureRate(window=TimeWindow(1000), minimum_calls=10**6),
}


@pytest.mark.parametrize("observed", [False, True])
@pytest.mark.parametrize("policy", POLICIES)
def test_no_count_is_lost(clock, policy, observed):
    """Every failure is counted once, whichever way the call came in [B1] [B17] [T23]."""
    records = []
    breaker = build(
        clock, trip=POLICIES[policy], failure_threshold=10**6, observer=records.append if observed else None
    )
    succeeding = [] if policy == "consecutive" else [lambda: None, lambda: None]

    def calls():
        for number in range(CALLS):
            for fn in (boom, *succeeding):
                with suppress(BoomError):
                    FACES[number % len(FACES)](breaker, fn)

    at_once(*[calls] * THREADS)
    assert breaker.status().failure_count == THREADS * CALLS
    counted = Counter(record.outcome for record in records)
    assert counted["failure"] == (THREADS * CALLS if observed else 0)
    assert counted["success"] == counted["failure"] * len(succeeding)


@pytest.mark.parametrize("window", [CountWindow(10**6), TimeWindow(1000)], ids=["count window", "time window"])
def test_no_success_is_lost(clock, window):
    """The failure that makes the rate opens the circuit, so not one success is missing or counted twice [B17] [T23]."""
    calls = THREADS * CALLS * 2
    breaker = build(clock, trip=FailureRate(threshold=CALLS * THREADS / calls, window=window, minimum_calls=calls + 1))
    service = breaker(lambda fails: boom() if fails else None)

    def mixed():
        for _ in range(CALLS):
            service(False)
            with suppress(BoomError):
                service(True)

    at_once(*[mixed] * THREADS)
    assert breaker.state is CircuitState.CLOSED
    assert breaker.status().failure_count == THREADS * CALLS
    succeed(breaker)  # the last of the minimum, but a success: below the threshold now
    assert breaker.state is CircuitState.CLOSED
    fail(breaker)  # as many failures as successes again
    assert breaker.state is CircuitState.OPEN


# --- transitions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slots", [1, 3])
def test_no_probe_too_many(clock, slots):
    """Of the threads that come when a probe is due, as many get through as there are slots, and no more [B3] [T02]."""
    breaker = due_breaker(clock, half_open_max_calls=slots, success_threshold=10**9)
    for _ in range(ROUNDS):
        permits = [permit for permit in at_once(*[partial(admitted, breaker)] * THREADS) if permit]
        assert len(permits) == breaker.status().half_open_calls == slots
        assert at_once(*[permit.succeed for permit in permits]) == [True] * slots
    status = breaker.status()
    assert (status.half_open_calls, status.success_count) == (0, ROUNDS * slots)


def test_no_probe_too_many_while_slots_come_and_go(clock):
    """Threads that probe again and again never hold more slots than there are [B3] [T02]."""
    slots, lock, inside, most = 2, threading.Lock(), 0, 0
    breaker = due_breaker(clock, half_open_max_calls=slots, success_threshold=10**9)

    def work():
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        breaker.status()
        with lock:
            inside -= 1

    def probes():
        for _ in range(CALLS):
            with suppress(CircuitOpenError):
                breaker.call(work)

    at_once(*[probes] * THREADS)
    assert 1 <= most <= slots
    assert breaker.status().half_open_calls == 0


def test_no_double_transition(clock, events):
    """However many threads bring it about, the circuit opens, half-opens and closes once, with one event each [B3]."""
    breaker = build(clock, events, failure_threshold=THREADS, success_threshold=THREADS, half_open_max_calls=THREADS)
    for _ in range(ROUNDS):
        permits = [breaker.acquire() for _ in range(THREADS)]
        at_once(*[permit.fail for permit in permits])
        assert breaker.state is CircuitState.OPEN
        clock.advance(breaker.retry_after)
        probes = at_once(*[breaker.acquire] * THREADS)
        at_once(*[probe.succeed for probe in probes])
        assert breaker.state is CircuitState.CLOSED
    told = Counter(event.topic.rpartition(".")[2] for event in events.events)
    assert told == {"opened": ROUNDS, "half_opened": ROUNDS, "closed": ROUNDS}
    check_transitions(events, breaker)


def test_no_event_is_lost_or_out_of_order(clock, events):
    """Calls and an operator at once: the events are numbered without a gap and tell one story [C3] [C6] [T23]."""
    breaker = build(clock, events, failure_threshold=1, success_threshold=1, timeout_duration=0)

    def calls():
        for number in range(CALLS):
            with suppress(CircuitOpenError, BoomError):
                breaker.call(boom if number % 2 else lambda: None)

    def operator():
        for _ in range(CALLS):
            breaker.trip(0)
            breaker.reset()

    at_once(calls, calls, operator, operator)
    assert len(events.events) >= CALLS
    check_transitions(events, breaker)


def test_a_permit_is_settled_once(clock):
    """Of the threads that settle one permit exactly one is told True, and its outcome counts [B13]."""
    for _ in range(ROUNDS):
        breaker = half_open_breaker(clock, success_threshold=5)
        permit = breaker.acquire()
        ways = [permit.succeed, permit.fail, permit.release, permit.succeed]
        answers = at_once(*ways)
        assert sorted(answers) == [False, False, False, True]
        status = breaker.status()
        winner = ways[answers.index(True)].__name__
        assert (status.state, status.success_count, status.half_open_calls) == {
            "succeed": (CircuitState.HALF_OPEN, 1, 0),
            "fail": (CircuitState.OPEN, 0, 0),
            "release": (CircuitState.HALF_OPEN, 0, 0),
        }[winner]


# --- registry, bus, overseer ------------------------------------------------------------------------------------------


def test_one_breaker_a_name(clock):
    """Threads that ask for a name at once get the same breaker [R1] [T19]."""
    registry = CircuitBreakerRegistry(clock=clock)
    for number in range(ROUNDS):
        breakers = at_once(*[partial(registry.get_or_create, f"api {number}")] * THREADS)
        assert set(breakers) == {registry.get(f"api {number}")}
    assert [breaker.name for breaker in registry] == [f"api {number}" for number in range(ROUNDS)]


def test_one_configuration_a_name(clock):
    """Threads that ask for a name with two configurations at once: one is kept, the others are refused [R1]."""
    registry = CircuitBreakerRegistry(clock=clock)
    configs = [CircuitBreakerConfig(failure_threshold=number % 2 + 1) for number in range(THREADS)]

    def ask(name, config):
        with suppress(ValueError):
            return registry.get_or_create(name, config)
        return None

    for number in range(ROUNDS):
        name = f"api {number}"
        answers = at_once(*[partial(ask, name, config) for config in configs])
        kept = registry.get(name)
        assert answers == [kept if config == kept.config else None for config in configs]


def test_a_registry_is_read_while_it_changes(clock):
    """Breakers come and go while threads go through all of them; nothing raises, and nothing is left [R2]."""
    registry = CircuitBreakerRegistry(clock=clock)
    registry.get_or_create("stays")

    def change(first):
        for number in range(first, CALLS * 2, 2):
            registry.get_or_create(str(number))
            registry.remove(str(number))

    def read():
        for _ in range(CALLS):
            names = [breaker.name for breaker in registry]
            assert names[0] == "stays"
            assert len(set(names)) == len(names)
            assert registry.get_all_states()["stays"] is CircuitState.CLOSED
            registry.reset_all()

    at_once(partial(change, 0), partial(change, 1), read, read)
    assert [breaker.name for breaker in registry] == ["stays"]


def publish(bus, source):
    """Publish `CALLS` numbered events."""
    for sequence in range(1, CALLS + 1):
        bus.publish(Event(topic="a.b", source=source, at=FakeClock().now(), sequence=sequence, payload={}))


def read_until(mail, over):
    """Take events until it is over and nothing is left."""
    got = []
    while True:
        ended = over.is_set()
        events = mail.drain()
        got += events
        if ended and not events:
            return got


@pytest.mark.parametrize("buffer", [10, 10**6])
def test_the_bus_loses_nothing(buffer):
    """Each published event is read once or counted as dropped, in the order of its source, by two readers [C5] [C6]."""
    bus, over = EventBus(), threading.Event()
    mail = bus.subscribe(buffer=buffer)
    publishers = [str(number) for number in range(THREADS // 2)]
    done = threading.Barrier(len(publishers), action=over.set)

    def run(source):
        publish(bus, source)
        done.wait()

    results = at_once(
        *[partial(run, source) for source in publishers], *[partial(read_until, mail, over)] * (THREADS // 2)
    )
    readers = results[len(publishers) :]
    read = [(event.source, event.sequence) for events in readers for event in events]
    assert len(set(read)) == len(read)
    assert len(read) + mail.dropped == len(publishers) * CALLS
    assert buffer == 10 or mail.dropped == 0
    for events in readers:
        for source in publishers:
            numbers = [event.sequence for event in events if event.source == source]
            assert numbers == sorted(numbers)


def test_subscriptions_come_and_go(clock):
    """Subscribers that come and go do not disturb those that stay [C5]."""
    bus = EventBus()
    stays = bus.subscribe(buffer=10**6)

    def come_and_go():
        for _ in range(CALLS):
            with bus.subscribe(buffer=2) as mail:
                mail.drain()

    at_once(partial(publish, bus, "0"), partial(publish, bus, "1"), come_and_go, come_and_go)
    told = Counter(event.source for event in stays.drain())
    assert (told, stays.dropped) == ({"0": CALLS, "1": CALLS}, 0)


def test_an_overseer_counts_exactly(clock, events):
    """Failures of one agent from many threads add up, and each change of health is one event [O3] [O5] [T36]."""
    overseer = Overseer(OverseerConfig(restart_cooldown_secs=0), clock=clock, sink=events)
    for _ in range(ROUNDS // 4):
        agent = overseer.register_agent("agent")
        before = len(events.events)

        def failures(agent=agent):
            for _ in range(10):
                overseer.record_agent_failure(agent, "error")

        at_once(*[failures] * THREADS)
        status = overseer.get_agent_status(agent)
        assert (status.consecutive_failures, status.health) == (10 * THREADS, AgentHealth.DEAD)
        assert [event.payload["health"] for event in events.events[before:]] == ["Degraded", "Unhealthy", "Dead"]
        attempts = at_once(*[partial(overseer.begin_restart, agent)] * THREADS)
        assert overseer.get_agent_status(agent).restart_count == 1
        assert len(set(map(str, attempts))) == 1
        overseer.unregister_agent(agent)
    check_numbers(events)
    check_counts(overseer)


def test_agents_of_one_swarm_in_many_threads(clock, events):
    """Agents that come, fail, recover and go in threads leave the counts of the swarm exact [O1] [O4] [O8]."""
    overseer = Overseer(OverseerConfig(restart_cooldown_secs=0, max_restart_attempts=10**9), clock=clock, sink=events)
    shared = overseer.register_agent("shared")

    def work():
        for number in range(CALLS // 4):
            own = overseer.register_agent("own")
            for _ in range(6):
                overseer.record_agent_failure(own, "error")
            overseer.record_agent_failure(shared, "error")
            overseer.record_agent_recovery(own if number % 2 else shared)
            overseer.get_swarm_health()
            overseer.unregister_agent(own)

    at_once(*[work] * THREADS)
    check_numbers(events)
    check_counts(overseer)
    assert overseer.get_swarm_health().total_agents == 1


def test_a_dropped_permit_gives_its_slot_back(clock):
    """Permits that are dropped in one thread while others probe give every slot back [B13]."""
    records = []
    breaker = due_breaker(clock, half_open_max_calls=2, success_threshold=10**9, observer=records.append)
    records.clear()

    def drop():
        for _ in range(CALLS):
            admitted(breaker)

    def probe():
        for _ in range(CALLS):
            with suppress(CircuitOpenError):
                breaker.call(lambda: None)

    at_once(drop, drop, probe, probe)
    assert breaker.status().half_open_calls == 0
    breaker.call(lambda: None)  # reports the permits that were dropped after the last call
    assert len(records) == THREADS * CALLS + 1
