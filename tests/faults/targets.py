"""Target models for the command line."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lvcf.models.targets.base import TargetModel


class Several(nn.Module):
    """Three labels that do not exclude each other."""

    def forward(self, x: Tensor) -> Tensor:
        bright, still = x.mean((1, 2, 3, 4)), x.diff(dim=2).abs().mean((1, 2, 3, 4))
        return torch.stack([6.0 * (bright + 0.7), 0.5 + still, -4.0 - bright], 1)


class Tuple(TargetModel):
    """Not what a target model returns."""

    bounds = (0.0, 100.0)

    def forward(self, video: Tensor) -> Tensor:
        return (50.0 + video.mean((1, 2, 3, 4)),)  # type: ignore[return-value]
