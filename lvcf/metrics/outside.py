"""What an edit changed where it should not.  Clips are ``(3, T, H, W)`` in [-1, 1], regions bool ``(T, H, W)``."""

from __future__ import annotations

import torch
from torch import Tensor

from lvcf.metrics.clip_metric import ClipMetric
from lvcf.metrics.fidelity import ssim_map


def restored(final: Tensor, factual: Tensor, region: Tensor) -> Tensor:
    """The edit with the factual clip's pixels inside the region: what is left of it is outside."""
    return torch.where(region, factual, final)


def ssim_outside(final: Tensor, factual: Tensor, region: Tensor) -> float:
    """Mean SSIM (Wang et al. 2004) over the pixels outside; NaN if the region covers the clip.

    The region is restored first, so that no window outside sees the change inside.
    """
    if bool(region.all()):
        return float("nan")
    places = ssim_map(restored(final, factual, region), factual)
    return float(places.mean(dim=1)[~region].mean())


class SsimOutside(ClipMetric):
    """:func:`ssim_outside`, of final and factual clips ``(B, 3, T, H, W)`` and regions ``(B, T, H, W)``."""

    of_clip = staticmethod(ssim_outside)
