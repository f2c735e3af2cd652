"""Sinks and observers, shared by many emitters, that raise, interrupt, hang and call back."""

from __future__ import annotations

import random
import threading
from collections import Counter
from contextlib import suppress
from functools import partial

import pytest

from swarmguard import (
    BreakerMode,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitBreakerRegistry,
    CircuitOpenError,
    CircuitState,
    EventBus,
    Overseer,
    OverseerConfig,
    UnknownAgentError,
)
from swarmguard.testing import EventRecorder
from tests.breaker_tools import (
    SAFETY,
    BoomError,
    FatalError,
    boom,
    build,
    due_breaker,
    half_open_breaker,
    in_thread,
    logged,
)
from tests.faults.harness import check_counts, check_numbers, check_transitions, side_by_side, take_round

INTERRUPTS = [KeyboardInterrupt, SystemExit, GeneratorExit, FatalError]


class Rogue:
    """A sink and observer for many emitters that raises, interrupts and calls back at random, by a seed.

    Attributes:
        events: The events that the sink got.
        outcomes: The outcomes that the observer got.
        interrupts: How often it interrupted its caller.
    """

    def __init__(self, clock, seed):
        self.events, self.bus = EventRecorder(), EventBus()
        self.outcomes: Counter[str] = Counter()
        self.interrupts = 0
        self.wild = True
        self._chance = random.Random(seed)
        config = CircuitBreakerConfig(failure_threshold=2, success_threshold=1, timeout_duration=1)
        self.registry = CircuitBreakerRegistry(config, clock=clock, sink=self.sink, observer=self.observe)
        swarm = OverseerConfig(restart_cooldown_secs=0, max_restart_attempts=1000)
        self.overseer = Overseer(swarm, clock=clock, sink=self.sink, registry=self.registry)
        self.breakers = [self.registry.get_or_create(name) for name in "abc"]

    def sink(self, event):
        """Handle an event as the sink."""
        self.events(event)
        self.bus(event)
        self.misbehave()

    def observe(self, record):
        """Handle a record as the observer."""
        with lock:
            self.outcomes[record.outcome] += 1
        self.misbehave()

    def misbehave(self):
        """Do something that a sink must not do, something that it may do, or nothing."""
        chance = self._chance.random()
        if not self.wild or chance > 0.6:
            return
        if chance < 0.2:
            raise ValueError("bug")
        if chance < 0.3:
            with lock:
                self.interrupts += 1
            raise KeyboardInterrupt
        self.call_back()

    def call_back(self):
        """Call a method of a breaker, the bus or the overseer."""
        breaker = self._chance.choice(self.breakers)
        agents = [status.agent_id for status in self.overseer.get_all_agent_statuses()]
        with suppress(CircuitOpenError, BoomError, UnknownAgentError):
            self._chance.choice(
                [
                    breaker.reset,
                    breaker.status,
                    partial(breaker.set_mode, self._chance.choice([BreakerMode.NORMAL, BreakerMode.SHADOW])),
                    self.bus.subscribe().close,
                    lambda: self.overseer.record_agent_failure(self._chance.choice(agents), "error"),
                    lambda: self.overseer.record_agent_recovery(self._chance.choice(agents)),
                    self.overseer.get_swarm_status,
                ]
            )()


lock = threading.Lock()
"""Guards the counts of the rogues."""


@pytest.mark.parametrize("seed", range(4))
def test_misbehaving_sinks_break_no_events_or_counts(clock, seed, caplog):
    """With a misbehaving sink and observer under threads, each emitter's events and counts are right [C6].

    Errors only reach the log [C4].
    """
    rogue = Rogue(clock, seed)
    with suppress(KeyboardInterrupt):
        rogue.overseer.register_agent("agent")
    (agent,) = rogue.overseer.get_all_agent_statuses()

    def work(number):
        chance = random.Random(f"{seed}/{number}")
        for _ in range(60):
            with suppress(KeyboardInterrupt, CircuitOpenError):
                permit = chance.choice(rogue.breakers).acquire()
                chance.choice([permit.succeed, permit.fail, permit.fail])()
            clock.advance(0.1)
            with suppress(KeyboardInterrupt):
                rogue.overseer.record_agent_failure(agent.agent_id, "error")

    side_by_side(*[partial(work, number) for number in range(4)])
    rogue.wild = False
    for breaker in rogue.breakers:
        take_round(breaker, clock)  # it also delivers events that an interrupt has left behind
        check_transitions(rogue.events, breaker)
    rogue.overseer.pause_swarm()
    check_numbers(rogue.events)
    check_counts(rogue.overseer)
    assert rogue.interrupts
    assert any("bug" in line for line in logged(caplog))


def fail_in_a_generator(breaker):
    """Fail in a guarded generator."""

    @breaker
    def numbers():
        yield 1
        boom()

    list(numbers())


def fail_in_a_block(breaker):
    """Fail in a block."""
    with breaker:
        boom()


def fail_with_a_permit(breaker):
    """Fail in a permit's block."""
    with breaker.acquire():
        boom()


@pytest.mark.parametrize("interrupt", INTERRUPTS)
@pytest.mark.parametrize("role", ["sink", "observer"])
@pytest.mark.parametrize("start", [build, due_breaker, half_open_breaker])
@pytest.mark.parametrize(
    "act",
    [
        lambda breaker: breaker.call(boom),
        lambda breaker: breaker(boom)(),
        fail_in_a_block,
        fail_with_a_permit,
        fail_in_a_generator,
    ],
    ids=["call", "decorator", "block", "permit", "generator"],
)
def test_an_interrupt_of_a_listener_reaches_the_caller(clock, interrupt, role, start, act):
    """An interrupt in a sink or observer reaches the caller, whose own error has counted; no lock or slot is held.

    [C4] [B20] [B6]
    """
    received, armed = [], []

    def listen(message):
        received.append(getattr(message, "outcome", None) or message.payload["state"])
        if armed and received[-1] in ("Open", "failure"):
            armed.clear()
            raise interrupt

    breaker = start(clock, failure_threshold=1, success_threshold=1, half_open_max_calls=1, **{role: listen})
    received.clear()
    armed.append(True)
    with pytest.raises(interrupt) as caught:
        act(breaker)
    assert isinstance(caught.value.__context__, BoomError)
    assert received[-1] in ("Open", "failure")
    status = breaker.status()
    assert (status.state, status.half_open_calls) == (CircuitState.OPEN, 0)
    received.clear()
    in_thread(take_round, breaker, clock)
    assert received == (
        ["Closed", "Open", "HalfOpen", "Closed"] if role == "sink" else ["success", "failure", "refused", "success"]
    )


def test_sinks_that_cause_events_do_not_grow_the_stack(clock):
    """Breakers and an overseer whose sinks change each other thousands of times do so in order, not nested [C6]."""
    events, depths = EventRecorder(), Counter()
    depth = threading.local()

    def react(event):
        events(event)
        depth.now = getattr(depth, "now", 0) + 1
        depths[depth.now] += 1
        if len(events.events) < 5000:
            left.trip() if event.source == "right" else right.trip()
            overseer.resume_swarm() if overseer.is_paused else overseer.pause_swarm()
        depth.now -= 1

    left, right = (build(clock, react, name=name) for name in ("left", "right"))
    overseer = Overseer(clock=clock, sink=react)
    left.trip()
    assert len(events.events) >= 5000
    assert max(depths) == 3  # one for each emitter
    check_numbers(events)


def test_a_cascade_deeper_than_the_stack_is_logged(clock, caplog):
    """A chain of breakers that trip each other, longer than the stack, ends with a logged error; all work on [C4]."""
    caplog.set_level("CRITICAL", "swarmguard")
    events = EventRecorder()

    def trip_next(event):
        events(event)
        if event.topic.endswith("opened") and (following := int(event.source) + 1) < len(chain):
            chain[following].trip()

    chain = [CircuitBreaker(str(number), clock=clock, sink=trip_next) for number in range(1500)]
    chain[0].trip()
    opened = [breaker for breaker in chain if breaker.state is CircuitState.OPEN]
    assert opened == chain[: len(opened)]
    assert 10 < len(opened) < len(chain)
    for breaker in chain[::50]:
        breaker.reset()
    assert in_thread(chain[-1].trip) is None
    check_numbers(events)
    for breaker in chain:
        assert breaker.state is breaker.status().state


def test_hanging_sinks_delay_no_other_thread(clock):
    """While two threads hang in a shared sink, other threads continue and deliver, and nothing is lost [C4] [C6]."""
    events = EventRecorder()
    go, hanging = threading.Event(), threading.Barrier(3)

    def sink(event):
        events(event)
        if event.sequence == 1 and event.source in ("a", "overseer"):
            hanging.wait(SAFETY)
            go.wait(SAFETY)
            raise KeyboardInterrupt

    registry = CircuitBreakerRegistry(clock=clock, sink=sink)
    overseer = Overseer(clock=clock, sink=sink, registry=registry)
    hung, free = registry.get_or_create("a"), registry.get_or_create("b")

    def hang(act, *args):
        with pytest.raises(KeyboardInterrupt):
            act(*args)

    def go_on():
        hanging.wait(SAFETY)
        agents = [overseer.register_agent("agent") for _ in range(500)]
        for agent in agents:
            overseer.record_agent_failure(agent, "error")
        for _ in range(500):
            take_round(hung, clock)
        take_round(free, clock)
        assert events.topics[2:] == ["arb.swarm.circuit." + topic for topic in ("opened", "half_opened", "closed")]
        assert overseer.get_swarm_status().health.degraded_agents == 500
        go.set()

    side_by_side(partial(hang, hung.trip), partial(hang, overseer.register_agent, "first"), go_on)
    overseer.pause_swarm()
    hung.trip()
    check_transitions(events, hung)
    check_transitions(events, free)
    assert Counter(event.source for event in events.events) == {"a": 1 + 1 + 3 * 500 + 1, "b": 3, "overseer": 1002}


def test_a_sink_may_subscribe_and_close_in_an_event(clock):
    """Sinks that subscribe, read and close in an event get that event only, even if they cause more [C5] [C4]."""
    bus, received = EventBus(), []

    def sink(event):
        with bus.subscribe() as mail:
            bus(event)
            if event.sequence < 50:
                breaker.reset()
                breaker.trip()
            received.append([other.sequence for other in mail.drain()])

    breaker = build(clock, sink)
    with bus.subscribe() as everything:
        breaker.trip()
        breaker.reset()
        assert [event.sequence for event in everything.drain()] == list(range(1, len(received) + 1))
    assert received == [[number] for number in range(1, len(received) + 1)]
    assert len(received) > 50
    assert bus._mailboxes == ()
