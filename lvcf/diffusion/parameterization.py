"""From what a denoiser predicts to the clean estimate and the noise estimate, never dividing by alpha where avoidable.

All functions take per-sample scales ``alpha`` and ``sigma`` of shape ``(B,)``, or one per latent frame ``(B, F)``, and
latents ``(B, ...)`` with z_t = alpha z_0 + sigma eps, and return (z0_hat, eps_hat).  docs/method.md, 1 and 17.
"""

from __future__ import annotations

from torch import Tensor


def expand(scale: Tensor, like: Tensor) -> Tensor:
    """``(B,)`` to ``(B, 1, ..., 1)``, and ``(B, F)`` to ``(B, 1, F, 1, 1)``."""
    shape = (-1, *[1] * (like.ndim - 1)) if scale.ndim == 1 else (len(scale), 1, -1, 1, 1)
    return scale.view(shape)


def from_epsilon(epsilon: Tensor, z_t: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Noise prediction: z0 = (z_t - sigma eps) / alpha."""
    return (z_t - expand(sigma, z_t) * epsilon) / expand(alpha, z_t), epsilon


def from_v(v: Tensor, z_t: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """v-prediction (Salimans & Ho 2022), alpha^2 + sigma^2 = 1: z0 = alpha z_t - sigma v, eps = sigma z_t + alpha v."""
    a, s = expand(alpha, z_t), expand(sigma, z_t)
    return a * z_t - s * v, s * z_t + a * v


def from_flow(flow: Tensor, z_t: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Flow velocity u = eps - z_0 with alpha = 1 - t, sigma = t: z0 = z_t - t u, eps = z_t + (1 - t) u."""
    return z_t - expand(sigma, z_t) * flow, z_t + expand(alpha, z_t) * flow


ESTIMATES = {"epsilon": from_epsilon, "v_prediction": from_v, "flow_prediction": from_flow}
"""By what a denoiser predicts, in diffusers' words."""


def noise_of(clean: Tensor, z_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """The noise that makes z_t from a (guided) clean estimate: eps = (z_t - alpha z0) / sigma.  Needs sigma > 0."""
    return (z_t - expand(alpha, z_t) * clean) / expand(sigma, z_t)
