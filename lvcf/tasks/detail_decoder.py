"""Train a detail decoder on real clips: their own frames at other times sharpen what the VAE blurs."""

from __future__ import annotations

from pathlib import Path

import torch
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn import functional

from lvcf.checks import check_number
from lvcf.data.clip import Batch
from lvcf.diffusion.parameterization import expand
from lvcf.models.backbones.base import Backbone
from lvcf.models.backbones.detail_decoder import DetailDecoder
from lvcf.tasks.autoencoder import edge_error
from lvcf.tasks.optim import finite, one_cycle

SHOWN = 2
"""Own frames that are shown in training."""
FIRST_SHARE = 0.5
"""How often one of them is the clip's first, as at explanation time."""


class DetailDecoderTask(LightningModule):
    """L1 error of pixels and of spatial differences, of a few frames per clip.

    No counterfactual is needed: a clip's frames at other times differ from a frame as a clip differs from its
    counterfactual.  Noise on the latents stands for what a denoiser's samples have and encoded clips have not.

    Args:
        decoder: the detail decoder, untrained or to be trained on.
        backbone: whose VAE draws; it stays as it is.
        output: where ``save_pretrained`` puts the decoder after training.
        lr: peak learning rate.
        frames: frames per clip that the loss counts.
        latent_noise: largest deviation of the noise, in units of the latent's own; every latent draws its own.
        edge_weight: weight of the differences.

    Raises:
        UserError: a number is out of range.
    """

    def __init__(
        self,
        decoder: DetailDecoder,
        backbone: Backbone,
        output: Path,
        lr: float = 1e-3,
        frames: int = 4,
        latent_noise: float = 0.2,
        edge_weight: float = 2.0,
    ) -> None:
        super().__init__()
        check_number("model.lr", lr, 0.0, above=True)
        check_number("model.frames", frames, 1)
        for name, value in {"latent_noise": latent_noise, "edge_weight": edge_weight}.items():
            check_number(f"model.{name}", value, 0.0)
        self.decoder, self.backbone = decoder, backbone.eval().requires_grad_(False)
        self.output, self.lr, self.frames = output, lr, frames
        self.latent_noise, self.edge_weight = latent_noise, edge_weight

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """A few frames of every clip, and others that are shown."""
        video = batch["video"]
        drawn, exact = self._drawn(video)
        order = torch.randperm(video.shape[2]).tolist()
        shown, asked = order[:SHOWN], order[SHOWN : SHOWN + self.frames]
        if float(torch.rand(())) < FIRST_SHARE:
            shown[0] = 0
        restored = self.decoder(drawn[:, :, asked], video[:, :, shown], exact[:, :, shown])
        wanted = video[:, :, asked]
        error, edges = functional.l1_loss(restored, wanted), edge_error(restored, wanted, dims=(3, 4))
        self.log_dict({"train/l1": error, "train/edges": edges}, prog_bar=True)
        loss: Tensor = error + self.edge_weight * edges
        return finite(loss)

    @torch.no_grad()
    def _drawn(self, video: Tensor) -> tuple[Tensor, Tensor]:
        """The clips as the VAE draws noisy latents, and as it draws the latents themselves."""
        latent = self.backbone.encode(video)
        deviation = self.latent_noise * torch.rand(len(latent), device=latent.device)
        noisy = latent + expand(deviation, latent) * torch.randn_like(latent)
        drawn, exact = self.backbone.decode(torch.cat([noisy, latent]), video.shape[2]).float().chunk(2)
        return drawn, exact

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """PSNR in dB of whole clips but their first frame, which is shown, peak to peak 2; beside it the VAE's."""
        self._measure(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """The same on the test split."""
        self._measure(batch, "test")

    def _measure(self, batch: Batch, split: str) -> None:
        video = batch["video"]
        drawn = self.backbone.decode(self.backbone.encode(video), video.shape[2]).float()
        restored = self.decoder(drawn[:, :, 1:], video[:, :, :1], drawn[:, :, :1])
        for name, clip in (("psnr", restored), ("psnr_vae", drawn[:, :, 1:])):
            error = (clip.clamp(-1, 1) - video[:, :, 1:]).square().mean(dim=(1, 2, 3, 4))
            value = (10 * torch.log10(4.0 / error)).mean()
            self.log(f"{split}/{name}", value, prog_bar=True, batch_size=len(video), sync_dist=True)

    def on_fit_end(self) -> None:
        """Save the detail decoder."""
        if self.trainer.is_global_zero:
            self.decoder.save_pretrained(self.output)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW, one cycle."""
        return one_cycle(self.decoder.parameters(), self.lr, int(self.trainer.estimated_stepping_batches))
