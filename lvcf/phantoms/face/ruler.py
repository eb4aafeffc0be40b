"""Measuring a phantom face's action units in the pixels, without any network.

The person is known (identity, light and pose come from the clip's factors, which no intervention on the expression
changes); the action units are those with which that person, painted again, differs least from the frame: an active
appearance model (Cootes, Edwards and Taylor 1998) whose appearance is exact.  Gauss-Newton steps begin at the nearest
of the seven expressions; the expression named is the prototype nearest to the measured units.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from lvcf.data.ferv39k import EXPRESSIONS
from lvcf.phantoms.face.factors import ACTION_UNITS, APEX, FaceFactors
from lvcf.phantoms.face.geometry import Pose
from lvcf.phantoms.face.simulate import Painter

Array = NDArray[np.float64]
Frames = NDArray[np.uint8]

_COARSE, _FINE = 2.0, 1.2
"""Blur in pixels under which frames are compared, at the start and in the two steps that follow."""
_SOFTNESS = (0.0, 1.0, 1.6, 2.2, 3.0, 4.0)
"""How blurred the frame itself may be, in pixels: a decoder's clips are softer than the painter's."""
_STEPS = 2
_DIFFERENCE = 0.08
"""Change of an action unit for a finite difference."""
_RIDGE = 2e-4
"""Weight of a unit's change against the mean squared difference of the colours in 0-1: unseen units stay put."""
_RANGE = (-0.15, 1.35)
_GAINS = np.arange(0.35, 1.21, 0.05)
"""Intensities at which a prototype may be met; a face nearer to none than to the least of them is neutral."""
_START_GAINS = (0.85, 0.45)


@dataclass
class Measurement:
    """What the pixels of one frame say.

    Attributes:
        action_units: measured, ``(16,)`` in the order of ``ACTION_UNITS``, about 0-1.
        residual: root mean square difference in levels of 255 that the units leave in the face.
    """

    action_units: Array
    residual: float

    @property
    def distances(self) -> dict[str, float]:
        """Root mean square distance of the units to every expression, at its best intensity."""
        return {name: _distance(self.action_units, APEX[name]) for name in EXPRESSIONS}

    @property
    def expression(self) -> str:
        """The nearest expression."""
        distances = self.distances
        return min(distances, key=lambda name: distances[name])


def measure(frame: Frames, factors: FaceFactors, time: float) -> Measurement:
    """Measure the RGB ``frame`` ``(112, 112, 3)`` that shows ``factors``' person at ``time`` seconds.

    Of ``factors`` only what an intervention on the expression leaves alone is read.
    """
    painter = Painter(factors)
    window = _window(painter, time)
    units, softness = _start(painter, window, frame / 255.0, time)
    wanted, blur = _features(frame / 255.0, window, _FINE), float(np.hypot(_FINE, softness))

    def looks(units: Array) -> Array:
        return _features(painter.frame(units, time), window, blur)

    for _ in range(_STEPS):
        here = looks(units)
        columns = [looks(units + step) - here for step in _DIFFERENCE * np.eye(len(ACTION_UNITS))]
        slope = np.stack(columns, axis=1) / _DIFFERENCE
        square = slope.T @ slope / len(here)
        square += _RIDGE * np.eye(len(units))
        units = np.clip(units + np.linalg.solve(square, slope.T @ (wanted - here) / len(here)), *_RANGE)
    left = looks(units) - wanted
    return Measurement(units, float(255.0 * np.sqrt(np.mean(left**2))))


def _start(painter: Painter, window: NDArray[np.bool_], seen: Array, time: float) -> tuple[Array, float]:
    """The prototype and the frame's softness that differ least from what is ``seen``, compared coarsely."""
    wanted = _features(seen, window, _COARSE)
    best, nearest = np.inf, (np.zeros(len(ACTION_UNITS)), 0.0)
    for start in [gain * APEX[name] for gain in _START_GAINS for name in EXPRESSIONS]:
        image = painter.frame(start, time)
        for softness in _SOFTNESS:
            difference = _features(image, window, float(np.hypot(_COARSE, softness))) - wanted
            if (error := float(difference @ difference)) < best:
                best, nearest = error, (start, softness)
    return nearest


def _window(painter: Painter, time: float) -> NDArray[np.bool_]:
    """The pixels ``(112, 112)`` that the action units move: the face below the hairline."""
    x, y = painter.pose_grid(Pose.of(painter.factors, time))
    below = y > -24.0
    return np.asarray(below & (painter.face.radius(x, y, 0.0) < 0.97))


def _features(image: Array, window: NDArray[np.bool_], blur: float) -> Array:
    """The blurred colours in the window, flat, without each channel's mean: a change of light is no expression."""
    values = gaussian_filter(image, (blur, blur, 0.0))[window]
    return np.asarray((values - values.mean(axis=0)).ravel())


def _distance(units: Array, apex: Array) -> float:
    if not apex.any():
        return float(np.sqrt(np.mean(units**2)))
    return float(min(np.sqrt(np.mean((units - gain * apex) ** 2)) for gain in _GAINS))
