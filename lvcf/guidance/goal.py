"""What the target model should say, per sample: the target loss and its tolerance.  docs/method.md, 4."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from lvcf.errors import UserError, nearest
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
            return self._log_odds(output) >= aim
        return self._distance(output) <= aim * self.tolerance

    def newton(self, output: Tensor, aim: float) -> Tensor:
        """How long a Newton step is, ``(B,)``: the step is this times g / |g|^2, g being the loss's gradient.

        It would put a linear value on the target's nearest edge, and linear log-odds on ``aim``: of a distance d, the
        loss d^2 has g = 2 d d', so the step d d' / |d'|^2 is 2 L g / |g|^2; of log-odds l, the cross-entropy
        log(1 + exp(-l)) has g = -(1 - p) l', so (aim - l) l' / |l'|^2 is -(aim - l) (1 - p) g / |g|^2.
        """
        if self.classification:
            odds = self._log_odds(output)
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

    def _log_odds(self, output: Tensor) -> Tensor:
        """Of the asked class against all others together; of a multi-label model its logit is just that."""
        if self.multi_label:
            return self._asked(output)
        others = output.scatter(1, self.low.long()[:, None], float("-inf")).logsumexp(-1)
        return self._asked(output) - others

    def _distance(self, value: Tensor) -> Tensor:
        return functional.relu(self.low - value) + functional.relu(value - self.high)


@dataclass(frozen=True)
class TargetRequest:
    """A parsed ``--model.target``: a value, ``delta:``, a range, ``label``, a class; drawn: ``uniform:`` and ``other``.

    Attributes:
        text: as written.
        kind: value, delta, range, label, uniform, class or other.
        numbers: its numbers, in the order written; of ``other`` the number of classes.
        bounds: the values that M can be asked for; what a clip's reading or label leads outside is asked for as the
            nearest bound.
    """

    text: str
    kind: str
    numbers: tuple[float, ...]
    bounds: tuple[float, float] = (-math.inf, math.inf)

    def edges(self, before: float, label: float, draw: float) -> tuple[float, float]:
        """Lower and upper edge for a clip that M reads as ``before``, within the bounds.

        A class is its index; ``other`` is each class but M's own with the same probability.

        Args:
            before: M's reading.
            label: the clip's own.
            draw: in [0, 1), for what is drawn.
        """
        low, high = self._asked(before, label, draw)
        least, most = self.bounds
        return min(max(low, least), most), min(max(high, least), most)

    def clipped(self, before: float, label: float, draw: float) -> bool:
        """Whether the bounds changed what was asked."""
        return self.edges(before, label, draw) != self._asked(before, label, draw)

    def _asked(self, before: float, label: float, draw: float) -> tuple[float, float]:
        if self.kind == "label":
            return label, label
        if self.kind == "delta":
            return before + self.numbers[0], before + self.numbers[0]
        if self.kind == "other":
            chosen = int(draw * (self.numbers[0] - 1))
            return (float(chosen + (chosen >= before)),) * 2
        if self.kind == "uniform":
            low, high, away = self.numbers
            value = _uniform_away(before, low, high, away, draw)
            return value, value
        return self.numbers[0], self.numbers[-1]


_NUMBER = r"([+-]?\d+(?:\.\d+)?)"
_FORMS = {
    "label": "label",
    "value": _NUMBER,
    "delta": f"delta:{_NUMBER}",
    "range": rf"{_NUMBER}\.\.{_NUMBER}",
    "uniform": rf"uniform:{_NUMBER}\.\.{_NUMBER}:{_NUMBER}",
}


def parse_target(text: str, model: TargetModel) -> TargetRequest:
    """Read a target for ``model``.

    Raises:
        UserError: no such form or class, or a value the model cannot say.
    """
    if model.task == "classification":
        if text in model.labels and text in ("other", "label"):
            raise UserError(f"target '{text}': the model has a class of that name, which is also a request; rename it")
        if text == "other":
            return TargetRequest(text, "other", (float(len(model.labels)),))
        if text == "label":
            return TargetRequest(text, "label", ())
        if text not in model.labels:
            raise UserError(f"target '{text}': {_no_such_class(text, model.labels)}")
        return TargetRequest(text, "class", (float(model.labels.index(text)),))
    for kind, form in _FORMS.items():
        if match := re.fullmatch(form, text):
            request = TargetRequest(text, kind, tuple(float(g) for g in match.groups()), model.bounds)
            _check_bounds(request, model)
            return request
    raise UserError(f"target '{text}': write 30, delta:-10, 20..30, label or uniform:15..80:10")


def _no_such_class(text: str, labels: tuple[str, ...]) -> str:
    near = nearest(text, labels)
    known = ", ".join(labels[:10]) + (", ..." if len(labels) > 10 else "")
    return f"no such class; {f'did you mean {near}?' if near else f'choose one of {known}, or write other'}"


def _check_bounds(request: TargetRequest, model: TargetModel) -> None:
    low, high = model.bounds
    values = () if request.kind == "delta" else request.numbers[:2]
    outside = [v for v in values if not low <= v <= high]
    if outside:
        raise UserError(
            f"target '{request.text}': {outside[0]:g} is outside the model's {low:g}..{high:g} {model.unit}"
        )
    if len(values) == 2 and values[0] > values[1]:
        raise UserError(f"target '{request.text}': the lower edge is above the upper one; swap them")
    if request.kind == "uniform" and request.numbers[2] < 0.0:
        raise UserError(f"target '{request.text}': the distance kept from M's reading cannot be negative")


def _uniform_away(before: float, low: float, high: float, away: float, draw: float) -> float:
    """The quantile ``draw`` of the uniform distribution on [low, high] without (before - away, before + away)."""
    below = max(min(before - away, high) - low, 0.0)
    above = max(high - max(before + away, low), 0.0)
    if below + above <= 0.0:
        return low if abs(before - low) > abs(high - before) else high
    place = draw * (below + above)
    value = low + place if place < below else high - (below + above - place)
    return math.floor(value * 100.0) / 100.0


def make_goal(edges: list[tuple[float, float]], model: TargetModel, tolerance: float) -> Goal:
    """Goals of a batch from each sample's edges."""
    low, high = torch.tensor(edges, dtype=torch.float32).T
    return Goal(low, high, model.scale, tolerance, model.task == "classification", model.multi_label)
