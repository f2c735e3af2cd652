"""The benchmark: `python -m tests.benchmarks`."""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pyperf

from tests.benchmarks import figures, footprint, report, results, timing
from tests.benchmarks.case import OURS, Case
from tests.benchmarks.cases import CASES
from tests.benchmarks.results import Measured, Results, Row


def main() -> None:
    """Measure, print the report and the targets, and write all files into a folder."""
    args = _arguments()
    folder: Path = args.output
    folder.mkdir(parents=True, exist_ok=True)
    raw = folder / "results.json"
    if not args.redraw:
        results.save(_measure(args.rounds, args.only, folder / "timings.json"), raw)
    found = results.load(raw)
    written = [raw]
    for target in [folder, report.PUBLISHED] if args.publish else [folder]:
        written += _write(found, target)
    print(report.render(found), report.render_targets(found), sep="\n", end="")
    _say("written:", ", ".join(map(str, written)))


def _write(found: Results, folder: Path) -> list[Path]:
    """Write the report, the targets and the figures, and return the files."""
    texts = {"report.md": report.render(found), "targets.md": report.render_targets(found)}
    for name, text in texts.items():
        (folder / name).write_text(text, "utf-8")
    return [*(folder / name for name in texts), *figures.draw(found, folder)]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=(
            "Measure what swarmguard costs, compared with doing nothing (the floor) and with other libraries, as far "
            "as they are installed. Prints the report and the targets, and writes them into a folder, together with "
            "the figures (SVG), results.json and pyperf's timings.json. Takes about ten minutes; do not use the "
            "machine for anything else meanwhile."
        ),
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="how often to time each row (default: 5)")
    parser.add_argument("--only", default="", metavar="TEXT", help="only the rows whose name contains TEXT")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("benchmark-results"),
        metavar="FOLDER",
        help="where to write the files (default: benchmark-results, which git ignores)",
    )
    parser.add_argument(
        "--redraw", action="store_true", help="measure nothing; write report and figures from FOLDER/results.json"
    )
    parser.add_argument(
        "--publish", action="store_true", help="also write report, targets and figures into docs/performance"
    )
    return parser.parse_args()


def _measure(rounds: int, only: str, timings: Path) -> Results:
    """Time all cases in each round, then measure what needs no rounds."""
    date = datetime.now(UTC).isoformat(timespec="seconds")
    cases = [case for case in CASES if only in case.name]
    rows = _timed(cases, rounds, timings) if cases else []
    for name in footprint.ROWS:
        if only in name:
            _say(name)
            rows.append(footprint.measure(name))
    packages = {contestant.name for case in CASES for contestant in case.contestants}
    versions = {package: found for package in sorted(packages) if (found := timing.version_of(package))}
    about = {
        "date": date,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "rounds": rounds,
        "versions": {OURS: "of this checkout", **versions},
    }
    return Results(about, rows)


def _timed(cases: list[Case], rounds: int, timings: Path) -> list[Row]:
    """Time each case once a round, each time in a new process, and check each contestant for flaws."""
    suites = []
    for number in range(1, rounds + 1):
        for case in cases:
            _say(f"round {number} of {rounds}: {case.name}")
            timings.unlink(missing_ok=True)  # pyperf does not overwrite it
            subprocess.run([sys.executable, "-m", "tests.benchmarks.timing", case.name, timings], check=True)
            suites.append(pyperf.BenchmarkSuite.load(str(timings)))
    together, *others = suites
    for suite in others:
        together.add_runs(suite)
    together.dump(str(timings), replace=True)
    benchmarks = {benchmark.get_name(): benchmark for benchmark in together}
    return [
        Row(
            name=case.name,
            group=case.group,
            contestants={
                contestant.name: Measured(
                    tuple(round(1e9 * seconds, 2) for seconds in benchmark.get_values()),
                    contestant.flaw and contestant.flaw(),
                )
                for contestant in case.contestants
                if (benchmark := benchmarks.get(timing.label(case, contestant.name)))
            },
            series=case.series,
            size=case.size,
        )
        for case in cases
    ]


def _say(*words: object) -> None:
    """Report progress on stderr, so that stdout holds the report alone."""
    print(*words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
