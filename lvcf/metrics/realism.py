"""Do the counterfactuals look like real clips?  Distances between sets of features: FID, FVD, KID."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from lvcf.errors import UserError


def frechet_distance(real: Tensor, fake: Tensor) -> float:
    """Frechet distance of two Gaussians fitted to features ``(n, D)`` and ``(m, D)``: FID (Heusel et al. 2017), FVD.

    |mu - mu'|^2 + tr(S + S' - 2 (S S')^(1/2)) with unbiased covariances.  The trace of the root is the nuclear norm of
    X X'^T / sqrt((n - 1)(m - 1)) for centred features, so no root of a singular matrix is taken.

    Raises:
        UserError: a set has fewer than two members.
    """
    _check_sizes(real, fake)
    means, roots = [], []
    for features in (real.double(), fake.double()):
        means.append(features.mean(dim=0))
        centred = (features - means[-1]) / (len(features) - 1) ** 0.5
        roots.append(torch.linalg.qr(centred, mode="r").R)
    cross = torch.linalg.svdvals(roots[0] @ roots[1].T).sum()
    spread = sum(float(root.square().sum()) for root in roots)
    return float((means[0] - means[1]).square().sum()) + spread - 2.0 * float(cross)


def kernel_distance(real: Tensor, fake: Tensor) -> float:
    """KID (Binkowski et al. 2018): unbiased squared MMD under (x . y / D + 1)^3, over all pairs of the two sets.

    Below 0 by chance where the sets are alike.

    Raises:
        UserError: a set has fewer than two members.
    """
    _check_sizes(real, fake)
    x, y = real.double(), fake.double()
    within = sum(float(_off_diagonal_mean(_kernel(v, v))) for v in (x, y))
    return within - 2.0 * float(_kernel(x, y).mean())


def _check_sizes(real: Tensor, fake: Tensor) -> None:
    """Refuse sets without spread.

    Raises:
        UserError: a set has fewer than two members.
    """
    for name, features in (("real", real), ("counterfactual", fake)):
        if len(features) < 2:
            raise UserError(f"a distance between sets needs two or more {name} samples, not {len(features)}")


def warn_if_few(n: int, dimension: int, name: str) -> None:
    """A covariance of ``dimension`` features from fewer samples is singular: the distance is biased upwards."""
    if n < dimension:
        warnings.warn(
            f"{name}: {n} samples for {dimension} features; the distance is biased upwards, read it beside its floor",
            stacklevel=2,
        )


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1.0) ** 3


def _off_diagonal_mean(square: Tensor) -> Tensor:
    n = len(square)
    return (square.sum() - square.diagonal().sum()) / (n * (n - 1))
