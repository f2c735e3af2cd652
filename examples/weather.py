"""A circuit breaker around a weather API that fails for a while.

Start here. The program asks for a forecast 12 times. After two failures in a row the
circuit opens: calls are refused, the fallback answers from a cache, and the API gets no
requests. Later a probe succeeds and the circuit closes.
"""

import time

from swarmguard import CircuitBreaker, CircuitBreakerConfig, Event


def report(event: Event) -> None:
    """Print what happens to the circuit."""
    print(f"    -- circuit {event.payload['state']} ({event.payload['reason']})")


config = CircuitBreakerConfig(
    failure_threshold=2,
    success_threshold=1,
    timeout_duration=0.45,
)
breaker = CircuitBreaker("weather", config, sink=report)
cache = {"Oslo": "no forecast yet"}
requests = 0


def get_forecast(city: str) -> str:
    """Stand in for an HTTP request; the third and the fourth request fail."""
    global requests
    requests += 1
    if requests in {3, 4}:
        raise ConnectionError("the API does not answer")
    return f"forecast {requests} for {city}: sunny"


@breaker.with_fallback(lambda city: f"{cache[city]} (from the cache)")
def forecast(city: str) -> str:
    """Return the forecast for a city, and remember it."""
    cache[city] = get_forecast(city)
    return cache[city]


for number in range(1, 13):
    try:
        print(f"{number:2}  {forecast('Oslo')}")
    except ConnectionError as error:
        print(f"{number:2}  error: {error}")
    time.sleep(0.1)

print(f"12 calls, {requests} requests to the API")
