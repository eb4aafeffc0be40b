"""The guidance weight lambda(t).  docs/method.md, 2 and 5."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from lvcf.checks import check_number


class GuidanceWeight(ABC):
    """From the dimensionless target loss ``(B,)`` and the time ``(B,)`` to the weight ``(B,)``.

    Attributes:
        adaptive: whether it follows the loss, which makes a method AGG.
        printed: what of the source paper's equations it takes as they are printed.
    """

    adaptive: bool = False
    printed: tuple[str, ...] = ()

    @abstractmethod
    def __call__(self, loss: Tensor, t: Tensor) -> Tensor:
        """The weight of a unit-RMS gradient."""


class ConstantWeight(GuidanceWeight):
    """The same weight always (the baselines' fixed guidance).

    Args:
        value: the weight; a negative one pushes away from the target.

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

    AG-LDM-CE's Eq. 3 falls as the loss grows, against its own text (:class:`PrintedWeight`); this is the rising form.

    Args:
        lambda_min: weight at the target.
        lambda_max: weight far from it.
        alpha: how fast the weight saturates with the loss.
        decay: power of the time; 0 leaves it out.

    Raises:
        UserError: a number is not finite, or ``alpha`` or ``decay`` is negative.
    """

    adaptive = True

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


class PrintedWeight(GuidanceWeight):
    """lambda_min + (lambda_max - lambda_min) exp(-alpha L): Eq. 3 as printed, largest at the target.  For comparison.

    Args:
        lambda_min: weight far from the target.
        lambda_max: weight at it.
        alpha: how fast the weight falls with the loss.

    Raises:
        UserError: a number is not finite, or ``alpha`` is negative.
    """

    adaptive = True
    printed = ("Eq. 3",)

    def __init__(self, lambda_min: float, lambda_max: float, alpha: float) -> None:
        check_number("PrintedWeight.lambda_min", lambda_min)
        check_number("PrintedWeight.lambda_max", lambda_max)
        check_number("PrintedWeight.alpha", alpha, 0.0)
        self.lambda_min, self.lambda_max, self.alpha = lambda_min, lambda_max, alpha

    def __call__(self, loss: Tensor, t: Tensor) -> Tensor:
        """See the base class."""
        return self.lambda_min + (self.lambda_max - self.lambda_min) * torch.exp(-self.alpha * loss)


class PrintedSign(GuidanceWeight):
    """Another weight with the sign of Eq. 2 as printed, which raises the loss.  For comparison.

    Args:
        weight: lambda(t).
    """

    def __init__(self, weight: GuidanceWeight) -> None:
        self.weight, self.adaptive = weight, weight.adaptive
        self.printed = ("the sign of Eq. 2", *weight.printed)

    def __call__(self, loss: Tensor, t: Tensor) -> Tensor:
        """See the base class."""
        return -self.weight(loss, t)
