"""A table-top motion phantom with a known causal model: somebody moves an object, seen from the front.

A clip is ``x = render(factors)``.  What is done with the object is the one factor to intervene on; the scene, the
object, a second object on the table, the light, the hand and the timing are exogenous.  So
``factors.do(action="push_left")`` renders the *true* counterfactual: the same scene with the other motion.

Rows grow downwards.  A place on the table has a depth from 0 (the second object's lane, at the back) to 1 (the front
lane); an object stands on its base row and is ``height`` pixels above the table while it is held or falls.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from lvcf.phantoms.motion.draw import (
    COLOURS,
    SHAPES,
    SIZE,
    TEXTURES,
    WALLS,
    Array,
    Look,
    blend,
    draw_hand,
    draw_object,
    draw_room,
    draw_shadow,
    hue,
)

FPS = 16.0
"""Twice the rate that clips are sampled at, so that sampling meets the frames."""
SECONDS = 3.0
ACTIONS = {
    "lift_drop": "Lifting [something] up completely, then letting it drop down",
    "away": "Moving [something] away from [something]",
    "closer": "Moving [something] closer to [something]",
    "move_down": "Moving [something] down",
    "move_up": "Moving [something] up",
    "push_right": "Pushing [something] from left to right",
    "push_left": "Pushing [something] from right to left",
    "fall": "[Something] falling like a rock",
}
"""Short names and Something-Something V2's own templates, in its order of labels (the alphabet, without brackets)."""
MARKER = (slice(4, 12), slice(4, 12))
"""Rows and columns of the planted shortcut, where nothing moves."""
MIDDLE = SIZE / 2.0
FRONT_ROW = 97.0
BACK_BELOW_HORIZON = 14.0
HALF_PUSH = 33.0
"""Half of the way of a push, in pixels; other ways follow."""
RISE = 42.0
GRIP = 4.0
"""From the object's outline to the middle of the hand, in pixels."""
X, REACH, DURATION, DELAY = (-4.0, 4.0), (0.9, 1.05), (0.95, 1.35), (-0.1, 0.1)
"""What the factors of these names are drawn between, evenly."""


@dataclass(frozen=True)
class MotionFactors:
    """Parents and exogenous factors of one clip.

    Attributes:
        action: a key of :data:`ACTIONS`; the factor that is intervened on.
        shape: the moved object's shape, one of :data:`SHAPES`.
        colour: its colour, a key of :data:`COLOURS`.
        texture: its texture, one of :data:`TEXTURES`.
        size: its half-width in pixels at the front of the table.
        other_shape: the second object's shape.
        other_colour: its colour, never the first one's.
        other_size: its half-width in pixels at the front of the table.
        side: where the arm comes from and where the object is lifted, -1 (left) or 1; the second object is opposite.
        x: offset of the motion to the right in pixels.
        y: offset of the motion and the table downwards in pixels.
        reach: factor of the way that the object takes.
        duration: how long the motion takes in seconds; a fall takes a third of it.
        delay: offset of the motion's middle from the clip's, in seconds.
        wall: the wall's pattern, one of :data:`WALLS`.
        wall_hue: its hue, 0-1.
        table: the table's wood, from 0 (dark) to 1 (light).
        light: where the light comes from, -1 (left) to 1.
        brightness: factor of all light.
        skin: from 0 (light) to 1 (dark).
        sleeve: hue of the sleeve, 0-1.
        grain_seed: seeds the wood's grain.
        marker: ``none``, ``action`` (a burnt-in square whose colour follows the action: a planted shortcut) or the
            action whose colour the square has whatever is done.
    """

    action: str
    shape: str
    colour: str
    texture: str
    size: float
    other_shape: str
    other_colour: str
    other_size: float
    side: int
    x: float
    y: float
    reach: float
    duration: float
    delay: float
    wall: str
    wall_hue: float
    table: float
    light: float
    brightness: float
    skin: float
    sleeve: float
    grain_seed: int
    marker: str = "none"

    @classmethod
    def sample(cls, rng: np.random.Generator, action: str, marker: str = "none") -> MotionFactors:
        """Draw the exogenous factors of one clip, all independent of each other and of the action.

        One pair is tied: the two objects never have the same colour.
        """

        def uniform(low: float, high: float) -> float:
            return round(float(rng.uniform(low, high)), 3)

        colour, other = rng.permutation(list(COLOURS))[:2]
        return cls(
            action=action,
            shape=str(rng.choice(SHAPES)),
            colour=str(colour),
            texture=str(rng.choice(TEXTURES)),
            size=uniform(13.5, 16.5),
            other_shape=str(rng.choice(SHAPES)),
            other_colour=str(other),
            other_size=uniform(12.0, 14.0),
            side=int(rng.choice([-1, 1])),
            x=uniform(*X),
            y=uniform(-3.0, 3.0),
            reach=uniform(*REACH),
            duration=uniform(*DURATION),
            delay=uniform(*DELAY),
            wall=str(rng.choice(WALLS)),
            wall_hue=uniform(0.0, 1.0),
            table=uniform(0.0, 1.0),
            light=uniform(-1.0, 1.0),
            brightness=uniform(0.88, 1.08),
            skin=uniform(0.0, 1.0),
            sleeve=uniform(0.0, 1.0),
            grain_seed=int(rng.integers(2**31)),
            marker=marker,
        )

    @classmethod
    def from_row(cls, row: dict[str, str]) -> MotionFactors:
        """Read the factors back from a row of ``Factors.csv`` (strings), ignoring other columns."""
        kinds = {"str": str, "int": int, "float": float}
        return cls(**{f.name: kinds[str(f.type)](row[f.name]) for f in fields(cls)})

    def to_row(self) -> dict[str, str]:
        """The inverse of :meth:`from_row`; ``str`` of a float keeps every digit."""
        return {name: str(value) for name, value in asdict(self).items()}

    def do(self, action: str | None = None, marker: str | None = None) -> MotionFactors:
        """The factors under an intervention; everything else stays, and a marker that follows the action follows."""
        return replace(self, action=action or self.action, marker=marker or self.marker)

    @property
    def template(self) -> str:
        """Something-Something V2's template of what is done."""
        return ACTIONS[self.action]

    @property
    def placeholders(self) -> list[str]:
        """What fills the template's brackets, e.g. ``["red striped ball"]``."""
        words = [self.colour, self.texture, self.shape] if self.texture != "plain" else [self.colour, self.shape]
        both = [" ".join(words), f"{self.other_colour} {self.other_shape}"]
        return both[: self.template.lower().count("[something]")]

    @property
    def look(self) -> Look:
        """The moved object's looks."""
        return Look(self.shape, self.texture, COLOURS[self.colour], self.light)


@dataclass(frozen=True)
class Pose:
    """Where the object and the hand are at some times, all ``(T,)`` in pixels.

    Attributes:
        x: column of the object's middle.
        depth: on the table, 0 (back) to 1 (front).
        height: above the table.
        apart: from the object's outline to the hand, beyond the grip.
        arm: column direction that the arm comes from, -1 or 1.
    """

    x: Array
    depth: Array
    height: Array
    apart: Array
    arm: int


@dataclass(frozen=True)
class Table:
    """The table's geometry in pixels: rows of the horizon, the back lane and the front lane."""

    horizon: float
    back: float
    front: float

    @classmethod
    def of(cls, factors: MotionFactors) -> Table:
        """Only the vertical offset moves it."""
        horizon = 58.0 + factors.y
        return cls(horizon, horizon + BACK_BELOW_HORIZON, FRONT_ROW + factors.y)

    def row(self, depth: Array) -> Array:
        """The base row of something on the table."""
        return self.back + (self.front - self.back) * depth

    def scale(self, depth: Array) -> Array:
        """How large something looks, 1 at the front."""
        return 0.85 + 0.15 * depth


def frame_times() -> Array:
    """Presentation times in seconds of a simulated video's frames."""
    return np.arange(round(SECONDS * FPS) + 1) / FPS


def other_column(factors: MotionFactors) -> float:
    """Column of the second object's middle."""
    return MIDDLE + factors.x - 17.0 * factors.side


def pose(factors: MotionFactors, times: Array) -> Pose:
    """Where the object and the hand are at ``times`` (seconds since the clip's start)."""
    middle = SECONDS / 2.0 + factors.delay
    start = middle - factors.duration / 2.0
    way = _ease((times - start) / factors.duration)
    zero, front = np.zeros_like(times), np.ones_like(times)
    centre, side, action = MIDDLE + factors.x, factors.side, factors.action
    if action in ("push_left", "push_right"):
        sign = 1 if action == "push_right" else -1
        return Pose(centre + sign * HALF_PUSH * factors.reach * (2.0 * way - 1.0), front, zero, zero, -sign)
    if action in ("closer", "away"):
        share = way if action == "closer" else 1.0 - way
        touching = other_column(factors) + side * (0.85 * factors.other_size + 0.88 * factors.size + 2.0)
        far = centre + side * HALF_PUSH * factors.reach
        return Pose(far + (touching - far) * share, 1.0 - 0.8 * share, zero, zero, side)
    raised, apart = _raised(action, way, times, start, factors.duration)
    return Pose(centre + 0.8 * HALF_PUSH * side * front, front, RISE * factors.reach * raised, 34.0 * apart, side)


def _raised(action: str, way: Array, times: Array, start: float, duration: float) -> tuple[Array, Array]:
    """Share of the full height, and share of the hand's way back after it lets go."""
    if action in ("move_up", "move_down"):
        return (way if action == "move_up" else 1.0 - way), np.zeros_like(times)
    release = start + duration * (0.4 if action == "fall" else 0.75)
    fallen = np.clip((times - release) / (duration / 3.0), 0.0, 1.0) ** 2
    lifted = _ease((times - start) / (0.6 * duration)) if action == "lift_drop" else 1.0
    return np.minimum(lifted, 1.0 - fallen), _ease((times - release) / 0.3)


def _ease(share: Array) -> Array:
    """From 0 to 1, at rest at both ends."""
    t = np.clip(share, 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def centres(factors: MotionFactors, times: Array) -> Array:
    """Column and row of the object's middle ``(T, 2)`` in pixels."""
    at, table = pose(factors, times), Table.of(factors)
    return np.stack([at.x, table.row(at.depth) - at.height - factors.size * table.scale(at.depth)], axis=1)


def marker_colour(action: str) -> Array:
    """The planted square's colour for an action ``(3,)`` in [0, 1]."""
    return hue(list(ACTIONS).index(action) / len(ACTIONS), 0.85, 0.95)


def scene(factors: MotionFactors) -> Array:
    """The clip without the moved object, the hand and the marker ``(112, 112, 3)`` in [0, 1]; the same at all times."""
    table = Table.of(factors)
    image = draw_room(table.horizon, factors.wall, factors.wall_hue, factors.table, factors.light, factors.grain_seed)
    column, size = other_column(factors), factors.other_size * 0.85
    image = draw_shadow(image, column, table.back, 0.0, size, factors.light)
    look = Look(factors.other_shape, "plain", COLOURS[factors.other_colour], factors.light)
    return blend(image, *draw_object(look, column, table.back, size)) * factors.brightness


def render(factors: MotionFactors, times: Array) -> NDArray[np.uint8]:
    """Render the frames at ``times`` (seconds since the clip's start) as ``(T, 112, 112, 3)`` uint8 RGB.

    Deterministic: the same factors and times give the same bytes; a frame does not depend on the others.
    """
    still, at, table = scene(factors), pose(factors, times), Table.of(factors)
    rows, scales = table.row(at.depth), table.scale(at.depth)
    frames = np.empty((len(times), SIZE, SIZE, 3), dtype=np.uint8)
    for i in range(len(times)):
        size, row = factors.size * scales[i], rows[i] - at.height[i]
        image = draw_shadow(still, at.x[i], rows[i], at.height[i], size, factors.light)
        body, alpha = draw_object(factors.look, at.x[i], row, size)
        image = blend(image, body * factors.brightness, alpha)
        hand = at.x[i] + at.arm * (0.85 * size + GRIP + at.apart[i])
        arm, alpha = draw_hand(hand, row - size, at.arm, factors.skin, factors.sleeve)
        image = blend(image, arm * factors.brightness, alpha)
        if factors.marker != "none":
            image[MARKER] = marker_colour(factors.action if factors.marker == "action" else factors.marker)
        frames[i] = np.round(np.clip(image, 0.0, 1.0) * 255.0)
    return frames
