"""The events that breakers and overseers emit, and the type of their sinks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

import attrs

JSON = None | bool | int | float | str | Sequence["JSON"] | Mapping[str, "JSON"]
"""The types of payload values: anything that `json.dumps` takes."""


def _read_only(payload: Mapping[str, JSON]) -> Mapping[str, JSON]:
    return MappingProxyType(dict(payload))


@attrs.frozen(kw_only=True)
class Event:
    """A change of a breaker, an agent or the swarm.

    Attributes:
        topic: The dotted name of the change, such as `arb.swarm.circuit.opened`.
        source: The emitter: the breaker's name, or `overseer`.
        at: The time of the change, as an aware `datetime` in UTC.
        sequence: The number of the event among those of its emitter. The first is 1; there are no gaps, and the order
            is that of the changes.
        payload: The details, as a read-only mapping of JSON types.
    """

    topic: str
    source: str
    at: datetime
    sequence: int
    payload: Mapping[str, JSON] = attrs.field(converter=_read_only, hash=False)

    def to_dict(self) -> dict[str, JSON]:
        """Return the event as a dict for `json.dumps`, with `at` as RFC 3339 text."""
        return {
            "topic": self.topic,
            "source": self.source,
            "at": self.at.isoformat(),
            "sequence": self.sequence,
            "payload": dict(self.payload),
        }

    def __reduce__(self) -> tuple[Callable[..., Event], tuple[object, ...]]:
        return _rebuild, (self.topic, self.source, self.at, self.sequence, dict(self.payload))


def _rebuild(topic: str, source: str, at: datetime, sequence: int, payload: Mapping[str, JSON]) -> Event:
    """Create an event for pickle and copy, neither of which can handle a `MappingProxyType`."""
    return Event(topic=topic, source=source, at=at, sequence=sequence, payload=payload)


Sink = Callable[[Event], object]
"""A callable that takes an `Event`. Its return value is ignored."""
