"""Reading outcomes: is this exception, or this result, a failure of the service?

The users' predicates run in here, so nothing of it may be called under a lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any

from swarmguard._breaker.config import CircuitBreakerConfig, ExceptionFilter
from swarmguard._breaker.kinds import MisuseError
from swarmguard._common.call_logged import call_logged
from swarmguard.errors import CircuitOpenError


class Verdict(Enum):
    """How a call is counted."""

    SUCCESS = "success"
    FAILURE = "failure"
    NEUTRAL = "neutral"


SUCCESS, FAILURE, NEUTRAL = Verdict

_NOT_THE_SERVICE = (CircuitOpenError, MisuseError)
"""What says nothing of the service: an inner breaker's refusal, a misuse of this one."""

_NONE = ()
"""The default of most filters, not worth a question: CPython has only one empty tuple."""


def judge_exception(config: CircuitBreakerConfig, exc: BaseException) -> Verdict:
    """Judge an exception; a group by its leaves: one failure makes it a failure, else one success a success."""
    if isinstance(exc, BaseExceptionGroup):
        verdicts = {judge_exception(config, leaf) for leaf in _leaves(exc)}
        for verdict in (FAILURE, SUCCESS):
            if verdict in verdicts:
                return verdict
        return NEUTRAL
    if not isinstance(exc, Exception) or isinstance(exc, _NOT_THE_SERVICE):
        return NEUTRAL
    if config.success_exceptions is not _NONE and _takes("success_exceptions", config.success_exceptions, exc):
        return SUCCESS
    if config.ignore_exceptions is not _NONE and _takes("ignore_exceptions", config.ignore_exceptions, exc):
        return NEUTRAL
    if _takes("record_exceptions", config.record_exceptions, exc, without=True):
        return FAILURE
    return NEUTRAL


def judge_result(config: CircuitBreakerConfig, value: object) -> Verdict:
    """Judge a returned value."""
    predicate = config.record_result
    return FAILURE if predicate is not None and is_failure(predicate, value) else SUCCESS


def is_failure(predicate: Callable[[Any], object], value: object) -> bool:
    """Ask a `record_result`; one that raises takes nothing for a failure."""
    return call_logged("record_result", False, _ask, predicate, value)


def _takes(name: str, wanted: ExceptionFilter, exc: Exception, without: bool = False) -> bool:
    """Tell whether a filter takes the exception; a predicate that raises answers what the field's default would."""
    if isinstance(wanted, (type, tuple)):
        return isinstance(exc, wanted)
    return call_logged(name, without, _ask, wanted, exc)


def _ask(predicate: Callable[..., object], subject: object) -> bool:
    return bool(predicate(subject))


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    waiting: list[BaseException] = list(group.exceptions)
    while waiting:
        exc = waiting.pop()
        if isinstance(exc, BaseExceptionGroup):
            waiting.extend(exc.exceptions)
        else:
            yield exc
