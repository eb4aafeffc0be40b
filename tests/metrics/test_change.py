"""Change, motion and regions on constructed clips whose answer is known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, shift

from lvcf.metrics import change
from lvcf.metrics.motion import optical_flow, warping_error
from lvcf.metrics.region import region_iou, region_precision

LEVEL = 1 / 127.5


def clip(value: float = 0.0) -> torch.Tensor:
    return torch.full((3, 4, 10, 10), value)


def edited(levels: float, colours: int = 3) -> torch.Tensor:
    """A tenth of the voxels moved by some levels."""
    video = clip()
    video[:colours, :, 0] += levels * LEVEL
    return video


@pytest.mark.parametrize(("levels", "share"), [(8.5, 0.1), (7.5, 0.0), (-20.0, 0.1), (0.0, 0.0)])
def test_a_voxel_counts_as_changed_from_a_stated_number_of_levels(levels, share) -> None:
    assert change.changed_share(edited(levels), clip()) == pytest.approx(share)


def test_one_colour_is_enough_for_a_change_and_a_third_of_the_distance() -> None:
    assert change.changed_share(edited(30, colours=1), clip()) == pytest.approx(0.1)
    assert change.l1(edited(30, colours=1), clip()) == pytest.approx(1.0, abs=1e-4)


def test_an_edit_that_stands_still_does_not_flicker_and_one_that_blinks_does() -> None:
    assert change.flicker(edited(30), clip()) == pytest.approx(0.0, abs=1e-6)
    blinking = clip()
    blinking[:, ::2] += 10 * LEVEL
    assert change.flicker(blinking, clip()) == pytest.approx(10.0, abs=1e-4)
    moving = torch.rand(3, 4, 10, 10)
    assert change.flicker(moving + 0.1, moving) == pytest.approx(0.0, abs=1e-4)  # the factual's motion is not its


def test_change_outside_a_region() -> None:
    region = torch.zeros(4, 10, 10, dtype=torch.bool)
    region[:, 0] = True
    assert change.change_outside(edited(30), clip(), region) == 0.0
    assert change.change_outside(edited(30), clip(), ~region) == pytest.approx(30.0, abs=1e-3)
    assert math.isnan(change.change_outside(edited(30), clip(), torch.ones_like(region)))


def test_the_correlation_of_explanations() -> None:
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(2, 3, 4, 24, 24, generator=generator)
    assert change.change_correlation(one, 2 * one + 1) == pytest.approx(1.0)
    assert change.change_correlation(one, -one) == pytest.approx(-1.0)
    smooth = [gaussian_filter(v.double().numpy(), (0, 0, 2, 2)).ravel() for v in (one, one + other)]
    assert change.change_correlation(one, one + other) == pytest.approx(np.corrcoef(*smooth)[0, 1])
    assert abs(change.change_correlation(one, other)) < 0.25
    assert math.isnan(change.change_correlation(one, torch.zeros_like(one)))


def moving_texture(velocity: tuple[float, float], frames: int = 4, size: int = 64) -> np.ndarray:
    texture = gaussian_filter(np.random.default_rng(0).standard_normal((size + 40, size + 40)), 2.0)
    texture *= 60 / texture.std()
    moved = [shift(texture, (t * velocity[0], t * velocity[1]), order=3, mode="reflect") for t in range(frames)]
    return np.stack(moved)[:, 20:-20, 20:-20] + 128.0


@pytest.mark.parametrize("velocity", [(0.0, 0.0), (1.3, -0.7), (-2.5, 3.0), (4.0, 3.0)])
def test_the_flow_of_a_moving_texture_is_its_velocity(velocity) -> None:
    video = moving_texture(velocity) / 255
    for before, after in itertools.pairwise(video):
        flow = optical_flow(before, after)[:, 10:-10, 10:-10]
        for axis in (0, 1):  # a pixel of the later frame was at place - velocity
            assert np.median(flow[axis]) == pytest.approx(-velocity[axis], abs=0.1)


def test_the_warping_error_forgives_motion_and_not_flicker() -> None:
    video = moving_texture((1.3, -0.7))
    as_clip = torch.from_numpy(video / 127.5 - 1.0).expand(3, -1, -1, -1)
    unwarped = np.abs(np.diff(video, axis=0)).mean()
    assert warping_error(as_clip) < 0.1 * unwarped
    blinking = as_clip.clone()
    blinking[:, ::2] += 30 * LEVEL
    assert warping_error(blinking) > 4 * warping_error(as_clip)
    assert warping_error(clip(0.3)) == pytest.approx(0.0, abs=1e-6)


def test_regions_by_hand() -> None:
    mask, region = np.zeros((1, 4, 4), dtype=bool), np.zeros((1, 4, 4), dtype=bool)
    mask[0, :2], region[0, 1:] = True, True  # 8 and 12 voxels, 4 in common
    assert region_precision(mask, region) == pytest.approx(0.5)
    assert region_iou(mask, region) == pytest.approx(4 / 16)
    assert math.isnan(region_precision(np.zeros_like(mask), region))
    assert region_iou(np.zeros_like(mask), np.zeros_like(mask)) == 1.0
