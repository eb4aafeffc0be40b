"""What the target model should say, per sample: the target loss and its tolerance.  docs/method.md, 4."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from lvcf.models.targets.base import TargetModel

MIN_CONFIDENCE = 0.5
"""Least probability of the target class within tolerance."""


@dataclass
class Goal:
    """Targets of a batch; losses are dimensionless.

    Attributes:
        low: lower edge of the wanted values ``(B,)``; the class index of a classifier.
        high: upper edge ``(B,)``; equal to ``low`` for a single value.
        scale: the value's training standard deviation.
        tolerance: how far outside [low, high] still counts as reached, in the value's unit.
        classification: whether outputs are logits.
        multi_label: whether each logit has its own sigmoid, and not all one softmax.
    """

    low: Tensor
    high: Tensor
    scale: float
    tolerance: float
    classification: bool = False
    multi_label: bool = False

    def __getitem__(self, rows: Tensor) -> Goal:
        """The goals of some samples."""
        return replace(self, low=self.low[rows], high=self.high[rows])

    def to(self, device: torch.device) -> Goal:
        """The same goals on a device."""
        return replace(self, low=self.low.to(device), high=self.high.to(device))

    def repeat(self, n: int) -> Goal:
        """The goals of ``n`` stacked copies of the batch."""
        return replace(self, low=self.low.repeat(n), high=self.high.repeat(n))

    def loss(self, output: Tensor) -> Tensor:
        """Per sample ``(B,)``: ((distance to the nearest edge) / scale)^2, or the cross-entropy.

        Of a multi-label model, the binary cross-entropy of the asked label, which should be there.
        """
        if self.multi_label:
            return functional.softplus(-self._asked(output))
        if self.classification:
            return functional.cross_entropy(output, self.low.long(), reduction="none")
        return (self._distance(output) / self.scale) ** 2

    def reached(self, output: Tensor) -> Tensor:
        """Per sample ``(B,)`` bool: within tolerance."""
        if self.multi_label:
            return self.reading(output) >= MIN_CONFIDENCE
        if self.classification:
            return (output.argmax(-1) == self.low.long()) & (self.reading(output) >= MIN_CONFIDENCE)
        return self._distance(output) <= self.tolerance

    def settled(self, output: Tensor, aim: float) -> Tensor:
        """Per sample ``(B,)`` bool: reached with room to spare.

        Args:
            output: M's.
            aim: the share of the tolerance a value has to be within; the log-odds of a target class, of all others
                together, that a classifier has to give it at least (0 is a probability of one half).
        """
        if self.classification:
            return self.log_odds(output) >= aim
        return self._distance(output) <= aim * self.tolerance

    def newton(self, output: Tensor, aim: float) -> Tensor:
        """How long a Newton step is, ``(B,)``: the step is this times g / |g|^2, g being the loss's gradient.

        It would put a linear value on the target's nearest edge, and linear log-odds on ``aim``: of a distance d, the
        loss d^2 has g = 2 d d', so the step d d' / |d'|^2 is 2 L g / |g|^2; of log-odds l, the cross-entropy
        log(1 + exp(-l)) has g = -(1 - p) l', so (aim - l) l' / |l'|^2 is -(aim - l) (1 - p) g / |g|^2.
        """
        if self.classification:
            odds = self.log_odds(output)
            return (aim - odds) * torch.sigmoid(-odds)
        return 2.0 * self.loss(output)

    def reading(self, output: Tensor) -> Tensor:
        """What is reported ``(B,)``: the value, or the target class's probability."""
        if self.classification:
            return self._asked(self.probabilities(output))
        return output

    def probabilities(self, output: Tensor) -> Tensor:
        """A classifier's ``(B, K)``: of its classes, or of each label."""
        return output.sigmoid() if self.multi_label else output.softmax(-1)

    def _asked(self, numbers: Tensor) -> Tensor:
        return numbers.gather(1, self.low.long()[:, None])[:, 0]

    def log_odds(self, output: Tensor) -> Tensor:
        """Of the asked class against all others together; of a multi-label model its logit is just that."""
        if self.multi_label:
            return self._asked(output)
        others = output.scatter(1, self.low.long()[:, None], float("-inf")).logsumexp(-1)
        return self._asked(output) - others

    def _distance(self, value: Tensor) -> Tensor:
        return functional.relu(self.low - value) + functional.relu(value - self.high)


def make_goal(edges: list[tuple[float, float]], model: TargetModel, tolerance: float) -> Goal:
    """Goals of a batch from each sample's edges."""
    low, high = torch.tensor(edges, dtype=torch.float32).T
    return Goal(low, high, model.scale, tolerance, model.task == "classification", model.multi_label)
