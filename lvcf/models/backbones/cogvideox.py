"""The CogVideoX family (Yang et al. 2024): 3D causal VAE, T5, text and video tokens in one sequence, v-prediction."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel
from diffusers.models.embeddings import get_3d_rotary_pos_embed
from diffusers.pipelines.cogvideo.pipeline_cogvideox import get_resize_crop_region_for_grid
from torch import Tensor, nn

from lvcf.errors import UserError
from lvcf.models.backbones.base import Condition, Embedding
from lvcf.models.backbones.ltx import pad_frames
from lvcf.models.backbones.pipeline import PipelineBackbone, check_pixels


class CogVideoXBackbone(PipelineBackbone):
    """See :class:`Backbone`; 8k + 1 frames, latents are the VAE's times its ``scaling_factor``."""

    pipeline_name = "CogVideoXPipeline"
    vae_class = AutoencoderKLCogVideoX
    transformer_class = CogVideoXTransformer3DModel

    @classmethod
    def encode_with(cls, vae: AutoencoderKLCogVideoX, video: Tensor) -> Tensor:
        """See the base class."""
        check_pixels(video, 2 ** (len(vae.config.block_out_channels) - 1))
        padded = pad_frames(video, frame_multiple(vae))
        latent: Tensor = vae.encode(padded).latent_dist.mode() * vae.config.scaling_factor
        return latent

    @classmethod
    def decode_with(cls, vae: AutoencoderKLCogVideoX, latent: Tensor, frames: int) -> Tensor:
        """See the base class."""
        video: Tensor = vae.decode(latent / vae.config.scaling_factor).sample
        return video[:, :, :frames]

    @property
    def latent_channels(self) -> int:
        """See the base class."""
        return int(self.vae.config.latent_channels)

    @property
    def time_compression(self) -> int:
        """See the base class."""
        return int(self.vae.config.temporal_compression_ratio)

    def chunks(self) -> list[nn.Module]:
        """See the base class; a chunk is the latent frames that are decoded at once."""
        return [self.vae.decoder]

    @property
    def patch(self) -> int:
        """See the base class."""
        return int(self.transformer.config.patch_size)

    def features(self, outputs: list[tuple[Tensor, object]], batch: int) -> Tensor:
        """See the base class; a block returns its cache of the last frames too."""
        return super().features([hidden for hidden, _ in outputs], batch)

    def embed(self, prompts: list[str]) -> Embedding:
        """See the base class; the published pipeline hides no padding, and the sequence has room for these tokens."""
        return self.embed_tokens(prompts, self.transformer.config.max_text_seq_length, masked=False)

    def denoise(self, z_t: Tensor, t: Tensor, prompt: Embedding, condition: Condition | None) -> Tensor:
        """See the base class."""
        if self.transformer.config.patch_size_t is not None:
            raise UserError("CogVideoX 1.5 packs latent frames in pairs, which is not supported; use CogVideoX 1.0")
        said: Tensor = self.transformer(
            hidden_states=z_t.transpose(1, 2),
            encoder_hidden_states=prompt.tokens,
            timestep=self.timestep(t),
            image_rotary_emb=self._rotary(z_t),
            return_dict=False,
        )[0]
        return said.transpose(1, 2)

    def _rotary(self, z_t: Tensor) -> tuple[Tensor, Tensor] | None:
        """Cosines and sines of the positions, cut out of the size that the denoiser was trained at; the 2B has none."""
        config = self.transformer.config
        if not config.use_rotary_positional_embeddings:
            return None
        grid = z_t.shape[3] // self.patch, z_t.shape[4] // self.patch
        base = config.sample_width // self.patch, config.sample_height // self.patch
        rotary: tuple[Tensor, Tensor] = get_3d_rotary_pos_embed(
            embed_dim=config.attention_head_dim,
            crops_coords=get_resize_crop_region_for_grid(grid, *base),
            grid_size=grid,
            temporal_size=z_t.shape[2],
            device=torch.device(z_t.device),
        )
        return rotary


def frame_multiple(vae: AutoencoderKLCogVideoX) -> int:
    """What frames behind the first come in: the decoder takes latent frames in pairs, and puts a lone one too late."""
    return int(vae.num_latent_frames_batch_size * vae.config.temporal_compression_ratio)
