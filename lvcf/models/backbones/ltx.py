"""The LTX-Video family: 3D causal VAE, video Transformer, rectified flow (HaCohen et al. 2024).

Stock diffusers and transformers classes in the diffusers folder layout; this file adapts call signatures only.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKLLTXVideo, FlowMatchEulerDiscreteScheduler, LTXVideoTransformer3DModel, ModelMixin
from einops import rearrange
from torch import Tensor
from torch.nn import functional

from lvcf.checks import check_number
from lvcf.configuration import find_weights
from lvcf.data.clip_table import told_words
from lvcf.errors import UserError
from lvcf.models.backbones.attention import tokens_of, watched
from lvcf.models.backbones.base import Condition, Embedding
from lvcf.models.backbones.parts import class_name, load_part
from lvcf.models.backbones.pipeline import PipelineBackbone, check_pixels
from lvcf.models.backbones.shortcut_vae import LinearShortcutVAE
from lvcf.models.backbones.text import text_parts

TABLE_LENGTH = 32
"""Tokens of a prompt in the words of a user's table."""
PATCH = 2
"""Height and width of the latent patches that make one token."""


class LTXBackbone(PipelineBackbone):
    """See :class:`Backbone`; z_t = (1 - t) z_0 + t eps.  Small ones: 2x2 patches, a CLIP text encoder."""

    pipeline_name = "LTXPipeline"
    vae_class = AutoencoderKLLTXVideo
    transformer_class = LTXVideoTransformer3DModel
    a_time_per_frame = True

    @classmethod
    def vae_kind(cls, folder: Path) -> type[ModelMixin]:
        """See the base class: the stock one, or one with a linear shortcut."""
        kind: type[ModelMixin] = LinearShortcutVAE
        return kind if class_name(folder) == kind.__name__ else cls.vae_class

    @classmethod
    def encode_with(cls, vae: AutoencoderKLLTXVideo, video: Tensor) -> Tensor:
        """See the base class; normalised per channel."""
        return encode_mode(vae, video)

    @classmethod
    def decode_with(cls, vae: AutoencoderKLLTXVideo, latent: Tensor, frames: int) -> Tensor:
        """See the base class."""
        mean, std = latent_statistics(vae, latent)
        video: Tensor = vae.decode(latent * std + mean).sample
        return video[:, :, :frames]

    @property
    def latent_channels(self) -> int:
        """See the base class."""
        return int(self.vae.config.latent_channels)

    @property
    def time_compression(self) -> int:
        """See the base class."""
        return int(self.vae.temporal_compression_ratio)

    @property
    def patch_channels(self) -> int:
        """See the base class."""
        return self.patch**2

    @property
    def patch(self) -> int:
        """See the base class."""
        return PATCH

    def embed(self, prompts: list[str]) -> Embedding:
        """See the base class."""
        length = min(self.tokenizer.model_max_length, self.text_encoder.config.max_position_embeddings)
        return self.embed_tokens(prompts, length, masked=True)

    def denoise(self, z_t: Tensor, t: Tensor, prompt: Embedding, condition: Condition | None) -> Tensor:
        """See the base class: the flow u = eps - z_0."""
        p, frames, height, width = self.patch, z_t.shape[2], z_t.shape[3] // self.patch, z_t.shape[4] // self.patch
        told = self.timestep(t)  # a time per token, where frames have their own
        flow = self.transformer(
            hidden_states=rearrange(z_t, "b c f (h p) (w q) -> b (f h w) (c p q)", p=p, q=p),
            encoder_hidden_states=prompt.tokens,
            encoder_attention_mask=prompt.mask,
            timestep=told if told.ndim == 1 else told.repeat_interleave(height * width, dim=1),
            num_frames=frames,
            height=height,
            width=width,
            rope_interpolation_scale=self.positions(frames, height, width),
            video_coords=self.coordinates(frames, height, width),
            return_dict=False,
        )[0]
        latent: Tensor = rearrange(flow, "b (f h w) (c p q) -> b c f (h p) (w q)", f=frames, h=height, p=p, q=p)
        return latent

    @torch.no_grad()
    def attention_to(self, words: list[str], z_t: Tensor, t: Tensor, prompt: Embedding) -> Tensor:
        """See the base class: the mean over the blocks, by one more pass of the denoiser."""
        found = tokens_of(words, self.tokenizer, prompt)
        with watched([block.attn2 for block in self.transformer.transformer_blocks], found) as shares:
            self.output(z_t, t, prompt)
        frames, height = z_t.shape[2], z_t.shape[3] // self.patch
        tokens = rearrange(torch.stack(shares).mean(0), "b (f h w) -> b 1 f h w", f=frames, h=height)
        return functional.interpolate(tokens, size=z_t.shape[2:])

    def positions(self, frames: int, height: int, width: int) -> tuple[float, float, float]:
        """What a token's place is multiplied by: here a share of the clip; the bases are 20 frames and 2048 pixels."""
        rope = self.transformer.rope
        return rope.base_num_frames / frames, rope.base_height / height, rope.base_width / width

    def coordinates(self, frames: int, height: int, width: int) -> Tensor | None:
        """Places of the tokens ``(1, 3, N)`` in time, height and width, where they are no multiples of one number."""
        return None


def pad_frames(video: Tensor, compression: int) -> Tensor:
    """Repeat the last frame of ``(B, C, T, H, W)`` until T - 1 is a multiple of the time compression."""
    missing = (1 - video.shape[2]) % compression
    return torch.cat([video, video[:, :, -1:].expand(-1, -1, missing, -1, -1)], dim=2)


def latent_statistics(vae: AutoencoderKLLTXVideo, latent: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the VAE's latent channels, ``(1, C, 1, 1, 1)``, where ``latent`` is."""
    mean, std = (values.view(1, -1, 1, 1, 1).to(latent.device) for values in (vae.latents_mean, vae.latents_std))
    return mean, std


def encode_mode(vae: AutoencoderKLLTXVideo, video: Tensor) -> Tensor:
    """The mode of the posterior of clips ``(B, 3, T, H, W)``, normalised per channel."""
    check_pixels(video, vae.spatial_compression_ratio)
    latent: Tensor = vae.encode(pad_frames(video, vae.temporal_compression_ratio)).latent_dist.mode()
    mean, std = latent_statistics(vae, latent)
    return (latent - mean) / std


def ltx_backbone(
    weights: str, vae: str | None = None, table: Path | None = None, denoiser: str | None = None
) -> LTXBackbone:
    """Load a backbone from a folder, or from the shipped weights by name (``phantom/backbone``).

    Args:
        weights: the folder or name.
        vae: another VAE's folder or name; the denoiser has to be trained on its latents before it is of use.
        denoiser: another denoiser of the same latents, with its detail decoder, by the folder or name of the backbone
            that it was saved with (``face_motion/given``).
        table: a CSV table of clips: a new text encoder knows the words of its columns label and prompt, and tells its
            labels apart; it has to be trained with the denoiser.

    Raises:
        UserError: see :meth:`PipelineBackbone.from_pretrained`, the VAE's latents are of another shape, or the table
            says nothing.
    """
    loaded = LTXBackbone.from_pretrained(weights)
    if denoiser is not None:
        loaded.take_denoiser(find_weights(denoiser))
    if vae is None and table is None:
        return loaded
    tokenizer, text_encoder = loaded.tokenizer, loaded.text_encoder
    if table is not None:
        words, labels = told_words(table)
        width, steps = loaded.transformer.config.caption_channels, min(100 + 50 * len(labels), 800)
        tokenizer, text_encoder = text_parts(words, labels, TABLE_LENGTH, width, layers=2, steps=steps)
    try:
        other = loaded.vae if vae is None else ltx_vae(vae)
        backbone = LTXBackbone(other, loaded.transformer, text_encoder, tokenizer, loaded.scheduler)
    except UserError as error:
        raise UserError(f"{vae} with {weights}: {error}") from error
    backbone.notice = loaded.notice
    return backbone


def ltx_vae(weights: str) -> AutoencoderKLLTXVideo:
    """Load a VAE to train on, from a folder or from the shipped weights by name (``phantom/backbone/vae``).

    Raises:
        UserError: the weights cannot be loaded.
    """
    folder = find_weights(weights)
    vae: AutoencoderKLLTXVideo = load_part(LTXBackbone.vae_kind(folder), folder)
    return vae


def shortcut_vae(weights: str, latent_channels: int) -> LinearShortcutVAE:
    """A VAE with a linear shortcut, still to be fitted, whose networks start as those of a stored VAE where they can.

    Args:
        weights: the stored VAE's folder or name.
        latent_channels: channels of the new latent.

    Raises:
        UserError: the weights cannot be loaded, or the number is out of range.
    """
    check_number("vae.latent_channels", latent_channels, 1)
    stored = ltx_vae(weights)
    vae: LinearShortcutVAE = LinearShortcutVAE.from_config({**stored.config, "latent_channels": latent_channels})
    known, filled = stored.state_dict(), vae.state_dict()
    for name, tensor in known.items():
        if filled[name].shape == tensor.shape and "conv_out" not in name and not name.startswith("latents"):
            filled[name] = tensor
    vae.load_state_dict(filled)
    return vae


def new_ltx_backbone(
    transformer: LTXVideoTransformer3DModel,
    vae: str,
    words: list[str],
    text_width: int = 64,
    text_layers: int = 2,
    prompt_length: int = 12,
    statements: tuple[str, ...] = (),
) -> LTXBackbone:
    """An untrained denoiser and text encoder around a trained VAE.

    Args:
        transformer: the denoiser; its ``caption_channels`` is ``text_width``.
        vae: the VAE's folder.
        words: the prompts' words beside the integers 0..100.
        text_width: width of the text encoder.
        text_layers: its layers.
        prompt_length: tokens per prompt, start and end included.
        statements: what the text encoder is taught to tell apart before the denoiser sees it, such as class names.
    """
    tokenizer, text_encoder = text_parts(words, list(statements), prompt_length, text_width, text_layers)
    return LTXBackbone(ltx_vae(vae), transformer, text_encoder, tokenizer, FlowMatchEulerDiscreteScheduler())
