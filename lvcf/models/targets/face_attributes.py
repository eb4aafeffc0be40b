"""A network that reads the face phantom's age, gender, beard and baldness.

Its classes are the combinations of the attributes' values.  A combination's logit is the sum of its values' own
logits, so the cross-entropy of the combinations is the sum of the attributes' cross-entropies, and the marginals of
their softmax are the attributes' own.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lvcf.data.face_attributes import ATTRIBUTES, combinations, person
from lvcf.models.targets.base import TargetModel
from lvcf.models.targets.small_networks import SmallResNet3D, load_network

VALUES = sum(len(values) for values in ATTRIBUTES.values())


class _Attributes(TargetModel):
    """Says of a clip which combination of attributes it shows; labels are the prompts' words."""

    task = "classification"
    labels = tuple(person(values) for values in combinations())

    def scores(self, video: Tensor) -> Tensor:
        """Logits of every attribute's values, one after another, ``(B, VALUES)``."""
        raise NotImplementedError

    def forward(self, video: Tensor) -> Tensor:
        """Clips ``(B, 3, T, H, W)`` in [-1, 1] to the combinations' logits ``(B, 16)``."""
        parts = torch.split(self.scores(video).float(), [len(values) for values in ATTRIBUTES.values()], dim=1)
        total: Tensor = parts[0]
        for part in parts[1:]:  # the last attribute runs fastest
            total = (total[:, :, None] + part[:, None, :]).flatten(1)
        return total

    @torch.no_grad()
    def probabilities(self, video: Tensor) -> list[dict[str, dict[str, float]]]:
        """Of every clip ``(B, 3, T, H, W)``, the probability of every value by attribute."""
        parts = torch.split(self.scores(video).float(), [len(values) for values in ATTRIBUTES.values()], dim=1)
        tables = [part.softmax(1).tolist() for part in parts]
        return [
            {
                name: dict(zip(values, row, strict=True))
                for (name, values), row in zip(ATTRIBUTES.items(), rows, strict=True)
            }
            for rows in zip(*tables, strict=True)
        ]


class AttributeResNet3D(SmallResNet3D, _Attributes):
    """The steering judge's network.

    Args:
        channels: width of each stage.
        pool: times, rows and columns that pooling keeps apart; attributes do not care when.
    """

    def __init__(self, channels: tuple[int, ...] = (24, 40, 48), pool: tuple[int, int, int] = (1, 7, 7)) -> None:
        super().__init__(channels, outputs=VALUES, pool=(pool[0], pool[1], pool[2]))


def attribute_resnet_3d(weights: str) -> AttributeResNet3D:
    """Load the steering judge's network from a folder, or from the shipped weights by name."""
    return load_network(AttributeResNet3D, weights)
