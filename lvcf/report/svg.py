"""A few strokes of SVG: enough for small inline plots.  Colours come from the page's style sheet, by class name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

Points = Sequence[tuple[float, float]]


def svg(width: float, height: float, label: str, *parts: str) -> Markup:
    """One ``<svg>`` of ``width x height`` units that scales with its place; ``label`` is read to who cannot see it."""
    view = f'viewBox="0 0 {width:g} {height:g}"'
    body = "".join(parts)
    return Markup(f'<svg class="plot" {view} role="img" aria-label="{escape(label)}">{body}</svg>')


def text(x: float, y: float, words: str, anchor: str = "start", kind: str = "tick") -> str:
    """A label at ``(x, y)``; ``anchor`` is start, middle or end."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """A straight stroke of the class ``kind``."""
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def arrow(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """A stroke of the class ``kind`` with a head of the class ``head`` at ``(x2, y2)``."""
    length = float(np.hypot(x2 - x1, y2 - y1))
    along, across = (x2 - x1) / length, (y2 - y1) / length
    ends = " ".join(f"{x2 - 8 * along + s * across:.1f},{y2 - 8 * across - s * along:.1f}" for s in (3.6, -3.6))
    stroke = line(x1, y1, x2 - 6 * along, y2 - 6 * across, kind)
    return f'{stroke}<polygon class="head" points="{x2:.1f},{y2:.1f} {ends}"/>'


def box(x: float, y: float, width: float, height: float, kind: str) -> str:
    """A rectangle of the class ``kind`` with round corners, its upper left one at ``(x, y)``."""
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="6"/>'


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """About ``count`` round numbers (1, 2 or 5 times a power of ten apart) within ``low..high``."""
    raw = (high - low) / count
    power = 10.0 ** np.floor(np.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * 0.999)
    first = int(np.ceil(low / step - 1e-9))
    last = int(np.floor(high / step + 1e-9))
    return [float(f"{i * step:.10g}") for i in range(first, last + 1)]


def number(value: float) -> str:
    """A tick's label, with a true minus sign."""
    return f"{value:g}".replace("-", "−")


def shortened(words: str, letters: int) -> str:
    """Words that fit a place, the middle left out where they do not."""
    return words if len(words) <= letters else f"{words[: letters // 2]}…{words[len(words) - letters // 2 + 1 :]}"


def padded(values: Sequence[float], share: float = 0.08) -> tuple[float, float]:
    """The range of ``values`` with some air around it; never empty."""
    low, high = min(values), max(values)
    air = share * (high - low) or max(abs(high) * share, 1e-3)
    return low - air, high + air


@dataclass(frozen=True)
class Axes:
    """A rectangle of the drawing (``left, top, width, height``) that shows the ranges ``x`` and ``y``."""

    left: float
    top: float
    width: float
    height: float
    x: tuple[float, float]
    y: tuple[float, float]

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Data to drawing coordinates."""
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return self.left + across * self.width, self.top + (1 - up) * self.height

    def grid(self, x_label: str, y_label: str, x_ticks: Sequence[float], y_count: int = 4) -> str:
        """Horizontal rules with their numbers, the x axis with its ticks, and both labels with units."""
        bottom, right = self.top + self.height, self.left + self.width
        parts = [text(0, self.top - 10, y_label, kind="label")]
        for value in ticks(*self.y, y_count):
            y = self.at(self.x[0], value)[1]
            parts += [line(self.left, y, right, y, "rule"), text(self.left - 7, y + 4, number(value), "end")]
        parts.append(line(self.left, bottom, right, bottom, "axis"))
        for value in x_ticks:
            x = self.at(value, self.y[0])[0]
            parts += [line(x, bottom, x, bottom + 4, "axis"), text(x, bottom + 17, number(value), "middle")]
        if x_label:
            parts.append(text(right, bottom + 33, x_label, "end", "label"))
        return "".join(parts)

    def curve(self, points: Points, kind: str) -> str:
        """A polyline through data points."""
        path = " ".join("{:.1f},{:.1f}".format(*self.at(x, y)) for x, y in points)
        return f'<polyline class="line {kind}" points="{path}"/>'

    def ribbon(self, lower: Points, upper: Points, kind: str) -> str:
        """The area between two polylines over the same places."""
        ends = " ".join("{:.1f},{:.1f}".format(*self.at(x, y)) for x, y in [*lower, *reversed(upper)])
        return f'<polygon class="ribbon {kind}" points="{ends}"/>'

    def playhead(self) -> str:
        """A vertical line that the page's script moves with the video, from the first frame to the last."""
        left, right = (f"{x:.1f}" for x in (self.left, self.left + self.width))
        ends = f'x1="{left}" y1="{self.top:.1f}" x2="{left}" y2="{self.top + self.height:.1f}"'
        return f'<line class="playhead" data-left="{left}" data-right="{right}" {ends}/>'

    def dot(self, x: float, y: float, kind: str, note: str, radius: float = 3.2) -> str:
        """A round mark at a data point; ``note`` appears under the pointer."""
        cx, cy = self.at(x, y)
        title = f"<title>{escape(note)}</title>"
        return f'<circle class="dot {kind}" cx="{cx:.1f}" cy="{cy:.1f}" r="{radius:g}">{title}</circle>'

    def diamond(self, x: float, y: float, kind: str, note: str, radius: float = 5.0) -> str:
        """A diamond at a data point: the second mark where colour alone must not tell."""
        cx, cy = self.at(x, y)
        path = f"M{cx:.1f} {cy - radius:.1f}l{radius:g} {radius:g}-{radius:g} {radius:g}-{radius:g}-{radius:g}z"
        return f'<path class="dot {kind}" d="{path}"><title>{escape(note)}</title></path>'

    def band(self, low: float, high: float) -> str:
        """A horizontal band over the full width; a single value becomes a line."""
        right = self.left + self.width
        bottom, top = (float(np.clip(self.at(0, v)[1], self.top, self.top + self.height)) for v in (low, high))
        edges = "".join(line(self.left, y, right, y, "target-line") for y in {bottom, top})
        box = f'x="{self.left:.1f}" y="{top:.1f}" width="{self.width:.1f}" height="{bottom - top:.1f}"'
        return f'<rect class="target-band" {box}/>{edges}'
