"""What a user's own networks say of a steering run's clips: CLIP, DOVER, a captioner with a text encoder."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from torch import Tensor

from lvcf.data.video import Frames
from lvcf.errors import UserError
from lvcf.evaluation.rows import Row
from lvcf.metrics.captions import SentenceEmbedder, caption_similarity
from lvcf.metrics.clip_score import ClipEmbedder, temporal_consistency, text_alignment
from lvcf.metrics.dover import Dover
from lvcf.metrics.unavailable import unavailable
from lvcf.steering.judges.base import Shown
from lvcf.steering.judges.local import LocalModel

DESCRIBE = "Describe who is shown, the clothes and the background in one sentence. Say nothing about {}."
"""After CSVC's minimality: descriptions that leave the graph's variables out should stay the same."""
CAPTIONED = 4
"""Frames that a captioner is shown."""


class Networks:
    """The networks that the command line names, asked about a factual clip once in a process.

    Args:
        options: clip, captioner, embedder, dover.
        attributes: the graph's variables, which captions leave out.

    Raises:
        UserError: one does not load, or a captioner comes without an embedder.
    """

    def __init__(self, options: argparse.Namespace, attributes: Iterable[str]) -> None:
        if bool(options.captioner) != bool(options.embedder):
            raise UserError("--captioner, --embedder: caption similarity needs both; give the other one too")
        self.clip = ClipEmbedder(options.clip) if options.clip else None
        self.dover = Dover(options.dover) if options.dover else None
        self.captioner = LocalModel(options.captioner) if options.captioner else None
        self.embedder = SentenceEmbedder(options.embedder) if options.embedder else None
        self.instruction = DESCRIBE.format(", ".join(attributes))
        self._known: dict[tuple[str, str], tuple[Row, str]] = {}

    def __call__(self, name: str, final: Tensor, factual: Tensor, words: str) -> Row:
        """Figures of a counterfactual beside its factual clip's, both ``(3, T, H, W)``.

        Args:
            name: the factual clip's.
            final: the counterfactual.
            factual: the factual clip.
            words: what the counterfactual should show; of a clip and intervention the same for every method.
        """
        if (name, words) not in self._known:
            self._known[name, words] = self._figures(factual, words), self._describe(factual)
        of_factual, caption = self._known[name, words]
        row = self._figures(final, words) | {f"{key}_of_factual": value for key, value in of_factual.items()}
        if self.embedder is not None:
            row["captions/similarity"] = caption_similarity(self.embedder, self._describe(final), caption)
        return row

    def missing(self) -> dict[str, str]:
        """Why figures are not there."""
        reasons: dict[str, str] = {}
        if self.clip is None:
            reasons |= dict.fromkeys(("clip/consistency", "clip/text_alignment"), unavailable("name a CLIP, --clip"))
        if self.embedder is None:
            reasons["captions/similarity"] = unavailable("name two networks, --captioner and --embedder")
        if self.dover is None:
            reasons["quality/dover"] = unavailable("give DOVER's ONNX file, --dover")
        return reasons

    def _figures(self, video: Tensor, words: str) -> Row:
        row: Row = {}
        if self.clip is not None:
            frames = self.clip.frames(video)
            row["clip/consistency"] = temporal_consistency(frames)
            row["clip/text_alignment"] = text_alignment(frames, self.clip.text(words))
        if self.dover is not None:
            row |= {f"quality/dover_{name}": score for name, score in self.dover(video).items()}
        return row

    def _describe(self, video: Tensor) -> str:
        if self.captioner is None:
            return ""
        frames: list[Frames] = list(Shown("", video, video, 1.0).frames(CAPTIONED)[1])
        return self.captioner.write(self.instruction, frames)[0]
