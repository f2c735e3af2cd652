"""A small SVG builder for the pictures of the documentation.

The site, GitHub and PyPI show a picture as `<img>`, so each file is self-contained: it has its own background, its own
colours for light and dark pages, and a title and a description for screen readers. It loads nothing; the fonts are
those of the reader's system.
"""

from __future__ import annotations

from collections.abc import Iterable
from xml.sax.saxutils import escape, quoteattr

COLOURS = {
    "panel": ("#ffffff", "#161b22"),
    "frame": ("#d0d7de", "#3d444d"),
    "box": ("#f6f8fa", "#21262d"),
    "ink": ("#1f2328", "#e6edf3"),
    "muted": ("#59636e", "#9aa4af"),
    "good": ("#1a7f37", "#3fb950"),
    "bad": ("#cf222e", "#ff7b72"),
    "warn": ("#9a6700", "#e3b341"),
    "accent": ("#0969da", "#58a6ff"),
    "good-tint": ("#dafbe1", "#12351f"),
    "bad-tint": ("#ffebe9", "#46191a"),
    "warn-tint": ("#fff3bf", "#3b2f0b"),
    "accent-tint": ("#ddf4ff", "#0f2d4d"),
}
"""Each colour on a light page and on a dark one. The class `f-NAME` fills with it, `s-NAME` draws lines with it."""

FONT = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"
MONO = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace"

RULES = (
    f"text{{font-family:{FONT};font-size:15px}}",
    f".mono{{font-family:{MONO};font-size:14px}}",
    ".small{font-size:13px}",
    ".bold{font-weight:600}",
    # The outline in the panel's colour keeps a label readable where it crosses a line.
    ".halo{paint-order:stroke;stroke-width:6px;stroke-linejoin:round}",
    ".line{fill:none;stroke-width:2;stroke-linecap:round;stroke-linejoin:round}",
    ".thin{stroke-width:1.5}",
    ".thick{stroke-width:3.5}",
    ".dashed{stroke-dasharray:6 5}",
)

# The width that counts here is the width at which the picture is shown: on a phone it is smaller, its letters larger.
NARROW = "@media (max-width:520px){text{font-size:18px}.bold{font-size:17px}.mono,.small{font-size:16px}}"


def colour_rules(shade: int) -> str:
    """Return the CSS of all colours: shade 0 for light pages, 1 for dark ones."""
    return "".join(
        f".f-{name}{{fill:{shades[shade]}}}.s-{name}{{stroke:{shades[shade]}}}" for name, shades in COLOURS.items()
    )


def element(name: str, text: str | None = None, /, **attributes: object) -> str:
    """Return one element; `class_` stands for the attribute `class`, and `a_b` for `a-b`."""
    written = "".join(f" {key.rstrip('_').replace('_', '-')}={quoteattr(str(at))}" for key, at in attributes.items())
    return f"<{name}{written}/>" if text is None else f"<{name}{written}>{escape(text)}</{name}>"


class Picture:
    """One picture, drawn from back to front.

    Args:
        width: The width of the drawing in pixels.
        height: Its height.
        title: What the picture is, in a few words.
        description: What it shows, in sentences.
    """

    def __init__(self, width: int, height: int, title: str, description: str) -> None:
        self._width = width
        self._height = height
        self._title = title
        self._description = description
        self._elements: list[str] = []
        self.box(0.5, 0.5, width - 1, height - 1, "f-panel s-frame", radius=10)

    def box(self, x: float, y: float, width: float, height: float, classes: str, radius: float = 8) -> None:
        """Draw a rectangle."""
        self._add(element("rect", x=x, y=y, width=width, height=height, rx=radius, class_=classes))

    def circle(self, x: float, y: float, radius: float, classes: str) -> None:
        """Draw a circle."""
        self._add(element("circle", cx=x, cy=y, r=radius, class_=classes))

    def path(self, path: str, classes: str) -> None:
        """Draw a line along an SVG path."""
        self._add(element("path", d=path, class_=f"line {classes}"))

    def arrow(self, path: str, classes: str = "s-muted") -> None:
        """Draw a line along an SVG path, with a head at its end."""
        self._add(element("path", d=path, class_=f"line {classes}", marker_end="url(#head)"))

    def text(self, x: float, y: float, text: str, classes: str = "f-ink", anchor: str = "middle") -> None:
        """Write one line of text; `y` is its base line."""
        self._add(element("text", text, x=x, y=y, class_=classes, text_anchor=anchor))

    def label(
        self, x: float, y: float, lines: Iterable[str], classes: str = "f-ink mono", anchor: str = "middle"
    ) -> None:
        """Write lines of text with an outline, so that they can stand on other things; `y` is the first base line."""
        for number, line in enumerate(lines):
            self.text(x, y + 18 * number, line, f"{classes} halo s-panel", anchor)

    def __str__(self) -> str:
        """Return the SVG document."""
        width, height = self._width, self._height
        style = [*RULES, colour_rules(0), f"@media (prefers-color-scheme:dark){{{colour_rules(1)}}}", NARROW]
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"',
            '     role="img" aria-labelledby="title desc">',
            element("title", self._title, id="title"),
            element("desc", self._description, id="desc"),
            f"<style>{''.join(style)}</style>",
            '<marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">',
            element("path", d="M0 0 10 5 0 10z", class_="f-muted"),
            "</marker>",
            *self._elements,
            "</svg>",
        ]
        return "\n".join(lines) + "\n"

    def _add(self, drawn: str) -> None:
        self._elements.append(drawn)
