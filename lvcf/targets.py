"""Targets as they are written: ``30``, ``delta:-10``, ``20..30``, ``label``, ``uniform:15..80:10``, a class, ``other``.

The only parser of them; what M can be asked for bounds them here.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from lvcf.errors import UserError, nearest
from lvcf.models.targets.base import TargetModel


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
