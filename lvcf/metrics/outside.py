"""What an edit changed where it should not.  Clips are ``(3, T, H, W)`` in [-1, 1], regions bool ``(T, H, W)``."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from lvcf.metrics.clip_metric import ClipMetric


def restored(final: Tensor, factual: Tensor, region: Tensor) -> Tensor:
    """The edit with the factual clip's pixels inside the region: what is left of it is outside."""
    return torch.where(region, factual, final)


def ssim_outside(final: Tensor, factual: Tensor, region: Tensor) -> float:
    """Mean SSIM (Wang et al. 2004) over the pixels outside; NaN if the region covers the clip.

    The region is restored first, so that no window outside sees the change inside.
    """
    if bool(region.all()):
        return float("nan")
    a, b = (rearrange(v, "c t h w -> t c h w") for v in (restored(final, factual, region), factual))
    _, places = structural_similarity_index_measure(a, b, data_range=2.0, return_full_image=True)
    return float(places.mean(dim=1)[~region].mean())


class SsimOutside(ClipMetric):
    """:func:`ssim_outside`, of final and factual clips ``(B, 3, T, H, W)`` and regions ``(B, T, H, W)``."""

    of_clip = staticmethod(ssim_outside)
