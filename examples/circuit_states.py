"""The life of a circuit, one call after the other: closed, open, half-open, closed.

A fake clock moves the time, so the program does not wait. It prints what the timeline
in the documentation shows: when each call came, how it ended, the state of the circuit
after it, and the seconds until a call may be admitted.
"""

from swarmguard import CircuitBreaker, CircuitBreakerConfig, CircuitOpenError
from swarmguard.testing import FakeClock

clock = FakeClock()
config = CircuitBreakerConfig(failure_threshold=3)
breaker = CircuitBreaker("weather", config, clock=clock)


def get_forecast() -> str:
    """Stand in for a service that is down from the 12th to the 54th second."""
    if 12 <= clock.monotonic() < 54:
        raise ConnectionError("the service is down")
    return "sunny"


print("time  call     state     retry after")
clock.advance(3)
while clock.monotonic() < 84:
    try:
        breaker.call(get_forecast)
        outcome = "success"
    except ConnectionError:
        outcome = "failure"
    except CircuitOpenError:
        outcome = "refused"
    time = clock.monotonic()
    print(f"{time:2.0f} s  {outcome}  {breaker.state:8}  {breaker.retry_after:4.0f} s")
    clock.advance(6)
