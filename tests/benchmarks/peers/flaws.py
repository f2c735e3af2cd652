"""Flaws of a library, found by trying it. Each check makes a new breaker and returns a description, or None."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event, Semaphore
from time import monotonic
from traceback import walk_tb
from typing import Any

import attrs

from tests.benchmarks.peers.libraries import FOR_EVER, NO_TIME, Library, Settings, drive

Call = Callable[[], object]
FlawCheck = Callable[[type[Library], str, Settings], str | None]

CROWD = 10
"""More probes than any of the libraries is meant to admit at once."""

PATIENCE = 0.2
"""Seconds to wait for calls that should be admitted at once."""


def find_flaw(library: type[Library], face: str, settings: Settings, checks: tuple[FlawCheck, ...]) -> str | None:
    """Return the flaws that the checks find in one face of a library, or None."""
    settings = attrs.evolve(settings, threshold=min(settings.threshold, Settings().threshold))  # one that opens
    return "; ".join(filter(None, (check(library, face, settings) for check in checks))) or None


def admits_after_failures(library: type[Library], face: str, settings: Settings) -> str | None:
    """Fail often enough to open the circuit, then call once more."""
    ran = 0

    def body():
        nonlocal ran
        ran += 1
        raise ConnectionError("no route to host")

    call = protect(library(attrs.evolve(settings, open_secs=FOR_EVER)), face, body)
    for _ in range(settings.failures + 1):
        outcome(call)
    return f"admits calls after {settings.failures} failures" if ran > settings.failures else None


def replaces_exceptions(library: type[Library], face: str, settings: Settings) -> str | None:
    """Fail often enough to open the circuit, and compare the exception that arrives with the one that was raised."""
    error = ConnectionError("no route to host")

    def body():
        raise error

    call = protect(library(attrs.evolve(settings, open_secs=FOR_EVER)), face, body)
    for _ in range(settings.failures):
        raised = outcome(call)
        if raised is not error:
            return f"raises {type(raised).__name__} in place of the call's own exception"
    return None


def hoards_tracebacks(library: type[Library], face: str, settings: Settings) -> str | None:
    """Get ten refusals, and compare the length of the first traceback with that of the last."""

    def body():
        raise ConnectionError("no route to host")

    call = protect(library(attrs.evolve(settings, open_secs=FOR_EVER)), face, body)
    for _ in range(settings.failures):
        outcome(call)
    lengths = [len(list(walk_tb(outcome(call).__traceback__))) for _ in range(10)]
    return "raises one exception over and over, with a traceback that grows" if lengths[-1] > lengths[0] else None


def closes_by_late_success(library: type[Library], face: str, settings: Settings) -> str | None:
    """Open the circuit while a call is running, let that call succeed, and call again."""
    breaker = library(attrs.evolve(settings, open_secs=FOR_EVER))
    outside = True

    def body():
        nonlocal outside
        if not outside:
            raise ConnectionError("no route to host")
        outside = False
        for _ in range(settings.failures):
            outcome(call)
        refused.append(isinstance(outcome(call), breaker.refusal))

    refused: list[bool] = []
    call = protect(breaker, face, body)
    outcome(call)
    refused.append(isinstance(outcome(call), breaker.refusal))
    return "a late success closes the open circuit" if refused == [True, False] else None


def runs_one_at_a_time(library: type[Library], face: str, settings: Settings) -> str | None:
    """Call in two threads at once, and check that both run together."""
    return "runs one call at a time" if inside_at_once(library(settings), face, 2) < 2 else None


def admits_any_number_of_probes(library: type[Library], face: str, settings: Settings) -> str | None:
    """Open the circuit, let its open time pass, and count how many of ten simultaneous probes are admitted."""
    breaker = library(attrs.evolve(settings, open_secs=NO_TIME))
    admitted = inside_at_once(breaker, face, CROWD, failures=settings.failures)
    return "admits any number of probes at once" if admitted == CROWD else None


def makes_none(library: type[Library], face: str, settings: Settings) -> str | None:
    """Look up a breaker under a new name."""
    return "makes no breaker for a new name" if library(settings).find("orders") is None else None


def inside_at_once(breaker: Library, face: str, threads: int, *, failures: int = 0) -> int:
    """Let some calls fail first; then call in many threads, and return how many calls ran at the same time."""
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
    """Return a function that calls `body` once through a face of the breaker."""
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
    """Make a call and return the exception it raised, or None."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 - whatever it raises is the answer
        return error
    return None
