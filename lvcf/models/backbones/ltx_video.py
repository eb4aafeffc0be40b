"""LTX-Video as it is published (HaCohen et al. 2024): T5, one latent pixel a token, positions in seconds and pixels."""

from __future__ import annotations

from typing import ClassVar

import torch
from diffusers import AutoencoderKLLTXVideo
from torch import Tensor

from lvcf.models.backbones.base import Embedding
from lvcf.models.backbones.ltx import LTXBackbone, latent_statistics

PROMPT_LENGTH, LONGER_PROMPT = 128, 256
"""Tokens, the second of the condition pipeline."""
CONDITION = "LTXConditionPipeline"


class LTXVideoBackbone(LTXBackbone):
    """See :class:`Backbone`; 8k + 1 frames, latents normalised per channel.

    Text-to-video, image-to-video and condition pipelines take the same parts, and all were trained with given frames.
    The last, of 0.9.5 on, puts latent frames at the second of the first frame that they stand for, at times of its own.
    """

    other_pipelines: ClassVar[tuple[str, ...]] = ("LTXImageToVideoPipeline", CONDITION)

    @property
    def _published_with_given(self) -> bool:
        return True

    @classmethod
    def decode_with(cls, vae: AutoencoderKLLTXVideo, latent: Tensor, frames: int) -> Tensor:
        """See the base class; a decoder that takes a noise level (from 0.9.1 on) is told 0, the pipeline's default."""
        mean, std = latent_statistics(vae, latent)
        level = torch.zeros(len(latent)).to(latent) if vae.config.timestep_conditioning else None
        video: Tensor = vae.decode(latent * std + mean, level).sample
        return video[:, :, :frames]

    @property
    def patch(self) -> int:
        """See the base class."""
        return 1

    def embed(self, prompts: list[str]) -> Embedding:
        """See the base class; the published pipelines hide padding from the denoiser, the condition one from T5 too."""
        if self.pipeline_name == CONDITION:
            return self.embed_tokens(prompts, LONGER_PROMPT, masked=True)
        return self.embed_tokens(prompts, PROMPT_LENGTH, masked=False)

    def positions(self, frames: int, height: int, width: int) -> tuple[float, float, float]:
        """See the base class: seconds and pixels per token."""
        pixels = float(self.vae.spatial_compression_ratio)
        return self.vae.temporal_compression_ratio / self.frame_rate, pixels, pixels

    def coordinates(self, frames: int, height: int, width: int) -> Tensor | None:
        """See the base class: the condition pipeline's, where latent frame 0 is one frame and the others c."""
        if self.pipeline_name != CONDITION:
            return None
        c, (_, pixels, _) = self.time_compression, self.positions(frames, height, width)
        times, down, across = (torch.arange(n, device=self.vae.device).float() for n in (frames, height, width))
        seconds = (c * times + 1 - c).clamp(min=0) / self.frame_rate
        return torch.stack(torch.meshgrid(seconds, pixels * down, pixels * across, indexing="ij")).flatten(1)[None]

    def time_grid(self, steps: int, strength: float, latent: Tensor) -> Tensor:
        """See the base class: the condition pipeline's first half of the steps ends at 0.975 of ``strength``."""
        if self.pipeline_name != CONDITION:
            return super().time_grid(steps, strength, latent)
        from diffusers.pipelines.ltx.pipeline_ltx_condition import linear_quadratic_schedule  # here: heavy

        return torch.cat([strength * linear_quadratic_schedule(steps), torch.zeros(1)])
