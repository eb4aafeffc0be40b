"""A judge of real faces: face-api's age and gender network."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lvcf.checks import check_number
from lvcf.errors import UserError
from lvcf.models.targets.face_age_gender import face_age_gender
from lvcf.models.targets.face_expression import WHOLE, Box
from lvcf.steering.answers import Observation, Question, Reply, Seen, most_probable
from lvcf.steering.judges.base import Judge, Shown

KNOWN = {"age": ("young", "old"), "gender": ("woman", "man")}
"""What it can be asked, and the options."""


class FaceAgeGenderJudge(Judge):
    """Says *young* or *old*, *woman* or *man*, by what face-api's network makes of every frame on average.

    The network knows no other ages than its years and two genders, and was trained on photographs; what it says of a
    person is no fact about them.  Years have no probability: the confidence of an age is 1/2 at ``old_from`` and grows
    over ``spread`` years to 1.

    Args:
        weights: the published files' folder, or the shipped ones by name.
        box: left, top, right and bottom of the face as shares of the clip's width and height.
        old_from: years from which a person is old.
        spread: years from there to certainty.

    Raises:
        UserError: the weights do not load, the box is none, or a number is out of range.
    """

    def __init__(
        self, weights: str = "face_age_gender", box: Box = WHOLE, old_from: float = 45.0, spread: float = 20.0
    ) -> None:
        check_number("judge.old_from", old_from, 0.0, 120.0)
        check_number("judge.spread", spread, 0.0, above=True)
        self.network = face_age_gender(weights, box)
        self.weights, self.old_from, self.spread = weights, old_from, spread

    @property
    def identity(self) -> str:
        """The network and what counts as old."""
        return f"face-api {self.weights} {list(self.network.box)}, old from {self.old_from:g}"

    @torch.no_grad()
    def look(self, shown: Shown, questions: Sequence[Question]) -> Reply[Seen]:
        """See the base class.

        Raises:
            UserError: a question is none of age or gender, or has other options.
        """
        years, man = (float(value) for value in self.network(shown.video[None]))
        old = min(max(0.5 + (years - self.old_from) / (2.0 * self.spread), 0.0), 1.0)
        shares = {"age": {"young": 1.0 - old, "old": old}, "gender": {"woman": 1.0 - man, "man": man}}
        return Reply(Seen(answers=tuple(_answer(question, shares) for question in questions)))


def _answer(question: Question, shares: dict[str, dict[str, float]]) -> Observation:
    name, known = question.attribute, KNOWN.get(question.attribute, ())
    if not known or not set(question.options) <= set(known):
        can = "; ".join(f"{attribute}: {', '.join(options)}" for attribute, options in KNOWN.items())
        raise UserError(f"face-api's network is asked {name} ({', '.join(question.options)}); it can tell {can}")
    return most_probable(question, shares[name])
