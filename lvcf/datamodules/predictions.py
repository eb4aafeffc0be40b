"""A run's counterfactuals as clips, labelled with what M said of the factual ones: for ``--model.target label``."""

from __future__ import annotations

from pathlib import Path

from lvcf.data.clip import SIMULATED, Clip, ClipDataset, to_clip
from lvcf.datamodules.base import ClipDataModule, Stage
from lvcf.runs.folder import read_manifest, read_predictions


class PredictionsDataset(ClipDataset):
    """A run's finished counterfactuals; ``label`` is what M said of the factual clip: a value, or a class index.

    Args:
        root: the run's folder.
        metadata: the neutral prompt.
    """

    def __init__(self, root: Path, metadata: str) -> None:
        self.root, self.metadata = root, metadata
        self.predictions = [p for p in read_predictions(root) if not p.failed]
        self.ids = [p.id for p in self.predictions]
        self.notice = SIMULATED if SIMULATED in read_manifest(root)["notice"] else ""

    def __len__(self) -> int:
        return len(self.predictions)

    def __getitem__(self, index: int) -> Clip:
        prediction = self.predictions[index]
        frames = prediction.counterfactual()
        return {
            "video": to_clip(frames, frames.shape[1]),
            "id": prediction.id,
            "label": float(prediction.result["said_before"]),
            "prompt": self.metadata,
            "neutral_prompt": self.metadata,
            "fps": float(prediction.result["fps"]),
            "error": "",
        }


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
        return PredictionsDataset(self.root, self.metadata)
