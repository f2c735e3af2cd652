"""The breaker as a decorator of every kind of callable."""

from __future__ import annotations

import asyncio
import functools
import inspect
import warnings

import anyio
import pytest

from swarmguard import BreakerMode, CircuitOpenError, CircuitState
from tests.breaker_tools import SAFETY, BoomError, boom, build, due_breaker, open_breaker


def plain(a, /, b: int = 2, *args: str, c: bool = True, **kwargs: float) -> tuple:
    """Return the arguments."""
    return a, b, args, c, kwargs


async def coroutine_function(a: int, *, b: str = "x") -> tuple:
    """Return the arguments."""
    return a, b


def generator(n: int):
    """Yield 0 to n - 1."""
    yield from range(n)


async def async_generator(n: int):
    """Yield 0 to n - 1."""
    for i in range(n):
        yield i


class Callable_:  # noqa: N801 - the obvious name is taken
    """An object that can be called."""

    def __call__(self, a: int, b: int = 2) -> tuple:
        """Return the arguments."""
        return a, b


class AsyncCallable:
    """An object whose call is a coroutine function."""

    async def __call__(self, a: int, b: int = 2) -> tuple:
        """Return the arguments."""
        return a, b


FUNCTIONS = [plain, coroutine_function, generator, async_generator]
KINDS = [inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction]


def drive(coroutine):
    """Run a coroutine that never waits."""
    with pytest.raises(StopIteration) as caught:
        coroutine.send(None)
    return caught.value.value


# What a decorated callable keeps


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
    """`inspect` reports the same kind for a decorated callable as for the original [B10]."""
    decorated = build(clock)(function)
    with_fallback = build(clock).with_fallback(lambda *_: None)(function)
    for kind in KINDS:
        assert kind(decorated) == kind(with_fallback) == kind(function)


def test_object_with_an_async_call_becomes_a_coroutine_function(clock):
    """A decorated object with an async `__call__` is a coroutine function for `inspect` [B10]."""
    assert inspect.iscoroutinefunction(build(clock)(AsyncCallable()))
    assert inspect.iscoroutinefunction(build(clock)(functools.partial(AsyncCallable(), 1)))


@pytest.mark.parametrize(
    "function",
    [Callable_(), AsyncCallable(), functools.partial(plain, 1), functools.partial(plain, c=False)],
    ids=["object", "async object", "partial", "partial with keywords"],
)
def test_signatures_of_objects_and_partials_are_kept(clock, function):
    """Objects and partials keep their signatures [B10]."""
    assert inspect.signature(build(clock)(function)) == inspect.signature(function)


@pytest.mark.skipif(not hasattr(inspect, "markcoroutinefunction"), reason="came with Python 3.12")
def test_a_marked_function_is_a_coroutine_function(clock):
    """A plain function that is marked as a coroutine function is treated as one [B10]."""

    @inspect.markcoroutinefunction
    def marked():
        return coroutine_function(1)

    decorated = build(clock)(marked)
    assert inspect.iscoroutinefunction(decorated)
    assert drive(decorated()) == (1, "x")


# Every kind of callable is guarded


def test_a_decorated_function_is_guarded(clock):
    """A decorated function takes the same arguments and returns the same results, and its outcomes count [B10]."""
    breaker = build(clock)
    assert breaker(plain)(1, 3, "x", c=False, z=1.5) == (1, 3, ("x",), False, {"z": 1.5})
    with pytest.raises(BoomError):
        breaker(boom)()
    assert breaker.status().failure_count == 1
    breaker(plain)(1)
    assert breaker.status().failure_count == 0


@pytest.mark.anyio
async def test_a_decorated_coroutine_function_is_guarded(clock):
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


def test_a_coroutine_is_admitted_when_it_is_awaited(clock):
    """Calling a decorated coroutine function admits nothing; awaiting its coroutine does [B10]."""
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
async def test_guarded_coroutines_run_as_tasks(clock):
    """Coroutines of decorated functions run as tasks like any other, and share the breaker's state [B10] [B9]."""
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


def test_create_task_takes_a_guarded_coroutine(clock):
    """`asyncio.create_task` takes the coroutine of a decorated function [B10] [T22]."""
    decorated = build(clock)(coroutine_function)

    async def main():
        return await asyncio.create_task(decorated(1))

    assert asyncio.run(main()) == (1, "x")


def test_a_decorated_generator_function_yields_the_same_items(clock):
    """A decorated generator function yields the same items [B10]."""
    assert list(build(clock)(generator)(3)) == [0, 1, 2]


@pytest.mark.anyio
async def test_a_decorated_async_generator_function_yields_the_same_items(clock):
    """A decorated async generator function yields the same items [B10]."""
    assert [item async for item in build(clock)(async_generator)(3)] == [0, 1, 2]


def test_methods_keep_their_binding(clock):
    """Methods of every kind keep their binding, for instances and classes, in either order of decorators [B10]."""
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
async def test_async_methods_are_guarded(clock):
    """Async methods of every kind are coroutine functions, and are guarded [B10]."""
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
async def test_partials_are_guarded(clock):
    """Partials of every kind of function return the same results, and are guarded [B10]."""
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
async def test_callable_objects_are_guarded(clock):
    """Objects with a `__call__`, async or not, return the same results, and are guarded [B10]."""
    breaker = build(clock)
    assert breaker(Callable_())(1) == (1, 2)
    assert await breaker(AsyncCallable())(1, b=3) == (1, 3)
    breaker.trip()
    with pytest.raises(CircuitOpenError):
        breaker(Callable_())(1)
    with pytest.raises(CircuitOpenError):
        await breaker(AsyncCallable())(1)


def test_builtins_lambdas_and_bound_methods_can_be_decorated(clock):
    """Builtin functions, lambdas and methods of builtin types can be decorated [B10]."""
    breaker = build(clock)
    assert breaker(len)("abc") == 3
    assert breaker(lambda x: x + 1)(1) == 2
    assert breaker("a,b".split)(",") == ["a", "b"]


@pytest.mark.parametrize("value", [None, 1, "name", object()])
def test_decorating_a_value_that_is_not_callable_raises(clock, value):
    """Decorating a value that is not callable raises a `TypeError` at once [B10]."""
    with pytest.raises(TypeError):
        build(clock)(value)


def test_keywords_may_have_any_name(clock):
    """The breaker reserves no keyword of a guarded function [B10] [B12]."""

    def take(**kwargs):
        return kwargs

    async def take_async(**kwargs):
        return kwargs

    names = {"self": 1, "fn": 2, "func": 3, "function": 4, "core": 5, "permit": 6, "args": 7, "kwargs": 8, "name": 9}
    for breaker in (build(clock), build(clock, record_result=lambda _: False)):
        assert breaker(take)(**names) == names
        assert breaker.call(take, **names) == names
        assert drive(breaker(take_async)(**names)) == names
        assert drive(breaker.execute(take_async, **names)) == names
        assert breaker.with_fallback(take)(boom)  # decorates
    breaker.trip()
    assert breaker.with_fallback(take)(take)(**names) == names
    assert drive(breaker.with_fallback(take_async)(take_async)(**names)) == names


def test_a_function_may_have_two_breakers(clock):
    """A call passes both breakers of a function, and a refusal of the inner one is neutral to the outer [B10]."""
    outer, inner = build(clock, name="outer"), build(clock, name="inner", failure_threshold=1)
    decorated = outer(inner(boom))
    with pytest.raises(BoomError):
        decorated()
    with pytest.raises(CircuitOpenError) as caught:
        decorated()
    assert caught.value.name == "inner"
    assert outer.status().failure_count == 1


def test_recursive_calls_count_once_each(clock):
    """A decorated function may call itself, and each call counts [B10]."""
    breaker = build(clock)

    @breaker
    def descend(n):
        if n == 0:
            boom()
        descend(n - 1)

    with pytest.raises(BoomError):
        descend(3)
    assert breaker.status().failure_count == 4


def test_a_decorated_function_follows_the_mode(clock):
    """A decorated function follows a mode that is set later, even after a first call [B10] [B16]."""
    breaker = build(clock)
    decorated = breaker(lambda: 1)
    assert decorated() == 1
    breaker.set_mode(BreakerMode.ISOLATED)
    with pytest.raises(CircuitOpenError):
        decorated()
    breaker.set_mode(BreakerMode.NORMAL)
    assert decorated() == 1


# Fallbacks


def test_a_fallback_replaces_a_refused_call(clock):
    """A refused call returns the result of the fallback, which gets the call's arguments [B10]."""
    breaker = open_breaker(clock)
    ran = []

    @breaker.with_fallback(lambda *args, **kwargs: ("cached", args, kwargs))
    def function(*args, **kwargs):
        ran.append((args, kwargs))

    assert function(1, two=2) == ("cached", (1,), {"two": 2})
    assert ran == []


@pytest.mark.parametrize("observer", [None, lambda record: None], ids=["alone", "observed"])
def test_a_fallback_does_not_replace_an_admitted_call(clock, observer):
    """An admitted call runs the function, whose exceptions pass and count [B10]."""
    breaker = build(clock, observer=observer)
    decorated = breaker.with_fallback(lambda: "cached")(lambda: "fresh")
    assert decorated() == "fresh"
    failing = breaker.with_fallback(lambda: "cached")(boom)
    with pytest.raises(BoomError):
        failing()
    assert breaker.status().failure_count == 1


@pytest.mark.parametrize("reason", ["open", "half_open", "isolated"])
def test_a_fallback_replaces_a_call_for_every_reason(clock, reason):
    """The fallback runs, whatever the reason of the refusal [B10]."""
    breaker = open_breaker(clock, half_open_max_calls=1)
    if reason == "half_open":
        clock.advance(10)
        permit = breaker.acquire()
    if reason == "isolated":
        breaker.set_mode(BreakerMode.ISOLATED)
    assert breaker.with_fallback(lambda: "cached")(lambda: "fresh")() == "cached"
    if reason == "half_open":
        permit.release()


def test_a_fallback_does_not_replace_other_refusals(clock):
    """A refusal of another breaker, even one of the same name, or one raised by hand passes [B10]."""
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


def test_a_failing_fallback_counts_nothing(clock):
    """An exception of the fallback reaches the caller, and counts nothing [B10]."""
    breaker = open_breaker(clock)
    before = breaker.status()
    with pytest.raises(BoomError):
        breaker.with_fallback(boom)(lambda: "fresh")()
    assert breaker.status() == before


@pytest.mark.anyio
@pytest.mark.parametrize("fallback_is_async", [True, False])
@pytest.mark.parametrize("observer", [None, lambda record: None], ids=["alone", "observed"])
async def test_a_coroutine_function_may_have_either_kind_of_fallback(clock, fallback_is_async, observer):
    """The fallback of an async function may be async, and is awaited then, or sync [B10]."""
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


def test_an_async_fallback_of_a_plain_function_raises(clock):
    """An async fallback of a sync function could not be awaited, and raises a `TypeError` at once [B10]."""
    with pytest.raises(TypeError, match="fallback"):
        build(clock).with_fallback(coroutine_function)(plain)


@pytest.mark.parametrize("value", [None, 1, "cached"])
def test_a_fallback_that_is_not_callable_raises(clock, value):
    """A fallback that is not callable raises a `TypeError` at once [B10]."""
    with pytest.raises(TypeError, match="fallback"):
        build(clock).with_fallback(value)


def test_a_refused_generator_yields_the_items_of_its_fallback(clock):
    """A refused generator yields the items of the iterable that its fallback returns [B10]."""
    breaker = open_breaker(clock)
    decorated = breaker.with_fallback(lambda n: [-1] * n)(generator)
    assert list(decorated(2)) == [-1, -1]
    breaker.reset()
    assert list(decorated(2)) == [0, 1]


@pytest.mark.anyio
async def test_a_refused_async_generator_yields_the_items_of_its_fallback(clock):
    """A refused async generator yields the items of the async iterable that its fallback returns [B10]."""
    breaker = open_breaker(clock)

    async def cached(n):
        for _ in range(n):
            yield -1

    decorated = breaker.with_fallback(cached)(async_generator)
    assert [item async for item in decorated(2)] == [-1, -1]
    breaker.reset()
    assert [item async for item in decorated(2)] == [0, 1]


def test_methods_may_have_fallbacks(clock):
    """Methods, class methods and static methods may have a fallback, which gets the same arguments [B10]."""
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


def test_metadata_is_kept_with_a_fallback(clock):
    """A function with a fallback keeps its metadata and its signature [B10]."""
    decorated = build(clock).with_fallback(lambda *_: None)(plain)
    assert (decorated.__name__, decorated.__doc__, decorated.__wrapped__) == (plain.__name__, plain.__doc__, plain)
    assert inspect.signature(decorated) == inspect.signature(plain)


def test_an_exception_of_a_fallback_has_no_cause(clock):
    """An exception of the fallback has no cause, and no context but the refusal [B10]."""
    breaker = open_breaker(clock)
    with pytest.raises(BoomError) as caught:
        breaker.with_fallback(boom)(lambda: "fresh")()
    assert caught.value.__cause__ is None
    assert isinstance(caught.value.__context__, CircuitOpenError | None)
