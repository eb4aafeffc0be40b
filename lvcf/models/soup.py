"""``python -m lvcf.models.soup TO SHARPNESS FROM FROM ...``: one classifier of several trainings.

Each training went on from the one before.  The weights are their mean (Wortsman et al. 2022); the logits are multiplied
by ``SHARPNESS``, the inverse of the temperature that suits validation clips best (Guo et al. 2017), since the mean is
right more often and less sure of it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from lvcf.models.targets.clip_classifier import ClipResNet3D, clip_resnet_3d
from lvcf.models.targets.saving import save_target


@torch.no_grad()
def soup(networks: Sequence[ClipResNet3D], sharpness: float = 1.0) -> ClipResNet3D:
    """The first network with the mean of all weights, and logits times ``sharpness``."""
    mean, states = networks[0], [network.state_dict() for network in networks]
    mean.load_state_dict({name: torch.stack([state[name].float() for state in states]).mean(0) for name in states[0]})
    for parameter in mean.head.parameters():
        parameter.mul_(sharpness)
    return mean


def main(arguments: Sequence[str]) -> None:
    """See the module."""
    to, sharpness, *folders = arguments
    save_target(soup([clip_resnet_3d(folder) for folder in folders], float(sharpness)), Path(to))


if __name__ == "__main__":
    main(sys.argv[1:])
