"""How long an opening lasts: back-off, cap, jitter, and the wait that the service asks for."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from swarmguard import CircuitState, CountWindow, FailureRate, TimeWindow
from tests.breaker_tools import BoomError, build, fail, raising, refused, succeed


def openings(breaker, clock, number):
    """Open the circuit `number` times in a row, and return how long each opening lasted."""
    lasted = []
    for _ in range(number):
        fail(breaker)
        assert breaker.state is CircuitState.OPEN
        lasted.append(breaker.retry_after)
        clock.advance(breaker.retry_after)
    return lasted


def opens_for(clock, **config):
    """Return how long the first opening lasts with this configuration."""
    return openings(build(clock, failure_threshold=1, **config), clock, 1)[0]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, [10, 10, 10, 10]),
        ({"backoff_multiplier": 2}, [10, 20, 40, 80]),
        ({"backoff_multiplier": 1.5}, [10, 15, 22.5, 33.75]),
        ({"backoff_multiplier": 0.5}, [10, 5, 2.5, 1.25]),
        ({"backoff_multiplier": 2, "max_timeout_duration": 25}, [10, 20, 25, 25]),
        ({"backoff_multiplier": 2, "max_timeout_duration": timedelta(seconds=40)}, [10, 20, 40, 40]),
        ({"max_timeout_duration": 4}, [4, 4]),
        ({"backoff_multiplier": 2, "max_timeout_duration": 25, "jitter": 0.2, "random": lambda: 0.5}, [11, 22, 27.5]),
        ({"jitter": 0.5, "random": lambda: 0.0}, [10, 10]),
        ({"jitter": 1, "random": lambda: 0.75}, [17.5, 17.5]),
        ({"jitter": 0.0, "random": lambda: 0.75}, [10, 10]),
    ],
)
def test_backoff_cap_and_jitter_set_the_open_time(clock, config, expected):
    """The k-th opening lasts timeout * multiplier ** (k - 1), capped, then times 1 + jitter * random [B18]."""
    breaker = build(clock, failure_threshold=1, timeout_duration=10, **config)
    assert openings(breaker, clock, len(expected)) == pytest.approx(expected, abs=1e-9)


def test_an_opening_ends_to_the_nanosecond(clock):
    """An opening lasts its jittered time to the nanosecond, and its event carries that time [B18] [B2]."""
    emitted = []
    breaker = build(clock, emitted.append, failure_threshold=1, timeout_duration=10, jitter=0.5, random=lambda: 0.3)
    fail(breaker)
    assert emitted[0].payload["open_seconds"] == pytest.approx(11.5)
    clock.advance(11.5 - 1e-9)
    refused(breaker)
    clock.advance(1e-9)
    succeed(breaker)


def test_each_opening_draws_its_own_jitter(clock):
    """Each opening draws its own random number [B18]."""
    draws = iter([0.0, 0.5, 0.25])
    breaker = build(clock, failure_threshold=1, timeout_duration=8, jitter=1.0, random=lambda: next(draws))
    assert openings(breaker, clock, 3) == [8, 12, 10]


def test_jitter_comes_from_the_random_module_by_default(clock):
    """With `random=None` the number comes from the `random` module, so its seed determines it [B18]."""
    state = random.getstate()
    try:
        random.seed(7)
        drawn = opens_for(clock, timeout_duration=10, jitter=0.5)
    finally:
        random.setstate(state)
    assert drawn == pytest.approx(10 * (1 + 0.5 * random.Random(7).random()))


def test_jitter_only_lengthens_the_open_time(clock):
    """Jitter lengthens the open time by up to its share, and never shortens it [B18]."""
    lasted = [opens_for(clock, timeout_duration=10, jitter=0.2) for _ in range(200)]
    assert 10 <= min(lasted) < max(lasted) < 12


def test_closing_resets_the_backoff(clock):
    """After the circuit has closed, the next opening counts as the first [B18]."""
    breaker = build(clock, failure_threshold=1, success_threshold=2, timeout_duration=10, backoff_multiplier=2)
    assert openings(breaker, clock, 3) == [10, 20, 40]
    assert breaker.status().openings == 3
    succeed(breaker)
    assert breaker.status().openings == 3
    succeed(breaker)
    assert breaker.status().openings == 0
    assert openings(breaker, clock, 2) == [10, 20]


@pytest.mark.parametrize("multiplier", [2.0, 1e300, 1e-300, 0.5])
def test_backoff_never_overflows(clock, multiplier):
    """However often the circuit opens in a row, the open time is finite, and a cap holds [B18] [B4]."""
    for cap in (60, None):
        breaker = build(
            clock,
            failure_threshold=1,
            timeout_duration=10,
            backoff_multiplier=multiplier,
            max_timeout_duration=cap,
            jitter=1.0,
            random=lambda: 0.0,
        )
        for _ in range(2000):
            breaker.trip()
        assert 0 <= breaker.retry_after < float("inf")
        assert cap is None or breaker.retry_after <= cap
        if multiplier > 1 and cap:
            assert breaker.retry_after == cap


def test_backoff_keeps_an_open_time_of_zero(clock):
    """An open time of zero stays zero under back-off [B18]."""
    breaker = build(clock, failure_threshold=1, timeout_duration=0, backoff_multiplier=10, jitter=1.0)
    for _ in range(500):
        breaker.trip()
    assert breaker.retry_after == 0.0


# retry_after


@pytest.mark.parametrize(
    ("config", "answer", "expected"),
    [
        ({}, None, 10),
        ({}, 60, 60),
        ({}, 60.5, 60.5),
        ({}, timedelta(minutes=2), 120),
        ({}, 10, 10),
        ({}, 9.9, 10),
        ({}, 0, 10),
        ({}, 3600, 3600),
        ({}, 3601, 3600),
        ({}, 1e12, 3600),
        ({"max_timeout_duration": 45}, 60, 45),
        ({"max_timeout_duration": 7200}, 7000, 7000),
        ({"max_timeout_duration": 7200}, 9000, 7200),
        ({"jitter": 1.0, "random": lambda: 0.5}, 12, 15),
        ({"jitter": 1.0, "random": lambda: 0.5}, 16, 16),
        ({"jitter": 1.0, "random": lambda: 0.5, "max_timeout_duration": 10}, 60, 15),
        ({"timeout_duration": 7200}, 9000, 7200),
    ],
)
def test_retry_after_extends_an_opening_up_to_the_cap(clock, config, answer, expected):
    """`retry_after` extends an opening, up to the cap or an hour, and never shortens it [B18]."""
    config = {"timeout_duration": 10, "retry_after": lambda _: answer} | config
    assert opens_for(clock, **config) == pytest.approx(expected)


def test_an_infinite_retry_after_is_capped(clock):
    """An infinite `retry_after` does not keep the circuit open for longer than the cap [B18] [B4]."""
    assert opens_for(clock, timeout_duration=10, retry_after=lambda _: float("inf")) in {10, 3600}


def test_retry_after_extends_one_opening_only(clock):
    """The opening after an extended one lasts what the back-off says [B18]."""
    answers = iter([100, None, None])
    breaker = build(
        clock, failure_threshold=1, timeout_duration=10, backoff_multiplier=2, retry_after=lambda _: next(answers)
    )
    assert openings(breaker, clock, 3) == [100, 20, 40]


def test_retry_after_gets_the_exception(clock):
    """`retry_after` gets the exception that opens the circuit, in closed and in half-open [B18]."""
    causes = []

    def retry_after(error):
        causes.append(error)

    errors = [BoomError(), BoomError(), BoomError()]
    breaker = build(clock, failure_threshold=2, timeout_duration=10, retry_after=retry_after)
    for error in errors:
        with pytest.raises(BoomError):
            breaker.call(raising(error))
        clock.advance(breaker.retry_after)
    assert causes[-2:] == errors[1:]


def test_retry_after_gets_the_result(clock):
    """`retry_after` gets the returned value when that counts as the failure [B18]."""
    breaker = build(
        clock,
        failure_threshold=1,
        timeout_duration=10,
        record_result=lambda result: result["status"] == 503,
        retry_after=lambda result: result["retry-after"],
    )
    assert breaker.call(lambda: {"status": 503, "retry-after": 77}) == {"status": 503, "retry-after": 77}
    assert breaker.retry_after == 77.0


@pytest.mark.parametrize("observer", [None, lambda record: None], ids=["fast path", "slow path"])
@pytest.mark.parametrize("window", [CountWindow(2), TimeWindow(10)])
def test_retry_after_is_not_called_for_a_success(clock, window, observer):
    """A success that opens a circuit by its failure rate does not call `retry_after`, on either path [B18] [B20]."""
    causes = []
    breaker = build(
        clock,
        observer=observer,
        trip=FailureRate(window=window, minimum_calls=2),
        timeout_duration=10,
        retry_after=lambda cause: causes.append(cause) or 99.0,
    )
    fail(breaker)
    assert breaker.call(lambda: "fine") == "fine"
    assert (breaker.state, breaker.retry_after, causes) == (CircuitState.OPEN, 10.0, [])


def test_retry_after_of_a_failed_probe(clock):
    """`retry_after` extends the opening that a failed probe causes [B18]."""
    answers = iter([None, 50])
    breaker = build(clock, failure_threshold=1, timeout_duration=10, retry_after=lambda _: next(answers))
    assert openings(breaker, clock, 2) == [10, 50]


def test_trip_does_not_call_retry_after(clock):
    """`trip` has no failure to pass to `retry_after`: the opening lasts what the back-off says [B18] [B16]."""
    breaker = build(clock, timeout_duration=10, retry_after=lambda _: 500)
    breaker.trip()
    assert breaker.retry_after == 10.0


@pytest.mark.anyio
async def test_retry_after_gets_the_exception_of_a_coroutine(clock):
    """`retry_after` gets the exception of a failing coroutine [B18]."""
    breaker = build(clock, failure_threshold=1, timeout_duration=10, retry_after=lambda error: error.args[0])

    async def failing():
        raise BoomError(42)

    with pytest.raises(BoomError):
        await breaker.execute(failing)
    assert breaker.retry_after == 42.0


def test_retry_after_gets_exceptions_of_blocks_and_generators(clock):
    """`retry_after` gets the exception that leaves a block, a permit's block or a generator [B18]."""

    def block(breaker):
        with breaker:
            raise BoomError(42)

    def permit(breaker):
        with breaker.acquire():
            raise BoomError(42)

    def generator(breaker):
        @breaker
        def numbers():
            yield 1
            raise BoomError(42)

        list(numbers())

    for face in (block, permit, generator):
        breaker = build(clock, failure_threshold=1, timeout_duration=10, retry_after=lambda error: error.args[0])
        with pytest.raises(BoomError):
            face(breaker)
        assert breaker.retry_after == 42.0
