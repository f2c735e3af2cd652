"""The figures of the documentation, as SVG that is readable on light and dark pages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from tests.benchmarks.case import FLOOR, OURS
from tests.benchmarks.overseer_cases import GROUP as OVERSEER
from tests.benchmarks.report import times
from tests.benchmarks.results import Results, Row

INK = "#7a7a7a"  # a grey that contrasts equally with white and black
BLUE = "#1b80c4"
STYLE = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "swarmguard",  # the same drawing gives the same file
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": INK,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": "medium",
    "legend.frameon": False,
    "font.size": 10,
}

# After Okabe and Ito: distinguishable with colour blindness.
COLOURS = (BLUE, "#e07b00", "#00a37a", "#cc6fa5", "#56b4e9", "#c8a400", "#9467bd", "#d2432a")
MARKERS = "os^Dvp<>"

Lines = dict[str, list[Row]]
"""The rows of each series, by its name."""

THREADS = "threads, "
"""The prefix of the series over the number of threads."""

FLAWED = "† does something wrong here: see the notes of the report"


def draw(results: Results, folder: Path) -> list[Path]:
    """Draw each figure whose rows were measured, and return the files."""
    figures = {"overhead": overhead, "agents": by_agents, "threads": by_threads}
    files = []
    with mpl.rc_context(STYLE):
        for name, figure_of in figures.items():
            if figure := figure_of(results):
                files.append(folder / f"{name}.svg")
                figure.savefig(files[-1], metadata={"Date": None})
    return files


def overhead(results: Results) -> Figure | None:
    """Draw the cost of a call through a closed circuit as bars, in multiples of an empty wrapper."""
    rows = [row for row in results.rows if row.name in ("sync call", "async call")]
    if not rows:
        return None
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    panels = figure.subplots(1, len(rows), squeeze=False)[0]
    for axes, row in zip(panels, rows, strict=True):
        ratios = {name: row.ratio(name, FLOOR) for name in (OURS, *row.peers)}
        names = sorted(ratios, key=ratios.get, reverse=True)
        bars = axes.barh(
            [_flagged(name, [row]) for name in names],
            [ratios[name] for name in names],
            color=[BLUE if name == OURS else INK for name in names],
        )
        axes.bar_label(bars, [times(ratios[name]) for name in names], padding=4)
        axes.axvline(1, color=INK, linestyle=":")
        axes.set_xlim(0, 1.2 * max(ratios.values()))  # room for the last label
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.tick_params(axis="y", length=0)
        axes.set_title(row.name)
    figure.supxlabel(_caption("Cost of a decorated call, closed circuit; 1 is an empty wrapper", rows), fontsize=10)
    return figure


def by_agents(results: Results) -> Figure | None:
    """Draw the cost of the overseer's methods as lines over the number of agents."""
    lines = _lines(results, lambda row: row.group == OVERSEER)
    if not lines:
        return None
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for (series, rows), colour, marker in zip(lines.items(), COLOURS, MARKERS, strict=False):
        _plot(axes, rows, OURS, label=series, color=colour, marker=marker)
    _set_scales(axes, next(iter(lines.values())))
    axes.set_xlabel("agents")
    axes.set_ylabel("time for one")
    figure.legend(loc="outside right center")
    return figure


def by_threads(results: Results) -> Figure | None:
    """Draw the cost of a call as lines over the number of threads."""
    lines = _lines(results, lambda row: row.series is not None and row.series.startswith(THREADS))
    if not lines:
        return None
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    panels = figure.subplots(1, len(lines), squeeze=False)[0]
    for axes, (series, rows) in zip(panels, lines.items(), strict=True):
        _plot(axes, rows, OURS, label=OURS, color=BLUE, marker="o", linewidth=2.5, zorder=3)
        _plot(axes, rows, FLOOR, label=f"{FLOOR}: a bare call", color=INK, linestyle=":", linewidth=2.5)
        for peer, colour, marker in zip(rows[0].peers, COLOURS[1:], MARKERS[1:], strict=False):
            _plot(axes, rows, peer, label=_flagged(peer, rows), color=colour, marker=marker)
        _set_scales(axes, rows)
        axes.set_title(f"each call: {series.removeprefix(THREADS)}")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center")
    figure.supylabel("time for a call", fontsize=10)
    figure.supxlabel(_caption("threads", [row for rows in lines.values() for row in rows]), fontsize=10)
    return figure


def _lines(results: Results, choose: Callable[[Row], bool]) -> Lines:
    """Return the series of the chosen rows that have at least two points."""
    lines: Lines = defaultdict(list)
    for row in results.rows:
        if row.series is not None and choose(row):
            lines[row.series].append(row)
    return {series: rows for series, rows in lines.items() if len(rows) > 1}


def _plot(axes: Axes, rows: list[Row], contestant: str, **style: object) -> None:
    """Plot the line of one contestant."""
    axes.plot([row.size for row in rows], [row.contestants[contestant].median / 1e9 for row in rows], **style)


def _set_scales(axes: Axes, rows: list[Row]) -> None:
    """Make both axes logarithmic, labelled with sizes and times."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks([row.size for row in rows], [f"{row.size:,}" for row in rows])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(EngFormatter("s"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid()


def _flagged(name: str, rows: list[Row]) -> str:
    """Return the name, with a mark if the contestant has a flaw in one of these rows."""
    return f"{name} †" if any(row.contestants[name].flaw for row in rows) else name


def _caption(text: str, rows: list[Row]) -> str:
    """Return the text, followed by the meaning of the mark if a row has one."""
    flawed = any(measured.flaw for row in rows for measured in row.contestants.values())
    return f"{text}\n{FLAWED}" if flawed else text
