"""The terminal: what happens, shown as it happens, for people or for machines."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial

import anyio

from swarmguard import Event, EventBus, SystemClock

PATIENCE = 30.0
"""The seconds that a story waits for what has to happen."""

WORDS = {
    "agent.started": "is registered",
    "agent.failed": "{previous_health} -> {health} ({reason}) {error}",
    "agent.recovered": "is Healthy again ({reason}), restarts so far: {restart_count}",
    "agent.exhausted": "is out of restarts: {error}",
    "circuit.opened": "{previous_state} -> {state} ({reason}), calls are refused for {open_seconds:g} s",
    "circuit.half_opened": "{previous_state} -> {state} ({reason})",
    "circuit.closed": "{previous_state} -> {state} ({reason})",
    "paused": "agents wait at their next checkpoint",
    "resumed": "agents go on",
}
COLOURS = {"failed": 31, "exhausted": 31, "opened": 31, "half_opened": 33, "paused": 33}  # all else is green


class StoryError(Exception):
    """Something that had to happen did not."""


class Chronicle:
    """Everything that happens: shown at once, and kept for those who wait for it."""

    def __init__(self, bus: EventBus, as_json: bool) -> None:
        self.seen: list[tuple[str, str, str]] = []  # topic, who, reason
        self._events = bus.subscribe("arb.swarm.*", buffer=10_000)
        self._as_json = as_json
        self._colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._began = SystemClock().now()
        self._chapters = 0
        self._chapter_start = 0
        self._news = anyio.Event()

    async def listen(self) -> None:
        """Show and keep events as they come."""
        with self._events:
            async for event in self._events:
                self._show(event)
                self.stir()

    def stir(self) -> None:
        """Have those who wait look again."""
        self._news.set()
        self._news = anyio.Event()

    async def wait_for(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds: the story cannot go on without it."""
        with anyio.move_on_after(PATIENCE):
            while not condition():
                await self._news.wait()
            return
        raise StoryError(f"waited {PATIENCE:g} s in vain for {what}")

    async def until(self, *wanted: str) -> None:
        """Wait until events like these ("topic who reason", the last may be left out) have come in this chapter."""
        for event in wanted:
            await self.wait_for(f"'{event}'", partial(self._came, tuple(event.split())))

    def count(self, topic: str, reason: str | None = None) -> int:
        """Return how many events of the topic, and for the reason, have come in the whole story."""
        return sum(seen[0] == topic and reason in (None, seen[2]) for seen in self.seen)

    def chapter(self, text: str) -> None:
        """Begin a chapter, with what the operator does."""
        self._catch_up()
        self._chapters += 1
        self._chapter_start = len(self.seen)
        self.say("chapter", f"{self._chapters}. {text}", {"number": self._chapters, "text": text})

    def tell(self, who: str, text: str) -> None:
        """Tell what somebody did or saw who emits no events."""
        self._catch_up()
        self._write("told", self._line(self._elapsed(), "", who, text), {"who": who, "text": text})

    def say(self, kind: str, text: str, facts: Mapping[str, object]) -> None:
        """Show something that stands by itself."""
        self._write(kind, f"\n{text}", facts)

    def _catch_up(self) -> None:
        """Show what has come meanwhile, so that the lines are in the order of what they tell."""
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
