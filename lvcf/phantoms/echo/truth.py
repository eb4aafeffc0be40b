"""What is true of a counterfactual of a simulated echo clip: the clip under do(EF), and what the pixels say."""

from __future__ import annotations

import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvcf.data.video import Frames, clip_indices, read_video, write_mjpeg
from lvcf.metrics.region import region_precision
from lvcf.metrics.truth import l1_levels, mask_iou, recovery, truly_changed
from lvcf.phantoms.echo.ruler import Measurement, measure
from lvcf.phantoms.echo.set import frame_times, to_rgb
from lvcf.phantoms.echo.simulate import FPS, EchoFactors, Ventricle, render
from lvcf.phantoms.resized import at_size, fits_ruler

Gray = NDArray[np.uint8]


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
    )

    def __init__(self, factors: EchoFactors, result: dict[str, Any]) -> None:
        self.factors = factors
        low, high = result["target"]["low"], result["target"]["high"]
        self.target = float(np.clip(factors.ef, low, high))
        self.fps = float(result["fps"])
        self.frames = int(result["frames"])
        self.shape = Ventricle.of(factors)
        self.curves: dict[str, Any] = {}

    @cached_property
    def video(self) -> Frames:
        """The clip under do(EF = target), through the same video codec as the set ``(T, H, W, 3)``."""
        grid = frame_times()
        times = grid[clip_indices(grid, self.frames, self.fps)]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "true.avi"
            write_mjpeg(path, to_rgb(render(self.factors.do(ef=self.target), times)), FPS)
            return read_video(path).frames

    def compare(self, factual: Frames, final: Frames, mask: NDArray[np.bool_]) -> dict[str, float]:
        """Truth metrics of a final clip ``(T, H, W, 3)``, by its first channel; fills ``curves`` if the ruler fits."""
        true = at_size(self.video, factual.shape[1])
        ruled = self._measured(factual, final, true) if fits_ruler(factual) else {}
        factual, final, truth = (clip[..., 0] for clip in (factual, final, true))
        return {
            **recovery(final, factual, truth),
            "truth/l1_levels": l1_levels(final, truth),
            **ruled,
            "truth/mask_iou": mask_iou(mask, factual, truth),
            "truth/mask_precision": region_precision(mask, truly_changed(factual, truth)),
            "leakage/brightness_levels": abs(float(final.mean()) - float(truth.mean())),
        }

    def _measured(self, *clips: Frames) -> dict[str, float]:
        """What the ruler says of the factual, the final and the true clip."""
        of_factual, of_final, of_truth = (measure(clip[..., 0], self.shape) for clip in clips)
        self.curves = self._curves(of_factual, of_final, of_truth)
        values = (
            of_final.ef,
            of_truth.ef,
            abs(of_final.ef - of_truth.ef),
            abs(of_truth.ef - self.target),
            100.0 * abs(of_final.volume_ratio.max() / of_truth.volume_ratio.max() - 1.0),
            1.0 - _correlation(of_final.volume_ratio, of_truth.volume_ratio),
        )
        return dict(zip(self.ruled, values, strict=True))

    def _curves(self, factual: Measurement, final: Measurement, truth: Measurement) -> dict[str, Any]:
        curves = {"factual": factual.area, "counterfactual": final.area, "truth": truth.area}
        rounded = {name: np.round(area, 2).tolist() for name, area in curves.items()}
        return {"what": "ventricle area", "unit": "px^2", **rounded, "ed": truth.ed, "es": truth.es}


def _correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Pearson correlation of two volume curves: timing and phase of the beat; 0 for a flat curve."""
    if one.std() < 1e-9 or other.std() < 1e-9:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])
