"""FERV39K's data module."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from lvcf.checks import check_choice
from lvcf.data.clip import check_rate, check_sampling
from lvcf.data.ferv39k import SOURCE_FPS, FERV39KDataset, Split
from lvcf.datamodules.base import ClipDataModule, Stage


class FERV39KDataModule(ClipDataModule):
    """Clips of FERV39K or of a simulated set in its layout.

    Args:
        root: the folder with ``2_ClipsforFaceCrop/`` and ``Annotation/`` or ``4_setups/``.
        predict_split: the split ``lvcf predict`` explains.
        batch_size: clips per batch.
        num_workers: loader processes.
        frames: frames per clip.
        fps: frames per second to sample at.
        size: height and width of a clip.
        source_fps: frames per second of the frame folders, which do not say it themselves.
        attributes: of a simulated set, label and prompt name age, gender, beard and baldness.

    Raises:
        UserError: a number is out of range.
    """

    def __init__(
        self,
        root: Path,
        predict_split: Split = "test",
        batch_size: int = 8,
        num_workers: int = 0,
        frames: int = 16,
        fps: float = 8.0,
        size: int = 112,
        source_fps: float = SOURCE_FPS,
        attributes: bool = False,
    ) -> None:
        super().__init__(batch_size, num_workers)
        check_sampling(frames, fps, size)
        check_choice("data.predict_split", predict_split, get_args(Split))
        check_rate("data.source_fps", source_fps)
        self.root, self.predict_split = root, predict_split
        self.frames, self.fps, self.size, self.source_fps = frames, fps, size, source_fps
        self.attributes = attributes

    def make_dataset(self, stage: Stage) -> FERV39KDataset:
        """Training clips start anywhere in their frames, all others at the beginning."""
        return FERV39KDataset(
            self.root,
            self.predict_split if stage == "predict" else stage,
            frames=self.frames,
            fps=self.fps,
            size=self.size,
            source_fps=self.source_fps,
            random_start=stage == "train",
            record_errors=stage == "predict",
            attributes=self.attributes,
        )
