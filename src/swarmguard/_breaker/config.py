"""The configuration of a breaker."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from swarmguard._breaker.policy import ConsecutiveFailures, FailureRate
from swarmguard._common.fields import (
    Seconds,
    check_callable_or_none,
    check_number,
    count,
    optional,
    seconds,
    to_seconds,
    to_seconds_or_none,
    wrong_type,
)

ExceptionFilter = type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], object]
"""A type, a tuple of types, or a predicate that takes the exception."""

MIN_DEFAULT_LEASE = 30.0
"""The least value of `probe_timeout=None`: a healthy service may be slower than a short `timeout_duration`."""


def _check_filter(name: str, value: ExceptionFilter) -> None:
    allowed = "an exception type, a tuple of exception types, or a predicate"
    members: tuple[object, ...] = value if isinstance(value, tuple) else (value,)
    for member in members:
        if isinstance(member, type):
            if not issubclass(member, BaseException):
                wrong_type(name, allowed, value)
        elif isinstance(value, tuple) or not callable(member):
            wrong_type(name, allowed, value)


@attrs.frozen(kw_only=True)
class CircuitBreakerConfig:
    """The configuration of a breaker. Frozen, comparable, and picklable if the callables in it are.

    The first four defaults are those of ArbFarm, the Rust trading service whose design this package implements.
    Durations are seconds (`int`, `float` or `timedelta`), and are stored as `float`.

    Args:
        failure_threshold: The consecutive failures that open the circuit: 1 or more. Ignored if `trip` is given.
        success_threshold: The successful probes that close the circuit: 1 or more; may exceed `half_open_max_calls`.
        timeout_duration: How long the circuit stays open before a probe may be admitted: 0 or more. With 0 the very
            next call is a probe. It is not a time limit for calls.
        half_open_max_calls: The number of slots, that is, of probes that may run at the same time: 1 or more.
        trip: The policy that opens the circuit: a `ConsecutiveFailures` or a `FailureRate`. None:
            `ConsecutiveFailures(failure_threshold)`.
        record_exceptions: The exceptions that count as failures, by default every `Exception`. Other exceptions (a
            cancellation, `KeyboardInterrupt`) are always neutral.
        ignore_exceptions: The exceptions that are neutral; checked before `record_exceptions`.
        success_exceptions: The exceptions that count as successes, because the service did answer (a 404, say);
            checked first.
        record_result: A predicate that takes the returned value; True counts the call as a failure. None: every
            returned value is a success.
        probe_timeout: How long a probe holds its slot: more than 0. After that its slot is free, but its outcome still
            counts. None: `timeout_duration` or 30 s, whichever is longer.
        backoff_multiplier: The k-th opening in a row lasts `timeout_duration * backoff_multiplier ** (k - 1)`: more
            than 0. The default of 1.0 keeps it constant.
        max_timeout_duration: The longest open time that the back-off can reach: more than 0. None: no limit.
        jitter: The largest share of the open time that is added to it at random: 0 to 1.
        random: A callable that returns a number from 0 up to, not including, 1: the source of the jitter. None:
            `random.random`.
        retry_after: A callable that takes the failure that opens the circuit (the exception, or the value that
            `record_result` classified as a failure) and returns the seconds to wait before the next call, or None. An
            answer longer than the open time extends it, up to `max_timeout_duration`, or up to an hour where that is
            None. None: the open time is never extended.

    Raises:
        TypeError: A value has the wrong type. The message names the field, what is allowed, and the value.
        ValueError: A value is out of range. The message says the same.
    """

    failure_threshold: int = attrs.field(default=5, validator=count(1))
    success_threshold: int = attrs.field(default=3, validator=count(1))
    timeout_duration: float = attrs.field(default=30.0, converter=to_seconds, validator=seconds())
    half_open_max_calls: int = attrs.field(default=3, validator=count(1))
    trip: ConsecutiveFailures | FailureRate | None = None
    record_exceptions: ExceptionFilter = Exception
    ignore_exceptions: ExceptionFilter = ()
    success_exceptions: ExceptionFilter = ()
    record_result: Callable[..., object] | None = None
    probe_timeout: float | None = attrs.field(
        default=None, converter=to_seconds_or_none, validator=optional(seconds(zero=False))
    )
    backoff_multiplier: float = 1.0
    max_timeout_duration: float | None = attrs.field(
        default=None, converter=to_seconds_or_none, validator=optional(seconds(zero=False))
    )
    jitter: float = 0.0
    random: Callable[[], float] | None = None
    retry_after: Callable[..., Seconds | None] | None = None

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.trip, ConsecutiveFailures | FailureRate | None):
            wrong_type("trip", "a ConsecutiveFailures, a FailureRate or None", self.trip)
        for name in ("record_exceptions", "ignore_exceptions", "success_exceptions"):
            _check_filter(name, getattr(self, name))
        for name in ("record_result", "random", "retry_after"):
            check_callable_or_none(name, getattr(self, name))
        check_number(
            "backoff_multiplier", self.backoff_multiplier, "a finite number more than 0", low=0, above_low=True
        )
        check_number("jitter", self.jitter, "a number from 0 to 1", low=0, high=1)

    @property
    def trip_policy(self) -> ConsecutiveFailures | FailureRate:
        """The policy that opens the circuit: `trip`, or its default where that is None."""
        return ConsecutiveFailures(self.failure_threshold) if self.trip is None else self.trip

    @property
    def lease(self) -> float:
        """The seconds that a probe may hold its slot: `probe_timeout`, or its default where that is None."""
        return max(self.timeout_duration, MIN_DEFAULT_LEASE) if self.probe_timeout is None else self.probe_timeout
