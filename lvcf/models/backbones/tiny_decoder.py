"""A tiny decoder: a cheap stand-in for a backbone's VAE decoder where only M's gradient is wanted.

The layout and the tensor names are those of TAEHV (Boer Bohan 2025, Tiny AutoEncoder for Hunyuan Video,
github.com/madebyollin/taehv), which also exists for CogVideoX, Wan and LTX-2: 2D convolutions on every frame, blocks
that see the frame before, nearest-neighbour growth in height and width and 1x1 convolutions that grow time.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from einops import rearrange
from huggingface_hub import PyTorchModelHubMixin
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from lvcf.errors import UserError
from lvcf.models.targets.checkpoint import fill, read_weights
from lvcf.models.targets.small_networks import load_network

BLOCKS = 3
"""Memory blocks per stage."""
PER_STAGE = BLOCKS + 3
"""Layers per stage: the blocks, growth in space, growth in time, a convolution to the next stage's width."""
FIRST = 3
"""Layers before the first stage: the bound, a convolution, its activation."""


class TinyDecoder(nn.Module, PyTorchModelHubMixin, library_name="lvcf", license="apache-2.0"):
    """From the denoiser's own scaled latents to clips.

    Time grows by G, the product of ``time``; as causal VAEs do, the first latent frame makes one frame only.

    Args:
        latent_channels: of the backbone.
        channels: width of every stage, and of what follows the last.
        time: growth of the number of frames in every stage.
        space: growth of height and width in every stage.
        patch: height and width of the pixel patches that the last layer writes.
    """

    def __init__(
        self,
        latent_channels: int,
        channels: tuple[int, ...] = (256, 128, 64, 64),
        time: tuple[int, ...] = (1, 2, 2),
        space: tuple[int, ...] = (2, 2, 2),
        patch: int = 1,
    ) -> None:
        super().__init__()
        if not len(channels) - 1 == len(time) == len(space):
            raise UserError(
                f"tiny decoder: channels {list(channels)}, time {list(time)}, space {list(space)}: give one growth in "
                "time and one in space per stage, and one width more"
            )
        sizes = {
            "latent_channels": [latent_channels],
            "channels": channels,
            "time": time,
            "space": space,
            "patch": [patch],
        }
        for name, values in sizes.items():
            if not all(isinstance(value, int) and value >= 1 for value in values):
                raise UserError(f"tiny decoder: {name} {list(values)}: choose whole numbers from 1 on")
        self.latent_channels, self.trimmed, self.patch = latent_channels, math.prod(time) - 1, patch
        layers: list[nn.Module] = [Bound(), nn.Conv2d(latent_channels, channels[0], 3, padding=1), nn.ReLU()]
        for width, following, frames, pixels in zip(channels, channels[1:], time, space, strict=False):
            layers += [MemoryBlock(width) for _ in range(BLOCKS)]
            layers += [nn.Upsample(scale_factor=pixels), TimeGrowth(width, frames)]
            layers += [nn.Conv2d(width, following, 3, padding=1, bias=False)]
        self.decoder = nn.Sequential(*layers, nn.ReLU(), nn.Conv2d(channels[-1], 3 * patch**2, 3, padding=1))

    @classmethod
    def from_taehv(cls, path: Path) -> TinyDecoder:
        """Read the decoder of a TAEHV file, ``.pth`` or ``.safetensors``; its sizes are read off its tensors.

        Raises:
            UserError: the file is missing or damaged, or holds no decoder of this layout.
        """
        found = {k: v for k, v in _tensors(path).items() if not k.startswith("encoder.")}
        stages = range(sum(key.endswith("conv.weight") and found[key].shape[2:] == (1, 1) for key in found))
        try:
            first = found["decoder.1.weight"]
            last = found[f"decoder.{FIRST + PER_STAGE * len(stages) + 1}.weight"]
            ends = [found[f"decoder.{FIRST + PER_STAGE * (i + 1) - 1}.weight"] for i in stages]
            growths = [found[f"decoder.{FIRST + PER_STAGE * (i + 1) - 2}.conv.weight"] for i in stages]
        except KeyError as error:
            raise UserError(f"{path}: no TAEHV decoder (no tensor {error}); give a file such as taew2_1.pth") from error
        decoder = cls(
            latent_channels=first.shape[1],
            channels=(first.shape[0], *(end.shape[0] for end in ends)),
            time=tuple(growth.shape[0] // growth.shape[1] for growth in growths),
            space=(2,) * len(stages),  # nothing is stored of it; all published files double every stage
            patch=math.isqrt(last.shape[0] // 3),
        )
        fill(decoder, {k: v.float() for k, v in found.items()}, path)
        return decoder

    def forward(self, latent: Tensor, frames: int) -> Tensor:
        """Latents ``(B, C, F, h, w)`` to clips ``(B, 3, frames, H, W)`` around [-1, 1], not clamped.

        Raises:
            UserError: the latents have another number of channels.
        """
        if latent.shape[1] != self.latent_channels:
            raise UserError(
                f"the tiny decoder takes {self.latent_channels} latent channels, the backbone's latents have "
                f"{latent.shape[1]}; use one that was distilled from this backbone's VAE"
            )
        video = latent.transpose(1, 2)
        for layer in self.decoder:
            over_time = isinstance(layer, (MemoryBlock, TimeGrowth))
            video = layer(video) if over_time else layer(video.flatten(0, 1)).unflatten(0, video.shape[:2])
        video = functional.pixel_shuffle(video, self.patch).transpose(1, 2)
        return 2.0 * video[:, :, self.trimmed : self.trimmed + frames] - 1.0

    def decode_as(self, latent: Tensor, wanted: Tensor) -> Tensor:
        """Clips in the shape of ``wanted``, the VAE's.

        Raises:
            UserError: this decoder makes clips of another shape.
        """
        video: Tensor = self(latent, wanted.shape[2])
        if video.shape != wanted.shape:
            made, asked = ("x".join(str(n) for n in clips.shape[2:]) for clips in (video, wanted))
            raise UserError(
                f"the tiny decoder makes clips of {made} (frames, height, width), the VAE of {asked}; its time, space "
                "and patch must be the VAE's compression"
            )
        return video


class Bound(nn.Module):
    """Latents beyond 3 deviations are outliers: 3 tanh(z / 3)."""

    def forward(self, z: Tensor) -> Tensor:
        """Any shape."""
        return 3.0 * torch.tanh(z / 3.0)


class MemoryBlock(nn.Module):
    """A residual block on every frame that sees the frame before; before the first one there is zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(2 * width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, video: Tensor) -> Tensor:
        """``(B, T, C, H, W)`` in and out."""
        past = functional.pad(video[:, :-1], (0, 0, 0, 0, 0, 0, 1, 0))
        change = self.conv(torch.cat([video, past], dim=2).flatten(0, 1))
        return functional.relu(change.view_as(video) + video)


class TimeGrowth(nn.Module):
    """A 1x1 convolution that makes ``growth`` frames of each."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.growth = growth
        self.conv = nn.Conv2d(width, width * growth, 1, bias=False)

    def forward(self, video: Tensor) -> Tensor:
        """``(B, T, C, H, W)`` to ``(B, growth T, C, H, W)``."""
        grown: Tensor = self.conv(video.flatten(0, 1))
        return rearrange(grown, "(b t) (g c) h w -> b (t g) c h w", b=len(video), g=self.growth)


def load_tiny_decoder(weights: str) -> TinyDecoder:
    """Load what ``save_pretrained`` wrote, from a folder or the shipped weights by name, or a TAEHV file by path.

    Raises:
        UserError: it is missing or does not load.
    """
    path = Path(weights)
    is_file = path.suffix in (".pth", ".pt", ".safetensors")
    return TinyDecoder.from_taehv(path) if is_file else load_network(TinyDecoder, weights)


def _tensors(path: Path) -> dict[str, Tensor]:
    if path.suffix != ".safetensors":
        return read_weights(path)
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: no safetensors file ({' '.join(str(error).split())[:200]}); copy it again") from error
