"""Running single calls through a gate: `CircuitBreaker.call` and `execute`, and the decorator's permit lane."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

from swarmguard._breaker.gate import Gate
from swarmguard._breaker.kinds import check_awaitable, check_finished, plain_types
from swarmguard._breaker.permit import Permit, raised, returned
from swarmguard._common.fields import check_callable

P = ParamSpec("P")
T = TypeVar("T")


def call(gate: Gate, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run sync code as one call."""
    period = gate.fast
    if period is None:
        check_callable("fn", fn)
        return call_with(gate.admit(), fn, *args, **kwargs)
    try:
        result = fn(*args, **kwargs)
        if type(result) not in plain_types:
            check_finished(fn, result)
    except BaseException as exc:
        check_callable("fn", fn)  # only now: a call that is well pays nothing for the question
        gate.raised(period, exc)
        raise
    if period.heeds_success:
        gate.succeeded(period)
    return result


def call_with(permit: Permit, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run sync code as the call of a permit."""
    try:
        result = fn(*args, **kwargs)
        if type(result) not in plain_types:
            check_finished(fn, result)
    except BaseException as exc:
        raised(permit, exc)
        raise
    returned(permit, result)
    return result


async def execute(gate: Gate, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Await what `fn` returns as one call."""
    period = gate.fast
    if period is None:
        check_callable("fn", fn)
        return await execute_with(gate.admit(), fn, *args, **kwargs)
    try:
        awaitable = fn(*args, **kwargs)
        check_awaitable(fn, awaitable)
        result = await awaitable
    except BaseException as exc:
        check_callable("fn", fn)  # only now: a call that is well pays nothing for the question
        gate.raised(period, exc)
        raise
    if period.heeds_success:
        gate.succeeded(period)
    return result


async def execute_with(permit: Permit, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Await what `fn` returns, as the call of a permit."""
    try:
        awaitable = fn(*args, **kwargs)
        check_awaitable(fn, awaitable)
        result = await awaitable
    except BaseException as exc:
        raised(permit, exc)
        raise
    returned(permit, result)
    return result
