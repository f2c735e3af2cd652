"""Reading outcomes: is this exception, or this result, a failure of the service?

The users' predicates run in here, so nothing of it may be called under a lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum

from swarmguard._breaker.config import CircuitBreakerConfig, ExceptionFilter
from swarmguard._breaker.kinds import MisuseError
from swarmguard._ground.contained import contained
from swarmguard.errors import CircuitOpenError


class Verdict(Enum):
    """How a call is counted."""

    SUCCESS = "success"
    FAILURE = "failure"
    NEUTRAL = "neutral"


_NOT_THE_SERVICE = (CircuitOpenError, MisuseError)
"""What says nothing of the service: an inner breaker's refusal, a misuse of this one."""


def judge_exception(config: CircuitBreakerConfig, exc: BaseException) -> Verdict:
    """Judge an exception; a group by its leaves: one failure makes it a failure, else one success a success."""
    if not isinstance(exc, BaseExceptionGroup):
        return _judge_leaf(config, exc)
    verdicts = {_judge_leaf(config, leaf) for leaf in _leaves(exc)}
    for verdict in (Verdict.FAILURE, Verdict.SUCCESS):
        if verdict in verdicts:
            return verdict
    return Verdict.NEUTRAL


def judge_result(config: CircuitBreakerConfig, value: object) -> Verdict:
    """Judge a returned value."""
    failed = config.record_result
    if failed is not None and contained("record_result", False, _ask, failed, value):
        return Verdict.FAILURE
    return Verdict.SUCCESS


def _judge_leaf(config: CircuitBreakerConfig, exc: BaseException) -> Verdict:
    if not isinstance(exc, Exception) or isinstance(exc, _NOT_THE_SERVICE):
        return Verdict.NEUTRAL
    if _takes("success_exceptions", config.success_exceptions, exc):
        return Verdict.SUCCESS
    if _takes("ignore_exceptions", config.ignore_exceptions, exc):
        return Verdict.NEUTRAL
    if _takes("record_exceptions", config.record_exceptions, exc, without=True):
        return Verdict.FAILURE
    return Verdict.NEUTRAL


def _takes(name: str, wanted: ExceptionFilter, exc: Exception, without: bool = False) -> bool:
    """Tell whether a filter takes the exception; a predicate that raises answers what the field's default would."""
    if isinstance(wanted, (type, tuple)):
        return isinstance(exc, wanted)
    return contained(name, without, _ask, wanted, exc)


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
