"""When a closed circuit opens: the policies that users choose.

A policy is a value: frozen, comparable and picklable. Its `new_counter` starts the count of one closed period.
"""

from __future__ import annotations

import attrs

from swarmguard._breaker.counting import (
    ConsecutiveCounter,
    Counter,
    CountWindowCounter,
    RateThresholds,
    TimeWindowCounter,
)
from swarmguard._common.fields import (
    check_count,
    count,
    optional,
    seconds,
    share,
    to_seconds,
    to_seconds_or_none,
    wrong_type,
)

DEFAULT_MINIMUM_CALLS = 20
"""The value of `minimum_calls=None`; a count window smaller than that must be full."""


@attrs.frozen
class ConsecutiveFailures:
    """Open the circuit after a number of consecutive failures. A success sets the count to zero.

    Args:
        threshold: The consecutive failures that open the circuit, 1 or more; 5 by default, as in
            `CircuitBreakerConfig`.

    Raises:
        TypeError: The threshold is not an int.
        ValueError: The threshold is less than 1.
    """

    threshold: int = attrs.field(default=5, validator=count(1))

    @property
    def slow_call_duration(self) -> None:
        """None: this policy does not measure how long calls take."""

    def new_counter(self) -> Counter:
        """Return a counter for a new closed period."""
        return ConsecutiveCounter(self.threshold)


@attrs.frozen
class CountWindow:
    """A window of the last calls, however long ago they were.

    Args:
        size: The number of calls, 1 or more; 100 by default.

    Raises:
        TypeError: The size is not an int.
        ValueError: The size is less than 1.
    """

    size: int = attrs.field(default=100, validator=count(1))


@attrs.frozen
class TimeWindow:
    """A window of the calls of the last `seconds` seconds. A call leaves it at that age, even if no other call follows.

    Args:
        seconds: The length in seconds (or a `timedelta`), more than 0; 10.0 by default.

    Raises:
        TypeError: The length is neither a number nor a `timedelta`.
        ValueError: The length is not finite or not more than 0.
    """

    seconds: float = attrs.field(default=10.0, converter=to_seconds, validator=seconds(zero=False))


@attrs.frozen(kw_only=True)
class FailureRate:
    """Open the circuit when the share of failed or slow calls in a window reaches its threshold.

    The shares are compared after every recorded call, once the window holds `minimum_calls`.

    Args:
        threshold: The share of failed calls that opens the circuit: more than 0, at most 1.
        window: The calls that are counted: a `CountWindow`, by default of 100 calls, or a `TimeWindow`.
        minimum_calls: The calls that the window must hold before the shares are compared: 1 or more. None: 20, or the
            size of a count window that is smaller than that.
        slow_call_duration: A call that takes this many seconds or longer is slow; more than 0. None: no call is slow.
        slow_call_rate: The share of slow calls, failed or not, that opens the circuit: more than 0, at most 1.

    Raises:
        TypeError: A value has the wrong type.
        ValueError: A value is out of range, or the window can never hold `minimum_calls`.
    """

    threshold: float = attrs.field(default=0.5, validator=share())
    window: CountWindow | TimeWindow = attrs.field(factory=CountWindow)
    minimum_calls: int | None = None
    slow_call_duration: float | None = attrs.field(
        default=None, converter=to_seconds_or_none, validator=optional(seconds(zero=False))
    )
    slow_call_rate: float = attrs.field(default=1.0, validator=share())

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.window, CountWindow | TimeWindow):
            wrong_type("window", "a CountWindow or a TimeWindow", self.window)
        if self.minimum_calls is None:
            return
        check_count("minimum_calls", self.minimum_calls, minimum=1)
        if isinstance(self.window, CountWindow) and self.minimum_calls > self.window.size:
            raise ValueError(
                f"minimum_calls must be at most the window's size of {self.window.size}, or the circuit could never"
                f" open, got {self.minimum_calls}"
            )

    @property
    def effective_minimum_calls(self) -> int:
        """The calls that the window must hold: `minimum_calls`, or its default where that is None."""
        if self.minimum_calls is not None:
            return self.minimum_calls
        if isinstance(self.window, CountWindow):
            return min(DEFAULT_MINIMUM_CALLS, self.window.size)
        return DEFAULT_MINIMUM_CALLS

    def new_counter(self) -> Counter:
        """Return a counter for a new closed period."""
        thresholds = RateThresholds(self.effective_minimum_calls, self.threshold, self.slow_call_rate)
        if isinstance(self.window, CountWindow):
            return CountWindowCounter(self.window.size, thresholds)
        return TimeWindowCounter(self.window.seconds, thresholds)
