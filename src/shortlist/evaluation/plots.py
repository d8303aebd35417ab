"""Points and shares to plots: SVG text with a title, a description and readable labels, coloured by the page's CSS.

It does not know what is plotted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 480, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 24, 32, 48

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """Points joined by a line, each with a tooltip; ``colour`` is a number of the page's palette."""

    name: str
    points: Sequence[Point]
    tips: Sequence[str]
    colour: int
    is_dashed: bool = False
    is_joined: bool = True
    spans: Sequence[Point] = ()  # an interval (low, high) of each point


@dataclass(frozen=True, slots=True)
class Axis:
    """A range of values with ticks; a logarithmic one needs values above 0."""

    label: str
    low: float
    high: float
    is_log: bool = False
    format: Callable[[float], str] = "{:g}".format

    def place(self, value: float, start: float, stop: float) -> float:
        """Where a value lies between ``start`` and ``stop``."""
        low, high, value = (math.log(part) if self.is_log else part for part in (self.low, self.high, value))
        return start + (stop - start) * ((value - low) / (high - low) if high > low else 0.5)

    def ticks(self) -> list[float]:
        """Round values in the range, some five of them."""
        if self.is_log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            few = [10.0**power for power in powers if self.low <= 10.0**power <= self.high]
            many = [d * 10.0**power for power in powers for d in (1, 2, 5) if self.low <= d * 10.0**power <= self.high]
            return few if len(few) > 3 else many
        span = self.high - self.low
        if span <= 0:
            return [self.low]
        power = 10 ** math.floor(math.log10(span / 5))
        step = next(size * power for size in (1, 2, 5, 10) if span / (size * power) <= 6)
        first = math.ceil(self.low / step - 1e-9)
        return [number * step for number in range(first, math.floor(self.high / step + 1e-9) + 1)]


def axis(label: str, values: Sequence[float], *, is_log: bool = False, from_zero: bool = False,
         format: Callable[[float], str] = "{:g}".format) -> Axis:  # fmt: skip
    """An axis that holds all ``values``, with a little room."""
    low, high = min(values), max(values)
    if is_log:
        return Axis(label, low / 1.08, high * 1.08, True, format)
    low = min(0.0, low) if from_zero else low
    room = max(0.04 * (high - low), 0.05 * abs(high), 1e-6)  # nearly equal values would need many digits to tell apart
    return Axis(label, low if from_zero else low - room, high + room, False, format)


def lines(name: str, title: str, description: str, drawn: Sequence[Line], x: Axis, y: Axis, *,
          diagonal: bool = False, marks: Sequence[tuple[float, str]] = ()) -> str:  # fmt: skip
    """A plot of lines and points; ``marks`` are vertical lines with a word. ``name`` is unique on the page."""
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def at(point: Point) -> tuple[float, float]:
        return x.place(point[0], LEFT, right), y.place(point[1], bottom, TOP)

    parts = _axes(x, y)
    if diagonal:
        low, high = max(x.low, y.low), min(x.high, y.high)
        parts.append(_path([at((low, low)), at((high, high))], "guide"))
    for value, word in marks:
        across = x.place(value, LEFT, right)
        is_late = across > LEFT + 0.7 * (right - LEFT)
        parts.append(_path([(across, TOP), (across, bottom)], "guide"))
        parts.append(_text(across + (-5 if is_late else 5), bottom - 8, word, "end" if is_late else "start", "mark"))
    for line in drawn:
        style = f"c{line.colour} line" + (" dashed" if line.is_dashed else "")
        if line.is_joined and len(line.points) > 1:
            parts.append(_path([at(point) for point in line.points], style))
        for (across, _), (low, high) in zip(line.points, line.spans, strict=False):
            parts.append(_path([at((across, low)), at((across, high))], f"c{line.colour} span"))
        for point, tip in zip(line.points, line.tips, strict=True):
            parts.append(_dot(*at(point), f"c{line.colour} dot", 4, tip))
    return _svg(name, title, description, parts)


def grouped_bars(name: str, title: str, description: str, labels: Sequence[str],
                 groups: Sequence[tuple[str, int, Sequence[float]]], x_label: str, y: Axis) -> str:  # fmt: skip
    """Bars side by side for each label; ``groups`` are a name, a colour and a value for each label."""
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    x = Axis(x_label, 0, len(labels))
    parts = _axes(x, y, x_ticks=[(position + 0.5, label) for position, label in enumerate(labels)])
    room = (right - LEFT) / len(labels)
    width = room * 0.8 / len(groups)
    for number, (group, colour, values) in enumerate(groups):
        for position, (label, value) in enumerate(zip(labels, values, strict=True)):
            top = y.place(value, bottom, TOP)
            left = LEFT + room * (position + 0.1) + width * number
            tip = f"{group}, {label}: {y.format(value)}"
            parts.append(
                f'<rect class="c{colour} bar" x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" '
                f'height="{max(0.0, bottom - top):.1f}"><title>{escape(tip)}</title></rect>'
            )
    return _svg(name, title, description, parts)


def scatter(name: str, title: str, description: str, points: Sequence[Point], colours: Sequence[int],
            tips: Sequence[str]) -> str:  # fmt: skip
    """Points on a plane whose axes mean nothing by themselves."""
    x, y = (Axis("", *_inner([point[side] for point in points])) for side in (0, 1))
    parts = []
    for point, colour, tip in zip(points, colours, tips, strict=True):
        across = min(max(x.place(point[0], 8, WIDTH - 8), 4), WIDTH - 4)
        down = min(max(y.place(point[1], HEIGHT - 8, 8), 4), HEIGHT - 4)
        parts.append(_dot(across, down, f"c{colour} item", 3, tip))
    return _svg(name, title, description, parts)


def _inner(values: Sequence[float]) -> tuple[float, float]:
    """The range of all but the outermost hundredth at each end, with some room: a few far points would squash the rest."""
    ordered = sorted(values)
    cut = len(ordered) // 100
    low, high = ordered[cut], ordered[-1 - cut]
    room = 0.08 * (high - low)
    return low - room, high + room


def _axes(x: Axis, y: Axis, *, x_ticks: Sequence[tuple[float, str]] | None = None) -> list[str]:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = []
    for value in y.ticks():
        down = y.place(value, bottom, TOP)
        parts.append(_path([(LEFT, down), (right, down)], "grid"))
        parts.append(_text(LEFT - 7, down + 4.5, y.format(value), "end"))
    ticks = [(value, x.format(value)) for value in x.ticks()] if x_ticks is None else x_ticks
    for value, label in ticks:
        parts.append(_text(x.place(value, LEFT, right), bottom + 18, label, "middle"))
    parts.append(_path([(LEFT, bottom), (right, bottom)], "axis"))
    parts.append(_text((LEFT + right) / 2, HEIGHT - 8, x.label, "middle", "label"))
    parts.append(_text(2, 15, y.label, "start", "label"))
    return parts


def _svg(name: str, title: str, description: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-desc">{escape(description)}</desc>'
        + "".join(parts)
        + "</svg>"
    )


def _path(points: Sequence[Point], style: str) -> str:
    steps = " ".join(f"{across:.1f},{down:.1f}" for across, down in points)
    return f'<polyline class="{style}" points="{steps}"/>'


def _text(across: float, down: float, text: str, anchor: str, style: str = "tick") -> str:
    return f'<text class="{style}" x="{across:.1f}" y="{down:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _dot(across: float, down: float, style: str, radius: float, tip: str) -> str:
    return (
        f'<circle class="{style}" cx="{across:.1f}" cy="{down:.1f}" r="{radius}"><title>{escape(tip)}</title></circle>'
    )
