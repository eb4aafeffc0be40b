"""What is true of a counterfactual of a simulated echo clip: the clip under do(EF), and what the pixels say."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvcf.data.video import Frames, clip_indices
from lvcf.metrics.plausible import sharpness
from lvcf.metrics.region import region_precision
from lvcf.metrics.truth import l1_levels, mask_iou, recovery, truly_changed
from lvcf.phantoms.echo.ruler import Measurement, measure
from lvcf.phantoms.echo.set import frame_times, through_codec
from lvcf.phantoms.echo.simulate import EchoFactors, Ventricle, render
from lvcf.phantoms.echo.world import EchoWorld
from lvcf.phantoms.manifold import changed, find_nearest, plausible
from lvcf.phantoms.resized import at_size, fits_ruler

Gray = NDArray[np.uint8]


LIMIT = 13.3
"""Levels to the nearest clip of the phantom; 95 % of true clips through the shipped VAE stay below.

Measured by benchmarks/manifold_limit.py."""


class EchoTruth:
    """The true counterfactual of one clip, and comparisons with it.

    Attributes:
        ruled: the figures that are measured in the phantom's own pixels.

    Args:
        factors: of the factual clip.
        result: its ``result.json``; the target's edge nearest to the factual EF is what is true.
    """

    ruled: tuple[str, ...] = (
        "truth/pixel_ef",
        "truth/pixel_ef_of_truth",
        "truth/pixel_ef_error",
        "truth/ruler_error",
        "leakage/edv_percent",
        "leakage/beat_correlation_loss",
        "plausible/off_manifold",
        "plausible/off_manifold_raw",
        "plausible/on_manifold",
        "plausible/nearest_ef_error",
    )

    def __init__(self, factors: EchoFactors, result: dict[str, Any]) -> None:
        self.factors = factors
        low, high = result["target"]["low"], result["target"]["high"]
        self.target = float(np.clip(factors.ef, low, high))
        grid = frame_times()
        self.times = grid[clip_indices(grid, int(result["frames"]), float(result["fps"]))]
        self.shape = Ventricle.of(factors)
        self.curves: dict[str, Any] = {}

    @cached_property
    def video(self) -> Frames:
        """The clip under do(EF = target), through the same video codec as the set ``(T, H, W, 3)``."""
        return through_codec(render(self.factors.do(ef=self.target), self.times))

    def compare(self, factual: Frames, final: Frames, mask: NDArray[np.bool_]) -> dict[str, float]:
        """Truth metrics of a final clip ``(T, H, W, 3)``, by its first channel; fills ``curves`` if the ruler fits."""
        true = at_size(self.video, factual.shape[1])
        region = changed(factual, final, true)
        ruled = self._measured(factual, final, true, region) if fits_ruler(factual) else {}
        sharp = sharpness(final, true, region)
        factual, final, truth = (clip[..., 0] for clip in (factual, final, true))
        return {
            **recovery(final, factual, truth),
            "truth/l1_levels": l1_levels(final, truth),
            **ruled,
            "plausible/sharpness": sharp,
            "truth/mask_iou": mask_iou(mask, factual, truth),
            "truth/mask_precision": region_precision(mask, truly_changed(factual, truth)),
            "leakage/brightness_levels": abs(float(final.mean()) - float(truth.mean())),
        }

    def _measured(self, factual: Frames, final: Frames, true: Frames, region: NDArray[np.bool_]) -> dict[str, float]:
        """What the ruler says of the three clips, and how near the final one is to a clip of the phantom."""
        of_factual, of_final, of_truth = (measure(clip[..., 0], self.shape) for clip in (factual, final, true))
        self.curves = self._curves(of_factual, of_final, of_truth)
        values = (
            of_final.ef,
            of_truth.ef,
            abs(of_final.ef - of_truth.ef),
            abs(of_truth.ef - self.target),
            100.0 * abs(of_final.volume_ratio.max() / of_truth.volume_ratio.max() - 1.0),
            1.0 - _correlation(of_final.volume_ratio, of_truth.volume_ratio),
        )
        world = EchoWorld(self.factors, self.times, self.target)
        nearest = find_nearest(world, final, region)
        off = math.nan if nearest is None else abs(nearest.factors.ef - self.target)
        near = plausible(nearest, LIMIT) | {"plausible/nearest_ef_error": off}
        return dict(zip(self.ruled, (*values, *near.values()), strict=True))

    def _curves(self, factual: Measurement, final: Measurement, truth: Measurement) -> dict[str, Any]:
        curves = {"factual": factual.area, "counterfactual": final.area, "truth": truth.area}
        rounded = {name: np.round(area, 2).tolist() for name, area in curves.items()}
        return {"what": "ventricle area", "unit": "px^2", **rounded, "ed": truth.ed, "es": truth.es}


def _correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Pearson correlation of two volume curves: timing and phase of the beat; 0 for a flat curve."""
    if one.std() < 1e-9 or other.std() < 1e-9:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])
