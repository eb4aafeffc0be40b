"""Truth metrics on constructed arrays whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from lvcf.metrics.truth import l1_levels, mask_iou, share_recovered

RNG = np.random.default_rng(0)
FACTUAL = RNG.integers(40, 200, (4, 24, 24), dtype=np.uint8)
TRUTH = FACTUAL.copy()
TRUTH[:, 6:14, 8:16] += 20


def between(share: float) -> np.ndarray:
    return (FACTUAL + share * (TRUTH.astype(float) - FACTUAL)).round().astype(np.uint8)


@pytest.mark.parametrize("sigma", [0.0, 2.0])
@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0, -1.0])
def test_the_share_recovered_is_the_share_of_the_way(sigma, share) -> None:
    assert share_recovered(between(share), FACTUAL, TRUTH, sigma) == pytest.approx(share, abs=1e-9)


def test_overshooting_by_as_much_as_was_missing_is_worth_nothing() -> None:
    assert share_recovered(between(2.0), FACTUAL, TRUTH, 0.0) == pytest.approx(0.0)


def test_unrelated_grain_costs_less_when_smoothed() -> None:
    grain = RNG.integers(-3, 4, FACTUAL.shape)
    noisy = (TRUTH.astype(int) + grain).clip(0, 255).astype(np.uint8)
    raw, smooth = (share_recovered(noisy, FACTUAL, TRUTH, sigma) for sigma in (0.0, 2.0))
    assert raw < smooth
    assert smooth > 0.7


def test_smoothing_does_not_reach_across_frames() -> None:
    factual, truth = np.zeros((3, 16, 16), dtype=np.uint8), np.zeros((3, 16, 16), dtype=np.uint8)
    truth[1] = 100
    final = np.zeros_like(factual)
    final[0] = 100
    assert share_recovered(final, factual, truth, 2.0) == pytest.approx(-1.0)


def test_iou_by_counting() -> None:
    changed = np.zeros(FACTUAL.shape, dtype=bool)
    changed[:, 6:14, 8:16] = True
    assert mask_iou(changed, FACTUAL, TRUTH, sigma=0.0) == 1.0
    half = changed.copy()
    half[:, 10:] = False
    assert mask_iou(half, FACTUAL, TRUTH, sigma=0.0) == pytest.approx(0.5)
    twice = changed.copy()
    twice[:, 16:24, 8:16] = True
    assert mask_iou(twice, FACTUAL, TRUTH, sigma=0.0) == pytest.approx(0.5)
    assert mask_iou(~changed, FACTUAL, TRUTH, sigma=0.0) == 0.0
    assert mask_iou(np.zeros_like(changed), FACTUAL, FACTUAL) == 1.0


def test_small_changes_do_not_count_as_changed() -> None:
    faint = FACTUAL + 5
    assert mask_iou(np.ones(FACTUAL.shape, dtype=bool), FACTUAL, faint, sigma=0.0) == 0.0


def test_l1_does_not_wrap_around_in_eight_bits() -> None:
    low, high = np.zeros((1, 2, 2), dtype=np.uint8), np.full((1, 2, 2), 255, dtype=np.uint8)
    assert l1_levels(low, high) == l1_levels(high, low) == 255.0


def test_a_change_of_one_colour_counts_and_gray_in_three_channels_is_gray() -> None:
    gray = [np.repeat(clip[..., None], 3, axis=-1) for clip in (between(0.5), FACTUAL, TRUTH)]
    for sigma in (0.0, 2.0):
        assert share_recovered(*gray, sigma) == pytest.approx(share_recovered(between(0.5), FACTUAL, TRUTH, sigma))
    whole = np.ones(FACTUAL.shape, dtype=bool)
    assert mask_iou(whole, gray[1], gray[2]) == pytest.approx(mask_iou(whole, FACTUAL, TRUTH))
    green = gray[1].copy()
    green[..., 1] = gray[2][..., 1]
    assert mask_iou(whole, gray[1], green) == pytest.approx(mask_iou(whole, FACTUAL, TRUTH))
