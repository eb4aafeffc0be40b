"""Does M now say what was asked?  Torchmetrics' errors against the target's nearest edge; shares of clips."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torchmetrics import MeanAbsoluteError, MeanSquaredError, R2Score

from lvcf.metrics.clip_metric import ClipMetric


def nearest_edge(after: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The value in [low, high] nearest to M's reading; all ``(B,)``, in M's unit.  A reading inside is its own."""
    return torch.minimum(torch.maximum(after, low), high)


def within_tolerance(after: float, low: float, high: float, tolerance: float) -> float:
    """1 if a regressor's reading is at most ``tolerance`` outside [low, high], else 0 (docs/method.md, 4)."""
    return float(max(low - after, after - high, 0.0) <= tolerance)


def flipped(before: str, after: str, target: str) -> float:
    """1 if M says the target's class and did not before, 0 if it still does not; NaN if it said so from the start."""
    return math.nan if before == target else float(after == target)


def flipped_from_right(before: str, after: str, target: str, label: str) -> float:
    """:func:`flipped` of a clip whose class M had right before; NaN of the others."""
    return flipped(before, after, target) if before == label else math.nan


def target_confidence(probability: float) -> float:
    """The probability in [0, 1] that a classifier gives the target's class on the counterfactual."""
    return probability


class TargetMeanAbsoluteError(MeanAbsoluteError):
    """Mean absolute error to the target's nearest edge, in M's unit."""

    def update(self, after: Tensor, low: Tensor, high: Tensor) -> None:  # type: ignore[override]  # a range is a target
        """Add readings and the edges of their targets, ``(B,)``."""
        super().update(after, nearest_edge(after, low, high))


class TargetRootMeanSquaredError(MeanSquaredError):
    """Root of the mean squared error to the target's nearest edge, in M's unit."""

    def __init__(self, **options: Any) -> None:
        super().__init__(squared=False, **options)

    def update(self, after: Tensor, low: Tensor, high: Tensor) -> None:  # type: ignore[override]  # a range is a target
        """Add readings and the edges of their targets, ``(B,)``."""
        super().update(after, nearest_edge(after, low, high))


class TargetR2(R2Score):
    """R2 of the readings as predictions of their targets' nearest edges; undefined where all of these are the same."""

    def update(self, after: Tensor, low: Tensor, high: Tensor) -> None:  # type: ignore[override]  # a range is a target
        """Add readings and the edges of their targets, ``(B,)``."""
        super().update(after, nearest_edge(after, low, high))


class WithinTolerance(ClipMetric):
    """Share of clips within tolerance."""

    of_clip = staticmethod(within_tolerance)


class FlipRate(ClipMetric):
    """Share of clips that flipped, of those asked for another class than M's own."""

    of_clip = staticmethod(flipped)


class FlipRateFromRight(ClipMetric):
    """Share of clips that flipped, of those that M had right and that were asked for another class."""

    of_clip = staticmethod(flipped_from_right)


class TargetConfidence(ClipMetric):
    """Mean probability of the target's class."""

    of_clip = staticmethod(target_confidence)
