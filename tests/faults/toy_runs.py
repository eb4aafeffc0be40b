"""Running the task on toys with everything that `lvcf predict` writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning import LightningDataModule, Trainer
from torch.utils.data import DataLoader, Dataset

from lvcf.callbacks.writer import PredictionWriter
from lvcf.data.clip import Clip
from lvcf.tasks.counterfactual import CounterfactualTask


class Clips(Dataset[Clip]):
    def __init__(self, clips: Sequence[Clip]) -> None:
        self.clips, self.ids = clips, [clip["id"] for clip in clips]

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Clip:
        return self.clips[index]


class ClipModule(LightningDataModule):
    """Ready clips as a data module."""

    def __init__(self, clips: Sequence[Clip], batch_size: int) -> None:
        super().__init__()
        self.clips, self.batch_size = Clips(clips), batch_size

    def predict_dataloader(self) -> DataLoader[Clip]:
        return DataLoader(self.clips, batch_size=self.batch_size)


def run(
    task: CounterfactualTask, clips: Sequence[Clip], output: Path, callbacks: Sequence[Any] = (), batch_size: int = 4
) -> None:
    """Predict and write, as ``lvcf predict`` does."""
    output.mkdir(parents=True, exist_ok=True)
    Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        inference_mode=False,
        callbacks=[*callbacks, PredictionWriter()],
    ).predict(task, datamodule=ClipModule(clips, batch_size), return_predictions=False)
