"""The protocol of judges and rewriters, whoever answers: a network, a ruler, an endpoint or a local model."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor

from lvcf.data.clip import to_frames
from lvcf.data.video import Frames
from lvcf.errors import UserError
from lvcf.steering.answers import Criticism, Criticisms, Question, Reply, Rewrite, Seen, Verdict, Wanted
from lvcf.steering.case import Case

MOST_SHOWN = 128
"""Frames of a clip; of both clips together they are more than models behind endpoints take."""


@dataclass(frozen=True)
class Shown:
    """What a judge looks at: one clip, neither what it was before nor what was wanted of it.

    Attributes:
        id: the clip's.
        video: ``(3, T, H, W)`` in [-1, 1], on 8-bit levels.
        fps: frames per second.
    """

    id: str
    video: Tensor
    fps: float

    @cached_property
    def hash(self) -> str:
        """sha256 of its 8-bit frames."""
        return frames_hash(to_frames(self.video))

    def frames(self, number: int) -> Frames:
        """``number`` frames, evenly spaced from the first to the last, ``(n, H, W, 3)`` uint8."""
        wanted = np.linspace(0, self.video.shape[1] - 1, number).round().astype(int)
        frames: Frames = to_frames(self.video)[wanted]
        return frames


@dataclass(frozen=True)
class Edit:
    """What the steering judge criticises: the clip before and after, and the prompt that was to blame."""

    source: Shown
    edited: Shown
    prompt: str


@dataclass(frozen=True)
class Attempt:
    """One edit and what was said of it; ``problem`` tells why there is no verdict."""

    prompt: str
    negative: str
    seed: int
    edited: Tensor
    verdict: Verdict | None
    problem: str = ""

    @property
    def rank(self) -> tuple[int, float]:
        """By the judge's score; an attempt that nobody judged comes last."""
        return self.verdict.score if self.verdict else (-1, 0.0)


class Judge(ABC):
    """Says what a clip shows, blindly; the one that steers also criticises, and knows then what was wanted."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """Who answers; two judges of one identity are the same judge."""

    @abstractmethod
    def look(self, shown: Shown, questions: Sequence[Question]) -> Reply[Seen]:
        """Answer every question about a clip by what is seen.  Whether that is right is not the judge's to say.

        Raises:
            NoAnswerError: there is none.
        """

    def criticise(self, edit: Edit, verdict: Verdict, wanted: Sequence[Wanted]) -> Reply[Criticisms]:
        """What is wrong with an edit, for the rewriter; of a judge that has no words, what it saw.

        Args:
            edit: the clip before and after.
            verdict: with answers that failed.
            wanted: the questions with what was wanted.

        Raises:
            NoAnswerError: there is none.
        """
        expected = {question.attribute: question.expected for question in wanted}
        said = (
            (a.attribute, f"the clip shows {a.attribute} = {a.observed}, not {expected[a.attribute]}")
            for a in verdict.failed
        )
        criticisms = tuple(Criticism(attribute=name, criticism=sentence) for name, sentence in said)
        return Reply(Criticisms(criticisms=criticisms), requests=0)


class Rewriter(ABC):
    """The step of textual gradient descent: from prompts and criticisms to the next prompt."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """Who answers."""

    @abstractmethod
    def rewrite(self, case: Case, attempts: Sequence[Attempt]) -> Reply[Rewrite]:
        """The next prompt after these attempts, the last of which has a verdict.

        Raises:
            NoAnswerError: there is none.
        """

    @abstractmethod
    def paraphrase(self, case: Case) -> Reply[Rewrite]:
        """The initial prompt in other words, without feedback: a baseline.

        Raises:
            NoAnswerError: there is none.
        """


def check_shown(frames: int) -> int:
    """The number of frames that a judge is shown of a clip.

    Raises:
        UserError: it is below 1, or above :data:`MOST_SHOWN`.
    """
    if not 1 <= frames <= MOST_SHOWN:
        raise UserError(f"frames {frames}: a judge is shown at least 1 and at most {MOST_SHOWN} of each clip")
    return frames


def frames_hash(frames: np.ndarray[Any, Any]) -> str:
    """sha256 of uint8 frames and their shape."""
    return hashlib.sha256(repr(frames.shape).encode() + np.ascontiguousarray(frames).tobytes()).hexdigest()
