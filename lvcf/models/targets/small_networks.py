"""Two small video networks that share nothing: a 3D ResNet, and a 2D network with a Transformer over frames.

The phantoms' default target models are of the first build, their oracles of the second.
"""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from einops import rearrange
from huggingface_hub import PyTorchModelHubMixin
from safetensors import SafetensorError
from torch import Tensor, nn

from lvcf.configuration import find_weights
from lvcf.errors import UserError
from lvcf.models.targets.base import TargetModel

GROUPS = 8


class SmallResNet3D(TargetModel, PyTorchModelHubMixin, library_name="lvcf", license="apache-2.0"):
    """A small 3D ResNet in the manner of Tran et al. (2018): strided stem, residual stages, average pooling.

    Args:
        channels: width of each stage; every stage after the first halves time, height and width.
        outputs: numbers it says of a clip.
        pool: times, rows and columns that pooling keeps apart; (1, 1, 1) does not care where or when.
    """

    def __init__(self, channels: tuple[int, ...], outputs: int, pool: tuple[int, int, int] = (1, 1, 1)) -> None:
        super().__init__()
        stem = nn.Conv3d(3, channels[0], (3, 7, 7), stride=(1, 4, 4), padding=(1, 3, 3), bias=False)
        stages = [ResidualBlock3D(a, b) for a, b in zip((channels[0], *channels[:-1]), channels, strict=True)]
        self.features = nn.Sequential(stem, nn.GroupNorm(GROUPS, channels[0]), nn.SiLU(), *stages)
        self.pool = nn.AdaptiveAvgPool3d(pool)
        self.head = nn.Linear(channels[-1] * math.prod(pool), outputs)

    def scores(self, video: Tensor) -> Tensor:
        """Clips ``(B, 3, T, H, W)`` in [-1, 1] to ``(B, outputs)``."""
        scores: Tensor = self.head(self.pool(self.features(video)).flatten(1))
        return scores


class ResidualBlock3D(nn.Module):
    """Two 3x3x3 convolutions beside a projection; strided where the width changes."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        stride = 1 if channels_in == channels_out else 2
        self.body = nn.Sequential(
            nn.Conv3d(channels_in, channels_out, 3, stride, 1, bias=False),
            nn.GroupNorm(GROUPS, channels_out),
            nn.SiLU(),
            nn.Conv3d(channels_out, channels_out, 3, 1, 1, bias=False),
            nn.GroupNorm(GROUPS, channels_out),
        )
        same = channels_in == channels_out
        self.shortcut = nn.Identity() if same else nn.Conv3d(channels_in, channels_out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, T, H, W)`` in and out."""
        return torch.nn.functional.silu(self.body(x) + self.shortcut(x))


class SmallFrameTransformer(TargetModel, PyTorchModelHubMixin, library_name="lvcf", license="apache-2.0"):
    """A 2D network reads each frame alone, a Transformer compares them.

    Args:
        channels: width of each strided 2D stage.
        layers: Transformer layers.
        frames: frames per clip it was built for.
        outputs: numbers it says of a clip.
    """

    def __init__(self, channels: tuple[int, ...], layers: int, frames: int, outputs: int) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for a, b in zip((3, *channels[:-1]), channels, strict=True):
            blocks += [nn.Conv2d(a, b, 3, stride=2, padding=1, bias=False), nn.GroupNorm(GROUPS, b), nn.GELU()]
        width = channels[-1]
        self.frame = nn.Sequential(*blocks, nn.Conv2d(width, width // 4, 1), nn.Flatten(), nn.LazyLinear(width))
        self.frame(torch.zeros(1, 3, 112, 112))
        self.position = nn.Parameter(0.02 * torch.randn(frames, width))
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.temporal = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, outputs)

    def scores(self, video: Tensor) -> Tensor:
        """Clips ``(B, 3, T, 112, 112)`` in [-1, 1] to ``(B, outputs)``."""
        frames = video.shape[2]
        features = self.frame(rearrange(video, "b c t h w -> (b t) c h w"))
        tokens = rearrange(features, "(b t) d -> b t d", t=frames) + self.position
        scores: Tensor = self.head(self.temporal(tokens).mean(dim=1))
        return scores


Network = TypeVar("Network", bound=PyTorchModelHubMixin)


def load_network(network: type[Network], weights: str) -> Network:
    """Load a network that ``save_pretrained`` wrote, from a folder or from the shipped weights by name.

    Raises:
        UserError: a file is missing or does not load.
    """
    folder = find_weights(weights)
    missing = [name for name in ("config.json", "model.safetensors") if not (folder / name).is_file()]
    if missing:
        raise UserError(f"{folder}: lacks {' and '.join(missing)}; point to a whole folder or run make weights")
    try:
        return network.from_pretrained(folder, strict=True)  # the default leaves missing tensors at random
    except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        raise UserError(f"{folder}: does not load ({' '.join(str(error).split())[:300]}); copy it again") from error
