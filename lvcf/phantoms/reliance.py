"""How much a model of a phantom's clips relies on the planted marker: exact, by setting content and marker.

M reads four clips of every scene, do(content) x do(marker), each the clip's own or the target's.  The marker's part of
M's response is its Shapley value, the mean of its effect before and after the content changes, on the target class's
log odds or, towards the target, on the value; reliance is its share of the whole response.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lvcf.data import ssv2
from lvcf.data.clip import to_clip
from lvcf.data.ferv39k import EXPRESSIONS
from lvcf.data.video import Frames, clip_indices
from lvcf.models.targets.base import TargetModel
from lvcf.phantoms.echo import set as echo
from lvcf.phantoms.echo.simulate import EF_RANGE, EchoFactors
from lvcf.phantoms.echo.simulate import render as render_echo
from lvcf.phantoms.face import set as face
from lvcf.phantoms.face.factors import FaceFactors
from lvcf.phantoms.face.simulate import render as render_face
from lvcf.phantoms.motion import set as motion
from lvcf.phantoms.motion.simulate import ACTIONS, MARKER, MotionFactors
from lvcf.phantoms.motion.simulate import frame_times as motion_times
from lvcf.phantoms.motion.simulate import render as render_motion
from lvcf.phantoms.truth import phantom_of

FRAMES, FPS, SIZE = 16, 8.0, 112
CELL = 8
"""Pixels of one latent cell, by which the marker is dilated."""


class Planted(NamedTuple):
    """A phantom whose marker can be set.

    Attributes:
        content: the factor that the marker tells.
        contents: its classes in the order of a model's; none where it is a value.
        labels: what a model calls them.
        read: a set's factors, by clip.
        paint: see :func:`paint_echo`.
    """

    content: str
    contents: tuple[str, ...]
    labels: tuple[str, ...]
    read: Callable[[Path], Mapping[str, Any]]
    paint: Callable[[Any], tuple[Frames, Frames]]

    def own(self, factors: Any) -> Any:
        """What a clip shows."""
        return getattr(factors, self.content)

    def clip(self, factors: Any) -> Tensor:
        """What a data set reads of the frames, as a clip ``(3, 16, 112, 112)``."""
        return to_clip(self.paint(factors)[1], SIZE)

    def interventions(self, factors: Any, target: Any) -> Tensor:
        """The clip under (content, marker) = (own, own), (own, target), (target, own), (target, target)."""
        pairs = [(content, marker) for content in (self.own(factors), target) for marker in (self.own(factors), target)]
        return torch.stack(
            [self.clip(factors.do(**{self.content: content, "marker": str(marker)})) for content, marker in pairs]
        )

    def goal(self, target: Any) -> float:
        """A target as a model has it: the class's index, or the value."""
        return float(self.contents.index(target) if self.contents else target)

    def named(self, goal: float) -> Any:
        """The inverse of :meth:`goal`."""
        return self.contents[int(goal)] if self.contents else goal

    def targets(self, scenes: Sequence[Any]) -> list[Any]:
        """Of each scene another content: the other classes in turn, or a value half of the range away."""
        if not self.contents:
            low, high = EF_RANGE
            return [low + (self.own(f) - low + (high - low) / 2) % (high - low) for f in scenes]
        n = len(self.contents)
        return [self.contents[(self.contents.index(self.own(f)) + 1 + i % (n - 1)) % n] for i, f in enumerate(scenes)]


def paint_echo(factors: EchoFactors) -> tuple[Frames, Frames]:
    """The frames that a data set reads of some factors ``(16, 112, 112, 3)``, and how the set's codec returns them."""
    grid = echo.frame_times()
    gray = render_echo(factors, grid[clip_indices(grid, FRAMES, FPS)])
    return echo.to_rgb(gray), echo.through_codec(gray)


def paint_face(factors: FaceFactors) -> tuple[Frames, Frames]:
    """See :func:`paint_echo`."""
    grid = face.frame_times()
    frames = render_face(factors, grid[clip_indices(grid, FRAMES, FPS)])
    return frames, face.through_codec(frames)


def paint_motion(factors: MotionFactors) -> tuple[Frames, Frames]:
    """See :func:`paint_echo`; the set's codec is lossless."""
    grid = motion_times()
    frames = render_motion(factors, grid[ssv2.window(grid, FRAMES, FPS)])
    return frames, frames


PLANTED = {
    "ef": Planted("ef", (), (), echo.read_factors, paint_echo),
    "expression": Planted("expression", EXPRESSIONS, EXPRESSIONS, face.read_factors, paint_face),
    "action": Planted("action", tuple(ACTIONS), motion.LABELS, motion.read_factors, paint_motion),
}
"""By the factor that only this phantom has, as :data:`lvcf.phantoms.truth.PHANTOMS`."""


@torch.no_grad()
def reliance(model: TargetModel, clips: Sequence[Tensor], targets: Sequence[float]) -> float:
    """The marker's share of M's whole response over all clips; 1: nothing else counts, 0: it does not count.

    Args:
        model: M.
        clips: of each scene what :meth:`Planted.interventions` gives, ``(4, 3, T, H, W)``.
        targets: the index of the class, or the value, that each was changed to.
    """
    marker, whole = 0.0, 0.0
    for four, target in zip(clips, targets, strict=True):
        own, seen, moved, both = towards(model, four, target).tolist()
        marker += 0.5 * ((seen - own) + (both - moved))
        whole += both - own
    return marker / whole


def towards(model: TargetModel, four: Tensor, target: float) -> Tensor:
    """What M says of four clips for the target ``(4,)``: its log odds, or the value, upwards from first to last."""
    said = model(four)
    if model.task == "regression":
        return said * (said[3] - said[0]).sign()
    others = torch.cat([said[:, : int(target)], said[:, int(target) + 1 :]], dim=1)
    return said[:, int(target)] - others.logsumexp(1)


def reliance_on_marker(model: TargetModel, root: Path, most: int = 64) -> float | None:
    """:func:`reliance` on a simulated set's scenes; None of a real set, without a marker, or with a model of others.

    Args:
        model: M, wherever it is.
        root: the set's folder.
        most: its first scenes count; their targets are :meth:`Planted.targets`.
    """
    planted = PLANTED.get(phantom_of(root))
    if planted is None or tuple(model.labels) != planted.labels:
        return None
    scenes = list(planted.read(root).values())[:most]
    if all(factors.marker in ("none", "") for factors in scenes):
        return None
    targets, device = planted.targets(scenes), next(model.parameters()).device
    clips = [planted.interventions(f, target).to(device) for f, target in zip(scenes, targets, strict=True)]
    return reliance(model, clips, [planted.goal(target) for target in targets])


def share_on_marker(final: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """The share of sum |final - reference| of clips ``(3, T, H, W)`` inside the dilated marker."""
    rows, columns = (slice(max(side.start - CELL, 0), side.stop + CELL) for side in MARKER)
    change = np.abs(final - reference)
    return float(change[:, :, rows, columns].sum() / change.sum())
