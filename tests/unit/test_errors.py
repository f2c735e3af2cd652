"""The errors: their attributes, their messages, and pickling."""

from __future__ import annotations

import copy
import pickle
from uuid import UUID

import pytest

from swarmguard import (
    AgentExhaustedError,
    CircuitBreakerError,
    CircuitOpenError,
    CircuitState,
    DuplicateAgentError,
    StaleAgentError,
    SwarmGuardError,
    UnknownAgentError,
)

ID = UUID(int=7)
ERRORS = {
    "is open: call refused, try again in 1.500 s": CircuitOpenError("api", CircuitState.OPEN, 1.5, "open"),
    "admits no further probe now": CircuitOpenError("api", CircuitState.HALF_OPEN, 2.0, "half_open"),
    "isolated by an operator": CircuitOpenError(
        name="api", state=CircuitState.CLOSED, retry_after=None, reason="isolated"
    ),
    "no agent is registered with the id 0000": UnknownAgentError(ID),
    "registered already with the id 0000": DuplicateAgentError(ID),
    "'Scanner' (00000000-0000-0000-0000-000000000007) is stale": StaleAgentError(ID, "Scanner"),
    "dead after 3 restarts": AgentExhaustedError(ID, "Scanner", 3),
}


@pytest.mark.parametrize(("text", "error"), ERRORS.items(), ids=range(len(ERRORS)))
def test_errors_keep_their_attributes_when_copied(text, error):
    """Every error has a clear message, and pickling and copying keep all its attributes. [B15]"""
    assert text in str(error)
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(twin) is type(error)
        assert vars(twin) == vars(error)
        assert str(twin) == str(error)


def test_every_error_is_a_swarmguard_error():
    """Every error is a `SwarmGuardError`, and a refusal is a `CircuitBreakerError`. [B15]"""
    assert all(isinstance(error, SwarmGuardError) for error in ERRORS.values())
    assert issubclass(CircuitOpenError, CircuitBreakerError)
