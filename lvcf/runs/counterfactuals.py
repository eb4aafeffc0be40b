"""A run's counterfactuals as clips, labelled with what M said of the factual ones: for ``--model.target label``."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from lvcf.data.clip import FASTEST, FRAMES, SIMULATED, SIZES, Clip, to_clip
from lvcf.data.sampled import SampledDataset
from lvcf.errors import UserError
from lvcf.runs.folder import Prediction, read_manifest, read_predictions


class PredictionsDataset(SampledDataset):
    """A run's finished counterfactuals; ``label`` is what M said of the factual clip: a value, or a class index.

    Args:
        root: the run's folder.
        metadata: the neutral prompt.
        record_errors: return a damaged clip with its ``error`` instead of raising.
    """

    def __init__(self, root: Path, metadata: str, record_errors: bool = False) -> None:
        self.metadata = metadata
        self.predictions = [p for p in read_predictions(root) if not p.failed]
        self.ids = [p.id for p in self.predictions]
        self.simulated = SIMULATED in read_manifest(root)["notice"]
        frames, size = next(filter(None, map(_shape, self.predictions)), (FRAMES[0], SIZES[0]))
        # the rate is each clip's own
        super().__init__(root, frames, FASTEST, size, random_start=False, record_errors=record_errors)

    @property
    def notice(self) -> str:
        """What the run's report has to say."""
        return SIMULATED if self.simulated else ""

    def __len__(self) -> int:
        return len(self.predictions)

    def __getitem__(self, index: int) -> Clip:
        prediction = self.predictions[index]
        path, said = prediction.folder / "counterfactual.mkv", float(prediction.result["said_before"])
        clip = self.clip(prediction.id, path, lambda: self._decoded(prediction), said, self.metadata, self.metadata)
        return {**clip, "fps": float(prediction.result["fps"])}

    def _decoded(self, prediction: Prediction) -> Tensor:
        frames = prediction.counterfactual()
        if frames.shape[:3] != (self.frames, self.size, self.size):
            wanted = f"{self.frames} frames of {self.size}x{self.size}"
            raise UserError(f"{prediction.folder}: a clip of shape {frames.shape}, the run's others are {wanted}")
        return to_clip(frames, self.size)


def _shape(prediction: Prediction) -> tuple[int, int] | None:
    """Frames and size of a clip; None of a damaged one."""
    try:
        return prediction.counterfactual().shape[:2]
    except UserError:
        return None
