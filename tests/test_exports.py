"""The public face: its names, its manners, its docstrings."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import swarmguard
import swarmguard.testing

TOP_LEVEL = {
    *("CircuitBreaker", "CircuitBreakerConfig", "CircuitBreakerRegistry", "CircuitState", "BreakerMode"),
    *("Permit", "CallRecord", "ConsecutiveFailures", "FailureRate", "CountWindow", "TimeWindow", "BreakerStatus"),
    *("Overseer", "OverseerConfig", "AgentHandle", "AgentHealth", "AgentStatus", "SwarmHealth", "SwarmStatus"),
    *("Event", "EventBus", "Clock", "SystemClock"),
    *("SwarmGuardError", "CircuitBreakerError", "CircuitOpenError"),
    *("UnknownAgentError", "DuplicateAgentError", "StaleAgentError", "AgentExhaustedError"),
}
TESTING = {"FakeClock", "EventRecorder"}
PUBLIC = [
    *(pytest.param(getattr(swarmguard, name, None), id=name) for name in sorted(TOP_LEVEL)),
    *(pytest.param(getattr(swarmguard.testing, name, None), id=f"testing.{name}") for name in sorted(TESTING)),
]
# The modules that `import swarmguard` may load; any other is an optional one, behind an extra or for tests.
CORE = {"bus", "clock", "errors", "events", "_breaker", "_ground", "_overseer"}


def public_members(cls: type) -> list[tuple[str, object]]:
    """Return what the package's own classes among the bases of `cls` offer under public names."""
    return [
        (name, member.__func__ if isinstance(member, classmethod | staticmethod) else member)
        for base in cls.__mro__
        if base.__module__.startswith("swarmguard")
        for name, member in vars(base).items()
        if not name.startswith("_")
    ]


def test_top_level_names() -> None:
    """The package offers the promised names and no other, and `__all__` says so."""
    assert set(swarmguard.__all__) == TOP_LEVEL
    offered = {name for name in vars(swarmguard) if not name.startswith("_")}
    modules = {name for name in offered if inspect.ismodule(getattr(swarmguard, name))}
    assert offered - modules == TOP_LEVEL
    assert all(getattr(swarmguard, name).__name__ == f"swarmguard.{name}" for name in modules)


def test_testing_names() -> None:
    """`swarmguard.testing` offers its two names."""
    assert set(swarmguard.testing.__all__) == TESTING


def test_import_takes_no_optional_module() -> None:
    """Importing the package loads the core alone: no integration, no helper for tests, nothing of a third party's."""
    show = "import sys, swarmguard; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True).stdout.split()
    assert {name.split(".")[1] for name in loaded if name.startswith("swarmguard.")} <= CORE
    assert not {name.split(".")[0] for name in loaded} & {"pytest", "hypothesis", "trio", "starlette", "httpx"}


def test_package_is_typed() -> None:
    """The package carries the marker by which type checkers read its annotations."""
    assert Path(swarmguard.__file__).with_name("py.typed").is_file()


@pytest.mark.parametrize("public", PUBLIC)
def test_every_public_object_is_documented(public: type) -> None:
    """Every public class, and everything that it offers, has a docstring of its own."""
    undocumented = [
        name
        for name, member in public_members(public)
        if (inspect.isfunction(member) or isinstance(member, property)) and not inspect.getdoc(member)
    ]
    assert vars(public).get("__doc__")
    assert undocumented == []


@pytest.mark.parametrize("public", PUBLIC)
def test_every_public_object_lives_where_it_is_imported_from(public: type) -> None:
    """A repr, a traceback or a pickle names a module of this package that can be imported."""
    assert getattr(sys.modules[public.__module__], public.__qualname__) is public
