"""What is done to users' own clips before anything is explained: cut, resized, sampled."""

from __future__ import annotations

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from lvcf.data.clip import Batch


class TellTreatment(Callback):
    """Prints every kind of treatment once, when the first clip of the kind is there."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def on_predict_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Rank 0 tells of its own clips."""
        new = [text for text in dict.fromkeys(batch.get("treatment", [])) if text and text not in self.seen]
        self.seen.update(new)
        if trainer.is_global_zero:
            for text in new:
                print(f"clips of {text}")
