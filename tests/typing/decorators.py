"""What a user's editor must infer for everything that a breaker decorates or runs: type-checked, never run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import partial
from typing import Any, assert_type

from swarmguard import CircuitBreaker

breaker = CircuitBreaker("api")


@breaker
def sync(symbol: str, *, depth: int = 1) -> float:
    return float(depth)


assert_type(sync("SOL", depth=2), float)
sync(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
sync("SOL", deep=2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


@breaker
async def coroutine(symbol: str) -> bytes:
    return symbol.encode()


async def uses_coroutine() -> None:
    promise: Coroutine[Any, Any, bytes] = coroutine("SOL")  # a coroutine, not merely an awaitable
    assert_type(await promise, bytes)
    task = asyncio.create_task(coroutine("SOL"))
    assert_type(await task, bytes)
    await coroutine(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@breaker
def generator(n: int) -> Iterator[int]:
    yield n


assert_type(generator(1), Iterator[int])


@breaker
async def async_generator(n: int) -> AsyncIterator[int]:
    yield n


async def uses_async_generator() -> None:
    async for item in async_generator(1):
        assert_type(item, int)


class Client:
    @breaker
    def method(self, symbol: str) -> int:
        return len(symbol)

    @breaker
    async def async_method(self, symbol: str) -> int:
        return len(symbol)

    @breaker
    @classmethod
    def class_method(cls, symbol: str) -> Client:
        return cls()

    @classmethod
    @breaker
    def guarded_below(cls, symbol: str) -> Client:
        return cls()

    @breaker
    @staticmethod
    def static_method(symbol: str) -> int:
        return len(symbol)

    def __call__(self, symbol: str) -> int:
        return len(symbol)


client = Client()
assert_type(client.method("SOL"), int)
assert_type(Client.class_method("SOL"), Client)
assert_type(client.class_method("SOL"), Client)
assert_type(Client.guarded_below("SOL"), Client)
assert_type(Client.static_method("SOL"), int)
client.method(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def uses_async_method() -> None:
    assert_type(await client.async_method("SOL"), int)
    assert_type(await asyncio.create_task(client.async_method("SOL")), int)


assert_type(breaker(client)("SOL"), int)
bound: Callable[[], float] = breaker(partial(sync, "SOL"))
assert_type(bound(), float)


def last_price(symbol: str) -> float:
    return 0.0


@breaker.with_fallback(last_price)
def priced(symbol: str) -> float:
    return float(len(symbol))


async def last_body(symbol: str) -> bytes:
    return b""


@breaker.with_fallback(last_body)
async def fetched(symbol: str) -> bytes:
    return symbol.encode()


assert_type(priced("SOL"), float)


async def uses_fetched() -> None:
    assert_type(await asyncio.create_task(fetched("SOL")), bytes)


# Single calls

assert_type(breaker.call(len, "SOL"), int)
assert_type(breaker.call(lambda: 1.0), float)
breaker.call(len, 1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def plain(symbol: str) -> bytes:
    return symbol.encode()


async def uses_execute() -> None:
    assert_type(await breaker.execute(plain, "SOL"), bytes)
    assert_type(await breaker.execute(lambda: plain("SOL")), bytes)
    await breaker.execute(len, "SOL")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# Blocks and permits

with breaker as itself:
    assert_type(itself, CircuitBreaker)

with breaker.acquire() as permit:
    assert_type(permit.succeed(), bool)


async def uses_blocks() -> None:
    async with breaker as itself:
        assert_type(itself, CircuitBreaker)
    async with breaker.acquire() as permit:
        assert_type(permit.fail(ValueError()), bool)
