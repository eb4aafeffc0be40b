"""Distil a tiny decoder from a backbone's VAE decoder, on cached latents."""

from __future__ import annotations

from pathlib import Path

import torch
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn import functional

from lvcf.checks import check_number
from lvcf.datamodules.latents import LatentBatch
from lvcf.diffusion.parameterization import expand
from lvcf.models.backbones.base import Backbone
from lvcf.models.backbones.tiny_decoder import TinyDecoder
from lvcf.tasks.optim import finite, one_cycle


class TinyDecoderTask(LightningModule):
    """The mean squared difference of both decoders' clips, at noisy latents.

    Guidance takes gradients at perturbed clean estimates, and with noise of deviation s around a latent the loss holds
    s^2 times the squared difference of the Jacobians too: what is distilled is the derivative, not the clip alone.

    Args:
        decoder: the tiny decoder, untrained or to be trained on.
        backbone: whose VAE is imitated; it stays as it is.
        output: where ``save_pretrained`` puts the decoder after training.
        lr: peak learning rate.
        latent_noise: largest deviation of the noise, in units of the latent's own; every latent draws its own.

    Raises:
        UserError: a number is out of range.
    """

    def __init__(
        self, decoder: TinyDecoder, backbone: Backbone, output: Path, lr: float = 2e-3, latent_noise: float = 0.5
    ) -> None:
        super().__init__()
        check_number("model.lr", lr, 0.0, above=True)
        check_number("model.latent_noise", latent_noise, 0.0)
        self.decoder, self.backbone = decoder, backbone.eval().requires_grad_(False)
        self.output, self.lr, self.latent_noise = output, lr, latent_noise

    def training_step(self, batch: LatentBatch, batch_idx: int) -> Tensor:
        """One noisy latent per clip."""
        latent = batch["latent"]
        deviation = self.latent_noise * torch.rand(len(latent), device=latent.device)
        latent = latent + expand(deviation, latent) * torch.randn_like(latent)
        with torch.no_grad():
            wanted = self.backbone.decode(self.backbone.padded(latent), self._frames(latent))
        loss = functional.mse_loss(self.decoder.decode_as(latent, wanted).float(), wanted.float())
        self.log("train/loss", loss, prog_bar=True)
        return finite(loss)

    def validation_step(self, batch: LatentBatch, batch_idx: int) -> None:
        """PSNR in dB between both clips, peak to peak 2, and the cosine of both gradients of the clip's energy."""
        self._measure(batch, "val")

    def test_step(self, batch: LatentBatch, batch_idx: int) -> None:
        """The same on the test split."""
        self._measure(batch, "test")

    def _measure(self, batch: LatentBatch, split: str) -> None:
        latent = batch["latent"]
        with torch.enable_grad():
            point = latent.detach().requires_grad_(True)
            wanted = self.backbone.decode(self.backbone.padded(point), self._frames(latent))
            got = self.decoder.decode_as(point, wanted)
            energy = wanted.detach()
            ours, true = (torch.autograd.grad(clip, point, energy.to(clip))[0].flatten(1) for clip in (got, wanted))
        error = (got - wanted).detach().float().square().mean(dim=(1, 2, 3, 4))
        measured = {
            f"{split}/psnr": (10 * torch.log10(4.0 / error)).mean(),
            f"{split}/gradient_cosine": functional.cosine_similarity(ours, true).mean(),
        }
        self.log_dict(measured, prog_bar=True, batch_size=len(latent))

    def _frames(self, latent: Tensor) -> int:
        """All that the decoder makes of a latent."""
        return latent.shape[2] * (self.decoder.trimmed + 1) - self.decoder.trimmed

    def on_fit_end(self) -> None:
        """Save the tiny decoder."""
        if self.trainer.is_global_zero:
            self.decoder.save_pretrained(self.output)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW, one cycle."""
        return one_cycle(self.decoder.parameters(), self.lr, int(self.trainer.estimated_stepping_batches))
