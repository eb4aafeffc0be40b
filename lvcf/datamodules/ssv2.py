"""Something-Something V2's data module."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from lvcf.checks import check_choice
from lvcf.data.ssv2 import Split, SSv2Dataset
from lvcf.datamodules.base import ClipDataModule, Stage


class SSv2DataModule(ClipDataModule):
    """Clips of Something-Something V2 or of a simulated set in its layout.

    Args:
        root: the folder with ``something-something-v2-*.json`` and the videos.
        predict_split: the split ``lvcf predict`` explains; ``test`` is published without labels.
        batch_size: clips per batch.
        num_workers: loader processes.
        options: how clips are sampled, see :class:`~lvcf.data.ssv2.SSv2Dataset`.

    Raises:
        UserError: a number or the split is none that can be.
    """

    def __init__(
        self, root: Path, predict_split: Split = "validation", batch_size: int = 8, num_workers: int = 0, **options: Any
    ) -> None:
        super().__init__(batch_size, num_workers, options)
        check_choice("data.predict_split", predict_split, get_args(Split))
        self.root, self.predict_split = root, predict_split
        self.options = options

    def make_dataset(self, stage: Stage) -> SSv2Dataset:
        """Training clips start anywhere in their video, all others are its middle."""
        split = self.predict_split if stage == "predict" else "validation" if stage == "val" else stage
        training, recording = stage == "train", stage == "predict"
        return SSv2Dataset(self.root, split, random_start=training, record_errors=recording, **self.options)
