"""Small networks and target models that several tests, and the command line, use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lvcf.models.targets.base import QueryPlan, TargetModel
from lvcf.models.targets.black_box import BlackBox
from lvcf.models.targets.wrapping import Answer, ClipInput

SIZE = (4, 8, 8)
TAKES = ClipInput(range=(0.0, 1.0), size=8, frames=4)
LABELS = ("dark", "mid", "bright")
CLASSES = Answer("classification", LABELS)
VALUE = Answer("regression", scale=0.2)


def clips(n: int = 3, size: tuple[int, int, int] = SIZE) -> Tensor:
    return 1.8 * torch.rand(n, 3, *size, generator=torch.Generator().manual_seed(3)) - 0.9


class Logits(nn.Module):
    """Three classes by brightness."""

    def forward(self, x: Tensor) -> Tensor:
        b = x.mean((1, 2, 3, 4))
        return torch.stack([8 * (0.4 - b), 0 * b, 8 * (b - 0.6)], 1)


class Softmax(Logits):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).softmax(1)


class Sigmoid(Logits):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).sigmoid()


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((1, 2, 3, 4))


def pt2(network: nn.Module, path: Path, shapes: object = None, example: Tensor | None = None) -> Path:
    given = clips(2) if example is None else example
    torch.export.save(torch.export.export(network, (given,), dynamic_shapes=shapes), path)
    return path


class Told(BlackBox):
    """A black box that says what a network says."""

    def __init__(self, network: nn.Module, answer: Answer) -> None:
        super().__init__("told", TAKES, answer, QueryPlan())
        self.network = network
        self.check()

    def ask(self, given: np.ndarray) -> np.ndarray:
        return self.network(torch.from_numpy(given)).numpy()


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
