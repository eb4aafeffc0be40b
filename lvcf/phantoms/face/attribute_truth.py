"""What is true of a face clip under do() on age, gender, beard or baldness: its causal model is known."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvcf.data.face_attributes import ATTRIBUTES
from lvcf.data.ferv39k import window
from lvcf.data.video import Frames
from lvcf.metrics.truth import l1_levels, mask_iou, recovery, truly_changed
from lvcf.phantoms.face import set as face
from lvcf.phantoms.face.attributes import set_values, values_of
from lvcf.phantoms.face.factors import FaceFactors
from lvcf.phantoms.face.set import frame_times, through_codec
from lvcf.phantoms.face.simulate import render
from lvcf.phantoms.resized import at_size
from lvcf.phantoms.truth import phantom_of


class AttributeTruth:
    """The true counterfactual of one clip, and comparisons with it.

    Args:
        factors: of the factual clip.
        result: its ``result.json``: the intervention, frames, fps and the clip's height.
        size: height and width of the clip.
    """

    def __init__(self, factors: FaceFactors, result: dict[str, Any], size: int) -> None:
        self.factors = set_values(factors, result["intervention"])
        self.size = size
        grid = frame_times()
        self.times = grid[window(grid, int(result["frames"]), float(result["fps"]))]

    @property
    def values(self) -> dict[str, str]:
        """The attributes' true values: descendants follow by the phantom's own mechanisms and this clip's noise."""
        return values_of(self.factors)

    @property
    def video(self) -> Frames:
        """The clip under the intervention, through the set's codec ``(T, H, W, 3)``."""
        return _rendered(self.factors, tuple(self.times.tolist()), self.size)

    def region(self, factual: Frames) -> NDArray[np.bool_]:
        """The voxels ``(T, H, W)`` that truly change."""
        return truly_changed(factual, self.video)

    def compare(self, factual: Frames, final: Frames, mask: NDArray[np.bool_]) -> dict[str, float]:
        """Truth metrics of a final clip ``(T, H, W, 3)`` with its mask ``(T, H, W)``."""
        return {
            **recovery(final, factual, self.video),
            "truth/l1_levels": l1_levels(final, self.video),
            "truth/l1_levels_of_factual": l1_levels(factual, self.video),
            "truth/mask_iou": mask_iou(mask, factual, self.video),
        }


@lru_cache(maxsize=2)  # the methods of one clip and intervention are compared with the same truth
def _rendered(factors: FaceFactors, times: tuple[float, ...], size: int) -> Frames:
    return at_size(through_codec(render(factors, np.array(times))), size)


def read_factors(root: Path) -> dict[str, FaceFactors]:
    """The factors of the face phantom's clips by name; empty for any other set."""
    return face.read_factors(root) if phantom_of(root) == "expression" else {}


def is_known(variables: dict[str, Any]) -> bool:
    """Whether the phantom's causal model has all these variables."""
    return set(variables) <= set(ATTRIBUTES)
