"""The Wan 2.1 family (Wan Team 2025): 3D causal VAE, UMT5, cross-attention Transformer, rectified flow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from diffusers.pipelines.wan.pipeline_wan import prompt_clean
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from lvcf.errors import UserError
from lvcf.models.backbones.base import Embedding
from lvcf.models.backbones.ltx import pad_frames
from lvcf.models.backbones.pipeline import PipelineBackbone, check_pixels
from lvcf.models.backbones.text import embed_prompts

PROMPT_LENGTH = 512


class WanBackbone(PipelineBackbone):
    """See :class:`Backbone`; 4k + 1 frames, latents normalised per channel.  Wan's VAE clamps its clips to [-1, 1]."""

    pipeline_name = "WanPipeline"
    vae_class = AutoencoderKLWan
    transformer_class = WanTransformer3DModel

    @classmethod
    def _check_index(cls, folder: Path, index: dict[str, Any]) -> None:
        super()._check_index(folder, index)
        if (index.get("transformer_2") or [None])[0] or index.get("expand_timesteps"):
            raise UserError(f"{folder}: is of Wan 2.2 (two denoisers, or a time per token); use a Wan 2.1 checkpoint")

    @classmethod
    def encode_with(cls, vae: AutoencoderKLWan, video: Tensor) -> Tensor:
        """See the base class."""
        check_pixels(video, vae.config.scale_factor_spatial)
        padded = pad_frames(video, vae.config.scale_factor_temporal)
        latent: Tensor = vae.encode(padded).latent_dist.mode()
        mean, std = _statistics(vae, latent)
        return (latent - mean) / std

    @classmethod
    def decode_with(cls, vae: AutoencoderKLWan, latent: Tensor, frames: int) -> Tensor:
        """See the base class."""
        mean, std = _statistics(vae, latent)
        video: Tensor = vae.decode(latent * std + mean).sample
        return video[:, :, :frames]

    @property
    def latent_channels(self) -> int:
        """See the base class."""
        return int(self.vae.config.z_dim)

    @property
    def time_compression(self) -> int:
        """See the base class."""
        return int(self.vae.config.scale_factor_temporal)

    @property
    def patch(self) -> int:
        """See the base class."""
        return int(self.transformer.config.patch_size[1])

    def embed(self, prompts: list[str]) -> Embedding:
        """See the base class."""
        return embed_wan_prompts(self.text_encoder, self.tokenizer, prompts)

    def denoise(self, z_t: Tensor, t: Tensor, prompt: Embedding) -> Tensor:
        """See the base class."""
        said: Tensor = self.transformer(
            hidden_states=z_t,
            timestep=self.timestep(t),
            encoder_hidden_states=prompt.tokens,
            return_dict=False,
        )[0]
        return said


def embed_wan_prompts(encoder: nn.Module, tokenizer: PreTrainedTokenizerBase, prompts: list[str]) -> Embedding:
    """Prompts cleaned as by the published pipeline, embedded, and zero where there is no token."""
    embedding = embed_prompts(encoder, tokenizer, [prompt_clean(p) for p in prompts], PROMPT_LENGTH, masked=True)
    return Embedding(embedding.tokens * embedding.mask[..., None], embedding.mask, embedding.ids)


def _statistics(vae: AutoencoderKLWan, like: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the latent channels, ``(1, C, 1, 1, 1)``."""
    mean, std = (
        torch.tensor(v).view(1, -1, 1, 1, 1).to(like) for v in (vae.config.latents_mean, vae.config.latents_std)
    )
    return mean, std
