"""The Pareto plot of an ablation: adherence against SSIM against time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from lvcf.measure.columns import COLUMNS, Result, figure_of

ADHERENCE = {"MAE": "lower is better", "flip rate": "higher is better", "within": "higher is better"}
"""What the plot shows of adherence: the first that the rows have."""
SMALLEST, LARGEST = 50.0, 420.0
"""Marker areas in square points."""
UNTIMED = "white"
MARKERS = {"method": "o", "control": "s", "paper": "D"}


@dataclass(frozen=True)
class Point:
    """One row: SSIM to the factual clip, adherence as shown, seconds per clip if they are known, kind of row."""

    name: str
    ssim: float
    adherence: float
    seconds: float | None
    kind: str


def plot_pareto(results: list[Result], output: Path) -> None:
    """Write ``pareto.png`` and ``pareto.svg``, unless no row has both SSIM and adherence."""
    heading = next((h for h in ADHERENCE if any(_number(r.metrics, h) is not None for r in results)), "")
    points = points_of(results, heading) if heading else []
    if not points:
        return
    truths = [value for r in results if (value := _number(r.metrics, "SSIM of truth")) is not None and not r.control]
    figure = _figure(points, heading, sum(truths) / len(truths) if truths else None)
    with mpl.rc_context({"svg.hashsalt": "lvcf", "svg.fonttype": "none"}):
        figure.savefig(output / "pareto.png", dpi=150)
        figure.savefig(output / "pareto.svg", metadata={"Date": None})


def points_of(results: list[Result], heading: str) -> list[Point]:
    """The rows that have SSIM and the adherence of ``heading``."""
    found = []
    for result in results:
        ssim, adherence = _number(result.metrics, "SSIM"), _number(result.metrics, heading)
        if ssim is not None and adherence is not None:
            seconds = _number(result.metrics, "s/clip")
            found.append(Point(result.method, ssim, adherence, seconds, result.kind))
    return found


def front(points: Sequence[Point], lower_is_better: bool) -> list[Point]:
    """The methods' points that none of them beats in both SSIM and adherence, by rising SSIM."""
    sign = -1.0 if lower_is_better else 1.0
    kept: list[Point] = []
    methods = [point for point in points if point.kind == "method"]
    for point in sorted(methods, key=lambda p: (p.ssim, sign * p.adherence), reverse=True):
        if not kept or sign * point.adherence > sign * kept[-1].adherence:
            kept.append(point)
    return kept[::-1]


def _number(metrics: dict[str, Any], heading: str) -> float | None:
    value = figure_of(metrics, COLUMNS[heading])
    return value if isinstance(value, float) else None


def _figure(points: list[Point], heading: str, truth: float | None) -> Figure:
    figure = Figure(figsize=(11.0, max(5.5, 0.26 * len(points) + 1.0)), layout="constrained")
    axes, names = figure.subplots(1, 2, width_ratios=[3, 1])
    best = front(points, heading == "MAE")
    axes.plot([p.ssim for p in best], [p.adherence for p in best], color="0.45", lw=1.2, zorder=1, label="Pareto front")
    if truth is not None:
        axes.axvline(truth, color="0.2", ls="--", lw=1.2, zorder=0, label="SSIM of the true counterfactual")
    if heading == "MAE":
        axes.set_yscale("symlog", linthresh=0.1)
        axes.yaxis.set_major_formatter("{x:g}")
        axes.invert_yaxis()
    _draw(figure, axes, points)
    axes.set_xlabel("SSIM to the factual clip (higher: less changed)")
    axes.set_ylabel(f"{heading} ({ADHERENCE[heading]}, upwards)")
    axes.margins(0.08)
    axes.grid(color="0.9", lw=0.6)
    axes.set_axisbelow(True)
    for kind in dict.fromkeys(point.kind for point in points):
        axes.scatter([], [], color="white", edgecolors="black", marker=MARKERS[kind], label=kind)
    names.axis("off")
    listed = "\n".join(f"{i}  {point.name}" for i, point in enumerate(points, 1))
    names.text(0.0, 1.0, listed, va="top", fontsize=9, transform=names.transAxes, linespacing=1.5)
    names.legend(*axes.get_legend_handles_labels(), loc="lower left", frameon=False, fontsize=9, borderaxespad=0.0)
    return figure


def _draw(figure: Figure, axes: Axes, points: list[Point]) -> None:
    """Markers: size and colour are both seconds per clip, so that neither eyes nor print need colour."""
    times = [p.seconds for p in points if p.seconds]
    scale = LogNorm(min(times), max(times) if max(times) > min(times) else 2.0 * min(times)) if times else None
    for i, point in enumerate(points, 1):
        share = float(scale(point.seconds)) if scale and point.seconds else 0.0
        colour = mpl.colormaps["cividis"](share) if point.seconds else UNTIMED
        size = SMALLEST + share * (LARGEST - SMALLEST)
        axes.scatter(point.ssim, point.adherence, size, color=colour, marker=MARKERS[point.kind], edgecolors="black")
        axes.annotate(str(i), (point.ssim, point.adherence), (7, 7), textcoords="offset points", fontsize=9, zorder=3)
    if scale:
        bar = figure.colorbar(ScalarMappable(scale, "cividis"), ax=axes, location="bottom", shrink=0.6, aspect=40)
        bar.set_label("seconds per clip (larger markers take longer)")
        bar.ax.xaxis.set_major_formatter("{x:g}")
