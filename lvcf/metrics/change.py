"""How little was changed, and how steadily.  Clips are ``(3, T, H, W)`` in [-1, 1]; differences in levels of 255."""

from __future__ import annotations

import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

CHANGED_OVER = 8.0
"""A voxel counts as changed if a colour moved by more than this many of 255 levels."""


def difference_levels(one: Tensor, other: Tensor) -> Tensor:
    """Signed difference in levels, ``(3, T, H, W)``."""
    return (one - other).double() * 127.5


def l1(final: Tensor, factual: Tensor) -> float:
    """Mean absolute difference in levels, 0..255."""
    return float(difference_levels(final, factual).abs().mean())


def changed_share(final: Tensor, factual: Tensor, levels: float = CHANGED_OVER) -> float:
    """Share in [0, 1] of the voxels of which a colour changed by more than ``levels``: the fewer, the sparser."""
    return float((difference_levels(final, factual).abs().amax(dim=0) > levels).double().mean())


def flicker(final: Tensor, factual: Tensor) -> float:
    """Mean absolute change of the difference from frame to frame, in levels: 0 for an edit that stands still."""
    difference = difference_levels(final, factual)
    return float((difference[:, 1:] - difference[:, :-1]).abs().mean())


def change_outside(final: Tensor, factual: Tensor, region: Tensor) -> float:
    """Mean absolute difference in levels outside a region ``(T, H, W)`` bool; NaN if it covers the clip."""
    outside = difference_levels(final, factual).abs()[:, ~region]
    return float(outside.mean()) if outside.numel() else float("nan")


def change_correlation(one: Tensor, other: Tensor, sigma: float = 2.0) -> float:
    """Pearson correlation in [-1, 1] of two explanations of a clip; NaN if one of them changes nothing.

    The sanity check of Adebayo et al. (2018) for counterfactuals: it has to fall when M's weights are randomised.

    Args:
        one: signed difference final - factual ``(3, T, H, W)``.
        other: the same of the other run.
        sigma: of the Gaussian that smooths every frame of both, in pixels.
    """
    smooth = [torch.from_numpy(gaussian_filter(d.double().numpy(), sigma, axes=(2, 3))).flatten() for d in (one, other)]
    if any(float(values.std()) == 0.0 for values in smooth):
        return float("nan")
    return float(torch.corrcoef(torch.stack(smooth))[0, 1])
