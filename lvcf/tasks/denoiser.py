"""Train the denoising Transformer of a backbone of any family on cached latents."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any, Self

import torch
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn import functional

from lvcf.checks import check_number
from lvcf.datamodules.latents import LatentBatch
from lvcf.diffusion.parameterization import expand
from lvcf.errors import UserError
from lvcf.models.backbones.base import Condition
from lvcf.models.backbones.lora import add_lora, save_loras
from lvcf.models.backbones.pipeline import PipelineBackbone
from lvcf.tasks.optim import finite, one_cycle

WEIGHTS = ("state_dict", "current_model_state")
"""Where a checkpoint holds weights: the model's, or with an average of them the average's and the model's."""


FEWEST = 4
"""Times that the loss is measured at, at least."""


GIVEN_NONE, GIVEN_FIRST = 0.2, 0.55
"""Shares of the samples with no given latent frame, and with the first one; the others get some."""
GIVEN_SHARE = 0.3
"""Of the latent frames, where some are given."""


class DenoiserTask(LightningModule):
    """The mean squared error of what the family predicts (eps, v or the flow), prompts dropped to the neutral one.

    Args:
        backbone: whose denoiser is trained, from nothing or from a checkpoint; its VAE stays as it is.
        output: where the whole backbone goes after training, or its LoRA alone.
        train_text_encoder: train the text encoder too (from nothing); off when fine-tuning.
        lr: peak learning rate.
        neutral_share: how often a prompt loses its value, which trains the neutral prompt and guidance.
        noise_shift: mean of the logit-normal distribution of times; above 0 favours noise, where motion is decided.
            None draws times evenly, as epsilon- and v-predicting checkpoints were trained.
        lora_rank: train low-rank changes of the attention alone, of this rank; 0 trains the whole denoiser, whose
            weights then have to be float32.
        gradient_checkpointing: compute activations twice instead of keeping them.
        given: train with latent frames that are given, clean, and count the loss of the others: none in a fifth of the
            samples, the first in more than half, some in a quarter (docs/method.md, 17).  An image-to-video denoiser
            that is shown the first frame in channels is always given it, and needs none of this.
        notice: what every report made with the trained backbone has to say; None keeps what the untrained one says.

    Raises:
        UserError: the denoiser is a flow map, a number is out of range, ``lora_rank`` goes with a trained text encoder,
            which its file would not hold, the weights that are to be trained are no float32, rounded or offloaded, or
            the family's denoiser takes no time per frame.
    """

    def __init__(
        self,
        backbone: PipelineBackbone,
        output: Path,
        train_text_encoder: bool,
        lr: float = 1e-3,
        neutral_share: float = 0.2,
        noise_shift: float | None = 0.3,
        lora_rank: int = 0,
        gradient_checkpointing: bool = False,
        given: bool = False,
        notice: str | None = None,
    ) -> None:
        super().__init__()
        check_number("model.lr", lr, 0.0, above=True)
        check_number("model.neutral_share", neutral_share, 0.0, 1.0)
        if noise_shift is not None:
            check_number("model.noise_shift", noise_shift)
        if lora_rank < 0 or (lora_rank and train_text_encoder):
            raise UserError(f"model.lora_rank {lora_rank}: choose 0 or more; above 0, train_text_encoder must be false")
        if backbone.is_flow_map:
            raise UserError(
                f"model.backbone: a {backbone.pipeline_name}'s denoiser is a flow map, and fit teaches a flow, not the "
                "steps that sampling takes; train Wan 2.1 and add its LoRA to the flow map"
            )
        for option, value in (("quantized", backbone.quantized), ("offload", backbone.offloading)):
            if value != "none":
                raise UserError(f"model.backbone.{option} {value}: is for predict; leave it out in a training")
        if not lora_rank and backbone.weights_dtype != torch.float32:
            raise UserError(
                "model.backbone.weights_dtype: small steps vanish in half precision; leave it out, or train a lora_rank"
            )
        if given and backbone.draws_from_first:
            raise UserError(f"model.given: a {backbone.pipeline_name} is always given the first frame; leave it out")
        if given and not backbone.a_time_per_frame:
            raise UserError(
                f"model.given: a {type(backbone).__name__} takes no time per frame; leave it out, or use LTX's or Wan's"
            )
        self.backbone, self.given = backbone, given
        self.backbone.requires_grad_(False)
        self.backbone.text_encoder.requires_grad_(train_text_encoder)
        for denoiser in backbone.denoisers().values():
            backbone.let_learn(denoiser)
            if lora_rank:
                add_lora(denoiser, lora_rank)
            if gradient_checkpointing:
                denoiser.enable_gradient_checkpointing()
        self.output, self.lr, self.lora_rank = output, lr, lora_rank
        self.train_text_encoder, self.notice = train_text_encoder, notice
        self.neutral_share, self.noise_shift = neutral_share, noise_shift

    def training_step(self, batch: LatentBatch, batch_idx: int) -> Tensor:
        """One random time per latent."""
        latent = self.backbone.padded(batch["latent"])
        neutral = torch.rand(len(latent)) < self.neutral_share
        pairs = zip(neutral.tolist(), batch["prompt"], batch["neutral_prompt"], strict=True)
        prompts = [plain if drop else full for drop, full, plain in pairs]
        given = draw_given(latent) if self.given else None
        condition = self._condition(batch)
        loss = self._loss(latent, self._times(latent), prompts, torch.randn_like(latent), given, condition)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def _times(self, latent: Tensor) -> Tensor:
        if self.noise_shift is None:
            return 1.0 - torch.rand(len(latent), device=latent.device)
        return torch.sigmoid(self.noise_shift + torch.randn(len(latent), device=latent.device))

    @torch.no_grad()
    def _condition(self, batch: LatentBatch) -> Condition | None:
        """What the denoiser is shown of the clips' first frames, where it always draws from them."""
        if not self.backbone.draws_from_first:
            return None
        first, latent = batch["first"], batch["latent"]
        frames = self.backbone.time_compression * (latent.shape[2] - 1) + 1
        return self.backbone.condition(first[:, :, None].expand(-1, -1, frames, -1, -1), [0])

    def validation_step(self, batch: LatentBatch, batch_idx: int) -> None:
        """The same loss on fixed noise and an even grid of times, with the full and with the neutral prompt.

        One latent alone would meet one time alone: few are repeated.
        """
        self._measure(batch, batch_idx, "val")

    def test_step(self, batch: LatentBatch, batch_idx: int) -> None:
        """The same on the test split."""
        self._measure(batch, batch_idx, "test")

    def _measure(self, batch: LatentBatch, batch_idx: int, split: str) -> None:
        repeats = -(-FEWEST // len(batch["latent"]))
        latent = self.backbone.padded(batch["latent"]).repeat(repeats, 1, 1, 1, 1)
        generator = torch.Generator().manual_seed(batch_idx)
        noise = torch.randn(latent.shape, generator=generator).to(latent)
        t = torch.linspace(0.05, 0.95, len(latent), device=latent.device)
        shown = self._condition(batch)
        condition = None if shown is None else shown.repeat(repeats)
        for name, prompts in (("loss", batch["prompt"]), ("loss_neutral", batch["neutral_prompt"])):
            loss = self._loss(latent, t, prompts * repeats, noise, condition=condition)
            self.log(f"{split}/{name}", loss, prog_bar=True, batch_size=len(batch["latent"]), sync_dist=True)

    def _loss(
        self,
        latent: Tensor,
        t: Tensor,
        prompts: list[str],
        noise: Tensor,
        given: Tensor | None = None,
        condition: Condition | None = None,
    ) -> Tensor:
        """Mean squared error over the latent frames that are not ``given`` ``(B, F)``: those are clean, at time 0."""
        if given is not None:
            t = t[:, None].expand_as(given).masked_fill(given, 0.0)
        alpha, sigma = self.backbone.alpha_sigma(t)
        z_t = expand(alpha, latent) * latent + expand(sigma, latent) * noise
        with torch.set_grad_enabled(self.train_text_encoder and torch.is_grad_enabled()):
            prompt = self.backbone.embed(prompts)
        said = self.backbone.output(z_t, t, prompt, condition)
        wanted = self.backbone.training_target(latent, noise, t)
        if given is None:
            return finite(functional.mse_loss(said.float(), wanted))
        error = (said.float() - wanted).square().mean(dim=(1, 3, 4))
        return finite(error[~given].mean())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what is trained only: the rest stands in the backbone's folder."""
        every = self.named_parameters(remove_duplicate=False)  # a text encoder's embedding has two names
        trained = {name for name, parameter in every if parameter.requires_grad}
        for key in (key for key in WEIGHTS if key in checkpoint):
            checkpoint[key] = {name: value for name, value in checkpoint[key].items() if name in trained}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put back what was left out."""
        for key in (key for key in WEIGHTS if key in checkpoint):
            checkpoint[key] = {**self.state_dict(), **checkpoint[key]}

    def on_fit_end(self) -> None:
        """Save the backbone, or its LoRA."""
        if not self.trainer.is_global_zero:
            return
        if self.lora_rank:
            save_loras(self.backbone.denoisers(), self.output)
        else:
            self.backbone.notice = self.backbone.notice if self.notice is None else self.notice
            self.backbone.takes_given = self.backbone.takes_given or self.given
            self.backbone.save_pretrained(self.output)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW, one cycle, on what is trained."""
        trained = [p for p in self.backbone.parameters() if p.requires_grad]
        return one_cycle(trained, self.lr, int(self.trainer.estimated_stepping_batches))

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A copy that shares the frozen weights: an average costs the memory of the trained ones."""
        memo.update({id(parameter): parameter for parameter in self.parameters() if not parameter.requires_grad})
        copied = self.__class__.__new__(self.__class__)
        memo[id(self)] = copied
        copied.__dict__.update(deepcopy(self.__getstate__(), memo))
        return copied


def draw_given(latent: Tensor) -> Tensor:
    """Which latent frames ``(B, F)`` of ``(B, C, F, H, W)`` are given; never all of a sample's."""
    samples, frames = len(latent), latent.shape[2]
    draw = torch.rand(samples, 1, device=latent.device)
    first = torch.arange(frames, device=latent.device)[None] == 0
    some = torch.rand(samples, frames, device=latent.device) < GIVEN_SHARE
    given = torch.where(draw < GIVEN_NONE + GIVEN_FIRST, first, some) & (draw >= GIVEN_NONE)
    return given & ~given.all(dim=1, keepdim=True)
