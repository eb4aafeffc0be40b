"""The motion phantom's causal model: what an intervention moves, and what it must not."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from lvcf.data.ssv2 import class_name, window
from lvcf.phantoms.motion.draw import COLOURS, SHAPES, SIZE, TEXTURES
from lvcf.phantoms.motion.set import draw_factors
from lvcf.phantoms.motion.simulate import (
    ACTIONS,
    FPS,
    HALF_PUSH,
    MARKER,
    MIDDLE,
    RISE,
    MotionFactors,
    Table,
    centres,
    frame_times,
    marker_colour,
    other_column,
    pose,
    render,
    scene,
)

TIMES = frame_times()[window(frame_times(), 16, 8.0)]


def factors(seed: int = 0, action: str = "push_right", **changes) -> MotionFactors:
    return replace(MotionFactors.sample(np.random.default_rng(seed), action), **changes)


def test_the_same_factors_give_the_same_bytes_and_frames_are_independent() -> None:
    clip = render(factors(), TIMES[:6])
    assert clip.shape == (6, SIZE, SIZE, 3)
    assert clip.dtype == np.uint8
    assert clip.tobytes() == render(factors(), TIMES[:6]).tobytes()
    assert clip[4].tobytes() == render(factors(), TIMES[4:5])[0].tobytes()
    assert clip.tobytes() != render(factors(1), TIMES[:6]).tobytes()


def test_do_changes_the_action_and_nothing_exogenous() -> None:
    f = factors(marker="action")
    assert f.do(action="push_right") == f
    changed = {field.name for field in fields(f) if getattr(f, field.name) != getattr(f.do(action="fall"), field.name)}
    assert changed == {"action"}


@pytest.mark.parametrize("action", ACTIONS)
def test_do_leaves_what_does_not_move(action) -> None:
    """Every change lies near the object's way, the arm behind it or the shadow below it."""
    f = factors(3)
    one, other = render(f, TIMES), render(f.do(action=action), TIMES)
    assert (one != other).any() == (action != f.action)
    assert (one[:, :14] == other[:, :14]).all()  # above everything
    assert (one == other).all(-1).mean() > 0.6


def test_left_and_right_meet_in_the_middle() -> None:
    f = factors(4)
    right, left = centres(f, TIMES), centres(f.do(action="push_left"), TIMES)
    np.testing.assert_allclose(right[:, 0] + left[:, 0], 2 * (MIDDLE + f.x))
    np.testing.assert_allclose(right[:, 1], left[:, 1])
    assert (np.diff(right[:, 0]) >= 0).all()
    assert right[-1, 0] - right[0, 0] == pytest.approx(2 * HALF_PUSH * f.reach)


@pytest.mark.parametrize(("one", "other"), [("move_up", "move_down"), ("closer", "away")])
def test_opposites_are_each_other_backwards(one, other) -> None:
    """Their ways mirror each other about the middle of the motion in time."""
    f = factors(5, one, delay=0.0)
    there, back = centres(f, frame_times()), centres(f.do(action=other), frame_times())
    np.testing.assert_allclose(there, back[::-1], atol=1e-9)


def test_a_rock_falls_with_constant_acceleration_and_stays() -> None:
    f = factors(6, "fall")
    middle = 1.5 + f.delay - 0.1 * f.duration  # the release
    height = pose(f, np.array([middle, middle + f.duration / 6, middle + f.duration / 3, 3.0])).height
    full = RISE * f.reach
    np.testing.assert_allclose(height, [full, 0.75 * full, 0.0, 0.0], atol=1e-9)


def test_what_is_lifted_reaches_the_top_and_drops() -> None:
    height = pose(factors(7, "lift_drop"), frame_times()).height
    assert height[0] == height[-1] == 0.0
    assert height.max() == pytest.approx(RISE * factors(7).reach, rel=1e-6)
    up, down = np.diff(height).max(), -np.diff(height).min()
    assert down > 1.5 * up


def test_closer_ends_beside_the_second_object_without_touching_it() -> None:
    for seed in range(40):
        f = factors(seed, "closer")
        at, table = pose(f, frame_times()), Table.of(f)
        gap = np.abs(at.x - other_column(f)) - 0.85 * f.other_size - table.scale(at.depth) * f.size
        assert (np.diff(gap) <= 1e-9).all()
        assert gap[0] > 15
        assert gap[-1] == pytest.approx(2.0)


@pytest.mark.parametrize("action", ACTIONS)
def test_the_object_stays_in_the_picture(action) -> None:
    for seed in range(60):
        f = factors(seed, action)
        at = centres(f, frame_times())
        assert (at - f.size > 0).all()
        assert (at + f.size < SIZE).all()


@pytest.mark.parametrize("action", ACTIONS)
def test_nothing_moves_before_and_after_the_sampled_clip_but_the_hand_that_let_go(action) -> None:
    for seed in range(20):
        f = factors(seed, action)
        at = centres(f, np.array([0.0, TIMES[0], TIMES[-1], 3.0]))
        np.testing.assert_allclose(at[[0, 3]], at[[1, 2]])


def test_the_object_moves_on_the_pixels_where_the_path_says() -> None:
    """The centroid of what differs from the empty scene, for a plain ball without a hand near; its shadow counts."""
    f = factors(8, "fall", shape="ball", texture="plain", colour="blue", table=1.0)
    late = frame_times()[-1:]
    differs = np.abs(render(f, late)[0] / 255.0 - np.clip(scene(f), 0, 1)).max(-1) > 0.25
    rows, columns = np.nonzero(differs)
    wanted = centres(f, late)[0]
    assert columns.mean() == pytest.approx(wanted[0], abs=2.0)
    assert rows.mean() == pytest.approx(wanted[1], abs=0.2 * f.size)
    assert differs.sum() == pytest.approx(np.pi * f.size**2, rel=0.25)


def test_the_marker_shows_the_action_and_only_where_it_is_planted() -> None:
    plain = factors(2)
    for action in ACTIONS:
        clip = render(replace(plain, marker="action").do(action=action), TIMES[:2])
        wanted = np.round(marker_colour(action) * 255)
        assert (clip[(slice(None), *MARKER)] == wanted).all()
        without = render(plain.do(action=action), TIMES[:2])
        clip[(slice(None), *MARKER)] = without[(slice(None), *MARKER)]
        assert (clip == without).all()
    colours = np.stack([marker_colour(action) for action in ACTIONS])
    assert min(np.abs(a - b).max() for i, a in enumerate(colours) for b in colours[:i]) > 0.15


def test_the_marker_is_set_on_its_own_and_then_stays_whatever_is_done() -> None:
    f = factors(2, marker="action")
    held = f.do(marker="fall")
    one, other = render(f, TIMES[:2]), render(held, TIMES[:2])
    changed = (one != other).any(axis=(0, 3))
    assert changed[MARKER].all()
    assert changed.sum() == changed[MARKER].sum()
    moved = render(held.do(action="move_up"), TIMES[:2])
    assert (moved[(slice(None), *MARKER)] == other[(slice(None), *MARKER)]).all()


@pytest.mark.parametrize("action", ACTIONS)
def test_nothing_moves_behind_the_marker(action) -> None:
    f = factors(9, action, size=13.0, reach=1.05, y=-3.0, side=-1)
    still = np.round(np.clip(scene(f), 0, 1) * 255)
    assert (render(f, TIMES)[(slice(None), *MARKER)] == still[MARKER]).all()


@pytest.mark.parametrize("marker", ["none", "action", "fall"])
def test_a_row_of_factors_round_trips_exactly(marker) -> None:
    for seed in range(20):
        f = MotionFactors.sample(np.random.default_rng(seed), "closer", marker)
        assert MotionFactors.from_row({**f.to_row(), "id": "x"}) == f
    odd = factors(x=1 / 3, size=1e-17 + 11.1)
    assert MotionFactors.from_row(odd.to_row()) == odd


def test_factors_are_independent_draws_of_everything() -> None:
    drawn = draw_factors(400, seed=9)
    actions = np.array([list(ACTIONS).index(f.action) for f in drawn])
    assert np.bincount(actions).tolist() == [50] * 8
    for name in ("side", "x", "size", "light", "duration", "skin"):
        values = np.array([getattr(f, name) for f in drawn])
        means = np.array([values[actions == a].mean() for a in range(8)])
        assert np.abs(means - values.mean()).max() < 4 * values.std() / np.sqrt(50), name
    for name, possible in (("shape", SHAPES), ("texture", TEXTURES), ("colour", COLOURS), ("other_colour", COLOURS)):
        assert {getattr(f, name) for f in drawn} == set(possible)
    assert all(f.colour != f.other_colour for f in drawn)


def test_words_are_the_templates_own() -> None:
    f = factors(shape="cup", colour="red", texture="dotted", other_colour="blue", other_shape="box")
    assert f.placeholders == ["red dotted cup"]
    assert f.do(action="closer").placeholders == ["red dotted cup", "blue box"]
    assert replace(f, texture="plain").do(action="fall").placeholders == ["red cup"]
    names = [class_name(template) for template in ACTIONS.values()]
    assert names == sorted(names)  # as the published labels are
    assert len(set(names)) == len(ACTIONS) == 8


def test_sampling_meets_the_frames() -> None:
    assert frame_times()[1] == pytest.approx(1 / FPS)
    np.testing.assert_allclose(np.diff(TIMES), 1 / 8)
