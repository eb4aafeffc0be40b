"""Drawing the motion phantom: shaded shapes with soft edges on a square image, RGB in [0, 1].

Every ``draw_*`` of a body returns its colours ``(112, 112, 3)`` and its coverage ``(112, 112)`` for :func:`blend`.
Outlines are signed distances in pixels (negative inside), so that moving by a fraction of a pixel shows.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Array = NDArray[np.float64]

SIZE = 112
"""Height and width of a frame, in pixels."""
SHAPES = ("ball", "box", "can", "cup")
TEXTURES = ("plain", "striped", "dotted")
WALLS = ("plain", "striped", "checked")
COLOURS = {"red": 0.0, "orange": 0.075, "yellow": 0.14, "green": 0.36, "blue": 0.59, "purple": 0.77}
"""Hues."""
_ROWS, _COLUMNS = np.mgrid[0:SIZE, 0:SIZE].astype(np.float64)


@dataclass(frozen=True)
class Look:
    """An object's shape, texture, hue, and where its light comes from (-1 left to 1 right)."""

    shape: str
    texture: str
    hue: float
    light: float


def hue(value: float, saturation: float, brightness: float) -> Array:
    """A colour ``(3,)`` in [0, 1]."""
    return np.array(colorsys.hsv_to_rgb(value % 1.0, saturation, brightness))


def blend(image: Array, body: Array, alpha: Array) -> Array:
    """A body over an image."""
    return np.asarray(image + alpha[..., None] * (body - image))


def _coverage(distance: Array) -> Array:
    return np.clip(0.5 - distance, 0.0, 1.0)


def _rounded_box(u: Array, v: Array, half_u: Array | float, half_v: float, radius: float) -> Array:
    """Signed distance to a box around the origin with rounded corners."""
    du, dv = np.abs(u) - half_u + radius, np.abs(v) - half_v + radius
    outside = np.hypot(np.maximum(du, 0.0), np.maximum(dv, 0.0))
    return np.asarray(outside + np.minimum(np.maximum(du, dv), 0.0) - radius)


def _ellipse(u: Array, v: Array, half_u: float, half_v: float) -> Array:
    """Distance to an ellipse's outline, to first order."""
    level = np.hypot(u / half_u, v / half_v)
    return np.asarray((level - 1.0) * level / np.maximum(np.hypot(u / half_u**2, v / half_v**2), 1e-6))


def _capsule(x: Array, y: Array, start: tuple[float, float], end: tuple[float, float], radius: float) -> Array:
    """Signed distance to a thick line with round ends."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    along = np.clip(((x - start[0]) * dx + (y - start[1]) * dy) / (dx * dx + dy * dy), 0.0, 1.0)
    return np.asarray(np.hypot(x - start[0] - along * dx, y - start[1] - along * dy) - radius)


def draw_object(look: Look, x: float, base: float, size: float) -> tuple[Array, Array]:
    """An object of half-width ``size`` that stands on row ``base`` with its middle on column ``x``."""
    u, v = _COLUMNS - x, _ROWS - (base - size)
    shaded = {"ball": _ball, "box": _box, "can": _can, "cup": _cup}[look.shape]
    outline, shade, painted = shaded(u / size, v / size, size, look.light)
    body, pale = hue(look.hue, 0.82, 0.92), hue(look.hue, 0.22, 1.0)
    pattern = _pattern(look.texture, u / size, v / size, size)[..., None] * painted[..., None]
    colour = (body + pattern * (pale - body)) * np.minimum(shade, 1.0)[..., None]
    return np.clip(colour + np.maximum(shade - 1.0, 0.0)[..., None], 0.0, 1.0), _coverage(outline)


def _pattern(texture: str, u: Array, v: Array, size: float) -> Array:
    """Where the pale second colour is, 0-1."""
    if texture == "striped":
        return np.clip(0.5 + (0.22 - np.abs(v - 0.1)) * size, 0.0, 1.0)
    if texture == "dotted":
        row = np.round(v / 0.55)
        du, dv = u + 0.275 * (row % 2), v - 0.55 * row
        du = du - 0.55 * np.round(du / 0.55)
        return np.clip(0.5 + (0.17 - np.hypot(du, dv)) * size, 0.0, 1.0)
    return np.zeros_like(u)


def _ball(u: Array, v: Array, size: float, light: float) -> tuple[Array, Array, Array]:
    """Outline in pixels, shade (above 1: highlight) and where the texture shows; so all shapes."""
    z = np.sqrt(np.clip(1.0 - u**2 - v**2, 0.0, None))
    lit = 0.5 * light * u - 0.55 * v + 0.65 * z
    highlight = np.exp(-((u - 0.38 * light) ** 2 + (v + 0.42) ** 2) / 0.045)
    return (np.hypot(u, v) - 1.0) * size, 0.5 + 0.5 * np.clip(lit, 0.0, 1.0) + 0.5 * highlight, np.ones_like(u)


def _box(u: Array, v: Array, size: float, light: float) -> tuple[Array, Array, Array]:
    """A front face and a lighter top face that narrows to the back."""
    half = 0.95 - 0.2 * np.clip((-0.5 - v) / 0.4, 0.0, 1.0)
    outline = _rounded_box(u, v - 0.05, half, 0.95, 0.08) * size
    top = np.clip(0.5 + (-0.52 - v) * size, 0.0, 1.0)
    front = 0.78 + 0.08 * light * u - 0.08 * v
    return outline, front * (1.0 - top) + 1.12 * top, 1.0 - top


def _can(u: Array, v: Array, size: float, light: float) -> tuple[Array, Array, Array]:
    """An upright cylinder."""
    outline = np.minimum(
        _rounded_box(u, v + 0.02, 0.74, 0.8, 0.02), np.minimum(_ellipse(u, v - 0.78, 0.74, 0.2), _lid(u, v, 0.74))
    )
    top = np.clip(0.5 - _lid(u, v, 0.74) * size, 0.0, 1.0)
    return outline * size, _round_side(u / 0.74, light) * (1.0 - top) + 1.15 * top, 1.0 - top


def _cup(u: Array, v: Array, size: float, light: float) -> tuple[Array, Array, Array]:
    """An open, tapering cup with a handle."""
    width = 0.72 - 0.12 * np.clip((v + 0.8) / 1.6, 0.0, 1.0)
    wall = np.minimum(_rounded_box(u + 0.12, v + 0.02, width, 0.8, 0.02), _ellipse(u + 0.12, v - 0.78, 0.6, 0.18))
    body = np.minimum(wall, _lid(u + 0.12, v, 0.72))
    handle = np.abs(_ellipse(u - 0.58, v - 0.02, 0.32, 0.42)) - 0.1
    inside = np.clip(0.5 - _ellipse(u + 0.12, v + 0.8, 0.62, 0.13) * size, 0.0, 1.0)
    shade = _round_side((u + 0.12) / 0.74, light) * (1.0 - inside) + 0.4 * inside
    return np.minimum(body, handle) * size, shade, (1.0 - inside) * (body < 0.0)


def _lid(u: Array, v: Array, half: float) -> Array:
    return _ellipse(u, v + 0.8, half, 0.2)


def _round_side(across: Array, light: float) -> Array:
    """Shade of an upright cylinder's side, with a soft streak of light."""
    nearest = np.clip(across, -1.0, 1.0)
    streak = 0.28 * np.exp(-((nearest - 0.45 * light) ** 2) / 0.03)
    return np.asarray(0.55 + 0.37 * np.sqrt(1.0 - nearest**2) + 0.12 * light * nearest + streak)


def draw_room(horizon: float, wall: str, wall_hue: float, wood: float, light: float, grain_seed: int) -> Array:
    """The wall above row ``horizon`` and the table below it."""
    across = (_COLUMNS / SIZE - 0.5) * light
    paper = hue(wall_hue, 0.2, 0.8) * (0.92 + 0.12 * (_ROWS / SIZE) + 0.16 * across + _wallpaper(wall))[..., None]
    dark, pale = np.array([0.42, 0.27, 0.17]), np.array([0.86, 0.72, 0.55])
    grain = gaussian_filter(np.random.default_rng(grain_seed).standard_normal((SIZE, SIZE)), (1.0, 9.0))
    near = np.clip((_ROWS - horizon) / (SIZE - horizon), 0.0, 1.0)
    shade = 0.86 + 0.2 * near + 0.2 * across + 0.05 * grain / grain.std()
    board = (dark + wood * (pale - dark)) * shade[..., None]
    edge = 0.25 * np.exp(-(((_ROWS - horizon) / 1.6) ** 2))
    return np.asarray(blend(paper, board, _coverage(horizon - _ROWS)) * (1.0 - edge)[..., None])


def _wallpaper(wall: str) -> Array:
    """Relative brightness of the wall's pattern around 0."""
    across, down = np.sin(2.0 * np.pi * _COLUMNS / 16.0), np.sin(2.0 * np.pi * _ROWS / 16.0)
    pattern = {"plain": 0.0 * across, "striped": across, "checked": across * down}[wall]
    return np.asarray(0.035 * np.tanh(3.0 * pattern))


def draw_shadow(image: Array, x: float, base: float, height: float, size: float, light: float) -> Array:
    """The image with an object's shadow on the table: fainter and wider the higher the object is."""
    wide = size * (1.0 + height / 70.0)
    du = (_COLUMNS - x + light * (0.35 * size + 0.2 * height)) / (1.15 * wide)
    dv = (_ROWS - base + 0.1 * size) / (0.34 * wide)
    dark = 0.5 * np.exp(-height / 30.0) * np.exp(-((du**2 + dv**2) ** 2))
    return np.asarray(image * (1.0 - dark)[..., None])


def draw_hand(x: float, y: float, arm: int, skin: float, sleeve: float) -> tuple[Array, Array]:
    """A hand whose fingers end around column ``x`` and row ``y``, with its arm towards -1 (left) or 1 (right)."""
    u, v = (_COLUMNS - x) * arm, _ROWS - y
    fingers = [_capsule(u, v, (-3.5 + abs(k - 1.3), 4.4 * k - 6.0), (7.0, 3.6 * k - 4.5), 2.4) for k in range(4)]
    palm = _capsule(u, v, (8.0, 1.0), (12.0, 3.0), 7.2)
    wrist = _capsule(u, v, (12.0, 3.0), (26.0, 9.0), 5.4)
    cuff = _capsule(u, v, (25.0, 8.5), (120.0, 44.0), 7.6)
    flesh = np.minimum(np.minimum.reduce(fingers), np.minimum(palm, wrist))
    light_skin, dark_skin = np.array([0.96, 0.79, 0.68]), np.array([0.45, 0.29, 0.21])
    tone = (light_skin + skin * (dark_skin - light_skin)) * _rounded(flesh, 5.0)[..., None]
    for lower, upper in zip(fingers[1:], fingers, strict=False):
        tone = tone * (1.0 - 0.22 * np.exp(-((lower - upper) ** 2) / 1.5) * (u < 9.0))[..., None]
    cloth = hue(sleeve, 0.5, 0.62) * _rounded(cuff, 7.0)[..., None]
    return blend(tone, cloth, _coverage(cuff)), _coverage(np.minimum(flesh, cuff))


def _rounded(distance: Array, depth: float) -> Array:
    """Shade of a limb: darker towards its outline."""
    return 0.72 + 0.28 * np.sqrt(np.clip(-distance / depth, 0.0, 1.0))
