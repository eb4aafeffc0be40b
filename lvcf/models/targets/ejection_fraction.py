"""Two small ejection-fraction regressors for the echo phantom: the default target model and the oracle."""

from __future__ import annotations

from torch import Tensor

from lvcf.models.targets.base import TargetModel
from lvcf.models.targets.small_networks import SmallFrameTransformer, SmallResNet3D, load_network

MEAN_EF, STD_EF = 47.5, 22.8
"""Mean and standard deviation of the phantom's training labels (uniform on 8..87), in percent."""


class _EjectionFraction(TargetModel):
    """Normalised network output to percent."""

    task = "regression"
    unit = "%"
    scale = STD_EF
    bounds = (0.0, 100.0)

    def scores(self, video: Tensor) -> Tensor:
        """EF in standard deviations from the mean, ``(B, 1)``."""
        raise NotImplementedError

    def forward(self, video: Tensor) -> Tensor:
        """EF in percent, ``(B,)``."""
        return MEAN_EF + STD_EF * self.scores(video)[:, 0].float()


class EchoResNet3D(SmallResNet3D, _EjectionFraction):
    """The default target model.

    Args:
        channels: width of each stage.
    """

    def __init__(self, channels: tuple[int, ...] = (32, 64, 128)) -> None:
        super().__init__(channels, outputs=1)


class EchoFrameTransformer(SmallFrameTransformer, _EjectionFraction):
    """The oracle: shares nothing with the target.

    Args:
        channels: width of each strided 2D stage.
        layers: Transformer layers.
        frames: frames per clip it was built for.
    """

    def __init__(self, channels: tuple[int, ...] = (24, 48, 96, 128), layers: int = 2, frames: int = 16) -> None:
        super().__init__(channels, layers, frames, outputs=1)


def echo_resnet_3d(weights: str) -> EchoResNet3D:
    """Load the default target model from a folder, or from the shipped weights by name (``phantom/target``)."""
    return load_network(EchoResNet3D, weights)


def echo_frame_transformer(weights: str) -> EchoFrameTransformer:
    """Load the oracle from a folder, or from the shipped weights by name (``phantom/oracle``)."""
    return load_network(EchoFrameTransformer, weights)
