"""What every clip data module shares: loaders over ``make_dataset(split)``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader

from lvcf.data.clip import Batch, ClipDataset, check_sampling
from lvcf.datamodules.resumable import ResumableLoader
from lvcf.datamodules.sharding import WholeBatches, check_enough, share
from lvcf.errors import UserError
from lvcf.runs.shards import Shard, part_of

MOST_WORKERS = 256
Stage = Literal["train", "val", "test", "predict"]


class ClipDataModule(LightningDataModule):
    """Loaders of batches of clips; a subclass says which data set a stage reads.

    Args:
        batch_size: clips per batch.
        num_workers: loader processes; 0 reads in the main process.
        options: of the data set.  A subclass hands them on in its own ``make_dataset``, where the parser of the command
            line finds what they may be: an option of the data set is one of the data module.

    Attributes:
        is_finished: whether a clip of this name is predicted already; the prediction writer sets it.
        shard: the part of the run that is predicted; ``lvcf predict --shard`` sets it.

    Raises:
        UserError: a number is out of range, or the clips of the options cannot be.
    """

    def __init__(self, batch_size: int, num_workers: int, options: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        if batch_size < 1:
            raise UserError(f"data.batch_size {batch_size}: at least 1 is needed")
        if not 0 <= num_workers <= MOST_WORKERS:
            raise UserError(f"data.num_workers {num_workers}: choose 0 (no process of its own) to {MOST_WORKERS}")
        check_sampling(**options or {})
        self.batch_size, self.num_workers = batch_size, num_workers
        self.is_finished: Callable[[str], bool] = lambda name: False
        self.shard: Shard = (1, 1)

    def make_dataset(self, stage: Stage) -> ClipDataset:
        """The data set that ``stage`` reads."""
        raise NotImplementedError

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled training clips; an incomplete last batch is dropped."""
        return self._loader("train")

    def val_dataloader(self) -> DataLoader[Batch]:
        """Validation clips in order."""
        return self._loader("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        """Test clips in order."""
        return self._loader("test")

    def predict_dataloader(self) -> DataLoader[Batch]:
        """This rank's batches of the clips to explain, in order; an unreadable clip comes with its error."""
        return self._loader("predict")

    def shard_clips(self, clips: int) -> range:
        """The numbers of the shard's clips, of a run of ``clips``.

        Raises:
            UserError: the run has fewer batches than shards.
        """
        batches = self._shard_batches(clips)
        return range(batches.start * self.batch_size, min(batches.stop * self.batch_size, clips))

    def _shard_batches(self, clips: int) -> range:
        """The numbers of the shard's batches: whole ones, so that no batch depends on the number of shards."""
        return part_of(-(-clips // self.batch_size), self.shard, f"batches of data.batch_size {self.batch_size}")

    def _loader(self, stage: Stage) -> DataLoader[Batch]:
        clips, training = self.make_dataset(stage), stage == "train"
        if training:
            batches, ranks = len(clips.ids) // self.batch_size, self.trainer.world_size if self.trainer else 1
            check_enough(len(clips.ids), self.batch_size, batches, ranks)
            if ranks == 1:
                return ResumableLoader(clips, self.batch_size, self.num_workers)
        return DataLoader(
            clips,  # type: ignore[arg-type]  # collated to a Batch
            batch_size=self.batch_size,
            shuffle=training,
            sampler=WholeBatches(clips, self.batch_size, self._share(clips.ids)) if stage == "predict" else None,
            drop_last=training,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            generator=None if training else torch.Generator(),  # measuring must not move the training's noise
        )

    def _share(self, names: list[str]) -> list[int]:
        """The numbers of this rank's batches of the shard."""
        ours = self._shard_batches(len(names))
        batches = [names[number * self.batch_size : (number + 1) * self.batch_size] for number in ours]
        finished = [all(map(self.is_finished, batch)) for batch in batches]
        if self.trainer is None:
            return [ours[place] for place in share(finished, 0, 1)]
        check_enough(len(self.shard_clips(len(names))), self.batch_size, len(batches), self.trainer.world_size)
        # rank 0's view for all: over a network, another machine may see a folder later
        finished = self.trainer.strategy.broadcast(finished)
        return [ours[place] for place in share(finished, self.trainer.global_rank, self.trainer.world_size)]


def clips_of_shard(data: LightningDataModule, clips: int) -> range:
    """The numbers of the clips that this process predicts, of a run of ``clips``.

    A data module that is no :class:`ClipDataModule` has no shards.

    Raises:
        UserError: the run has fewer batches than shards.
    """
    return data.shard_clips(clips) if isinstance(data, ClipDataModule) else range(clips)
