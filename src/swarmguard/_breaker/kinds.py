"""Tell kinds of callables apart, and tell awaitable results from others."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from enum import Enum, auto
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, cast


class MisuseError(TypeError):
    """A callable was passed to the wrong method. It says nothing about the service, so it is neutral."""


class Kind(Enum):
    """The kind of a callable, by what a call of it returns."""

    PLAIN = auto()
    COROUTINE = auto()
    GENERATOR = auto()
    ASYNC_GENERATOR = auto()


def kind_of(fn: Callable[..., object]) -> Kind:
    """Return the kind of a function, a method, a `partial` of one, or an object with a `__call__`."""
    target: Any = fn
    while isinstance(target, functools.partial):
        target = target.func
    for candidate in (target, type(target).__call__):
        if inspect.iscoroutinefunction(candidate):
            return Kind.COROUTINE
        if inspect.isgeneratorfunction(candidate):
            return Kind.GENERATOR
        if inspect.isasyncgenfunction(candidate):
            return Kind.ASYNC_GENERATOR
    return Kind.PLAIN


_GENERATORS = (GeneratorType, AsyncGeneratorType)

MAX_PLAIN_TYPES = 256
"""The most types to remember: enough for a program, and few enough not to keep thousands of mock types alive."""

plain_types: set[type] = {type(None), bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset}
"""Types whose values are not awaitable. For most calls the check is one lookup in this set."""


def is_awaitable(value: object) -> bool:
    """Return whether the value can be awaited, by its type alone: a lazy proxy must not run code for the check."""
    cls = type(value)
    if cls is GeneratorType:
        return bool(cast("GeneratorType[Any, Any, Any]", value).gi_code.co_flags & inspect.CO_ITERABLE_COROUTINE)
    return any("__await__" in vars(base) for base in cls.__mro__)


def check_finished(fn: Callable[..., object], result: object) -> None:
    """Raise if the call has run nothing yet, because its result must first be awaited or iterated.

    The type of a result that passes is added to `plain_types`.
    """
    if _is_unstarted_generator(fn, result):
        raise _generator_error(fn)
    if is_awaitable(result):
        if isinstance(result, Coroutine):
            result.close()  # avoids the warning "coroutine was never awaited"
        raise MisuseError(
            f"{name_of(fn)} must return a value that is not awaitable, got {type(result).__name__};"
            " use 'await breaker.execute(...)', or decorate an 'async def'"
        )
    if type(result) not in _GENERATORS and len(plain_types) < MAX_PLAIN_TYPES:
        plain_types.add(type(result))


def check_awaitable(fn: Callable[..., object], result: object) -> None:
    """Raise if the result cannot be awaited."""
    if type(result) is CoroutineType or is_awaitable(result):
        return
    if _is_unstarted_generator(fn, result):
        raise _generator_error(fn)
    raise MisuseError(
        f"{name_of(fn)} must return an awaitable, got {type(result).__name__};"
        " use 'breaker.call(...)' for sync functions"
    )


def name_of(fn: Callable[..., object]) -> str:
    """Return the name of a callable for messages."""
    return getattr(fn, "__qualname__", None) or type(fn).__qualname__


def _is_unstarted_generator(fn: Callable[..., object], value: object) -> bool:
    """Return whether the value is the generator of a generator function, which has run nothing yet."""
    return type(value) in _GENERATORS and kind_of(fn) in {Kind.GENERATOR, Kind.ASYNC_GENERATOR}


def _generator_error(fn: Callable[..., object]) -> MisuseError:
    return MisuseError(
        f"{name_of(fn)} is a generator function, and calling it runs nothing yet; decorate it with the breaker"
    )
