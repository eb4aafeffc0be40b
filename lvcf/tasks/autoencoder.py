"""Train the 3D causal VAE of a backbone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from diffusers import AutoencoderKLLTXVideo
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn import functional

from lvcf.checks import check_number
from lvcf.data.clip import Batch
from lvcf.errors import UserError
from lvcf.models.backbones.ltx import pad_frames
from lvcf.models.backbones.shortcut_vae import LinearShortcutVAE
from lvcf.tasks.optim import finite, one_cycle


class AutoencoderTask(LightningModule):
    """Reconstruction on the posterior's mode with small added noise, which keeps the latent usable for diffusion.

    Training on *sampled* posteriors from the start collapses small VAEs to the mean clip; the mode does not.

    Args:
        vae: the model to train.
        output: where ``save_pretrained`` puts the VAE after training.
        frames: frames per training window (4k + 1 or 2k + 1, as the VAE's time compression wants).
        lr: peak learning rate.
        latent_noise: standard deviation of the noise added to the latent, whose scale the KL term holds near 1.
        kl_weight: weight of the KL divergence to the unit Gaussian.
        edge_weight: weight of the L1 error of spatial and temporal differences, which keeps walls and motion sharp.
        train_encoder: off sharpens the decoder alone, so that a denoiser trained on the latents stays valid; with a
            linear shortcut the latents are then its alone, from the first step on.

    Raises:
        UserError: a number is out of range.
    """

    def __init__(
        self,
        vae: AutoencoderKLLTXVideo,
        output: Path,
        frames: int = 9,
        lr: float = 1e-3,
        latent_noise: float = 0.1,
        kl_weight: float = 1e-4,
        edge_weight: float = 1.0,
        train_encoder: bool = True,
    ) -> None:
        super().__init__()
        check_number("model.frames", frames, 1)
        check_number("model.lr", lr, 0.0, above=True)
        for name, value in {"latent_noise": latent_noise, "kl_weight": kl_weight, "edge_weight": edge_weight}.items():
            check_number(f"model.{name}", value, 0.0)
        self.vae, self.output, self.frames, self.lr = vae, output, frames, lr
        self.latent_noise, self.kl_weight, self.edge_weight = latent_noise, kl_weight, edge_weight
        self.train_encoder = train_encoder
        self.vae.encoder.requires_grad_(train_encoder)
        if isinstance(self.vae, LinearShortcutVAE):
            self.vae.freeze_shortcut()

    def on_fit_start(self) -> None:
        """Fit a linear shortcut, if the VAE has one without content, to training clips."""
        if isinstance(self.vae, LinearShortcutVAE) and not self.vae.is_fitted:
            self.vae.fit(torch.cat(list(self._clips())))
            self.measure_latents()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One window of ``frames`` frames per clip."""
        video = batch["video"]
        if video.shape[2] < self.frames:
            raise UserError(f"model.frames {self.frames}: the clips have {video.shape[2]}; choose at most that many")
        start = int(torch.randint(video.shape[2] - self.frames + 1, ()))
        video = video[:, :, start : start + self.frames]
        posterior = self.vae.encode(video).latent_dist
        latent = posterior.mode()
        kl = 0.5 * (latent**2 + posterior.var - 1.0 - posterior.logvar).mean()
        restored = self.vae.decode(latent + self.latent_noise * torch.randn_like(latent)).sample
        error = functional.l1_loss(restored, video)
        edges = edge_error(restored, video)
        self.log_dict({"train/l1": error, "train/edges": edges, "train/kl": kl}, prog_bar=True)
        loss: Tensor = error + self.edge_weight * edges + self.kl_weight * kl
        return finite(loss)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """PSNR in dB of whole clips, peak to peak 2."""
        self._measure(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """The same on the test split."""
        self._measure(batch, "test")

    def _measure(self, batch: Batch, split: str) -> None:
        video = pad_frames(batch["video"], self.vae.temporal_compression_ratio)
        restored = self.vae.decode(self.vae.encode(video).latent_dist.mode()).sample
        error = (restored.clamp(-1, 1) - video).square().mean(dim=(1, 2, 3, 4))
        psnr = (10 * torch.log10(4.0 / error)).mean()
        self.log(f"{split}/psnr", psnr, prog_bar=True, batch_size=len(video), sync_dist=True)

    def on_fit_end(self) -> None:
        """Save the VAE, with its latent's mean and deviation per channel measured anew if the encoder changed."""
        if not self.trainer.is_global_zero:
            return
        if self.train_encoder:
            self.measure_latents()
        self.vae.save_pretrained(self.output)

    @torch.no_grad()
    def measure_latents(self) -> None:
        """Fill ``latents_mean`` and ``latents_std`` from training clips.

        With a linear shortcut all channels have one deviation, since their own say which is drawn first.
        """
        latents = [self.vae.encode(video).latent_dist.mode().float() for video in self._clips()]
        stacked = torch.cat(latents).transpose(0, 1).flatten(1)
        deviation = stacked.std(1)
        if isinstance(self.vae, LinearShortcutVAE):
            deviation = deviation.square().mean().sqrt().expand(len(deviation))
        self.vae.latents_mean.copy_(stacked.mean(1))
        self.vae.latents_std.copy_(deviation)

    def _clips(self, batches: int = 24) -> Iterator[Tensor]:
        """Some batches of training clips, whole."""
        loader = self.trainer.datamodule.train_dataloader()  # type: ignore[attr-defined]
        for _, batch in zip(range(batches), loader, strict=False):
            yield pad_frames(batch["video"], self.vae.temporal_compression_ratio).to(self.device)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW, one cycle, on what is trained."""
        trained = [p for p in self.vae.parameters() if p.requires_grad]
        return one_cycle(trained, self.lr, int(self.trainer.estimated_stepping_batches))


def edge_error(restored: Tensor, video: Tensor, dims: tuple[int, ...] = (2, 3, 4)) -> Tensor:
    """Mean L1 error of the differences between neighbours, summed over time, height and width, or over some of them."""
    error = restored - video
    return torch.stack([error.diff(dim=dim).abs().mean() for dim in dims]).sum()
