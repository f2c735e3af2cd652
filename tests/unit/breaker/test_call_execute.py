"""`call` and `execute`, and taking the wrong one."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import re
import types
import warnings
from contextlib import contextmanager

import anyio
import pytest

from swarmguard import CircuitOpenError, CircuitState
from tests.breaker_tools import BoomError, boom, build, due_breaker, fail, half_open_breaker, open_breaker, succeed


async def coroutine_function(*args, **kwargs):
    """Return what came in."""
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
    """What can be awaited, and is no coroutine."""

    def __await__(self):
        """Give a value at once."""
        yield from ()
        return "awaited"


class LateAwaitable(Awaitable):
    """What inherits that it can be awaited."""


class AsyncCallable:
    """An object whose call is a coroutine function."""

    async def __call__(self):
        """Give a value at once."""
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
    """Fail on any warning, also one out of a destructor."""
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


# The right one


def test_call(clock):
    """`call` runs sync code with its arguments and returns its result [B12]."""
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
async def test_execute(clock, fn, result):
    """`execute` awaits whatever awaitable `fn` returns [B12]."""
    breaker = build(clock, failure_threshold=5)
    fail(breaker)
    assert await breaker.execute(fn) == result
    assert breaker.status().failure_count == 0


@pytest.mark.anyio
async def test_execute_passes_arguments(clock):
    """`execute` passes its arguments on [B12]."""
    assert await build(clock).execute(coroutine_function, 1, two=2) == ((1,), {"two": 2})


@pytest.mark.anyio
async def test_execute_guards_the_awaiting(clock):
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
    """`execute` awaits what `types.coroutine` has made awaitable [B12]."""

    @types.coroutine
    def old_style():
        yield from ()
        return "old"

    assert drive(build(clock).execute(lambda: old_style())) == "old"  # noqa: PLW0108 - old_style is a generator


def test_execute_holds_a_place_while_it_waits(clock):
    """An awaited call is under way until its awaitable is done, not only until it is made [B12]."""
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


def test_execute_that_is_never_awaited(clock):
    """`execute` runs and counts nothing before it is awaited [B12]."""
    breaker = due_breaker(clock)
    ran = []
    coroutine = breaker.execute(ran.append, 1)
    coroutine.close()
    assert (breaker.state, ran) == (CircuitState.OPEN, [])


def test_abandoned_execute_frees_its_place(clock):
    """A coroutine that is closed while it waits is neutral and frees its place [B12] [B6]."""
    breaker = half_open_breaker(clock)

    @types.coroutine
    def suspended():
        yield

    coroutine = breaker.execute(lambda: suspended())  # noqa: PLW0108 - suspended is a generator
    coroutine.send(None)
    coroutine.close()
    assert (breaker.state, breaker.status().half_open_calls) == (CircuitState.HALF_OPEN, 0)


# The wrong one

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


def counts(breaker):
    """Return everything that a call may change."""
    status = breaker.status()
    return status.state, status.failure_count, status.success_count, status.half_open_calls


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("fn", RETURN_AWAITABLES)
def test_call_refuses_awaitables(clock, make, fn):
    """`call` with what returns an awaitable is a `TypeError` that names `execute`, and counts nothing [B12]."""
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
def test_execute_refuses_plain_values(clock, make, fn):
    """`execute` with what returns no awaitable is a `TypeError` that names `call`, and counts nothing [B12]."""
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
def test_call_and_execute_refuse_generators(clock, make, fn):
    """`call` and `execute` with a generator function are a `TypeError` that says to decorate it [B12]."""
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
def test_what_cannot_be_called(clock, make, value):
    """`call` and `execute` with what cannot be called are a `TypeError` that says so, and count nothing [B12]."""
    breaker = make(clock)
    before = counts(breaker)
    error = re.escape(f"fn must be a callable, got {value!r} ({type(value).__name__})")
    for _ in range(3):
        with pytest.raises(TypeError, match=rf"^{error}$"):
            breaker.call(value)
        with pytest.raises(TypeError, match=rf"^{error}$"):
            drive(breaker.execute(value))
    assert counts(breaker) == before


def test_misuse_does_not_end_a_streak(clock):
    """Taking the wrong face neither adds to a streak nor ends it [B12]."""
    breaker = build(clock, failure_threshold=2, success_exceptions=TypeError)
    fail(breaker)
    with pytest.raises(TypeError):
        breaker.call(coroutine_function)
    with pytest.raises(TypeError):
        drive(breaker.execute(int))
    assert breaker.status().failure_count == 1


def test_decorated_plain_function_that_returns_an_awaitable(clock):
    """So does a decorated plain function: no warning, nothing counted, and the message says what to do [B12]."""
    breaker = half_open_breaker(clock, half_open_max_calls=1)
    before = counts(breaker)
    with no_warnings():
        for fn in (lambda: coroutine_function(), lambda: Awaitable()):  # noqa: PLW0108 - plain functions
            with pytest.raises(TypeError, match="execute"):
                breaker(fn)()
    assert counts(breaker) == before


def test_call_leaves_a_future_alone(clock):
    """`call` with a function that returns a future is a `TypeError`; the future itself goes on [B12]."""
    breaker = build(clock)

    async def main():
        future = asyncio.get_running_loop().create_future()
        with pytest.raises(TypeError, match="execute"):
            breaker.call(lambda: future)
        assert not future.done()
        future.set_result(1)
        return await future

    assert asyncio.run(main()) == 1


def test_misuse_while_open(clock):
    """Whatever is called through an open circuit, nothing runs and nothing warns [B12] [B2]."""
    breaker = open_breaker(clock)
    with no_warnings():
        for fn in (coroutine_function, generator, async_generator):
            with pytest.raises((CircuitOpenError, TypeError)):
                breaker.call(fn)
            with pytest.raises((CircuitOpenError, TypeError)):
                drive(breaker.execute(fn))
    assert breaker.state is CircuitState.OPEN


def test_service_type_errors_count(clock):
    """A `TypeError` of the service itself is a failure like any other [B12] [B6]."""
    breaker = build(clock)
    with pytest.raises(TypeError):
        breaker.call(len, 1)

    async def failing():
        raise TypeError

    with pytest.raises(TypeError):
        drive(breaker.execute(failing))
    assert breaker.status().failure_count == 2


# Values that are left alone


class Prickly:
    """A value that raises whatever is asked of it, as a lazy proxy may."""

    def __getattribute__(self, name):
        """Raise."""
        raise RuntimeError(f"somebody asked for {name}")

    def __bool__(self):
        """Raise."""
        raise RuntimeError("somebody asked for the truth")

    def __eq__(self, other):
        """Raise."""
        raise RuntimeError("somebody compared")

    __hash__ = None


class Pretender:
    """A value that claims to be of another class."""

    @property
    def __class__(self):
        """Claim."""
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
def test_results_are_not_touched(clock, make, kind):
    """What a call returns is passed on, and nothing is asked of it [B12]."""
    breaker = make(clock)
    values = [kind()]
    assert [breaker.call(lambda: values[0]) is values[0], breaker(lambda: values[0])() is values[0]] == [True, True]


def test_iterators_are_values(clock):
    """A plain function may return an iterator or a generator that somebody else made [B12]."""
    breaker = build(clock)
    made = an_iterator()
    assert breaker.call(lambda: made) is made
    assert list(breaker.call(iter, [1, 2])) == [1, 2]


def test_types_do_not_pile_up(clock):
    """Types that appear anew with every call do not stay alive through the breaker [B12]."""
    breaker = build(clock)
    alive = []

    class Base:
        pass

    for _ in range(2000):
        breaker.call(type("Fresh", (Base,), {}))
    gc.collect()
    alive = Base.__subclasses__()
    assert len(alive) < 1000


def test_one_function_may_return_both(clock):
    """What a function returned before says nothing about what it returns now [B12]."""
    breaker = build(clock)
    answers = [1, Awaitable(), 2]
    mixed = breaker(lambda: answers.pop(0))
    assert mixed() == 1
    with pytest.raises(TypeError, match="execute"):
        mixed()
    assert mixed() == 2


def test_execute_is_a_coroutine_function(clock):
    """`execute` is a coroutine function, `call` is none [B12]."""
    breaker = build(clock)
    assert inspect.iscoroutinefunction(breaker.execute)
    assert not inspect.iscoroutinefunction(breaker.call)
