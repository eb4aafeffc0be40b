"""The Wan family (Wan Team 2025): 3D causal VAE, UMT5, cross-attention Transformer, rectified flow.

Of Wan 2.1 and 2.2: text to video; 2.2's TI2V-5B, which takes a time per token; and image to video, whose denoiser is
shown the first frame in channels beside the latent.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import AutoencoderKLWan, ModelMixin, SchedulerMixin, WanTransformer3DModel
from diffusers.pipelines.wan.pipeline_wan import prompt_clean
from einops import rearrange
from torch import Tensor, nn
from transformers import CLIPImageProcessor, CLIPVisionModel, PreTrainedModel, PreTrainedTokenizerBase

from lvcf.errors import UserError
from lvcf.models.backbones.base import Condition, Embedding
from lvcf.models.backbones.first_frame import as_images, check_shown
from lvcf.models.backbones.ltx import pad_frames
from lvcf.models.backbones.parts import load_model, names
from lvcf.models.backbones.pipeline import PipelineBackbone, check_pixels
from lvcf.models.backbones.text import embed_prompts

PROMPT_LENGTH = 512
IMAGE_PIPELINE = "WanImageToVideoPipeline"


class WanBackbone(PipelineBackbone):
    """See :class:`Backbone`; 4k + 1 frames, latents normalised per channel.  Wan's VAE clamps its clips to [-1, 1].

    Args:
        vae: of 16 channels, or 2.2's of 48.
        transformer: the denoiser; of two, the one of the times from ``boundary_ratio`` up.
        text_encoder: UMT5.
        tokenizer: its tokenizer.
        scheduler: of a flow.
        transformer_2: of two denoisers, the one of the times below ``boundary_ratio``.
        image_encoder: CLIP's, where the denoiser attends to the first frame (image to video of Wan 2.1).
        image_processor: its preprocessing.
        boundary_ratio: in [0, 1].
        expand_timesteps: whether the weights were trained with given frames at time 0 (TI2V-5B).

    Raises:
        UserError: the parts do not fit together.
    """

    pipeline_name = "WanPipeline"
    image_pipeline = IMAGE_PIPELINE
    other_pipelines: ClassVar[tuple[str, ...]] = (IMAGE_PIPELINE,)
    vae_class = AutoencoderKLWan
    transformer_class = WanTransformer3DModel
    a_time_per_frame = True

    def __init__(
        self,
        vae: AutoencoderKLWan,
        transformer: WanTransformer3DModel,
        text_encoder: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        scheduler: SchedulerMixin,
        transformer_2: WanTransformer3DModel | None = None,
        image_encoder: CLIPVisionModel | None = None,
        image_processor: CLIPImageProcessor | None = None,
        boundary_ratio: float | None = None,
        expand_timesteps: bool = False,
    ) -> None:
        super().__init__(vae, transformer, text_encoder, tokenizer, scheduler)
        self.transformer_2, self.image_encoder, self.image_processor = transformer_2, image_encoder, image_processor
        self.boundary_ratio, self.expand_timesteps = boundary_ratio, expand_timesteps
        if (transformer_2 is None) != (boundary_ratio is None):
            raise UserError(
                f"boundary_ratio {boundary_ratio} and {'no' if transformer_2 is None else 'a'} transformer_2: two "
                "denoisers need both; copy model_index.json and the folder again"
            )
        if transformer_2 is not None and transformer_2.config.in_channels != transformer.config.in_channels:
            raise UserError(
                f"transformer takes {transformer.config.in_channels} channels, transformer_2 "
                f"{transformer_2.config.in_channels}; they are of different backbones"
            )
        if transformer.config.image_dim is not None and (image_encoder is None or image_processor is None):
            raise UserError(
                "its denoiser attends to the first frame's embedding, and image_encoder or image_processor is left out"
            )
        if transformer.config.get("pos_embed_seq_len") is not None:
            raise UserError(
                "its denoiser attends to a first and a last frame (FLF2V), which is not supported; use image to video's"
            )

    @classmethod
    def _check_index(cls, folder: Path, index: dict[str, Any]) -> None:
        super()._check_index(folder, index)
        for part, kind in (("transformer_2", cls.transformer_class), ("image_encoder", CLIPVisionModel)):
            if names(index, part) and index[part][1] != kind.__name__:
                raise UserError(f"{folder}: its {part} is a {index[part][1]}; Wan's is a {kind.__name__}")

    @classmethod
    def _load_more(cls, folder: Path, index: dict[str, Any]) -> dict[str, Any]:
        """The image encoder, and what ``model_index.json`` says beside the parts."""
        ratio = index.get("boundary_ratio")
        if not (ratio is None or (isinstance(ratio, (int, float)) and 0.0 <= ratio <= 1.0)):
            raise UserError(f"model_index.json: boundary_ratio {ratio} is no number from 0 to 1; download it again")
        more: dict[str, Any] = {"boundary_ratio": ratio, "expand_timesteps": bool(index.get("expand_timesteps"))}
        if names(index, "image_encoder"):
            more["image_encoder"] = load_model(CLIPVisionModel, folder, "image_encoder", dtype=torch.float32)
        if names(index, "image_processor"):
            more["image_processor"] = CLIPImageProcessor.from_pretrained(folder / "image_processor")
        return more

    def _more_parts(self) -> dict[str, Any]:
        more = {name: getattr(self, name) for name in ("transformer_2", "boundary_ratio", "expand_timesteps")}
        if self.pipeline_name == IMAGE_PIPELINE:
            more |= {"image_encoder": self.image_encoder, "image_processor": self.image_processor}
        return more

    @property
    def _published_with_given(self) -> bool:
        return self.given_in_channels or self.expand_timesteps

    def denoisers(self) -> dict[str, ModelMixin]:
        """See the base class."""
        second = {} if self.transformer_2 is None else {"transformer_2": self.transformer_2}
        return {"transformer": self.transformer, **second}

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
    def given_in_channels(self) -> bool:
        """See the base class."""
        return bool(self.transformer.config.in_channels != self.transformer.config.out_channels)

    @property
    def denoiser_channels(self) -> int:
        """See the base class: the latent, and of image to video a mask and the latent of what is given."""
        return 2 * self.latent_channels + self.time_compression if self.given_in_channels else self.latent_channels

    @property
    def time_compression(self) -> int:
        """See the base class."""
        return int(self.vae.config.scale_factor_temporal)

    def chunks(self) -> list[nn.Module]:
        """See the base class; a chunk is the latent frames that are decoded at once."""
        return [self.vae.decoder]

    @property
    def patch(self) -> int:
        """See the base class."""
        return int(self.transformer.config.patch_size[1])

    def embed(self, prompts: list[str]) -> Embedding:
        """See the base class."""
        return embed_wan_prompts(self.text_encoder, self.tokenizer, prompts)

    @torch.no_grad()
    def condition(self, video: Tensor, given: Sequence[int], editable: Tensor | None = None) -> Condition | None:
        """See the base class: a mask of frames, and the latent of the clip whose other frames are 0."""
        if not self.given_in_channels:
            return None
        padded, frames = pad_frames(video, self.time_compression), video.shape[2]
        seen = self.transformer.config.image_dim is not None
        allowed = {0} if seen else {0, frames - 1}
        check_shown(given, allowed, "" if seen else f", or [0, {frames - 1}] with the last")
        places = [0, padded.shape[2] - 1] if frames - 1 in given else [0]
        shown, mask = torch.zeros_like(padded), torch.zeros_like(padded[:, :1, :, :1, :1])
        shown[:, :, places], mask[:, :, places] = padded[:, :, places], 1.0
        latent = self.encode(shown)
        mask = torch.cat([mask[:, :, :1].expand(-1, -1, self.time_compression - 1, -1, -1), mask], dim=2)
        mask = rearrange(mask, "b 1 (f c) 1 1 -> b c f 1 1", c=self.time_compression)
        channels = torch.cat([mask.expand(-1, -1, -1, *latent.shape[3:]), latent], dim=1)
        return Condition(channels, self._seen(video[:, :, :1]) if seen else None)

    def _seen(self, first: Tensor) -> Tensor:
        """What the image encoder's layer before the last says of first frames ``(B, 3, 1, H, W)``, on 8-bit levels."""
        assert self.image_processor is not None
        assert self.image_encoder is not None
        pixels = self.image_processor(images=as_images(first), return_tensors="pt").to(self.image_encoder.device)
        said: Tensor = self.image_encoder(**pixels, output_hidden_states=True).hidden_states[-2]
        return said

    def denoise(self, z_t: Tensor, t: Tensor, prompt: Embedding, condition: Condition | None) -> Tensor:
        """See the base class; of two denoisers each has the samples of its times."""
        if self.transformer_2 is None or self.boundary_ratio is None:
            return self._said(self.transformer, z_t, t, prompt, condition)
        high, said = (t if t.ndim == 1 else t.amax(1)) >= self.boundary_ratio, torch.zeros_like(z_t)
        for denoiser, rows in ((self.transformer, high), (self.transformer_2, ~high)):
            if rows.any():
                told = None if condition is None else condition[rows]
                said[rows] = self._said(denoiser, z_t[rows], t[rows], prompt[rows], told).to(said)
        return said

    def _said(
        self, denoiser: ModelMixin, z_t: Tensor, t: Tensor, prompt: Embedding, condition: Condition | None
    ) -> Tensor:
        tokens, told = z_t.shape[3] * z_t.shape[4] // self.patch**2, self.timestep(t)
        said: Tensor = denoiser(
            hidden_states=z_t if condition is None else torch.cat([z_t, condition.channels.to(z_t)], dim=1),
            timestep=told if told.ndim == 1 else told.repeat_interleave(tokens, dim=1),
            encoder_hidden_states=prompt.tokens,
            encoder_hidden_states_image=None if condition is None else condition.image,
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
