"""The decorator for every kind of callable, and `call` and `execute`.

Each wrapper repeats the few lines of the fast path in its own body: one more function call would cost more than all of
them together. The slow path is shared.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any, ParamSpec, TypeVar

from swarmguard._breaker.core import BreakerCore
from swarmguard._breaker.kinds import (
    Kind,
    check_awaitable,
    check_finished,
    is_awaitable,
    kind_of,
    name_of,
    plain_types,
)
from swarmguard._breaker.permit import Fallback, GuardedCall, Permit, acquire_permit
from swarmguard._common.fields import check_callable, wrong_type
from swarmguard.errors import CircuitOpenError

P = ParamSpec("P")
T = TypeVar("T")

ALLOWED = (
    "a function, method, classmethod, staticmethod, functools.partial or an object with __call__"
    " (of a property, decorate the function below it; of a class, its methods)"
)


def decorate(core: BreakerCore, fn: Any, fallback: Fallback | None = None) -> Any:
    """Return the guarded callable. It keeps its kind, its metadata and its signature."""
    for method in (classmethod, staticmethod):
        if isinstance(fn, method):
            return method(decorate(core, fn.__func__, fallback))
    if not callable(fn) or isinstance(fn, type):
        wrong_type("the decorated object", ALLOWED, fn)
    kind = kind_of(fn)
    if fallback is not None and kind is Kind.PLAIN and kind_of(fallback) is not Kind.PLAIN:
        wrong_type("the fallback of a sync function", "a sync function too", fallback)
    wrapper = _WRAPPERS[kind](core, fn, fallback)
    copied = functools.WRAPPER_UPDATES if hasattr(fn, "__code__") else ()  # an object's attributes stay its own
    functools.update_wrapper(wrapper, fn, updated=copied)
    if not hasattr(fn, "__qualname__"):
        wrapper.__qualname__ = wrapper.__name__ = name_of(fn)
    return wrapper


def _guard_function(core: BreakerCore, fn: Callable[..., Any], fallback: Fallback | None) -> Callable[..., Any]:
    def guarded(*args: Any, **kwargs: Any) -> Any:
        period = core.closed_period
        if period is None:
            now = core.monotonic()
            answer = core.admit(now)
            if isinstance(answer, CircuitOpenError):
                if fallback is not None:
                    return fallback(*args, **kwargs)
                try:
                    raise answer
                finally:
                    del answer
            return _call_with(Permit(core, answer, now), fn, *args, **kwargs)
        # fast path, copy 1 of 5: see core.py
        try:
            result = fn(*args, **kwargs)
            if type(result) not in plain_types:
                check_finished(fn, result)
        except BaseException as exc:
            core.record_exception(period, exc)
            raise
        if period.counts_successes:
            core.record_success(period)
        return result

    return guarded


def _guard_coroutine(core: BreakerCore, fn: Callable[..., Any], fallback: Fallback | None) -> Callable[..., Any]:
    async def guarded(*args: Any, **kwargs: Any) -> Any:
        period = core.closed_period
        if period is None:
            now = core.monotonic()
            answer = core.admit(now)
            if isinstance(answer, CircuitOpenError):
                if fallback is not None:
                    result = fallback(*args, **kwargs)
                    return await result if is_awaitable(result) else result
                try:
                    raise answer
                finally:
                    del answer
            return await _execute_with(Permit(core, answer, now), fn, *args, **kwargs)
        # fast path, copy 2 of 5: see core.py
        try:
            result = await fn(*args, **kwargs)
        except BaseException as exc:
            core.record_exception(period, exc)
            raise
        if period.counts_successes:
            core.record_success(period)
        return result

    return guarded


def _guard_generator(core: BreakerCore, fn: Callable[..., Any], fallback: Fallback | None) -> Callable[..., Any]:
    def guarded(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        call = GuardedCall(core)
        replacement = call.enter(fallback)
        if replacement is not None:
            return (yield from replacement(*args, **kwargs))
        inner = fn(*args, **kwargs)
        send = inner.send
        try:
            item = send(None)
            while True:  # what `yield from` does, except that close() may return a value
                try:
                    value = yield item
                except GeneratorExit as exc:
                    answer = inner.close()
                    call.leave(exc)
                    return answer
                except BaseException as exc:  # noqa: BLE001 - thrown into the inner generator
                    thrown = exc
                else:
                    item = send(value)
                    continue
                item = inner.throw(thrown)
                del thrown
        except StopIteration as stop:
            call.leave(None)
            return stop.value
        except BaseException as exc:
            thrown = None  # the exception and this frame would keep each other alive
            call.leave(exc)
            raise

    return guarded


def _guard_async_generator(core: BreakerCore, fn: Callable[..., Any], fallback: Fallback | None) -> Callable[..., Any]:
    async def guarded(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        call = GuardedCall(core)
        replacement = call.enter(fallback)
        if replacement is not None:
            async for item in replacement(*args, **kwargs):
                yield item
            return
        inner = fn(*args, **kwargs)
        step = inner.asend(None)
        try:
            while True:
                item = await step
                try:
                    sent = yield item
                except GeneratorExit:
                    await inner.aclose()
                    raise
                except BaseException as exc:  # noqa: BLE001 - thrown into the inner generator
                    step = inner.athrow(exc)
                else:
                    step = inner.asend(sent)
        except StopAsyncIteration:
            call.leave(None)
        except BaseException as exc:
            del step  # it may hold the exception, whose traceback holds this frame
            call.leave(exc)
            raise

    return guarded


_WRAPPERS = {
    Kind.PLAIN: _guard_function,
    Kind.COROUTINE: _guard_coroutine,
    Kind.GENERATOR: _guard_generator,
    Kind.ASYNC_GENERATOR: _guard_async_generator,
}


def call(core: BreakerCore, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a sync function as one call."""
    period = core.closed_period
    if period is None:
        check_callable("fn", fn)
        return _call_with(acquire_permit(core), fn, *args, **kwargs)
    # fast path, copy 3 of 5: see core.py
    try:
        result = fn(*args, **kwargs)
        if type(result) not in plain_types:
            check_finished(fn, result)
    except BaseException as exc:
        check_callable("fn", fn)  # only now, so that a call that succeeds does not pay for the check
        core.record_exception(period, exc)
        raise
    if period.counts_successes:
        core.record_success(period)
    return result


async def execute(core: BreakerCore, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Await what `fn` returns as one call."""
    period = core.closed_period
    if period is None:
        check_callable("fn", fn)
        return await _execute_with(acquire_permit(core), fn, *args, **kwargs)
    # fast path, copy 4 of 5: see core.py
    try:
        awaitable = fn(*args, **kwargs)
        check_awaitable(fn, awaitable)
        result = await awaitable
    except BaseException as exc:
        check_callable("fn", fn)  # only now, so that a call that succeeds does not pay for the check
        core.record_exception(period, exc)
        raise
    if period.counts_successes:
        core.record_success(period)
    return result


def _call_with(permit: Permit, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a sync function as the call of a permit."""
    try:
        result = fn(*args, **kwargs)
        if type(result) not in plain_types:
            check_finished(fn, result)
    except BaseException as exc:
        permit._raised(exc)
        raise
    permit._returned(result)
    return result


async def _execute_with(permit: Permit, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Await what `fn` returns as the call of a permit."""
    try:
        awaitable = fn(*args, **kwargs)
        check_awaitable(fn, awaitable)
        result = await awaitable
    except BaseException as exc:
        permit._raised(exc)
        raise
    permit._returned(result)
    return result
