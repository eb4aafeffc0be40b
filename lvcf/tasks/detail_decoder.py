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
from lvcf.diffusion.inversion import noised
from lvcf.diffusion.parameterization import expand
from lvcf.models.backbones.base import Backbone
from lvcf.models.backbones.detail_decoder import DetailDecoder
from lvcf.models.backbones.discriminator import PatchDiscriminator
from lvcf.tasks.autoencoder import edge_error
from lvcf.tasks.optim import finite, one_cycle

SHOWN = 2
"""Own frames that are shown in training."""
FIRST_SHARE = 0.5
"""How often one of them is the clip's first, as at explanation time."""
ESTIMATED_SHARE = 0.5
"""How often the latents are the denoiser's estimates, if they ever are."""


class DetailDecoderTask(LightningModule):
    """L1 error of pixels and of spatial differences, of a few frames per clip.

    No counterfactual is needed: a clip's frames at other times differ from a frame as a clip differs from its
    counterfactual.  Noise on the latents stands for what a denoiser's samples have and encoded clips have not, and half
    of the latents can be the denoiser's own estimates of noised ones, which are as blurred as it is unsure.

    These losses draw what is uncertain as its median, a blur; the adversarial one asks for frames that pass for real.
    Its gradient at the last layer is held to a share of the others' (Esser et al. 2021, eq. 7).

    Args:
        decoder: the detail decoder, untrained or to be trained on.
        backbone: whose VAE draws; it stays as it is.
        output: where ``save_pretrained`` puts the decoder after training.
        lr: peak learning rate.
        frames: frames per clip that the loss counts.
        latent_noise: largest deviation of the noise, in units of the latent's own; every latent draws its own.
        edge_weight: weight of the differences.
        adversarial_weight: the adversarial loss's share; 0 leaves it out.
        estimated_from: latest time that latents are estimated from by the denoiser, in half of the steps; 0: never.

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
        adversarial_weight: float = 0.0,
        estimated_from: float = 0.0,
    ) -> None:
        super().__init__()
        check_number("model.lr", lr, 0.0, above=True)
        check_number("model.frames", frames, 1)
        check_number("model.estimated_from", estimated_from, 0.0, 1.0)
        weights = {"edge_weight": edge_weight, "adversarial_weight": adversarial_weight}
        for name, value in {"latent_noise": latent_noise, **weights}.items():
            check_number(f"model.{name}", value, 0.0)
        self.decoder, self.backbone = decoder, backbone.eval().requires_grad_(False)
        self.output, self.lr, self.frames = output, lr, frames
        self.latent_noise, self.estimated_from = latent_noise, estimated_from
        self.edge_weight, self.adversarial_weight = edge_weight, adversarial_weight
        self.discriminator = PatchDiscriminator(frames) if adversarial_weight else None

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """A few frames in a row of every clip, and others that are shown."""
        video = batch["video"]
        drawn, exact = self._drawn(video, batch["prompt"])
        start = int(torch.randint(video.shape[2] - self.frames + 1, ()))
        asked = slice(start, start + self.frames)
        shown = draw_shown(video.shape[2], start, self.frames)
        restored = self.decoder(drawn[:, :, asked], video[:, :, shown], exact[:, :, shown])
        return self._loss(restored, video[:, :, asked], drawn[:, :, asked])

    def _loss(self, restored: Tensor, wanted: Tensor, drawn: Tensor) -> Tensor:
        error, edges = functional.l1_loss(restored, wanted), edge_error(restored, wanted, dims=(3, 4))
        said = {"train/l1": error, "train/edges": edges}
        loss: Tensor = error + self.edge_weight * edges
        if self.discriminator is not None:
            believed = self.discriminator.believed(restored, drawn)
            told = self.discriminator.loss(wanted, restored, drawn)
            said |= {"train/believed": believed, "train/told": told}
            loss = loss + self.adversarial_weight * self._scale(loss, believed) * believed + told
        self.log_dict(said, prog_bar=True)
        return finite(loss)

    def _scale(self, loss: Tensor, believed: Tensor) -> Tensor:
        """How many times weaker the adversarial gradient is than the others', at the decoder's last layer."""
        last = list(self.decoder.finish.parameters())[-2]  # its weight; its bias comes after
        ours, theirs = (torch.autograd.grad(x, last, retain_graph=True)[0].norm() for x in (loss, believed))
        scale: Tensor = ours / theirs.clamp(min=1e-6)
        return scale.detach()

    @torch.no_grad()
    def _drawn(self, video: Tensor, prompts: list[str]) -> tuple[Tensor, Tensor]:
        """The clips as the VAE draws noisy or estimated latents, and as it draws the latents themselves."""
        latent = self.backbone.encode(video)
        if self.estimated_from and float(torch.rand(())) < ESTIMATED_SHARE:
            t = self.estimated_from * torch.rand(len(latent), device=latent.device)
            z_t = noised(latent, torch.randn_like(latent), self.backbone.alpha_sigma(t))
            noisy, _ = self.backbone.predict(z_t, t, self.backbone.embed(prompts), self.backbone.condition(video, [0]))
        else:
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
        trained = [p for p in self.parameters() if p.requires_grad]
        return one_cycle(trained, self.lr, int(self.trainer.estimated_stepping_batches))


def draw_shown(frames: int, start: int, asked: int) -> list[int]:
    """Own frames that are shown: none of those ``asked`` from ``start`` on; in half of the steps one is the first."""
    others = [t for t in torch.randperm(frames).tolist() if not start <= t < start + asked][:SHOWN]
    if start > 0 and 0 not in others and float(torch.rand(())) < FIRST_SHARE:
        others[0] = 0
    return others
