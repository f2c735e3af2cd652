"""The contestants of a breaker's case: the floor, and each library that has the face and supports the settings."""

from __future__ import annotations

import asyncio
import atexit
from collections.abc import Callable, Coroutine, Mapping
from functools import cache, partial
from typing import Any

from tests.benchmarks.case import FLOOR, Contestant, Work
from tests.benchmarks.peers.flaws import FlawCheck, admits_after_failures, find_flaw
from tests.benchmarks.peers.libraries import LIBRARIES, Library, Settings

DEFAULT = Settings()

Way = Callable[[Library], Work]
"""Returns the work that a case does with a library's breaker."""


def contestants(
    floor: Callable[[], Work],
    ways: Mapping[str, Way],
    *,
    settings: Settings = DEFAULT,
    checks: tuple[FlawCheck, ...] = (admits_after_failures,),
) -> tuple[Contestant, ...]:
    """Return the floor and the libraries.

    Args:
        floor: Prepares the floor.
        ways: The work of a breaker, by face. A library uses the first face that it has.
        settings: The settings of the breakers.
        checks: The flaws to test for in this case.
    """
    found = [Contestant(name=FLOOR, prepare=floor)]
    for library in LIBRARIES:
        face = next((face for face in ways if face in library.faces), None)
        if face is not None and settings.window in library.windows:
            prepare = partial(_prepare, library, settings, ways[face])
            flaw = partial(find_flaw, library, face, settings, checks)
            found.append(Contestant(name=library.name, prepare=prepare, flaw=flaw))
    return tuple(found)


def _prepare(library: type[Library], settings: Settings, way: Way) -> Work:
    return way(library(settings))


def on_loop(loop: Callable[[int], Coroutine[Any, Any, object]]) -> Work:
    """Return the work that runs a coroutine function on an asyncio event loop, the same one for all contestants."""
    return lambda n: _runner().run(loop(n))


@cache
def _runner() -> asyncio.Runner:
    runner = asyncio.Runner()
    atexit.register(runner.close)
    return runner
