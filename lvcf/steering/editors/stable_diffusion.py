"""A stock Stable Diffusion 1.x or 2.x pipeline on the frames of a clip, and DDIM on it in both directions.

The parts are diffusers' and transformers' own classes; steps are those of :mod:`lvcf.diffusion`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from einops import rearrange, repeat
from torch import Tensor, nn
from transformers import CLIPTextModel, PreTrainedTokenizerBase

from lvcf.diffusion.inversion import noised
from lvcf.diffusion.parameterization import ESTIMATES, from_epsilon
from lvcf.diffusion.steps import Scales
from lvcf.errors import UserError, said
from lvcf.models.backbones.parts import check_configurations, load_model, load_tokenizer
from lvcf.models.backbones.schedule import prediction_of
from lvcf.steering.editors.base import finite

PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
UP_BLOCKS = ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D")
CLEAN = -1
"""The level after the last timestep: the end of sampling and the start of inversion."""


class StableDiffusion:
    """U-Net, VAE, text encoder, tokenizer and noise schedule, frozen, in float32.

    Latents are the U-Net's own scaled ones, ``(..., C, h, w)``; a level is a training timestep or :data:`CLEAN`.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        tokenizer: PreTrainedTokenizerBase,
        scheduler: DDIMScheduler,
        device: str,
    ) -> None:
        self.unet, self.vae, self.text_encoder = (
            module.to(device).eval().requires_grad_(False) for module in (unet, vae, text_encoder)
        )
        self.tokenizer, self.scheduler, self.device = tokenizer, scheduler, device
        self.read = ESTIMATES[prediction_of(scheduler)]
        self.prompt_tokens = min(tokenizer.model_max_length, text_encoder.config.max_position_embeddings)

    @classmethod
    def from_pretrained(cls, weights: str, device: str) -> StableDiffusion:
        """Load a folder in the diffusers layout, or a model of the hub by its id.

        Any scheduler's noise schedule serves; its timesteps are spaced as DDIM's are in the editors' papers.

        Raises:
            UserError: it is no Stable Diffusion 1.x or 2.x pipeline, a part is missing or does not load.
        """
        _check_folder(Path(weights))
        try:
            check_configurations(Path(weights), PARTS)
            _check_layout(UNet2DConditionModel.load_config(weights, subfolder="unet"))
            _check_schedule(DDIMScheduler.load_config(weights, subfolder="scheduler"))
            return cls(
                load_model(UNet2DConditionModel, weights, "unet", torch_dtype=torch.float32),
                load_model(AutoencoderKL, weights, "vae", torch_dtype=torch.float32),
                load_model(CLIPTextModel, weights, "text_encoder", dtype=torch.float32),
                load_tokenizer(weights, subfolder="tokenizer"),
                DDIMScheduler.from_pretrained(weights, subfolder="scheduler", timestep_spacing="leading"),
                device,
            )
        except UserError as error:
            raise UserError(f"{weights}: {error}") from error
        except Exception as error:  # constructors of two libraries on a file's values: they share no base class
            raise UserError(f"{weights}: neither a folder nor a hub model whose parts load ({said(error)})") from error

    def check_clip(self, clip: Tensor) -> None:
        """Refuse what the editors cannot edit.

        Raises:
            UserError: the clip has one frame, or a size that the VAE cannot divide.
        """
        _, frames, height, width = clip.shape
        factor = 2 ** (len(self.vae.config.block_out_channels) - 1)
        if frames < 2:
            raise UserError("the clip has one frame and a video editor needs two or more; use a longer clip")
        if height % factor or width % factor:
            fits = f"{max(height // factor, 1) * factor}x{max(width // factor, 1) * factor}"
            raise UserError(f"the clip is {height}x{width} and both have to be multiples of {factor}; resize to {fits}")

    @torch.no_grad()
    def encode(self, clip: Tensor) -> Tensor:
        """Clip ``(3, T, H, W)`` in [-1, 1] to latents ``(T, C, h, w)``, frame by frame, deterministically."""
        frames = rearrange(clip.to(self.device), "c t h w -> t 1 c h w")
        modes = torch.cat([self.vae.encode(frame).latent_dist.mode() for frame in frames])
        latents: Tensor = modes * self.vae.config.scaling_factor
        return latents

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents ``(T, C, h, w)`` to a clip ``(3, T, H, W)`` in [-1, 1], on the CPU."""
        frames = [self.vae.decode(z[None] / self.vae.config.scaling_factor).sample.cpu() for z in latents]
        return rearrange(torch.cat(frames), "t c h w -> c t h w").clamp(-1.0, 1.0)

    @torch.no_grad()
    def embed(self, prompts: list[str]) -> Tensor:
        """Prompts to the text encoder's last hidden states ``(B, L, D)``.

        Raises:
            UserError: a prompt has more tokens than the text encoder reads.
        """
        limit = self.prompt_tokens
        for prompt, tokens in zip(prompts, self.tokenizer(prompts)["input_ids"], strict=True):
            if len(tokens) > limit:
                raise UserError(
                    f"prompt '{prompt[:60]}...' has {len(tokens)} tokens and the text encoder reads {limit}; shorten it"
                )
        tokens = self.tokenizer(prompts, padding="max_length", max_length=limit, return_tensors="pt")["input_ids"]
        hidden: Tensor = self.text_encoder(tokens.to(self.device)).last_hidden_state
        return hidden

    def levels(self, steps: int) -> list[int]:
        """``steps`` falling timesteps and :data:`CLEAN`."""
        self.scheduler.set_timesteps(steps)
        return [*self.scheduler.timesteps.tolist(), CLEAN]

    def scales(self, level: int) -> Scales:
        """alpha and sigma at a level, each ``(1,)``."""
        squared = self.scheduler.final_alpha_cumprod if level == CLEAN else self.scheduler.alphas_cumprod[level]
        squared = squared.to(self.device).reshape(1)
        return squared.sqrt(), (1.0 - squared).sqrt()

    def noise(self, z: Tensor, level: int, prompts: Tensor) -> Tensor:
        """The noise estimate, shaped as ``z``.

        Args:
            z: ``(copies, frames, C, h, w)``.
            level: a timestep.
            prompts: embedded, one per copy ``(copies, L, D)``.
        """
        rows, frames = rearrange(z, "c f d h w -> (c f) d h w"), z.shape[1]
        context = repeat(prompts, "c l d -> (c f) l d", f=frames)
        output = self.unet(rows, level, encoder_hidden_states=context).sample
        return rearrange(self.read(output, rows, *self.scales(level))[1], "(c f) d h w -> c f d h w", f=frames)

    def move(self, z: Tensor, noise: Tensor, now: int, following: int) -> Tensor:
        """One DDIM step (Song et al. 2021, eta = 0), downwards or upwards; any leading dimensions."""
        clean, _ = from_epsilon(noise, z, *self.scales(now))
        return noised(clean, noise, self.scales(following))

    def invert(
        self, latents: Tensor, levels: list[int], keep: list[int], predict: Callable[[Tensor, int], Tensor]
    ) -> Tensor:
        """DDIM upwards from clean latents; returns the latents at the levels ``keep``, in its order.

        The noise estimate is asked at the level stepped to, as sampling will ask it on the way back.

        Args:
            latents: ``(T, C, h, w)``.
            levels: falling, to :data:`CLEAN`.
            keep: some of them.
            predict: the noise estimate of (latents, level).

        Raises:
            UserError: a step is not finite.
        """
        kept, z = {CLEAN: latents}, latents
        for step, (now, later) in enumerate(pairwise(reversed(levels)), start=1):
            z = finite(self.move(z, predict(z, later), now, later), "inversion", step)
            if later in keep:
                kept[later] = z
        return torch.stack([kept[level] for level in keep])

    def sample(self, z: Tensor, levels: list[int], predict: Callable[[Tensor, int, int], Tensor]) -> Tensor:
        """DDIM downwards from ``z`` at ``levels[0]``; ``predict`` gives the noise estimate of (z, level, step).

        Raises:
            UserError: a step is not finite.
        """
        for step, (now, following) in enumerate(pairwise(levels)):
            z = finite(self.move(z, predict(z, now, step), now, following), "edit", step + 1)
        return z

    def fingerprint(self) -> str:
        """sha256 of all weights: a folder retrained under its old name is another model."""
        digest = hashlib.sha256()
        modules: tuple[nn.Module, ...] = (self.unet, self.vae, self.text_encoder)
        for module in modules:
            for tensor in module.state_dict().values():
                digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def guided(negative: Tensor, positive: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance (Ho & Salimans 2022) away from the negative prompt; scale 1 is the prompt alone."""
    return negative + scale * (positive - negative)


def _check_folder(folder: Path) -> None:
    """Say what a folder lacks; anything else is taken for a hub id."""
    if not folder.is_dir():
        return
    if not (folder / "model_index.json").is_file():
        raise UserError(f"{folder}: no model_index.json, so no diffusers pipeline; point to a Stable Diffusion folder")
    missing = [part for part in PARTS if not (folder / part).is_dir()]
    if missing:
        raise UserError(f"{folder}: the pipeline lacks {', '.join(missing)}; point to a whole Stable Diffusion folder")


def _check_schedule(config: dict[str, object]) -> None:
    """Refuse schedulers of flows, whose settings DDIM would take its own betas in place of."""
    if "beta_schedule" not in config:
        raise UserError(f"its scheduler is a {config.get('_class_name')}, no diffusion's; use one with a beta_schedule")


def _check_layout(config: dict[str, object]) -> None:
    """Refuse U-Nets of other families (SDXL, inpainting, video) before their weights are read."""
    blocks = config.get("up_block_types")
    stable = isinstance(blocks, list) and tuple(blocks) == UP_BLOCKS
    if not stable or config.get("in_channels") != 4 or config.get("addition_embed_type"):
        raise UserError(
            f"its {config.get('_class_name')} is not laid out as Stable Diffusion 1.x or 2.x; use one of those"
        )
