"""What every clip data module shares: loaders over ``make_dataset(split)``."""

from __future__ import annotations

from typing import Literal

from lightning import LightningDataModule
from torch.utils.data import DataLoader

from lvcf.data.clip import Batch, ClipDataset
from lvcf.errors import UserError

Stage = Literal["train", "val", "test", "predict"]


class ClipDataModule(LightningDataModule):
    """Loaders of batches of clips; a subclass says which data set a stage reads.

    Args:
        batch_size: clips per batch.
        num_workers: loader processes; 0 reads in the main process.
    """

    def __init__(self, batch_size: int, num_workers: int) -> None:
        super().__init__()
        if batch_size < 1:
            raise UserError(f"data.batch_size {batch_size}: at least 1 is needed")
        self.batch_size, self.num_workers = batch_size, num_workers

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
        """Clips to explain, in order; an unreadable one comes with its error."""
        return self._loader("predict")

    def _loader(self, stage: Stage) -> DataLoader[Batch]:
        training = stage == "train"
        return DataLoader(
            self.make_dataset(stage),  # type: ignore[arg-type]  # collated to a Batch
            batch_size=self.batch_size,
            shuffle=training,
            drop_last=training,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )
