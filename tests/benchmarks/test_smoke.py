"""The cases of the benchmark do their work, and its report shows the results. Nothing is timed."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import pytest

from tests.benchmarks import footprint, overseer_cases, report, results
from tests.benchmarks.case import BARE, FLOOR, OURS
from tests.benchmarks.cases import CASES
from tests.benchmarks.results import Measured, Results, Row
from tests.benchmarks.targets import TARGETS


def needs(name: str) -> list[pytest.MarkDecorator]:
    """Return the mark that skips a test whose peer is not installed."""
    if name in (FLOOR, BARE, OURS):
        return []
    try:
        version(name)
    except PackageNotFoundError:
        return [pytest.mark.skip(reason="the peers are not installed: pip install --group bench")]
    # Two of them read the time in a way that newer Pythons deprecate.
    return [pytest.mark.filterwarnings("ignore::DeprecationWarning")]


CONTESTS = [
    pytest.param(contestant, id=f"{case.name}: {contestant.name}", marks=needs(contestant.name))
    for case in CASES
    if case.size is None or case.size <= 1_000  # more agents take seconds to register
    for contestant in case.contestants
]


@pytest.mark.parametrize("contestant", CONTESTS)
def test_each_contestant_does_the_work(contestant):
    """Each contestant of each case does its work, and swarmguard has no flaw."""
    contestant.prepare()(2)
    if contestant.flaw is not None:
        flaw = contestant.flaw()
        assert flaw is None or contestant.name != OURS


@pytest.mark.parametrize("name", footprint.ROWS)
def test_footprint_is_measured(name, monkeypatch):
    """Memory and import times are greater than zero."""
    pytest.importorskip("typing_extensions", reason="typing-extensions is not installed: pip install --group bench")
    monkeypatch.setattr(footprint, "IMPORT_ROUNDS", 1)
    monkeypatch.setattr(footprint, "LIBRARIES", (OURS,))
    assert footprint.measure(name).contestants[OURS].median > 0


def test_k_agents_fall_silent_at_each_check():
    """Each check finds the next `k` silent agents, also after all agents have had their turn."""
    work = overseer_cases.check(30, 3)
    assert [work(1), work(9), work(20)] == [3, 27, 60]


def test_needing_restart_has_ten_dead_agents():
    """The case has ten Dead agents, whatever the size of the swarm."""
    for size in (10, 1_000):
        assert len(overseer_cases.spread(overseer_cases.new_ids(size), overseer_cases.DEAD)) == overseer_cases.DEAD


def test_names_of_cases_are_unique():
    """Timings are stored by the name of their case, so the names are unique."""
    names = [case.name for case in CASES]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: f"{target.subject} {target.scale}")
def test_each_target_can_be_read(target):
    """The cases of each target exist, and its contestants take part in them."""
    rows = [
        Row(name=case.name, group="", contestants={its.name: Measured((1.0,)) for its in case.contestants})
        for case in CASES
    ]
    rows += [
        Row(name=name, group="", contestants={FLOOR: Measured((1.0,)), OURS: Measured((1.0,))})
        for name in footprint.ROWS
    ]
    assert target.read(Results({}, rows))[0] <= 1


FLAW = "admits calls while open"
SYNC = Row(
    name="sync call",
    group="Closed circuit",
    contestants={
        FLOOR: Measured((100, 200, 50)),
        OURS: Measured((200, 210, 100)),
        "pybreaker": Measured((800, 2100, 300)),
        "purgatory": Measured((300, 210, 200), FLAW),
        "interlock-cb": Measured((9000, 9000, 9000)),
    },
)
WITH = Row(
    name="with",
    group="Closed circuit",
    contestants={OURS: Measured((1500,) * 3), "purgatory": Measured((1,) * 3, FLAW)},
)
MEMORY = Row(name="memory of an agent", group="Footprint", unit="bytes", contestants={OURS: Measured((601,))})
ABOUT = {"date": "2025-01-31", "python": "3.13.1", "platform": "Linux", "rounds": 3, "versions": {OURS: "0.1.0"}}
FOUND = Results(ABOUT, [SYNC, WITH, MEMORY])


def test_a_ratio_is_the_median_of_ratios():
    """A ratio is not the ratio of the medians, since a slow moment is slow for both contestants."""
    assert SYNC.ratio(OURS, FLOOR) == 2
    assert SYNC.ratio("pybreaker", OURS) == 4
    assert SYNC.contestants[OURS].median == 200


def cells(text):
    """Return the stripped cells of all table rows."""
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]


def test_the_report_shows_times_ratios_and_flaws():
    """Each case is a row; a missing value is a dash, and a flaw that occurs twice has one mark and one note."""
    text = report.render(FOUND)
    assert cells(text)[:4] == [
        ["", "floor", "swarmguard", "to floor", "pybreaker", "purgatory", "interlock-cb"],
        [":" + "-" * 8, *(["-" * width + ":" for width in (5, 9, 7, 8, 8, 11)])],
        ["sync call", "100 ns", "200 ns", "2.00 ×", "4.00 ×", "1.50 × †1", "45.0 ×"],
        ["with", "–", "1.50 µs", "–", "–", "0.00 × †1", "–"],
    ]
    assert text.count(f"†1 purgatory: {FLAW}") == 1
    assert ["memory of an agent", "–", "601 B", "–"] in cells(text)


def test_the_targets_are_compared_with_the_results():
    """The fastest peer is one without a flaw; a faster one with a flaw is named."""
    assert cells(report.render_targets(FOUND))[-6:] == [
        ["sync call", "≤ 1.5 × an empty wrapper", "2.00", "**not reached**"],
        [
            "sync call",
            "≥ 3 × faster than the fastest peer",
            "4.00 (pybreaker; with flawed ones purgatory, 1.50)",
            "reached",
        ],
        ["sync call", "≥ 25 × faster than interlock-cb", "45.0", "reached"],
        ["with", "≤ 3 × nullcontext", "–", "not measured"],
        ["with", "≥ 10 × faster than interlock-cb", "–", "not measured"],
        ["memory of an agent", "≤ 600 bytes", "601", "**not reached**"],
    ]


def test_results_survive_the_file(tmp_path):
    """Loading saved results gives equal results, so the report can be rendered again without measuring."""
    results.save(FOUND, tmp_path / "results.json")
    assert results.load(tmp_path / "results.json") == FOUND


def test_the_published_report_has_the_rows_of_the_benchmark():
    """The report and the targets in the documentation have the rows that a run has now."""
    published = [name for name, *_ in cells((report.PUBLISHED / "report.md").read_text("utf-8"))]
    assert [name for name in published if name and not name.startswith(":-")] == [
        *(case.name for case in CASES),
        *footprint.ROWS,
    ]
    targets = [name for name, *_ in cells((report.PUBLISHED / "targets.md").read_text("utf-8"))]
    assert targets[2:] == [target.subject for target in TARGETS]


def test_figures_are_reproducible_and_keep_their_text(tmp_path):
    """Drawing the same results again gives the same file, with its text as text."""
    figures = pytest.importorskip(
        "tests.benchmarks.figures", reason="matplotlib is not installed", exc_type=ImportError
    )
    [file] = figures.draw(FOUND, tmp_path)
    first = file.read_text("utf-8")
    assert "Cost of a decorated call" in first
    assert "purgatory †" in first
    figures.draw(FOUND, tmp_path)
    assert file.read_text("utf-8") == first


def test_a_case_is_timed_in_turns():
    """Each contestant has the same number of turns, and pyperf accepts the timings."""
    pytest.importorskip("pyperf", reason="pyperf is not installed: pip install --group bench")
    from tests.benchmarks import timing

    case = next(case for case in CASES if case.name == "heartbeat, 10 agents")
    for benchmark in timing.time_case(case):
        assert len(benchmark.get_values()) == timing.TURNS
        assert all(0 < seconds < 1 for seconds in benchmark.get_values())
