"""The cost of an event by the number of sinks and subscribers. There are no peers for this."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from swarmguard import CircuitBreaker, EventBus
from swarmguard.events import Sink
from tests.benchmarks.case import OURS, Case, Contestant, Work


def two_events(sink: Sink | None) -> Work:
    """Trip and reset a breaker, which emits two events."""
    breaker = CircuitBreaker("quotes", sink=sink)

    def work(n: int) -> None:
        for _ in range(n):
            breaker.trip()
            breaker.reset()

    return work


def two_events_to_a_function() -> Work:
    """Send the events to a function that does nothing."""
    return two_events(lambda event: None)


def two_events_to_a_bus(subscribers: int) -> Work:
    """Send the events to a bus with subscribers that do not read.

    Every buffer is soon full, and from then on each event drops the oldest one.
    """
    bus = EventBus()
    subscriptions = [bus.subscribe() for _ in range(subscribers)]
    publish = two_events(bus)

    def work(n: int) -> int:
        """Return how many events were dropped so far, which also keeps the subscriptions alive."""
        publish(n)
        return sum(subscription.dropped for subscription in subscriptions)

    return work


def case(receivers: str, prepare: Callable[[], Work], size: int | None) -> Case:
    """Return the case of a trip and a reset with these receivers."""
    return Case(
        name=f"trip and reset, {receivers}",
        group="Events",
        contestants=(Contestant(name=OURS, prepare=prepare),),
        series=None if size is None else "trip and reset",
        size=size,
    )


CASES = (
    case("no sink", partial(two_events, None), 0),
    case("a function as sink", two_events_to_a_function, 1),
    case("a bus with 1 subscriber", partial(two_events_to_a_bus, 1), None),
    case("a bus with 10 subscribers", partial(two_events_to_a_bus, 10), 10),
)
