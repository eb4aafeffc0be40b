"""The guidance weight lambda(t).  DESIGN equation 5."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from lvcf.checks import check_number


class GuidanceWeight(ABC):
    """From the dimensionless target loss ``(B,)`` and the time ``(B,)`` to the weight ``(B,)``."""

    @abstractmethod
    def __call__(self, loss: Tensor, t: Tensor) -> Tensor:
        """The weight of a unit-RMS gradient."""


class ConstantWeight(GuidanceWeight):
    """The same weight always (the baselines' fixed guidance).

    Args:
        value: the weight; a negative one pushes away from the target, as the paper's Eq. 2 read literally does.

    Raises:
        UserError: it is not finite.
    """

    def __init__(self, value: float) -> None:
        check_number("ConstantWeight.value", value)
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

    Raises:
        UserError: a number is not finite, or ``alpha`` or ``decay`` is negative.
    """

    def __init__(self, lambda_min: float, lambda_max: float, alpha: float, decay: float = 0.0) -> None:
        check_number("AdaptiveWeight.lambda_min", lambda_min)
        check_number("AdaptiveWeight.lambda_max", lambda_max)
        check_number("AdaptiveWeight.alpha", alpha, 0.0)
        check_number("AdaptiveWeight.decay", decay, 0.0)
        self.lambda_min, self.lambda_max, self.alpha, self.decay = lambda_min, lambda_max, alpha, decay

    def __call__(self, loss: Tensor, t: Tensor) -> Tensor:
        """See the base class."""
        weight = self.lambda_min + (self.lambda_max - self.lambda_min) * -torch.expm1(-self.alpha * loss)
        return weight * t**self.decay
