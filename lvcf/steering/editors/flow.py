"""Optical flow of a clip, and the trajectories of its patches along it."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.models.optical_flow import raft_large, raft_small

from lvcf.data.clip import to_frames
from lvcf.errors import UserError, said

DIS_SMALLEST, RAFT_SMALLEST = 12, 128


class OpticalFlow(ABC):
    """Estimates how a clip's pixels move; ``name`` tells estimators apart in a cache."""

    name: str

    @abstractmethod
    def __call__(self, clip: Tensor) -> Tensor:
        """Clip ``(3, T, H, W)`` in [-1, 1] to pixels moved (right, down) to the next frame, ``(T - 1, 2, H, W)``."""


class DISFlow(OpticalFlow):
    """Dense inverse search (Kroeger et al. 2016), OpenCV's, medium preset; needs the ``flow`` extra and no weights.

    Raises:
        UserError: OpenCV is not installed, or the clip is smaller than 12 pixels.
    """

    name = "OpenCV DIS medium"

    def __call__(self, clip: Tensor) -> Tensor:
        """See :class:`OpticalFlow`."""
        try:
            import cv2
        except ImportError as error:
            raise UserError("optical flow needs OpenCV; pip install lvcf[flow]") from error
        _check_size(clip, DIS_SMALLEST, "OpenCV's DIS flow")
        dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # its types demand a flow to begin with
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in to_frames(clip)]
        flows = [dis.calc(now, following, None) for now, following in pairwise(grey)]
        return torch.from_numpy(np.stack(flows)).permute(0, 3, 1, 2).float()


class RAFTFlow(OpticalFlow):
    """RAFT (Teed & Deng 2020), torchvision's, the paper's choice.

    Args:
        weights: a state dict of torchvision's ``raft_large``.
        small: it is ``raft_small``'s.

    Raises:
        UserError: the weights are not there or another network's, or a clip is smaller than 128 pixels.
    """

    def __init__(self, weights: str, small: bool = False) -> None:
        self.network = raft_small() if small else raft_large()
        if not Path(weights).is_file():
            raise UserError(f"{weights}: no such file of RAFT weights; save torchvision's state dict there")
        try:
            self.network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        except Exception as error:  # torch.load's failures share no base class
            name, why = "raft_small" if small else "raft_large", said(error)
            raise UserError(f"{weights}: no state dict of torchvision's {name} ({why}); check which it is") from error
        self.network.eval().requires_grad_(False)
        self.name = f"RAFT {hashlib.sha256(Path(weights).read_bytes()).hexdigest()}"

    @torch.no_grad()
    def __call__(self, clip: Tensor) -> Tensor:
        """See :class:`OpticalFlow`."""
        _check_size(clip, RAFT_SMALLEST, "RAFT")
        frames = clip.movedim(1, 0).float().cpu()
        return torch.cat([self.network(now[None], following[None])[-1] for now, following in pairwise(frames)])


def _check_size(clip: Tensor, smallest: int, what: str) -> None:
    height, width = clip.shape[-2:]
    if min(height, width) < smallest:
        raise UserError(f"the clip is {height}x{width} and {what} needs {smallest} pixels each way; use a larger clip")


def trajectories(flow: Tensor, height: int, width: int) -> Tensor:
    """The patches of a clip, each on exactly one path through it (Cong et al. 2023).

    A trajectory follows the flow until it leaves the picture, or reaches a patch that an older one holds; a patch
    that none reaches starts a new one.  Positions are kept in fractions of a patch, so that slow motion adds up.

    Args:
        flow: ``(T - 1, 2, H, W)`` in pixels, right and down.
        height: patches from top to bottom.
        width: patches from left to right.

    Returns:
        ``(M, T)``: the patch, row by row, of M trajectories in each frame; -1 where a trajectory is not there.
    """
    size = torch.tensor([flow.shape[-1] / width, flow.shape[-2] / height])
    patch_flow = functional.adaptive_avg_pool2d(flow, (height, width)).flatten(2).mT / size  # (T - 1, n, 2)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    centres = torch.stack([columns, rows], dim=-1).view(-1, 2).float()
    patch, position = torch.arange(len(centres)), centres
    paths = [patch]
    for step in patch_flow:
        position = position + step[patch.clamp(min=0)]
        patch = _unique(torch.where(patch < 0, -1, _patch_at(position, height, width)), len(centres))
        free = torch.ones(len(centres), dtype=torch.bool).index_fill_(0, patch[patch >= 0], False).nonzero()[:, 0]
        patch, position = torch.cat([patch, free]), torch.cat([position, centres[free]])
        paths.append(patch)
    return torch.stack([functional.pad(p, (0, len(patch) - len(p)), value=-1) for p in paths], dim=1)


def _patch_at(position: Tensor, height: int, width: int) -> Tensor:
    """Positions ``(m, 2)`` in patches to the index of the nearest one, -1 outside."""
    column, row = position.round().long().unbind(-1)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    return torch.where(inside, row * width + column, -1)


def _unique(patch: Tensor, patches: int) -> Tensor:
    """Where several trajectories reach one patch, the oldest keeps it and the others end (-1)."""
    order = torch.arange(len(patch))
    there = patch >= 0
    first = torch.full((patches,), len(patch)).scatter_reduce(0, patch[there], order[there], "amin")
    return torch.where(there & (first[patch.clamp(min=0)] == order), patch, -1)
