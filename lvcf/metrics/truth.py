"""Distances to the true counterfactual, which only a simulator knows.  docs/metrics/truth.md.

Clips are uint8 frames, gray ``(T, H, W)`` or in colour ``(T, H, W, 3)``; results are plain numbers per clip.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from lvcf.metrics.recovered import KINDS, PARTS, share_of
from lvcf.metrics.region import region_iou

Gray = NDArray[np.uint8]

CHANGED_LEVELS = 12.0
"""A voxel truly changed if its smoothed difference exceeds this many of 255 levels."""


def missed_and_asked(final: Gray, factual: Gray, truth: Gray, sigma: float) -> tuple[float, float]:
    """|final - truth|_1 and |factual - truth|_1 in levels, on frames smoothed with ``sigma`` pixels (0 = raw)."""
    smooth_final, smooth_factual, smooth_truth = (_smoothed(clip, sigma) for clip in (final, factual, truth))
    return float(np.abs(smooth_final - smooth_truth).sum()), float(np.abs(smooth_factual - smooth_truth).sum())


def share_recovered(final: Gray, factual: Gray, truth: Gray, sigma: float) -> float:
    """1 - missed / asked (:func:`missed_and_asked`); NaN where the mean change asked for is below ``FLOOR`` levels.

    0 is doing nothing, 1 is the true counterfactual; negative is worse than doing nothing.
    """
    return share_of(*missed_and_asked(final, factual, truth, sigma), voxels=truth.size)


def recovery(final: Gray, factual: Gray, truth: Gray) -> dict[str, float]:
    """The columns :data:`lvcf.metrics.recovered.PARTS` of one clip: shares, then what they are made of."""
    shares: dict[str, float] = {}
    parts: dict[str, float] = {}
    for (share, names), sigma in zip(PARTS.items(), KINDS.values(), strict=True):
        sums = missed_and_asked(final, factual, truth, sigma)
        shares[share] = share_of(*sums, voxels=truth.size)
        parts |= {name: part / truth.size for name, part in zip(names, sums, strict=True)}
    return shares | parts


def truly_changed(factual: Gray, truth: Gray, sigma: float = 2.0) -> NDArray[np.bool_]:
    """The voxels ``(T, H, W)`` that truly change, in any colour."""
    changed = np.abs(_smoothed(factual, sigma) - _smoothed(truth, sigma)) > CHANGED_LEVELS
    return np.asarray(changed.any(axis=-1)) if changed.ndim > 3 else changed


def mask_iou(mask: NDArray[np.bool_], factual: Gray, truth: Gray, sigma: float = 2.0) -> float:
    """Intersection over union of a mask ``(T, H, W)`` with the voxels that truly change, in any colour."""
    return region_iou(mask, truly_changed(factual, truth, sigma))


def l1_levels(one: Gray, other: Gray) -> float:
    """Mean absolute difference in levels of 255."""
    return float(np.abs(one.astype(np.float64) - other).mean())


def _smoothed(clip: Gray, sigma: float) -> NDArray[np.float64]:
    return gaussian_filter(clip.astype(np.float64), sigma, axes=(1, 2)) if sigma else clip.astype(np.float64)
