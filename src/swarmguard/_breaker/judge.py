"""Reading outcomes: is this exception, or this result, a failure of the service?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from typing import Literal

from swarmguard._breaker.config import CircuitBreakerConfig, ExceptionFilter
from swarmguard._breaker.kinds import MisuseError
from swarmguard._ground.contained import contained
from swarmguard.errors import CircuitOpenError


class Verdict(Enum):
    """How a call is counted."""

    value: Literal["success", "failure", "neutral"]
    SUCCESS = "success"
    FAILURE = "failure"
    NEUTRAL = "neutral"


class Judge:
    """Judges outcomes as a configuration says. It runs the user's predicates, so never under a lock.

    Args:
        config: Whose filters and predicates are asked.
    """

    __slots__ = ("_failed_result", "_ignored", "_recorded", "_succeeded")

    def __init__(self, config: CircuitBreakerConfig) -> None:
        self._succeeded = _matcher("success_exceptions", config.success_exceptions, without=False)
        self._ignored = _matcher("ignore_exceptions", config.ignore_exceptions, without=False)
        self._recorded = _matcher("record_exceptions", config.record_exceptions, without=True)
        self._failed_result = config.record_result

    def exception(self, exc: BaseException) -> Verdict:
        """Judge an exception; a group by its leaves: one failure makes it a failure, else one success a success."""
        if not isinstance(exc, BaseExceptionGroup):
            return self._leaf(exc)
        verdicts = {self._leaf(leaf) for leaf in _leaves(exc)}
        for verdict in (Verdict.FAILURE, Verdict.SUCCESS):
            if verdict in verdicts:
                return verdict
        return Verdict.NEUTRAL

    def result(self, value: object) -> Verdict:
        """Judge a returned value."""
        failed = self._failed_result
        if failed is not None and contained("record_result", False, _ask, failed, value):
            return Verdict.FAILURE
        return Verdict.SUCCESS

    def _leaf(self, exc: BaseException) -> Verdict:
        if not isinstance(exc, Exception) or isinstance(exc, CircuitOpenError | MisuseError):
            return Verdict.NEUTRAL
        if self._succeeded(exc):
            return Verdict.SUCCESS
        if self._ignored(exc):
            return Verdict.NEUTRAL
        return Verdict.FAILURE if self._recorded(exc) else Verdict.NEUTRAL


def _matcher(name: str, wanted: ExceptionFilter, *, without: bool) -> Callable[[BaseException], bool]:
    """Turn a filter into a predicate; one of the user's that raises answers what the field's default would."""
    if isinstance(wanted, type | tuple):
        return lambda exc: isinstance(exc, wanted)
    return lambda exc: contained(name, without, _ask, wanted, exc)


def _ask(predicate: Callable[..., object], subject: object) -> bool:
    return bool(predicate(subject))


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    waiting: list[BaseException] = [group]
    while waiting:
        exc = waiting.pop()
        if isinstance(exc, BaseExceptionGroup):
            waiting.extend(exc.exceptions)
        else:
            yield exc
