"""The configuration of an overseer."""

from __future__ import annotations

import attrs

from swarmguard._common.fields import (
    Validator,
    check_instance,
    check_number,
    count,
    optional,
    seconds,
    text,
    to_seconds,
    to_seconds_or_none,
    void,
)


def _flag() -> Validator:
    return lambda _, field, value: void(check_instance(field.name, value, bool))


def _factor() -> Validator:
    allowed = "a finite number more than 0"
    return lambda _, field, value: void(check_number(field.name, value, allowed, low=0, above_low=True))


@attrs.frozen(kw_only=True)
class OverseerConfig:
    """How an overseer judges its agents and restarts them. Frozen, comparable and picklable.

    The first five have the defaults of the Rust service whose names this package keeps. Durations are seconds (`int`,
    `float` or `timedelta`) and are kept as `float`.

    Args:
        heartbeat_interval_secs: How often agents beat on their own, and how often `run` and `supervise` look at them:
            more than 0. Let the timeout be two or three intervals, so that one late beat is no death.
        heartbeat_timeout_secs: The age of the last heartbeat, that age included, at which an agent is stale: more
            than 0.
        max_restart_attempts: The restarts that an agent may have before it is exhausted: 0 or more; 0 means that
            nothing is ever restarted.
        restart_cooldown_secs: The time from the end of a restart attempt to the start of the next: 0 or more. The
            first attempt waits for nothing.
        auto_recovery_enabled: Whether agents are restarted at all.
        failure_memory_secs: How long a failure keeps heartbeats from clearing the failure count: 0 or more. The
            default is one heartbeat timeout. None: heartbeats never clear it, only a success, a restart or a reset.
        restart_reset_secs: The time of being continuously not Dead after which the restart count returns to zero: 0
            or more. The default, ten minutes, is what Kubernetes takes for a container. None: only `reset_agent` does
            it.
        restart_backoff_multiplier: Before the k-th further attempt the cooldown is
            `restart_cooldown_secs * restart_backoff_multiplier ** (k - 1)`: more than 0. The default keeps it constant.
        max_concurrent_restarts: The restarts that `run` has under way at any moment: 1 or more. The default keeps a
            mass death from becoming a mass start.
        topic_prefix: What stands before the events' topics: any non-empty text.

    Raises:
        TypeError: A value is of the wrong type; the message names the field, what it must be, and what came.
        ValueError: A value is out of range; likewise.
    """

    heartbeat_interval_secs: float = attrs.field(default=10.0, converter=to_seconds, validator=seconds(zero=False))
    heartbeat_timeout_secs: float = attrs.field(default=30.0, converter=to_seconds, validator=seconds(zero=False))
    max_restart_attempts: int = attrs.field(default=3, validator=count(0))
    restart_cooldown_secs: float = attrs.field(default=60.0, converter=to_seconds, validator=seconds())
    auto_recovery_enabled: bool = attrs.field(default=True, validator=_flag())
    failure_memory_secs: float | None = attrs.field(
        default=30.0, converter=to_seconds_or_none, validator=optional(seconds())
    )
    restart_reset_secs: float | None = attrs.field(
        default=600.0, converter=to_seconds_or_none, validator=optional(seconds())
    )
    restart_backoff_multiplier: float = attrs.field(default=1.0, validator=_factor())
    max_concurrent_restarts: int = attrs.field(default=10, validator=count(1))
    topic_prefix: str = attrs.field(default="arb.swarm", validator=text())

    @property
    def beat_every_secs(self) -> float:
        """The seconds between automatic beats: an interval, or half a timeout that no interval fits into."""
        if self.heartbeat_interval_secs < self.heartbeat_timeout_secs:
            return self.heartbeat_interval_secs
        return self.heartbeat_timeout_secs / 2
