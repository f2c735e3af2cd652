"""The events that breakers and overseers emit, and what may receive them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

import attrs

JSON = None | bool | int | float | str | Sequence["JSON"] | Mapping[str, "JSON"]
"""What a payload may hold: anything that `json.dumps` takes."""


def _read_only(payload: Mapping[str, JSON]) -> Mapping[str, JSON]:
    return MappingProxyType(dict(payload))


@attrs.frozen(kw_only=True)
class Event:
    """Something that happened to a breaker, an agent or the swarm.

    Attributes:
        topic: What happened, as a dotted name: `arb.swarm.circuit.opened`, say.
        source: Who emits it: the breaker's name, or `overseer`.
        at: When it happened: aware, in UTC, for people to read.
        sequence: 1 for the first event of its emitter, then one more each, without gaps, in the order of the changes.
        payload: The facts, read-only, of JSON types throughout.
    """

    topic: str
    source: str
    at: datetime
    sequence: int
    payload: Mapping[str, JSON] = attrs.field(converter=_read_only, hash=False)

    def to_dict(self) -> dict[str, JSON]:
        """Return the event as a dict that `json.dumps` takes; `at` becomes RFC 3339 text."""
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
    """Build the event again for pickle and copy, which cannot take a read-only mapping."""
    return Event(topic=topic, source=source, at=at, sequence=sequence, payload=payload)


Sink = Callable[[Event], object]
"""Any callable that takes an `Event`; what it returns is not looked at."""
