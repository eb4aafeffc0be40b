"""The data module of a user's own clips."""

from __future__ import annotations

from pathlib import Path

from lvcf.data.video_folder import Box, VideoFolderDataset
from lvcf.datamodules.base import ClipDataModule, Stage


class VideoFolderDataModule(ClipDataModule):
    """Every video or DICOM file below a folder, for ``lvcf predict``.

    Args:
        root: the folder, or one file.
        metadata: the neutral prompt: what the clips show, without the explained attribute.
        batch_size: clips per batch.
        num_workers: loader processes.
        frames: frames per clip.
        fps: frames per second to sample at.
        size: height and width of a clip.
        crop: left, top, right, bottom in pixels, cut out of every frame first.
        loop: repeat a video that is too short (a cine loop) instead of refusing it.
    """

    def __init__(
        self,
        root: Path,
        metadata: str = "apical four chamber echocardiogram",
        batch_size: int = 4,
        num_workers: int = 0,
        frames: int = 16,
        fps: float = 8.0,
        size: int = 112,
        crop: Box | None = None,
        loop: bool = False,
    ) -> None:
        super().__init__(batch_size, num_workers)
        self.root, self.metadata = root, metadata
        self.frames, self.fps, self.size, self.crop, self.loop = frames, fps, size, crop, loop

    def make_dataset(self, stage: Stage) -> VideoFolderDataset:
        """The same clips at every stage: they carry no labels to fit."""
        return VideoFolderDataset(self.root, self.metadata, self.frames, self.fps, self.size, self.crop, self.loop)
