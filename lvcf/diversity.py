"""Several counterfactuals of a clip: each is drawn away from those before it.  docs/method.md, 23."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lvcf.diffusion.parameterization import expand
from lvcf.guidance.gradient import normalised
from lvcf.sampling import SamplingCallback, SamplingState


class Diversity(SamplingCallback):
    """z0 <- z0 + weight t g / rms(g), g the gradient of log det K: how different a clip's counterfactuals are.

    K_ij = 1 / (1 + d_ij), d_ij the root mean square difference of two latents (DiCE, Mothilal et al. 2020); those
    before stay as they are.  The target model's guidance, behind it, answers to the step.

    Args:
        weight: of the step at t = 1, in units of the latent's own deviation.
    """

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def label(self) -> str:
        """Nothing: it is no method of reaching a target."""
        return ""

    def on_clean_estimate(self, state: SamplingState) -> None:
        """Move the active rows away from the counterfactuals that there are."""
        if state.others:
            rows = state.rows
            gradient = apart(state.clean + state.offset, [other[rows] for other in state.others])
            state.clean = state.clean + expand(self.weight * state.t, gradient) * normalised(gradient)


def apart(latent: Tensor, others: Sequence[Tensor]) -> Tensor:
    """The gradient of log det K at a latent ``(B, C, F, h, w)``, given others of the same clips."""
    with torch.enable_grad():
        point = latent.detach().float().requires_grad_(True)
        (gradient,) = torch.autograd.grad(log_det(torch.stack([point, *others])).sum(), point)
    return gradient


def log_det(latents: Tensor) -> Tensor:
    """log det K ``(B,)`` of counterfactuals ``(k, B, C, F, h, w)`` of each of B clips; 0 where all are far apart.

    As in DiCE's code, 1e-4 on the diagonal keeps K regular where two are one.
    """
    flat = latents.flatten(2).transpose(0, 1)
    distance = ((flat[:, :, None] - flat[:, None]).square().mean(-1) + 1e-12).sqrt()
    kernel = 1.0 / (1.0 + distance) + 1e-4 * torch.eye(len(latents), device=latents.device)
    found: Tensor = torch.linalg.slogdet(kernel).logabsdet
    return found
