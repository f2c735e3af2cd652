"""A sink that logs events with the standard library's `logging`, one line for each event.

```python
breakers = CircuitBreakerRegistry(sink=LoggingSink())
```
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from logging import CRITICAL, ERROR, INFO, WARNING
from typing import Any, Final

from swarmguard._common.fields import wrong_type
from swarmguard.events import Event

__all__ = ["LoggingSink"]

_AGENT: Final = "agent %(agent_type)r (%(agent_id)s)"
_LINES: Final[Mapping[str, tuple[int, str]]] = {
    "circuit.opened": (WARNING, "circuit %(name)r opened for %(open_seconds).6g s (%(reason)s)"),
    "circuit.half_opened": (INFO, "circuit %(name)r half-opened (%(reason)s)"),
    "circuit.closed": (INFO, "circuit %(name)r closed (%(reason)s)"),
    "circuit.mode_changed": (WARNING, "circuit %(name)r changed its mode from %(previous_mode)s to %(mode)s"),
    "agent.started": (INFO, f"{_AGENT} started"),
    "agent.stopped": (INFO, f"{_AGENT} stopped"),
    "agent.failed": (WARNING, f"{_AGENT} went from %(previous_health)s to %(health)s (%(reason)s)"),
    "agent.recovered": (INFO, f"{_AGENT} recovered (%(reason)s)"),
    "agent.exhausted": (CRITICAL, f"{_AGENT} ran out of restarts (%(restart_count)d)"),
    "paused": (WARNING, "the swarm was paused"),
    "resumed": (INFO, "the swarm was resumed"),
}
"""The level and the format of each topic, by the end of the topic.

Names and errors come from users or services. `%r` escapes their line breaks, so that an event stays one line.
"""
_UNKNOWN: Final = (INFO, "%(topic)s from %(source)r: %(payload)r")


class LoggingSink:
    """A sink that logs each event as one line, at a level that depends on the topic.

    Each record has the whole event, `Event.to_dict()`, as its attribute `swarmguard`, for formatters and handlers that
    use `extra`.

    Args:
        logger: The logger. None: `logging.getLogger("swarmguard.events")`. A `LoggerAdapter` may replace `extra`.

    Raises:
        TypeError: `logger` has no `log` method.
    """

    __slots__ = ("_logger",)

    def __init__(self, logger: logging.Logger | logging.LoggerAdapter[Any] | None = None) -> None:
        if logger is None:
            logger = logging.getLogger("swarmguard.events")
        if not callable(getattr(logger, "log", None)):
            wrong_type("logger", "a logger, a logger adapter or None: an object with a log() method", logger)
        self._logger = logger

    def __call__(self, event: Event) -> None:
        """Log the event."""
        fields = event.to_dict()
        level, line = _line(event)
        self._logger.log(level, line, {**event.payload, **fields}, extra={"swarmguard": fields})


def _line(event: Event) -> tuple[int, str]:
    """Return the level of an event, and the format of its line."""
    segments = event.topic.split(".")
    level, line = _LINES.get(".".join(segments[-2:])) or _LINES.get(segments[-1], _UNKNOWN)
    if event.payload.get("health") == "Dead":
        level = ERROR
    if event.payload.get("error") is not None:
        line = f"{line}: %(error)r"
    return level, line
