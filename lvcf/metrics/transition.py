"""Is it the changed voxels that change M's mind?  COUT, insertion and deletion along the size of the change.

Khorram & Fuxin (CVPR 2022) move an image towards its counterfactual by the most changed pixels first and follow the
probabilities of both classes.  Here voxels of a clip take the place of pixels, and a regressor's progress to the target
that of the target class's probability.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

STEPS = 16
"""Equal parts in which the voxels move; Khorram & Fuxin take 50 of an image."""
BATCH = 4
Read = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From clips ``(B, 3, T, H, W)`` to how much M says the target and its first answer, both ``(B,)`` in [0, 1]."""


@dataclass(frozen=True)
class Curves:
    """M's answers on the way, each ``(steps + 1,)`` in [0, 1].

    Attributes:
        target: the target, while the most changed voxels are put in first.
        original: what M said before, on the same clips.
        deleted: the target, while the most changed voxels are taken back first.
    """

    target: Tensor
    original: Tensor
    deleted: Tensor


def progress(reading: Tensor, before: float, low: float, high: float) -> Tensor:
    """How far a regressor's readings ``(B,)`` have come from ``before`` to [low, high], in [0, 1]; NaN if there.

    1 - the distance left / the distance at the start.
    """
    start = max(low - before, before - high, 0.0)
    left = torch.relu(low - reading) + torch.relu(reading - high)
    return (1.0 - left / start).clamp(0.0, 1.0) if start else torch.full_like(reading, float("nan"))


def change_order(factual: Tensor, final: Tensor) -> Tensor:
    """Indices of the voxels ``(T * H * W,)``, the most changed (|difference| summed over colours) first."""
    return (final - factual).abs().sum(dim=0).flatten().argsort(descending=True, stable=True)


@torch.no_grad()
def follow(factual: Tensor, final: Tensor, read: Read, steps: int = STEPS) -> Curves:
    """Ask M about the clips between two clips ``(3, T, H, W)``."""
    order = change_order(factual, final)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    moved = torch.linspace(0, len(order), steps + 1, device=order.device).round()
    masks = (rank < moved[:, None]).view(steps + 1, 1, *factual.shape[1:])
    pairs = [read(torch.where(mask, final, factual)) for mask in torch.split(masks, BATCH)]
    deleted = [read(torch.where(mask, factual, final))[0] for mask in torch.split(masks, BATCH)]
    target, original = (torch.cat(part).double() for part in zip(*pairs, strict=True))
    return Curves(target, original, torch.cat(deleted).double())


def area(curve: Tensor) -> float:
    """Area under a curve over [0, 1], by trapezoids (AUPC)."""
    return float(torch.trapezoid(curve, dx=1.0 / (len(curve) - 1)))


def cout(target: Tensor, original: Tensor) -> float:
    """AUPC of the target minus AUPC of what M said before, in [-1, 1]: 1 if the first voxels turn M round entirely."""
    return area(target) - area(original)
