"""FERV39K's data module."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from lvcf.checks import check_choice
from lvcf.data.clip import Split
from lvcf.data.ferv39k import FERV39KDataset
from lvcf.datamodules.base import ClipDataModule, Stage


class FERV39KDataModule(ClipDataModule):
    """Clips of FERV39K or of a simulated set in its layout.

    Args:
        root: the folder with ``2_ClipsforFaceCrop/`` and ``Annotation/`` or ``4_setups/``.
        predict_split: the split ``lvcf predict`` explains.
        batch_size: clips per batch.
        num_workers: loader processes.
        options: how clips are sampled, see :class:`~lvcf.data.ferv39k.FERV39KDataset`.

    Raises:
        UserError: a number or the split is none that can be.
    """

    def __init__(
        self, root: Path, predict_split: Split = "test", batch_size: int = 8, num_workers: int = 0, **options: Any
    ) -> None:
        super().__init__(batch_size, num_workers, options)
        check_choice("data.predict_split", predict_split, get_args(Split))
        self.root, self.predict_split = root, predict_split
        self.options = options

    def make_dataset(self, stage: Stage) -> FERV39KDataset:
        """Training clips start anywhere in their frames, all others at the beginning."""
        split = self.predict_split if stage == "predict" else stage
        training, recording = stage == "train", stage == "predict"
        return FERV39KDataset(self.root, split, random_start=training, record_errors=recording, **self.options)
