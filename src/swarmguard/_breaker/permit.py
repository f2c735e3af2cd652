"""The permit: one admitted call, to be settled once."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from swarmguard._breaker.judge import FAILURE, NEUTRAL, SUCCESS, Verdict, is_failure, judge_exception, judge_result

if TYPE_CHECKING:
    from swarmguard._breaker.config import CircuitBreakerConfig
    from swarmguard._breaker.gate import Gate
    from swarmguard._breaker.machine import Ticket

T = TypeVar("T")


class Permit:
    """The right to make one call, given by `CircuitBreaker.acquire()`.

    Settle it with `succeed`, `fail` or `release`, from any thread; the first one counts. Or use it as a context
    manager, sync or async: leaving the block is a success, leaving it by an exception is judged by the breaker's
    configuration, and a permit that was settled inside the block stays as it was settled. A permit that is forgotten
    and garbage-collected is released.
    """

    __slots__ = ("_gate", "_started", "_unsettled")

    def __init__(self, gate: Gate, ticket: Ticket, started: float) -> None:
        self._gate = gate
        self._started = started
        self._unsettled = [ticket]  # a list, since popping from one is atomic: exactly one caller gets the ticket

    def succeed(self) -> bool:
        """Settle the call as a success.

        Returns:
            True when this settled it; False, and nothing changes, when it was settled before.
        """
        return self._settle(SUCCESS)

    def fail(self, exc: BaseException | None = None) -> bool:
        """Settle the call as a failure, whatever `exc` is.

        Args:
            exc: What went wrong, for the configuration's `retry_after`; None when there is nothing to show it.

        Returns:
            True when this settled it; False, and nothing changes, when it was settled before.
        """
        return self._settle(FAILURE, exc)

    def release(self) -> bool:
        """Settle the call as neutral: it counts neither way, and its place is free again.

        Returns:
            True when this settled it; False, and nothing changes, when it was settled before.
        """
        return self._settle(NEUTRAL)

    def _settle(self, verdict: Verdict, evidence: object = None) -> bool:
        try:
            ticket = self._unsettled.pop()
        except IndexError:
            return False
        self._gate.settle(ticket, self._started, verdict, evidence)
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc is None:
            self.succeed()
        else:
            raised(self, exc)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(exc_type, exc, traceback)

    def __del__(self) -> None:
        if getattr(self, "_unsettled", None):  # an interrupt may have stopped __init__
            self._gate.drop(self._unsettled.pop(), self._started)


def returned(permit: Permit, result: object) -> None:
    """Settle by what the call returned, as the configuration's `record_result` judges it."""
    _settle_judged(permit, judge_result, result)


def raised(permit: Permit, exc: BaseException) -> None:
    """Settle by what the call raised, as the configuration's exception filters judge it."""
    _settle_judged(permit, judge_exception, exc)


def failed_early(permit: Permit, answer: object, *, default: Callable[[Any], bool]) -> bool:
    """Settle a call that goes on after its answer, if the answer is a failure already.

    Args:
        permit: The call's.
        answer: What the configuration's `record_result` judges.
        default: What judges where the configuration has no `record_result`.

    Returns:
        Whether it is a failure. If not, the permit is still to be settled.
    """
    failed = is_failure(permit._gate.config.record_result or default, answer)
    if failed:
        permit._settle(FAILURE, answer)
    return failed


def _settle_judged(permit: Permit, judge: Callable[[CircuitBreakerConfig, T], Verdict], evidence: T) -> None:
    """Judge and settle; the place is given back even if the user's predicate is interrupted."""
    try:
        permit._settle(judge(permit._gate.config, evidence), evidence)
    finally:
        if permit._unsettled:
            permit.release()
