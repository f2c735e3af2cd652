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
    """How an overseer reads the health of its agents and restarts them. Frozen, comparable and picklable.

    Durations are in seconds, as `int`, `float` or `timedelta`, and are stored as `float`. The defaults of the first
    five are those of ArbFarm, the Rust trading service whose design this package implements.

    Args:
        heartbeat_interval_secs: The time between automatic heartbeats, and between the checks of `run` and
            `supervise`: more than 0. The timeout should be two or three intervals, so that one late heartbeat is not
            fatal.
        heartbeat_timeout_secs: An agent is stale when its last heartbeat is this old or older: more than 0.
        max_restart_attempts: The restart budget, the number of restarts that an agent may have before it is exhausted:
            0 or more. 0: agents are never restarted.
        restart_cooldown_secs: The time from the end of a restart attempt to the start of the next one: 0 or more. The
            first attempt starts at once.
        auto_recovery_enabled: Whether agents are restarted at all.
        failure_memory_secs: The time after the last failure during which heartbeats do not clear the failure count: 0
            or more. The default is the default heartbeat timeout. None: heartbeats never clear the count, only a
            success, a restart or a reset does.
        restart_reset_secs: The restart count returns to zero when the agent has not been Dead for this time: 0 or
            more. The default is the ten minutes after which Kubernetes resets a container's back-off. None: only
            `reset_agent` resets the count.
        restart_backoff_multiplier: The cooldown after the k-th attempt that counts is
            `restart_cooldown_secs * restart_backoff_multiplier ** (k - 1)`: more than 0. The default, 1, keeps the
            cooldown constant.
        max_concurrent_restarts: The number of restarts that `run` has under way at a time: 1 or more. It prevents that
            many agents that die together are all restarted at once.
        topic_prefix: The first part of the topics of all events: any non-empty text.

    Raises:
        TypeError: A value has the wrong type. The message names the field, the allowed values and the value.
        ValueError: A value is out of range. The message says the same.
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
        """The seconds between automatic heartbeats.

        That is one interval, or half a timeout if the interval is not shorter than the timeout.
        """
        if self.heartbeat_interval_secs < self.heartbeat_timeout_secs:
            return self.heartbeat_interval_secs
        return self.heartbeat_timeout_secs / 2
