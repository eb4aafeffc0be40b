"""An apical four-chamber echocardiogram phantom with a known causal model.

A clip is ``x = render(factors)``.  Every factor is exogenous except what follows from it: the ventricle's volume is
``V(t) = EDV * (1 - EF * s(t))`` and all tissue moves with it, so ``factors.do(ef=30)`` renders the *true*
counterfactual: the same heart, noise and speckle, with another ejection fraction.

Geometry lives in the ventricle's own frame, in pixels: ``a`` runs along the long axis from the apex to the mitral
annulus and beyond, ``u`` across it.  Tissue is drawn once at end-diastole and carried by an incompressible map.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

Array = NDArray[np.float64]

SIZE = 112
"""Height and width of a frame, in pixels (EchoNet-Dynamic's)."""
FPS = 50.0
MM_PER_PIXEL = 1.5
APEX = (60.0, 19.0)
"""Column and row of the apex before its offset."""
SECTOR_TIP = (56.0, 2.0)
SECTOR_HALF_ANGLE = np.deg2rad(43.0)
SECTOR_DEPTH = 107.0
ANNULUS = 0.68
"""Half-width of the mitral annulus as a share of the ventricle's."""
MARKER = (slice(4, 12), slice(4, 12))
"""Rows and columns of the planted shortcut, outside the sector."""
EF_RANGE = (8.0, 87.0)
"""What the ejection fraction is drawn between, in percent, evenly."""
_CANVAS_ORIGIN = (40, 90)
_CANVAS_SHAPE = (170, 180)


@dataclass(frozen=True)
class EchoFactors:
    """Parents and exogenous factors of one clip.

    Attributes:
        ef: ejection fraction in percent, 5-90; the factor that is intervened on.
        edv: end-diastolic volume in ml.
        heart_rate: beats per minute.
        phase: where in the cycle the clip starts, 0-1 (0 = end-diastole).
        x: lateral offset of the apex in pixels.
        y: axial offset of the apex in pixels.
        rotation: tilt of the long axis in degrees.
        aspect: width over length of the ventricle at end-diastole.
        wall: wall thickness at end-diastole in pixels.
        gain: brightness factor.
        speckle_seed: seeds the tissue's speckle and the noise of every frame.
        marker: ``none``, ``ef`` (a burnt-in square whose brightness is EF / 100: a planted shortcut) or the EF in
            percent that the square shows whatever the heart does.
    """

    ef: float
    edv: float
    heart_rate: float
    phase: float
    x: float
    y: float
    rotation: float
    aspect: float
    wall: float
    gain: float
    speckle_seed: int
    marker: str = "none"

    @classmethod
    def sample(cls, rng: np.random.Generator, marker: str = "none") -> EchoFactors:
        """Draw the factors of one clip, all independent of each other."""
        return cls(
            ef=round(float(rng.uniform(*EF_RANGE)), 2),
            edv=round(float(np.clip(rng.normal(120.0, 25.0), 70.0, 185.0)), 2),
            heart_rate=round(float(rng.uniform(55.0, 95.0)), 2),
            phase=round(float(rng.uniform(0.0, 1.0)), 4),
            x=round(float(rng.uniform(-5.0, 5.0)), 3),
            y=round(float(rng.uniform(-4.0, 4.0)), 3),
            rotation=round(float(rng.uniform(-12.0, 12.0)), 3),
            aspect=round(float(rng.uniform(0.50, 0.62)), 4),
            wall=round(float(rng.uniform(5.5, 8.5)), 3),
            gain=round(float(rng.uniform(0.85, 1.15)), 4),
            speckle_seed=int(rng.integers(2**31)),
            marker=marker,
        )

    @classmethod
    def from_row(cls, row: dict[str, str]) -> EchoFactors:
        """Read the factors back from a row of ``Factors.csv`` (strings), ignoring other columns."""
        values = {f.name: float(row[f.name]) for f in fields(cls) if f.name not in ("speckle_seed", "marker")}
        marker = {"0": "none", "1": "ef"}.get(row["marker"], row["marker"])  # as sets had it before
        return cls(**values, speckle_seed=int(row["speckle_seed"]), marker=marker)

    def to_row(self) -> dict[str, str]:
        """The inverse of :meth:`from_row`; ``repr`` keeps every digit."""
        return {name: v if isinstance(v, str) else repr(v) for name, v in asdict(self).items()}

    def do(self, ef: float | None = None, marker: str | None = None) -> EchoFactors:
        """The factors under an intervention; everything exogenous stays, and a marker that follows the EF follows."""
        return replace(self, ef=self.ef if ef is None else ef, marker=marker or self.marker)

    @property
    def told(self) -> float:
        """The EF that the marker shows; the heart's own without one of its own."""
        return self.ef if self.marker in ("none", "ef") else float(self.marker)


@dataclass(frozen=True)
class Ventricle:
    """End-diastolic shape: long axis and half-width in pixels, and where the long axis lies in the image."""

    length: float
    width: float
    apex_x: float
    apex_y: float
    angle: float

    @classmethod
    def of(cls, factors: EchoFactors) -> Ventricle:
        """The area-length formula V = 8 A^2 / (3 pi L), solved for the length at end-diastole."""
        area_factor = SHAPE_AREA * factors.aspect
        cubic_pixels = factors.edv * 1000.0 / MM_PER_PIXEL**3
        length = (cubic_pixels * 3.0 * np.pi / (8.0 * area_factor**2)) ** (1.0 / 3.0)
        return cls(
            length=float(length),
            width=float(0.5 * factors.aspect * length),
            apex_x=APEX[0] + factors.x,
            apex_y=APEX[1] + factors.y,
            angle=float(np.deg2rad(factors.rotation)),
        )

    def to_local(self, column: Array, row: Array) -> tuple[Array, Array]:
        """Image coordinates to ``(a, u)``."""
        dx, dy = column - self.apex_x, row - self.apex_y
        sin, cos = np.sin(self.angle), np.cos(self.angle)
        return dx * sin + dy * cos, dx * cos - dy * sin

    def to_image(self, a: Array, u: Array) -> tuple[Array, Array]:
        """``(a, u)`` to image coordinates (column, row)."""
        sin, cos = np.sin(self.angle), np.cos(self.angle)
        return self.apex_x + a * sin + u * cos, self.apex_y + a * cos - u * sin


def bullet(q: Array) -> Array:
    """Half-width of a ventricle (1 at its widest) at the share ``q`` of its length; 0 at the apex."""
    q = np.clip(q, 0.0, 1.0)
    tip = np.sqrt(np.clip(1.0 - (1.0 - q / 0.6) ** 2, 0.0, None))
    base = 1.0 - (1.0 - ANNULUS) * ((q - 0.6) / 0.4) ** 2
    return np.where(q < 0.6, tip, base)


SHAPE_AREA = float(np.trapezoid(bullet(np.linspace(0, 1, 20001)), dx=1 / 20000))
"""Area of the ventricle's outline over length x width."""


def ejected(phase: Array) -> Array:
    """s(t): the share of the stroke volume ejected at a cycle's ``phase``; 0 at end-diastole, 1 at end-systole.

    Ejection, a short isovolumic plateau, early filling of 75 % and the atrial kick.
    """
    u = np.mod(phase, 1.0)

    def ramp(start: float, stop: float) -> Array:
        t = np.clip((u - start) / (stop - start), 0.0, 1.0)
        return t * t * (3.0 - 2.0 * t)

    return ramp(0.05, 0.36) - 0.75 * ramp(0.45, 0.68) - 0.25 * ramp(0.78, 0.95)


def deformation(volume_ratio: float) -> tuple[float, float]:
    """Width and length ratios (against end-diastole) of a ventricle at ``volume_ratio`` = V / EDV.

    The long axis takes a fifth of the (logarithmic) change, which is the descent of the valve plane.
    """
    length = volume_ratio**0.2
    return float(np.sqrt(volume_ratio / length)), float(length)


def _profile(a: Array, shape: Ventricle) -> Array:
    """Half-width of the left-sided cavities (ventricle, then atrium) at end-diastole."""
    atrium = _atrium_length(shape)
    p = np.clip((a - shape.length) / atrium, 0.0, 1.0)
    behind = shape.width * (ANNULUS * np.sqrt(1.0 - p**4) + 0.2 * np.sin(np.pi * p))
    return np.where(a <= shape.length, shape.width * bullet(a / shape.length), behind)


def _atrium_length(shape: Ventricle) -> float:
    return 0.55 * shape.length


def _material(a: Array, u: Array, shape: Ventricle, volume_ratio: float) -> tuple[Array, Array]:
    """Where the tissue at ``(a, u)`` was at end-diastole.

    Along the axis the valve plane moves and the atrium fills the gap; across it the wall is incompressible:
    ``u0^2 - h0^2 = u^2 - h^2`` outside the cavity, which thickens the wall and decays away from it.
    """
    k_width, k_length = deformation(volume_ratio)
    end = shape.length + _atrium_length(shape)
    plane = shape.length * k_length
    a0 = np.interp(a, [-1e3, 0.0, plane, end, 1e3], [-1e3, 0.0, shape.length, end, 1e3])
    a0 = a + (a0 - a) / (1.0 + (u / (2.2 * shape.width)) ** 4)
    atrial = 1.0 / (1.0 + np.exp(-(a0 - shape.length) / 2.5))
    k = k_width + (1.0 + 0.2 * (1.0 - volume_ratio) - k_width) * atrial
    h0 = _profile(a0, shape)
    h = k * h0
    inside = u / np.maximum(k, 1e-6)
    outside = np.sign(u) * np.sqrt(np.maximum(u**2 - h**2 + h0**2, 0.0))
    return a0, np.where(np.abs(u) < h, inside, outside)


def _end_diastole(factors: EchoFactors, shape: Ventricle) -> tuple[Array, Array]:
    """Echogenicity (mean brightness) and speckle of the tissue at end-diastole, on the ``(a, u)`` canvas."""
    a, u = np.meshgrid(
        np.arange(_CANVAS_SHAPE[0], dtype=float) - _CANVAS_ORIGIN[0],
        np.arange(_CANVAS_SHAPE[1], dtype=float) - _CANVAS_ORIGIN[1],
        indexing="ij",
    )
    length, width, wall = shape.length, shape.width, factors.wall
    end = length + _atrium_length(shape)
    tissue = np.full(a.shape, 0.24)

    def ellipse(centre_a: float, centre_u: float, half_a: float, half_u: float) -> Array:
        return np.asarray(((a - centre_a) / half_a) ** 2 + ((u - centre_u) / half_u) ** 2)

    right = -(width + wall + 0.52 * width)
    tissue[ellipse(0.62 * length, right, 0.47 * length, 0.62 * width) < 1] = 0.46
    tissue[ellipse(0.62 * length, right, 0.42 * length, 0.5 * width) < 1] = 0.05
    tissue[ellipse(1.3 * length, 0.95 * right, 0.27 * length, 0.6 * width) < 1] = 0.44
    tissue[ellipse(1.3 * length, 0.95 * right, 0.23 * length, 0.5 * width) < 1] = 0.05
    epicardium = (width + wall) * bullet((a + wall) / (length + wall))
    muscle = (np.abs(u) < epicardium) & (a > -wall) & (a < length)
    tissue[(np.abs(u) < epicardium + 2.0) & (u > 0) & (a > -wall) & (a < length)] = 0.78
    tissue[muscle] = 0.52
    cavity = _profile(a, shape)
    behind = (a >= length) & (a < end + 2.0)
    tissue[behind & (np.abs(u) < cavity + 2.5)] = 0.5
    tissue[(a > 0) & (a < end) & (np.abs(u) < cavity)] = 0.04
    for side in (-1.0, 1.0):
        tissue[ellipse(length, side * (ANNULUS * width + 2.0), 2.6, 2.6) < 1] = 0.92
    return gaussian_filter(tissue, 0.6), _speckle(factors.speckle_seed)


def _speckle(seed: int) -> Array:
    """Fully developed, log-compressed speckle on the canvas: mean 1, grains wider across than along the beam."""
    rng = np.random.default_rng([seed, 0])
    real, imaginary = (gaussian_filter(rng.standard_normal(_CANVAS_SHAPE), (1.4, 2.0)) for _ in range(2))
    envelope = np.hypot(real, imaginary)
    compressed = np.log1p(3.0 * envelope / envelope.mean())
    return np.asarray(compressed / compressed.mean())


def _leaflets(a0: Array, u0: Array, shape: Ventricle, opening: float) -> Array:
    """Brightness of the mitral leaflets: closed they span the annulus, open their tips point to the apex."""
    half = ANNULUS * shape.width
    q = np.abs(u0) / half
    gap = 0.5 * opening
    reach = np.clip((1.0 - q) / (1.0 - gap), 0.0, 1.0)
    line = shape.length - 0.24 * opening * shape.length * reach + 1.5 * (1.0 - opening) * reach
    return 0.5 * np.exp(-(((a0 - line) / 1.3) ** 2)) * ((q > gap) & (q < 1.0))


def render(factors: EchoFactors, times: Array) -> NDArray[np.uint8]:
    """Render the frames at ``times`` (seconds since the clip's start, on the 50 fps grid) as ``(T, 112, 112)`` uint8.

    Deterministic: the same factors and times give the same bytes; a frame does not depend on the others.
    """
    shape = Ventricle.of(factors)
    tissue, speckle = _end_diastole(factors, shape)
    rows, columns = np.mgrid[0:SIZE, 0:SIZE].astype(float)
    a, u = shape.to_local(columns, rows)
    depth, sector = _sector(columns, rows)
    beam = sector * factors.gain * np.exp(-0.35 * depth / SECTOR_DEPTH)
    frames = np.empty((len(times), SIZE, SIZE), dtype=np.uint8)
    for i, time in enumerate(times):
        phase = np.asarray(factors.phase + time * factors.heart_rate / 60.0)
        systole = float(ejected(phase))
        a0, u0 = _material(a, u, shape, 1.0 - factors.ef / 100.0 * systole)
        at = [a0 + _CANVAS_ORIGIN[0], u0 + _CANVAS_ORIGIN[1]]
        brightness = map_coordinates(tissue, at, order=1, mode="nearest")
        grain = map_coordinates(speckle, at, order=1, mode="reflect")
        opening = float(np.clip(1.0 - 4.0 * systole, 0.0, 1.0)) if np.mod(phase, 1.0) > 0.4 else 0.0
        brightness = np.maximum(brightness, _leaflets(a0, u0, shape, opening))
        noise_rng = np.random.default_rng([factors.speckle_seed, 1, round(time * FPS)])
        noise = gaussian_filter(noise_rng.standard_normal((SIZE, SIZE)), 0.8) * 0.04
        image = beam * (brightness * grain * 1.15 + noise)
        if factors.marker != "none":
            image[MARKER] = factors.told / 100.0
        frames[i] = np.round(np.clip(image, 0.0, 1.0) * 255.0)
    return frames


def _sector(columns: Array, rows: Array) -> tuple[Array, Array]:
    """Depth in pixels and the soft-edged sector mask of every pixel."""
    dx, dy = columns - SECTOR_TIP[0], rows - SECTOR_TIP[1]
    depth, angle = np.hypot(dx, dy), np.abs(np.arctan2(dx, dy))
    edge = np.minimum((SECTOR_HALF_ANGLE - angle) * depth, SECTOR_DEPTH - depth)
    return depth, np.clip(edge + 0.5, 0.0, 1.0)
