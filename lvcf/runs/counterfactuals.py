"""The counterfactuals of a run as clips, labelled with what M said of the factual ones: the way back."""

from __future__ import annotations

from pathlib import Path

from lvcf.data.clip import SIMULATED, Clip, ClipDataset, to_clip
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
