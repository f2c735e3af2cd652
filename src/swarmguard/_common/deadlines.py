"""Compare moments of a monotonic clock, which are floats of seconds.

`opened_at + 30.0` and the clock's own reading thirty seconds later may differ in their last bit, so a plain `>=` could
miss the very moment that users test. Two moments less than half a nanosecond apart, or closer than the clock's float
can resolve, are the same moment.
"""

from __future__ import annotations

import math


def until(now: float, deadline: float) -> float:
    """Return the seconds from `now` to `deadline`, 0.0 once it is reached."""
    left = deadline - now
    return left if left > 1.0 or left > max(5e-10, 2 * math.ulp(now)) else 0.0


def reached(now: float, deadline: float) -> bool:
    """Return whether `now` is at or past `deadline`."""
    return not until(now, deadline)
