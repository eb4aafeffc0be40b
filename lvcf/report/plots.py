"""Inline SVG plots of a run: what guidance did step by step, the ventricle's area, and all clips against target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from markupsafe import Markup, escape

from lvcf.report.svg import Axes, line, padded, shortened, svg, text, ticks

WIDTH, HEIGHT = 340.0, 236.0
_LEFT, _RIGHT, _TOP = 42.0, 12.0, 30.0
_SWATCH = 22.0


@dataclass(frozen=True)
class Outcome:
    """One clip of the scatter: its target range and M's reading before and after, all in the target's unit."""

    id: str
    status: str
    low: float
    high: float
    before: float
    after: float


def prediction_plot(trajectory: Sequence[Mapping[str, Any]], low: float, high: float, unit: str) -> Markup:
    """M's reading of the clean estimate at every step, with the target band ``low..high``.

    Args:
        trajectory: rows with ``step`` and ``prediction`` (in ``unit``); at least one.
        low: lower edge of the target.
        high: upper edge; equal to ``low`` where the target is one value.
        unit: unit of the reading, empty for a probability.
    """
    points = [(float(row["step"]), float(row["prediction"])) for row in trajectory]
    edges = [edge for edge in (low, high) if isfinite(edge)]
    axes = _axes([x for x, _ in points], padded([*edges, *(y for _, y in points)]))
    dots = "".join(axes.dot(x, y, "after", f"step {x:g}: {_value(y, unit)}") for x, y in points)
    label = (
        f"The model's reading over {len(points)} steps, from {_value(points[0][1], unit)} to "
        f"{_value(points[-1][1], unit)}; target {_range(low, high, unit)}"
    )
    grid = axes.grid("step", f"reading ({unit})" if unit else "probability", _steps(points))
    legend = _legend([("after", "model"), ("target-line", "target")], 168)
    return svg(WIDTH, HEIGHT, label, grid, axes.band(low, high), axes.curve(points, "after"), dots, legend)


def guidance_plot(trajectory: Sequence[Mapping[str, Any]]) -> Markup:
    """Loss (above) and guidance weight λ (below), both dimensionless, at every step.

    Args:
        trajectory: rows with ``step``, ``loss`` and ``weight``; at least one.
    """
    parts: list[str] = []
    for name, title, top, last in (("loss", "loss", _TOP, False), ("weight", "guidance weight λ", 134.0, True)):
        points = [(float(row["step"]), float(row[name])) for row in trajectory]
        highest = max(y for _, y in points) * 1.12 or 1.0
        axes = _axes([x for x, _ in points], (0.0, highest), top, 62)
        parts.append(axes.grid("step" if last else "", title, _steps(points) if last else [], 2))
        parts.append(axes.curve(points, name))
        parts += [axes.dot(x, y, name, f"step {x:g}: {title} {y:.3g}", 2.6) for x, y in points]
    first, final = trajectory[0], trajectory[-1]
    label = (
        f"Loss from {first['loss']:.3g} to {final['loss']:.3g} and guidance weight from {first['weight']:.3g} "
        f"to {final['weight']:.3g} over {len(trajectory)} steps"
    )
    return svg(WIDTH, HEIGHT, label, *parts)


def curves_plot(curves: Mapping[str, Any], fps: float) -> Markup:
    """What was measured over time: factual, counterfactual and, where it is known, the true counterfactual.

    Args:
        curves: ``what``, ``unit``, ``factual``, ``counterfactual``, maybe ``truth`` (one value per frame) and, of a
            ventricle's area, the frames ``ed`` and ``es`` of end-diastole and end-systole.
        fps: frames per second of the clip.
    """
    named = [name for name in ("factual", "counterfactual", "truth") if curves.get(name)]
    series = {name: [(i / fps, float(area)) for i, area in enumerate(curves[name])] for name in named}
    every = [point for points in series.values() for point in points]
    top = _TOP + 18  # the legend has a line of its own: the label may be long
    axes = _axes([x for x, _ in every], padded([y for _, y in every]), top, HEIGHT - top - 40)
    grid = axes.grid("time (s)", f"{curves['what']} ({curves['unit'].replace('^2', '²')})", ticks(*axes.x))
    marks = [_phase(axes, curves[name] / fps, name.upper()) for name in ("ed", "es") if name in curves]
    lines = [axes.curve(points, name) for name, points in series.items()]
    ends = [curves["ed"], curves["es"]] if "ed" in curves else [0, -1]
    label = f"{curves['what']} {'at end-diastole and end-systole' if 'ed' in curves else 'at first and last'}: "
    label += "; ".join(f"{name} {curves[name][ends[0]]:.0f} and {curves[name][ends[1]]:.0f}" for name in named)
    legend = _legend([(name, name) for name in named], 0)
    head = axes.playhead()
    return svg(WIDTH, HEIGHT, f"{label} {curves['unit']}", grid, *marks, *lines, head, legend)


def target_scatter(outcomes: Sequence[Outcome], unit: str) -> Markup:
    """M's reading against the target over clips; a stem leads from the reading before to the one after.

    Args:
        outcomes: at least one clip; a range target stands at its edge nearest to the reading after.
        unit: unit of both axes.
    """
    placed = [(min(max(o.after, o.low), o.high), o) for o in outcomes]
    span = padded([v for x, o in placed for v in (x, o.before, o.after)])
    axes = Axes(_LEFT, _TOP, WIDTH - _LEFT - _RIGHT, 270, span, span)
    parts = [axes.grid(f"target ({unit})", f"reading ({unit})", ticks(*span))]
    parts.append(line(*axes.at(span[0], span[0]), *axes.at(span[1], span[1]), "target-line"))
    for x, outcome in placed:
        parts.append(line(*axes.at(x, outcome.before), *axes.at(x, outcome.after), "stem"))
        parts.append(axes.dot(x, outcome.before, "before", f"{outcome.id}: before {_value(outcome.before, unit)}"))
    for x, outcome in placed:
        mark = axes.dot if outcome.status == "reached" else axes.diamond
        note = f"{outcome.id}: after {_value(outcome.after, unit)}, target {_range(outcome.low, outcome.high, unit)}"
        parts.append(mark(x, outcome.after, outcome.status, note, 4.6))
    label = f"The model's reading before and after against the target, for {len(outcomes)} clips"
    return svg(WIDTH, 346, label, *parts)


def share_plot(question: str, shares: Sequence[tuple[str, float, float, float]]) -> Markup:
    """Shares of answers as bars, each with its 95 % interval.

    Args:
        question: what was asked.
        shares: name, share and the ends of its interval, all in percent; the first is the first run's, the last the
            second's.
    """
    parts = [_share(kind, 6.0 + 30 * i, *shares[i]) for i, kind in enumerate(("first", "none", "second"))]
    bottom, marks = 6.0 + 30 * len(shares), (0.0, 25.0, 50.0, 75.0, 100.0)
    rules = [line(_percent_at(value), 2, _percent_at(value), bottom, "rule") for value in marks]
    labels = [text(_percent_at(value), bottom + 14, f"{value:.0f} %", "middle") for value in marks]
    told = "; ".join(f"{name} {share:.0f} % ({low:.0f} to {high:.0f})" for name, share, low, high in shares)
    return svg(390, bottom + 20, f"{question} {told}", *rules, *parts, *labels)


def _percent_at(value: float) -> float:
    return 108.0 + 2.3 * value


def _share(kind: str, top: float, name: str, share: float, low: float, high: float) -> str:
    """One bar 20 high, its interval as a whisker, its name before it and its value behind."""
    left, right, start, end = (_percent_at(value) for value in (0.0, share, low, high))
    note = f"<title>{escape(name)}: {share:.0f} %, 95 % interval {low:.0f} to {high:.0f} %</title>"
    return "".join(
        [
            text(left - 10, top + 15, shortened(name, 16), "end", "value"),
            f'<rect class="share {kind}" x="{left:g}" y="{top:g}" width="{right - left:.1f}" height="20">{note}</rect>',
            line(start, top + 10, end, top + 10, "halo"),
            line(start, top + 10, end, top + 10, "whisker"),
            *(line(x, top + 5, x, top + 15, "whisker") for x in (start, end)),
            text(max(right, end) + 8, top + 15, f"{share:.0f} %", kind="value"),
        ]
    )


def _axes(x: Sequence[float], y: tuple[float, float], top: float = _TOP, height: float = HEIGHT - _TOP - 40) -> Axes:
    span = (min(x), max(x)) if max(x) > min(x) else (min(x) - 0.5, max(x) + 0.5)
    return Axes(_LEFT, top, WIDTH - _LEFT - _RIGHT, height, span, y)


def _steps(points: Sequence[tuple[float, float]]) -> list[float]:
    if len(points) == 1:
        return [points[0][0]]
    return [value for value in ticks(points[0][0], points[-1][0], 6) if value == int(value)]


def _phase(axes: Axes, x: float, name: str) -> str:
    at, top = axes.at(x, axes.y[1])
    return line(at, top, at, top + axes.height, "phase") + text(at + 4, top + 11, name)


def _legend(entries: Sequence[tuple[str, str]], left: float) -> str:
    """Stroke samples with their names, in one row above the plot."""
    parts: list[str] = []
    for kind, name in entries:
        parts.append(line(left, 16, left + _SWATCH, 16, f"line {kind}"))
        parts.append(text(left + _SWATCH + 5, 20, name))
        left += _SWATCH + 18 + 6.3 * len(name)
    return "".join(parts)


def _value(value: float, unit: str) -> str:
    return f"{value:.3g} {unit}".strip()


def _range(low: float, high: float, unit: str) -> str:
    return _value(low, unit) if low == high else f"{low:.3g} to {_value(high, unit)}"
