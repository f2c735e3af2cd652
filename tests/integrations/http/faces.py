"""One interface for the sync and async clients of both libraries."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, closing
from types import ModuleType
from typing import Any


class Face:
    """A client library, sync or async, behind one async interface.

    Attributes:
        client: The client library's module.
        guard: The module of swarmguard for that library.
        is_async: Whether the async client is used.
    """

    def __init__(self, library: str, is_async: bool) -> None:
        self.client: ModuleType = importlib.import_module(library)
        self.guard: ModuleType = importlib.import_module(f"swarmguard.{library}")
        self.is_async = is_async

    def transport(self, *args: Any, **kwargs: Any) -> Any:
        """Return a transport with breakers."""
        cls = self.guard.AsyncCircuitBreakerTransport if self.is_async else self.guard.CircuitBreakerTransport
        return cls(*args, **kwargs)

    @asynccontextmanager
    async def open(self, *args: Any, **kwargs: Any) -> AsyncIterator[OpenClient]:
        """Open a client with such a transport."""
        transport = self.transport(*args, **kwargs)
        if self.is_async:
            async with self.client.AsyncClient(transport=transport, timeout=10) as client:
                yield OpenClient(client, True)
        else:
            with self.client.Client(transport=transport, timeout=10) as client:
                yield OpenClient(client, False)


class OpenClient:
    """An open client."""

    def __init__(self, client: Any, is_async: bool) -> None:
        self.client = client
        self.is_async = is_async

    async def get(self, url: str, **kwargs: Any) -> Any:
        """Send a GET and return the response with its body."""
        answer = self.client.get(url, **kwargs)
        return await answer if self.is_async else answer

    async def send(self, url: str, **kwargs: Any) -> Any:
        """Send a GET and return the response when its headers have arrived."""
        answer = self.client.send(self.client.build_request("GET", url), stream=True, **kwargs)
        return await answer if self.is_async else answer

    async def read(self, response: Any) -> bytes:
        """Read the rest of a response's body."""
        return await response.aread() if self.is_async else response.read()

    @asynccontextmanager
    async def pieces(self, response: Any) -> AsyncIterator[AsyncIterator[bytes]]:
        """Iterate over the chunks of a response's body during a `with` block."""
        raw = response.aiter_raw() if self.is_async else as_async(response.iter_raw())
        async with aclosing(raw):
            yield raw

    async def close(self, response: Any) -> None:
        """Close a response."""
        await response.aclose() if self.is_async else response.close()


async def as_async(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Turn an iterator into an async one."""
    with closing(pieces):
        for piece in pieces:
            yield piece
