"""COUT, insertion and deletion on models whose curves can be written down."""

from __future__ import annotations

import math

import pytest
import torch

from lvcf.measure.model import NOISE_LEVELS, perturbed, reencoded
from lvcf.metrics.transition import area, change_order, cout, follow, progress

FACTUAL = torch.zeros(3, 2, 4, 8)  # 64 voxels


def of_mean(gain: float):
    """Says the target by how far the mean brightness has come to 1/``gain``."""

    def read(video: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        come = (video.mean(dim=(1, 2, 3, 4)) * gain).clamp(0, 1)
        return come, 1 - come

    return read


def test_the_most_changed_voxels_come_first_whatever_the_colour() -> None:
    final = FACTUAL.clone()
    final[0, 1, 2, 3], final[1, 0, 0, 5], final[:, 0, 1, 1] = -0.9, 0.5, 0.2
    assert change_order(FACTUAL, final)[:3].tolist() == [32 + 2 * 8 + 3, 8 + 1, 5]


def test_equal_changes_give_straight_lines() -> None:
    """The target's curve rises as k / K, so both areas are 1/2 and COUT 0."""
    curves = follow(FACTUAL, torch.ones_like(FACTUAL), of_mean(1.0), steps=8)
    line = torch.linspace(0, 1, 9, dtype=torch.float64)
    assert torch.allclose(curves.target, line)
    assert torch.allclose(curves.original, 1 - line)
    assert torch.allclose(curves.deleted, 1 - line)
    assert cout(curves.target, curves.original) == pytest.approx(0.0)


def test_a_change_in_few_voxels_scores_high() -> None:
    """An eighth of the voxels is all: there after one of eight steps, so the area is 15/16, COUT 7/8."""
    final = FACTUAL.clone()
    final[:, 0, 0, :] = 1.0
    curves = follow(FACTUAL, final, of_mean(8.0), steps=8)
    assert area(curves.target) == pytest.approx(15 / 16)
    assert area(curves.deleted) == pytest.approx(1 / 16)
    assert cout(curves.target, curves.original) == pytest.approx(7 / 8)


def test_a_change_that_moves_nothing_scores_minus_one() -> None:
    curves = follow(FACTUAL, torch.ones_like(FACTUAL), of_mean(0.0), steps=4)
    assert cout(curves.target, curves.original) == -1.0


def test_area_is_the_mean_height_by_trapezoids() -> None:
    assert area(torch.tensor([0.0, 1.0, 0.0])) == pytest.approx(0.5)


def test_progress_to_a_range_counts_from_the_first_reading_to_its_nearest_edge() -> None:
    readings = torch.tensor([60.0, 50.0, 40.0, 35.0, 30.0, 20.0, 90.0])
    assert progress(readings, 60.0, 30.0, 40.0).tolist() == pytest.approx([0.0, 0.5, 1.0, 1.0, 1.0, 0.5, 0.0])
    assert math.isnan(float(progress(readings, 35.0, 30.0, 40.0)[0]))


def test_the_perturbation_is_noise_of_the_stated_size_on_whole_levels() -> None:
    video = torch.zeros(3, 8, 32, 32)
    noisy = perturbed(video, torch.Generator().manual_seed(0))
    levels = (noisy + 1) * 127.5
    assert torch.allclose(levels, levels.round(), atol=1e-3)
    assert float((levels - 127.5).std()) == pytest.approx(math.sqrt(NOISE_LEVELS**2 + 1 / 12), rel=0.05)
    assert torch.equal(noisy, perturbed(video, torch.Generator().manual_seed(0)))


def test_reencoding_keeps_shape_and_loses_little() -> None:
    rows = torch.linspace(0, 255, 31).to(torch.uint8)
    frames = rows.view(1, 31, 1, 1).expand(5, 31, 33, 3).numpy()  # odd sizes, which the codec pads
    coded = reencoded(frames, 8.0)
    assert coded.shape == frames.shape
    assert 0 < abs(coded.astype(float) - frames).mean() < 6
