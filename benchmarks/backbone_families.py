"""Denoisers, VAEs and tiny decoders of published backbones at their published sizes, with random weights.

The arguments below are all that differs from the diffusers class defaults:

- CogVideoX-2b: the class defaults, equal to transformer/config.json and vae/config.json of THUDM/CogVideoX-2b as quoted
  in public notes (30 layers, 30 heads of 64, text 226 x 4096; VAE 128-256-256-512, 16 latent channels).
- CogVideoX 1.5 5B image to video: diffusers' convert_cogvideox_to_diffusers.py, 42 layers and 48 heads for 5B; latent
  frames in pairs and an embedding of 512 for ``ofs``, as the class says of 1.5.
- LTX-Video 2B (0.9.0): the class defaults, equal to the configuration table in Lightricks' own loader
  (28 layers, 32 heads of 64; VAE 128-256-512-512, 128 latent channels) and in diffusers' convert_ltx_to_diffusers.py.
  Image to video is the same denoiser, told a time per token.
- LTX-2 19B: the class defaults, equal in size to entry 2.0 of convert_ltx2_to_diffusers.py; its video alone, 1,024
  tokens behind the connectors.  The bytes count the sound's stream, which is loaded with it.
- Wan 2.1 T2V 1.3B: diffusers' convert_wan_to_diffusers.py, entry Wan-T2V-1.3B; the VAE is the class default.  AnyFlow
  is told a second time, by convert_anyflow_to_diffusers.py.  VACE 1.3B: entry Wan-VACE-1.3B, a branch of 15 blocks.
- Wan 2.2 TI2V-5B: the same script's entry Wan-TI2V-5B and its configuration of the VAE of 48 channels.
- Wan 2.1 I2V 14B: entry Wan-I2V-14B-480p; 257 tokens of CLIP ViT-H.  I2V-A14B has two such denoisers without CLIP's
  tokens, of which each step passes one.
- HunyuanVideo 1.5 image to video: the class defaults (54 layers, 16 heads of 128; VAE of 32 channels); 64 tokens of
  Qwen2.5-VL, which are asked without padding, and SigLIP's 729; no words in quotes.
- Latte-1: 28 spatial and 28 temporal blocks (``num_layers`` counts pairs), 16 heads of 72, captions of 120 tokens and
  4096 channels: the shapes noted in models/latte_t2v.py of Vchitect/Latte, diffusers' LattePipeline, and the arguments
  of a public training script that loads maxin-cn/Latte-1 by shape; its config.json itself could not be read.  The VAE
  is Stable Diffusion's (128-256-512-512, two layers per block), frame by frame.
- Tiny decoders: TAEHV's published widths, 256-128-64-64 (taecvx, taew2_1, taew2_2; for LTX the layout of taeltx_2; for
  HunyuanVideo the same widths in patches of 2); for Latte 64-64-64-64, the width of TAESD.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from diffusers import (
    AnyFlowTransformer3DModel,
    AutoencoderKL,
    AutoencoderKLCogVideoX,
    AutoencoderKLHunyuanVideo15,
    AutoencoderKLLTX2Video,
    AutoencoderKLLTXVideo,
    AutoencoderKLWan,
    CogVideoXTransformer3DModel,
    HunyuanVideo15Transformer3DModel,
    LatteTransformer3DModel,
    LTX2VideoTransformer3DModel,
    LTXVideoTransformer3DModel,
    WanTransformer3DModel,
    WanVACETransformer3DModel,
)
from einops import rearrange
from torch import Tensor, nn

from lvcf.models.backbones.tiny_decoder import TinyDecoder

FRAMES = 16


class Family(ABC):
    """A denoiser, a VAE and a tiny decoder of one published backbone.

    ``factor`` is the VAE's compression in space, ``words`` are the channels of the ``tokens`` of a prompt.
    """

    name: str
    factor: int
    channels: int
    latent_frames: int
    tokens: int
    words = 4096

    def __init__(self) -> None:
        self.denoiser, self.vae, self.tiny = self.build()

    @abstractmethod
    def build(self) -> tuple[nn.Module, nn.Module, TinyDecoder]:
        """The networks, at their published sizes."""

    @abstractmethod
    def denoise(self, z: Tensor, t: Tensor, text: Tensor) -> Tensor:
        """The denoiser's prediction, shaped as ``z``."""

    def decode(self, z: Tensor) -> Tensor:
        video: Tensor = self.vae.decode(z).sample
        return video[:, :, :FRAMES]

    def clean(self, z: Tensor, t: Tensor, text: Tensor) -> Tensor:
        """An estimate that depends on ``z`` through the denoiser; the scales cost nothing and are left out."""
        return z - self.denoise(z, t, text)

    def latent(self, size: int) -> tuple[int, ...]:
        return 1, self.channels, self.latent_frames, size // self.factor, size // self.factor


class CogVideoX(Family):
    name, factor, channels, latent_frames, tokens = "CogVideoX-2b", 8, 16, 5, 226

    def build(self) -> tuple[nn.Module, nn.Module, TinyDecoder]:
        return CogVideoXTransformer3DModel(), AutoencoderKLCogVideoX(), TinyDecoder(16)

    def denoise(self, z: Tensor, t: Tensor, text: Tensor) -> Tensor:
        return self.denoiser(z.transpose(1, 2), text, t, return_dict=False)[0].transpose(1, 2)


class CogVideoXI2V(CogVideoX):
    name, latent_frames = "CogVideoX 1.5 5B I2V", 6

    def build(self) -> tuple[nn.Module, nn.Module, TinyDecoder]:
        denoiser = CogVideoXTransformer3DModel(
            num_attention_heads=48,
            in_channels=32,
            num_layers=42,
            patch_size_t=2,
            patch_bias=False,
            ofs_embed_dim=512,
            use_rotary_positional_embeddings=True,
        )
        return denoiser, AutoencoderKLCogVideoX(), TinyDecoder(16)

    def denoise(self, z: Tensor, t: Tensor, text: Tensor) -> Tensor:
        """Beside the first frame's latent; turning queries and keys by their places costs next to nothing."""
        shown = torch.cat([z, torch.zeros_like(z)], dim=1).transpose(1, 2)
        return self.denoiser(shown, text, t, ofs=z.new_full((1,), 2.0), return_dict=False)[0].transpose(1, 2)

    def decode(self, z: Tensor) -> Tensor:
        """Without the latent frame that makes their number even."""
        return super().decode(z[:, :, 1:])


class LTX(Family):
    name, factor, channels, latent_frames, tokens = "LTX-Video 2B", 32, 128, 3, 128

    def build(self) -> tuple[nn.Module, nn.Module, TinyDecoder]:
        tiny = TinyDecoder(128, time=(2, 2, 2), patch=4)
        return LTXVideoTransformer3DModel(), AutoencoderKLLTXVideo(), tiny

    def denoise(self, z: Tensor, t: Tensor, text: Tensor) -> Tensor:
        frames, height, width = z.shape[2:]
        mask = torch.ones(text.shape[:2], device=z.device, dtype=z.dtype)
        tokens = rearrange(z, "b c f h w -> b (f h w) c")
        flow = self.denoiser(tokens, text, t, mask, frames, height, width, return_dict=False)[0]
        return rearrange(flow, "b (f h w) c -> b c f h w", f=frames, h=height)


class LTX2(LTX):
    name, tokens, words = "LTX-2 19B", 1024, 3840

    def build(self) -> tuple[nn.Module, nn.Module, TinyDecoder]:
        tiny = TinyDecoder(128, time=(2, 2, 2), patch=4)
        return LTX2VideoTransformer3DModel(rope_type="split"), AutoencoderKLLTX2Video(), tiny

    def denoise(self, z: Tensor, t: Tensor, text: Tensor) -> Tensor:
        """Beside one token of silence, each stream by itself."""
        frames, height, width = z.shape[2:]
        flow = self.denoiser(
            hidden_states=rearrange(z, "b c f h w -> b (f h w) c"),
            audio_hidden_states=z.new_zeros(1, 1, 128),
            encoder_hidden_states=text,
            audio_encoder_hidden_states=z.new_zeros(1, 1, self.words),
            timestep=t,
            audio_timestep=t,
            encoder_attention_mask=torch.ones(text.shape[:2], device=z.device, dtype=z.dtype),
            num_frames=frames,
            height=height,
            width=width,
            fps=8.0,
            audio_num_frames=1,
            isolate_modalities=True,
            return_dict=False,
        )[0]
        return rearrange(flow, "b (f h w) c -> b c f h w", f=frames, h=height)


class Wan(Family):
    name, factor, channels, latent_frames, tokens = "Wan 2.1 1.3B", 8, 16, 5, 512

    def build(self) -> tuple[nn.Module, nn.Module, TinyDecoder]:
        denoiser = WanTransformer3DModel(num_attention_heads=12, ffn_dim=8960, num_layers=30)
        return denoiser, AutoencoderKLWan(), TinyDecoder(16)

    def denoise(self, z: Tensor, t: Tensor, text: Tensor) -> Tensor:
        flow: Tensor = self.denoiser(z, t, text, return_dict=False)[0]
        return flow


class AnyFlow(Wan):
    name = "AnyFlow 1.3B"

    def build(self) -> tuple[nn.Module, nn.Module, TinyDecoder]:
        denoiser = AnyFlowTransformer3DModel(num_attention_heads=12, ffn_dim=8960, num_layers=30)
        return denoiser, AutoencoderKLWan(), TinyDecoder(16)

    def denoise(self, z: Tensor, t: Tensor, text: Tensor) -> Tensor:
        """Told when a step starts and ends, by frame."""
        times = t[:, None].expand(1, z.shape[2])
        flow: Tensor = self.denoiser(z.transpose(1, 2), times, times, text, return_dict=False)[0]
        return flow.transpose(1, 2)


class WanVACE(Wan):
    name, shown = "Wan 2.1 VACE 1.3B", 96

    def build(self) -> tuple[nn.Module, nn.Module, TinyDecoder]:
        denoiser = WanVACETransformer3DModel(
            num_attention_heads=12, ffn_dim=8960, num_layers=30, vace_layers=list(range(0, 30, 2))
        )
        return denoiser, AutoencoderKLWan(), TinyDecoder(16)

    def denoise(self, z: Tensor, t: Tensor, text: Tensor) -> Tensor:
        """Beside a branch that is shown what stays."""
        shown = z.new_zeros(1, self.shown, *z.shape[2:])
        flow: Tensor = self.denoiser(z, t, text, control_hidden_states=shown, return_dict=False)[0]
        return flow


class WanTI2V(Wan):
    name, factor, channels = "Wan 2.2 TI2V-5B", 16, 48

    def build(self) -> tuple[nn.Module, nn.Module, TinyDecoder]:
        denoiser = WanTransformer3DModel(
            num_attention_heads=24, in_channels=48, out_channels=48, ffn_dim=14336, num_layers=30
        )
        vae = AutoencoderKLWan(
            base_dim=160,
            decoder_base_dim=256,
            z_dim=48,
            is_residual=True,
            in_channels=12,
            out_channels=12,
            patch_size=2,
            scale_factor_spatial=16,
            latents_mean=[0.0] * 48,
            latents_std=[1.0] * 48,
        )
        return denoiser, vae, TinyDecoder(48, patch=2)


class WanI2V(Wan):
    name, shown, seen = "Wan 2.1 I2V 14B", 20, (257, 1280)

    def build(self) -> tuple[nn.Module, nn.Module, TinyDecoder]:
        return (
            WanTransformer3DModel(in_channels=36, image_dim=1280, added_kv_proj_dim=5120),
            AutoencoderKLWan(),
            TinyDecoder(16),
        )

    def denoise(self, z: Tensor, t: Tensor, text: Tensor) -> Tensor:
        """Beside a mask and the first frame's latent, and what CLIP sees in it."""
        shown = torch.cat([z, z.new_zeros(1, self.shown, *z.shape[2:])], dim=1)
        flow: Tensor = self.denoiser(shown, t, text, z.new_zeros(1, *self.seen), return_dict=False)[0]
        return flow


class HunyuanVideo(Family):
    name, factor, channels, latent_frames, tokens = "HunyuanVideo 1.5 I2V", 16, 32, 5, 64
    words, seen = 3584, (729, 1152)

    def build(self) -> tuple[nn.Module, nn.Module, TinyDecoder]:
        return HunyuanVideo15Transformer3DModel(), AutoencoderKLHunyuanVideo15(), TinyDecoder(32, patch=2)

    def denoise(self, z: Tensor, t: Tensor, text: Tensor) -> Tensor:
        """Part by part: the denoiser's own pass sorts tokens by their masks, for which it needs data."""
        net, masked = self.denoiser, torch.ones(text.shape[:2], device=z.device)
        shown = torch.cat([z, z.new_zeros(1, self.channels + 1, *z.shape[2:])], dim=1)
        time, places, latent = net.time_embed(t), net.rope(shown), net.x_embedder(shown)
        image = net.image_embedder(z.new_zeros(1, *self.seen))
        beside = torch.cat([image, net.context_embedder(text, t, masked)], dim=1)
        mask = torch.ones(beside.shape[:2], device=z.device, dtype=torch.bool)
        for block in net.transformer_blocks:
            latent, beside = block(latent, beside, time, mask, places)
        flow = net.proj_out(net.norm_out(latent, time))
        return rearrange(flow, "b (f h w) c -> b c f h w", f=z.shape[2], h=z.shape[3])


class Latte(Family):
    name, factor, channels, latent_frames, tokens = "Latte-1", 8, 4, FRAMES, 120

    def build(self) -> tuple[nn.Module, nn.Module, TinyDecoder]:
        denoiser = LatteTransformer3DModel(
            num_attention_heads=16,
            attention_head_dim=72,
            in_channels=4,
            out_channels=8,
            num_layers=28,
            cross_attention_dim=1152,
            attention_bias=True,
            sample_size=64,
            patch_size=2,
            activation_fn="gelu-approximate",
            num_embeds_ada_norm=1000,
            norm_type="ada_norm_single",
            norm_elementwise_affine=False,
            norm_eps=1e-6,
            caption_channels=4096,
            video_length=FRAMES,
        )
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
        )
        return denoiser, vae, TinyDecoder(4, channels=(64,) * 4, time=(1, 1, 1))

    def denoise(self, z: Tensor, t: Tensor, text: Tensor) -> Tensor:
        both: Tensor = self.denoiser(z, t, text, return_dict=False)[0]
        return both[:, : self.channels]  # the rest are learned variances

    def decode(self, z: Tensor) -> Tensor:
        video = self.vae.decode(rearrange(z, "b c f h w -> (b f) c h w")).sample
        return rearrange(video, "(b f) c h w -> b c f h w", f=FRAMES)


FAMILIES: tuple[type[Family], ...] = (
    CogVideoX,
    CogVideoXI2V,
    LTX,
    LTX2,
    Wan,
    AnyFlow,
    WanVACE,
    WanTI2V,
    WanI2V,
    HunyuanVideo,
    Latte,
)
