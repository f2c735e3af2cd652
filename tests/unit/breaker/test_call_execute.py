"""`call` and `execute`, and the errors for using the wrong one."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import re
import sys
import types
import warnings
from contextlib import contextmanager

import anyio
import pytest

from swarmguard import CircuitOpenError, CircuitState
from tests.breaker_tools import (
    HAS_GIL,
    BoomError,
    boom,
    build,
    due_breaker,
    fail,
    half_open_breaker,
    open_breaker,
    succeed,
)


async def coroutine_function(*args, **kwargs):
    """Return the arguments."""
    await anyio.lowlevel.checkpoint()
    return args, kwargs


def generator():
    """Yield one item."""
    raise AssertionError("the generator runs")
    yield 1


async def async_generator():
    """Yield one item."""
    raise AssertionError("the generator runs")
    yield 1


class Awaitable:
    """An awaitable that is not a coroutine."""

    def __await__(self):
        """Return a value at once."""
        yield from ()
        return "awaited"


class LateAwaitable(Awaitable):
    """A subclass of an awaitable class."""


class AsyncCallable:
    """An object whose call is a coroutine function."""

    async def __call__(self):
        """Return a value at once."""
        return "called"


class Service:
    """A service with methods of every kind."""

    async def coroutine_method(self):
        """Return a value."""
        return "method"

    def generator_method(self):
        """Yield one item."""
        yield from generator()

    async def async_generator_method(self):
        """Yield one item."""
        raise AssertionError("the generator runs")
        yield 1


@contextmanager
def no_warnings():
    """Fail on any warning, also from a finalizer."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert [str(warning.message) for warning in caught] == []


def drive(coroutine):
    """Run a coroutine that never waits, without an event loop."""
    with pytest.raises(StopIteration) as caught:
        coroutine.send(None)
    return caught.value.value


# The right one of the two


def test_call_runs_a_sync_function(clock):
    """`call` runs a sync function with its arguments, and returns its result [B12]."""
    breaker = build(clock)
    assert breaker.call(lambda *args, **kwargs: (args, kwargs), 1, two=2) == ((1,), {"two": 2})
    with pytest.raises(BoomError):
        breaker.call(boom)
    assert breaker.status().failure_count == 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("fn", "result"),
    [
        (coroutine_function, ((), {})),
        (lambda: coroutine_function(1), ((1,), {})),
        (functools.partial(coroutine_function, two=2), ((), {"two": 2})),
        (Awaitable, "awaited"),
        (LateAwaitable, "awaited"),
        (lambda: Awaitable(), "awaited"),  # noqa: PLW0108 - the lambda is the case
        (AsyncCallable(), "called"),
        (Service().coroutine_method, "method"),
    ],
    ids=["function", "lambda", "partial", "type", "subtype", "awaitable", "object", "method"],
)
async def test_execute_awaits_any_awaitable(clock, fn, result):
    """`execute` awaits any awaitable that `fn` returns [B12]."""
    breaker = build(clock, failure_threshold=5)
    fail(breaker)
    assert await breaker.execute(fn) == result
    assert breaker.status().failure_count == 0


@pytest.mark.anyio
async def test_execute_passes_arguments(clock):
    """`execute` passes its arguments to `fn` [B12]."""
    assert await build(clock).execute(coroutine_function, 1, two=2) == ((1,), {"two": 2})


@pytest.mark.anyio
async def test_execute_counts_failures_before_and_during_the_await(clock):
    """A failure while `fn` is awaited counts, and so does one before `fn` returns an awaitable [B12]."""
    breaker = build(clock)

    async def failing():
        await anyio.lowlevel.checkpoint()
        raise BoomError

    for fn in (failing, lambda: failing(), boom):  # noqa: PLW0108 - the lambda is a case
        with pytest.raises(BoomError):
            await breaker.execute(fn)
    assert breaker.status().failure_count == 3


def test_execute_awaits_futures(clock):
    """`execute` awaits futures and tasks [B12]."""
    breaker = build(clock)

    async def main():
        future = asyncio.get_running_loop().create_future()
        future.set_result("future")
        task = asyncio.ensure_future(coroutine_function())
        return await breaker.execute(lambda: future), await breaker.execute(lambda: task)

    assert asyncio.run(main()) == ("future", ((), {}))


def test_execute_awaits_generator_based_coroutines(clock):
    """`execute` awaits the generator-based coroutines of `types.coroutine` [B12]."""

    @types.coroutine
    def generator_based():
        yield from ()
        return "generator-based"

    assert drive(build(clock).execute(lambda: generator_based())) == "generator-based"  # noqa: PLW0108 - it is a generator


def test_execute_holds_its_slot_until_the_awaitable_is_done(clock):
    """A call lasts until its awaitable is done, not only until `fn` has returned it [B12]."""
    breaker = half_open_breaker(clock)

    @types.coroutine
    def suspended():
        yield "waiting"

    async def wait():
        await suspended()

    coroutine = breaker.execute(wait)
    assert coroutine.send(None) == "waiting"
    assert breaker.status().half_open_calls == 1
    with pytest.raises(StopIteration):
        coroutine.send(None)
    assert (breaker.status().half_open_calls, breaker.status().success_count) == (0, 1)


def test_execute_does_nothing_before_it_is_awaited(clock):
    """`execute` runs and counts nothing before it is awaited [B12]."""
    breaker = due_breaker(clock)
    ran = []
    coroutine = breaker.execute(ran.append, 1)
    coroutine.close()
    assert (breaker.state, ran) == (CircuitState.OPEN, [])


def test_a_closed_execute_frees_its_slot(clock):
    """A coroutine that is closed while it waits is neutral, and frees its slot [B12] [B6]."""
    breaker = half_open_breaker(clock)

    @types.coroutine
    def suspended():
        yield

    coroutine = breaker.execute(lambda: suspended())  # noqa: PLW0108 - suspended is a generator
    coroutine.send(None)
    coroutine.close()
    assert (breaker.state, breaker.status().half_open_calls) == (CircuitState.HALF_OPEN, 0)


# The wrong one of the two

RETURN_AWAITABLES = [
    pytest.param(coroutine_function, id="coroutine function"),
    pytest.param(lambda: coroutine_function(), id="lambda"),  # noqa: PLW0108 - the lambda is the case
    pytest.param(functools.partial(coroutine_function, 1), id="partial"),
    pytest.param(AsyncCallable(), id="object"),
    pytest.param(Service().coroutine_method, id="method"),
    pytest.param(Awaitable, id="type"),
    pytest.param(lambda: LateAwaitable(), id="awaitable"),  # noqa: PLW0108 - the lambda is the case
]
RETURN_PLAIN = [
    pytest.param(lambda: 1, id="lambda"),
    pytest.param(lambda: None, id="None"),
    pytest.param(dict, id="type"),
    pytest.param(functools.partial(len, "abc"), id="partial"),
    pytest.param(lambda: Awaitable, id="awaitable type"),
    pytest.param(lambda: coroutine_function, id="uncalled"),
    pytest.param(lambda: [coroutine_function], id="list"),
]
GENERATORS = [
    pytest.param(generator, id="generator"),
    pytest.param(async_generator, id="async generator"),
    pytest.param(functools.partial(generator), id="partial generator"),
    pytest.param(functools.partial(async_generator), id="partial async generator"),
    pytest.param(Service().generator_method, id="generator method"),
    pytest.param(Service().async_generator_method, id="async generator method"),
]
MAKERS = [
    pytest.param(lambda clock: build(clock), id="closed"),  # noqa: PLW0108 - for the signature
    pytest.param(lambda clock: build(clock, observer=lambda _: None), id="observed"),
    pytest.param(lambda clock: half_open_breaker(clock, half_open_max_calls=1, success_threshold=2), id="half-open"),
]


def failed_once(clock):
    """Return a closed breaker, in which both a success and a failure would change the count."""
    breaker = build(clock)
    fail(breaker)
    return breaker


def counts(breaker):
    """Return every value that a call may change."""
    status = breaker.status()
    return status.state, status.failure_count, status.success_count, status.half_open_calls


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("fn", RETURN_AWAITABLES)
def test_call_raises_for_an_awaitable(clock, make, fn):
    """`call` with a function that returns an awaitable raises a `TypeError` naming `execute`; nothing counts [B12]."""
    breaker = make(clock)
    before = counts(breaker)
    with no_warnings():
        for _ in range(3):
            with pytest.raises(TypeError, match="execute"):
                breaker.call(fn)
    assert counts(breaker) == before
    succeed(breaker)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("fn", RETURN_PLAIN)
def test_execute_raises_for_a_plain_value(clock, make, fn):
    """`execute` with a function that returns no awaitable raises a `TypeError` naming `call`; nothing counts [B12]."""
    breaker = make(clock)
    before = counts(breaker)
    with no_warnings():
        for _ in range(3):
            with pytest.raises(TypeError, match=r"\bcall\b"):
                drive(breaker.execute(fn))
    assert counts(breaker) == before
    succeed(breaker)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("fn", GENERATORS)
def test_call_and_execute_raise_for_a_generator_function(clock, make, fn):
    """`call` and `execute` with a generator function raise a `TypeError` that says to decorate it [B12]."""
    breaker = make(clock)
    before = counts(breaker)
    with no_warnings():
        with pytest.raises(TypeError, match="decorate"):
            breaker.call(fn)
        with pytest.raises(TypeError, match="decorate"):
            drive(breaker.execute(fn))
    assert counts(breaker) == before
    succeed(breaker)


@pytest.mark.parametrize(
    "make",
    [
        *MAKERS,
        pytest.param(open_breaker, id="open"),
        pytest.param(due_breaker, id="due"),
    ],
)
@pytest.mark.parametrize("value", [None, 1, "name"])
def test_call_and_execute_raise_for_a_value_that_is_not_callable(clock, make, value):
    """`call` and `execute` raise a `TypeError` for a value that is not callable, and count nothing [B12]."""
    breaker = make(clock)
    before = counts(breaker)
    error = re.escape(f"fn must be a callable, got {value!r} ({type(value).__name__})")
    for _ in range(3):
        with pytest.raises(TypeError, match=rf"^{error}$"):
            breaker.call(value)
        with pytest.raises(TypeError, match=rf"^{error}$"):
            drive(breaker.execute(value))
    assert counts(breaker) == before


def test_misuse_leaves_the_consecutive_failures(clock):
    """Using the wrong method neither adds to the consecutive failures nor resets them [B12]."""
    breaker = build(clock, failure_threshold=2, success_exceptions=TypeError)
    fail(breaker)
    with pytest.raises(TypeError):
        breaker.call(coroutine_function)
    with pytest.raises(TypeError):
        drive(breaker.execute(int))
    assert breaker.status().failure_count == 1


@pytest.mark.parametrize("make", [*MAKERS, pytest.param(failed_once, id="failed once")])
def test_a_decorated_plain_function_raises_for_an_awaitable(clock, make):
    """A decorated plain function that returns an awaitable raises the same `TypeError`; nothing counts [B12]."""
    breaker = make(clock)
    before = counts(breaker)
    with no_warnings():
        for fn in (lambda: coroutine_function(), lambda: Awaitable()):  # noqa: PLW0108 - plain functions
            decorated = breaker(fn)
            for _ in range(2):
                with pytest.raises(TypeError, match="execute"):
                    decorated()
    assert counts(breaker) == before


def test_call_leaves_a_returned_future_alone(clock):
    """`call` with a function that returns a future raises a `TypeError`, and leaves the future as it is [B12]."""
    breaker = build(clock)

    async def main():
        future = asyncio.get_running_loop().create_future()
        with pytest.raises(TypeError, match="execute"):
            breaker.call(lambda: future)
        assert not future.done()
        future.set_result(1)
        return await future

    assert asyncio.run(main()) == 1


def test_misuse_of_an_open_circuit_runs_nothing(clock):
    """Using the wrong method on an open circuit runs nothing and causes no warning [B12] [B2]."""
    breaker = open_breaker(clock)
    with no_warnings():
        for fn in (coroutine_function, generator, async_generator):
            with pytest.raises((CircuitOpenError, TypeError)):
                breaker.call(fn)
            with pytest.raises((CircuitOpenError, TypeError)):
                drive(breaker.execute(fn))
    assert breaker.state is CircuitState.OPEN


def test_a_type_error_of_the_service_counts(clock):
    """A `TypeError` of the service itself is a failure like any other [B12] [B6]."""
    breaker = build(clock)
    with pytest.raises(TypeError):
        breaker.call(len, 1)

    async def failing():
        raise TypeError

    with pytest.raises(TypeError):
        drive(breaker.execute(failing))
    assert breaker.status().failure_count == 2


# Results that are passed on


class Prickly:
    """A value that raises at every use, as a lazy proxy may."""

    def __getattribute__(self, name):
        """Raise."""
        raise RuntimeError(f"{name} was read")

    def __bool__(self):
        """Raise."""
        raise RuntimeError("the truth value was read")

    def __eq__(self, other):
        """Raise."""
        raise RuntimeError("the value was compared")

    __hash__ = None


class Pretender:
    """A value whose `__class__` is another class."""

    @property
    def __class__(self):
        """Return the other class."""
        return types.CoroutineType


def an_iterator():
    """Yield one item."""
    yield 1


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    "kind",
    [Prickly, Pretender, lambda: Awaitable, lambda: coroutine_function, an_iterator],
    ids=["prickly", "pretender", "awaitable type", "coroutine function", "iterator"],
)
def test_a_result_is_passed_on_unread(clock, make, kind):
    """The result of a call is passed on, and no attribute of it is read [B12]."""
    breaker = make(clock)
    values = [kind()]
    assert [breaker.call(lambda: values[0]) is values[0], breaker(lambda: values[0])() is values[0]] == [True, True]


def test_iterators_are_results_like_any_other(clock):
    """A plain function may return an iterator, or a generator that exists already [B12]."""
    breaker = build(clock)
    made = an_iterator()
    assert breaker.call(lambda: made) is made
    assert list(breaker.call(iter, [1, 2])) == [1, 2]


@pytest.mark.skipif(not HAS_GIL and sys.version_info < (3, 14), reason="this Python never frees a class")
def test_the_types_of_results_are_not_kept_alive(clock):
    """The breaker does not keep the types of results alive [B12]."""
    breaker = build(clock)
    alive = []

    class Base:
        pass

    for _ in range(2000):
        breaker.call(type("Fresh", (Base,), {}))
    gc.collect()
    alive = Base.__subclasses__()
    assert len(alive) < 1000


def test_each_result_is_checked_anew(clock):
    """Each result of a function is checked, whatever the function returned before [B12]."""
    breaker = build(clock)
    answers = [1, Awaitable(), 2]
    mixed = breaker(lambda: answers.pop(0))
    assert mixed() == 1
    with pytest.raises(TypeError, match="execute"):
        mixed()
    assert mixed() == 2


def test_execute_is_a_coroutine_function(clock):
    """`execute` is a coroutine function, and `call` is not [B12]."""
    breaker = build(clock)
    assert inspect.iscoroutinefunction(breaker.execute)
    assert not inspect.iscoroutinefunction(breaker.call)
