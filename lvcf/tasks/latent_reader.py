"""Teach a latent reader what a target model says of a domain's clips, at every noise."""

from __future__ import annotations

from pathlib import Path

import torch
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from lvcf.checks import check_number
from lvcf.datamodules.answers import AnswerBatch, AnswersDataModule
from lvcf.diffusion.inversion import noised
from lvcf.models.latent_reader import LatentReader
from lvcf.tasks.optim import finite, one_cycle

EARLIEST, LATEST = 0.01, 0.98
"""Times that are taught."""
MEASURED_AT = (0.05, 0.5, 0.8)
"""Times that validation measures at."""


class LatentReaderTask(LightningModule):
    """The reader's loss at one random time per latent; the data module is :class:`AnswersDataModule`.

    Args:
        output: where ``save_pretrained`` puts the reader after training.
        lr: peak learning rate.

    Raises:
        UserError: ``lr`` is out of range.
    """

    def __init__(self, output: Path, lr: float = 2e-3) -> None:
        super().__init__()
        check_number("model.lr", lr, 0.0, above=True)
        self.output, self.lr = output, lr
        self.reader: LatentReader

    def setup(self, stage: str) -> None:
        """Build the reader for this data: its latents, and the mean and deviation of a value."""
        if hasattr(self, "reader"):
            return
        data = self._data
        answered = data.answered["train"]
        labels, answers = tuple(data.target_model.labels), answered.answers
        center, scale = (0.0, 1.0) if labels else (float(answers.mean()), float(answers.std()))
        self.reader = LatentReader(
            latent_channels=answered.latents.shape[1], labels=labels, center=center, scale=scale, queries=len(answers)
        )

    @property
    def _data(self) -> AnswersDataModule:
        data: AnswersDataModule = self.trainer.datamodule  # type: ignore[attr-defined]
        return data

    def training_step(self, batch: AnswerBatch, batch_idx: int) -> Tensor:
        """One random time per latent."""
        times = torch.rand(len(batch["latent"]), device=self.device)
        loss = self._loss(batch, EARLIEST + (LATEST - EARLIEST) * times)
        self.log("train/loss", loss, prog_bar=True)
        return finite(loss)

    def _loss(self, batch: AnswerBatch, t: Tensor) -> Tensor:
        z_t = self._noised(batch["latent"], t, torch.randn_like(batch["latent"]))
        return self.reader.loss(z_t, t, batch["answer"])

    def _noised(self, latent: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        return noised(latent, noise, self._data.backbone.alpha_sigma(t))

    def validation_step(self, batch: AnswerBatch, batch_idx: int) -> None:
        """At some times: how often reader and target model say the same class, or how far apart their values are."""
        self._measure(batch, batch_idx, "val")

    def test_step(self, batch: AnswerBatch, batch_idx: int) -> None:
        """The same on the test split."""
        self._measure(batch, batch_idx, "test")

    def _measure(self, batch: AnswerBatch, batch_idx: int, split: str) -> None:
        latent, answer = batch["latent"], batch["answer"]
        generator = torch.Generator().manual_seed(batch_idx)
        noise = torch.randn(latent.shape, generator=generator).to(latent)
        for time in MEASURED_AT:
            t = torch.full((len(latent),), time, device=latent.device)
            said = self.reader.read(self._noised(latent, t, noise), t).float()
            if self.reader.labels:
                name, value = "agreement", (said.argmax(-1) == answer.argmax(-1)).float().mean()
            else:
                name, value = "mae", (said - answer).abs().mean()
            self.log(f"{split}/{name}_at_{time:g}", value, prog_bar=True, batch_size=len(latent), sync_dist=True)

    def on_fit_end(self) -> None:
        """Save the reader."""
        if self.trainer.is_global_zero:
            self.reader.save_pretrained(self.output)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW, one cycle."""
        steps = int(self.trainer.estimated_stepping_batches)
        return one_cycle(self.reader.parameters(), self.lr, steps, weight_decay=0.02)
