"""The measurement in the pixels against the known truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from lvcf.data.ssv2 import window
from lvcf.phantoms.motion.ruler import measure
from lvcf.phantoms.motion.set import draw_factors
from lvcf.phantoms.motion.simulate import ACTIONS, centres, frame_times, render, scene

TIMES = frame_times()[window(frame_times(), 16, 8.0)]


@pytest.fixture(scope="module")
def measured():
    return [(f, measure(render(f, TIMES), f, TIMES)) for f in draw_factors(24, seed=321)]


def test_the_action_is_read_from_at_least_95_percent_of_clean_clips(measured) -> None:
    assert np.mean([m.action == f.action for f, m in measured]) >= 0.95


def test_the_track_is_within_a_pixel_and_the_object_always_seen(measured) -> None:
    errors = [np.linalg.norm(m.track - centres(f, TIMES), axis=1) for f, m in measured]
    assert np.mean(errors) < 0.6
    assert max(error.mean() for error in errors) < 1.0
    assert all(m.seen.all() for _, m in measured)


def test_the_factors_action_and_marker_play_no_part() -> None:
    f = draw_factors(1, seed=5)[0]
    clip = render(f.do(action="closer"), TIMES)
    one, other = (measure(clip, f.do(action=action, marker="fall"), TIMES) for action in ("push_left", "move_up"))
    assert one.action == other.action == "closer"
    assert (one.track == other.track).all()


@pytest.mark.parametrize("action", ACTIONS)
def test_an_intervention_is_read_back_from_blurred_and_noisy_pixels(action) -> None:
    f = draw_factors(4, seed=11)[2]
    clip = gaussian_filter(render(f.do(action=action), TIMES).astype(float), (0.3, 1.2, 1.2, 0))
    clip += np.random.default_rng(0).normal(0, 6, clip.shape)
    assert measure(np.clip(clip, 0, 255).astype(np.uint8), f, TIMES).action == action


def test_when_for_how_long_and_how_far_is_no_part_of_the_action() -> None:
    for f, other in zip(draw_factors(16, seed=21), draw_factors(16, seed=22), strict=True):
        clip = render(replace(f, delay=other.delay, duration=other.duration, reach=other.reach), TIMES)
        assert measure(clip, f, TIMES).action == f.action


@pytest.mark.parametrize("action", ["push_left", "push_right", "move_up", "move_down", "lift_drop", "fall"])
def test_from_which_side_is_no_part_of_the_action(action) -> None:
    f = draw_factors(4, seed=23)[1].do(action=action)
    mirrored = replace(f, side=-f.side, x=-f.x)
    clip, empty, here = render(mirrored, TIMES), scene(mirrored), np.round(np.clip(scene(f), 0, 1) * 255)
    drawn = (np.abs(clip - np.round(np.clip(empty, 0, 1) * 255)) > 0).any(axis=-1, keepdims=True)
    assert measure(np.where(drawn, clip, here).astype(np.uint8), f, TIMES).action == action


def test_a_shifted_object_is_found_shifted() -> None:
    f = draw_factors(1, seed=12)[0]
    clip, empty = render(f, TIMES[:4]).astype(int), np.round(np.clip(scene(f), 0, 1) * 255).astype(int)
    moved = np.clip(empty + np.roll(clip - empty, (-7, -9), axis=(1, 2)), 0, 255).astype(np.uint8)
    difference = measure(moved, f, TIMES[:4]).track - measure(clip.astype(np.uint8), f, TIMES[:4]).track
    np.testing.assert_allclose(difference, [[-9, -7]] * 4, atol=1)


@pytest.mark.parametrize("moment", [0, 8, 15])
def test_an_object_at_rest_shows_no_action(moment) -> None:
    for f in draw_factors(8, seed=13):
        still = np.repeat(render(f, TIMES[moment : moment + 1]), 16, axis=0)
        found = measure(still, f, TIMES)
        assert found.action == ""
        assert found.seen.all()
        assert min(found.distances.values()) > 9


def test_an_empty_scene_shows_no_object() -> None:
    f = draw_factors(1, seed=14)[0]
    empty = np.round(np.clip(scene(f), 0, 1) * 255).astype(np.uint8)
    found = measure(np.repeat(empty[None], 16, axis=0), f, TIMES)
    assert not found.seen.any()
    assert found.action == ""


@pytest.mark.parametrize(("contrast", "seen"), [(0.5, True), (0.4, True), (0.2, False), (0.1, False)])
def test_a_faint_object_counts_from_three_tenths_of_its_contrast(contrast, seen) -> None:
    for f in draw_factors(4, seed=15):
        clip, empty = render(f, TIMES).astype(float), np.clip(scene(f), 0, 1) * 255
        found = measure(np.round(empty + contrast * (clip - empty)).astype(np.uint8), f, TIMES)
        assert (found.seen.mean() > 0.5) == seen
        assert found.action == (f.action if seen else "")


def test_noise_on_an_empty_scene_is_no_object() -> None:
    f = draw_factors(1, seed=14)[0]
    noise = np.random.default_rng(0).normal(0, 10, (16, 112, 112, 3))
    clip = gaussian_filter(np.clip(scene(f), 0, 1) * 255, (1, 1, 0)) + noise
    assert measure(np.clip(clip, 0, 255).astype(np.uint8), f, TIMES).action == ""
