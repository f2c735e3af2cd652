"""The public names and their docstrings."""

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
# The modules that `import swarmguard` may load; all others are behind an extra, or for tests.
CORE = {"bus", "circuit", "clock", "errors", "events", "_breaker", "_common", "_overseer"}


def public_members(cls: type) -> list[tuple[str, object]]:
    """Return the public members of `cls` that the package's own classes define."""
    return [
        (name, member.__func__ if isinstance(member, classmethod | staticmethod) else member)
        for base in cls.__mro__
        if base.__module__.startswith("swarmguard")
        for name, member in vars(base).items()
        if not name.startswith("_")
    ]


def loaded_by(statement: str) -> list[str]:
    """Return the modules that a new interpreter has loaded after the statement."""
    show = f"import sys; {statement}; print(*sys.modules)"
    return subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True).stdout.split()


def test_top_level_names() -> None:
    """The package offers the promised names and no others, in `__all__` too."""
    assert set(swarmguard.__all__) == TOP_LEVEL
    assert set(dir(swarmguard)) == TOP_LEVEL
    for name in TOP_LEVEL:
        getattr(swarmguard, name)
    # pytest adds names with an `@` to the modules of plugins.
    loaded = {name: value for name, value in vars(swarmguard).items() if not name.startswith(("_", "@"))}
    modules = {name: value for name, value in loaded.items() if inspect.ismodule(value)}
    assert set(loaded) - set(modules) - {"TYPE_CHECKING"} == TOP_LEVEL
    assert all(module.__name__ == f"swarmguard.{name}" for name, module in modules.items())
    with pytest.raises(AttributeError, match="module 'swarmguard' has no attribute 'CircuitBraker'"):
        swarmguard.CircuitBraker  # noqa: B018 - reading it is the test


def test_testing_names() -> None:
    """`swarmguard.testing` offers its two names."""
    assert set(swarmguard.testing.__all__) == TESTING


def test_import_takes_no_optional_module() -> None:
    """Importing the package loads the core only: no integration, no test helper, no optional library."""
    loaded = loaded_by("from swarmguard import *")
    assert {name.split(".")[1] for name in loaded if name.startswith("swarmguard.")} <= CORE
    assert not {name.split(".")[0] for name in loaded} & {"pytest", "hypothesis", "trio", "starlette", "httpx"}


def test_names_are_loaded_when_they_are_asked_for() -> None:
    """`import swarmguard` loads no module, and a breaker loads neither the overseer nor an event loop."""
    assert not [name for name in loaded_by("import swarmguard") if name.startswith("swarmguard.")]
    loaded = loaded_by("from swarmguard import CircuitBreaker, CircuitBreakerRegistry, CircuitOpenError")
    assert not [name for name in loaded if name.startswith(("swarmguard._overseer", "asyncio", "logging", "random"))]


def test_package_is_typed() -> None:
    """The package has the marker that makes type checkers read its annotations."""
    assert Path(swarmguard.__file__).with_name("py.typed").is_file()


@pytest.mark.parametrize("public", PUBLIC)
def test_every_public_object_is_documented(public: type) -> None:
    """Every public class and public member has a docstring of its own."""
    undocumented = [
        name
        for name, member in public_members(public)
        if (inspect.isfunction(member) or isinstance(member, property)) and not inspect.getdoc(member)
    ]
    assert vars(public).get("__doc__")
    assert undocumented == []


@pytest.mark.parametrize("public", PUBLIC)
def test_every_public_object_lives_where_it_is_imported_from(public: type) -> None:
    """A repr, a traceback or a pickle names a module from which the object can be imported."""
    assert getattr(sys.modules[public.__module__], public.__qualname__) is public
