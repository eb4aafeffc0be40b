"""Tells drawn frames from real ones, patch by patch: what an adversarial loss learns against.  docs/method.md, 18."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

CONTRAST = 4.0
"""What a frame adds to the blurred one is seen as many times stronger: it is small, and all there is to judge."""


class PatchDiscriminator(nn.Module):
    """A verdict for every patch of a few frames in a row, beside the blurred frames that they were made from.

    Isola et al. 2017 (patches, conditioning), with the least-squares loss of Mao et al. 2017.

    Args:
        frames: how many in a row.
        channels: width of each of its layers, halved in height and width by each.
    """

    def __init__(self, frames: int, channels: tuple[int, ...] = (32, 64, 128)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for given, made in zip((6 * frames, *channels[:-1]), channels, strict=True):
            layers += [nn.Conv2d(given, made, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels[-1], 1, 3, padding=1))

    def forward(self, clip: Tensor, blurred: Tensor) -> Tensor:
        """Verdicts ``(B, 1, H', W')``, towards 1 for real, of clips ``(B, 3, T, H, W)`` in [-1, 1]."""
        verdict: Tensor = self.layers(torch.cat([CONTRAST * (clip - blurred), blurred], dim=1).flatten(1, 2))
        return verdict

    def loss(self, real: Tensor, drawn: Tensor, blurred: Tensor) -> Tensor:
        """What the discriminator learns by; 0.5 where it cannot tell them apart."""
        verdicts = self(real, blurred), self(drawn.detach(), blurred)
        loss: Tensor = functional.mse_loss(verdicts[0], torch.ones_like(verdicts[0])) + verdicts[1].square().mean()
        return loss

    def believed(self, drawn: Tensor, blurred: Tensor) -> Tensor:
        """What the drawing network learns by: 0 where its frames pass for real.  The discriminator gets no gradient."""
        held = {name: parameter.detach() for name, parameter in self.named_parameters()}
        verdict = functional_call(self, held, (drawn, blurred))
        return functional.mse_loss(verdict, torch.ones_like(verdict))
