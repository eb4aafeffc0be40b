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
from lvcf.steering.answers import Question, Reply, Rewrite, Verdict
from lvcf.steering.case import Case

MOST_SHOWN = 128
"""Frames of a clip; of both clips together they are more than models behind endpoints take."""


@dataclass(frozen=True)
class Shown:
    """What a judge looks at.

    Attributes:
        id: the clip's.
        source: the factual clip ``(3, T, H, W)`` in [-1, 1].
        edited: the edited one, of the same shape, on 8-bit levels.
        fps: frames per second of both.
    """

    id: str
    source: Tensor
    edited: Tensor
    fps: float

    @cached_property
    def hashes(self) -> dict[str, str]:
        """sha256 of both clips' 8-bit frames."""
        return {"source": frames_hash(to_frames(self.source)), "edited": frames_hash(to_frames(self.edited))}

    def frames(self, number: int) -> tuple[Frames, Frames]:
        """``number`` frames of each, evenly spaced from the first to the last, ``(n, H, W, 3)`` uint8."""
        wanted = np.linspace(0, self.source.shape[1] - 1, number).round().astype(int)
        return to_frames(self.source)[wanted], to_frames(self.edited)[wanted]


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
    """Says which attributes an edited clip shows: L = judge(frames, evaluation instruction, prompt)."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """Who answers; two judges of one identity are the same judge."""

    @abstractmethod
    def judge(self, shown: Shown, questions: Sequence[Question], prompt: str) -> Reply[Verdict]:
        """Answer every question about the edited clip that ``prompt`` made.

        Raises:
            NoAnswerError: there is none.
        """


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
