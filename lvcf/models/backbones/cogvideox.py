"""The CogVideoX family (Yang et al. 2024): 3D causal VAE, T5, text and video tokens in one sequence, v-prediction.

Of 1.0 and 1.5: text to video; and image to video, whose denoiser is shown the first frame in channels beside the
latent.  1.5 takes latent frames in pairs: before an odd number of them goes one more, which stands for no frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel, SchedulerMixin
from diffusers.models.embeddings import get_3d_rotary_pos_embed
from diffusers.pipelines.cogvideo.pipeline_cogvideox import get_resize_crop_region_for_grid
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lvcf.errors import UserError
from lvcf.models.backbones.base import Condition, Embedding
from lvcf.models.backbones.first_frame import check_shown
from lvcf.models.backbones.ltx import pad_frames
from lvcf.models.backbones.pipeline import PipelineBackbone, check_pixels

IMAGE_PIPELINE = "CogVideoXImageToVideoPipeline"
OFS = 2.0
"""What the image-to-video pipeline always tells a denoiser that asks for it (``ofs_embed_dim``)."""


class CogVideoXBackbone(PipelineBackbone):
    """See :class:`Backbone`; 8k + 1 frames, latents are the VAE's times its ``scaling_factor``.

    Raises:
        UserError: the parts do not fit together, or the denoiser packs other than one or two latent frames.
    """

    pipeline_name = "CogVideoXPipeline"
    image_pipeline = IMAGE_PIPELINE
    other_pipelines = (IMAGE_PIPELINE,)
    vae_class = AutoencoderKLCogVideoX
    transformer_class = CogVideoXTransformer3DModel

    def __init__(
        self,
        vae: AutoencoderKLCogVideoX,
        transformer: CogVideoXTransformer3DModel,
        text_encoder: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        scheduler: SchedulerMixin,
    ) -> None:
        super().__init__(vae, transformer, text_encoder, tokenizer, scheduler)
        if (packed := transformer.config.patch_size_t) not in (None, 2):
            raise UserError(
                f"transformer: patch_size_t {packed}; CogVideoX 1.5 has 2, 1.0 none; correct its config.json"
            )

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
    def given_in_channels(self) -> bool:
        """See the base class."""
        return bool(self.transformer.config.in_channels != self.transformer.config.out_channels)

    @property
    def denoiser_channels(self) -> int:
        """See the base class: the latent, and of image to video that of the first frame."""
        return self.latent_channels * (2 if self.given_in_channels else 1)

    @property
    def _more_frames(self) -> int:
        """Latent frames in front: the VAE makes an odd number of them."""
        return int((self.transformer.config.patch_size_t or 1) - 1)

    def padded(self, latent: Tensor) -> Tensor:
        """See the base class: the first latent frame once more, as 1.5 was trained."""
        return torch.cat([latent[:, :, : self._more_frames], latent], dim=2)

    def unpadded(self, latent: Tensor) -> Tensor:
        """See the base class."""
        return latent[:, :, self._more_frames :]

    def frames_of(self, place: int, frames: int) -> range:
        """See the base class."""
        return range(0) if place < self._more_frames else super().frames_of(place - self._more_frames, frames)

    def at_frames(self, feature: Tensor, latents: int, frames: int) -> Tensor:
        """See the base class."""
        return super().at_frames(feature, latents - self._more_frames, frames)

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

    @torch.no_grad()
    def condition(self, video: Tensor, given: Sequence[int], editable: Tensor | None = None) -> Condition | None:
        """See the base class: the latent of the first frame alone, and 0 for the others'.

        The pipeline puts it in front of all, also of the frame that 1.5 has more.
        """
        if not self.given_in_channels:
            return None
        check_shown(given, [0])
        first = self.encode_with(self.vae, video[:, :, :1])
        if self.vae.config.invert_scale_latents:  # as 1.5 was trained
            first = first / self.vae.config.scaling_factor**2
        multiple = frame_multiple(self.vae)
        others = -(-(video.shape[2] - 1) // multiple) * multiple // self.time_compression + self._more_frames
        return Condition(functional.pad(first, (0, 0, 0, 0, 0, others)))

    def denoise(self, z_t: Tensor, t: Tensor, prompt: Embedding, condition: Condition | None) -> Tensor:
        """See the base class."""
        self._check_positions(z_t)
        shown = z_t if condition is None else torch.cat([z_t, condition.channels.to(z_t)], dim=1)
        said: Tensor = self.transformer(
            hidden_states=shown.transpose(1, 2),
            encoder_hidden_states=prompt.tokens,
            timestep=self.timestep(t),
            ofs=None if self.transformer.config.ofs_embed_dim is None else z_t.new_full((1,), OFS),
            image_rotary_emb=self._rotary(z_t),
            return_dict=False,
        )[0]
        return said.transpose(1, 2)

    def _check_positions(self, z_t: Tensor) -> None:
        """Refuse latents that the denoiser has no positions for.

        Raises:
            UserError: they are of another size than the learned positions, or larger than those of 1.5.
        """
        config, pixels = self.transformer.config, 2 ** (len(self.vae.config.block_out_channels) - 1)
        height, width = z_t.shape[3:]
        size = f"{config.sample_height * pixels} x {config.sample_width * pixels}"
        told = f"data.size: frames of {height * pixels} x {width * pixels}"
        if config.use_learned_positional_embeddings and (height, width) != (config.sample_height, config.sample_width):
            raise UserError(f"{told}; this backbone's learned positions are those of {size} alone; use CogVideoX 1.5")
        if config.patch_size_t and (height > config.sample_height or width > config.sample_width):
            raise UserError(f"{told}; this backbone has positions for {size} at most; choose a smaller data.size")

    def _rotary(self, z_t: Tensor) -> tuple[Tensor, Tensor] | None:
        """Cosines and sines of the positions, of which the 2B has none.

        Those of 1.0 are cut out of the size that the denoiser was trained at, those of 1.5 count from 0.
        """
        config, packed = self.transformer.config, self.transformer.config.patch_size_t
        if not config.use_rotary_positional_embeddings:
            return None
        grid = z_t.shape[3] // self.patch, z_t.shape[4] // self.patch
        height, width = config.sample_height // self.patch, config.sample_width // self.patch
        positions: dict[str, Any] = {"crops_coords": None, "grid_type": "slice", "max_size": (height, width)}
        if packed is None:
            positions = {"crops_coords": get_resize_crop_region_for_grid(grid, width, height)}
        rotary: tuple[Tensor, Tensor] = get_3d_rotary_pos_embed(
            embed_dim=config.attention_head_dim,
            grid_size=grid,
            temporal_size=z_t.shape[2] // (packed or 1),
            device=torch.device(z_t.device),
            **positions,
        )
        return rotary


def frame_multiple(vae: AutoencoderKLCogVideoX) -> int:
    """What frames behind the first come in: the decoder takes latent frames in pairs, and puts a lone one too late."""
    return int(vae.num_latent_frames_batch_size * vae.config.temporal_compression_ratio)
