"""Train the denoising Transformer of a backbone on cached latents, together with its small text encoder."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from diffusers import AutoencoderKLLTXVideo, FlowMatchEulerDiscreteScheduler, LTXVideoTransformer3DModel
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn import functional

from lvcf.datamodules.latents import LatentBatch
from lvcf.diffusion.parameterization import expand
from lvcf.errors import UserError
from lvcf.models.backbones.ltx import LTXBackbone
from lvcf.models.backbones.text import small_text_encoder, small_tokenizer
from lvcf.tasks.optim import one_cycle


class DenoiserTask(LightningModule):
    """Flow matching: the mean squared error of u = eps - z_0, prompts dropped to the neutral one now and then.

    Args:
        transformer: the denoiser.
        vae: the trained VAE's folder; it goes into the backbone unchanged.
        output: where ``save_pretrained`` puts the whole backbone after training.
        words: the prompts' words beside the integers 0..100.
        text_width: width of the text encoder; the Transformer's ``caption_channels``.
        text_layers: its layers.
        prompt_length: tokens per prompt, start and end included.
        lr: peak learning rate.
        neutral_share: how often the prompt loses its value, which trains the neutral prompt and classifier-free guidance.
        noise_shift: mean of the logit-normal distribution of times; above 0 favours the noisy ones, where motion is decided.
    """

    def __init__(
        self,
        transformer: LTXVideoTransformer3DModel,
        vae: Path,
        output: Path,
        words: list[str],
        text_width: int = 64,
        text_layers: int = 2,
        prompt_length: int = 12,
        lr: float = 1e-3,
        neutral_share: float = 0.2,
        noise_shift: float = 0.3,
    ) -> None:
        super().__init__()
        tokenizer = small_tokenizer(words, numbers=100, length=prompt_length)
        text_encoder = small_text_encoder(tokenizer, text_width, text_layers)
        autoencoder = AutoencoderKLLTXVideo.from_pretrained(vae).requires_grad_(False)
        scheduler = FlowMatchEulerDiscreteScheduler()
        self.backbone = LTXBackbone(autoencoder, transformer, text_encoder, tokenizer, scheduler)
        self.output, self.lr = output, lr
        self.neutral_share, self.noise_shift = neutral_share, noise_shift

    def training_step(self, batch: LatentBatch, batch_idx: int) -> Tensor:
        """One random time per latent."""
        latent = batch["latent"]
        neutral = torch.rand(len(latent)) < self.neutral_share
        pairs = zip(neutral.tolist(), batch["prompt"], batch["neutral_prompt"], strict=True)
        prompts = [plain if drop else full for drop, full, plain in pairs]
        t = torch.sigmoid(self.noise_shift + torch.randn(len(latent), device=latent.device))
        loss = self._loss(latent, t, prompts, torch.randn_like(latent))
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: LatentBatch, batch_idx: int) -> None:
        """The same loss on fixed noise and an even grid of times, with the full and with the neutral prompt."""
        latent = batch["latent"]
        generator = torch.Generator().manual_seed(batch_idx)
        noise = torch.randn(latent.shape, generator=generator).to(latent)
        t = torch.linspace(0.05, 0.95, len(latent), device=latent.device)
        for name, prompts in (("val/loss", batch["prompt"]), ("val/loss_neutral", batch["neutral_prompt"])):
            self.log(name, self._loss(latent, t, prompts, noise), prog_bar=True, batch_size=len(latent))

    def _loss(self, latent: Tensor, t: Tensor, prompts: list[str], noise: Tensor) -> Tensor:
        alpha, sigma = self.backbone.alpha_sigma(t)
        z_t = expand(alpha, latent) * latent + expand(sigma, latent) * noise
        flow = self.backbone.velocity(z_t, t, self.backbone.embed(prompts))
        loss = functional.mse_loss(flow.float(), noise - latent)
        if not math.isfinite(float(loss.detach())):
            raise UserError(f"the loss is {float(loss.detach())}; lower --model.lr or set --trainer.precision 32-true")
        return loss

    def on_fit_end(self) -> None:
        """Save the backbone."""
        self.backbone.save_pretrained(self.output)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW, one cycle, on the Transformer and the text encoder."""
        trained = [p for p in self.backbone.parameters() if p.requires_grad]
        return one_cycle(trained, self.lr, int(self.trainer.estimated_stepping_batches))
