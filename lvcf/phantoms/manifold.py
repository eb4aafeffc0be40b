"""The nearest clip that a phantom can paint, and how far a counterfactual is from it.

A ruler that names the nearest class calls a melted face angry.  What a phantom can paint with a clip's own exogenous
factors is known, so the distance to all of it can be told: a true clip has none, a smear, a ghost and a pattern that
only fools a network have much.  docs/metrics/plausible.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from lvcf.data.video import Frames
from lvcf.metrics.truth import truly_changed

F = TypeVar("F")

SIGMA = 1.0
"""Blur in pixels under which the nearest clip is looked for: a decoder's grain is no distance from a world."""
LOOK = slice(3, None, 4)
"""The frames of a clip that the search looks at; the last one, where an expression is at its apex, is among 16."""
REACHES = (1.0, 0.5, 0.25)
"""Shares of a factor's step at which the search goes on around the best one found."""


class World(Protocol[F]):
    """What a phantom can paint with one clip's exogenous factors."""

    def starts(self, clip: Frames) -> Iterable[F]:
        """Every value of the intervened attribute, in some of the ways that its name leaves open."""

    def around(self, factors: F, reach: float) -> Iterable[F]:
        """Ways a little different from ``factors``', by a share ``reach`` of each factor's step."""

    def paint(self, factors: F, look: slice) -> Frames:
        """The frames ``look`` of the clip, as the set's files hold them ``(T, H, W, 3)``."""


@dataclass(frozen=True)
class Nearest(Generic[F]):
    """The nearest clip that can be painted.

    Attributes:
        factors: that paint it.
        levels: mean absolute difference to it in levels of 255 over the region, both blurred with :data:`SIGMA`.
        raw: the same without blur.
    """

    factors: F
    levels: float
    raw: float


def find_nearest(world: World[F], clip: Frames, region: NDArray[np.bool_]) -> Nearest[F] | None:
    """Search the world for the clip nearest to ``clip`` ``(T, H, W, 3)``.

    Args:
        world: what can be painted.
        clip: the clip.
        region: the voxels ``(T, H, W)`` that count, see :func:`changed`.

    Returns:
        None where the region is empty, at the frames looked at or altogether.
    """
    if not region[LOOK].any():
        return None
    blurred = _blurred(clip)
    seen = blurred[LOOK]

    def distance(factors: F) -> float:
        return _levels(_blurred(world.paint(factors, LOOK)), seen, region[LOOK])

    best = min(world.starts(clip), key=distance)
    for reach in REACHES:
        best = min([best, *world.around(best, reach)], key=distance)
    painted = world.paint(best, slice(None))
    return Nearest(best, _levels(_blurred(painted), blurred, region), _levels(painted, clip, region))


def nudged(factors: Any, ranges: Mapping[str, tuple[float, float]], reach: float) -> Iterator[Any]:
    """Factors of which one is moved, down and up, by half of its range times ``reach``, and stays within it."""
    for name, (low, high) in ranges.items():
        for sign in (-0.5, 0.5):
            value = getattr(factors, name) + sign * reach * (high - low)
            yield replace(factors, **{name: float(np.clip(value, low, high))})


def changed(factual: Frames, final: Frames, true: Frames) -> NDArray[np.bool_]:
    """The voxels ``(T, H, W)`` that truly change, joined with those that were changed, whatever the mask says."""
    return truly_changed(factual, true) | truly_changed(factual, final)


def plausible(
    nearest: Nearest[Any] | None, limit: float, wanted: Callable[[Any], bool] | None = None
) -> dict[str, float]:
    """The figures of :func:`find_nearest`; NaN without a region.

    Args:
        nearest: what was found.
        limit: ``levels`` beyond which a clip shows none of what the phantom can paint.
        wanted: whether factors are what was asked for; None where that is no class.
    """
    if nearest is None:
        names = ["off_manifold", "off_manifold_raw", "on_manifold", *(["strict_class"] if wanted else [])]
        return {f"plausible/{name}": math.nan for name in names}
    figures = {
        "plausible/off_manifold": nearest.levels,
        "plausible/off_manifold_raw": nearest.raw,
        "plausible/on_manifold": float(nearest.levels <= limit),
    }
    if wanted:
        figures["plausible/strict_class"] = float(nearest.levels <= limit and wanted(nearest.factors))
    return figures


def _blurred(clip: Frames) -> NDArray[np.float64]:
    return np.asarray(gaussian_filter(clip.astype(np.float64), SIGMA, axes=(1, 2)))


def _levels(one: NDArray[Any], other: NDArray[Any], region: NDArray[np.bool_]) -> float:
    return float(np.abs(one[region].astype(np.float64) - other[region]).mean())
