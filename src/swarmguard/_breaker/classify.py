"""Classify the end of a call: is this exception, or this result, a failure of the service?

The predicates of users run in here, so nothing in this module may be called under a lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, Literal

from swarmguard._breaker.config import CircuitBreakerConfig, ExceptionFilter
from swarmguard._breaker.kinds import MisuseError
from swarmguard._breaker.values import FAILURE, NEUTRAL, SUCCESS
from swarmguard._common.call_logged import call_logged
from swarmguard.errors import CircuitOpenError

Classified = Literal["success", "failure", "neutral"]

_ALWAYS_NEUTRAL: Final = (CircuitOpenError, MisuseError)
"""Neutral under every configuration: an inner breaker's refusal, and a misuse of this breaker."""

_NO_TYPES: Final = ()
"""The default of most filters. Compared by identity, to skip a call: CPython has one empty tuple."""


def classify_exception(config: CircuitBreakerConfig, exc: BaseException) -> Classified:
    """Classify an exception; of a group, its leaves: a failure if any is one, else a success if any is."""
    if isinstance(exc, BaseExceptionGroup):
        outcomes = {classify_exception(config, leaf) for leaf in _leaves(exc)}
        return FAILURE if FAILURE in outcomes else SUCCESS if SUCCESS in outcomes else NEUTRAL
    if not isinstance(exc, Exception) or isinstance(exc, _ALWAYS_NEUTRAL):
        return NEUTRAL
    if config.success_exceptions is not _NO_TYPES and _matches("success_exceptions", config.success_exceptions, exc):
        return SUCCESS
    if config.ignore_exceptions is not _NO_TYPES and _matches("ignore_exceptions", config.ignore_exceptions, exc):
        return NEUTRAL
    if _matches("record_exceptions", config.record_exceptions, exc, default=True):
        return FAILURE
    return NEUTRAL


def classify_result(config: CircuitBreakerConfig, value: object) -> Classified:
    """Classify a returned value."""
    predicate = config.record_result
    return FAILURE if predicate is not None and is_failure(predicate, value) else SUCCESS


def is_failure(predicate: Callable[[Any], object], value: object) -> bool:
    """Evaluate a `record_result`. If it raises, the value is no failure."""
    return call_logged("record_result", False, _evaluate, predicate, value)


def _matches(name: str, exception_filter: ExceptionFilter, exc: Exception, default: bool = False) -> bool:
    """Return whether a filter matches the exception; `default` if the filter is a predicate that raises."""
    if isinstance(exception_filter, (type, tuple)):
        return isinstance(exc, exception_filter)
    return call_logged(name, default, _evaluate, exception_filter, exc)


def _evaluate(predicate: Callable[..., object], subject: object) -> bool:
    return bool(predicate(subject))


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    waiting: list[BaseException] = list(group.exceptions)
    while waiting:
        exc = waiting.pop()
        if isinstance(exc, BaseExceptionGroup):
            waiting.extend(exc.exceptions)
        else:
            yield exc
