"""A detail decoder: what the VAE blurs is taken from the clip's own frames at other times.  docs/method.md, 18."""

from __future__ import annotations

import torch
from einops import rearrange, repeat
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn
from torch.nn import functional

from lvcf.models.targets.small_networks import load_network

SHRINK = 2
"""Height and width of the pixel patches that the matching network sees as one place."""
FEATURES = 8
"""Channels that the matching network hands to the finishing one, beside flow and confidence."""
GROUPS = 8


class DetailDecoder(nn.Module, PyTorchModelHubMixin, library_name="lvcf", license="apache-2.0"):
    """Sharpens frames that a VAE drew, by own frames that it is shown sharp and as the VAE draws them.

    Every pair of a drawn frame and an own one goes through one network, which says where each pixel stands in the own
    frame and how sure it is.  The moved own frames and the drawn one are mixed by these confidences; a second network
    adds the rest.  Any number of own frames can be shown.

    Args:
        channels: width of the matching network at each height and width, halved between them.
    """

    def __init__(self, channels: tuple[int, ...] = (32, 64, 96, 128)) -> None:
        super().__init__()
        self.match = _UNet(9 * SHRINK**2, tuple(channels), (3 + FEATURES) * SHRINK**2)
        last = nn.Conv2d(24, 3, 3, padding=1)
        self.finish = nn.Sequential(
            nn.Conv2d(6 + 1 + FEATURES, 24, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(24, 24, 3, padding=1),
            nn.SiLU(),
            last,
        )
        for convolution in (self.match.last, last):  # an untrained one returns the drawn frame mixed with the own one
            for parameter in convolution.parameters():
                nn.init.zeros_(parameter)

    def forward(self, drawn: Tensor, own: Tensor, own_drawn: Tensor) -> Tensor:
        """Sharper frames.

        Args:
            drawn: clips ``(B, 3, T, H, W)`` as the VAE draws them, in [-1, 1] but for what it overshoots.
            own: sharp frames ``(B, 3, K, H, W)`` of clips of the same scene.
            own_drawn: those as the VAE draws them.

        Returns:
            Clips ``(B, 3, T, H, W)``, not clamped.
        """
        frames, shown = drawn.shape[2], own.shape[2]
        each = rearrange(drawn, "b c t h w -> (b t) c h w")
        sharp, blurred = (repeat(x, "b c k h w -> (b t k) c h w", t=frames) for x in (own, own_drawn))
        pairs = torch.cat([each.repeat_interleave(shown, 0), sharp, blurred], dim=1)
        said = functional.pixel_shuffle(self.match(functional.pixel_unshuffle(pairs, SHRINK)), SHRINK)
        moved = warp(sharp, said[:, :2])
        sure, features = said[:, 2:3], said[:, 3:]
        moved, sure, features = (rearrange(x, "(n k) c h w -> n k c h w", k=shown) for x in (moved, sure, features))
        weights = torch.cat([sure, torch.zeros_like(sure[:, :1])], dim=1).softmax(dim=1)
        mixed = (weights * torch.cat([moved, each[:, None]], dim=1)).sum(dim=1)
        rest: Tensor = self.finish(torch.cat([mixed, each, weights[:, -1], features.mean(dim=1)], dim=1))
        return rearrange(mixed + rest, "(b t) c h w -> b c t h w", t=frames)


class _UNet(nn.Module):
    """Residual-free U-Net with two convolutions a level."""

    def __init__(self, given: int, channels: tuple[int, ...], out: int) -> None:
        super().__init__()
        self.down = nn.ModuleList(_Block(a, b) for a, b in zip((given, *channels[:-1]), channels, strict=True))
        pairs = list(zip(channels[::-1], channels[-2::-1], strict=False))
        self.up = nn.ModuleList(_Block(a + b, b) for a, b in pairs)
        self.last = nn.Conv2d(channels[0], out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        kept: list[Tensor] = []
        for block in self.down:
            x = block(functional.avg_pool2d(x, 2) if kept else x)
            kept.append(x)
        for block, beside in zip(self.up, kept[-2::-1], strict=True):
            x = block(torch.cat([functional.interpolate(x, size=beside.shape[-2:]), beside], dim=1))
        said: Tensor = self.last(x)
        return said


class _Block(nn.Sequential):
    def __init__(self, given: int, made: int) -> None:
        super().__init__(
            nn.Conv2d(given, made, 3, padding=1),
            nn.GroupNorm(GROUPS, made),
            nn.SiLU(),
            nn.Conv2d(made, made, 3, padding=1),
            nn.GroupNorm(GROUPS, made),
            nn.SiLU(),
        )


def warp(frames: Tensor, flow: Tensor) -> Tensor:
    """Frames ``(N, C, H, W)`` read at every pixel's place plus ``flow`` ``(N, 2, H, W)``, x and y in pixels.

    Between pixels bilinear; beyond the border its nearest pixel.
    """
    height, width = frames.shape[-2:]
    rows = torch.arange(height, device=flow.device, dtype=flow.dtype)
    columns = torch.arange(width, device=flow.device, dtype=flow.dtype)
    x = (columns[None, None, :] + flow[:, 0] + 0.5) * 2 / width - 1
    y = (rows[None, :, None] + flow[:, 1] + 0.5) * 2 / height - 1
    places = torch.stack([x, y], dim=-1)
    return functional.grid_sample(frames.to(places), places, padding_mode="border", align_corners=False)


def detail_decoder(weights: str) -> DetailDecoder:
    """Load a detail decoder from a folder, or from the shipped weights by name (``face_motion/detail``)."""
    return load_network(DetailDecoder, weights)
