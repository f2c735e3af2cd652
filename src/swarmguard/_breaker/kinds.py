"""Telling callables apart: what a decorator must make of one, and what a returned value is."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from enum import Enum, auto
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, cast


class MisuseError(TypeError):
    """The wrong way in was taken for this callable. It says nothing of the service, so it counts neither way."""


class Kind(Enum):
    """What a call of a callable gives."""

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

MOST_PLAIN_TYPES = 256
"""How many types are remembered: enough for a program's own, few enough not to keep a mock's alive by the thousand."""

plain_types: set[type] = {type(None), bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset}
"""Types whose values are known not to be awaitable. Looking a type up here is all that the usual call pays."""


def is_awaitable(value: object) -> bool:
    """Tell whether `await` takes the value, from its type alone: a lazy proxy must not be woken by the question."""
    cls = type(value)
    if cls is GeneratorType:
        return bool(cast("GeneratorType[Any, Any, Any]", value).gi_code.co_flags & inspect.CO_ITERABLE_COROUTINE)
    return any("__await__" in vars(base) for base in cls.__mro__)


def check_finished(fn: Callable[..., object], result: object) -> None:
    """Raise when the call has run nothing yet: what came back must be awaited, or iterated.

    A type that passes is remembered as plain.
    """
    if _is_unstarted_generator(fn, result):
        raise _generator_function(fn)
    if is_awaitable(result):
        if isinstance(result, Coroutine):
            result.close()  # or it would complain that nobody awaited it
        raise MisuseError(
            f"{name_of(fn)} is sync code, yet it returned an awaitable ({type(result).__name__}):"
            " use 'await breaker.execute(...)', or decorate an 'async def'"
        )
    if type(result) not in _GENERATORS and len(plain_types) < MOST_PLAIN_TYPES:
        plain_types.add(type(result))


def check_awaitable(fn: Callable[..., object], result: object) -> None:
    """Raise when what came back cannot be awaited."""
    if type(result) is CoroutineType or is_awaitable(result):
        return
    if _is_unstarted_generator(fn, result):
        raise _generator_function(fn)
    raise MisuseError(
        f"{name_of(fn)} returned {type(result).__name__}, which nobody can await: use 'breaker.call(...)' for sync code"
    )


def name_of(fn: Callable[..., object]) -> str:
    """Return the name of a callable for people to read."""
    return getattr(fn, "__qualname__", None) or type(fn).__qualname__


def _is_unstarted_generator(fn: Callable[..., object], value: object) -> bool:
    """Tell whether the value is what a call of a generator function gives: an iterator that has run nothing yet."""
    return type(value) in _GENERATORS and kind_of(fn) in {Kind.GENERATOR, Kind.ASYNC_GENERATOR}


def _generator_function(fn: Callable[..., object]) -> MisuseError:
    return MisuseError(
        f"{name_of(fn)} is a generator function, which no single call can guard: decorate it with the breaker instead"
    )
