"""What is true of the clips of a simulated set, whichever phantom made it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lvcf.data.video import Frames
from lvcf.phantoms.echo import set as echo
from lvcf.phantoms.echo.truth import EchoTruth
from lvcf.phantoms.face import set as face
from lvcf.phantoms.face.truth import FaceTruth
from lvcf.phantoms.motion import set as motion
from lvcf.phantoms.motion.truth import MotionTruth
from lvcf.phantoms.set_folder import read_rows


class Truth(Protocol):
    """The true counterfactual of one clip, and comparisons with it.

    Attributes:
        ruled: the figures of ``compare`` that only clips of the phantom's own size have: rulers measure in its pixels.
        curves: what ``compare`` measured per frame: ``what``, ``unit``, ``factual``, ``counterfactual``, ``truth``;
            empty if nothing was.
    """

    ruled: tuple[str, ...]
    curves: dict[str, Any]

    @property
    def video(self) -> Frames:
        """The clip under the intervention, read back from the set's codec, at its size ``(T, 112, 112, 3)``."""

    def compare(self, factual: Frames, final: Frames, mask: NDArray[np.bool_]) -> dict[str, float]:
        """Truth metrics of a final clip ``(T, H, W, 3)`` of any size with its mask ``(T, H, W)``; fills ``curves``.

        The true clip is compared at that size, resized as the data sets resize.
        """


MakeTruth = Callable[[dict[str, Any]], Truth]
"""From a clip's ``result.json`` to what is true of it."""
PHANTOMS: dict[str, tuple[Callable[[Path], Mapping[str, Any]], Callable[..., Truth]]] = {
    "ef": (echo.read_factors, EchoTruth),
    "expression": (face.read_factors, FaceTruth),
    "action": (motion.read_factors, MotionTruth),
}
"""Readers of factors and makers of truth, by the factor that only this phantom has."""


def phantom_of(root: Path) -> str:
    """Which of ``PHANTOMS`` made a set; empty for a real one."""
    return next((column for row in read_rows(root)[:1] for column in row if column in PHANTOMS), "")


def read_truths(root: Path) -> dict[str, MakeTruth]:
    """Makers of truth by clip; empty for a real set."""
    if not (phantom := phantom_of(root)):
        return {}
    read, truth = PHANTOMS[phantom]
    return {name: partial(truth, factors) for name, factors in read(root).items()}
