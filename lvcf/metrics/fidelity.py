"""Closeness of a counterfactual to its factual clip: SSIM, PSNR, LPIPS."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

LPIPS_FILES = {"alex": "alexnet-owt-7be5be79.pth"}


def ssim(one: Tensor, other: Tensor) -> float:
    """Mean SSIM over frames of two clips ``(3, T, H, W)`` in [-1, 1] (11-pixel Gaussian window, data range 2)."""
    a, b = (rearrange(v, "c t h w -> t c h w") for v in (one, other))
    value = structural_similarity_index_measure(a, b, data_range=2.0)
    assert isinstance(value, Tensor)  # a tuple only when asked for more
    return float(value)


def psnr(one: Tensor, other: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of two clips in [-1, 1]; infinite for equal ones."""
    return float(10.0 * torch.log10(4.0 / (one - other).square().mean()))


def lpips_unavailable(net: str = "alex") -> str:
    """Why LPIPS cannot be computed; empty if its backbone's weights are in torch's cache."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / LPIPS_FILES[net]
    return "" if path.is_file() else f"unavailable: {LPIPS_FILES[net]} is not in torch's hub cache"


@cache
def lpips_metric() -> Lpips:
    """The one LPIPS network of a process: loading it for every clip would cost more than using it."""
    return Lpips()


class Lpips:
    """LPIPS (Zhang et al. 2018) with AlexNet, mean over frames; only where :func:`lpips_unavailable` is empty."""

    def __init__(self) -> None:
        import lpips

        self.network = lpips.LPIPS(net="alex", verbose=False).eval()

    @torch.no_grad()
    def __call__(self, one: Tensor, other: Tensor) -> float:
        """Of two clips ``(3, T, H, W)`` in [-1, 1]."""
        a, b = (rearrange(v, "c t h w -> t c h w") for v in (one, other))
        return float(self.network(a, b).mean())
