"""Bars that move with every step: of the denoising, of a training."""

from __future__ import annotations

from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from tqdm.auto import tqdm

from lvcf.sampling import SamplingCallback, SamplingState


class StepProgress(SamplingCallback):
    """Shows how far the slowest clip of a batch is on the time grid; it has no part in the result."""

    def __init__(self) -> None:
        self.bar: tqdm[Any] | None = None

    def label(self) -> str:
        """See the base class."""
        return ""

    def on_sampling_start(self, state: SamplingState) -> None:
        """A new bar for every batch."""
        self.bar = tqdm(total=len(state.grid) - 1, desc="denoising", unit="step", leave=False)

    def on_step_end(self, state: SamplingState) -> None:
        """As far as the slowest clip."""
        assert self.bar is not None  # made when sampling started
        self.bar.update(int(state.index.min()) - self.bar.n)

    def on_decoded(self, state: SamplingState) -> None:
        """The batch is done."""
        assert self.bar is not None
        self.bar.close()


class StepsProgressBar(RichProgressBar, SamplingCallback):
    """Lightning's bar, by steps: a prediction's moves with every denoising step, by shares of its batch.

    Without a number of epochs a training's counts steps through all of them, and tells the time left; Lightning's
    own begins anew every epoch and calls it ``Epoch 0/-2``.
    """

    def label(self) -> str:
        """See :class:`SamplingCallback`: it has no part in the result."""
        return ""

    def on_predict_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """As Lightning's."""
        super().on_predict_batch_start(trainer, pl_module, batch, batch_idx, dataloader_idx)
        self._batch = batch_idx

    def on_step_end(self, state: SamplingState) -> None:
        """As far as the batch's slowest clip is on the time grid."""
        share = int(state.index.min()) / (len(state.grid) - 1)
        self._update(self.predict_progress_bar_id, self._batch + share)  # type: ignore[arg-type]  # rich takes shares

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
