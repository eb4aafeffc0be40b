"""What a run's edits changed, clip by clip and as maps over the clips, read one at a time.  Light: no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvcf.data.video import Frames
from lvcf.files import Json, damaged
from lvcf.metrics.grid import Floats, cell_means
from lvcf.runs.folder import Prediction, off_target

UP, DOWN, STAY = "up", "down", "as it was"
"""What is asked of a regressor's reading."""
ALL = "all clips"
LARGEST = 128
"""Cells of a map's longer side at most."""
QUARTERS, CELLS, COARSE = 4, 32, 8
"""Of the film that is kept of every clip: parts of its time, cells of its side; and cells of the descriptor's side."""

Marked = Callable[[Prediction, tuple[int, ...]], NDArray[np.bool_] | None]
"""From a clip and its shape (T, H, W) to a region in it ``(T, H, W)``; None where it has none."""
Look = Callable[[Prediction, Frames, Frames, int], None]
"""Is shown every clip with its counterfactual ``(T, H, W, 3)`` and the frame that changed most."""


@dataclass(frozen=True)
class Change:
    """What one clip's edit changed.

    Attributes:
        id: the clip's name.
        asked: what was asked of M: :data:`UP`, :data:`DOWN`, :data:`STAY`, or a class.
        status: reached or not_reached.
        levels: mean absolute difference to the factual, in levels of 255.
        most: the frame that changed most.
        second: when that is.
        film: signed difference in levels, ``(QUARTERS, CELLS, CELLS)``.
        inside: by region, the share of the absolute change that lies in it; NaN without a change or a region.
        covered: by region, the share of the clip that it covers; NaN without one.
    """

    id: str
    asked: str
    status: str
    levels: float
    most: int
    second: float
    film: Floats
    inside: dict[str, float]
    covered: dict[str, float]


class Maps:
    """Means and spreads over clips, added up one by one; a map is ``(H, W)``, a curve ``(T,)``.

    Args:
        shape: T, H and W of the common grid.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape, self.clips, self.reached = shape, 0, 0
        self._sums: dict[str, NDArray[np.float64]] = {}
        self._squares: dict[str, NDArray[np.float64]] = {}

    def add(self, status: str, values: Mapping[str, Floats]) -> None:
        """One clip: its ``change``, ``signed``, ``factual``, ``film`` and ``curve``."""
        self.clips += 1
        self.reached += status == "reached"
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value.astype(np.float64)
            self._squares[name] = self._squares.get(name, 0.0) + value.astype(np.float64) ** 2

    def mean(self, name: str) -> NDArray[np.float64]:
        """Over the clips."""
        return self._sums[name] / self.clips

    def spread(self, name: str) -> NDArray[np.float64]:
        """Standard deviation over the clips, with n - 1; 0 of a single one."""
        variance = self._squares[name] / self.clips - self.mean(name) ** 2
        return np.asarray(np.sqrt(np.clip(variance, 0, None) * self.clips / max(self.clips - 1, 1)))


@dataclass
class Changes:
    """A run's edits.

    Attributes:
        clips: of every one that was drawn.
        maps: of all of them, and by what was asked.
        regions: mean over the clips of every region, ``(H, W)`` in 0..1.
        fps: frames per second of the common grid.
        sizes: how many clips have which T, H and W.
    """

    clips: list[Change] = field(default_factory=list)
    maps: dict[str, Maps] = field(default_factory=dict)
    regions: dict[str, Maps] = field(default_factory=dict)
    fps: float = 1.0
    sizes: dict[tuple[int, ...], int] = field(default_factory=dict)


def gather(predictions: Iterable[Prediction], regions: Mapping[str, Marked], look: Look) -> Changes:
    """Read clips that were drawn, one after the other; no video is kept.

    The common grid is the first clip's, in space of at most :data:`LARGEST` cells; others are averaged into it.

    Raises:
        UserError: a clip is damaged, or a region does not fit it.
    """
    found = Changes()
    shape: tuple[int, ...] = ()
    for prediction in predictions:
        factual, final = _read(prediction)
        if not found.clips:
            shape = _common(factual.shape[:3])
            found.fps = float(prediction.result["fps"])
        found.sizes[factual.shape[:3]] = found.sizes.get(factual.shape[:3], 0) + 1
        difference = final.astype(np.float32) - factual
        size, signed = np.abs(difference).mean(axis=-1), difference.mean(axis=-1)
        masks = {name: marked(prediction, size.shape) for name, marked in regions.items()}
        change = _change(prediction, size, signed, masks)
        found.clips.append(change)
        values = {
            "change": cell_means(size.mean(axis=0), shape[1:]),
            "signed": cell_means(signed.mean(axis=0), shape[1:]),
            "factual": cell_means(factual.mean(axis=(0, 3)), shape[1:]),
            "film": change.film,
            "curve": cell_means(size.mean(axis=(1, 2)), shape[:1]),
        }
        for group in (ALL, change.asked):
            found.maps.setdefault(group, Maps(shape)).add(change.status, values)
        for name, mask in masks.items():
            if mask is not None:
                covered = {"region": cell_means(mask.mean(axis=0), shape[1:])}
                found.regions.setdefault(name, Maps(shape)).add(change.status, covered)
        look(prediction, factual, final, change.most)
    return found


def descriptors(clips: Iterable[Change]) -> NDArray[np.float64]:
    """What is clustered ``(n, QUARTERS * COARSE * COARSE)``: every clip's signed film, coarse, of length 1.

    Its length is how much was changed; what is left is where, when and in which direction.
    """
    coarse = [cell_means(clip.film, (COARSE, COARSE)).ravel().astype(np.float64) for clip in clips]
    return np.stack([film / np.linalg.norm(film) for film in coarse])


def is_still(clip: Change) -> bool:
    """Whether an edit has no direction: nothing changed, or nothing but a grain that averages out to under 8 bits."""
    return bool(np.abs(cell_means(clip.film, (COARSE, COARSE))).max() < 1e-3)


def asked_of(result: Json) -> str:
    """What was asked of M about a clip."""
    target = result["target"]
    if result["task"] == "classification":
        return str(target["text"])
    before, low, high = float(result["prediction_before"]), target["low"], target["high"]
    if not off_target(before, low, high):
        return STAY
    return UP if before < low else DOWN


def _read(prediction: Prediction) -> tuple[Frames, Frames]:
    factual, final = prediction.factual(), prediction.counterfactual()
    if factual.shape != final.shape:
        raise damaged(prediction.folder, "factual and counterfactual have different sizes")
    return factual, final


def _common(size: tuple[int, ...]) -> tuple[int, ...]:
    frames, height, width = size
    factor = min(1.0, LARGEST / max(height, width))
    return frames, round(height * factor), round(width * factor)


def _change(prediction: Prediction, size: Floats, signed: Floats, masks: Mapping[str, Any]) -> Change:
    curve, total = size.mean(axis=(1, 2)), float(size.sum(dtype=np.float64))
    most = int(curve.argmax())
    inside = {
        name: math.nan if mask is None or not total else float(size[mask].sum(dtype=np.float64)) / total
        for name, mask in masks.items()
    }
    return Change(
        id=prediction.id,
        asked=asked_of(prediction.result),
        status=prediction.status,
        levels=float(size.mean(dtype=np.float64)),
        most=most,
        second=most / float(prediction.result["fps"]),
        film=cell_means(signed, (QUARTERS, CELLS, CELLS)),
        inside=inside,
        covered={name: math.nan if mask is None else float(mask.mean()) for name, mask in masks.items()},
    )
