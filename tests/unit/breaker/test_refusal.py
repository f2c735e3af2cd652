"""`CircuitOpenError`: its attributes, its message, and its copies."""

from __future__ import annotations

import copy
import pickle
import traceback

import pytest

from swarmguard import BreakerMode, CircuitBreakerError, CircuitOpenError, CircuitState, SwarmGuardError
from tests.breaker_tools import build, due_breaker, open_breaker, refused

REFUSALS = [
    CircuitOpenError("api", CircuitState.OPEN, 12.5, "open"),
    CircuitOpenError("an api / ünïcode", CircuitState.HALF_OPEN, 0.0, "half_open"),
    CircuitOpenError("api", CircuitState.CLOSED, None, "isolated"),
]
FACTS = ("name", "state", "retry_after", "reason")


def facts(error):
    """Return the attributes, the text and the type of a refusal."""
    return {name: getattr(error, name) for name in FACTS} | {"text": str(error), "type": type(error)}


def test_a_refusal_of_an_open_circuit(clock):
    """A refusal of an open circuit carries the name, the state, the time left and the reason `open` [B15]."""
    breaker = open_breaker(clock, timeout_duration=30)
    clock.advance(12)
    error = refused(breaker)
    assert (error.name, error.state, error.retry_after, error.reason) == ("api", CircuitState.OPEN, 18.0, "open")


def test_a_refusal_without_a_free_slot(clock):
    """A refusal without a free slot carries the time until the first lease ends and the reason `half_open` [B15]."""
    breaker = due_breaker(clock, half_open_max_calls=2, probe_timeout=20)
    permits = [breaker.acquire()]
    clock.advance(5)
    permits.append(breaker.acquire())
    clock.advance(5)
    error = refused(breaker)
    assert (error.state, error.retry_after, error.reason) == (CircuitState.HALF_OPEN, 10.0, "half_open")
    assert len(permits) == 2


@pytest.mark.parametrize(("make", "state"), [(build, CircuitState.CLOSED), (open_breaker, CircuitState.OPEN)])
def test_a_refusal_of_an_isolated_breaker(clock, make, state):
    """A refusal of an isolated breaker has the reason `isolated`, and None as `retry_after` [B15]."""
    breaker = make(clock)
    breaker.set_mode(BreakerMode.ISOLATED)
    error = refused(breaker)
    assert (error.name, error.state, error.retry_after, error.reason) == ("api", state, None, "isolated")


def test_a_refusal_is_a_circuit_breaker_error():
    """A refusal is a `CircuitBreakerError`, and that is a `SwarmGuardError` [B15]."""
    assert issubclass(CircuitOpenError, CircuitBreakerError)
    assert issubclass(CircuitBreakerError, SwarmGuardError)
    assert issubclass(SwarmGuardError, Exception)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: error.reason)
def test_pickling_keeps_every_attribute(error, protocol):
    """A refusal keeps its attributes and its text when it is pickled [B15]."""
    again = pickle.loads(pickle.dumps(error, protocol))
    assert facts(again) == facts(error)
    assert again.state is error.state


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy], ids=["copy", "deepcopy"])
@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: error.reason)
def test_copying_keeps_every_attribute(error, duplicate):
    """A refusal keeps its attributes and its text when it is copied [B15]."""
    assert facts(duplicate(error)) == facts(error)


def test_pickling_keeps_notes():
    """A refusal keeps its notes when it is pickled [B15]."""
    error = CircuitOpenError("api", CircuitState.OPEN, 1.0, "open")
    error.add_note("while fetching prices")
    assert pickle.loads(pickle.dumps(error)).__notes__ == ["while fetching prices"]


def test_a_raised_refusal_can_be_pickled(clock):
    """A refusal that was raised can be pickled as well [B15]."""
    error = refused(open_breaker(clock))
    assert facts(pickle.loads(pickle.dumps(error))) == facts(error)


def test_each_refusal_is_a_new_exception(clock):
    """Each refusal is a new exception, so its traceback does not grow with the number of refusals [B15] [T13]."""
    breaker = open_breaker(clock)
    errors = [refused(breaker) for _ in range(50)]
    assert len({id(error) for error in errors}) == 50
    assert len({len(traceback.extract_tb(error.__traceback__)) for error in errors}) == 1


@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: error.reason)
def test_the_message_has_the_name_and_the_wait(error):
    """The message has the name of the breaker, and the seconds to wait if there are any [B15]."""
    assert error.name in str(error)
    if error.retry_after:
        assert "12.5" in str(error)


def test_a_refusal_has_no_context(clock):
    """A refusal has neither a cause nor a context [B15]."""
    error = refused(open_breaker(clock))
    assert error.__cause__ is error.__context__ is None
