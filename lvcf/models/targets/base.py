"""What makes a network a target model: task, unit or labels, and a differentiable forward from clips in [-1, 1]."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

Task = Literal["regression", "classification"]


@dataclass(frozen=True)
class QueryPlan:
    """How the gradient of a model that has none is asked for; see :mod:`lvcf.guidance.queries`.

    Attributes:
        directions: random directions per gradient; each costs two queries.
        radius: root mean square of a probe, in units of the latent's own deviation.
        grid: probes are smooth: drawn on a grid coarser by this factor in height and width; 1 draws every voxel.
        budget: most queries for gradients per clip; what is left when it is spent stays as it is.
        batch: clips decoded and asked about at once.
    """

    directions: int = 32
    radius: float = 0.1
    grid: int = 4
    budget: int = 2000
    batch: int = 16


class TargetModel(nn.Module, ABC):
    """The frozen model being explained; it owns its preprocessing.

    Attributes:
        task: ``regression`` (``forward`` returns values ``(B,)``) or ``classification`` (logits ``(B, K)``).
        unit: the unit of a regressor's value.
        labels: a classifier's class names, in the order of its logits.
        scale: the training standard deviation of a regressor's value, which makes losses dimensionless.
        bounds: the range of values a regressor can be asked for.
        differentiable: whether gradients flow from the output to the clip.
        plan: how its gradient is asked for where they do not.
        queries: clips a model without gradients was asked about so far.
    """

    task: Task = "regression"
    unit: str = ""
    labels: tuple[str, ...] = ()
    scale: float = 1.0
    bounds: tuple[float, float] = (float("-inf"), float("inf"))
    differentiable: bool = True
    plan: QueryPlan = QueryPlan()
    queries: int = 0

    @abstractmethod
    def forward(self, video: Tensor) -> Tensor:
        """Clips ``(B, 3, T, H, W)`` in [-1, 1] to values ``(B,)`` or logits ``(B, K)``."""

    def class_of(self, output: Tensor) -> str:
        """The class that one clip's logits ``(K,)`` say; empty of a regressor."""
        return self.labels[int(output.argmax())] if self.task == "classification" else ""

    def freeze(self) -> TargetModel:
        """Eval mode, no gradient to any parameter: explaining must not change the model."""
        return self.eval().requires_grad_(False)
