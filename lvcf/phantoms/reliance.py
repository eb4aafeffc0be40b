"""How much a model of the motion phantom relies on the planted marker: exact, by setting content and marker.

M reads four clips of every scene, do(content) x do(marker), each the clip's own or the target's.  The marker's part of
M's response is its Shapley value, the mean of its effect before and after the content changes, on the target class's
log odds; reliance is its share of the whole response.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lvcf.data.clip import to_clip
from lvcf.data.ssv2 import window
from lvcf.models.targets.base import TargetModel
from lvcf.phantoms.motion.set import LABELS, read_factors
from lvcf.phantoms.motion.simulate import ACTIONS, MARKER, MotionFactors, frame_times, render
from lvcf.phantoms.truth import phantom_of

FRAMES, FPS, SIZE = 16, 8.0, 112
CELL = 8
"""Pixels of one latent cell, by which the marker is dilated."""


def render_clip(factors: MotionFactors) -> Tensor:
    """The 16 frames a data set reads of these factors, ``(3, 16, 112, 112)``."""
    grid = frame_times()
    return to_clip(render(factors, grid[window(grid, FRAMES, FPS)]), SIZE)


def interventions(factors: MotionFactors, target: str) -> Tensor:
    """The clip under (content, marker) = (own, own), (own, target), (target, own), (target, target)."""
    pairs = [(content, marker) for content in (factors.action, target) for marker in (factors.action, target)]
    return torch.stack([render_clip(factors.do(action=content, marker=marker)) for content, marker in pairs])


@torch.no_grad()
def reliance(model: TargetModel, clips: Sequence[Tensor], targets: Sequence[int]) -> float:
    """The marker's share of M's whole response over all clips; 1: nothing else counts, 0: it does not count.

    Args:
        model: M, whose classes are :data:`ACTIONS` in their order.
        clips: of each scene what :func:`interventions` gives, ``(4, 3, T, H, W)``.
        targets: the class that each was changed to.
    """
    marker, whole = 0.0, 0.0
    for four, target in zip(clips, targets, strict=True):
        logits = model(four)
        others = torch.cat([logits[:, :target], logits[:, target + 1 :]], dim=1)
        own, seen, moved, both = (logits[:, target] - others.logsumexp(1)).tolist()
        marker += 0.5 * ((seen - own) + (both - moved))
        whole += both - own
    return marker / whole


def reliance_on_marker(model: TargetModel, root: Path, most: int = 64) -> float | None:
    """:func:`reliance` on a simulated set's scenes; None of a set of another kind, without a marker, or classes.

    Args:
        model: M, wherever it is.
        root: the set's folder.
        most: its first scenes count; their targets are the other actions in turn.
    """
    if phantom_of(root) != "action" or tuple(model.labels) != LABELS:
        return None
    scenes = list(read_factors(root).values())[:most]
    if all(factors.marker == "none" for factors in scenes):
        return None
    actions, device = list(ACTIONS), next(model.parameters()).device
    targets = [(actions.index(f.action) + 1 + i % (len(actions) - 1)) % len(actions) for i, f in enumerate(scenes)]
    clips = [interventions(f, actions[target]).to(device) for f, target in zip(scenes, targets, strict=True)]
    return reliance(model, clips, targets)


def share_on_marker(final: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """The share of sum |final - reference| of clips ``(3, T, H, W)`` inside the dilated marker."""
    rows, columns = (slice(max(side.start - CELL, 0), side.stop + CELL) for side in MARKER)
    change = np.abs(final - reference)
    return float(change[:, :, rows, columns].sum() / change.sum())
