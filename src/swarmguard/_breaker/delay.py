"""The delay of an opening: what the jitter and the service's retry-after add to the open time.

Both may call user code, so nothing in this module may be called under a lock.
"""

from __future__ import annotations

from collections.abc import Callable

from swarmguard._breaker.config import CircuitBreakerConfig
from swarmguard._breaker.machine import OpenDelay
from swarmguard._common.call_logged import call_logged
from swarmguard._common.fields import check_number, check_seconds


def jitter_source(config: CircuitBreakerConfig) -> Callable[[], float]:
    """Return the package's own source of jitter, which works even at interpreter shutdown."""
    if not config.jitter:
        return float  # float() returns 0.0
    import random  # noqa: PLC0415 - seldom needed, and slow to load

    return random.random


def delay_of(config: CircuitBreakerConfig, jitter: Callable[[], float], evidence: object) -> OpenDelay:
    """Return the delay of an opening. A callable of the user's that raises is logged and ignored.

    Args:
        config: The breaker's configuration.
        jitter: What `jitter_source` returned: the source where the configuration has none.
        evidence: The exception or the result of the call that opens the circuit; None when there is none.
    """
    drawn, retry_after = 0.0, None
    if config.jitter:
        drawn = jitter()
        if config.random is not None:
            drawn = call_logged("random", drawn, _draw, config.random)
    if config.retry_after is not None and evidence is not None:
        retry_after = call_logged("retry_after", None, _evaluate_retry_after, config.retry_after, evidence)
    return OpenDelay(drawn, retry_after)


def _draw(source: Callable[[], float]) -> float:
    return check_number("random", source(), "a callable that returns a number from 0 to 1", low=0, high=1)


def _evaluate_retry_after(source: Callable[[object], float | None], evidence: object) -> float | None:
    answer = source(evidence)
    return None if answer is None else check_seconds("retry_after", answer)
