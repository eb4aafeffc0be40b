"""Measuring the ventricle in a phantom clip's pixels, without any network.

In every frame the outline's width and length are chosen so that the brightness steps up most across it, from blood to
wall, with the annulus' bright hinges at its end (an integro-differential operator, as Daugman's 1993 for the iris).
Where the heart lies (apex, axis, end-diastolic size) comes from the clip's factors, which no intervention changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from lvcf.phantoms.echo.simulate import ANNULUS, SHAPE_AREA, Array, Ventricle, bullet

WIDTHS = np.arange(0.34, 1.26, 0.02)
LENGTHS = np.arange(0.60, 1.16, 0.02)
"""Candidate ratios to the end-diastolic width and length."""
_SHARES = np.linspace(0.04, 0.88, 24)
_DEPTHS = np.array([1.0, 2.0, 3.0])
_HINGE_WEIGHT = 0.2
_PRIOR_WEIGHT = 0.6
"""Weight of the squared distance (in logarithms) from the physiological split between width and length."""


@dataclass
class Measurement:
    """What the pixels say.

    Attributes:
        area: the ventricle's area per frame in square pixels ``(T,)``.
        volume_ratio: volume over the factors' end-diastolic volume per frame ``(T,)``.
    """

    area: Array
    volume_ratio: Array

    @property
    def ef(self) -> float:
        """Ejection fraction in percent between the clip's largest and smallest volume."""
        return float(100.0 * (1.0 - self.volume_ratio.min() / self.volume_ratio.max()))

    @property
    def ed(self) -> int:
        """Frame of the largest volume."""
        return int(self.volume_ratio.argmax())

    @property
    def es(self) -> int:
        """Frame of the smallest volume."""
        return int(self.volume_ratio.argmin())


def measure(frames: NDArray[np.uint8], shape: Ventricle) -> Measurement:
    """Measure gray frames ``(T, H, W)`` of a ventricle whose end-diastolic place and size are ``shape``."""
    inner, outer, hinges = _sample_points(shape)
    widths, lengths = np.array([_fit(frame, inner, outer, hinges) for frame in frames]).T
    area = SHAPE_AREA * 2.0 * shape.width * shape.length * widths * lengths
    return Measurement(area=area, volume_ratio=widths**2 * lengths)


def _sample_points(shape: Ventricle) -> tuple[Array, Array, Array]:
    """Image coordinates (row, column) just inside and outside every candidate outline, and of its hinges.

    Shapes ``(2, W, L, points)``.
    """
    width = shape.width * WIDTHS[:, None, None]
    length = shape.length * LENGTHS[None, :, None]
    a = length * _SHARES + 0.0 * width
    u = width * bullet(_SHARES) + 0.0 * length
    slope = np.gradient(bullet(_SHARES), _SHARES) * width / length
    norm = np.sqrt(1.0 + slope**2)
    normal_a, normal_u = -slope / norm, 1.0 / norm
    rings = []
    for sign in (-1.0, 1.0):
        ring = [(a + sign * d * normal_a, side * (u + sign * d * normal_u)) for d in _DEPTHS for side in (-1.0, 1.0)]
        rings.append(np.concatenate([np.stack(shape.to_image(x, y)[::-1]) for x, y in ring], axis=-1))
    # the annulus lies between the contracting ventricle and the filling atrium, and so does its width
    hinge_u = ANNULUS * 0.5 * (width + 1.05 * shape.width) * np.ones_like(length) + 2.0
    hinge_a = length * np.ones_like(width)
    hinges = [np.stack(shape.to_image(hinge_a, side * hinge_u)[::-1]) for side in (-1.0, 1.0)]
    return rings[0], rings[1], np.concatenate(hinges, axis=-1)


def _fit(frame: NDArray[np.uint8], inner: Array, outer: Array, hinges: Array) -> tuple[float, float]:
    """The best width and length ratio for one frame, refined between the candidates."""
    image = gaussian_filter(frame.astype(np.float64), 0.7)
    inside, outside, bright = (
        map_coordinates(image, p, order=1, mode="nearest").mean(-1) for p in (inner, outer, hinges)
    )
    level = max(float(outside.max()), 1.0)
    score = (outside - inside + _HINGE_WEIGHT * bright) / level - _PRIOR_WEIGHT * _implausibility()
    i, j = np.unravel_index(int(score.argmax()), score.shape)
    return (
        float(WIDTHS[i] + 0.02 * _peak_offset(score[:, j], int(i))),
        float(LENGTHS[j] + 0.02 * _peak_offset(score[i, :], int(j))),
    )


@lru_cache(maxsize=1)
def _implausibility() -> Array:
    """(log length - log(volume) / 5)^2 of every candidate; see :func:`lvcf.phantoms.echo.simulate.deformation`."""
    log_width, log_length = np.log(WIDTHS)[:, None], np.log(LENGTHS)[None, :]
    difference: Array = log_length - 0.2 * (2.0 * log_width + log_length)
    return difference**2


def _peak_offset(score: Array, i: int) -> float:
    """Vertex of the parabola through a maximum and its neighbours, in candidates; 0 at an end."""
    if i in (0, len(score) - 1):
        return 0.0
    left, centre, right = score[i - 1 : i + 2]
    return float(0.5 * (left - right) / (left - 2.0 * centre + right))
