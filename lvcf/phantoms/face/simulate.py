"""A schematic, shaded talking-head phantom with a known causal model: clips ``x = render(factors)``.

Seven expressions are built from action units that grow from neutral to their apex; :class:`FaceFactors` holds the
causal graph.  ``factors.do(expression=...)`` renders the *true* counterfactual.  Numpy only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lvcf.data.ferv39k import EXPRESSIONS
from lvcf.phantoms.face.canvas import (
    CLOTHES,
    HAIR,
    IRIS,
    MARKERS,
    SKIN,
    backdrop,
    bump,
    cover,
    darken,
    ellipse,
    paint,
    rgb,
    shade_of,
    smooth,
)
from lvcf.phantoms.face.factors import FaceFactors, Units
from lvcf.phantoms.face.geometry import MEAN_RADIUS, SIZE, Face, Pose
from lvcf.phantoms.face.parts import (
    Colours,
    Place,
    draw_beard,
    draw_brows,
    draw_eyes,
    draw_folds,
    draw_mouth,
    draw_nose,
)

Array = NDArray[np.float64]

FPS = 25.0
MARKER = (slice(4, 12), slice(4, 12))
"""Rows and columns of the planted shortcut, in the backdrop's corner."""
_BLINK = 0.09
"""Half the length of a blink, in seconds."""


def render(factors: FaceFactors, times: Array) -> NDArray[np.uint8]:
    """Render the frames at ``times`` (seconds from the clip's start) as ``(T, 112, 112, 3)`` uint8 RGB.

    Deterministic: the same factors and times give the same bytes; a frame does not depend on the others.
    """
    painter = Painter(factors)
    frames = [painter.frame(factors.action_units(float(time)), float(time)) for time in times]
    return np.stack([np.round(np.clip(frame, 0.0, 1.0) * 255.0).astype(np.uint8) for frame in frames])


class Painter:
    """Paints one person, whatever the expression: that comes in as action units.

    Args:
        factors: identity, look, light, pose, backdrop and marker; expression, intensity, onset and rise are not read.
    """

    def __init__(self, factors: FaceFactors) -> None:
        self.factors, self.face = factors, Face.of(factors)
        self.rows, self.columns = np.mgrid[0:SIZE, 0:SIZE].astype(float)
        self.colours = colours_of(factors)
        rng = np.random.default_rng([factors.backdrop_seed, 1])
        self.clothes = shade_of(CLOTHES, float(rng.uniform()))
        self.behind = backdrop(factors.scene, factors.backdrop_seed, self.columns, self.rows)
        azimuth, elevation = np.deg2rad(factors.light), np.deg2rad(factors.light_height)
        self.light = np.array(
            [np.sin(azimuth) * np.cos(elevation), -np.sin(elevation), np.cos(azimuth) * np.cos(elevation)]
        )

    def pose_grid(self, pose: Pose) -> tuple[Array, Array]:
        """The head's ``(x, y)`` of every pixel."""
        return pose.to_head(self.columns, self.rows)

    def frame(self, action_units: Array, time: float) -> Array:
        """The image ``(112, 112, 3)`` in 0-1 under action units ``(16,)`` at ``time``."""
        f, face, units = self.factors, self.face, Units(*action_units.tolist())
        pose = Pose.of(f, time)
        x, y = self.pose_grid(pose)
        radius = face.radius(x, y, units.jaw_drop)
        place = Place(*face.to_material(x, y, pose), np.ones_like(x))
        place = Place(place.x, place.y, self._lit(place, radius, units))
        image = self.behind.copy()
        self._draw_behind(image, x, y)
        skin = self._skin(place, units)
        paint(image, skin * place.light[..., None], cover((1.0 - radius) * MEAN_RADIUS))
        head = image.copy()
        if f.beard:
            draw_beard(head, place, face, units, radius, self.colours)
        draw_folds(head, place, face, units, f.wrinkles)
        draw_nose(head, place, face, units)
        closed = float(np.clip(1.3 - abs(time - f.blink) / _BLINK, 0.0, 1.0))
        draw_eyes(head, place, face, units, closed, self.colours, 1.0 if f.gender == "woman" else 0.0)
        draw_brows(head, place, face, units, self.colours)
        draw_mouth(head, place, face, units, self.colours)
        paint(image, head, cover((1.0 - radius) * MEAN_RADIUS))
        self._draw_hair(image, x, y, place, radius)
        if f.marker:
            image[MARKER] = MARKERS[EXPRESSIONS.index(f.marker)]
        return image

    def _lit(self, place: Place, radius: Array, units: Units) -> Array:
        """Brightness of the head's surface by Lambert's law, from a height map of its relief."""
        face, (x, y) = self.face, (place.x, place.y)
        height = 27.0 * np.sqrt(np.clip(1.04 - np.clip(radius, 0.0, 1.0) ** 2, 0.0, None))
        bridge = smooth(face.eye_y - 6.0, face.nose_tip - 2.0, y) * (y < face.nose_tip + 6.0)
        height += 5.5 * bridge * np.exp(-((x / 4.2) ** 2)) * np.exp(-(np.clip(y - face.nose_tip, 0.0, None) ** 2) / 5.0)
        cheek = 1.6 + 2.2 * units.cheek_raise + 0.8 * units.corner_pull
        lift = 2.5 * units.cheek_raise
        for side in (-1.0, 1.0):
            height += cheek * bump(x - side * 15.5, y - 11.0 + lift, 7.0, 6.5)
            height += 1.2 * bump(x - side * face.eye_x, y - face.eye_y + 9.0, 8.0, 3.5)
        height += (1.5 + units.chin_raise) * bump(x, y - face.mouth_y - 11.0, 7.0, 4.5)
        down, across = np.gradient(height)
        normal = np.stack([-across, -down, np.ones_like(height)], axis=-1)
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
        lambert = np.clip(normal @ self.light, 0.0, None)
        return np.asarray(0.5 + 0.58 * lambert)

    def _skin(self, place: Place, units: Units) -> Array:
        """The skin's colour: redder cheeks and nose."""
        skin = np.broadcast_to(self.colours.skin, (*place.x.shape, 3)).copy()
        flush = 0.2 + 0.12 * units.cheek_raise + 0.1 * units.lip_press
        for side in (-1.0, 1.0):
            darken(skin, flush * bump(place.x - side * 16.0, place.y - 11.0, 7.5, 6.0), rgb(255, 150, 140))
        darken(skin, 0.16 * bump(place.x, place.y - self.face.nose_tip, 5.0, 4.0), rgb(255, 150, 140))
        return skin

    def _draw_behind(self, image: Array, x: Array, y: Array) -> None:
        """Long hair, shoulders, neck and ears."""
        f, face, colours = self.factors, self.face, self.colours
        hair = colours.hair * 0.62
        if f.gender == "woman":
            wide = face.half_width + 6.0 + np.clip(y + 14.0, 0.0, 40.0) / 20.0 * np.sin(0.16 * y + 5.0 * f.sway)
            curls = hair * (0.82 + 0.18 * np.cos(0.55 * x + 0.1 * y))[..., None]
            paint(image, curls, cover(wide - np.abs(x)) * cover(y + 14.0) * cover(50.0 - y))
            paint(image, curls, cover(ellipse(x, y + 14.0, face.half_width + 6.0, 33.0)))
        columns, rows = self.columns - 56.0 - f.x, self.rows - 104.0
        paint(image, self.clothes, cover(ellipse(columns, rows - 22.0, 52.0, 24.0)))
        neck = colours.skin * 0.66
        paint(image, neck, cover(14.5 - np.abs(x)) * cover(y - 15.0) * cover(47.0 - y))
        paint(image, neck, cover(ellipse(columns, rows + 1.5, 14.0, 6.0)))
        for side in (-1.0, 1.0):
            ear = ellipse(x - side * (face.half_width + 0.6), y - 2.0, 4.6, 8.4)
            paint(image, colours.skin * (0.78 + 0.12 * side * self.light[0]), cover(ear))
            darken(image, 0.3 * bump(x - side * (face.half_width + 1.2), y - 2.0, 1.7, 4.5))

    def _draw_hair(self, image: Array, x: Array, y: Array, place: Place, radius: Array) -> None:
        """The hair on the skull: it recedes and thins on a bald head; its sides stay."""
        f, face = self.factors, self.face
        woman = f.gender == "woman"
        hairline = -25.0 - 14.0 * f.baldness - (3.0 if woman else 0.0)
        parting = 0.012 * (x + (7.0 if woman else -5.0)) ** 2 * (0.9 if woman else 0.45)
        edge = hairline + parting + 0.6 * np.sin(0.9 * x + 9.0 * f.sway)
        grown = cover((1.115 - 0.05 * f.baldness - radius) * MEAN_RADIUS)
        top = grown * smooth(-1.2, 1.2, edge - place.y) * (1.0 - smooth(0.55, 0.95, np.asarray(f.baldness)))
        reach = face.eye_y + (26.0 if woman else 3.0)
        sides = grown * smooth(0.93, 0.985, radius) * smooth(-3.0, 3.0, reach - y) * smooth(-27.0, -20.0, y + 3.0)
        strands = 1.0 + 0.09 * np.sin(1.5 * x + 0.5 * y) * np.sin(0.35 * x - 0.2 * y + 9.0 * f.sway)
        sheen = (
            0.62
            + 0.5 * np.clip(place.light - 0.5, 0.0, 1.0)
            + 0.16 * bump(x - 12.0 * self.light[0], y + 36.0, 16.0, 4.0)
        )
        paint(image, self.colours.hair * (strands * sheen)[..., None], np.maximum(top, sides))


def colours_of(f: FaceFactors) -> Colours:
    """A person's colours; brows stay darker than the skin, however fair or grey the hair is."""
    skin = shade_of(SKIN, f.skin)
    hair = shade_of(HAIR, max(f.hair, 1.2 * f.skin - 0.2))
    brow = np.minimum(0.75 * hair + 0.1 * f.grey, 0.5 * skin)
    lip = skin * (rgb(224, 128, 122) if f.gender == "man" else rgb(214, 98, 104))
    return Colours(
        skin=skin,
        hair=hair + f.grey * (rgb(196, 196, 198) - hair),
        brow=brow,
        iris=shade_of(IRIS, f.iris),
        lip=0.75 * lip + 0.25 * rgb(196, 92, 92),
    )
