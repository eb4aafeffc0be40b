"""Judges of the face phantom: a network that steers, and a ruler in the pixels that evaluates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from lvcf.data.clip import to_frames
from lvcf.data.face_attributes import ATTRIBUTES
from lvcf.data.video import clip_indices
from lvcf.errors import UserError, hint
from lvcf.models.targets.face_attributes import AttributeResNet3D, attribute_resnet_3d
from lvcf.phantoms.face.attributes import measure_attributes
from lvcf.phantoms.face.set import frame_times, read_factors
from lvcf.steering.answers import Observation, Question, Reply, Seen, most_probable
from lvcf.steering.judges.base import Judge, Shown, check_shown


class FaceNetworkJudge(Judge):
    """The offline steering judge: a small classifier of the face phantom's attributes.

    Args:
        network: the classifier.
    """

    def __init__(self, network: AttributeResNet3D) -> None:
        self.network = network.eval().requires_grad_(False)

    @property
    def identity(self) -> str:
        """The network's class."""
        return f"network {type(self.network).__name__}"

    def look(self, shown: Shown, questions: Sequence[Question]) -> Reply[Seen]:
        """The most probable values; the confidence is their probability."""
        check_known(questions)
        device = next(self.network.parameters()).device
        (tables,) = self.network.probabilities(shown.video[None].to(device))
        return Reply(Seen(answers=tuple(most_probable(q, tables[q.attribute]) for q in questions)))


class FaceRulerJudge(Judge):
    """The offline evaluating judge: the ruler of a simulated set, which no network shares anything with.

    Args:
        root: the set, whose ``Factors.csv`` tells who is shown.
        frames: frames that are measured, evenly spaced.

    Raises:
        UserError: the set is not simulated, or no frame is measured.
    """

    def __init__(self, root: Path, frames: int = 2) -> None:
        self.root, self.number = Path(root), check_shown(frames)
        self.factors = read_factors(self.root)
        if not self.factors:
            raise UserError(f"{root}: no such simulated face set; the ruler needs its Factors.csv: lvcf simulate face")

    @property
    def identity(self) -> str:
        """The ruler and its set."""
        return f"ruler {self.root}"

    def look(self, shown: Shown, questions: Sequence[Question]) -> Reply[Seen]:
        """The nearest painted combination; the confidence is its margin.

        Raises:
            UserError: the clip is none of the set's.
        """
        check_known(questions)
        if shown.id not in self.factors:
            raise UserError(f"{self.root}: Factors.csv has no clip {shown.id}; give the ruler the set that is edited")
        grid, length = frame_times(), shown.video.shape[1]
        times = grid[clip_indices(grid, length, shown.fps)]
        places = np.linspace(0, length - 1, self.number).round().astype(int)
        reading = measure_attributes(to_frames(shown.video)[places], self.factors[shown.id], times[places])
        answers = (
            Observation(attribute=name, observed=reading.values[name], confidence=reading.margins[name])
            for name in (question.attribute for question in questions)
        )
        return Reply(Seen(answers=tuple(answers)))


def face_network_judge(weights: str) -> FaceNetworkJudge:
    """The steering judge with weights from a folder, or from the shipped ones by name."""
    network = attribute_resnet_3d(weights)
    return FaceNetworkJudge(network.to("cuda" if torch.cuda.is_available() else "cpu"))


def check_known(questions: Sequence[Question]) -> None:
    """Refuse questions that the phantom's judges cannot answer.

    Raises:
        UserError: the graph has another variable or value than the phantom.
    """
    for question in questions:
        if question.attribute not in ATTRIBUTES:
            near = hint(question.attribute, list(ATTRIBUTES))
            raise UserError(f"the face phantom's judges do not know '{question.attribute}'; {near}")
        for value in question.options:
            if value not in ATTRIBUTES[question.attribute]:
                near = hint(value, ATTRIBUTES[question.attribute])
                raise UserError(f"the face phantom's judges do not know {question.attribute} = '{value}'; {near}")
