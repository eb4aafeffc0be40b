"""Measuring the motion in a phantom clip's pixels, without any network.

In every frame the object is where its own picture explains the pixels most better than the empty scene does (a
likelihood ratio of two Gaussians with equal noise).  The object's looks and the scene come from the clip's factors,
which no intervention changes.  The clip shows the action one of whose paths lies nearest to the object's.  An action's
paths are those that the phantom could have drawn on this table: what its name leaves open (when, for how long, how far,
from which side) is no part of it, and how well that was kept is for the comparison with the true counterfactual.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from lvcf.data.video import Frames
from lvcf.phantoms.motion.draw import SIZE, Array, draw_object
from lvcf.phantoms.motion.simulate import ACTIONS, DELAY, DURATION, MIDDLE, REACH, MotionFactors, X, centres, scene

SCALES = (0.88, 0.94, 1.0)
"""Sizes to look for, from the far end of the way to the front."""
LEAST_CONTRAST = 0.3
"""A frame shows the object if this share of its difference to the scene behind it is there; blur takes some."""
LEAST_SEEN = 0.5
"""Share of the frames that have to show the object before its motion is told."""
UNCLEAR = 8.0
"""Mean distance in pixels to the nearest path beyond which the motion is none of them; an object at rest is 9.5 off."""
_BORDER = 6


@dataclass
class Motion:
    """What the pixels say.

    Attributes:
        track: column and row of the object's middle ``(T, 2)`` in pixels.
        seen: which frames show the object ``(T,)``.
        distances: mean distance in pixels, over the frames that show it, to the nearest path of every action.
        nearest: the way of doing every action that has this path.
    """

    track: Array
    seen: NDArray[np.bool_]
    distances: dict[str, float]
    nearest: dict[str, MotionFactors]

    @property
    def action(self) -> str:
        """The action shown; empty if it is none of them."""
        nearest = min(self.distances, key=lambda action: self.distances[action])
        clear = self.seen.mean() >= LEAST_SEEN and self.distances[nearest] <= UNCLEAR
        return nearest if clear else ""


def measure(frames: Frames, factors: MotionFactors, times: Array) -> Motion:
    """Measure RGB frames ``(T, 112, 112, 3)`` shown at ``times`` seconds of a scene with these exogenous factors.

    The action and the marker among the factors play no part.
    """
    track, seen = _follow(frames, factors)
    chosen = seen if seen.any() else np.ones_like(seen)
    distances, nearest = {}, {}
    for action in ACTIONS:
        ways = list(_ways(factors.do(action)))
        paths = np.stack([centres(way, times) for way in ways])
        apart = np.linalg.norm(track - paths, axis=-1)[:, chosen].mean(axis=1)
        distances[action], nearest[action] = float(apart.min()), ways[int(apart.argmin())]
    return Motion(track, seen, distances, nearest)


def _ways(factors: MotionFactors) -> Iterator[MotionFactors]:
    """An action done in every way that its name leaves open: at both ends and the middle of what the phantom draws.

    Where the second object is part of the action, it stays where it is: the side and the place are then the clip's own.
    """
    yield factors
    own = factors.action in ("closer", "away")
    sides, places = ((factors.side,), (factors.x,)) if own else ((-1, 1), _three(X))
    for side, x, delay, duration, reach in product(sides, places, _three(DELAY), _three(DURATION), _three(REACH)):
        yield replace(factors, side=side, x=x, delay=delay, duration=duration, reach=reach)


def _three(span: tuple[float, float]) -> tuple[float, float, float]:
    return span[0], sum(span) / 2.0, span[1]


def _follow(frames: Frames, factors: MotionFactors) -> tuple[Array, NDArray[np.bool_]]:
    """The object's place and whether it is there, for every frame."""
    video, still = frames / 255.0, np.clip(scene(factors), 0.0, 1.0)
    best = np.full(len(frames), -np.inf)
    track, contrast = np.zeros((len(frames), 2)), np.zeros(len(frames))
    for scale in SCALES:
        size = factors.size * scale
        body, alpha = draw_object(factors.look, MIDDLE, MIDDLE + size, size)
        inside = (alpha > 0.5).astype(np.float64)
        body = np.clip(body * factors.brightness, 0.0, 1.0) * inside[..., None]
        own = float((body**2).sum())
        whole = _matched((still**2).sum(-1), inside) - 2.0 * _matched_colours(still, body) + own
        for i, frame in enumerate(video):
            gain = _matched(((frame - still) ** 2 - frame**2).sum(-1), inside)
            gain += 2.0 * _matched_colours(frame, body) - own
            inner = gain[_BORDER : SIZE - _BORDER, _BORDER : SIZE - _BORDER]
            row, column = np.unravel_index(int(inner.argmax()), inner.shape)
            if inner[row, column] > best[i]:
                best[i], track[i] = inner[row, column], (column + _BORDER, row + _BORDER)
                contrast[i] = 0.5 + 0.5 * best[i] / whole[row + _BORDER, column + _BORDER]
    return track, contrast >= LEAST_CONTRAST


def _matched(image: Array, template: Array) -> Array:
    """Correlation of an image with a template whose middle is the image's, at every place ``(112, 112)``."""
    reach = 18
    middle = int(MIDDLE)
    window = template[middle - reach : middle + reach + 1, middle - reach : middle + reach + 1]
    return np.asarray(fftconvolve(image, window[::-1, ::-1], mode="same"))


def _matched_colours(image: Array, body: Array) -> Array:
    return np.asarray(sum(_matched(image[..., c], body[..., c]) for c in range(3)))
