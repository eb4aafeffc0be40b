"""Ejection-fraction regressors of the EchoNet-Dynamic literature: torchvision's video ResNets with one output.

Two input conventions exist.  echonet/dynamic (Ouyang et al. 2020, Nature 580) takes levels 0..255 minus their mean over
deviation, per channel; EchoDiffusion (Reynaud et al. 2023) takes levels over 255 and nothing else.  Both say percent.
"""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torchvision.models import video as video_networks

from lvcf.errors import UserError
from lvcf.models.targets.base import TargetModel
from lvcf.models.targets.checkpoint import load_weights
from lvcf.models.targets.wrapping import resized

Architecture = Literal["r2plus1d_18", "r3d_18", "mc3_18"]
Convention = Literal["echonet_dynamic", "echodiffusion"]

MEAN_LEVEL = (31.834011, 31.95879, 32.082172)
STD_LEVEL = (48.866325, 49.137333, 49.361984)
"""Per channel (RGB) over the training split, levels 0..255, as the authors' echonet/strain has them; echonet/dynamic
estimates them anew at every training, on 128 clips, and does not keep them in its checkpoints."""
SIZE = 112
STD_EF = 12.5
"""Of the data set's ejection fractions, in percent, about; it only makes losses dimensionless."""


class EchoNetRegressor(TargetModel):
    """A video ResNet of torchvision (Tran et al. 2018) with one output, the ejection fraction in percent.

    Args:
        architecture: which one.
        convention: what it was trained to take; levels standardised (``echonet_dynamic``) or levels / 255.
        mean: of the levels 0..255 per channel, for ``echonet_dynamic``.
        std: their standard deviation.

    Raises:
        UserError: one of these is not finite, or a deviation is not above 0.
    """

    task = "regression"
    unit = "%"
    scale = STD_EF
    bounds = (0.0, 100.0)
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        architecture: Architecture = "r2plus1d_18",
        convention: Convention = "echonet_dynamic",
        mean: tuple[float, float, float] = MEAN_LEVEL,
        std: tuple[float, float, float] = STD_LEVEL,
    ) -> None:
        super().__init__()
        self.network: nn.Module = getattr(video_networks, architecture)(weights=None, num_classes=1)
        if not all(isfinite(m) and isfinite(s) and s > 0.0 for m, s in zip(mean, std, strict=True)):
            raise UserError(f"target_model mean {list(mean)}, std {list(std)}: give levels 0..255, deviations above 0")
        standardise = convention == "echonet_dynamic"
        self.register_buffer("mean", torch.tensor(mean if standardise else (0.0,) * 3).view(3, 1, 1, 1), False)
        self.register_buffer("std", torch.tensor(std if standardise else (255.0,) * 3).view(3, 1, 1, 1), False)

    def forward(self, video: Tensor) -> Tensor:
        """Clips ``(B, 3, T, H, W)`` in [-1, 1], any T and size, to EF in percent ``(B,)``."""
        levels = (resized(video, SIZE, SIZE) + 1.0) * 127.5
        value: Tensor = self.network((levels - self.mean) / self.std)
        return value[:, 0].float()


def echonet_dynamic(
    file: Path,
    architecture: Architecture = "r2plus1d_18",
    convention: Convention = "echonet_dynamic",
    mean: tuple[float, float, float] = MEAN_LEVEL,
    std: tuple[float, float, float] = STD_LEVEL,
    checkpoint_key: str | None = None,
) -> EchoNetRegressor:
    """Load a checkpoint of echonet/dynamic, of EchoDiffusion's Lightning module, or a plain state dict.

    ``checkpoint_key`` says where in the file the weights are, if there is more than one place.

    Raises:
        UserError: the file is missing or damaged, holds more than tensors and numbers, or is another network's.
    """
    model = EchoNetRegressor(architecture, convention, mean, std)
    load_weights(model.network, file, checkpoint_key)
    return model
