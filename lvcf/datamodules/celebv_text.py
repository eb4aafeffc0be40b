"""The data module of CSVC's benchmark on CelebV-Text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lvcf.data.celebv_text import CelebVTextDataset
from lvcf.datamodules.base import ClipDataModule, Stage


class CelebVTextDataModule(ClipDataModule):
    """The benchmark's 67 clips for ``lvcf steer``: with ``factual: data``, its questions tell what each clip shows.

    Args:
        root: the folder of the clips: a folder of frames or a video file each, named as in the files.
        prompts: ``counterfactual_explicit.json``.
        questions: ``questions_explicit.json``.
        batch_size: clips per batch.
        num_workers: loader processes.
        options: how clips are sampled, see :class:`~lvcf.data.celebv_text.CelebVTextDataset`.

    Raises:
        UserError: a number is out of range.
    """

    def __init__(
        self, root: Path, prompts: Path, questions: Path, batch_size: int = 1, num_workers: int = 0, **options: Any
    ) -> None:
        super().__init__(batch_size, num_workers, options)
        self.root, self.prompts, self.questions = root, prompts, questions
        self.options = options

    def make_dataset(self, stage: Stage) -> CelebVTextDataset:
        """The same clips at every stage: the benchmark has no splits."""
        recording = stage == "predict"
        return CelebVTextDataset(self.root, self.prompts, self.questions, record_errors=recording, **self.options)
