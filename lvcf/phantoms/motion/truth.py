"""What is true of a counterfactual of a simulated motion clip: the clip under do(action), and what the pixels say."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvcf.data.ssv2 import window
from lvcf.data.video import Frames
from lvcf.metrics.plausible import sharpness
from lvcf.metrics.region import region_precision
from lvcf.metrics.truth import l1_levels, mask_iou, recovery, truly_changed
from lvcf.phantoms.manifold import changed, find_nearest, plausible
from lvcf.phantoms.motion.draw import SIZE, Array
from lvcf.phantoms.motion.ruler import Motion, measure
from lvcf.phantoms.motion.set import LABELS
from lvcf.phantoms.motion.simulate import ACTIONS, MotionFactors, centres, frame_times, render
from lvcf.phantoms.motion.world import MotionWorld
from lvcf.phantoms.resized import at_size, fits_ruler
from lvcf.phantoms.set_folder import known_class

LIMIT = 17.2
"""Levels to the nearest clip of the phantom; 95 % of true clips through the shipped VAE stay below.

Measured by benchmarks/manifold_limit.py."""


class MotionTruth:
    """The true counterfactual of one clip, and comparisons with it.

    Attributes:
        ruled: the figures that are measured in the phantom's own pixels.

    Args:
        factors: of the factual clip.
        result: its ``result.json``; the target's text names a class of the simulated set.

    Raises:
        UserError: the phantom shows no such action.
    """

    ruled: tuple[str, ...] = (
        "truth/pixel_class",
        "truth/pixel_class_of_truth",
        "truth/pixel_class_before",
        "truth/path_error",
        "truth/ruler_error",
        "truth/object_seen",
        "plausible/off_manifold",
        "plausible/off_manifold_raw",
        "plausible/on_manifold",
        "plausible/strict_class",
    )

    def __init__(self, factors: MotionFactors, result: dict[str, Any]) -> None:
        self.factors = factors
        self.target = list(ACTIONS)[LABELS.index(known_class(result["target"]["text"], LABELS))]
        grid = frame_times()
        self.times: Array = grid[window(grid, int(result["frames"]), float(result["fps"]))]
        self.curves: dict[str, Any] = {}

    @cached_property
    def video(self) -> Frames:
        """The clip under do(action = target) ``(T, 112, 112, 3)``; the set's video codec is lossless."""
        return render(self.factors.do(action=self.target), self.times)

    def compare(self, factual: Frames, final: Frames, mask: NDArray[np.bool_]) -> dict[str, float]:
        """Truth metrics of a final RGB clip ``(T, H, W, 3)`` with its mask; fills ``curves`` if the ruler fits."""
        truth = at_size(self.video, factual.shape[1])
        region = changed(factual, final, truth)
        unchanged = (factual == truth).all(axis=-1)
        return {
            **recovery(final, factual, truth),
            "truth/l1_levels": l1_levels(final, truth),
            **(self._measured(factual, final, truth, region) if fits_ruler(factual) else {}),
            "plausible/sharpness": sharpness(final, truth, region),
            "truth/mask_iou": mask_iou(mask, factual, truth),
            "truth/mask_precision": region_precision(mask, truly_changed(factual, truth)),
            "leakage/unchanged_levels": l1_levels(final[unchanged], truth[unchanged]),
            "leakage/brightness_levels": abs(float(final.mean()) - float(truth.mean())),
        }

    def _measured(self, factual: Frames, final: Frames, truth: Frames, region: NDArray[np.bool_]) -> dict[str, float]:
        """What the ruler says of the three clips, and how near the final one is to a clip of the phantom."""
        clips = (factual, final, truth)
        of_factual, of_final, of_truth = (measure(clip, self.factors, self.times) for clip in clips)
        self.curves = _curves({"factual": of_factual, "counterfactual": of_final, "truth": of_truth})
        path = centres(self.factors.do(action=self.target), self.times)
        values = (
            float(of_final.action == self.target),
            float(of_truth.action == self.target),
            float(of_factual.action == self.target),
            _apart(of_final.track, of_truth.track),
            _apart(of_truth.track, path),
            float(of_final.seen.mean()),
        )
        nearest = find_nearest(MotionWorld(self.factors, self.times), final, region)
        near = plausible(nearest, LIMIT, lambda factors: factors.action == self.target)
        return dict(zip(self.ruled, (*values, *near.values()), strict=True))


def _apart(one: Array, other: Array) -> float:
    """Mean distance in pixels of two tracks."""
    return float(np.linalg.norm(one - other, axis=1).mean())


def _curves(measured: dict[str, Motion]) -> dict[str, Any]:
    """Where the object's middle is in every frame, along the axis on which it should move most."""
    upright = bool(np.ptp(measured["truth"].track[:, 1]) > np.ptp(measured["truth"].track[:, 0]))
    places = {name: SIZE - motion.track[:, 1] if upright else motion.track[:, 0] for name, motion in measured.items()}
    rounded = {name: np.round(place, 2).tolist() for name, place in places.items()}
    return {"what": "object's place", "unit": "px from the bottom" if upright else "px from the left", **rounded}
