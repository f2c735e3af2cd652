"""The breaker as a decorator: every kind of callable, and what it keeps of each."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import warnings

import anyio
import pytest

from swarmguard import BreakerMode, CircuitOpenError, CircuitState
from tests.breaker_tools import SAFETY, BoomError, boom, build, due_breaker, fail, open_breaker


def plain(a, /, b: int = 2, *args: str, c: bool = True, **kwargs: float) -> tuple:
    """Return what came in."""
    return a, b, args, c, kwargs


async def coroutine_function(a: int, *, b: str = "x") -> tuple:
    """Return what came in."""
    return a, b


def generator(n: int):
    """Count."""
    yield from range(n)


async def async_generator(n: int):
    """Count."""
    for i in range(n):
        yield i


class Callable_:  # noqa: N801 - the obvious name is taken
    """An object that can be called."""

    def __call__(self, a: int, b: int = 2) -> tuple:
        """Return what came in."""
        return a, b


class AsyncCallable:
    """An object whose call is a coroutine function."""

    async def __call__(self, a: int, b: int = 2) -> tuple:
        """Return what came in."""
        return a, b


FUNCTIONS = [plain, coroutine_function, generator, async_generator]
KINDS = [inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction]


def drive(coroutine):
    """Run a coroutine that never waits."""
    with pytest.raises(StopIteration) as caught:
        coroutine.send(None)
    return caught.value.value


# What is kept


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_metadata_is_kept(clock, function):
    """A decorated function keeps its name, module, docstring, annotations, attributes and signature [B10]."""
    function.custom = object()
    decorated = build(clock)(function)
    for attribute in ("__name__", "__qualname__", "__module__", "__doc__", "__annotations__", "custom"):
        assert getattr(decorated, attribute) == getattr(function, attribute)
    assert decorated.__wrapped__ is function
    assert inspect.signature(decorated) == inspect.signature(function)


@pytest.mark.parametrize(
    "function",
    [
        *(pytest.param(function, id=function.__name__) for function in FUNCTIONS),
        *(pytest.param(functools.partial(function, 1), id=f"partial {function.__name__}") for function in FUNCTIONS),
        pytest.param(Callable_(), id="object"),
        pytest.param(len, id="builtin"),
        pytest.param(Callable_().__call__, id="bound method"),
        pytest.param(AsyncCallable().__call__, id="bound async method"),
    ],
)
def test_kind_is_kept(clock, function):
    """`inspect` says of a decorated callable what it says of the callable itself [B10]."""
    decorated = build(clock)(function)
    fallen = build(clock).with_fallback(lambda *_: None)(function)
    for kind in KINDS:
        assert kind(decorated) == kind(fallen) == kind(function)


def test_object_with_an_async_call_becomes_a_coroutine_function(clock):
    """An object with an async `__call__`, which `inspect` does not know for async, becomes known for it [B10]."""
    assert inspect.iscoroutinefunction(build(clock)(AsyncCallable()))
    assert inspect.iscoroutinefunction(build(clock)(functools.partial(AsyncCallable(), 1)))


@pytest.mark.parametrize(
    "function",
    [Callable_(), AsyncCallable(), functools.partial(plain, 1), functools.partial(plain, c=False)],
    ids=["object", "async object", "partial", "partial with keywords"],
)
def test_signature_of_what_is_no_function_is_kept(clock, function):
    """Objects and partials keep their signatures [B10]."""
    assert inspect.signature(build(clock)(function)) == inspect.signature(function)


@pytest.mark.skipif(not hasattr(inspect, "markcoroutinefunction"), reason="came with Python 3.12")
def test_marked_coroutine_function(clock):
    """A plain function that is marked as a coroutine function is treated as one [B10]."""

    @inspect.markcoroutinefunction
    def marked():
        return coroutine_function(1)

    decorated = build(clock)(marked)
    assert inspect.iscoroutinefunction(decorated)
    assert drive(decorated()) == (1, "x")


# Every kind runs and is guarded


def test_function(clock):
    """A decorated function takes and returns what it did, and its outcomes count [B10]."""
    breaker = build(clock)
    assert breaker(plain)(1, 3, "x", c=False, z=1.5) == (1, 3, ("x",), False, {"z": 1.5})
    with pytest.raises(BoomError):
        breaker(boom)()
    assert breaker.status().failure_count == 1
    breaker(plain)(1)
    assert breaker.status().failure_count == 0


@pytest.mark.anyio
async def test_coroutine_function(clock):
    """A decorated coroutine function is one call from its first step to its end, and its outcomes count [B10]."""
    breaker = build(clock)
    assert await breaker(coroutine_function)(1, b="y") == (1, "y")

    @breaker
    async def failing():
        await anyio.lowlevel.checkpoint()
        raise BoomError

    with pytest.raises(BoomError):
        await failing()
    assert breaker.status().failure_count == 1
    await breaker(coroutine_function)(1)
    assert breaker.status().failure_count == 0


def test_coroutine_that_is_never_started(clock):
    """Calling a decorated coroutine function admits nothing: awaiting its coroutine does [B10]."""
    breaker = due_breaker(clock)
    ran = []

    @breaker
    async def function():
        ran.append(1)

    coroutine = function()
    assert inspect.iscoroutine(coroutine)
    assert breaker.state is CircuitState.OPEN
    coroutine.close()
    assert (breaker.state, ran) == (CircuitState.OPEN, [])
    later = function()
    breaker.trip()
    with pytest.raises(CircuitOpenError):
        later.send(None)
    assert ran == []


@pytest.mark.anyio
async def test_coroutine_function_in_tasks(clock):
    """Coroutines of decorated functions run as tasks like any other, and the breaker's state is shared [B10] [B9]."""
    breaker = build(clock)
    done = []

    @breaker
    async def work(number):
        await anyio.lowlevel.checkpoint()
        done.append(number)
        if number % 2:
            raise BoomError

    async def quietly(number):
        with pytest.raises(BoomError) if number % 2 else warnings.catch_warnings():
            await work(number)

    with anyio.fail_after(SAFETY):
        async with anyio.create_task_group() as tasks:
            for number in (1, 3, 5):
                tasks.start_soon(quietly, number)
    assert sorted(done) == [1, 3, 5]
    assert breaker.status().failure_count == 3


def test_create_task(clock):
    """`asyncio.create_task` takes the coroutine of a decorated function [B10]."""
    decorated = build(clock)(coroutine_function)

    async def main():
        return await asyncio.create_task(decorated(1))

    assert asyncio.run(main()) == (1, "x")


def test_generator_function(clock):
    """A decorated generator function yields what it did [B10]."""
    assert list(build(clock)(generator)(3)) == [0, 1, 2]


@pytest.mark.anyio
async def test_async_generator_function(clock):
    """A decorated async generator function yields what it did [B10]."""
    assert [item async for item in build(clock)(async_generator)(3)] == [0, 1, 2]


def test_methods(clock):
    """Methods of every sort keep their binding, for instances, classes and subclasses, on either side [B10]."""
    breaker = build(clock)

    class Service:
        def __init__(self, name):
            self.name = name

        @breaker
        def method(self, arg):
            return self.name, arg

        @breaker
        @classmethod
        def class_over(cls, arg):
            return cls.__name__, arg

        @classmethod
        @breaker
        def class_under(cls, arg):
            return cls.__name__, arg

        @breaker
        @staticmethod
        def static_over(arg):
            return arg

        @staticmethod
        @breaker
        def static_under(arg):
            return arg

        @property
        @breaker
        def prop(self):
            return self.name

    class Special(Service):
        pass

    one, two = Service("one"), Service("two")
    assert (one.method(1), two.method(2), Service.method(one, 3)) == (("one", 1), ("two", 2), ("one", 3))
    assert one.method.__self__ is one
    for name in ("class_over", "class_under"):
        assert getattr(Service, name)(1) == getattr(one, name)(1) == ("Service", 1)
        assert getattr(Special, name)(1) == getattr(Special("x"), name)(1) == ("Special", 1)
    for name in ("static_over", "static_under"):
        assert getattr(Service, name)(1) == getattr(one, name)(1) == 1
    assert one.prop == "one"
    assert isinstance(vars(Service)["class_over"], classmethod)
    assert isinstance(vars(Service)["static_over"], staticmethod)
    breaker.trip()
    for call in (one.method, one.class_over, one.class_under, one.static_over, one.static_under):
        with pytest.raises(CircuitOpenError):
            call(1)


@pytest.mark.anyio
async def test_async_methods(clock):
    """Async methods of every sort are coroutine functions and guarded [B10]."""
    breaker = build(clock)

    class Service:
        @breaker
        async def method(self):
            return type(self).__name__

        @breaker
        @classmethod
        async def class_method(cls):
            return cls.__name__

        @breaker
        @staticmethod
        async def static_method():
            return "Service"

        @breaker
        def generator(self):
            yield type(self).__name__

        @breaker
        async def async_generator(self):
            yield type(self).__name__

    service = Service()
    for method in (service.method, service.class_method, Service.class_method, service.static_method):
        assert inspect.iscoroutinefunction(method)
        assert await method() == "Service"
    assert list(service.generator()) == [item async for item in service.async_generator()] == ["Service"]
    breaker.trip()
    for method in (service.method, service.class_method, service.static_method):
        with pytest.raises(CircuitOpenError):
            await method()


@pytest.mark.anyio
async def test_partials(clock):
    """Partials of every kind of function run as they did and are guarded [B10]."""
    breaker = build(clock)
    assert breaker(functools.partial(plain, 1))(5) == (1, 5, (), True, {})
    assert await breaker(functools.partial(coroutine_function, 1))(b="z") == (1, "z")
    assert list(breaker(functools.partial(generator, 2))()) == [0, 1]
    assert [item async for item in breaker(functools.partial(async_generator, 2))()] == [0, 1]
    assert await breaker(functools.partial(functools.partial(coroutine_function, 1), b="w"))() == (1, "w")
    with pytest.raises(BoomError):
        breaker(functools.partial(boom))()
    breaker.trip()
    with pytest.raises(CircuitOpenError):
        await breaker(functools.partial(coroutine_function, 1))()


@pytest.mark.anyio
async def test_objects(clock):
    """Objects with a `__call__`, async or not, run as they did and are guarded [B10]."""
    breaker = build(clock)
    assert breaker(Callable_())(1) == (1, 2)
    assert await breaker(AsyncCallable())(1, b=3) == (1, 3)
    breaker.trip()
    with pytest.raises(CircuitOpenError):
        breaker(Callable_())(1)
    with pytest.raises(CircuitOpenError):
        await breaker(AsyncCallable())(1)


def test_builtins_lambdas_and_bound_methods(clock):
    """Builtin functions, lambdas and methods of builtin types can be decorated [B10]."""
    breaker = build(clock)
    assert breaker(len)("abc") == 3
    assert breaker(lambda x: x + 1)(1) == 2
    assert breaker("a,b".split)(",") == ["a", "b"]


@pytest.mark.parametrize("value", [None, 1, "name", object()])
def test_what_cannot_be_called_is_not_decorated(clock, value):
    """Decorating what cannot be called is a `TypeError` at once [B10]."""
    with pytest.raises(TypeError):
        build(clock)(value)


def test_arguments_may_have_any_name(clock):
    """No keyword is taken by the breaker itself [B10] [B12]."""

    def take(**kwargs):
        return kwargs

    async def take_async(**kwargs):
        return kwargs

    names = {"self": 1, "fn": 2, "func": 3, "function": 4, "gate": 5, "permit": 6, "args": 7, "kwargs": 8, "name": 9}
    for breaker in (build(clock), build(clock, record_result=lambda _: False)):
        assert breaker(take)(**names) == names
        assert breaker.call(take, **names) == names
        assert drive(breaker(take_async)(**names)) == names
        assert drive(breaker.execute(take_async, **names)) == names
        assert breaker.with_fallback(take)(boom)  # decorates
    breaker.trip()
    assert breaker.with_fallback(take)(take)(**names) == names
    assert drive(breaker.with_fallback(take_async)(take_async)(**names)) == names


def test_decorated_twice(clock):
    """Breakers can be stacked: a call passes both, and the inner one's refusal is neutral to the outer one [B10]."""
    outer, inner = build(clock, name="outer"), build(clock, name="inner", failure_threshold=1)
    decorated = outer(inner(boom))
    with pytest.raises(BoomError):
        decorated()
    with pytest.raises(CircuitOpenError) as caught:
        decorated()
    assert caught.value.name == "inner"
    assert outer.status().failure_count == 1


def test_recursion(clock):
    """A decorated function may call itself: each call counts for itself [B10]."""
    breaker = build(clock)

    @breaker
    def descend(n):
        if n == 0:
            boom()
        descend(n - 1)

    with pytest.raises(BoomError):
        descend(3)
    assert breaker.status().failure_count == 4


def test_plain_function_that_returns_an_awaitable(clock):
    """A decorated plain function that returns an awaitable raises `TypeError`, and counts nothing [B12]."""
    breaker = build(clock)
    fail(breaker)

    @breaker
    def disguised():
        return coroutine_function(1)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            with pytest.raises(TypeError, match="execute"):
                disguised()
        gc.collect()
    assert caught == []
    assert breaker.status().failure_count == 1


def test_decorated_function_runs_in_every_mode(clock):
    """A function decorated before a mode is set obeys it, and so does one that ran before [B10] [B16]."""
    breaker = build(clock)
    decorated = breaker(lambda: 1)
    assert decorated() == 1
    breaker.set_mode(BreakerMode.ISOLATED)
    with pytest.raises(CircuitOpenError):
        decorated()
    breaker.set_mode(BreakerMode.NORMAL)
    assert decorated() == 1


# Fallbacks


def test_fallback_answers_refusals(clock):
    """A refused call is answered by the fallback, which gets the call's arguments [B10]."""
    breaker = open_breaker(clock)
    ran = []

    @breaker.with_fallback(lambda *args, **kwargs: ("cached", args, kwargs))
    def function(*args, **kwargs):
        ran.append((args, kwargs))

    assert function(1, two=2) == ("cached", (1,), {"two": 2})
    assert ran == []


@pytest.mark.parametrize("observer", [None, lambda record: None], ids=["alone", "observed"])
def test_fallback_leaves_admitted_calls_alone(clock, observer):
    """An admitted call is answered by the function, and its own exceptions pass and count [B10]."""
    breaker = build(clock, observer=observer)
    decorated = breaker.with_fallback(lambda: "cached")(lambda: "fresh")
    assert decorated() == "fresh"
    failing = breaker.with_fallback(lambda: "cached")(boom)
    with pytest.raises(BoomError):
        failing()
    assert breaker.status().failure_count == 1


@pytest.mark.parametrize("reason", ["open", "half_open", "isolated"])
def test_fallback_answers_every_reason(clock, reason):
    """The fallback answers refusals whatever their reason is [B10]."""
    breaker = open_breaker(clock, half_open_max_calls=1)
    if reason == "half_open":
        clock.advance(10)
        permit = breaker.acquire()
    if reason == "isolated":
        breaker.set_mode(BreakerMode.ISOLATED)
    assert breaker.with_fallback(lambda: "cached")(lambda: "fresh")() == "cached"
    if reason == "half_open":
        permit.release()


def test_fallback_leaves_other_refusals_alone(clock):
    """Another breaker's refusal is not answered, not even one of the same name, nor one raised by hand [B10]."""
    breaker = build(clock, name="api")
    namesake = open_breaker(clock)
    assert namesake.name == breaker.name
    with pytest.raises(CircuitOpenError):
        breaker.with_fallback(lambda: "cached")(namesake(lambda: "fresh"))()
    by_hand = CircuitOpenError("api", CircuitState.OPEN, 1.0, "open")

    @breaker.with_fallback(lambda: "cached")
    def raise_by_hand():
        raise by_hand

    with pytest.raises(CircuitOpenError) as caught:
        raise_by_hand()
    assert caught.value is by_hand


def test_fallback_may_fail(clock):
    """The fallback's own exception reaches the caller, and counts nothing [B10]."""
    breaker = open_breaker(clock)
    before = breaker.status()
    with pytest.raises(BoomError):
        breaker.with_fallback(boom)(lambda: "fresh")()
    assert breaker.status() == before


@pytest.mark.anyio
@pytest.mark.parametrize("fallback_is_async", [True, False])
@pytest.mark.parametrize("observer", [None, lambda record: None], ids=["alone", "observed"])
async def test_fallback_of_a_coroutine_function(clock, fallback_is_async, observer):
    """An async function's fallback is awaited if it is async, and may as well be plain [B10]."""
    breaker = open_breaker(clock, observer=observer)

    async def cached(*args):
        await anyio.lowlevel.checkpoint()
        return "cached", args

    @breaker.with_fallback(cached if fallback_is_async else lambda *args: ("cached", args))
    async def function(arg):
        return "fresh", arg

    assert await function(1) == ("cached", (1,))
    breaker.reset()
    assert await function(1) == ("fresh", 1)


def test_async_fallback_of_a_plain_function(clock):
    """An async fallback of a function that is not async could never be awaited: a `TypeError` at once [B10]."""
    with pytest.raises(TypeError, match="fallback"):
        build(clock).with_fallback(coroutine_function)(plain)


@pytest.mark.parametrize("value", [None, 1, "cached"])
def test_fallback_must_be_callable(clock, value):
    """A fallback that cannot be called is a `TypeError` at once [B10]."""
    with pytest.raises(TypeError, match="fallback"):
        build(clock).with_fallback(value)


def test_fallback_of_a_generator_function(clock):
    """A refused generator yields what the fallback's iterable does [B10]."""
    breaker = open_breaker(clock)
    decorated = breaker.with_fallback(lambda n: [-1] * n)(generator)
    assert list(decorated(2)) == [-1, -1]
    breaker.reset()
    assert list(decorated(2)) == [0, 1]


@pytest.mark.anyio
async def test_fallback_of_an_async_generator_function(clock):
    """A refused async generator yields what the fallback's async iterable does [B10]."""
    breaker = open_breaker(clock)

    async def cached(n):
        for _ in range(n):
            yield -1

    decorated = breaker.with_fallback(cached)(async_generator)
    assert [item async for item in decorated(2)] == [-1, -1]
    breaker.reset()
    assert [item async for item in decorated(2)] == [0, 1]


def test_fallback_on_methods(clock):
    """Fallbacks work on methods, class methods and static methods; the fallback gets what the function gets [B10]."""
    breaker = open_breaker(clock)

    class Service:
        @breaker.with_fallback(lambda self, arg: ("cached", type(self).__name__, arg))
        def method(self, arg):
            return arg

        @breaker.with_fallback(lambda cls, arg: ("cached", cls.__name__, arg))
        @classmethod
        def class_method(cls, arg):
            return arg

        @breaker.with_fallback(lambda arg: ("cached", arg))
        @staticmethod
        def static_method(arg):
            return arg

    assert Service().method(1) == Service.class_method(1) == ("cached", "Service", 1)
    assert Service.static_method(1) == ("cached", 1)


def test_fallback_keeps_metadata(clock):
    """A function with a fallback keeps its metadata and signature as well [B10]."""
    decorated = build(clock).with_fallback(lambda *_: None)(plain)
    assert (decorated.__name__, decorated.__doc__, decorated.__wrapped__) == (plain.__name__, plain.__doc__, plain)
    assert inspect.signature(decorated) == inspect.signature(plain)


def test_exception_of_the_function_has_no_context(clock):
    """A fallback that raises is not chained to anything but the refusal that it answers [B10]."""
    breaker = open_breaker(clock)
    with pytest.raises(BoomError) as caught:
        breaker.with_fallback(boom)(lambda: "fresh")()
    assert caught.value.__cause__ is None
    assert isinstance(caught.value.__context__, CircuitOpenError | None)
