"""The data module of a user's own clips."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from lvcf.checks import check_choice, check_number
from lvcf.data.clip import Fit, check_rate, check_sampling
from lvcf.data.clip_table import LABEL_COLUMN, PATH_COLUMN, PROMPT_COLUMN, ClipTable, Split
from lvcf.data.video_folder import Box, VideoFolderDataset
from lvcf.datamodules.base import ClipDataModule, Stage
from lvcf.errors import UserError


class VideoFolderDataModule(ClipDataModule):
    """Every video file, DICOM file or folder of numbered pictures below a folder, or those that a table lists.

    ``lvcf fit`` goes by the table's column ``split`` (train, val, test), or by the hash of a clip's path, 80/10/10; of
    two clips or more one validates.  Clips of one person belong into one split, which only the column can say.  Prompts
    to train on join the metadata with the label, just as ``prompt_template: "{metadata} {target}"`` says a target.

    Args:
        root: the folder, or one file.
        metadata: the neutral prompt: what the clips show, without the explained attribute; empty says nothing.
        batch_size: clips per batch.
        num_workers: loader processes.
        frames: frames per clip.
        fps: frames per second to sample at.
        size: height and width of a clip.
        fit: how a rectangle becomes a square: ``crop`` takes its centre, ``letterbox`` adds black bars.
        start: seconds into every video at which a clip begins; training draws its own.
        crop: left, top, right, bottom in pixels, cut out of every frame first.
        loop: repeat a video that is too short (a cine loop) instead of refusing it.
        frame_folder_fps: frames per second of folders of numbered pictures, which do not say it themselves.
        table: a CSV file that lists the clips; without it all are taken and no label is known.
        path_column: its column of paths, relative to ``root``.
        label_column: its column of labels; without one no label is known.
        prompt_column: its column of prompts, which replace ``metadata``; empty or absent: ``metadata``.
        labels: the class names in the order of their indices, where labels are names instead of numbers.
        predict_split: the split ``lvcf predict`` explains.

    Raises:
        UserError: labels are asked for without a table, or a number is out of range.
    """

    def __init__(
        self,
        root: Path,
        metadata: str = "",
        batch_size: int = 4,
        num_workers: int = 0,
        frames: int = 16,
        fps: float = 8.0,
        size: int = 112,
        fit: Fit = "crop",
        start: float = 0.0,
        crop: Box | None = None,
        loop: bool = False,
        frame_folder_fps: float | None = None,
        table: Path | None = None,
        path_column: str = PATH_COLUMN,
        label_column: str = LABEL_COLUMN,
        prompt_column: str = PROMPT_COLUMN,
        labels: list[str] | None = None,
        predict_split: Split = "all",
    ) -> None:
        super().__init__(batch_size, num_workers)
        check_sampling(frames, fps, size)
        check_choice("data.fit", fit, get_args(Fit))
        check_number("data.start", start, 0.0)
        check_choice("data.predict_split", predict_split, get_args(Split))
        if frame_folder_fps is not None:
            check_rate("data.frame_folder_fps", frame_folder_fps)
        if crop is not None and not (0 <= crop[0] < crop[2] and 0 <= crop[1] < crop[3]):
            raise UserError(f"data.crop {list(crop)}: is no box; give left, top, right, bottom in pixels")
        columns = (path_column, label_column, prompt_column)
        if table is None and (labels or columns != (PATH_COLUMN, LABEL_COLUMN, PROMPT_COLUMN)):
            raise UserError("data.table: missing, but data.labels or a column is set; name the CSV file that has them")
        self.root, self.metadata = root, metadata
        self.frames, self.fps, self.size = frames, fps, size
        self.fit, self.start, self.crop, self.loop = fit, start, crop, loop
        self.frame_folder_fps, self.predict_split = frame_folder_fps, predict_split
        self.table = ClipTable(table, *columns, tuple(labels or ())) if table else None

    def make_dataset(self, stage: Stage) -> VideoFolderDataset:
        """Training clips start anywhere in their video, all others at ``start``."""
        return VideoFolderDataset(
            self.root,
            self.metadata,
            self.frames,
            self.fps,
            self.size,
            self.fit,
            self.start,
            self.crop,
            self.loop,
            self.frame_folder_fps,
            self.table,
            split=self.predict_split if stage == "predict" else stage,
            random_start=stage == "train",
            record_errors=stage == "predict",
        )
