"""One reverse step from a clean estimate, per sample: DDIM and DPM-Solver++(2M).  docs/method.md, 3.

Scales are per-sample vectors ``(B,)``; ``t`` is now, ``s`` < t is next.  A step never asks a model for anything.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lvcf.diffusion.parameterization import expand, noise_of

Scales = tuple[Tensor, Tensor]
"""alpha and sigma, each ``(B,)``."""


@dataclass
class History:
    """What DPM-Solver++(2M) remembers per sample: the last clean estimate and its half log-SNR (NaN: none)."""

    clean: Tensor
    log_snr: Tensor

    @classmethod
    def empty(cls, like: Tensor) -> History:
        """No step yet for a batch like ``like``."""
        return cls(torch.zeros_like(like), torch.full((len(like),), torch.nan, device=like.device))


def ddim_step(z_t: Tensor, clean: Tensor, now: Scales, following: Scales) -> Tensor:
    """z_s = alpha_s z0 + sigma_s eps with eps = (z_t - alpha_t z0) / sigma_t (Song et al. 2021, eta = 0)."""
    noise = noise_of(clean, z_t, *now)
    return expand(following[0], z_t) * clean + expand(following[1], z_t) * noise


def dpmpp_2m_step(z_t: Tensor, clean: Tensor, now: Scales, following: Scales, history: History) -> Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022, algorithm 2); first order on a sample's first and last step.

    With h the step in half log-SNR and r the ratio of the last step to it:
    z_s = (sigma_s / sigma_t) z_t - alpha_s (e^-h - 1) (z0 + (z0 - z0_last) / (2 r)).
    """
    h = half_log_snr(following) - half_log_snr(now)
    inverse_r = h / (half_log_snr(now) - history.log_snr)
    second_order = history.log_snr.isfinite() & (following[1] > 0) & inverse_r.isfinite()
    weight = torch.where(second_order, 0.5 * inverse_r, torch.zeros_like(h))
    slope = expand(weight, z_t) * (clean - history.clean)
    ratio = expand(following[1] / now[1], z_t)
    return ratio * z_t - expand(following[0] * torch.expm1(-h), z_t) * (clean + slope)


def half_log_snr(scales: Scales) -> Tensor:
    """log(alpha / sigma): infinite at the clean end."""
    return scales[0].log() - scales[1].log()
