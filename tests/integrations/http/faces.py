"""The two clients, in their sync and async faces, used the same way."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, closing
from types import ModuleType
from typing import Any


class Face:
    """One client library in one of its faces, used the same way whichever it is.

    Attributes:
        client: The client library.
        guard: Our module for it.
        is_async: Whether it is the async face.
    """

    def __init__(self, library: str, is_async: bool) -> None:
        self.client: ModuleType = importlib.import_module(library)
        self.guard: ModuleType = importlib.import_module(f"swarmguard.{library}")
        self.is_async = is_async

    def transport(self, *args: Any, **kwargs: Any) -> Any:
        """Make our transport."""
        cls = self.guard.AsyncCircuitBreakerTransport if self.is_async else self.guard.CircuitBreakerTransport
        return cls(*args, **kwargs)

    @asynccontextmanager
    async def open(self, *args: Any, **kwargs: Any) -> AsyncIterator[Talk]:
        """Open a client over our transport."""
        transport = self.transport(*args, **kwargs)
        if self.is_async:
            async with self.client.AsyncClient(transport=transport, timeout=10) as client:
                yield Talk(client, True)
        else:
            with self.client.Client(transport=transport, timeout=10) as client:
                yield Talk(client, False)


class Talk:
    """An open client."""

    def __init__(self, client: Any, is_async: bool) -> None:
        self.client = client
        self.is_async = is_async

    async def get(self, url: str, **kwargs: Any) -> Any:
        """Get the whole answer."""
        answer = self.client.get(url, **kwargs)
        return await answer if self.is_async else answer

    async def send(self, url: str, **kwargs: Any) -> Any:
        """Send a GET and return the answer as soon as its headers are there."""
        answer = self.client.send(self.client.build_request("GET", url), stream=True, **kwargs)
        return await answer if self.is_async else answer

    async def read(self, response: Any) -> bytes:
        """Read the rest of an answer."""
        return await response.aread() if self.is_async else response.read()

    @asynccontextmanager
    async def pieces(self, response: Any) -> AsyncIterator[AsyncIterator[bytes]]:
        """Read an answer's body piece by piece during a `with` block."""
        raw = response.aiter_raw() if self.is_async else as_async(response.iter_raw())
        async with aclosing(raw):
            yield raw

    async def hang_up(self, response: Any) -> None:
        """Close an answer."""
        await response.aclose() if self.is_async else response.close()


async def as_async(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Iterate as async code does."""
    with closing(pieces):
        for piece in pieces:
            yield piece
