"""The Latte family (Ma et al. 2024): an image VAE on every frame, T5, attention in space and time by turns.

A VAE that knows no time is also the shape of EchoNet-Synthetic (Reynaud et al. 2024).
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL, LatteTransformer3DModel
from einops import rearrange
from torch import Tensor

from lvcf.errors import UserError
from lvcf.models.backbones.base import Condition, Embedding
from lvcf.models.backbones.pipeline import PipelineBackbone, check_pixels

PROMPT_LENGTH = 120
HIDDEN = -10000.0
"""Added to the attention to padding."""


class LatteBackbone(PipelineBackbone):
    """See :class:`Backbone`; latents are the VAE's times its ``scaling_factor``, one per frame, nothing is padded."""

    pipeline_name = "LattePipeline"
    vae_class = AutoencoderKL
    transformer_class = LatteTransformer3DModel

    @classmethod
    def encode_with(cls, vae: AutoencoderKL, video: Tensor) -> Tensor:
        """See the base class."""
        check_pixels(video, 2 ** (len(vae.config.block_out_channels) - 1))
        frames = rearrange(video, "b c t h w -> (b t) c h w")
        latent: Tensor = vae.encode(frames).latent_dist.mode() * vae.config.scaling_factor
        return rearrange(latent, "(b t) c h w -> b c t h w", b=len(video))

    @classmethod
    def decode_with(cls, vae: AutoencoderKL, latent: Tensor, frames: int) -> Tensor:
        """See the base class."""
        wanted = rearrange(latent[:, :, :frames], "b c t h w -> (b t) c h w") / vae.config.scaling_factor
        made: Tensor = vae.decode(wanted).sample
        return rearrange(made, "(b t) c h w -> b c t h w", b=len(latent))

    @property
    def latent_channels(self) -> int:
        """See the base class."""
        return int(self.vae.config.latent_channels)

    @property
    def patch(self) -> int:
        """See the base class."""
        return int(self.transformer.config.patch_size)

    def features(self, outputs: list[Tensor], batch: int) -> Tensor:
        """See the base class; the decoder takes frames for samples."""
        frames = torch.cat(outputs).unsqueeze(2)
        return rearrange(super().features([frames], len(frames)), "(b t) c 1 h w -> b c t h w", b=batch)

    def embed(self, prompts: list[str]) -> Embedding:
        """See the base class; in small letters, as the published pipeline puts them."""
        return self.embed_tokens([prompt.lower().strip() for prompt in prompts], PROMPT_LENGTH, masked=True)

    def denoise(self, z_t: Tensor, t: Tensor, prompt: Embedding, condition: Condition | None) -> Tensor:
        """See the base class; of an output with learnt variances, the first half.

        Padding is hidden from the attention, which is what the published pipeline does with a single prompt (it cuts).

        Raises:
            UserError: the denoiser was trained for another number of frames.
        """
        frames, length = z_t.shape[2], self.transformer.config.video_length
        if frames != length:
            raise UserError(f"data.frames {frames}: this Latte takes clips of {length} frames")
        hidden = HIDDEN * (1.0 - prompt.mask[:, None].to(z_t))
        said: Tensor = self.transformer(
            hidden_states=z_t,
            timestep=self.timestep(t),
            encoder_hidden_states=prompt.tokens,
            encoder_attention_mask=hidden.repeat_interleave(frames, dim=0),
            return_dict=False,
        )[0]
        return said[:, : self.latent_channels]
