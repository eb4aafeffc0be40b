"""LTX-Video as it is published (HaCohen et al. 2024): T5, one latent pixel a token, positions in seconds and pixels."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKLLTXVideo
from torch import Tensor

from lvcf.models.backbones.base import Embedding
from lvcf.models.backbones.ltx import LTXBackbone, latent_statistics

PROMPT_LENGTH = 128


class LTXVideoBackbone(LTXBackbone):
    """See :class:`Backbone`; 8k + 1 frames, latents normalised per channel.

    Text-to-video, image-to-video and condition pipelines share one denoiser, which was trained with given frames.
    """

    other_pipelines = ("LTXImageToVideoPipeline", "LTXConditionPipeline")

    @property
    def _published_with_given(self) -> bool:
        return True

    @classmethod
    def decode_with(cls, vae: AutoencoderKLLTXVideo, latent: Tensor, frames: int) -> Tensor:
        """See the base class; a decoder that takes a noise level (from 0.9.1 on) is told 0, the pipeline's default."""
        mean, std = latent_statistics(vae)
        level = torch.zeros(len(latent)).to(latent) if vae.config.timestep_conditioning else None
        video: Tensor = vae.decode(latent * std + mean, level).sample
        return video[:, :, :frames]

    @property
    def patch(self) -> int:
        """See the base class."""
        return 1

    def embed(self, prompts: list[str]) -> Embedding:
        """See the base class; the published pipeline hides padding from the denoiser, not from T5."""
        return self.embed_tokens(prompts, PROMPT_LENGTH, masked=False)

    def positions(self, frames: int, height: int, width: int) -> tuple[float, float, float]:
        """See the base class: seconds and pixels per token."""
        pixels = float(self.vae.spatial_compression_ratio)
        return self.vae.temporal_compression_ratio / self.frame_rate, pixels, pixels
