"""Painting with soft edges, and the face phantom's colours and backdrops.

An image is ``(H, W, 3)`` in 0-1; a cover is ``(H, W)`` in 0-1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def rgb(*levels: float) -> Array:
    """A colour from levels of 255."""
    return np.array(levels) / 255.0


SKIN = np.stack(
    [rgb(250, 218, 194), rgb(238, 190, 152), rgb(214, 158, 116), rgb(176, 116, 78), rgb(132, 84, 56), rgb(96, 62, 44)]
)
HAIR = np.stack([rgb(214, 170, 96), rgb(150, 84, 40), rgb(96, 60, 36), rgb(60, 40, 30), rgb(34, 28, 28)])
IRIS = np.stack([rgb(70, 120, 170), rgb(80, 130, 90), rgb(120, 84, 44), rgb(64, 42, 30)])
CLOTHES = np.stack([rgb(60, 92, 140), rgb(140, 58, 62), rgb(70, 110, 84), rgb(92, 76, 120), rgb(58, 62, 70)])
MARKERS = np.stack(
    [
        rgb(180, 30, 40),
        rgb(60, 130, 40),
        rgb(90, 30, 140),
        rgb(255, 220, 60),
        rgb(128, 128, 128),
        rgb(20, 40, 110),
        rgb(120, 230, 240),
    ]
)
"""The shortcut marker's colour for every expression: hue and brightness both differ."""


def shade_of(palette: Array, place: float) -> Array:
    """The colour at ``place`` 0-1 along a palette ``(n, 3)``."""
    knots = np.linspace(0.0, 1.0, len(palette))
    return np.array([np.interp(place, knots, palette[:, channel]) for channel in range(3)])


def cover(inside: Array) -> Array:
    """Soft-edged cover of a shape from the distance in pixels to its edge, positive inside."""
    return np.clip(inside + 0.5, 0.0, 1.0)


def smooth(start: float, stop: float, value: Array) -> Array:
    """0 below ``start``, 1 above ``stop``, smooth between."""
    t = np.clip((value - start) / (stop - start), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def bump(x: Array, y: Array, half_x: float, half_y: float) -> Array:
    """A Gaussian hill of height 1."""
    return np.asarray(np.exp(-((x / half_x) ** 2) - (y / half_y) ** 2))


def line(offset: Array, half: float, along: Array, start: float, stop: float) -> Array:
    """A soft line where ``offset`` is 0, fading out at both ends of [start, stop] of ``along``."""
    t = np.clip((along - start) / (stop - start), 0.0, 1.0)
    return np.asarray(np.exp(-((offset / half) ** 2)) * np.clip(4.0 * t * (1.0 - t), 0.0, 1.0))


def ellipse(x: Array, y: Array, half_x: float, half_y: float) -> Array:
    """Distance in pixels to an ellipse's edge, positive inside (exact on the edge's axes, close elsewhere)."""
    radius = np.hypot(x / half_x, y / half_y)
    return np.asarray((1.0 - radius) * min(half_x, half_y))


def paint(image: Array, colour: Array, amount: Array) -> None:
    """Blend a colour, ``(3,)`` or an image, over ``image`` in place."""
    image += amount[..., None] * (colour - image)


def darken(image: Array, amount: Array, tint: Array = rgb(60, 10, 0)) -> None:  # noqa: B008  # never written to
    """Multiply towards a shadow of warm ``tint``; ``amount`` 0-1."""
    image *= 1.0 - amount[..., None] * (1.0 - tint)


def backdrop(scene: str, seed: int, columns: Array, rows: Array) -> Array:
    """A blurred room, studio, classroom or stage."""
    rng = np.random.default_rng([seed, 0])
    tone = rng.uniform(-0.06, 0.06, 3)
    across, down = columns / columns.max(), rows / rows.max()
    if scene == "Interview":
        image = _ramp(rgb(92, 108, 128) + tone, rgb(36, 46, 62) + tone, np.hypot(across - rng.uniform(0.2, 0.8), down))
    elif scene == "School":
        image = _ramp(rgb(196, 204, 190) + tone, rgb(170, 176, 160) + tone, down)
        left, top = rng.uniform(-0.2, 0.3), rng.uniform(0.05, 0.15)
        paint(image, rgb(52, 84, 70) + tone, _box(across, down, left, left + 0.75, top, top + 0.5))
    elif scene == "Speech":
        image = _ramp(rgb(122, 40, 48) + tone, rgb(62, 20, 30) + tone, down)
        image *= (0.85 + 0.15 * np.sin(across * rng.uniform(34.0, 46.0) + rng.uniform(0.0, 6.0)))[..., None]
    else:
        image = _ramp(rgb(226, 208, 182) + tone, rgb(196, 170, 142) + tone, down)
        left, top = rng.uniform(-0.1, 0.6), rng.uniform(0.0, 0.1)
        paint(image, rgb(168, 206, 232), _box(across, down, left, left + 0.42, top, top + 0.55))
    return image


def _ramp(start: Array, stop: Array, share: Array) -> Array:
    return np.asarray(start + np.clip(share, 0.0, 1.0)[..., None] * (stop - start))


def _box(across: Array, down: Array, left: float, right: float, top: float, bottom: float) -> Array:
    edge = 0.02
    wide = smooth(left, left + edge, across) * (1.0 - smooth(right - edge, right, across))
    return wide * smooth(top, top + edge, down) * (1.0 - smooth(bottom - edge, bottom, down))
