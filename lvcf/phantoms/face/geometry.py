"""Where a phantom face's parts lie: identity, pose, and the curves that action units move.

Lengths are in pixels of a head of scale 1; ``x`` runs to the image's right and ``y`` down from the head's centre.  The
parts lie on a rounded head, so a turn moves them against its outline: *material* coordinates are those of the head
that looks straight ahead.  Nothing here knows the expression: the ruler measures with this module too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lvcf.phantoms.face.factors import FaceFactors, Units

Array = NDArray[np.float64]

SIZE = 112
"""Height and width of a frame, in pixels."""
CENTRE = (56.0, 60.0)
"""Column and row of the head's centre before its offset."""
HALF_HEIGHT = 40.0
MEAN_RADIUS = 34.0
"""Pixels for a unit of :meth:`Face.radius`, about."""
_DEPTH = 17.0
"""How far the face's middle bulges, in pixels: what a turn moves it by."""
_ROUNDNESS = 2.25


@dataclass(frozen=True)
class Pose:
    """Where the head is in one frame: offset in pixels, scale, angles in radians."""

    x: float
    y: float
    scale: float
    yaw: float
    pitch: float
    roll: float

    @classmethod
    def of(cls, factors: FaceFactors, time: float) -> Pose:
        """The mean pose and its slow sway at ``time`` seconds."""
        wave = 2.0 * np.pi * (0.45 * time + factors.sway)
        return cls(
            x=CENTRE[0] + factors.x + 0.8 * float(np.sin(wave + 1.0)),
            y=CENTRE[1] + factors.y + 0.5 * float(np.sin(1.3 * wave)),
            scale=factors.scale,
            yaw=float(np.deg2rad(factors.yaw + 2.0 * np.sin(wave))),
            pitch=float(np.deg2rad(factors.pitch + 1.2 * np.sin(0.8 * wave + 2.0))),
            roll=float(np.deg2rad(factors.roll + 1.0 * np.sin(0.9 * wave + 4.0))),
        )

    def to_head(self, column: Array, row: Array) -> tuple[Array, Array]:
        """Image coordinates to the head's ``(x, y)``."""
        dx, dy = (column - self.x) / self.scale, (row - self.y) / self.scale
        sin, cos = np.sin(self.roll), np.cos(self.roll)
        return dx * cos + dy * sin, dy * cos - dx * sin


@dataclass(frozen=True)
class Face:
    """A person's proportions in pixels: half-widths, and places in material coordinates."""

    half_width: float
    jaw: float
    eye_x: float
    eye_y: float
    eye_half: float
    nose_tip: float
    nose_half: float
    mouth_y: float
    mouth_half: float
    lip: float
    brow_thickness: float

    @classmethod
    def of(cls, f: FaceFactors) -> Face:
        """The proportions that ``f``'s identity has; a woman's jaw is finer and her brows thinner."""
        man = f.gender == "man"
        nose_tip = -3.0 + 14.5 * f.nose_length
        return cls(
            half_width=30.5 * f.face_width,
            jaw=0.1 + 0.1 * f.jaw + (0.0 if man else 0.06),
            eye_x=13.2 * f.eye_distance,
            eye_y=-4.0,
            eye_half=7.6 * f.eye_size,
            nose_tip=nose_tip,
            nose_half=5.2 * f.nose_width,
            mouth_y=nose_tip + 12.0,
            mouth_half=11.5 * f.mouth_width,
            lip=2.9 * f.lips,
            brow_thickness=2.5 if man else 1.8,
        )

    def radius(self, x: Array, y: Array, jaw_drop: float) -> Array:
        """0 at the head's centre, 1 on its outline."""
        height = np.where(y > 0.0, HALF_HEIGHT + 4.0 * jaw_drop, HALF_HEIGHT)
        below = np.clip(y / height, 0.0, 1.2)
        width = self.half_width * (1.0 - self.jaw * below**1.5)
        power = (np.abs(x) / width) ** _ROUNDNESS + (np.abs(y) / height) ** _ROUNDNESS
        return np.asarray(power ** (1.0 / _ROUNDNESS))

    def to_material(self, x: Array, y: Array, pose: Pose) -> tuple[Array, Array]:
        """Head coordinates to those of the head that looks straight ahead."""
        bulge = np.sqrt(np.clip(1.0 - (x / self.half_width) ** 2 - (y / HALF_HEIGHT) ** 2, 0.0, None))
        return x - _DEPTH * np.sin(pose.yaw) * bulge, y - _DEPTH * np.sin(pose.pitch) * bulge


def brow_line(face: Face, units: Units, share: Array) -> tuple[Array, Array]:
    """Distance from the midline and height of a brow's centre at ``share`` 0 (inner end) to 1 (outer end)."""
    share = np.clip(share, 0.0, 1.0)
    inner, outer = (1.0 - share) ** 1.4, share**1.2
    along = face.eye_x - 7.5 + 17.5 * share - 2.2 * units.brow_lower * inner
    arch = 2.2 * np.sin(np.pi * share**0.9)
    rise = inner * (5.5 * units.inner_brow_raise - 5.0 * units.brow_lower - 2.0 * units.nose_wrinkle)
    rise += outer * (5.5 * units.outer_brow_raise - 0.5 * units.brow_lower - 1.2 * units.inner_brow_raise)
    rise += np.sin(np.pi * share) * (1.5 * units.outer_brow_raise - 1.6 * units.brow_lower)
    return along, face.eye_y - 10.0 - arch - rise


def lid_heights(face: Face, units: Units, closed: float) -> tuple[float, float]:
    """How far the upper lid is above the eye's centre and the lower one below it; ``closed`` 0-1 is a blink."""
    size = face.eye_half / 7.6
    upper = 4.4 * (1.0 + 0.6 * units.lid_raise - 0.42 * units.lid_tighten - 0.45 * units.lid_droop)
    upper -= 1.1 * units.cheek_raise
    lower = 3.1 * (1.0 + 0.2 * units.lid_raise - 0.45 * units.lid_tighten - 0.75 * units.cheek_raise)
    return size * (upper - closed * (upper + 0.8 * lower)), size * lower


@dataclass(frozen=True)
class Mouth:
    """The inner edges of the lips: both curves meet in the corners.

    Attributes:
        half: half-width.
        corner: height of the corners.
        upper: height of the upper lip's inner edge in the middle.
        lower: height of the lower lip's inner edge in the middle.
        upper_lip: thickness of the upper lip.
        lower_lip: thickness of the lower lip.
        shape: exponent of the curves: 2 a parabola, more is boxier.
    """

    half: float
    corner: float
    upper: float
    lower: float
    upper_lip: float
    lower_lip: float
    shape: float

    @classmethod
    def of(cls, face: Face, u: Units) -> Mouth:
        """The mouth under action units."""
        middle = face.mouth_y + 0.8 * u.corner_pull - 1.4 * u.corner_depress - 1.2 * u.chin_raise
        wide = 1.0 + 0.24 * u.corner_pull + 0.22 * u.lip_stretch - 0.4 * u.jaw_drop - 0.1 * u.lip_press
        thin = (1.0 - 0.62 * u.lip_press) * (1.0 - 0.2 * u.corner_pull)
        return cls(
            half=face.mouth_half * wide,
            corner=face.mouth_y - 5.4 * u.corner_pull + 3.6 * u.corner_depress + 0.6 * u.lip_stretch,
            upper=middle - 1.0 * u.lips_part - 3.8 * u.upper_lip_raise - 1.5 * u.jaw_drop,
            lower=middle + 3.4 * u.lips_part + 9.5 * u.jaw_drop + 0.6 * u.upper_lip_raise,
            upper_lip=0.85 * face.lip * thin,
            lower_lip=1.25 * face.lip * thin,
            shape=2.0 + 1.5 * u.lip_stretch + 1.2 * u.upper_lip_raise + 0.4 * u.jaw_drop,
        )

    def edges(self, x: Array) -> tuple[Array, Array, Array]:
        """At ``x``: heights of the upper and lower inner edge, and the lips' profile (1 in the middle, 0 outside)."""
        profile = 1.0 - np.clip(np.abs(x) / self.half, 0.0, 1.0) ** self.shape
        return (
            self.corner + (self.upper - self.corner) * profile,
            self.corner + (self.lower - self.corner) * profile,
            profile,
        )
