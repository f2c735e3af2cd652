"""Draw the pictures of the documentation.

    python docs/diagrams.py            list the pictures that are out of date
    python docs/diagrams.py --write    write all of them to docs/pictures

The state diagrams are drawn from the transition tables that the code uses, and the timeline is a recording of a breaker
on a fake clock. tests/test_diagrams.py fails when a file differs from what this script draws, so the pictures cannot
drift apart from the code.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import groupby, pairwise
from pathlib import Path
from typing import NamedTuple

from drawing import Picture

from swarmguard import (
    AgentHealth,
    CallRecord,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitOpenError,
    CircuitState,
    Event,
)
from swarmguard._breaker.machine import TRANSITIONS as CIRCUIT_TRANSITIONS
from swarmguard._overseer.machine import TRANSITIONS as HEALTH_TRANSITIONS
from swarmguard.testing import FakeClock

FOLDER = Path(__file__).with_name("pictures")

CLOSED, OPEN, HALF_OPEN = CircuitState
HEALTHY, DEGRADED, UNHEALTHY, DEAD = AgentHealth

Arrows = Mapping[tuple[str, str], tuple[str, ...]]
"""The labels of the arrow from one state to another."""


def arrows(moves: Iterable[tuple[str, str, str]]) -> Arrows:
    """Return one arrow for each pair of states, with the labels of all moves (from, to, label) between the two."""
    labels: dict[tuple[str, str], list[str]] = {}
    for before, after, label in moves:
        labels.setdefault((before, after), []).append(label)
    return {pair: tuple(found) for pair, found in labels.items()}


def circuit_arrows() -> Arrows:
    """Return the transitions of a circuit; the labels are the events' `reason`."""
    return arrows((before, after, trigger) for (before, trigger), after in CIRCUIT_TRANSITIONS.items())


def health_arrows() -> Arrows:
    """Return the transitions of an agent's health; the labels are the causes.

    The label of a transition without an event is in parentheses. One that leads from a state to itself without an event
    is left out.
    """
    return arrows(
        (before, after, cause if event else f"({cause})")
        for cause, moves in HEALTH_TRANSITIONS.items()
        for before, followers in moves.items()
        for after, event in followers.items()
        if event or before is not after
    )


class Route(NamedTuple):
    """Where an arrow of a state diagram runs: its path, and the place of its label.

    Arrows to the same state may run together: they have the same place for their label, which is drawn once.
    """

    path: str
    at: tuple[int, int]
    anchor: str = "middle"
    in_one_line: bool = False


def draw_arrows(picture: Picture, found: Arrows, routes: Mapping[tuple[str, str], Route]) -> None:
    """Draw every arrow along its route.

    Raises:
        ValueError: The layout does not fit the table: a route is missing or left over, or arrows that share the place
            of their label have different ones.
    """
    if found.keys() != routes.keys():
        pairs = ", ".join(f"{before} -> {after}" for before, after in sorted(found.keys() ^ routes.keys()))
        raise ValueError(f"the routes in {Path(__file__).name} do not fit the transition table: see {pairs}")
    labelled: dict[tuple[int, int], tuple[str, str]] = {}
    for pair, route in routes.items():
        shared = labelled.setdefault(route.at, pair)
        if found[shared] != found[pair]:
            raise ValueError(
                f"the arrows {' -> '.join(shared)} and {' -> '.join(pair)} share a label, but not its text: give each"
                f" a label of its own, {found[shared]} and {found[pair]}"
            )
        silent = all(label.startswith("(") for label in found[pair])
        picture.arrow(route.path, "s-muted dashed" if silent else "s-muted")
    for at, pair in labelled.items():
        lines = [", ".join(found[pair])] if routes[pair].in_one_line else found[pair]
        picture.label(*at, lines, anchor=routes[pair].anchor)


def sentences(found: Arrows) -> str:
    """Return the arrows as text, for readers who do not see them."""
    return " ".join(f"{before} to {after}: {', '.join(labels)}." for (before, after), labels in found.items())


def state(picture: Picture, x: int, y: int, name: str, colour: str, note: str = "", width: int = 150) -> None:
    """Draw a state around its middle."""
    picture.box(x - width / 2, y - 30, width, 60, f"f-{colour}-tint s-{colour} thin", radius=12)
    picture.text(x, y - 2 if note else y + 6, name, "f-ink bold")
    if note:
        picture.text(x, y + 18, note, "f-muted small")


def circuit() -> Picture:
    """Draw the states of a circuit."""
    found = circuit_arrows()
    picture = Picture(760, 384, "The states of a circuit", sentences(found))
    routes = {
        (CLOSED, CLOSED): Route("M142 70C128 28 184 28 170 70", (156, 28)),
        (CLOSED, OPEN): Route("M232 90H526", (380, 62)),
        (OPEN, CLOSED): Route("M528 116H234", (380, 138)),
        (OPEN, OPEN): Route("M590 70C576 28 632 28 618 70", (604, 28)),
        (OPEN, HALF_OPEN): Route("M622 134C620 220 560 294 467 312", (610, 240), "start"),
        (HALF_OPEN, OPEN): Route("M426 285 552 135", (470, 196), "end"),
        (HALF_OPEN, CLOSED): Route("M294 312C200 294 140 220 138 134", (146, 240), "end"),
    }
    draw_arrows(picture, found, routes)
    picture.circle(30, 102, 6, "f-muted")
    picture.arrow("M36 102H78")
    state(picture, 156, 102, "Closed", "good", "calls run")
    state(picture, 604, 102, "Open", "bad", "calls are refused", width=156)
    state(picture, 380, 316, "Half-open", "warn", "a few probes run", width=172)
    return picture


def health() -> Picture:
    """Draw the health of an agent."""
    found = health_arrows()
    picture = Picture(760, 320, "The health of an agent", sentences(found))
    dead, partly, better = (380, 36), (573, 84), (380, 298)
    routes = {
        (HEALTHY, HEALTHY): Route("M70 211C78 246 30 246 38 213", (54, 258)),
        (HEALTHY, DEGRADED): Route("M128 180H216", (172, 170)),
        (HEALTHY, DEAD): Route("M96 150V56Q96 46 106 46H694Q704 46 704 56V148", dead, in_one_line=True),
        (DEGRADED, HEALTHY): Route("M270 210V264Q270 274 260 274H116Q106 274 106 264V212", better, in_one_line=True),
        (DEGRADED, UNHEALTHY): Route("M322 180H410", (366, 170)),
        (DEGRADED, DEAD): Route("M252 150V56Q252 46 262 46H694Q704 46 704 56V148", dead, in_one_line=True),
        (UNHEALTHY, HEALTHY): Route("M464 210V264Q464 274 454 274H116Q106 274 106 264V212", better, in_one_line=True),
        (UNHEALTHY, DEAD): Route("M516 190H630", (573, 142)),
        (DEAD, HEALTHY): Route("M684 210V264Q684 274 674 274H116Q106 274 106 264V212", better, in_one_line=True),
        (DEAD, DEGRADED): Route("M664 150V104Q664 94 654 94H298Q288 94 288 104V148", partly),
        (DEAD, UNHEALTHY): Route("M664 150V104Q664 94 654 94H474Q464 94 464 104V148", partly),
    }
    draw_arrows(picture, found, routes)
    picture.circle(52, 104, 6, "f-muted")
    picture.arrow("M52 110V148")
    for x, name, colour in (
        (76, HEALTHY, "good"),
        (270, DEGRADED, "warn"),
        (464, UNHEALTHY, "warn"),
        (684, DEAD, "bad"),
    ):
        state(picture, x, 180, name.value, colour, width=104)
    return picture


class Call(NamedTuple):
    """A call in the timeline."""

    at: float
    outcome: str
    probe: bool


class Stay(NamedTuple):
    """One stay of the timeline's circuit in a state."""

    state: CircuitState
    begin: float
    end: float


STEP = 6.0
"""The seconds from one call of the timeline to the next."""
DOWN = (12.0, 54.0)
"""The moments between which the service is down."""
END = 84.0


def recording() -> tuple[list[Call], list[Stay]]:
    """Run a breaker on a fake clock while its service goes down and comes back; return what happened."""
    clock = FakeClock()
    records: list[CallRecord] = []
    moves: list[tuple[CircuitState, float]] = [(CLOSED, 0.0)]

    def sink(event: Event) -> None:
        moves.append((CircuitState(str(event.payload["state"])), clock.monotonic()))

    config = CircuitBreakerConfig(failure_threshold=3)
    breaker = CircuitBreaker("weather", config, clock=clock, sink=sink, observer=records.append)
    probes: list[float] = []

    def service() -> None:
        if breaker.state is HALF_OPEN:
            probes.append(clock.monotonic())
        if DOWN[0] <= clock.monotonic() < DOWN[1]:
            raise ConnectionError("no answer")

    calls = []
    clock.advance(STEP / 2)
    while clock.monotonic() < END:
        with suppress(ConnectionError, CircuitOpenError):
            breaker.call(service)
        calls.append(Call(clock.monotonic(), records[-1].outcome, clock.monotonic() in probes))
        clock.advance(STEP)
    moves.append((breaker.state, END))
    return calls, [Stay(state, begin, end) for (state, begin), (_, end) in pairwise(moves)]


INKS = {"success": "f-good", "failure": "f-bad", "refused": "f-muted", "probe": "f-accent"}
LOOKS = {CLOSED: ("closed", "good"), OPEN: ("open", "bad"), HALF_OPEN: ("half-open", "warn")}


def mark(picture: Picture, x: float, y: float, outcome: str) -> None:
    """Draw how a call ended, each outcome in a shape of its own."""
    if outcome == "success":
        picture.circle(x, y, 7.5, "f-good")
    elif outcome == "failure":
        picture.path(f"M{x - 6} {y - 6}l12 12m0-12l-12 12", "s-bad thick")
    else:
        picture.circle(x, y, 7, "line s-muted")
        picture.path(f"M{x - 5} {y + 5}l10-10", "s-muted")


def timeline() -> Picture:
    """Draw a circuit over time, with the calls that came and the service that they were for."""
    calls, stays = recording()
    refused = sum(call.outcome == "refused" for call in calls)
    probes = sum(call.probe for call in calls)
    failures = sum(call.outcome == "failure" for call in calls)
    picture = Picture(
        760,
        272,
        "A circuit over time",
        f"The service goes down. {failures} calls fail, and the circuit opens. While it is open, for 30 seconds,"
        f" {refused} calls are refused and do not reach the service. Then it is half-open: {probes} probes reach the"
        " service and succeed, and the circuit is closed again.",
    )
    left, scale = 86, 660 / END

    def x(at: float) -> float:
        return round(left + at * scale, 1)

    top, band, service = 62, 104, 206
    for title, y in (("calls", top + 5), ("circuit", band + 27), ("service", service + 24)):
        picture.text(left - 12, y, title, "f-muted", "end")
    for call in calls:
        ran = call.outcome != "refused"
        picture.path(f"M{x(call.at)} {top + 14}V{service - 2 if ran else band - 6}", "s-muted thin")
        if not ran:
            picture.path(f"M{x(call.at) - 6} {band - 6}h12", "s-muted")
        mark(picture, x(call.at), top, call.outcome)
        if call.probe:
            picture.circle(x(call.at), top, 12.5, "line s-accent")
    for state, begin, end in stays:
        name, colour = LOOKS[state]
        picture.box(x(begin) + 1, band, x(end) - x(begin) - 2, 44, f"f-{colour}-tint s-{colour} thin", radius=6)
        picture.text((x(begin) + x(end)) / 2, band + 27, name, "f-ink bold")
        if state is OPEN:
            middle = (x(begin) + x(end)) / 2
            picture.arrow(f"M{middle - 24} {band + 73}H{x(begin) + 8}")
            picture.arrow(f"M{middle + 24} {band + 73}H{x(end) - 8}")
            picture.text(middle, band + 78, f"{end - begin:g} s")
    for begin, end, up in ((0, DOWN[0], True), (*DOWN, False), (DOWN[1], END, True)):
        colour = "good" if up else "bad"
        picture.box(x(begin) + 1, service, x(end) - x(begin) - 2, 38, f"f-box s-{colour} thin", radius=6)
        picture.text((x(begin) + x(end)) / 2, service + 24, "up" if up else "down")
    for kind, group in groupby(calls, lambda call: "probe" if call.probe else call.outcome):
        found = list(group)
        words = {"failure": "failures", "refused": "refused at once", "probe": "probes"}
        text = f"{len(found)} {words[kind]}" if kind in words else kind
        picture.text((x(found[0].at) + x(found[-1].at)) / 2, 32, text, INKS[kind])
    return picture


def part(picture: Picture, x: float, y: float, width: float, name: str, note: str, colour: str = "accent") -> None:
    """Draw one object of a program."""
    picture.box(x, y, width, 54, f"f-{colour}-tint s-{colour} thin")
    picture.text(x + width / 2, y + 24, name, "f-ink bold")
    picture.text(x + width / 2, y + 43, note, "f-muted small")


def group(picture: Picture, x: float, y: float, width: float, height: float, name: str) -> None:
    """Draw the frame around things that belong together."""
    picture.box(x, y, width, height, "f-box s-muted line thin dashed", radius=12)
    picture.text(x + 14, y + 24, name, "f-muted", "start")


def host() -> Picture:
    """Draw how the parts fit together in a program."""
    picture = Picture(
        760,
        452,
        "How the parts fit together",
        "In your process, a task group runs the agents. Agents call services through breakers, which a registry holds."
        " Agents report heartbeats, successes and failures to the overseer, which restarts them. The overseer and the"
        " breakers read one clock and send events to one sink.",
    )
    picture.text(20, 30, "your process", "f-muted", "start")
    picture.box(16, 42, 552, 394, "line s-muted", radius=14)
    part(picture, 36, 62, 196, "Overseer", "health and restarts")
    part(picture, 352, 62, 196, "Event sink", "log, metrics, your code", "warn")
    group(picture, 36, 192, 196, 168, "task group")
    group(picture, 352, 192, 196, 168, "registry")
    for number, (agent, breaker, service) in enumerate(
        (("Forecaster", "weather", "weather API"), ("Assistant", "llm", "LLM provider"))
    ):
        y = 226 + 66 * number
        part(picture, 50, y, 168, agent, "agent", "good")
        part(picture, 366, y, 168, breaker, "circuit breaker")
        picture.arrow(f"M220 {y + 27}H362")
        picture.label(291, y + 20, ["call"], "f-ink")
        picture.arrow(f"M536 {y + 27}H612")
        picture.box(616, y + 4, 128, 46, "f-box s-muted thin", radius=23)
        picture.text(680, y + 32, service)
    picture.arrow("M86 190V120")
    picture.label(94, 141, ["heartbeat", "success", "failure"], "f-ink small", "start")
    picture.arrow("M212 118V188")
    picture.label(220, 159, ["restart"], "f-ink small", "start")
    picture.arrow("M234 89H348")
    picture.label(291, 82, ["events"], "f-ink small")
    picture.arrow("M450 190V120")
    picture.label(458, 160, ["events"], "f-ink small", "start")
    picture.box(36, 376, 512, 44, "f-box s-muted thin")
    picture.text(292, 404, "clock, read by the overseer and the breakers")
    return picture


PICTURES = {"timeline": timeline, "host": host, "circuit": circuit, "health": health}


def drawings(folder: Path = FOLDER) -> Mapping[Path, str]:
    """Return the text of every picture by its file."""
    return {folder / f"{name}.svg": str(draw()) for name, draw in PICTURES.items()}


def main(arguments: list[str], folder: Path = FOLDER) -> int:
    """List the pictures that are out of date, or write all pictures; return the exit status."""
    if arguments not in ([], ["--write"]):
        sys.stderr.write(f"usage: {Path(__file__).name} [--write]\n")
        return 2
    status = 0
    for file, text in drawings(folder).items():
        if arguments:
            file.write_text(text, encoding="utf-8")
        elif not file.exists() or file.read_text(encoding="utf-8") != text:
            sys.stdout.write(f"{file.name} is out of date\n")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
