"""Terminal output: prints what happens as it happens, as text or as JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial

import anyio

from swarmguard import Event, EventBus, SystemClock

PATIENCE = 30.0
"""How long the story waits for an expected event, in seconds."""

WORDS = {
    "agent.started": "is registered",
    "agent.failed": "{previous_health} -> {health} ({reason}) {error}",
    "agent.recovered": "is Healthy again ({reason}), restarts so far: {restart_count}",
    "agent.exhausted": "has used up its restarts: {error}",
    "circuit.opened": "{previous_state} -> {state} ({reason}), calls are refused for {open_seconds:g} s",
    "circuit.half_opened": "{previous_state} -> {state} ({reason})",
    "circuit.closed": "{previous_state} -> {state} ({reason})",
    "paused": "agents wait at their next checkpoint",
    "resumed": "agents continue",
}
COLOURS = {"failed": 31, "exhausted": 31, "opened": 31, "half_opened": 33, "paused": 33}  # others are green


class StoryError(Exception):
    """An expected event did not happen."""


class Chronicle:
    """Prints everything that happens, and lets the story wait for it."""

    def __init__(self, bus: EventBus, as_json: bool) -> None:
        self.seen: list[tuple[str, str, str]] = []  # topic, source, reason
        self._events = bus.subscribe("arb.swarm.*", buffer=10_000)
        self._as_json = as_json
        self._colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._began = SystemClock().now()
        self._chapters = 0
        self._chapter_start = 0
        self._stirred = anyio.Event()

    async def listen(self) -> None:
        """Print and record events as they arrive."""
        with self._events:
            async for event in self._events:
                self._show(event)
                self.stir()

    def stir(self) -> None:
        """Make waiting tasks check their conditions again."""
        self._stirred.set()
        self._stirred = anyio.Event()

    async def wait_for(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait until the condition is true.

        Raises:
            StoryError: It is still false after `PATIENCE` seconds.
        """
        with anyio.move_on_after(PATIENCE):
            while not condition():
                await self._stirred.wait()
            return
        raise StoryError(f"waited {PATIENCE:g} s for {what}")

    async def until(self, *wanted: str) -> None:
        """Wait until these events ("topic source reason", the reason is optional) have happened in this chapter."""
        for event in wanted:
            await self.wait_for(f"'{event}'", partial(self._came, tuple(event.split())))

    def count(self, topic: str, reason: str | None = None) -> int:
        """Return the number of events with this topic, and this reason, in the whole story."""
        return sum(seen[0] == topic and reason in (None, seen[2]) for seen in self.seen)

    def chapter(self, text: str) -> None:
        """Begin a chapter."""
        self._catch_up()
        self._chapters += 1
        self._chapter_start = len(self.seen)
        self.say("chapter", f"{self._chapters}. {text}", {"number": self._chapters, "text": text})

    def tell(self, who: str, text: str) -> None:
        """Print a step of the story that has no event of its own."""
        self._catch_up()
        self._write("told", self._line(self._elapsed(), "", who, text), {"who": who, "text": text})

    def say(self, kind: str, text: str, facts: Mapping[str, object]) -> None:
        """Print a text that stands on its own."""
        self._write(kind, f"\n{text}", facts)

    def _catch_up(self) -> None:
        """Print the events that have arrived, so that the lines are in the order of events."""
        for event in self._events.drain():
            self._show(event)

    def _came(self, wanted: tuple[str, ...]) -> bool:
        return any(seen[: len(wanted)] == wanted for seen in self.seen[self._chapter_start :])

    def _show(self, event: Event) -> None:
        topic = event.topic.removeprefix("arb.swarm.")
        facts = {name: "" if value is None else value for name, value in event.payload.items()}
        who = str(facts.get("agent_type") or facts.get("name") or "swarm")
        self.seen.append((topic, who, str(facts.get("reason", ""))))
        elapsed = (event.at - self._began).total_seconds()
        line = self._line(elapsed, topic, who, WORDS.get(topic, "").format(**facts))
        if self._colours:
            line = f"\033[{COLOURS.get(topic.split('.')[-1], 32)}m{line}\033[0m"
        self._write("event", line, event.to_dict(), elapsed)

    def _line(self, elapsed: float, topic: str, who: str, text: str) -> str:
        return f"{elapsed:5.2f} s  {topic:<19}  {who:<11}  {text}".rstrip()

    def _elapsed(self) -> float:
        return (SystemClock().now() - self._began).total_seconds()

    def _write(self, kind: str, text: str, facts: Mapping[str, object], elapsed: float | None = None) -> None:
        if self._as_json:
            moment = round(self._elapsed() if elapsed is None else elapsed, 3)
            text = json.dumps({"kind": kind, "elapsed": moment, **facts})
        print(text, flush=True)
