"""The configuration of a breaker."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from swarmguard._breaker.trip import ConsecutiveFailures, FailureRate
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
"""Which exceptions are meant: a type, a tuple of types, or a predicate that is asked with the exception."""

LEAST_PROBE_TIMEOUT = 30.0
"""What `probe_timeout=None` is at least: a healthy service may be slower than a short `timeout_duration`."""


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
    """How a breaker behaves. Frozen, comparable, and picklable as far as the callables in it are.

    The first four have the defaults of the Rust service whose names this package keeps. Durations are seconds (`int`,
    `float` or `timedelta`) and are kept as `float`.

    Args:
        failure_threshold: The failures in a row that open the circuit: 1 or more. Not looked at when `trip` is given.
        success_threshold: The successful test calls that close it again: 1 or more; may exceed `half_open_max_calls`.
        timeout_duration: How long the circuit stays open before a test call may be admitted: 0 or more; 0 means that
            the very next call is a test call.
        half_open_max_calls: The test calls that may be under way at any moment: 1 or more.
        trip: When the circuit opens: a `ConsecutiveFailures` or a `FailureRate`. None means
            `ConsecutiveFailures(failure_threshold)`.
        record_exceptions: The exceptions that count as failures. What is not an `Exception` (a cancellation,
            `KeyboardInterrupt`) never counts.
        ignore_exceptions: Exceptions that count neither way; asked before `record_exceptions`.
        success_exceptions: Exceptions that count as successes, since the service did answer (a 404, say); asked
            first.
        record_result: A predicate of returned values; True counts the call as a failure. None: every returned value
            is a success.
        probe_timeout: How long a test call holds its place: more than 0. A slower one keeps its verdict but no longer
            its place. None means `timeout_duration` or 30 s, whichever is longer.
        backoff_multiplier: The k-th opening in a row lasts `timeout_duration * backoff_multiplier ** (k - 1)`: more
            than 0.
        max_timeout_duration: The cap of that growth: more than 0. None: there is none.
        jitter: The open time is lengthened by up to this share of it, at random: 0 to 1.
        random: A callable to a number from 0 up to, not including, 1: the source of the jitter. None means
            `random.random`.
        retry_after: A callable from the failure that opens the circuit (the exception, or the returned value that
            `record_result` takes for one) to the seconds after which the service wants to be asked again, or None. A
            longer answer than the open time extends it, up to `max_timeout_duration`, or an hour where that is None.

    Raises:
        TypeError: A value is of the wrong type; the message names the field, what it must be, and what came.
        ValueError: A value is out of range; likewise.
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
        """When the circuit opens: `trip`, or what its None stands for."""
        return ConsecutiveFailures(self.failure_threshold) if self.trip is None else self.trip

    @property
    def lease(self) -> float:
        """The seconds that a test call may hold its place: `probe_timeout`, or what its None stands for."""
        return max(self.timeout_duration, LEAST_PROBE_TIMEOUT) if self.probe_timeout is None else self.probe_timeout
