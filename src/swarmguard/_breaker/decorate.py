"""The decorator, for every kind of callable.

The wrappers repeat the few lines of the gate's fast lane, each in its own body: one more call there would cost more
than all of them together. What is off the fast lane is shared.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

from swarmguard._breaker.calls import call_with, execute_with
from swarmguard._breaker.gate import Gate
from swarmguard._breaker.kinds import Kind, check_finished, is_awaitable, kind_of, name_of, plain_types
from swarmguard._breaker.passage import Passage
from swarmguard._common.fields import wrong_type
from swarmguard.errors import CircuitOpenError

Fallback = Callable[..., Any]

ALLOWED = (
    "a function, method, classmethod, staticmethod, functools.partial or an object with __call__"
    " (of a property, decorate the function below it; of a class, its methods)"
)


def decorate(gate: Gate, fn: Any, fallback: Fallback | None = None) -> Any:
    """Return the callable, guarded; its kind, its metadata and its signature stay as they were."""
    for method in (classmethod, staticmethod):
        if isinstance(fn, method):
            return method(decorate(gate, fn.__func__, fallback))
    if not callable(fn) or isinstance(fn, type):
        wrong_type("the decorated object", ALLOWED, fn)
    kind = kind_of(fn)
    if fallback is not None and kind is Kind.PLAIN and kind_of(fallback) is not Kind.PLAIN:
        wrong_type("the fallback of a sync function", "a sync function too", fallback)
    wrapper = _WRAPPERS[kind](gate, fn, fallback)
    copied = functools.WRAPPER_UPDATES if hasattr(fn, "__code__") else ()  # an object's attributes are its own
    functools.update_wrapper(wrapper, fn, updated=copied)
    if not hasattr(fn, "__qualname__"):
        wrapper.__qualname__ = wrapper.__name__ = name_of(fn)
    return wrapper


def _guard_plain(gate: Gate, fn: Callable[..., Any], fallback: Fallback | None) -> Callable[..., Any]:
    def guarded(*args: Any, **kwargs: Any) -> Any:
        period = gate.fast
        if period is None:
            if fallback is not None:
                return _call_or_fall_back(gate, fn, fallback, args, kwargs)
            refusal = gate.refusal()
            if refusal is not None:
                try:
                    raise refusal
                finally:
                    del refusal
            return call_with(gate.admit(), fn, *args, **kwargs)
        try:
            result = fn(*args, **kwargs)
            if type(result) not in plain_types:
                check_finished(fn, result)
        except BaseException as exc:
            gate.raised(period, exc)
            raise
        if period.heeds_success:
            gate.succeeded(period)
        return result

    return guarded


def _guard_coroutine(gate: Gate, fn: Callable[..., Any], fallback: Fallback | None) -> Callable[..., Any]:
    async def guarded(*args: Any, **kwargs: Any) -> Any:
        period = gate.fast
        if period is None:
            if fallback is not None:
                return await _execute_or_fall_back(gate, fn, fallback, args, kwargs)
            refusal = gate.refusal()
            if refusal is not None:
                try:
                    raise refusal
                finally:
                    del refusal
            return await execute_with(gate.admit(), fn, *args, **kwargs)
        try:
            result = await fn(*args, **kwargs)
        except BaseException as exc:
            gate.raised(period, exc)
            raise
        if period.heeds_success:
            gate.succeeded(period)
        return result

    return guarded


def _guard_generator(gate: Gate, fn: Callable[..., Any], fallback: Fallback | None) -> Callable[..., Any]:
    def guarded(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        passage = Passage(gate)
        if not _entered(passage, fallback):
            assert fallback is not None
            return (yield from fallback(*args, **kwargs))
        inner = fn(*args, **kwargs)
        send = inner.send
        try:
            item = send(None)
            while True:  # what `yield from` does, except that close() may answer
                try:
                    value = yield item
                except GeneratorExit as exc:
                    answer = inner.close()
                    passage.leave(exc)
                    return answer
                except BaseException as exc:  # noqa: BLE001 - thrown on, into the generator that it was meant for
                    thrown = exc
                else:
                    item = send(value)
                    continue
                item = inner.throw(thrown)
                del thrown
        except StopIteration as stop:
            passage.leave(None)
            return stop.value
        except BaseException as exc:
            thrown = None  # or the exception and this frame would keep each other alive
            passage.leave(exc)
            raise

    return guarded


def _guard_async_generator(gate: Gate, fn: Callable[..., Any], fallback: Fallback | None) -> Callable[..., Any]:
    async def guarded(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        passage = Passage(gate)
        if not _entered(passage, fallback):
            assert fallback is not None
            async for item in fallback(*args, **kwargs):
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
                except BaseException as exc:  # noqa: BLE001 - thrown on, likewise
                    step = inner.athrow(exc)
                else:
                    step = inner.asend(sent)
        except StopAsyncIteration:
            passage.leave(None)
        except BaseException as exc:
            passage.leave(exc)
            raise

    return guarded


def _call_or_fall_back(
    gate: Gate, fn: Callable[..., Any], fallback: Fallback, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    try:
        permit = gate.admit()
    except CircuitOpenError:
        pass  # the fallback is called outside: an error of its own has no refusal for its context
    else:
        return call_with(permit, fn, *args, **kwargs)
    return fallback(*args, **kwargs)


async def _execute_or_fall_back(
    gate: Gate, fn: Callable[..., Any], fallback: Fallback, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    try:
        permit = gate.admit()
    except CircuitOpenError:
        pass
    else:
        return await execute_with(permit, fn, *args, **kwargs)
    answer = fallback(*args, **kwargs)
    return await answer if is_awaitable(answer) else answer


def _entered(passage: Passage, fallback: Fallback | None) -> bool:
    """Enter, or tell that the fallback is to answer; without one, a refusal raises."""
    try:
        passage.enter()
    except CircuitOpenError:
        if fallback is None:
            raise
        return False
    return True


_WRAPPERS = {
    Kind.PLAIN: _guard_plain,
    Kind.COROUTINE: _guard_coroutine,
    Kind.GENERATOR: _guard_generator,
    Kind.ASYNC_GENERATOR: _guard_async_generator,
}
