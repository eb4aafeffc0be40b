"""What makes a network a target model: task, unit or labels, and a differentiable forward from clips in [-1, 1]."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

from torch import Tensor, nn

Task = Literal["regression", "classification"]


class TargetModel(nn.Module, ABC):
    """The frozen model being explained; it owns its preprocessing.

    Attributes:
        task: ``regression`` (``forward`` returns values ``(B,)``) or ``classification`` (logits ``(B, K)``).
        unit: the unit of a regressor's value.
        labels: a classifier's class names, in the order of its logits.
        scale: the training standard deviation of a regressor's value, which makes losses dimensionless.
        bounds: the range of values a regressor can be asked for.
        differentiable: whether gradients flow from the output to the clip.
    """

    task: Task = "regression"
    unit: str = ""
    labels: tuple[str, ...] = ()
    scale: float = 1.0
    bounds: tuple[float, float] = (float("-inf"), float("inf"))
    differentiable: bool = True

    @abstractmethod
    def forward(self, video: Tensor) -> Tensor:
        """Clips ``(B, 3, T, H, W)`` in [-1, 1] to values ``(B,)`` or logits ``(B, K)``."""

    def freeze(self) -> TargetModel:
        """Eval mode, no gradient to any parameter: explaining must not change the model."""
        return self.eval().requires_grad_(False)
