"""Guarded generators: each is one call, and otherwise behaves as without the guard."""

from __future__ import annotations

import contextlib
import gc
import inspect
import sys
from weakref import ref

import anyio
import pytest

from swarmguard import CircuitOpenError, CircuitState
from tests.breaker_tools import BoomError, build, due_breaker, fail, half_open_breaker, in_thread, open_breaker

CLOSE_RETURNS = pytest.mark.skipif(sys.version_info < (3, 13), reason="close() returns a value since Python 3.13")


def counts(breaker):
    """Return the state, the successes and the held slots of a half-open breaker."""
    status = breaker.status()
    return status.state, status.success_count, status.half_open_calls


NOTHING = (CircuitState.HALF_OPEN, 0, 0)
UNDER_WAY = (CircuitState.HALF_OPEN, 0, 1)
SUCCESS = (CircuitState.HALF_OPEN, 1, 0)
FAILURE = (CircuitState.OPEN, 0, 0)


def count_to(n):
    """Yield 1 to n, and return a text."""
    for i in range(n):
        yield i + 1
    return "done"


def echo():
    """Yield what was sent; turn a ValueError that is thrown in into an item; return the items."""
    items = []
    item = None
    while item != "stop":
        try:
            item = yield item
        except ValueError as error:
            item = str(error)
        items.append(item)
    return items


def failing():
    """Fail after the first item."""
    yield 1
    raise BoomError


# Each generator is one call


def test_a_generator_is_admitted_at_its_first_step(clock):
    """Making a generator admits nothing; its first step does, and it holds its slot until it ends [B11]."""
    breaker = half_open_breaker(clock)
    iterator = breaker(count_to)(2)
    assert counts(breaker) == NOTHING
    for _ in range(2):
        next(iterator)
        assert counts(breaker) == UNDER_WAY
    with pytest.raises(StopIteration):
        next(iterator)
    assert counts(breaker) == SUCCESS


def test_a_generator_is_refused_at_its_first_step(clock):
    """A generator of an open circuit raises the refusal at its first step, without running [B11]."""
    breaker = open_breaker(clock)
    ran = []

    @breaker
    def numbers():
        ran.append(1)
        yield 1

    iterator = numbers()
    with pytest.raises(CircuitOpenError):
        next(iterator)
    with pytest.raises(StopIteration):
        next(iterator)
    assert ran == []


def test_a_generator_runs_on_when_the_circuit_opens(clock):
    """A generator that was admitted runs to its end, even if the circuit opens meanwhile [B11]."""
    breaker = build(clock, failure_threshold=1)
    iterator = breaker(count_to)(3)
    next(iterator)
    fail(breaker)
    assert list(iterator) == [2, 3]
    assert breaker.state is CircuitState.OPEN


def test_a_generator_is_one_success(clock):
    """A generator of many items is one success [B11]."""
    breaker = half_open_breaker(clock, success_threshold=10)
    assert list(breaker(count_to)(100)) == list(range(1, 101))
    assert counts(breaker) == SUCCESS


def test_an_exception_of_a_generator_is_classified(clock):
    """A failure in the middle of an iteration counts, and reaches the caller unchanged [B11] [T08]."""
    breaker = half_open_breaker(clock)
    error = BoomError()

    @breaker
    def numbers():
        yield 1
        raise error

    iterator = numbers()
    next(iterator)
    with pytest.raises(BoomError) as caught:
        next(iterator)
    assert caught.value is error
    assert error.__cause__ is error.__context__ is None
    assert counts(breaker) == FAILURE


def test_the_exception_filters_apply_to_a_generator(clock):
    """An exception of a generator that is ignored, or is a success, is classified as such [B11] [B6]."""
    breaker = half_open_breaker(clock, ignore_exceptions=BoomError)
    with pytest.raises(BoomError):
        list(breaker(failing)())
    assert counts(breaker) == NOTHING
    breaker = half_open_breaker(clock, success_exceptions=BoomError)
    with pytest.raises(BoomError):
        list(breaker(failing)())
    assert counts(breaker) == SUCCESS


def test_closed_circuit_counts_generators(clock):
    """In a closed circuit, an ended generator resets the consecutive failures, and a failed one adds to them [B11]."""
    breaker = build(clock, failure_threshold=3)
    for _ in range(2):
        with pytest.raises(BoomError):
            list(breaker(failing)())
    assert breaker.status().failure_count == 2
    list(breaker(count_to)(2))
    assert breaker.status().failure_count == 0


def test_break_is_neutral(clock):
    """Leaving a loop early is neutral, and frees the slot [B11] [T08]."""
    breaker = half_open_breaker(clock)
    for item in breaker(count_to)(5):
        assert counts(breaker) == UNDER_WAY
        if item == 2:
            break
    gc.collect()
    assert counts(breaker) == NOTHING


def test_break_leaves_the_consecutive_failures(clock):
    """Leaving a loop early neither adds to the consecutive failures nor resets them [B11]."""
    breaker = build(clock, failure_threshold=2)
    fail(breaker)
    for _ in breaker(count_to)(5):
        break
    gc.collect()
    assert breaker.status().failure_count == 1


def test_close_is_neutral(clock):
    """`close` ends a generator at once, runs its cleanup, counts nothing and frees the slot [B11]."""
    breaker = half_open_breaker(clock)
    cleaned = []

    @breaker
    def numbers():
        try:
            yield 1
        finally:
            cleaned.append(counts(breaker))

    iterator = numbers()
    next(iterator)
    iterator.close()
    assert cleaned == [UNDER_WAY]
    assert counts(breaker) == NOTHING
    iterator.close()
    with pytest.raises(StopIteration):
        next(iterator)
    assert counts(breaker) == NOTHING


def test_close_before_the_first_step_counts_nothing(clock):
    """A generator that is closed before its first step neither runs nor counts [B11]."""
    breaker = due_breaker(clock)
    ran = []

    @breaker
    def numbers():
        ran.append(1)
        yield

    iterator = numbers()
    iterator.close()
    del iterator
    gc.collect()
    assert (breaker.state, ran) == (CircuitState.OPEN, [])


def test_a_dropped_generator_frees_its_slot(clock):
    """A suspended generator that is garbage-collected frees its slot, also out of a reference cycle [B11]."""
    breaker = half_open_breaker(clock)
    iterator = breaker(count_to)(5)
    next(iterator)
    del iterator
    gc.collect()
    assert counts(breaker) == NOTHING
    cycle = [breaker(count_to)(5)]
    next(cycle[0])
    cycle.append(cycle)
    del cycle
    gc.collect()
    assert counts(breaker) == NOTHING


@pytest.mark.anyio
async def test_an_exception_thrown_into_an_async_generator_leaves_no_cycle(clock):
    """An exception that is thrown in and leaves the async generator is freed without the garbage collector [B11]."""
    breaker = build(clock)

    @breaker
    async def numbers():
        yield 1

    async def throw():
        iterator = numbers()
        await anext(iterator)
        try:
            await iterator.athrow(BoomError())
        except BoomError as exc:
            return ref(exc)

    gc.disable()
    try:
        thrown = await throw()
        assert thrown() is None
    finally:
        gc.enable()


# The same behaviour as without the guard


def plain(function):
    """Return the function undecorated."""
    return function


@pytest.fixture(params=["plain", "closed", "half-open", "observed"])
def guard(request, clock):
    """Give each decorator under which a generator must behave the same."""
    if request.param == "plain":
        return plain
    if request.param == "observed":
        return build(clock, observer=lambda _: None)
    return build(clock) if request.param == "closed" else half_open_breaker(clock, success_threshold=1000)


def test_send_returns_the_next_item(guard):
    """`send` reaches the generator, and returns the next item [B11] [T08]."""
    iterator = guard(echo)()
    assert next(iterator) is None
    assert [iterator.send(value) for value in ("a", None, 0)] == ["a", None, 0]


def test_send_before_the_start_raises(guard):
    """Sending a value into a generator that has not started raises a `TypeError` [B11]."""
    iterator = guard(echo)()
    with pytest.raises(TypeError, match="just-started"):
        iterator.send(1)


def test_throw_raises_in_the_generator(guard):
    """`throw` raises in the generator, which may handle the exception and go on [B11]."""
    iterator = guard(echo)()
    next(iterator)
    assert iterator.throw(ValueError("caught")) == "caught"
    assert iterator.send("b") == "b"
    error = KeyError("not caught")
    with pytest.raises(KeyError) as caught:
        iterator.throw(error)
    assert caught.value is error
    with pytest.raises(StopIteration):
        next(iterator)


def test_an_exception_that_is_thrown_in_counts_if_it_comes_out(clock):
    """An exception that is thrown in and handled does not count; one that comes out does [B11]."""
    breaker = half_open_breaker(clock)
    iterator = breaker(echo)()
    next(iterator)
    iterator.throw(ValueError("caught"))
    assert counts(breaker) == UNDER_WAY
    with pytest.raises(KeyError):
        iterator.throw(KeyError())
    assert counts(breaker) == FAILURE


def test_throw_before_the_start_ends_the_generator(guard):
    """An exception that is thrown into a generator before its start comes out, and ends the generator [B11]."""
    iterator = guard(echo)()
    error = ValueError()
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the very object
        iterator.throw(error)
    assert caught.value is error
    with pytest.raises(StopIteration):
        next(iterator)


def test_throw_before_the_start_counts_nothing(clock):
    """A generator that never took its first step is not a call [B11]."""
    breaker = due_breaker(clock)
    iterator = breaker(echo)()
    with pytest.raises(KeyError):
        iterator.throw(KeyError())
    assert breaker.state is CircuitState.OPEN


def test_the_return_value_is_kept(guard):
    """The `StopIteration` carries the return value [B11]."""
    iterator = guard(count_to)(0)
    with pytest.raises(StopIteration) as caught:
        next(iterator)
    assert caught.value.value == "done"


def test_yield_from_passes_everything_through_the_guard(guard):
    """`yield from` passes items, sent values, thrown exceptions and the return value through the guard [B11]."""

    def outer():
        result = yield from guard(echo)()
        yield "result", result

    iterator = outer()
    next(iterator)
    assert iterator.send("a") == "a"
    assert iterator.throw(ValueError("b")) == "b"
    assert iterator.send("stop") == ("result", ["a", "b", "stop"])


def test_a_guarded_generator_may_delegate(guard):
    """A guarded generator may delegate to another generator [B11]."""

    @guard
    def outer():
        result = yield from echo()
        return len(result)

    iterator = outer()
    next(iterator)
    assert [iterator.send("a"), iterator.throw(ValueError("b"))] == ["a", "b"]
    with pytest.raises(StopIteration) as caught:
        iterator.send("stop")
    assert caught.value.value == 3


def test_a_generator_that_ignores_close_raises(guard):
    """A generator that yields when it is closed raises a `RuntimeError`, as without the guard [B11]."""

    @guard
    def stubborn():
        try:
            yield 1
        except GeneratorExit:
            yield 2

    iterator = stubborn()
    next(iterator)
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        iterator.close()


def test_an_exception_of_the_cleanup_comes_out_of_close(guard):
    """An exception in a generator's cleanup comes out of `close` [B11]."""
    error = BoomError()

    @guard
    def numbers():
        try:
            yield 1
        finally:
            raise error

    iterator = numbers()
    next(iterator)
    with pytest.raises(BoomError) as caught:
        iterator.close()
    assert caught.value is error


def test_a_generator_may_return_when_it_is_closed(guard):
    """A generator may handle `GeneratorExit` and return [B11]."""

    @guard
    def numbers():
        with contextlib.suppress(GeneratorExit):
            yield 1

    iterator = numbers()
    next(iterator)
    iterator.close()
    with pytest.raises(StopIteration):
        next(iterator)


@CLOSE_RETURNS
def test_close_returns_the_value_of_the_generator(guard):
    """`close` returns what the generator returns when it is closed [B11]."""

    @guard
    def numbers():
        try:
            yield 1
        except GeneratorExit:
            return "last words"

    iterator = numbers()
    next(iterator)
    assert iterator.close() == "last words"
    assert iterator.close() is None


def test_a_generator_that_returns_when_closed_is_neutral(clock):
    """A generator that returns because it was closed is neutral [B11]."""
    breaker = half_open_breaker(clock)

    @breaker
    def numbers():
        try:
            yield 1
        except GeneratorExit:
            return

    iterator = numbers()
    next(iterator)
    iterator.close()
    assert counts(breaker) == NOTHING


def test_a_stop_iteration_inside_raises(guard):
    """A `StopIteration` raised inside a generator is a `RuntimeError` outside, as without the guard [B11]."""

    @guard
    def numbers():
        yield next(iter(()))

    with pytest.raises(RuntimeError, match="StopIteration"):
        next(numbers())


def test_a_guarded_generator_is_a_generator(guard):
    """A guarded generator is a generator for `inspect` [B11]."""
    iterator = guard(count_to)(1)
    assert inspect.isgenerator(iterator)
    assert inspect.getgeneratorstate(iterator) == "GEN_CREATED"
    assert iter(iterator) is iterator
    iterator.close()
    assert inspect.getgeneratorstate(iterator) == "GEN_CLOSED"


def test_a_context_manager_of_a_guarded_generator_is_one_call(clock):
    """A `contextmanager` of a guarded generator is one call, whose outcome is that of its block [B11]."""
    breaker = half_open_breaker(clock)

    @contextlib.contextmanager
    @breaker
    def session():
        yield "session"

    with session() as value:
        assert value == "session"
        assert counts(breaker) == UNDER_WAY
    assert counts(breaker) == SUCCESS
    error = BoomError()
    with pytest.raises(BoomError) as caught, session():
        raise error
    assert caught.value is error
    assert breaker.state is CircuitState.OPEN


def test_interleaved_generators_are_separate_calls(clock):
    """Generators that take turns are separate calls [B11]."""
    breaker = half_open_breaker(clock, half_open_max_calls=2)
    good, bad = breaker(count_to)(1), breaker(failing)()
    next(good)
    next(bad)
    assert breaker.status().half_open_calls == 2
    assert list(good) == []
    assert counts(breaker) == (CircuitState.HALF_OPEN, 1, 1)
    with pytest.raises(BoomError):
        next(bad)
    assert counts(breaker) == FAILURE


def test_each_step_may_run_in_another_thread(clock):
    """A generator may take each of its steps in another thread [B11] [B9]."""
    breaker = half_open_breaker(clock)
    iterator = breaker(count_to)(2)
    assert [in_thread(next, iterator), in_thread(next, iterator)] == [1, 2]
    assert counts(breaker) == UNDER_WAY
    assert in_thread(next, iterator, "end") == "end"
    assert counts(breaker) == SUCCESS


def test_a_generator_is_refused_while_another_holds_the_slot(clock):
    """A second generator is refused while the first one is suspended and holds the only slot [B11] [B3]."""
    breaker = half_open_breaker(clock, half_open_max_calls=1)
    first = breaker(count_to)(1)
    next(first)
    with pytest.raises(CircuitOpenError):
        next(breaker(count_to)(1))
    first.close()
    assert next(breaker(count_to)(1)) == 1


# Async generators


async def acount_to(n):
    """Yield 1 to n."""
    for i in range(n):
        await anyio.lowlevel.checkpoint()
        yield i + 1


async def aecho():
    """Yield what was sent; turn a ValueError that is thrown in into an item."""
    item = None
    while item != "stop":
        await anyio.lowlevel.checkpoint()
        try:
            item = yield item
        except ValueError as error:
            item = str(error)


async def afailing():
    """Fail after the first item."""
    yield 1
    await anyio.lowlevel.checkpoint()
    raise BoomError


def drive(awaitable):
    """Run an awaitable that never waits, without an event loop."""
    steps = awaitable.__await__()
    with pytest.raises(StopIteration) as caught:
        next(steps)
    return caught.value.value


@pytest.mark.anyio
async def test_an_async_generator_is_one_call(clock):
    """An async generator is one call from its first step to its end [B11]."""
    breaker = half_open_breaker(clock)
    iterator = breaker(acount_to)(2)
    assert counts(breaker) == NOTHING
    assert [await anext(iterator), await anext(iterator)] == [1, 2]
    assert counts(breaker) == UNDER_WAY
    with pytest.raises(StopAsyncIteration):
        await anext(iterator)
    assert counts(breaker) == SUCCESS


@pytest.mark.anyio
async def test_an_async_generator_is_refused_at_its_first_step(clock):
    """An async generator of an open circuit raises the refusal at its first step [B11]."""
    breaker = open_breaker(clock)
    iterator = breaker(acount_to)(2)
    with pytest.raises(CircuitOpenError):
        await anext(iterator)
    with pytest.raises(StopAsyncIteration):
        await anext(iterator)


@pytest.mark.anyio
async def test_an_exception_of_an_async_generator_is_classified(clock):
    """A failure in the middle of an iteration over an async generator counts [B11] [T08]."""
    breaker = half_open_breaker(clock)
    with pytest.raises(BoomError):
        async for _ in breaker(afailing)():
            assert counts(breaker) == UNDER_WAY
    assert counts(breaker) == FAILURE


@pytest.mark.anyio
async def test_asend_and_athrow_return_the_next_item(guard):
    """`asend` and `athrow` reach the async generator, and return the next item [B11]."""
    iterator = guard(aecho)()
    assert await anext(iterator) is None
    assert await iterator.asend("a") == "a"
    assert await iterator.athrow(ValueError("caught")) == "caught"
    error = KeyError()
    with pytest.raises(KeyError) as caught:
        await iterator.athrow(error)
    assert caught.value is error
    with pytest.raises(StopAsyncIteration):
        await anext(iterator)


@pytest.mark.anyio
async def test_an_exception_of_athrow_counts_if_it_comes_out(clock):
    """An exception that is thrown in and handled does not count; one that comes out does [B11]."""
    breaker = half_open_breaker(clock)
    iterator = breaker(aecho)()
    await anext(iterator)
    await iterator.athrow(ValueError("caught"))
    assert counts(breaker) == UNDER_WAY
    with pytest.raises(KeyError):
        await iterator.athrow(KeyError())
    assert counts(breaker) == FAILURE


@pytest.mark.anyio
async def test_aclose_is_neutral(clock):
    """`aclose` runs and awaits the cleanup, counts nothing and frees the slot [B11]."""
    breaker = half_open_breaker(clock)
    cleaned = []

    @breaker
    async def numbers():
        try:
            yield 1
        finally:
            await anyio.lowlevel.checkpoint()
            cleaned.append(counts(breaker))

    iterator = numbers()
    await anext(iterator)
    await iterator.aclose()
    assert cleaned == [UNDER_WAY]
    assert counts(breaker) == NOTHING
    await iterator.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(iterator)


@pytest.mark.anyio
async def test_async_break_is_neutral(clock):
    """Leaving an `async for` early, with `aclosing`, is neutral and frees the slot [B11] [T08]."""
    breaker = half_open_breaker(clock)
    async with contextlib.aclosing(breaker(acount_to)(5)) as iterator:
        async for item in iterator:
            if item == 2:
                break
        assert counts(breaker) == UNDER_WAY
    assert counts(breaker) == NOTHING


@pytest.mark.anyio
async def test_aclose_before_the_first_step_counts_nothing(clock):
    """An async generator that is closed before its first step is not a call [B11]."""
    breaker = due_breaker(clock)
    iterator = breaker(acount_to)(2)
    await iterator.aclose()
    assert breaker.state is CircuitState.OPEN


@pytest.mark.anyio
async def test_athrow_before_the_start_ends_the_generator(guard):
    """An exception that is thrown into an async generator before its start comes out, and ends it [B11]."""
    iterator = guard(aecho)()
    error = ValueError()
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the very object
        await iterator.athrow(error)
    assert caught.value is error
    with pytest.raises(StopAsyncIteration):
        await anext(iterator)


@pytest.mark.anyio
async def test_an_async_generator_that_ignores_aclose_raises(guard):
    """An async generator that yields when it is closed raises a `RuntimeError`, as without the guard [B11]."""

    @guard
    async def stubborn():
        try:
            yield 1
        except GeneratorExit:
            yield 2

    iterator = stubborn()
    await anext(iterator)
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        await iterator.aclose()


@pytest.mark.anyio
async def test_an_exception_of_the_cleanup_comes_out_of_aclose(guard):
    """An exception in an async generator's cleanup comes out of `aclose` [B11]."""
    error = BoomError()

    @guard
    async def numbers():
        try:
            yield 1
        finally:
            raise error

    iterator = numbers()
    await anext(iterator)
    with pytest.raises(BoomError) as caught:
        await iterator.aclose()
    assert caught.value is error


@pytest.mark.anyio
async def test_a_stop_async_iteration_inside_raises(guard):
    """A `StopAsyncIteration` raised inside is a `RuntimeError` outside, as without the guard [B11]."""

    @guard
    async def numbers():
        yield 1
        raise StopAsyncIteration

    iterator = numbers()
    await anext(iterator)
    with pytest.raises(RuntimeError, match="StopAsyncIteration"):
        await anext(iterator)


@pytest.mark.anyio
async def test_a_guarded_async_generator_is_an_async_generator(guard):
    """A guarded async generator is an async generator for `inspect` [B11]."""
    iterator = guard(acount_to)(1)
    assert inspect.isasyncgen(iterator)
    assert aiter(iterator) is iterator
    await iterator.aclose()


@pytest.mark.anyio
async def test_a_cancelled_async_generator_is_neutral(clock):
    """A cancelled step ends the async generator, is neutral, and frees the slot [B11] [B6]."""
    breaker = half_open_breaker(clock)
    cleaned = []

    @breaker
    async def numbers():
        try:
            yield 1
            await anyio.sleep_forever()
        finally:
            cleaned.append(1)

    iterator = numbers()
    await anext(iterator)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await anext(iterator)
    assert cleaned == [1]
    assert counts(breaker) == NOTHING


@pytest.mark.anyio
async def test_an_async_context_manager_of_a_guarded_generator_is_one_call(clock):
    """An `asynccontextmanager` of a guarded async generator is one call [B11]."""
    breaker = half_open_breaker(clock)

    @contextlib.asynccontextmanager
    @breaker
    async def session():
        yield "session"

    async with session() as value:
        assert value == "session"
        assert counts(breaker) == UNDER_WAY
    assert counts(breaker) == SUCCESS
    with pytest.raises(BoomError):
        async with session():
            raise BoomError
    assert breaker.state is CircuitState.OPEN


def test_a_dropped_async_generator_frees_its_slot(clock):
    """An async generator that was started without an event loop and dropped frees its slot [B11]."""
    breaker = half_open_breaker(clock)

    @breaker
    async def numbers():
        yield 1

    iterator = numbers()
    assert drive(anext(iterator)) == 1
    assert counts(breaker) == UNDER_WAY
    del iterator
    gc.collect()
    assert counts(breaker) == NOTHING


@pytest.mark.anyio
async def test_interleaved_async_generators_are_separate_calls(clock):
    """Async generators that take turns are separate calls [B11]."""
    breaker = half_open_breaker(clock, half_open_max_calls=2)
    good, bad = breaker(acount_to)(1), breaker(afailing)()
    await anext(good)
    await anext(bad)
    assert breaker.status().half_open_calls == 2
    assert [item async for item in good] == []
    assert counts(breaker) == (CircuitState.HALF_OPEN, 1, 1)
    with pytest.raises(BoomError):
        await anext(bad)
    assert counts(breaker) == FAILURE
