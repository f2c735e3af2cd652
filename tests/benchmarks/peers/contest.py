"""Who takes part in a case of the breaker: the floor, and each library that has the face and knows the terms."""

from __future__ import annotations

import asyncio
import atexit
from collections.abc import Callable, Coroutine, Mapping
from functools import cache, partial
from typing import Any

from tests.benchmarks.case import FLOOR, Contestant, Work
from tests.benchmarks.peers.libraries import LIBRARIES, Library, Terms
from tests.benchmarks.peers.probes import Probe, admits_after_failures, find_flaw

DEFAULT = Terms()

Way = Callable[[Library], Work]
"""Makes a case's work of a library's breaker."""


def contestants(
    floor: Callable[[], Work],
    ways: Mapping[str, Way],
    *,
    terms: Terms = DEFAULT,
    probes: tuple[Probe, ...] = (admits_after_failures,),
) -> tuple[Contestant, ...]:
    """Return the floor and the libraries.

    Args:
        floor: Prepares the floor.
        ways: By face, how a breaker does the work through it. A library takes the first face that it has.
        terms: What the breakers are set to.
        probes: What can go wrong in this case.
    """
    found = [Contestant(name=FLOOR, prepare=floor)]
    for library in LIBRARIES:
        face = next((face for face in ways if face in library.faces), None)
        if face is not None and terms.window in library.windows:
            prepare = partial(_prepare, library, terms, ways[face])
            flaw = partial(find_flaw, library, face, terms, probes)
            found.append(Contestant(name=library.name, prepare=prepare, flaw=flaw))
    return tuple(found)


def _prepare(library: type[Library], terms: Terms, way: Way) -> Work:
    return way(library(terms))


def on_loop(loop: Callable[[int], Coroutine[Any, Any, object]]) -> Work:
    """Return the work that runs a coroutine function on an asyncio event loop, the same one for everybody."""
    return lambda n: _runner().run(loop(n))


@cache
def _runner() -> asyncio.Runner:
    runner = asyncio.Runner()
    atexit.register(runner.close)
    return runner
