"""The face phantom's age, gender, beard and baldness by name, and a ruler that reads them in the pixels.

The ruler is analysis by synthesis: the person (identity, light, pose) is known from the clip's factors, so every
combination of the four attributes is painted again, and the one that differs least from the frames is what they show.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from lvcf.data.face_attributes import ATTRIBUTES, combinations
from lvcf.phantoms.face.factors import FaceFactors
from lvcf.phantoms.face.simulate import render

Array = NDArray[np.float64]
Frames = NDArray[np.uint8]

OLD = 50.0
"""Years from which a person is called old."""
BALD = 0.35
"""Baldness from which a head is called bald."""
_SET: dict[str, dict[str, Any]] = {
    "age": {"young": 25.0, "old": 72.0},
    "gender": {"woman": "woman", "man": "man"},
    "beard": {"no": False, "yes": True},
    "baldness": {"no": 0.0, "yes": 0.85},
}
"""The factor that stands for a value where do() sets it."""
_BLURS = (1.2, 2.4)
"""Blurs in pixels under which frames are compared: a decoder's clips are softer than the painter's."""


def values_of(factors: FaceFactors) -> dict[str, str]:
    """The four attributes of a clip."""
    return {
        "age": "old" if factors.age >= OLD else "young",
        "gender": factors.gender,
        "beard": "yes" if factors.beard else "no",
        "baldness": "yes" if factors.baldness >= BALD else "no",
    }


def set_values(factors: FaceFactors, values: dict[str, str]) -> FaceFactors:
    """``do(values)``; what shows its value already keeps its exact factor, and still counts as set."""
    shown, kept = values_of(factors), {name: getattr(factors, name) for name in values}
    return factors.do(**{name: kept[name] if shown[name] == v else _SET[name][v] for name, v in values.items()})


@dataclass(frozen=True)
class Reading:
    """What the ruler says.

    Attributes:
        values: of the nearest combination.
        margins: of every attribute, 0-1: how much nearer that is than the nearest with another value of it.
    """

    values: dict[str, str]
    margins: dict[str, float]


def measure_attributes(frames: Frames, factors: FaceFactors, times: Array) -> Reading:
    """Measure the attributes in RGB ``frames`` ``(T, 112, 112, 3)`` that show ``factors``' person at ``times``.

    Of ``factors`` the attributes themselves are not believed, but where a value is the factual one, its factor is.  How
    grey the hair is, no word says: it is fitted, within what the mechanism gives at the painted age.
    """
    seen = [_soft(frames, blur) for blur in _BLURS]
    errors = [_error(seen, painted) for painted in _painted(factors, tuple(times.tolist()))]
    best = combinations()[int(np.argmin(errors))]
    margins = {}
    for name in ATTRIBUTES:
        other = min(e for e, values in zip(errors, combinations(), strict=True) if values[name] != best[name])
        margins[name] = 1.0 - min(errors) / other
    return Reading(best, margins)


@lru_cache(maxsize=1)  # the edits of one clip are measured one after the other
def _painted(factors: FaceFactors, times: tuple[float, ...]) -> list[list[tuple[Array, Array]]]:
    """Of every combination under every blur: the face with the least grey of its age, and what the most grey adds."""
    return [_shades(set_values(factors, values), np.array(times)) for values in combinations()]


def _shades(factors: FaceFactors, times: Array) -> list[tuple[Array, Array]]:
    ends = [factors.do(grey_noise=noise).grey for noise in (0.0, 1.0)]
    painted = {grey: render(factors.do(grey=grey), times) for grey in set(ends)}  # once where nobody is grey yet
    softened = [[_soft(painted[grey], blur) for grey in ends] for blur in _BLURS]
    return [(least, most - least) for least, most in softened]


def _error(seen: list[Array], painted: list[tuple[Array, Array]]) -> float:
    """Least mean squared error of a face with any grey that its age has, under any blurs."""
    return min(_distance(frames - least, grey) for least, grey in painted for frames in seen)


def _distance(point: Array, segment: Array) -> float:
    """Mean squared distance to the segment from 0: but for the brows, an image is linear in the hair's grey."""
    share = float(np.clip((point * segment).sum() / max(float((segment**2).sum()), 1e-9), 0.0, 1.0))
    return float(((point - share * segment) ** 2).mean())


def _soft(frames: Frames, blur: float) -> Array:
    return np.asarray(gaussian_filter(frames.astype(np.float32), (0.0, blur, blur, 0.0)))
