"""Counterfactual latent divergence (CLD): is the counterfactual nearer to its clip than real clips of the target are?

Sanchez & Tsaftaris (Diffusion causal models for counterfactual estimation, CLeaR 2022); a metric of minimality in
Melistas et al. (Benchmarking counterfactual image generation, NeurIPS 2024), which also takes other embeddings than
a VAE's, and the distance that goes with them.
"""

from __future__ import annotations

import math

from torch import Tensor

WEIGHTS = (0.8, 0.2)
"""Of the two shares, as the code of Melistas et al. sets them; they add up to 1, so that CLD is in [0, 1]."""


def posterior_divergence(mean: Tensor, log_std: Tensor, of_mean: Tensor, of_log_std: Tensor) -> Tensor:
    """KL(N(mean, std) || N(of_mean, of_std)) in nats per latent number: the distance d of two VAE posteriors.

    Args:
        mean: of other clips or of a counterfactual ``(n, D)``.
        log_std: logarithm of their standard deviations ``(n, D)``; half a VAE's ``logvar``.
        of_mean: of the factual clip ``(D,)``.
        of_log_std: the same of the factual clip ``(D,)``.

    Returns:
        ``(n,)``, 0 or more.
    """
    ratio = log_std - of_log_std
    moved = ((mean - of_mean) / of_log_std.exp()) ** 2
    return (0.5 * ((2.0 * ratio).exp() + moved - 1.0) - ratio).mean(dim=-1)


def feature_distance(features: Tensor, of_features: Tensor) -> Tensor:
    """Mean absolute difference of features ``(n, D)`` from a clip's ``(D,)``: the distance d without a posterior."""
    return (features - of_features).abs().mean(dim=-1)


def latent_divergence(distance: float, own: Tensor, target: Tensor) -> float:
    """CLD = log(w1 exp P(S_target <= d) + w2 exp P(S_own >= d)), in [0, 1]; lower is better.

    The first share is small if few real clips of the target are as near to the factual clip as the counterfactual is:
    little was changed.  The second is small if the counterfactual has left the clips that are like the factual one.

    Args:
        distance: d of the counterfactual from its factual clip.
        own: S_own ``(n,)``, of other real clips that show what the factual one shows, from it.
        target: S_target ``(m,)``, of real clips that show the target, from it.

    Returns:
        NaN where there are no such clips.
    """
    if not (own.numel() and target.numel()):
        return math.nan
    nearer, farther = (float(share.double().mean()) for share in (target <= distance, own >= distance))
    return math.log(WEIGHTS[0] * math.exp(nearer) + WEIGHTS[1] * math.exp(farther))
