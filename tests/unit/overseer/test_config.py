"""The configuration of an overseer."""

from __future__ import annotations

import pickle
from datetime import timedelta

import attrs
import pytest

from swarmguard import OverseerConfig

DURATIONS = [
    "heartbeat_interval_secs",
    "heartbeat_timeout_secs",
    "restart_cooldown_secs",
    "failure_memory_secs",
    "restart_reset_secs",
]


def test_defaults():
    """The defaults are the documented ones. [O]"""
    assert attrs.asdict(OverseerConfig()) == {
        "heartbeat_interval_secs": 10.0,
        "heartbeat_timeout_secs": 30.0,
        "max_restart_attempts": 3,
        "restart_cooldown_secs": 60.0,
        "auto_recovery_enabled": True,
        "failure_memory_secs": 30.0,
        "restart_reset_secs": 600.0,
        "restart_backoff_multiplier": 1.0,
        "max_concurrent_restarts": 10,
        "topic_prefix": "arb.swarm",
    }


@pytest.mark.parametrize("field", DURATIONS)
def test_durations_become_floats(field):
    """A duration can be an int, a float or a timedelta, and is stored as a float of seconds."""
    for value in (90, 90.0, timedelta(minutes=1.5)):
        kept = getattr(OverseerConfig(**{field: value}), field)
        assert kept == 90.0
        assert type(kept) is float


@pytest.mark.parametrize("field", DURATIONS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1, timedelta(seconds=-1), 10**400])
def test_durations_out_of_range(field, value):
    """A duration that is not finite or is negative raises a `ValueError` that names the field."""
    with pytest.raises(ValueError, match=f"{field} must be a finite number of seconds"):
        OverseerConfig(**{field: value})


@pytest.mark.parametrize("field", DURATIONS)
@pytest.mark.parametrize("value", ["10", True, object])
def test_durations_of_wrong_types(field, value):
    """A duration of another type raises a `TypeError` that names the field."""
    with pytest.raises(TypeError, match=f"{field} must be a number of seconds"):
        OverseerConfig(**{field: value})


@pytest.mark.parametrize("field", DURATIONS)
def test_zero_durations(field):
    """Zero is refused for the interval and the timeout, where it has no meaning."""
    if field.startswith("heartbeat"):
        with pytest.raises(ValueError, match=f"{field} must be a finite number of seconds, more than 0"):
            OverseerConfig(**{field: 0})
    else:
        assert getattr(OverseerConfig(**{field: 0}), field) == 0.0


@pytest.mark.parametrize("field", DURATIONS)
def test_durations_of_none(field):
    """None is allowed for the failure memory and the restart reset only."""
    if field in ("failure_memory_secs", "restart_reset_secs"):
        assert getattr(OverseerConfig(**{field: None}), field) is None
    else:
        with pytest.raises(TypeError, match=field):
            OverseerConfig(**{field: None})


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("max_restart_attempts", -1, ValueError),
        ("max_restart_attempts", 1.0, TypeError),
        ("max_restart_attempts", True, TypeError),
        ("max_concurrent_restarts", 0, ValueError),
        ("max_concurrent_restarts", None, TypeError),
        ("auto_recovery_enabled", 1, TypeError),
        ("restart_backoff_multiplier", 0, ValueError),
        ("restart_backoff_multiplier", float("nan"), ValueError),
        ("restart_backoff_multiplier", float("inf"), ValueError),
        ("restart_backoff_multiplier", "2", TypeError),
        ("topic_prefix", "", ValueError),
        ("topic_prefix", None, TypeError),
    ],
)
def test_other_fields_are_checked(field, value, error):
    """A value out of range raises a `ValueError`, one of a wrong type a `TypeError`; both name field and value."""
    with pytest.raises(error, match=field) as caught:
        OverseerConfig(**{field: value})
    assert repr(value) in str(caught.value)


def test_edges_are_allowed():
    """The limits of the ranges are allowed."""
    OverseerConfig(max_restart_attempts=0, max_concurrent_restarts=1, restart_backoff_multiplier=0.5)


def test_config_is_a_value():
    """A configuration is keyword-only, frozen, comparable and picklable."""
    config = OverseerConfig(max_restart_attempts=7)
    assert config == OverseerConfig(max_restart_attempts=7) != OverseerConfig()
    assert pickle.loads(pickle.dumps(config)) == config
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        config.max_restart_attempts = 8
    with pytest.raises(TypeError):
        OverseerConfig(1.0)


def test_automatic_heartbeats_fit_into_the_timeout():
    """Agents beat every interval, or every half timeout if the interval is not shorter than the timeout. [O12]"""
    assert OverseerConfig().beat_every_secs == 10.0
    assert OverseerConfig(heartbeat_interval_secs=10, heartbeat_timeout_secs=10).beat_every_secs == 5.0
    assert OverseerConfig(heartbeat_interval_secs=99, heartbeat_timeout_secs=10).beat_every_secs == 5.0
