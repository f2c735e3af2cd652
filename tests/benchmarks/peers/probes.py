"""What a library does wrong, found by trying it. Each probe makes a breaker anew and returns a phrase, or None."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event, Semaphore
from time import monotonic
from traceback import walk_tb
from typing import Any

import attrs

from tests.benchmarks.peers.libraries import FOR_EVER, NO_TIME, Library, Terms, drive

Call = Callable[[], object]
Probe = Callable[[type[Library], str, Terms], str | None]

CROWD = 10
"""More test calls than any of the libraries means to admit at once."""

PATIENCE = 0.2
"""For how many seconds somebody waits who should not have to wait at all."""


def find_flaw(library: type[Library], face: str, terms: Terms, probes: tuple[Probe, ...]) -> str | None:
    """Return what the probes find in one face of a library, or None."""
    terms = attrs.evolve(terms, threshold=min(terms.threshold, Terms().threshold))  # it must open to be tried
    return "; ".join(filter(None, (probe(library, face, terms) for probe in probes))) or None


def admits_after_failures(library: type[Library], face: str, terms: Terms) -> str | None:
    """Fail as often as it takes to open the circuit, and call once more."""
    ran = 0

    def body():
        nonlocal ran
        ran += 1
        raise ConnectionError("no route to host")

    call = protect(library(attrs.evolve(terms, open_secs=FOR_EVER)), face, body)
    for _ in range(terms.failures + 1):
        outcome(call)
    return f"admits calls after {terms.failures} failures" if ran > terms.failures else None


def replaces_exceptions(library: type[Library], face: str, terms: Terms) -> str | None:
    """Fail as often as it takes to open the circuit, and compare what comes out with what went in."""
    error = ConnectionError("no route to host")

    def body():
        raise error

    call = protect(library(attrs.evolve(terms, open_secs=FOR_EVER)), face, body)
    for _ in range(terms.failures):
        raised = outcome(call)
        if raised is not error:
            return f"raises {type(raised).__name__} in place of the call's own exception"
    return None


def hoards_tracebacks(library: type[Library], face: str, terms: Terms) -> str | None:
    """Be refused ten times, and compare the length of the first traceback with that of the last."""

    def body():
        raise ConnectionError("no route to host")

    call = protect(library(attrs.evolve(terms, open_secs=FOR_EVER)), face, body)
    for _ in range(terms.failures):
        outcome(call)
    lengths = [len(list(walk_tb(outcome(call).__traceback__))) for _ in range(10)]
    return "raises one exception over and over, with a traceback that grows" if lengths[-1] > lengths[0] else None


def closes_by_late_success(library: type[Library], face: str, terms: Terms) -> str | None:
    """Let the circuit open while a call is under way, let that call succeed, and call again."""
    breaker = library(attrs.evolve(terms, open_secs=FOR_EVER))
    outside = True

    def body():
        nonlocal outside
        if not outside:
            raise ConnectionError("no route to host")
        outside = False
        for _ in range(terms.failures):
            outcome(call)
        refused.append(isinstance(outcome(call), breaker.refusal))

    refused: list[bool] = []
    call = protect(breaker, face, body)
    outcome(call)
    refused.append(isinstance(outcome(call), breaker.refusal))
    return "a late success closes the open circuit" if refused == [True, False] else None


def runs_one_at_a_time(library: type[Library], face: str, terms: Terms) -> str | None:
    """Call in two threads at once, and see whether both get in."""
    return "runs one call at a time" if inside_at_once(library(terms), face, 2) < 2 else None


def admits_any_test_calls(library: type[Library], face: str, terms: Terms) -> str | None:
    """Open the circuit, let its open time pass, and see how many of a crowd of test calls get in together."""
    breaker = library(attrs.evolve(terms, open_secs=NO_TIME))
    admitted = inside_at_once(breaker, face, CROWD, failures=terms.failures)
    return "admits any number of test calls at once" if admitted == CROWD else None


def makes_none(library: type[Library], face: str, terms: Terms) -> str | None:
    """Look for a breaker by a name that is new."""
    return "makes no breaker for a new name" if library(terms).find("orders") is None else None


def inside_at_once(breaker: Library, face: str, threads: int, *, failures: int = 0) -> int:
    """Let some calls fail first; then call in many threads, and return how many calls were under way together."""
    inside: list[object] = []
    settled, leave = Semaphore(0), Event()

    def body():
        nonlocal failures
        if failures:
            failures -= 1
            raise ConnectionError("no route to host")
        inside.append(body)
        settled.release()
        leave.wait()

    def one():
        outcome(call)
        settled.release()

    call = protect(breaker, face, body)
    for _ in range(failures):
        outcome(call)
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(threads):
            pool.submit(one)
        deadline = monotonic() + PATIENCE
        for _ in range(threads):
            settled.acquire(timeout=max(0.0, deadline - monotonic()))
        together = len(inside)
        leave.set()
    return together


def protect(breaker: Library, face: str, body: Call) -> Call:
    """Return what makes one call of `body` through a face of the breaker."""
    match face:
        case "function":
            return breaker.function(body)
        case "caller":
            return partial(breaker.caller, body)
        case "generator":

            def items():
                yield body()

            guarded = breaker.generator(items)
            return lambda: list(guarded())
        case "block" | "new_block":

            def call():
                with breaker.block if face == "block" else breaker.new_block():
                    body()

            return call
    start = _protect_async(breaker, face, body)
    return lambda: drive(start())


def _protect_async(breaker: Library, face: str, body: Call) -> Callable[[], Coroutine[Any, Any, object]]:
    async def service():
        return body()

    match face:
        case "coroutine":
            return breaker.coroutine(service)
        case "executor":
            return partial(breaker.executor, service)
        case "async_generator":

            async def items():
                yield body()

            guarded = breaker.async_generator(items)

            async def call():
                async for _ in guarded():
                    pass

        case "async_block" | "new_async_block":

            async def call():
                async with breaker.async_block if face == "async_block" else await breaker.new_async_block():
                    body()

    return call


def outcome(call: Call) -> Exception | None:
    """Make a call and return what it raised, or None."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 - whatever it raises is the answer
        return error
    return None
