"""Estimators of the target gradient at the clean estimate.  docs/method.md, 2 and 6.

``read`` maps latents to M's output, differentiably (decode, then M); the denoiser is never differentiated.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor

from lvcf.diffusion.parameterization import expand
from lvcf.guidance.goal import Goal

Read = Callable[[Tensor], Tensor]


def target_gradient(read: Read, clean: Tensor, goal: Goal) -> tuple[Tensor, Tensor]:
    """The gradient of the target loss at ``clean`` ``(B, C, F, H, W)``, and M's output there."""
    with torch.enable_grad():
        point = clean.detach().requires_grad_(True)
        output = read(point)
        (gradient,) = torch.autograd.grad(goal.loss(output).sum(), point)
    return gradient, output.detach()


def smooth_gradient(read: Read, clean: Tensor, goal: Goal, perturbations: Tensor, at_once: int | None = None) -> Tensor:
    """SmoothGrad (Smilkov et al. 2017): the mean gradient over ``clean + perturbations[i]``.

    Args:
        read: latents, stacked copies of the batch, to M's output.
        clean: ``(B, ...)``.
        goal: the batch's targets.
        perturbations: ``(n, B, ...)``; n = 1 is RG, the gradient at one random point.
        at_once: how many perturbations go through the decoder and M in one batch; all of them by default.
    """
    gradients, size = [], at_once or len(perturbations)
    for start in range(0, len(perturbations), size):
        some = perturbations[start : start + size]
        points = rearrange(clean + some, "n b ... -> (n b) ...")
        gradient, _ = target_gradient(read, points, goal.repeat(len(some)))
        gradients.append(rearrange(gradient, "(n b) ... -> n b ...", n=len(some)))
    return torch.cat(gradients).mean(0)


def normalised(gradient: Tensor) -> Tensor:
    """g sqrt(numel) / (|g| + 1e-12) per sample: root mean square 1 whatever the loss's size."""
    flat = gradient.flatten(1)
    norm = flat.norm(dim=1) + 1e-12
    scaled: Tensor = flat * (flat.shape[1] ** 0.5 / norm)[:, None]
    return scaled.view_as(gradient)


def attention_mask(gradient: Tensor, quantile: float = 0.8) -> Tensor:
    """SGA's mask ``(B, 1, F, H, W)``: where the channel mean of |g| is among the strongest."""
    return strongest(gradient.abs().mean(dim=1, keepdim=True), quantile)


def strongest(strength: Tensor, quantile: float = 0.8) -> Tensor:
    """Where a map ``(B, 1, F, H, W)``, min-max scaled per clip, exceeds its quantile: 1 there, else 0."""
    flat = strength.flatten(1)
    low, high = flat.min(1, keepdim=True).values, flat.max(1, keepdim=True).values
    scaled = (flat - low) / (high - low + 1e-12)
    threshold = scaled.quantile(quantile, dim=1, keepdim=True)
    return (scaled > threshold).to(strength.dtype).view_as(strength)


def bounded(step: Tensor, largest: float) -> Tensor:
    """A step ``(N, ...)`` whose root mean square per sample is at most ``largest``."""
    rms = step.flatten(1).square().mean(1).sqrt()
    return step * expand(torch.clamp(largest / (rms + 1e-12), max=1.0), step)
