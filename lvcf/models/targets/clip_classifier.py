"""Two small clip classifiers for the face and motion phantoms: the default target models and the oracles."""

from __future__ import annotations

from torch import Tensor

from lvcf.models.targets.base import TargetModel
from lvcf.models.targets.small_networks import SmallFrameTransformer, SmallResNet3D, load_network


class _Classifier(TargetModel):
    """Scores are logits."""

    task = "classification"

    def scores(self, video: Tensor) -> Tensor:
        """Logits ``(B, K)``."""
        raise NotImplementedError

    def forward(self, video: Tensor) -> Tensor:
        """Clips ``(B, 3, T, H, W)`` in [-1, 1] to logits ``(B, K)``."""
        return self.scores(video).float()


class ClipResNet3D(SmallResNet3D, _Classifier):
    """The default target model of a phantom with classes.

    Args:
        labels: class names, in the order of the logits.
        channels: width of each stage.
        pool: times, rows and columns that pooling keeps apart.
    """

    def __init__(
        self,
        labels: tuple[str, ...],
        channels: tuple[int, ...] = (24, 40, 48),
        pool: tuple[int, int, int] = (4, 7, 7),
    ) -> None:
        super().__init__(channels, outputs=len(labels), pool=(pool[0], pool[1], pool[2]))
        self.labels = tuple(labels)


class ClipFrameTransformer(SmallFrameTransformer, _Classifier):
    """The oracle of a phantom with classes.

    Args:
        labels: class names, in the order of the logits.
        channels: width of each strided 2D stage.
        layers: Transformer layers.
        frames: frames per clip it was built for.
    """

    def __init__(
        self,
        labels: tuple[str, ...],
        channels: tuple[int, ...] = (16, 32, 48, 64),
        layers: int = 1,
        frames: int = 16,
    ) -> None:
        super().__init__(channels, layers, frames, outputs=len(labels))
        self.labels = tuple(labels)


def clip_resnet_3d(weights: str) -> ClipResNet3D:
    """Load a target model from a folder, or from the shipped weights by name (``face_motion/face_target``)."""
    return load_network(ClipResNet3D, weights)


def clip_frame_transformer(weights: str) -> ClipFrameTransformer:
    """Load an oracle from a folder, or from the shipped weights by name (``face_motion/face_oracle``)."""
    return load_network(ClipFrameTransformer, weights)
