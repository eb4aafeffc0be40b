"""Train a small ejection-fraction regressor: the phantom's default target model, or the oracle."""

from __future__ import annotations

from pathlib import Path

from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn import functional
from torchmetrics import MeanAbsoluteError, R2Score

from lvcf.data.clip import Batch
from lvcf.data.degrade import degrade
from lvcf.models.targets.ejection_fraction import MEAN_EF, STD_EF, EchoFrameTransformer, EchoResNet3D
from lvcf.tasks.optim import finite, one_cycle


class TargetTask(LightningModule):
    """Regression on degraded clips, so that the model reads the ventricle and not the grain a VAE would lose.

    Args:
        network: the regressor.
        output: where ``save_pretrained`` puts it after training.
        lr: peak learning rate.
        blur: largest blur of the degradation, in pixels.
        noise: its largest noise, on the [-1, 1] scale.
        gain: its largest relative change of brightness.
    """

    def __init__(
        self,
        network: EchoResNet3D | EchoFrameTransformer,
        output: Path,
        lr: float = 1e-3,
        blur: float = 1.5,
        noise: float = 0.1,
        gain: float = 0.15,
    ) -> None:
        super().__init__()
        self.network, self.output, self.lr = network, output, lr
        self.blur, self.noise, self.gain = blur, noise, gain
        self.val_mae, self.val_r2 = MeanAbsoluteError(), R2Score()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Huber loss on the normalised value."""
        video = degrade(batch["video"], self.blur, self.noise, self.gain)
        wanted = (batch["label"].float() - MEAN_EF) / STD_EF
        loss = functional.smooth_l1_loss(self.network.normalised(video).float(), wanted, beta=0.1)
        self.log("train/loss", loss, prog_bar=True)
        return finite(loss)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """MAE in EF points and R2."""
        value = self.network(batch["video"])
        self.val_mae.update(value, batch["label"].float())
        self.val_r2.update(value, batch["label"].float())
        self.log_dict({"val/mae": self.val_mae, "val/r2": self.val_r2}, prog_bar=True, batch_size=len(value))

    def on_fit_end(self) -> None:
        """Save the network."""
        self.network.save_pretrained(self.output)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW, one cycle."""
        return one_cycle(self.network.parameters(), self.lr, int(self.trainer.estimated_stepping_batches), 0.05)
