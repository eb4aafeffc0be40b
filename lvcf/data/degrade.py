"""Random degradations for training models that should read anatomy and motion, not pixels' fine grain."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur


def degrade(video: Tensor, blur: float, noise: float, gain: float) -> Tensor:
    """Blur, scale and add noise to clips ``(B, 3, T, H, W)`` in [-1, 1]; each strength is drawn once per call.

    Args:
        video: the clips.
        blur: largest standard deviation of the spatial blur, in pixels; every second call leaves it out.
        noise: largest standard deviation of the noise, on the [-1, 1] scale.
        gain: largest relative change of brightness.
    """
    sigma, level, change = torch.rand(3).tolist()
    if torch.rand(()) < 0.5:
        flat = rearrange(video, "b c t h w -> (b t) c h w")
        flat = gaussian_blur(flat, [9, 9], [max(sigma * blur, 0.05)] * 2)
        video = rearrange(flat, "(b t) c h w -> b c t h w", b=len(video))
    video = (video + 1.0) * (1.0 + gain * (2.0 * change - 1.0)) - 1.0
    shared = torch.randn_like(video[:, :1])  # gray clips stay gray
    degraded: Tensor = (video + level * noise * shared).clamp(-1, 1)
    return degraded
