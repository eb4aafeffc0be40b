"""The age and gender network of npm's ``@vladmandic/face-api`` (MIT), read from its published weights.

A small Xception: three blocks that halve the side, two with a sum around them between the second and the third, and
the mean over the last 7 x 7 places; from that the years, and the logits of a man and of a woman.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from lvcf.configuration import find_weights
from lvcf.models.targets.checkpoint import fill
from lvcf.models.targets.face_expression import (
    MEAN_LEVEL,
    WHOLE,
    Box,
    Convolution,
    Separable,
    checked,
    read_published,
    standardised,
)

MANIFEST = "age_gender_model-weights_manifest.json"


class Halving(nn.Module):
    """Two separable convolutions and a maximum, beside every second place carried over."""

    def __init__(self, channels_in: int, channels_out: int, first: bool = False) -> None:
        super().__init__()
        self.first = first
        self.separable_conv0 = Separable(channels_in, channels_out, 1)
        self.separable_conv1 = Separable(channels_out, channels_out, 1)
        self.expansion_conv = nn.Conv2d(channels_in, channels_out, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` with even sides to ``(B, D, H / 2, W / 2)``."""
        inner = self.separable_conv1(self.separable_conv0(x if self.first else x.relu()).relu())
        padded = functional.pad(inner, (0, 1, 0, 1), value=-torch.inf)
        total: Tensor = functional.max_pool2d(padded, 3, 2) + self.expansion_conv(x)
        return total


class Middle(nn.Module):
    """Three separable convolutions with a sum around them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.separable_conv0 = Separable(channels, channels, 1)
        self.separable_conv1 = Separable(channels, channels, 1)
        self.separable_conv2 = Separable(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the same."""
        inner = x
        for convolution in (self.separable_conv0, self.separable_conv1, self.separable_conv2):
            inner = convolution(inner.relu())
        return inner + x


class AgeGenderNetwork(nn.Module):
    """Standardised faces ``(B, 3, 112, 112)`` to years ``(B,)`` and logits of man and woman ``(B, 2)``."""

    def __init__(self) -> None:
        super().__init__()
        entry = {"conv_in": Convolution(3, 32, 2), "reduction_block_0": Halving(32, 64, first=True)}
        self.entry_flow = nn.ModuleDict({**entry, "reduction_block_1": Halving(64, 128)})
        self.middle_flow = nn.ModuleDict({f"main_block_{i}": Middle(128) for i in range(2)})
        self.exit_flow = nn.ModuleDict({"reduction_block": Halving(128, 256), "separable_conv": Separable(256, 512, 1)})
        self.fc = nn.ModuleDict({"age": nn.Linear(512, 1), "gender": nn.Linear(512, 2)})

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        x = self.entry_flow["conv_in"](x).relu()
        for block in (*list(self.entry_flow.values())[1:], *self.middle_flow.values()):
            x = block(x)
        places = self.exit_flow["separable_conv"](self.exit_flow["reduction_block"](x)).relu()
        pooled = places.mean((2, 3))
        return self.fc["age"](pooled)[:, 0], self.fc["gender"](pooled)


class FaceAgeGender(nn.Module):
    """The network on every frame of clips of one face, averaged over the frames.

    Args:
        box: left, top, right and bottom of the face as shares of the clip's width and height.

    Raises:
        UserError: that is no box inside the clip.
    """

    mean: Tensor

    def __init__(self, box: Box = WHOLE) -> None:
        super().__init__()
        self.box = checked(box, "box")
        self.network = AgeGenderNetwork()
        self.register_buffer("mean", torch.tensor(MEAN_LEVEL).view(3, 1, 1), False)

    def forward(self, video: Tensor) -> tuple[Tensor, Tensor]:
        """Clips ``(B, 3, T, H, W)`` in [-1, 1], any T and size, to years and a man's probability, ``(B,)`` each."""
        years, logits = self.network(standardised(video, self.box, self.mean))
        frames = (years, logits.softmax(1)[:, 0])
        age, man = (rearrange(each, "(b t) -> b t", b=len(video)).mean(1) for each in frames)
        return age, man


def face_age_gender(weights: str = "face_age_gender", box: Box = WHOLE) -> FaceAgeGender:
    """Load the published files from their folder, or the shipped ones by name.

    Raises:
        UserError: files are missing or damaged, or hold another network's weights; the box is none.
    """
    model, manifest = FaceAgeGender(box), find_weights(weights) / MANIFEST
    fill(model.network, read_published(manifest, "the age and gender network"), manifest)
    return model.eval().requires_grad_(False)
