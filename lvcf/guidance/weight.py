"""The guidance weight lambda(t).  DESIGN equation 5."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor


class GuidanceWeight(ABC):
    """From the dimensionless target loss ``(B,)`` and the time ``(B,)`` to the weight ``(B,)``."""

    @abstractmethod
    def __call__(self, loss: Tensor, t: Tensor) -> Tensor:
        """The weight of a unit-RMS gradient."""


class ConstantWeight(GuidanceWeight):
    """The same weight always (the baselines' fixed guidance)."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __call__(self, loss: Tensor, t: Tensor) -> Tensor:
        """See the base class."""
        return torch.full_like(loss, self.value)


class AdaptiveWeight(GuidanceWeight):
    """lambda_min + (lambda_max - lambda_min) (1 - exp(-alpha L)), times t^decay.

    AG-LDM-CE's Eq. 3 falls as the loss grows, against its own text; this is the rising form.

    Args:
        lambda_min: weight at the target.
        lambda_max: weight far from it.
        alpha: how fast the weight saturates with the loss.
        decay: power of the time; 0 leaves it out.
    """

    def __init__(self, lambda_min: float, lambda_max: float, alpha: float, decay: float = 0.0) -> None:
        self.lambda_min, self.lambda_max, self.alpha, self.decay = lambda_min, lambda_max, alpha, decay

    def __call__(self, loss: Tensor, t: Tensor) -> Tensor:
        """See the base class."""
        weight = self.lambda_min + (self.lambda_max - self.lambda_min) * -torch.expm1(-self.alpha * loss)
        return weight * t**self.decay
