"""The parts of a phantom face that an expression moves, each painted over the shaded head.

``x`` and ``y`` are material coordinates of every pixel (see :mod:`lvcf.phantoms.face.geometry`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lvcf.phantoms.face.canvas import bump, cover, darken, ellipse, line, paint, rgb, smooth
from lvcf.phantoms.face.factors import Units
from lvcf.phantoms.face.geometry import MEAN_RADIUS, Face, Mouth, brow_line, lid_heights

Array = NDArray[np.float64]

DARK = rgb(34, 20, 18)


@dataclass(frozen=True)
class Colours:
    """Of one person, each ``(3,)`` in 0-1, before light falls on them."""

    skin: Array
    hair: Array
    brow: Array
    iris: Array
    lip: Array


@dataclass(frozen=True)
class Place:
    """Where every pixel lies on the face ``(H, W)``, and how brightly it is lit."""

    x: Array
    y: Array
    light: Array

    def cut(self, image: Array, left: float, right: float, top: float, bottom: float) -> tuple[Array, Place]:
        """The part of ``image`` (a view) and of the place around a box on the face: parts are small, images are not."""
        inside = (self.x > left) & (self.x < right) & (self.y > top) & (self.y < bottom)
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        part = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        return image[part], Place(self.x[part], self.y[part], self.light[part])


def draw_eyes(
    image: Array, place: Place, face: Face, units: Units, closed: float, colours: Colours, lash: float
) -> None:
    """Both eyes: white, iris, pupil, glint, and the lids' edges."""
    upper, lower = lid_heights(face, units, closed)
    reach = 1.9 * face.eye_half
    for side in (-1.0, 1.0):
        middle = side * face.eye_x
        part, here = place.cut(image, middle - reach, middle + reach, face.eye_y - 16.0, face.eye_y + 14.0)
        x, y = here.x - middle, here.y - face.eye_y
        share = x / face.eye_half
        span = np.clip(1.0 - np.abs(share) ** 2.2, 0.0, 1.0)
        top, bottom = -upper * span + 0.06 * side * x, lower * span
        darken(part, 0.22 * bump(x, y + 1.0, face.eye_half * 1.25, 6.5))
        ball = _eyeball(x, y, face, np.clip(0.35 + 0.65 * here.light, 0.0, 1.1)[..., None], colours)
        ball *= (1.0 - 0.35 * np.exp(-np.clip(y - top, 0.0, None) / 1.2))[..., None]
        paint(part, ball, cover(y - top) * cover(bottom - y) * cover(face.eye_half - np.abs(x)))
        paint(part, DARK, (0.75 + 0.2 * lash) * line(y - top + 0.4, 0.9 + 0.35 * lash, share, -1.12, 1.12))
        darken(part, 0.35 * line(y - bottom - 0.4, 0.8, share, -1.05, 1.05))
        darken(part, 0.3 * line(y - top + 2.2 + 0.6 * units.lid_raise, 0.8, share, -1.05, 1.05))
        bag = 0.12 + 0.25 * units.cheek_raise + 0.15 * units.lid_tighten
        darken(part, bag * line(y - bottom - 2.6, 0.9, share, -0.95, 0.95))


def _eyeball(x: Array, y: Array, face: Face, light: Array, colours: Colours) -> Array:
    ball = rgb(244, 242, 240) * light
    radius = 0.56 * face.eye_half
    paint(ball, colours.iris * light, cover(ellipse(x, y + 0.3, radius, radius)))
    paint(ball, DARK, cover(ellipse(x, y + 0.3, 0.48 * radius, 0.48 * radius)))
    paint(ball, rgb(255, 255, 255), 0.9 * cover(ellipse(x + 1.4, y + 1.9, 0.9, 0.9)))
    return ball


def draw_brows(image: Array, place: Place, face: Face, units: Units, colours: Colours) -> None:
    """Both brows, thick inside and thin outside."""
    knots = np.linspace(0.0, 1.0, 25)
    along, height = brow_line(face, units, knots)
    part, place = place.cut(image, -30.0, 30.0, face.eye_y - 25.0, face.eye_y + 1.0)
    colour = colours.brow * np.clip(0.5 + 0.5 * place.light, 0.0, 1.0)[..., None]
    for side in (-1.0, 1.0):
        x = side * place.x
        share = np.interp(x, along, knots)
        thick = face.brow_thickness * (0.45 + 0.75 * np.sqrt(np.clip(1.0 - share, 0.0, 1.0)))
        offset = np.abs(place.y - np.interp(x, along, height))
        ends = cover(x - along[0]) * cover(along[-1] - x)
        paint(part, colour, 0.95 * cover(0.8 * thick - offset) * ends)


def draw_mouth(image: Array, place: Place, face: Face, units: Units, colours: Colours) -> None:
    """Inside, teeth, tongue, lips and the line between them."""
    mouth = Mouth.of(face, units)
    image, place = place.cut(image, -22.0, 22.0, face.mouth_y - 14.0, face.mouth_y + 24.0)
    x, y = place.x, place.y
    upper, lower, profile = mouth.edges(x)
    light = np.clip(0.3 + 0.75 * place.light, 0.0, 1.15)[..., None]
    within = cover(mouth.half - np.abs(x))
    gap = np.clip(lower - upper, 0.0, None)
    rounded = np.sqrt(profile)
    bow = 1.0 - 0.28 * np.exp(-((x / 1.8) ** 2))
    lip = colours.lip * light
    paint(image, lip * 0.9, cover(y - upper + mouth.upper_lip * rounded * bow) * cover(upper - y + 0.4) * within)
    paint(image, lip, cover(lower + mouth.lower_lip * rounded - y) * cover(y - lower + 0.4) * within)
    paint(image, rgb(255, 235, 230), 0.22 * bump(x, y - lower - 0.55 * mouth.lower_lip, 0.45 * mouth.half, 0.8))
    opened = cover(y - upper) * cover(lower - y) * within * np.clip(gap / 0.8, 0.0, 1.0)
    paint(image, _inside(place, mouth, units, np.clip(light, 0.0, 1.0)), opened)
    shut = np.clip(1.0 - gap / 1.2, 0.0, 1.0) * 0.85
    seam = line(y - 0.5 * (upper + lower), 0.85, x / mouth.half, -1.12, 1.12)
    paint(image, rgb(84, 30, 28) * (0.45 + 0.55 * colours.skin), shut * seam)
    for side in (-1.0, 1.0):
        corner = bump(x - side * mouth.half, y - mouth.corner, 1.5, 1.3)
        darken(image, (0.45 + 0.2 * units.corner_pull) * corner)
    darken(image, 0.28 * bump(x, y - mouth.lower - mouth.lower_lip - 1.8, 0.6 * mouth.half, 1.3))


def _inside(place: Place, mouth: Mouth, units: Units, light: Array) -> Array:
    """What an open mouth shows: dark, the tongue of a dropped jaw, the upper teeth, the lower ones of a grimace."""
    x, y = place.x, place.y
    upper, lower, _ = mouth.edges(x)
    gap = np.clip(lower - upper, 0.0, None)
    inside = np.broadcast_to(rgb(70, 18, 22), (*x.shape, 3)).copy()
    tongue = ellipse(x, y - mouth.lower - 0.5, 0.62 * mouth.half, 0.42 * max(mouth.lower - mouth.upper, 0.0) + 0.1)
    paint(inside, rgb(186, 84, 84), 0.9 * cover(tongue) * float(np.clip(2.0 * units.jaw_drop, 0.0, 1.0)))
    teeth = rgb(246, 242, 232) * light
    band = np.minimum(3.6 - 1.7 * units.jaw_drop, 0.8 * gap)
    paint(inside, teeth, cover(upper + band - y) * cover(0.93 * mouth.half - np.abs(x)))
    grimace = float(np.clip(0.6 * units.lip_stretch, 0.0, 1.0))
    paint(inside, teeth, grimace * cover(y - lower + 0.3 * gap) * cover(0.85 * mouth.half - np.abs(x)))
    return inside


def draw_nose(image: Array, place: Place, face: Face, units: Units) -> None:
    """Tip, wings and nostrils; a wrinkled nose is drawn up and its bridge folded."""
    image, place = place.cut(image, -12.0, 12.0, face.eye_y - 6.0, face.nose_tip + 7.0)
    x, y = place.x, place.y - face.nose_tip + 1.8 * units.nose_wrinkle + 0.5 * units.upper_lip_raise
    half = face.nose_half * (1.0 + 0.14 * units.nose_wrinkle + 0.05 * units.corner_pull)
    darken(image, 0.4 * line(y - 1.9 + 0.05 * x**2, 1.2, x / half, -1.15, 1.15))
    for side in (-1.0, 1.0):
        darken(image, 0.8 * bump(x - 0.5 * side * half, y - 1.0, 1.35, 0.85), rgb(40, 8, 4))
        wing = np.hypot((x - side * half * 0.72), (y + 0.6) * 0.8) - 0.36 * half
        darken(image, (0.22 + 0.3 * units.nose_wrinkle) * line(wing, 0.8, side * x / half, 0.7, 1.45))
        darken(image, 0.14 * bump(x - side * 3.4, y + 10.0, 1.4, 6.0))
    paint(image, rgb(255, 246, 236), 0.2 * bump(x - 0.6, y + 2.2, 1.6, 1.5) * place.light)
    for row in (0.0, 2.6, 5.0):
        fold = line(place.y - face.eye_y - row - 0.06 * place.x**2, 0.8, place.x / 4.6, -1.0, 1.0)
        darken(image, np.clip(0.55 * units.nose_wrinkle, 0.0, 0.9) * fold)


def draw_folds(image: Array, place: Place, face: Face, units: Units, wrinkles: float) -> None:
    """Lines that an expression folds into the skin, and those that age leaves there."""
    _forehead(*place.cut(image, -24.0, 24.0, -30.0, face.eye_y - 2.0), face, units, wrinkles)
    for side in (-1.0, 1.0):
        left, right = sorted((side * 1.0, side * 34.0))
        mirrored, here = place.cut(image, left, right, face.eye_y - 8.0, face.eye_y + 11.0)
        _eye_folds(mirrored, Place(side * here.x, here.y, here.light), face, units, wrinkles)
        mirrored, here = place.cut(image, left, right, face.nose_tip - 5.0, face.mouth_y + 13.0)
        _mouth_folds(mirrored, Place(side * here.x, here.y, here.light), face, units, wrinkles)
    part, here = place.cut(image, -8.0, 8.0, face.mouth_y + 4.0, face.mouth_y + 13.0)
    chin = float(np.clip(0.35 * units.chin_raise, 0.0, 0.5))
    darken(part, chin * line(here.y - face.mouth_y - 8.5 + 0.05 * here.x**2, 0.9, here.x / 5.0, -1.0, 1.0))


def _forehead(image: Array, place: Place, face: Face, units: Units, wrinkles: float) -> None:
    x, y = place.x, place.y
    raised = float(np.clip(0.17 * (units.inner_brow_raise + units.outer_brow_raise), 0.0, 0.36))
    width = max(8.0 + 7.0 * units.outer_brow_raise + 6.0 * wrinkles, 4.0)
    for row in (-20.0, -23.5, -27.0):
        darken(image, (raised + 0.26 * wrinkles) * line(y - row - 0.004 * x**2, 0.75, x / width, -1.0, 1.0))
    frown = float(np.clip(0.5 * units.brow_lower, 0.0, 1.0))
    darken(image, frown * line(np.abs(x) - 2.1, 0.8, y, face.eye_y - 13.0, face.eye_y - 3.0))


def _eye_folds(image: Array, place: Place, face: Face, units: Units, wrinkles: float) -> None:
    """Crow's feet and the bag under an eye; ``place.x`` runs outwards."""
    reach, y = place.x - face.eye_x - face.eye_half, place.y - face.eye_y
    feet = float(np.clip(0.4 * units.cheek_raise, 0.0, 0.5)) + 0.24 * wrinkles
    for slope in (-0.45, 0.1, 0.6):
        darken(image, feet * line(y - slope * reach, 0.6, reach, 0.6, 6.0))
    darken(image, 0.28 * wrinkles * line(y - 7.0, 0.9, (place.x - face.eye_x) / 7.0, -1.0, 1.0))


def _mouth_folds(image: Array, place: Place, face: Face, units: Units, wrinkles: float) -> None:
    """From the nose's wing past the mouth's corner, and below that; ``place.x`` runs outwards."""
    x, y = place.x, place.y
    smile = 0.42 * units.corner_pull + 0.4 * units.upper_lip_raise + 0.2 * units.nose_wrinkle
    start, stop = face.nose_tip - 1.5, face.mouth_y + 1.0
    share = np.clip((y - start) / (stop - start), 0.0, 1.0)
    fold = 1.5 + face.nose_half + (face.mouth_half * 1.24 + 2.4 - face.nose_half) * share**0.85
    depth = 0.07 + 0.75 * float(np.clip(smile, 0.0, 0.8)) + 0.22 * wrinkles
    darken(image, depth * line(x - fold, 1.2, y, start - 1.0, stop + 2.0))
    pull = float(np.clip(0.45 * units.corner_depress, 0.0, 0.6)) + 0.16 * wrinkles
    below = y - face.mouth_y
    darken(image, pull * line(x - face.mouth_half - 1.2 - 0.25 * (below - 4.0), 1.0, below, 2.0, 9.0))


def draw_beard(image: Array, place: Place, face: Face, units: Units, radius: Array, colours: Colours) -> None:
    """A full beard: moustache, cheeks and chin; the mouth is painted over it."""
    mouth = Mouth.of(face, units)
    x, y = place.x, place.y
    side_line = face.mouth_y - 2.0 - 16.0 * smooth(0.72, 0.97, np.abs(x) / face.half_width)
    low = smooth(-2.0, 2.5, y - side_line) * smooth(-0.5, 2.0, np.abs(x) - 3.0 + np.abs(y - face.mouth_y))
    upper, _, _ = mouth.edges(x)
    bristle = line(y - upper + mouth.upper_lip + 2.2, 2.4, x / (mouth.half * 1.2), -1.1, 1.1)
    grain = 0.9 + 0.1 * np.sin(2.1 * x + 0.4 * y) * np.sin(1.3 * y - 0.6 * x)
    colour = colours.hair * (0.35 + 0.6 * place.light)[..., None] * grain[..., None]
    amount = np.clip(np.maximum(low * cover((1.0 - radius) * MEAN_RADIUS), 0.95 * bristle), 0.0, 1.0)
    paint(image, colour, 0.88 * amount)
