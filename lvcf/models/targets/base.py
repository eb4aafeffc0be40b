"""What makes a network a target model: task, unit or labels, and a differentiable forward from clips in [-1, 1]."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import isfinite
from typing import Literal

from torch import Tensor, nn

from lvcf.errors import UserError

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

    Raises:
        UserError: a number is out of its range.
    """

    directions: int = 32
    radius: float = 0.1
    grid: int = 4
    budget: int = 2000
    batch: int = 16

    def __post_init__(self) -> None:
        for name, least in (("directions", 1), ("grid", 1), ("budget", 2), ("batch", 1)):
            value = getattr(self, name)
            if not value >= least:
                raise UserError(f"target_model plan.{name} {value}: give a whole number from {least} up")
        if not (isfinite(self.radius) and self.radius > 0.0):
            raise UserError(f"target_model plan.radius {self.radius:g}: give a number above 0, such as 0.1")


class TargetModel(nn.Module, ABC):
    """The frozen model being explained; it owns its preprocessing.

    Attributes:
        task: ``regression`` (``forward`` returns values ``(B,)``) or ``classification`` (logits ``(B, K)``).
        unit: the unit of a regressor's value.
        labels: a classifier's class names, in the order of its logits.
        multi_label: whether each logit says by its own sigmoid if its label is there, and not their softmax which one.
        scale: the training standard deviation of a regressor's value, which makes losses dimensionless.
        bounds: the range of values a regressor can be asked for.
        differentiable: whether gradients flow from the output to the clip.
        plan: how its gradient is asked for where they do not.
        queries: clips a model without gradients was asked about so far.
        remembers: whether a model without gradients keeps its answers, so as not to be asked twice.
        checked: whether :func:`lvcf.models.targets.check.check_target` has passed it.
        output: the name of the output that is explained, of a model that returns several.
        source: what messages call it: a file, an address; empty for its class's name.
    """

    task: Task = "regression"
    unit: str = ""
    labels: tuple[str, ...] = ()
    multi_label: bool = False
    scale: float = 1.0
    bounds: tuple[float, float] = (float("-inf"), float("inf"))
    differentiable: bool = True
    plan: QueryPlan = QueryPlan()
    queries: int = 0
    remembers: bool = True
    checked: bool = False
    output: str = ""
    source: str = ""

    def __call__(self, video: Tensor) -> Tensor:
        """``forward`` on a copy: a network that works in place must not change the clip it is asked about."""
        output: Tensor = super().__call__(video.clone())
        return output

    @abstractmethod
    def forward(self, video: Tensor) -> Tensor:
        """Clips ``(B, 3, T, H, W)`` in [-1, 1] to values ``(B,)`` or logits ``(B, K)``."""

    def class_of(self, output: Tensor, asked: float | None = None) -> str:
        """The class that one clip's logits ``(K,)`` say: the likeliest; empty of a regressor.

        A multi-label model may say several.  Given the index of the label asked for, that one counts if it is there
        (p >= 0.5), and else the likeliest of the others.
        """
        if self.task == "regression":
            return ""
        if self.multi_label and asked is not None:
            if float(output[int(asked)]) >= 0.0:
                return self.labels[int(asked)]
            output = output.index_fill(0, output.new_tensor([asked]).long(), float("-inf"))
        return self.labels[int(output.argmax())]

    def other_outputs(self, video: Tensor) -> dict[str, Tensor]:
        """What the outputs that are not explained say of clips ``(B, 3, T, H, W)``: rows ``(B, K)`` by name."""
        return {}

    def described(self, clips: Tensor) -> tuple[str, str]:
        """What the network is given for clips, and what to correct if it does not take that; for messages."""
        return f"clips of shape {tuple(clips.shape)}", "its forward"

    def freeze(self) -> TargetModel:
        """Eval mode, no gradient to any parameter: explaining must not change the model."""
        return self.eval().requires_grad_(False)
