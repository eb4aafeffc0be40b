"""A latent reader: a small network that was taught a target model's answers, and reads latents.  docs/method.md, 19."""

from __future__ import annotations

import math

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn
from torch.nn import functional

from lvcf.models.targets.small_networks import load_network

GROUPS = 8
WAVES = 32
"""Sines and cosines that tell the time."""
HIDDEN = 128


class LatentReader(nn.Module, PyTorchModelHubMixin, library_name="lvcf", license="apache-2.0"):
    """What a target model would say of the clip that a latent, at some noise, belongs to.

    Args:
        latent_channels: of the backbone.
        labels: class names, in the order of the target model's; none for a value.
        center: mean of the value it was taught, in the value's unit.
        scale: its standard deviation.
        queries: of the target model that teaching took.
        channels: width at each of two sizes.
    """

    def __init__(
        self,
        latent_channels: int,
        labels: tuple[str, ...] = (),
        center: float = 0.0,
        scale: float = 1.0,
        queries: int = 0,
        channels: tuple[int, int] = (48, 96),
    ) -> None:
        super().__init__()
        self.labels, self.center, self.scale, self.queries = tuple(labels), center, scale, queries
        first, second = channels
        self.stem = nn.Conv3d(latent_channels, first, (3, 4, 4), (1, 2, 2), padding=1)
        self.fine = _Block(first)
        self.shrink = nn.Conv3d(first, second, (1, 3, 3), (1, 2, 2), padding=(0, 1, 1))
        self.coarse = nn.ModuleList([_Block(second), _Block(second)])
        outputs = len(self.labels) or 2  # a value and the logarithm of its variance
        self.head = nn.Sequential(nn.Linear(3 * second, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, outputs))

    def forward(self, z_t: Tensor, t: Tensor) -> Tensor:
        """Latents ``(B, C, F, H, W)`` at times ``t`` ``(B,)`` to logits ``(B, K)``.

        Of a value ``(B, 2)``: the value, as deviations from the mean it was taught, and the logarithm of its variance.
        """
        time = waves(t)
        x = self.fine(self.stem(z_t), time)
        x = self.shrink(x)
        for block in self.coarse:
            x = block(x, time)
        places = x.mean(dim=(3, 4))
        said: Tensor = self.head(torch.cat([places.mean(2), places.amax(2), places.std(2)], dim=1))
        return said

    def read(self, z_t: Tensor, t: Tensor) -> Tensor:
        """As a target model answers: logits ``(B, K)``, or values ``(B,)`` in their unit."""
        said = self(z_t, t)
        answer: Tensor = said if self.labels else self.center + self.scale * said[:, 0]
        return answer

    def loss(self, z_t: Tensor, t: Tensor, answers: Tensor) -> Tensor:
        """Cross-entropy with the target model's probabilities, or the Gaussian negative log-likelihood of its value.

        Args:
            z_t: latents.
            t: their times.
            answers: of the target model on the clips, logits ``(B, K)`` or values ``(B,)``.
        """
        said = self(z_t, t).float()
        if self.labels:
            return functional.cross_entropy(said, answers.softmax(-1))
        wanted = (answers - self.center) / self.scale
        return functional.gaussian_nll_loss(said[:, 0], wanted, said[:, 1].exp())


class _Block(nn.Module):
    """A residual block over space, then time, then space, shifted and scaled by the time on the noise axis."""

    def __init__(self, width: int) -> None:
        super().__init__()
        kernels = ((1, 3, 3), (3, 1, 1), (1, 3, 3))
        self.convolutions = nn.ModuleList(nn.Conv3d(width, width, kernel, padding="same") for kernel in kernels)
        self.norms = nn.ModuleList(nn.GroupNorm(GROUPS, width) for _ in kernels)
        self.film = nn.Linear(2 * WAVES, 2 * width)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        scale, shift = self.film(time)[:, :, None, None, None].chunk(2, dim=1)
        y = x
        for place, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            y = norm(convolution(y))
            if place == 0:
                y = y * (1 + scale) + shift
            y = functional.silu(y)
        return x + y


def waves(t: Tensor) -> Tensor:
    """Times ``(B,)`` in 0 to 1 as ``(B, 2 * WAVES)`` sines and cosines, from one turn to a thousand radians."""
    rates = torch.exp(torch.linspace(0.0, math.log(1000.0), WAVES, device=t.device, dtype=t.dtype))
    angles = t[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def latent_reader(weights: str) -> LatentReader:
    """Load a latent reader from a folder, or from the shipped weights by name."""
    return load_network(LatentReader, weights)
