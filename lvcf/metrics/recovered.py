"""The share of the true change that is recovered, of one clip and of many together.  Light: no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lvcf.metrics.statistics import FEWEST, Values, interval, ratio_error, spread
from lvcf.metrics.unavailable import unavailable

FLOOR = 0.5
"""Mean levels of 255 that the truth has to differ from the factual clip for a share to be told.

Half a level is what rounding to 8 bits may hide; below it the share divides by almost nothing.  Measured, smoothed: an
EF one point away is 0.1 level, ten points 0.7 to 1; another expression 0.2 to 2.5 (one in fourteen below the floor);
another action from 2."""
KINDS = {"smooth": 2.0, "raw": 0.0}
"""Shares by the sigma in pixels with which frames are smoothed."""
PARTS = {f"truth/share_recovered_{kind}": (f"truth/missed_{kind}", f"truth/asked_{kind}") for kind in KINDS}
"""A share's columns: mean absolute differences to the truth in levels, of the counterfactual and of the factual."""
ASKED = "truth/asked_"
"""Beginning of the columns in which no method has a part."""


def share_of(missed: float, asked: float, voxels: int = 1) -> float:
    """1 - missed / asked; NaN where less was asked than :data:`FLOOR`.

    Args:
        missed: absolute difference of the counterfactual to the truth, summed over ``voxels``.
        asked: that of the factual clip.
        voxels: of the clip.
    """
    return 1.0 - missed / asked if asked / voxels >= FLOOR else math.nan


def pooled_share(key: str, missed: Values, asked: Values, groups: Sequence[str] = ()) -> dict[str, Any]:
    """1 - sum of missed / sum of asked ``(n,)`` under ``key``, with error (delta method) and bootstrap interval.

    Args:
        key: of the figure.
        missed: by clip.
        asked: by clip.
        groups: of each value, where those of one group are not independent; whole groups are resampled then.
    """
    if asked.mean() < FLOOR:
        return {key: unavailable(f"the true change is below {FLOOR:g} levels: there is nothing to recover")}
    if len(groups):
        _, place = np.unique(groups, return_inverse=True)
        missed, asked = (np.bincount(place, part).astype(np.float64) for part in (missed, asked))
    told = {key: float(_pooled(missed, asked, axis=-1))}
    error = ratio_error(missed, asked, float(missed.sum() / asked.sum())) if len(missed) >= FEWEST else None
    return told | spread(key, error, interval(_pooled, missed, asked))


def _pooled(missed: Values, asked: Values, axis: int) -> Any:
    return 1.0 - missed.sum(axis) / asked.sum(axis)
