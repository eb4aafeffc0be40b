"""The data module of a user's own clips."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from lvcf.checks import check_choice
from lvcf.data.clip import Split
from lvcf.data.clip_table import LABEL_COLUMN, PATH_COLUMN, PROMPT_COLUMN, ClipTable
from lvcf.data.video_folder import VideoFolderDataset
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
        table: a CSV file that lists the clips; without it all are taken and no label is known.
        path_column: its column of paths, relative to ``root``.
        label_column: its column of labels; without one no label is known.
        prompt_column: its column of prompts, which replace ``metadata``; empty or absent: ``metadata``.
        labels: the class names in the order of their indices, where labels are names instead of numbers.
        predict_split: the split ``lvcf predict`` explains.
        options: how clips are sampled, see :class:`~lvcf.data.video_folder.VideoFolderDataset`.

    Raises:
        UserError: labels are asked for without a table, or a number is out of range.
    """

    def __init__(
        self,
        root: Path,
        metadata: str = "",
        batch_size: int = 4,
        num_workers: int = 0,
        table: Path | None = None,
        path_column: str = PATH_COLUMN,
        label_column: str = LABEL_COLUMN,
        prompt_column: str = PROMPT_COLUMN,
        labels: list[str] | None = None,
        predict_split: Split = "all",
        **options: Any,
    ) -> None:
        super().__init__(batch_size, num_workers, options)
        check_choice("data.predict_split", predict_split, get_args(Split))
        columns = (path_column, label_column, prompt_column)
        if table is None and (labels or columns != (PATH_COLUMN, LABEL_COLUMN, PROMPT_COLUMN)):
            raise UserError("data.table: missing, but data.labels or a column is set; name the CSV file that has them")
        self.root, self.metadata, self.predict_split = root, metadata, predict_split
        self.table = ClipTable(table, *columns, tuple(labels or ())) if table else None
        self.options = options

    def make_dataset(self, stage: Stage) -> VideoFolderDataset:
        """Training clips start anywhere in their video, all others at ``start``."""
        return VideoFolderDataset(
            self.root,
            self.metadata,
            table=self.table,
            split=self.predict_split if stage == "predict" else stage,
            random_start=stage == "train",
            record_errors=stage == "predict",
            **self.options,
        )
