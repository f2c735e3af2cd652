"""Configuration values: what they accept and reject, the messages of their errors, and how they compare and copy."""

from __future__ import annotations

import copy
import pickle
from datetime import timedelta
from fractions import Fraction

import attrs
import pytest

from swarmguard import (
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitBreakerRegistry,
    ConsecutiveFailures,
    CountWindow,
    FailureRate,
    TimeWindow,
)

NAN, INF = float("nan"), float("inf")
TOO_MUCH = 10**400
"""An integer that no float can hold."""


def named(_):
    """Do nothing; a module-level function can be pickled."""
    return


def test_defaults_of_a_configuration():
    """A configuration has the documented defaults [B1]."""
    config = CircuitBreakerConfig()
    assert (config.failure_threshold, config.success_threshold) == (5, 3)
    assert (config.timeout_duration, config.half_open_max_calls) == (30.0, 3)
    assert (config.trip, config.record_result, config.probe_timeout, config.max_timeout_duration) == (None,) * 4
    assert (config.record_exceptions, config.ignore_exceptions, config.success_exceptions) == (Exception, (), ())
    assert (config.backoff_multiplier, config.jitter, config.random, config.retry_after) == (1.0, 0.0, None, None)


GOOD_VALUES = [
    *[
        (name, value)
        for name in ("failure_threshold", "success_threshold", "half_open_max_calls")
        for value in (1, 10**9)
    ],
    *[("timeout_duration", value) for value in (0, 0.0, 1e-9, 5, 1e9, timedelta(0), timedelta(days=1))],
    *[(name, value) for name in ("probe_timeout", "max_timeout_duration") for value in (None, 1e-9, 5, timedelta(1))],
    *[("backoff_multiplier", value) for value in (1, 2, 1.5, 0.5, 1e300)],
    *[("jitter", value) for value in (0, 0.0, 0.5, 1, 1.0)],
    *[("trip", value) for value in (None, ConsecutiveFailures(2), FailureRate())],
    *[
        (name, value)
        for name in ("record_exceptions", "ignore_exceptions", "success_exceptions")
        for value in (ValueError, BaseException, (), (ValueError, KeyError), named, KeyboardInterrupt)
    ],
    *[(name, value) for name in ("record_result", "random", "retry_after") for value in (None, named, lambda *_: None)],
]


@pytest.mark.parametrize(("name", "value"), GOOD_VALUES)
def test_valid_values_are_accepted(name, value):
    """Each field accepts its whole range [B1]."""
    stored = getattr(CircuitBreakerConfig(**{name: value}), name)
    assert stored == (value.total_seconds() if isinstance(value, timedelta) else value)


@pytest.mark.parametrize("name", ["timeout_duration", "probe_timeout", "max_timeout_duration"])
@pytest.mark.parametrize("value", [90, 90.0, timedelta(minutes=1, seconds=30)], ids=["int", "float", "timedelta"])
def test_durations_are_stored_as_floats(name, value):
    """A duration may be an int, a float or a timedelta, and is stored as a float in seconds [B2]."""
    stored = getattr(CircuitBreakerConfig(**{name: value}), name)
    assert (stored, type(stored)) == (90.0, float)


BAD_DURATIONS = [
    *[(value, ValueError) for value in (NAN, INF, -INF, -1, -1e-9, TOO_MUCH, timedelta(seconds=-1))],
    *[(value, TypeError) for value in ("5", True, [5], 5j, Fraction(5), object())],
]
BAD_COUNTS = [
    *[(value, ValueError) for value in (0, -1)],
    *[(value, TypeError) for value in (1.0, 2.5, "5", True, None, NAN, [5])],
]
BAD_FILTERS = [
    (value, TypeError) for value in (None, 5, "ValueError", [ValueError], int, (int,), (ValueError, "x"), (named,))
]
BAD_CALLABLES = [(value, TypeError) for value in (5, "x", True, ())]
BAD_VALUES = [
    *[(name, *bad) for name in ("failure_threshold", "success_threshold", "half_open_max_calls") for bad in BAD_COUNTS],
    *[("timeout_duration", *bad) for bad in (*BAD_DURATIONS, (None, TypeError))],
    *[
        (name, *bad)
        for name in ("probe_timeout", "max_timeout_duration")
        for bad in (*BAD_DURATIONS, (0, ValueError), (0.0, ValueError), (timedelta(0), ValueError))
    ],
    *[("backoff_multiplier", value, ValueError) for value in (0, 0.0, -1, NAN, INF, -INF)],
    *[("backoff_multiplier", value, TypeError) for value in ("2", True, None, 2j, timedelta(1))],
    *[("jitter", value, ValueError) for value in (-0.1, 1.1, NAN, INF, -INF, 2)],
    *[("jitter", value, TypeError) for value in ("0.5", True, None, timedelta(1))],
    *[("trip", value, TypeError) for value in (5, "rate", CountWindow(5), ConsecutiveFailures, named)],
    *[(name, *bad) for name in ("record_exceptions", "ignore_exceptions", "success_exceptions") for bad in BAD_FILTERS],
    *[(name, *bad) for name in ("record_result", "random", "retry_after") for bad in BAD_CALLABLES],
]


def check(make, name, value, error):
    """Check that `make` raises this error, which names the field, the allowed values and the value."""
    with pytest.raises(error) as caught:
        make(**{name: value})
    assert type(caught.value) is error
    text = str(caught.value)
    assert name in text
    assert "must be" in text
    if isinstance(value, timedelta):
        value = value.total_seconds() if error is ValueError else value
    assert repr(INF if value == TOO_MUCH else value) in text.partition("got")[2]


def case_ids(value):
    """Return the id of a case."""
    if value == TOO_MUCH:
        return "too much"
    return value.__name__ if isinstance(value, type) else None


@pytest.mark.parametrize(("name", "value", "error"), BAD_VALUES, ids=case_ids)
def test_invalid_values_raise(name, value, error):
    """A value out of range raises a `ValueError`, and one of a wrong type a `TypeError`, with a full message [B1]."""
    check(CircuitBreakerConfig, name, value, error)


BAD_POLICIES = [
    *[(ConsecutiveFailures, "threshold", *bad) for bad in BAD_COUNTS],
    *[(CountWindow, "size", *bad) for bad in BAD_COUNTS],
    *[(TimeWindow, "seconds", *bad) for bad in (*BAD_DURATIONS, (0, ValueError), (None, TypeError))],
    *[
        (FailureRate, name, value, error)
        for name in ("threshold", "slow_call_rate")
        for value, error in [
            *[(value, ValueError) for value in (0, 0.0, -0.5, 1.01, 2, NAN, INF)],
            *[(value, TypeError) for value in ("0.5", None, True)],
        ]
    ],
    *[(FailureRate, "minimum_calls", value, error) for value, error in BAD_COUNTS if value is not None],
    *[(FailureRate, "slow_call_duration", *bad) for bad in (*BAD_DURATIONS, (0, ValueError))],
    *[(FailureRate, "window", value, TypeError) for value in (None, 5, "100", CountWindow, timedelta(1))],
]


@pytest.mark.parametrize(("make", "name", "value", "error"), BAD_POLICIES, ids=case_ids)
def test_invalid_values_of_policies_raise(make, name, value, error):
    """Invalid values of trip policies and windows raise the same errors [B17]."""
    check(make, name, value, error)


@pytest.mark.parametrize(("size", "minimum"), [(1, 2), (10, 11), (100, 101)])
def test_minimum_calls_above_the_window_size_raise(size, minimum):
    """A `minimum_calls` above the size of a count window raises a `ValueError` [B17] [T17]."""
    with pytest.raises(ValueError, match=rf"minimum_calls must be .*{size}.*got {minimum}"):
        FailureRate(window=CountWindow(size), minimum_calls=minimum)
    FailureRate(window=CountWindow(size), minimum_calls=size)
    FailureRate(window=TimeWindow(size), minimum_calls=minimum)


def test_defaults_of_policies():
    """The policies have the documented defaults [B17]."""
    policy = FailureRate()
    assert (policy.threshold, policy.window, policy.minimum_calls) == (0.5, CountWindow(100), None)
    assert (policy.slow_call_duration, policy.slow_call_rate) == (None, 1.0)
    assert (CountWindow(), TimeWindow()) == (CountWindow(100), TimeWindow(10.0))
    assert (CountWindow(size=3).size, TimeWindow(seconds=3).seconds, ConsecutiveFailures(threshold=3).threshold) == (
        3,
        3,
        3,
    )
    assert FailureRate(slow_call_duration=timedelta(seconds=2)).slow_call_duration == 2.0


VALUES = [
    CircuitBreakerConfig(),
    CircuitBreakerConfig(
        failure_threshold=2,
        trip=FailureRate(window=TimeWindow(3), minimum_calls=5),
        record_exceptions=(ValueError, KeyError),
        ignore_exceptions=named,
        retry_after=named,
        jitter=0.5,
    ),
    ConsecutiveFailures(3),
    FailureRate(threshold=0.25, window=CountWindow(7), slow_call_duration=1.5, slow_call_rate=0.5),
    CountWindow(3),
    TimeWindow(3),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__ + str(VALUES.index(value)))
def test_configurations_are_frozen_values(value):
    """Configurations are frozen, comparable, hashable and picklable attrs values [B1]."""
    cls = type(value)
    assert attrs.has(cls)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(value, protocol)) == value
    assert copy.copy(value) == copy.deepcopy(value) == attrs.evolve(value) == value
    assert hash(copy.deepcopy(value)) == hash(value)
    assert value != object()
    for field in attrs.fields(cls):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(value, field.name, getattr(value, field.name))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        delattr(value, attrs.fields(cls)[0].name)


def test_configurations_compare_by_value():
    """Configurations are equal if all their fields are, in whatever units durations were given [B1]."""
    assert CircuitBreakerConfig(timeout_duration=60) == CircuitBreakerConfig(timeout_duration=timedelta(minutes=1))
    assert CircuitBreakerConfig(failure_threshold=2) != CircuitBreakerConfig(failure_threshold=3)
    assert ConsecutiveFailures(2) != ConsecutiveFailures(3)
    assert CircuitBreakerConfig(trip=ConsecutiveFailures(2)) == CircuitBreakerConfig(trip=ConsecutiveFailures(2))
    assert CountWindow(10) != TimeWindow(10)


def test_configurations_take_known_keywords_only():
    """`CircuitBreakerConfig` and `FailureRate` take keywords only, and reject unknown ones [B1]."""
    for make in (CircuitBreakerConfig, FailureRate):
        with pytest.raises(TypeError):
            make(5)
    with pytest.raises(TypeError):
        CircuitBreakerConfig(failure_treshold=5)


def test_evolve_validates():
    """`attrs.evolve` validates the values that it changes [B1]."""
    with pytest.raises(ValueError, match="failure_threshold"):
        attrs.evolve(CircuitBreakerConfig(), failure_threshold=0)


# Breakers and registries


@pytest.mark.parametrize(("name", "error"), [("", ValueError), (None, TypeError), (5, TypeError), (b"api", TypeError)])
def test_invalid_names_raise(name, error):
    """A breaker's name is any non-empty text [R3]."""
    with pytest.raises(error, match=r"name must be .*got") as caught:
        CircuitBreaker(name)
    assert repr(name) in str(caught.value)


BAD_ARGUMENTS = [
    *[("clock", value) for value in (None, 5, object(), "clock")],
    *[("sink", value) for value in (5, "sink", object())],
    *[("observer", value) for value in (5, "observer", object())],
    *[("topic_prefix", value) for value in (None, 5)],
]


@pytest.mark.parametrize(("name", "value"), BAD_ARGUMENTS)
def test_invalid_arguments_raise(name, value):
    """A clock, sink, observer or topic prefix of a wrong type raises a `TypeError` that names it [B1]."""
    for make in (lambda **arguments: CircuitBreaker("api", **arguments), CircuitBreakerRegistry):
        with pytest.raises(TypeError, match=name) as caught:
            make(**{name: value})
        assert repr(value) in str(caught.value)


@pytest.mark.parametrize("value", [None, 5, {}, CircuitBreakerConfig])
def test_an_invalid_config_raises(value):
    """A `config` of a wrong type raises a `TypeError` that names it [B1]."""
    with pytest.raises(TypeError, match="config"):
        CircuitBreaker("api", value)
    with pytest.raises(TypeError, match="config"):
        CircuitBreakerRegistry(value)


def test_arguments_after_the_config_are_keyword_only():
    """The arguments after `config` are keyword-only [B1]."""
    with pytest.raises(TypeError):
        CircuitBreaker("api", CircuitBreakerConfig(), None)


def test_messages_of_failure_rate_are_complete():
    """The errors of `FailureRate` name the field, the allowed values and the value [B17]."""
    with pytest.raises(TypeError, match=r"^window must be a CountWindow or a TimeWindow, got 10 \(int\)$"):
        FailureRate(window=10)
    with pytest.raises(ValueError, match=r"^minimum_calls must be a whole number, 1 or more, got 0$"):
        FailureRate(minimum_calls=0)
