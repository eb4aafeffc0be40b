"""Something-Something V2's data module."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from lvcf.checks import check_choice
from lvcf.data.clip import check_sampling
from lvcf.data.ssv2 import Split, SSv2Dataset
from lvcf.datamodules.base import ClipDataModule, Stage


class SSv2DataModule(ClipDataModule):
    """Clips of Something-Something V2 or of a simulated set in its layout.

    Args:
        root: the folder with ``something-something-v2-*.json`` and the videos.
        predict_split: the split ``lvcf predict`` explains; ``test`` is published without labels.
        batch_size: clips per batch.
        num_workers: loader processes.
        frames: frames per clip.
        fps: frames per second to sample at.
        size: height and width of a clip.

    Raises:
        UserError: a number is out of range.
    """

    def __init__(
        self,
        root: Path,
        predict_split: Split = "validation",
        batch_size: int = 8,
        num_workers: int = 0,
        frames: int = 16,
        fps: float = 8.0,
        size: int = 112,
    ) -> None:
        super().__init__(batch_size, num_workers)
        check_sampling(frames, fps, size)
        check_choice("data.predict_split", predict_split, get_args(Split))
        self.root, self.predict_split = root, predict_split
        self.frames, self.fps, self.size = frames, fps, size

    def make_dataset(self, stage: Stage) -> SSv2Dataset:
        """Training clips start anywhere in their video, all others are its middle."""
        splits: dict[Stage, Split] = {
            "train": "train",
            "val": "validation",
            "test": "test",
            "predict": self.predict_split,
        }
        return SSv2Dataset(
            self.root,
            splits[stage],
            frames=self.frames,
            fps=self.fps,
            size=self.size,
            random_start=stage == "train",
            record_errors=stage == "predict",
        )
