"""The pytest plugin in test runs of users."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import swarmguard.pytest_plugin
import swarmguard.testing

pytest_plugins = ["pytester"]

# The runs within this process drop the modules that they were the first to load; so none of ours may be.
for name in swarmguard.__all__:
    getattr(swarmguard, name)


@pytest.fixture
def run(pytester: pytest.Pytester):
    """Return a function that runs a file of tests with strict markers and warnings as errors."""

    def run(tests: str, conftest: str = "") -> pytest.RunResult:
        pytester.makeconftest(conftest)
        pytester.makepyfile(tests)
        return pytester.runpytest_inprocess(
            "-q", "--strict-markers", "-W", "error", "-p", "no:cacheprovider", "-p", "no:langsmith_plugin"
        )

    return run


def test_the_entry_point_is_loaded(request: pytest.FixtureRequest) -> None:
    """Pytest finds the plugin by its entry point."""
    assert request.config.pluginmanager.get_plugin("swarmguard") is swarmguard.pytest_plugin


def test_fixtures(run) -> None:
    """The registry's breakers use the fake clock and send their events to the recorder."""
    result = run(
        """
        from swarmguard import CircuitState

        def test_it(fake_clock, event_recorder, breaker_registry):
            breaker = breaker_registry.get_or_create("jupiter")
            breaker.trip()
            fake_clock.advance(30)
            with breaker.acquire():
                assert breaker.state is CircuitState.HALF_OPEN
            assert event_recorder.topics == ["arb.swarm.circuit.opened", "arb.swarm.circuit.half_opened"]
        """
    )
    result.assert_outcomes(passed=1)


def test_each_test_has_its_own_fixtures(run) -> None:
    """The fixtures of one test do not affect the next."""
    result = run(
        """
        import pytest

        @pytest.mark.parametrize("turn", [1, 2])
        def test_it(turn, fake_clock, event_recorder, breaker_registry, open_circuit):
            assert (fake_clock.monotonic(), event_recorder.events, len(breaker_registry)) == (0, [], 0)
            open_circuit("jupiter")
            fake_clock.advance(1)
        """
    )
    result.assert_outcomes(passed=2)


def test_the_marker_opens_circuits(run) -> None:
    """The marker opens circuits, through classes and several markers, with or without the registry fixture."""
    result = run(
        """
        import pytest
        from swarmguard import CircuitOpenError

        @pytest.mark.open_circuit("solana")
        class TestThem:
            @pytest.mark.open_circuit("jupiter", "birdeye")
            def test_it(self, breaker_registry):
                for name in ("jupiter", "birdeye", "solana"):
                    with pytest.raises(CircuitOpenError) as caught:
                        breaker_registry.get(name).acquire()
                    assert caught.value.reason == "open"

            def test_another(self):
                pass

        def test_without(breaker_registry):
            assert len(breaker_registry) == 0
        """
    )
    result.assert_outcomes(passed=3)


@pytest.mark.parametrize(
    ("arguments", "got"), [("", "()"), ("7", "(7)"), ("''", "('')"), ("'a', seconds=3", "('a', seconds=3)")]
)
def test_a_wrong_marker(run, arguments: str, got: str) -> None:
    """A marker with wrong arguments is an error with what is allowed and what was given."""
    result = run(f"import pytest\n@pytest.mark.open_circuit({arguments})\ndef test_it(): pass")
    result.assert_outcomes(errors=1)
    assert f"the marker open_circuit takes one or more names of circuits, non-empty str, got {got}" in str(
        result.stdout
    )


def test_open_circuit_opens_any_breaker(run) -> None:
    """The fixture `open_circuit` opens a breaker of the program and resets it after the test."""
    result = run(
        """
        import pytest
        from swarmguard import CircuitBreaker, CircuitOpenError, CircuitState

        BREAKER = CircuitBreaker("module level")

        def test_it(open_circuit, fake_clock):
            assert open_circuit(BREAKER) is BREAKER
            with pytest.raises(CircuitOpenError):
                BREAKER.acquire()
            assert open_circuit("jupiter", 5).retry_after == 5

        def test_after():
            assert BREAKER.state is CircuitState.CLOSED
            assert BREAKER.status().openings == 0
        """
    )
    result.assert_outcomes(passed=2)


def test_an_overridden_registry(run) -> None:
    """The marker uses a `breaker_registry` that a conftest overrides."""
    result = run(
        """
        import pytest
        import conftest

        @pytest.mark.open_circuit("jupiter")
        def test_it():
            assert conftest.REGISTRY.get("jupiter").state == "Open"

        def test_after():
            assert conftest.REGISTRY.get("jupiter").state == "Closed"
        """,
        """
        import pytest
        from swarmguard import CircuitBreakerRegistry

        REGISTRY = CircuitBreakerRegistry()

        @pytest.fixture
        def breaker_registry():
            return REGISTRY
        """,
    )
    result.assert_outcomes(passed=2)


def test_marked_circuits_open_at_the_start_of_the_test(run) -> None:
    """The marker opens its circuits after fixtures of a wider scope are set up, and before the test's own fixtures."""
    result = run(
        """
        import pytest

        @pytest.fixture(scope="session", autouse=True)
        def service():
            assert REGISTRY.get("weather") is None

        @pytest.fixture(autouse=True)
        def client(service):
            return [str(breaker.state) for breaker in REGISTRY]

        @pytest.mark.open_circuit("weather")
        def test_it(client):
            assert client == ["Open"]

        from conftest import REGISTRY
        """,
        """
        import pytest
        from swarmguard import CircuitBreakerRegistry

        REGISTRY = CircuitBreakerRegistry()

        @pytest.fixture
        def breaker_registry():
            return REGISTRY
        """,
    )
    result.assert_outcomes(passed=1)


def test_markers_of_parameters_hooks_and_test_cases(run) -> None:
    """The marker works on a single parameter, when a hook adds it, and on a method of a `unittest.TestCase`."""
    result = run(
        """
        import unittest
        import pytest
        from conftest import opened

        @pytest.mark.parametrize(
            "names", [[], pytest.param(["weather"], marks=pytest.mark.open_circuit("weather")), ["maps"], []]
        )
        def test_parameters(names):
            assert opened() == names

        class TestCase(unittest.TestCase):
            @pytest.mark.open_circuit("weather")
            def test_marked(self):
                assert opened() == ["weather"]

            def test_unmarked(self):
                assert opened() == []
        """,
        """
        import pytest
        from swarmguard import CircuitBreakerRegistry

        REGISTRY = CircuitBreakerRegistry()

        def opened():
            return [breaker.name for breaker in REGISTRY if breaker.state == "Open"]

        @pytest.fixture
        def breaker_registry():
            return REGISTRY

        def pytest_collection_modifyitems(items):
            items[2].add_marker(pytest.mark.open_circuit("maps"))
        """,
    )
    result.assert_outcomes(passed=6)


def test_an_unmarked_test_uses_no_fixture_of_the_plugin(run) -> None:
    """The plugin adds a fixture to the tests that have the marker, and to no other test."""
    result = run(
        """
        import pytest

        def test_unmarked(request):
            assert not {"open_circuit", "breaker_registry"} & set(request.fixturenames)
            assert "_marked_circuits" not in request.fixturenames
        """
    )
    result.assert_outcomes(passed=1)


def loaded_by_pytest(tmp_path: Path, *options: str) -> set[str]:
    """Return the modules that pytest has imported when it runs a project's conftest."""
    tmp_path.joinpath("conftest.py").write_text("import sys\nprint('loaded:', *sys.modules)\n")
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:anyio", "-p", "no:hypothesispytest", *options]
    output = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout
    return set(next(line for line in output.splitlines() if line.startswith("loaded:")).split())


def test_imports_at_the_start(tmp_path: Path) -> None:
    """At pytest's start, the plugin imports only itself."""
    more = loaded_by_pytest(tmp_path) - loaded_by_pytest(tmp_path, "-p", "no:swarmguard")
    assert more == {"swarmguard", "swarmguard.pytest_plugin"}


def test_coverage(tmp_path: Path) -> None:
    """Coverage measures a package that uses swarmguard from its first line."""
    tmp_path.joinpath("farm.py").write_text(
        "from swarmguard import CircuitBreaker\n\n\nclass Farm:\n    breaker = CircuitBreaker('jupiter')\n\n"
        "    def trade(self):\n        with self.breaker:\n            return 42\n"
    )
    tmp_path.joinpath("test_farm.py").write_text(
        "import farm\n\n\ndef test_trade(breaker_registry):\n    assert farm.Farm().trade() == 42\n"
    )
    for command in ("run --source=farm -m pytest -q -p no:cacheprovider", "report --fail-under=100"):
        result = subprocess.run(
            [sys.executable, "-m", "coverage", *command.split()],
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", "COVERAGE_FILE": str(tmp_path / "data")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr
