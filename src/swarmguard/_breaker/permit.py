"""Permits: one admitted call each, settled once. Every call on the slow path has one."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

from swarmguard._breaker.classify import Classified, classify_exception, classify_result, is_failure
from swarmguard._breaker.config import CircuitBreakerConfig
from swarmguard._breaker.core import BreakerCore
from swarmguard._breaker.periods import ClosedPeriod, Ticket
from swarmguard._breaker.values import FAILURE, NEUTRAL, SUCCESS
from swarmguard.errors import CircuitOpenError

T = TypeVar("T")
Fallback = Callable[..., Any]


class Permit:
    """The right to make one call, returned by `CircuitBreaker.acquire()`.

    Settle it with `succeed`, `fail` or `release`, from any thread; the first of them counts. Or use it as a context
    manager, sync or async: leaving the block is a success, an exception that leaves it is classified by the breaker's
    configuration, and a permit that was settled inside the block stays as it was settled. A permit that is
    garbage-collected unsettled is released.
    """

    __slots__ = ("_core", "_started", "_unsettled")

    def __init__(self, core: BreakerCore, ticket: Ticket, started: float) -> None:
        self._core = core
        self._started = started
        self._unsettled = [ticket]  # popping from a list is atomic, so exactly one caller gets the ticket

    def succeed(self) -> bool:
        """Settle the call as a success.

        Returns:
            True if this settled the call; False, and nothing changes, if it was settled before.
        """
        return self._settle(SUCCESS)

    def fail(self, exc: BaseException | None = None) -> bool:
        """Settle the call as a failure, whatever `exc` is.

        Args:
            exc: The exception of the call, which the configuration's `retry_after` is given; None if there is none.

        Returns:
            True if this settled the call; False, and nothing changes, if it was settled before.
        """
        return self._settle(FAILURE, exc)

    def release(self) -> bool:
        """Settle the call as neutral: nothing is counted, and its slot is free again.

        Returns:
            True if this settled the call; False, and nothing changes, if it was settled before.
        """
        return self._settle(NEUTRAL)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc is None:
            self.succeed()
        else:
            self._raised(exc)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(exc_type, exc, traceback)

    def __del__(self) -> None:
        if getattr(self, "_unsettled", None):  # an interrupt may have stopped __init__
            self._core.drop(self._unsettled.pop(), self._started)

    def _returned(self, result: object) -> None:
        """Settle the call by what it returned, as the configuration's `record_result` classifies it."""
        self._settle_classified(classify_result, result)

    def _raised(self, exc: BaseException) -> None:
        """Settle the call by what it raised, as the configuration's exception filters classify it."""
        self._settle_classified(classify_exception, exc)

    def _failed_early(self, answer: object, *, default: Callable[[Any], bool]) -> bool:
        """Settle a call that goes on after its answer, if the answer is a failure.

        Args:
            answer: What the configuration's `record_result` classifies.
            default: Classifies it where the configuration has no `record_result`.

        Returns:
            Whether the answer is a failure. If not, the permit is still to be settled.
        """
        failed = is_failure(self._core.config.record_result or default, answer)
        if failed:
            self._settle(FAILURE, answer)
        return failed

    def _settle_classified(self, classify: Callable[[CircuitBreakerConfig, T], Classified], evidence: T) -> None:
        try:
            self._settle(classify(self._core.config, evidence), evidence)
        finally:
            if self._unsettled:  # the user's predicate was interrupted
                self.release()

    def _settle(self, outcome: Classified, evidence: object = None) -> bool:
        try:
            ticket = self._unsettled.pop()
        except IndexError:
            return False
        self._core.settle(ticket, self._started, outcome, evidence)
        return True


def request_permit(core: BreakerCore) -> Permit | CircuitOpenError:
    """Return a permit for a call that is made now, or the refusal, not raised yet.

    A caller that raises the refusal must delete its own reference: the error's traceback and the caller's frame would
    keep each other alive.
    """
    now = core.monotonic()
    answer = core.admit(now)
    return answer if isinstance(answer, CircuitOpenError) else Permit(core, answer, now)


def acquire_permit(core: BreakerCore) -> Permit:
    """Return a permit for a call that is made now, or raise the refusal."""
    permit = request_permit(core)
    if isinstance(permit, CircuitOpenError):
        try:
            raise permit
        finally:
            del permit
    return permit


class GuardedCall:
    """A call that is more than one function call: a block, or a generator.

    On the fast path it holds the closed period, on the slow path a permit.

    Args:
        core: Admits the call and settles it.
    """

    __slots__ = ("core", "period", "permit")

    permit: Permit

    def __init__(self, core: BreakerCore) -> None:
        self.core = core
        self.period: ClosedPeriod | None = None

    def enter(self, fallback: Fallback | None = None) -> Fallback | None:
        """Begin the call.

        Args:
            fallback: What runs instead of a call that is refused; None: the refusal is raised.

        Returns:
            None if the call is admitted; otherwise the fallback.
        """
        self.period = period = self.core.closed_period
        if period is None:
            permit = acquire_permit(self.core) if fallback is None else request_permit(self.core)
            if isinstance(permit, CircuitOpenError):
                return fallback
            self.permit = permit
        return None

    def leave(self, exc: BaseException | None) -> bool:
        """Settle the call by the exception that ended it, or as a success; return False if it has not begun."""
        period = self.period
        if period is not None:  # fast path, copy 5 of 5: see core.py
            self.period = None
            if exc is not None:
                self.core.record_exception(period, exc)
            elif period.counts_successes:
                self.core.record_success(period)
            return True
        if not hasattr(self, "permit"):
            return False
        if exc is not None:
            self.permit._raised(exc)
        else:
            self.permit.succeed()
        return True
