"""The progress bar of a training whose length is given in steps."""

from __future__ import annotations

from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar


class StepsProgressBar(RichProgressBar):
    """Lightning's bar; without a number of epochs it counts steps through all of them, and tells the time left of all.

    Lightning's own begins anew every epoch and calls it ``Epoch 0/-2``.
    """

    def _by_steps(self) -> bool:
        return self.trainer.max_epochs == -1 and self.trainer.max_steps > 0

    @property
    def total_train_batches(self) -> int | float:
        """Steps of the training, or Lightning's batches of an epoch."""
        return self.trainer.max_steps if self._by_steps() else super().total_train_batches

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """One bar serves all epochs."""
        if not self._by_steps() or self.train_progress_bar_id is None:
            super().on_train_epoch_start(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """As Lightning's, with the step's number where that counts."""
        done = trainer.global_step - 1 if self._by_steps() else batch_idx
        super().on_train_batch_end(trainer, pl_module, outputs, batch, done)

    def _get_train_description(self, current_epoch: int) -> str:
        if self._by_steps():
            return f"{'Step':{len(self.validation_description)}}"
        return super()._get_train_description(current_epoch)
