"""What is true of a counterfactual of a simulated face clip: the clip under do(expression), and what the pixels say."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvcf.data.ferv39k import EXPRESSIONS, window
from lvcf.data.video import Frames
from lvcf.metrics.plausible import LUMA, sharpness
from lvcf.metrics.region import region_precision
from lvcf.metrics.truth import CHANGED_LEVELS, l1_levels, mask_iou, recovery, truly_changed
from lvcf.phantoms.face.factors import FaceFactors
from lvcf.phantoms.face.ruler import Measurement, measure
from lvcf.phantoms.face.set import frame_times, through_codec
from lvcf.phantoms.face.simulate import render
from lvcf.phantoms.face.world import FaceWorld
from lvcf.phantoms.manifold import changed, find_nearest, plausible
from lvcf.phantoms.resized import at_size, fits_ruler
from lvcf.phantoms.set_folder import known_class

Gray = NDArray[np.uint8]


LIMIT = 11.5
"""Levels to the nearest clip of the phantom; 95 % of true clips through the shipped VAE stay below.

Measured by benchmarks/manifold_limit.py."""


class FaceTruth:
    """The true counterfactual of one clip, and comparisons with it.

    Attributes:
        ruled: the figures that are measured in the phantom's own pixels.

    Args:
        factors: of the factual clip.
        result: its ``result.json``; the target's text names an expression.

    Raises:
        UserError: the phantom shows no such expression.
    """

    ruled: tuple[str, ...] = (
        "truth/pixel_class",
        "truth/pixel_class_of_truth",
        "truth/action_unit_error",
        "plausible/off_manifold",
        "plausible/off_manifold_raw",
        "plausible/on_manifold",
        "plausible/strict_class",
    )

    def __init__(self, factors: FaceFactors, result: dict[str, Any]) -> None:
        self.factors = factors
        self.target = known_class(result["target"]["text"], EXPRESSIONS)
        grid = frame_times()
        self.times = grid[window(grid, int(result["frames"]), float(result["fps"]))]
        self.curves: dict[str, Any] = {}

    @cached_property
    def video(self) -> Frames:
        """The clip under do(expression = target), through the same codec as the set ``(T, H, W, 3)``."""
        return through_codec(render(self.factors.do(expression=self.target), self.times))

    def measure(self, clip: Frames) -> Measurement:
        """What a clip ``(T, H, W, 3)`` shows in its last frame, where an expression is at its apex."""
        return measure(clip[-1], self.factors, float(self.times[-1]))

    def compare(self, factual: Frames, final: Frames, mask: NDArray[np.bool_]) -> dict[str, float]:
        """Truth metrics of a final RGB clip ``(T, H, W, 3)``, mask ``(T, H, W)``; also fills ``curves``."""
        true = at_size(self.video, factual.shape[1])
        gray, gray_final, gray_truth = (to_gray(clip) for clip in (factual, final, true))
        self.curves = _curves(gray, gray_final, gray_truth)
        region = changed(factual, final, true)
        still = np.abs(gray_truth.astype(np.float64) - gray) <= CHANGED_LEVELS
        return {
            **recovery(gray_final, gray, gray_truth),
            "truth/l1_levels": l1_levels(final, true),
            **(self._measured(final, true, region) if fits_ruler(factual) else {}),
            "plausible/sharpness": sharpness(final, true, region),
            "truth/mask_iou": mask_iou(mask, gray, gray_truth),
            "truth/mask_precision": region_precision(mask, truly_changed(gray, gray_truth)),
            "leakage/unchanged_levels": float(np.abs(gray_final.astype(np.float64) - gray)[still].mean()),
            "leakage/brightness_levels": abs(float(final.mean()) - float(true.mean())),
        }

    def _measured(self, final: Frames, true: Frames, region: NDArray[np.bool_]) -> dict[str, float]:
        """What the ruler says of the final and the true clip, and how near the final one is to one of the phantom's."""
        of_final, of_truth = self.measure(final), self.measure(true)
        values = (
            float(of_final.expression == self.target),
            float(of_truth.expression == self.target),
            float(np.abs(of_final.action_units - of_truth.action_units).mean()),
        )
        nearest = find_nearest(FaceWorld(self.factors, self.times), final, region)
        near = plausible(nearest, LIMIT, lambda factors: factors.expression == self.target)
        return dict(zip(self.ruled, (*values, *near.values()), strict=True))


def to_gray(clip: Frames) -> Gray:
    """Brightness ``(T, H, W)`` of an RGB clip, by Rec. 601's weights."""
    return np.asarray(np.round(clip @ LUMA)).astype(np.uint8)


def _curves(factual: Gray, final: Gray, truth: Gray) -> dict[str, Any]:
    """Mean absolute difference of every frame to the clip's first: the expression's growth over the sway."""
    clips = {"factual": factual, "counterfactual": final, "truth": truth}
    growth = {name: np.abs(clip.astype(np.float64) - clip[0]).mean(axis=(1, 2)) for name, clip in clips.items()}
    return {
        "what": "change",
        "unit": "levels from the first frame",
        **{name: np.round(v, 2).tolist() for name, v in growth.items()},
    }
