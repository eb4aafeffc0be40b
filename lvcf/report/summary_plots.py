"""Inline SVG plots of a run's summary: the change over time, and M's moves against the oracle's."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from lvcf.measure.overall import Moves
from lvcf.report.svg import Axes, line, padded, svg, ticks

_LEFT, _TOP = 42.0, 30.0


def change_plot(mean: Sequence[float], spread: Sequence[float], fps: float, top: float) -> Markup:
    """Mean change of every frame over the clips, with a standard deviation of the clips on both sides.

    Args:
        mean: in levels, by frame.
        spread: standard deviation over the clips.
        fps: frames per second.
        top: of the axis, the same in all plots of a page.
    """
    seconds = [frame / fps for frame in range(len(mean))]
    axes = Axes(_LEFT, _TOP, 286, 118, (0.0, seconds[-1] or 1.0), (0.0, top))
    lower = [(x, max(m - s, 0.0)) for x, m, s in zip(seconds, mean, spread, strict=True)]
    upper = [(x, min(m + s, top)) for x, m, s in zip(seconds, mean, spread, strict=True)]
    grid = axes.grid("time (s)", "change (levels)", ticks(*axes.x), 3)
    curve = axes.curve(list(zip(seconds, mean, strict=True)), "counterfactual")
    most = max(range(len(mean)), key=lambda frame: mean[frame])
    label = f"Mean change over {len(mean)} frames: most, {mean[most]:.3g} levels, at {seconds[most]:.2f} s"
    return svg(340, 190, label, grid, axes.ribbon(lower, upper, "counterfactual"), curve)


def moves_plot(moves: Moves, unit: str) -> Markup:
    """By how much the oracle's reading moved against M's, a mark a clip; the clips furthest apart are diamonds.

    Args:
        moves: of at least one clip.
        unit: of both axes.
    """
    values = [*moves.model.tolist(), *moves.oracle.tolist(), 0.0]
    span = padded(values)
    axes = Axes(54, _TOP, 290, 270, span, span)
    parts = [axes.grid(f"M moved by ({unit})", f"the oracle moved by ({unit})", ticks(*span))]
    parts.append(line(*axes.at(span[0], span[0]), *axes.at(span[1], span[1]), "target-line"))
    parts += [
        line(*axes.at(0, span[0]), *axes.at(0, span[1]), "rule"),
        line(*axes.at(span[0], 0), *axes.at(span[1], 0), "rule"),
    ]
    apart = {*moves.apart}
    for i, name in enumerate(moves.ids):
        x, y = float(moves.model[i]), float(moves.oracle[i])
        note = f"{name}: M {x:+.3g}, oracle {y:+.3g}"
        parts.append(axes.diamond(x, y, "apart", note) if i in apart else axes.dot(x, y, "along", note))
    label = f"By how much the oracle's reading moved against M's, for {len(moves.ids)} clips"
    return svg(356, 346, label, *parts)
