"""Is it drawn as sharply as a clip of the set?  docs/metrics/plausible.md."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import laplace

from lvcf.data.video import Frames

LUMA = np.array([0.299, 0.587, 0.114])
"""Brightness of a colour, by Rec. 601."""


def sharpness(final: Frames, truth: Frames, region: NDArray[np.bool_]) -> float:
    """Mean absolute Laplacian of the brightness in ``region`` ``(T, H, W)``, over the true clip's.

    1 is as sharp as the truth, below is blur, above is noise.  NaN where the region is empty or the truth is flat.
    """
    there = _edges(truth)[region]
    return float(_edges(final)[region].mean() / there.mean()) if there.any() else math.nan


def _edges(clip: Frames) -> NDArray[np.float64]:
    return np.asarray(np.abs(np.stack([laplace(frame) for frame in clip @ LUMA])))
