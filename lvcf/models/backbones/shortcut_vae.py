"""LTX-Video's VAE beside a linear one: the networks learn what principal components miss.  docs/method.md, 20."""

from __future__ import annotations

import functools
from typing import Any

import torch
from diffusers import AutoencoderKLLTXVideo
from diffusers.models.autoencoders.vae import DecoderOutput
from einops import rearrange
from torch import Tensor, nn

KEPT = 0.5
"""A channel's deviation is its component's to this power: 0 would make all alike, 1 is an orthogonal transform."""


class LinearShortcutVAE(AutoencoderKLLTXVideo):
    """A small VAE that starts as the principal components of its clips' blocks, where the stock one starts as noise.

    A block is as many frames and pixels as one latent pixel stands for; frame 0 is doubled, so that it fills blocks of
    its own.  The stock encoder and decoder, whose last layers start at zero, add to the components what convolutions
    know better.  Everything else is the stock class's, its configuration too.
    """

    # diffusers reads the configuration's keys from the signature
    @functools.wraps(AutoencoderKLLTXVideo.__init__)  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        side = self.spatial_compression_ratio
        block = (self.temporal_compression_ratio, side, side)
        pixels, channels = self.config.in_channels, self.config.latent_channels
        self.shortcut_in = nn.Conv3d(pixels, channels, block, stride=block)
        self.shortcut_out = nn.ConvTranspose3d(channels, pixels, block, stride=block)
        for part in (self.shortcut_in, self.shortcut_out, self.encoder.conv_out.conv, self.decoder.conv_out.conv):
            for parameter in part.parameters():
                nn.init.zeros_(parameter)

    @property
    def is_fitted(self) -> bool:
        """Whether the shortcut carries anything."""
        return bool((self.shortcut_in.weight != 0).any())

    def freeze_shortcut(self) -> None:
        """Train the networks alone."""
        self.shortcut_in.requires_grad_(False)
        self.shortcut_out.requires_grad_(False)

    @torch.no_grad()
    def fit(self, clips: Tensor) -> None:
        """Set the shortcut to the principal components of clips ``(N, 3, T, H, W)``, whole blocks in every direction.

        The latents' mean square is 1 on these clips.  A channel's deviation is the root of its component's, up to one
        factor: what is fine is small, and a denoiser draws it last.
        """
        weight, (frames, height, width) = self.shortcut_in.weight, self.shortcut_in.kernel_size
        blocks = rearrange(
            self._doubled(clips).double(),
            "n c (t q) (h p) (w r) -> (n t h w) (c q p r)",
            q=frames,
            p=height,
            r=width,
        )
        mean = blocks.mean(0)
        values, vectors = torch.linalg.eigh((blocks - mean).T @ (blocks - mean) / len(blocks))
        components = vectors.flip(1)[:, : len(weight)].T
        deviation = values.flip(0)[: len(weight)].clamp(min=1e-8).sqrt()
        wanted = deviation**KEPT / (deviation ** (2 * KEPT)).mean().sqrt()
        inwards = components * (wanted / deviation)[:, None]
        weight.copy_(inwards.view_as(weight))
        self.shortcut_in.bias.copy_(-inwards @ mean)  # type: ignore[union-attr]
        self.shortcut_out.weight.copy_((components * (deviation / wanted)[:, None]).view_as(weight))
        self.shortcut_out.bias.copy_(rearrange(mean, "(c x) -> c x", c=clips.shape[1]).mean(1))  # type: ignore[union-attr]

    def _doubled(self, clips: Tensor) -> Tensor:
        """Clips whose frame 0 fills a block of its own."""
        return torch.cat([clips[:, :, :1]] * (self.temporal_compression_ratio - 1) + [clips], dim=2)

    def _encode(self, x: Tensor) -> Tensor:
        """The posterior's means, with the shortcut's added, and log-variances."""
        linear = self.shortcut_in(self._doubled(x))
        means = torch.cat([linear, torch.zeros_like(linear)], dim=1)
        last = self.encoder.conv_out.conv.weight
        adds = last.requires_grad or bool((last != 0).any())  # else the encoder's pass would add zeros
        return means + super()._encode(x) if adds else means

    def _decode(self, z: Tensor, temb: Tensor | None = None, return_dict: bool = True) -> DecoderOutput | tuple[Tensor]:
        """The stock decoder's clip and the shortcut's."""
        (decoded,) = super()._decode(z, temb, return_dict=False)
        clip = decoded + self.shortcut_out(z)[:, :, self.temporal_compression_ratio - 1 :]
        return DecoderOutput(sample=clip) if return_dict else (clip,)
