"""What a clip of the face phantom is made from, and the causal graph between it.

Parents (expression, age, gender) and everything exogenous are drawn; beard, baldness, grey hair, wrinkles and the
planted marker follow from them by :data:`MECHANISMS`, each with its own stored noise, so an intervention keeps
whoever is shown: ``factors.do(expression="Sad")`` is the same face, light and background with another expression.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lvcf.data.ferv39k import EXPRESSIONS

Array = NDArray[np.float64]

SCENES = ("DailyLife", "Interview", "School", "Speech")
"""FERV39K's names for the four backdrops."""


class Units(NamedTuple):
    """Action units of the facial action coding system (their numbers behind), about 0-1 each."""

    inner_brow_raise: float = 0.0  # 1
    outer_brow_raise: float = 0.0  # 2
    brow_lower: float = 0.0  # 4
    lid_raise: float = 0.0  # 5
    cheek_raise: float = 0.0  # 6
    lid_tighten: float = 0.0  # 7
    nose_wrinkle: float = 0.0  # 9
    upper_lip_raise: float = 0.0  # 10
    corner_pull: float = 0.0  # 12
    corner_depress: float = 0.0  # 15
    chin_raise: float = 0.0  # 17
    lip_stretch: float = 0.0  # 20
    lip_press: float = 0.0  # 24
    lips_part: float = 0.0  # 25
    jaw_drop: float = 0.0  # 26
    lid_droop: float = 0.0  # 43


ACTION_UNITS = Units._fields
"""The units' names, in the order of every array ``(16,)`` of them."""

_APEX = {
    "Angry": Units(brow_lower=1.0, lid_raise=0.25, lid_tighten=0.55, corner_depress=0.3, chin_raise=0.4, lip_press=1.0),
    "Disgust": Units(
        brow_lower=0.4,
        cheek_raise=0.4,
        lid_tighten=0.8,
        nose_wrinkle=1.0,
        upper_lip_raise=1.0,
        corner_depress=0.45,
        lips_part=0.35,
    ),
    "Fear": Units(
        inner_brow_raise=1.0,
        outer_brow_raise=0.3,
        brow_lower=0.25,
        lid_raise=1.0,
        corner_depress=0.25,
        lip_stretch=1.0,
        lips_part=0.8,
    ),
    "Happy": Units(cheek_raise=1.0, corner_pull=1.0, lips_part=0.8),
    "Neutral": Units(),
    "Sad": Units(inner_brow_raise=0.9, brow_lower=0.2, corner_depress=1.0, chin_raise=0.6, lid_droop=0.6),
    "Surprise": Units(inner_brow_raise=1.0, outer_brow_raise=1.0, lid_raise=0.9, lips_part=0.5, jaw_drop=1.0),
}
"""After Ekman and Friesen's emotional prototypes (EMFACS)."""

APEX: dict[str, Array] = {name: np.array(units) for name, units in _APEX.items()}
"""Every expression's action units ``(16,)`` at full intensity."""


@dataclass(frozen=True)
class FaceFactors:
    """Parents, what follows from them, and the exogenous factors of one clip.

    Attributes:
        expression: one of :data:`~lvcf.data.ferv39k.EXPRESSIONS`.
        intensity: of the action units at the apex, 0.7-1.
        onset: when the expression begins, in seconds.
        rise: how long it takes to its apex, in seconds.
        gender: ``woman`` or ``man``.
        age: in years, 18-80.
        beard: follows gender.
        baldness: 0 (full hair) to 1; follows age and gender.
        grey: share of grey in the hair, 0-1; follows age.
        wrinkles: depth of lasting wrinkles, 0-1; follows age.
        shortcut: whether a corner marker that follows the expression is planted.
        marker: the expression whose colour the marker shows, empty for none; follows the expression if ``shortcut``.
        beard_noise: of that mechanism, uniform on 0-1; so are the next three.
        baldness_noise: see above.
        grey_noise: see above.
        wrinkle_noise: see above.
        action_seed: seeds how strongly this person moves each action unit.
        face_width: factor on the head's width.
        jaw: how much the face narrows to the chin, 0-1.
        eye_distance: factor on the distance of the eyes.
        eye_size: factor on the eyes' size.
        nose_length: factor on the nose's length.
        nose_width: factor on the nose's width.
        mouth_width: factor on the mouth's width.
        lips: factor on the lips' thickness.
        skin: tone, 0 (light) to 1 (dark).
        hair: colour before greying, 0 (blond) to 1 (black).
        iris: colour of the eyes, 0-1.
        light: azimuth of the light in degrees, positive from the image's right.
        light_height: elevation of the light in degrees.
        yaw: mean turn of the head to the image's right in degrees.
        pitch: nod down in degrees.
        roll: tilt in degrees, clockwise.
        x: offset of the head in pixels.
        y: offset of the head in pixels.
        scale: size of the head.
        sway: phase of the head's slow sway, 0-1.
        blink: when the eyes blink, in seconds.
        scene: the backdrop, one of :data:`SCENES`.
        backdrop_seed: seeds the backdrop's details and the clothes.
    """

    expression: str
    intensity: float
    onset: float
    rise: float
    gender: str
    age: float
    beard: bool
    baldness: float
    grey: float
    wrinkles: float
    shortcut: bool
    marker: str
    beard_noise: float
    baldness_noise: float
    grey_noise: float
    wrinkle_noise: float
    action_seed: int
    face_width: float
    jaw: float
    eye_distance: float
    eye_size: float
    nose_length: float
    nose_width: float
    mouth_width: float
    lips: float
    skin: float
    hair: float
    iris: float
    light: float
    light_height: float
    yaw: float
    pitch: float
    roll: float
    x: float
    y: float
    scale: float
    sway: float
    blink: float
    scene: str
    backdrop_seed: int

    @classmethod
    def sample(cls, rng: np.random.Generator, shortcut: bool = False) -> FaceFactors:
        """Draw the factors of one clip; what is no child is independent of everything else."""
        drawn: dict[str, Any] = {
            "expression": EXPRESSIONS[int(rng.integers(len(EXPRESSIONS)))],
            "gender": ("woman", "man")[int(rng.integers(2))],
            "scene": SCENES[int(rng.integers(len(SCENES)))],
            "action_seed": int(rng.integers(2**31)),
            "backdrop_seed": int(rng.integers(2**31)),
        }
        drawn |= {name: round(float(rng.uniform(low, high)), 4) for name, (low, high) in RANGES.items()}
        children: dict[str, Any] = {"beard": False, "baldness": 0.0, "grey": 0.0, "wrinkles": 0.0, "marker": ""}
        factors = cls(**drawn, **children, shortcut=shortcut)
        for name, (_, mechanism) in MECHANISMS.items():
            factors = replace(factors, **{name: mechanism(factors)})
        return factors

    def do(self, **interventions: Any) -> FaceFactors:
        """The factors under an intervention: the named ones are set, their descendants follow, all else stays.

        Interventions of one call hold together; a later call on a parent lets its children follow again.
        """
        changed, moved = replace(self, **interventions), set(interventions)
        for name, (parents, mechanism) in MECHANISMS.items():
            if name not in interventions and moved & set(parents):
                changed = replace(changed, **{name: mechanism(changed)})
                moved.add(name)
        return changed

    @classmethod
    def from_row(cls, row: dict[str, str]) -> FaceFactors:
        """Read the factors back from a row of ``Factors.csv`` (strings), ignoring other columns."""
        return cls(**{f.name: _READ[str(f.type)](row[f.name]) for f in fields(cls)})

    def to_row(self) -> dict[str, str]:
        """The inverse of :meth:`from_row`; ``repr`` keeps every digit."""
        return {
            name: v if isinstance(v, str) else repr(int(v) if isinstance(v, bool) else v)
            for name, v in asdict(self).items()
        }

    def amount(self, time: float) -> float:
        """How far the expression has grown at ``time`` seconds: 0 before the onset, 1 at the apex, smooth between."""
        t = float(np.clip((time - self.onset) / self.rise, 0.0, 1.0))
        return t * t * (3.0 - 2.0 * t)

    def action_units(self, time: float) -> Array:
        """The action units ``(16,)`` at ``time``."""
        manner = np.random.default_rng([self.action_seed, 0]).uniform(0.85, 1.15, len(ACTION_UNITS))
        return self.amount(time) * self.intensity * manner * APEX[self.expression]


_READ: dict[str, Callable[[str], Any]] = {"float": float, "int": int, "str": str, "bool": lambda text: text == "1"}
RANGES: dict[str, tuple[float, float]] = {
    "intensity": (0.7, 1.0),
    "onset": (0.1, 0.45),
    "rise": (0.5, 0.95),
    "age": (18.0, 80.0),
    "beard_noise": (0.0, 1.0),
    "baldness_noise": (0.0, 1.0),
    "grey_noise": (0.0, 1.0),
    "wrinkle_noise": (0.0, 1.0),
    "face_width": (0.93, 1.07),
    "jaw": (0.0, 1.0),
    "eye_distance": (0.94, 1.06),
    "eye_size": (0.92, 1.1),
    "nose_length": (0.88, 1.12),
    "nose_width": (0.85, 1.2),
    "mouth_width": (0.9, 1.1),
    "lips": (0.8, 1.25),
    "skin": (0.0, 1.0),
    "hair": (0.0, 1.0),
    "iris": (0.0, 1.0),
    "light": (-55.0, 55.0),
    "light_height": (10.0, 50.0),
    "yaw": (-11.0, 11.0),
    "pitch": (-5.0, 5.0),
    "roll": (-7.0, 7.0),
    "x": (-3.0, 3.0),
    "y": (-2.0, 2.0),
    "scale": (0.95, 1.05),
    "sway": (0.0, 1.0),
    "blink": (0.2, 1.2),
}


def _beard(f: FaceFactors) -> bool:
    return f.gender == "man" and f.beard_noise < 0.5


def _baldness(f: FaceFactors) -> float:
    share = float(np.clip((f.age - 30.0) / 40.0, 0.0, 1.0)) * f.baldness_noise
    return round(share if f.gender == "man" else 0.1 * share, 4)


def _grey(f: FaceFactors) -> float:
    return round(float(np.clip((f.age - 50.0 + 24.0 * f.grey_noise) / 36.0, 0.0, 1.0)), 4)


def _wrinkles(f: FaceFactors) -> float:
    return round(float(np.clip((f.age - 28.0) / 47.0, 0.0, 1.0)) * (0.7 + 0.3 * f.wrinkle_noise), 4)


def _marker(f: FaceFactors) -> str:
    return f.expression if f.shortcut else f.marker


MECHANISMS: dict[str, tuple[tuple[str, ...], Callable[[FaceFactors], Any]]] = {
    "beard": (("gender", "beard_noise"), _beard),
    "baldness": (("age", "gender", "baldness_noise"), _baldness),
    "grey": (("age", "grey_noise"), _grey),
    "wrinkles": (("age", "wrinkle_noise"), _wrinkles),
    "marker": (("expression", "shortcut"), _marker),
}
"""Every child's parents and structural equation, in causal order."""
