"""The cost of a call through each face of a breaker and in each of its states, in one thread."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial, wraps

from tests.benchmarks.case import BARE, Case, Contestant, Work
from tests.benchmarks.peers.contest import contestants, on_loop
from tests.benchmarks.peers.flaws import (
    admits_after_failures,
    admits_any_number_of_probes,
    hoards_tracebacks,
    makes_none,
    outcome,
    replaces_exceptions,
)
from tests.benchmarks.peers.libraries import FOR_EVER, NEVER, NO_TIME, Library, Settings, drive

# --- What is called ---------------------------------------------------------------------------------------------------


def answer(x):
    """Return the argument: the least that a service can do."""
    return x


async def answer_async(x):
    """Return the argument, in async code."""
    return x


def items(x):
    """Yield ten items."""
    yield from range(10)


async def items_async(x):
    """Yield ten items, in async code."""
    for item in range(10):
        yield item


def fail(x):
    """Fail every time."""
    raise ConnectionError("no route to host")


def answer_if(up):
    """Fail unless the service is up."""
    if not up:
        raise ConnectionError("no route to host")
    return up


async def answer_if_async(up):
    """Fail unless the service is up, in async code."""
    return answer_if(up)


class RefusedError(Exception):
    """An exception with two fields: the least that a refusal can carry."""

    def __init__(self, name: str, retry_after: float) -> None:
        super().__init__(name, retry_after)
        self.name = name
        self.retry_after = retry_after


def refuse(x):
    """Raise a refusal and do nothing else."""
    raise RefusedError("quotes", 30.0)


async def refuse_async(x):
    """Raise a refusal, in async code."""
    raise RefusedError("quotes", 30.0)


# --- The floors: wrappers that do nothing -----------------------------------------------------------------------------


def wrapped(fn):
    """Wrap a function."""

    @wraps(fn)
    def wrapper(*args, **kwargs):
        return fn(*args, **kwargs)

    return wrapper


def wrapped_coroutine(fn):
    """Wrap a coroutine function."""

    @wraps(fn)
    async def wrapper(*args, **kwargs):
        return await fn(*args, **kwargs)

    return wrapper


def wrapped_generator(fn):
    """Wrap a generator function."""

    @wraps(fn)
    def wrapper(*args, **kwargs):
        yield from fn(*args, **kwargs)

    return wrapper


def wrapped_async_generator(fn):
    """Wrap an async generator function."""

    @wraps(fn)
    async def wrapper(*args, **kwargs):
        async for item in fn(*args, **kwargs):
            yield item

    return wrapper


# --- The loops that are timed -----------------------------------------------------------------------------------------


def calls(fn) -> Work:
    """Call a function."""

    def work(n):
        for _ in range(n):
            fn(1)

    return work


def awaits(fn) -> Work:
    """Await a coroutine function."""

    async def work(n):
        for _ in range(n):
            await fn(1)

    return on_loop(work)


def calls_through(caller) -> Work:
    """Call a function through a breaker's method."""

    def work(n):
        for _ in range(n):
            caller(answer, 1)

    return work


def awaits_through(executor) -> Work:
    """Await a coroutine function through a breaker's method."""

    async def work(n):
        for _ in range(n):
            await executor(answer_async, 1)

    return on_loop(work)


def blocks(block) -> Work:
    """Run an empty block."""

    def work(n):
        for _ in range(n):
            with block:
                pass

    return work


def new_blocks(new_block) -> Work:
    """Run an empty block with a new context manager each time."""

    def work(n):
        for _ in range(n):
            with new_block():
                pass

    return work


def async_blocks(block) -> Work:
    """Run an empty async block."""

    async def work(n):
        for _ in range(n):
            async with block:
                pass

    return on_loop(work)


def new_async_blocks(new_block) -> Work:
    """Run an empty async block with a new context manager each time."""

    async def work(n):
        for _ in range(n):
            async with await new_block():
                pass

    return on_loop(work)


def iterations(fn) -> Work:
    """Exhaust a generator."""

    def work(n):
        for _ in range(n):
            for _ in fn(1):
                pass

    return work


def async_iterations(fn) -> Work:
    """Exhaust an async generator."""

    async def work(n):
        for _ in range(n):
            async for _ in fn(1):
                pass

    return on_loop(work)


def failures(fn) -> Work:
    """Call a function that fails."""

    def work(n):
        for _ in range(n):
            try:
                fn(1)
            except ConnectionError:
                continue

    return work


def refusals(fn, refusal: type[Exception]) -> Work:
    """Call a function and get refusals."""

    def work(n):
        for _ in range(n):
            try:
                fn(1)
            except refusal:
                continue

    return work


def async_refusals(fn, refusal: type[Exception]) -> Work:
    """Await a coroutine function and get refusals."""

    async def work(n):
        for _ in range(n):
            try:
                await fn(1)
            except refusal:
                continue

    return on_loop(work)


def opened(breaker: Library) -> Work:
    """Open a breaker, if it does open, and get refusals."""
    fn = breaker.function(answer_if)
    for _ in range(OPEN.failures):
        outcome(partial(fn, 0))
    return refusals(fn, breaker.refusal)


def opened_async(breaker: Library) -> Work:
    """Open a breaker, if it does open, and get refusals in async code."""
    fn = breaker.coroutine(answer_if_async)
    for _ in range(OPEN.failures):
        outcome(lambda: drive(fn(0)))
    return async_refusals(fn, breaker.refusal)


def rounds(fn) -> Work:
    """Call a function that fails, which opens the circuit, then one that succeeds, which closes it again."""

    def work(n):
        for _ in range(n):
            try:  # noqa: SIM105 - a context manager would add its own cost
                fn(0)
            except Exception:  # noqa: BLE001 - some libraries raise another exception
                pass
            fn(1)

    return work


def lookups(find) -> Work:
    """Look up a breaker by its name."""

    def work(n):
        for _ in range(n):
            find("quotes")

    return work


# --- The cases --------------------------------------------------------------------------------------------------------

OPEN = Settings(open_secs=FOR_EVER)
NEVER_OPEN = Settings(threshold=NEVER)
ROUND = Settings(threshold=1, open_secs=NO_TIME, successes=1)

SYNC = {
    "floor": lambda: calls(wrapped(answer)),
    "ways": {"function": lambda breaker: calls(breaker.function(answer))},
}
ASYNC = {
    "floor": lambda: awaits(wrapped_coroutine(answer_async)),
    "ways": {"coroutine": lambda breaker: awaits(breaker.coroutine(answer_async))},
}

CASES = (
    Case(
        name="sync call",
        group="Closed circuit",
        contestants=(*contestants(**SYNC), Contestant(name=BARE, prepare=lambda: calls(answer))),
    ),
    Case(
        name="async call",
        group="Closed circuit",
        contestants=(*contestants(**ASYNC), Contestant(name=BARE, prepare=lambda: awaits(answer_async))),
    ),
    Case(
        name="sync call, count window",
        group="Closed circuit",
        contestants=contestants(**SYNC, settings=Settings(window="count")),
    ),
    Case(
        name="async call, count window",
        group="Closed circuit",
        contestants=contestants(**ASYNC, settings=Settings(window="count")),
    ),
    Case(
        name="sync call, time window",
        group="Closed circuit",
        contestants=contestants(**SYNC, settings=Settings(window="time")),
    ),
    Case(
        name="async call, time window",
        group="Closed circuit",
        contestants=contestants(**ASYNC, settings=Settings(window="time")),
    ),
    Case(
        name="with",
        group="Closed circuit",
        contestants=contestants(
            lambda: blocks(nullcontext()),
            {
                "block": lambda breaker: blocks(breaker.block),
                "new_block": lambda breaker: new_blocks(breaker.new_block),
            },
        ),
    ),
    Case(
        name="async with",
        group="Closed circuit",
        contestants=contestants(
            lambda: async_blocks(nullcontext()),
            {
                "async_block": lambda breaker: async_blocks(breaker.async_block),
                "new_async_block": lambda breaker: new_async_blocks(breaker.new_async_block),
            },
        ),
    ),
    Case(
        name="call",
        group="Closed circuit",
        contestants=contestants(
            lambda: calls(answer),
            {"caller": lambda breaker: calls_through(breaker.caller)},
        ),
    ),
    Case(
        name="execute",
        group="Closed circuit",
        contestants=contestants(
            lambda: awaits(answer_async),
            {"executor": lambda breaker: awaits_through(breaker.executor)},
        ),
    ),
    Case(
        name="generator of ten items",
        group="Closed circuit",
        contestants=contestants(
            lambda: iterations(wrapped_generator(items)),
            {"generator": lambda breaker: iterations(breaker.generator(items))},
        ),
    ),
    Case(
        name="async generator of ten items",
        group="Closed circuit",
        contestants=contestants(
            lambda: async_iterations(wrapped_async_generator(items_async)),
            {"async_generator": lambda breaker: async_iterations(breaker.async_generator(items_async))},
        ),
    ),
    Case(
        name="recorded failure",
        group="Failures and refusals",
        contestants=contestants(
            lambda: failures(wrapped(fail)),
            {"function": lambda breaker: failures(breaker.function(fail))},
            settings=NEVER_OPEN,
            checks=(admits_after_failures, replaces_exceptions),
        ),
    ),
    Case(
        name="sync refusal",
        group="Failures and refusals",
        contestants=contestants(
            lambda: refusals(refuse, RefusedError),
            {"function": opened},
            settings=OPEN,
            checks=(admits_after_failures, hoards_tracebacks),
        ),
    ),
    Case(
        name="async refusal",
        group="Failures and refusals",
        contestants=contestants(
            lambda: async_refusals(refuse_async, RefusedError),
            {"coroutine": opened_async},
            settings=OPEN,
            checks=(admits_after_failures, hoards_tracebacks),
        ),
    ),
    Case(
        name="half-open round",
        group="Failures and refusals",
        contestants=contestants(
            lambda: rounds(wrapped(answer_if)),
            {"function": lambda breaker: rounds(breaker.function(answer_if))},
            settings=ROUND,
            checks=(admits_after_failures, replaces_exceptions, admits_any_number_of_probes),
        ),
    ),
    Case(
        name="get_or_create of an existing name",
        group="Registry",
        contestants=contestants(
            lambda: lookups({"quotes": None}.get),
            {"find": lambda breaker: lookups(breaker.find)},
            checks=(makes_none,),
        ),
    ),
)
