"""The data module of a run's counterfactuals, for measuring reversibility: ``--model.target label``."""

from __future__ import annotations

from pathlib import Path

from lvcf.datamodules.base import ClipDataModule, Stage
from lvcf.runs.counterfactuals import PredictionsDataset


class PredictionsDataModule(ClipDataModule):
    """A finished run's counterfactuals as clips.

    Args:
        root: the run's folder.
        metadata: the neutral prompt, as the run's clips had it; empty says nothing.
        batch_size: clips per batch.
        num_workers: loader processes.
    """

    def __init__(
        self,
        root: Path,
        metadata: str = "",
        batch_size: int = 4,
        num_workers: int = 0,
    ) -> None:
        super().__init__(batch_size, num_workers)
        self.root, self.metadata = root, metadata

    def make_dataset(self, stage: Stage) -> PredictionsDataset:
        """The same clips at every stage."""
        return PredictionsDataset(self.root, self.metadata, record_errors=stage == "predict")
