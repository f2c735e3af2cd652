"""Checks of what a shell is wired to: its clock and its listeners."""

from __future__ import annotations

from swarmguard._ground.fields import check_callable_or_none, check_text, wrong_type
from swarmguard.clock import Clock


def check_wiring(clock: object, sink: object, topic_prefix: str) -> None:
    """Raise unless a shell can work with these."""
    if not isinstance(clock, Clock):
        wrong_type("clock", "a Clock, an object with monotonic(), now() and sleep()", clock)
    check_callable_or_none("sink", sink)
    check_text("topic_prefix", topic_prefix)
