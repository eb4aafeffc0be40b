"""Counterfactuals that are drawn otherwise than real clips are told from them; further real clips are not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score

from lvcf.metrics.two_sample import _auc, two_sample
from lvcf.phantoms.motion.set import draw_factors
from lvcf.phantoms.motion.simulate import render

TIMES = np.arange(4) / 2.0


@pytest.fixture(scope="module")
def clips():
    return [render(factors, TIMES) for factors in draw_factors(48, seed=5)]


def test_clips_of_one_kind_cannot_be_told_apart(clips) -> None:
    for name, found in two_sample(clips[::2], clips[1::2]).items():
        assert 0.25 < found.auc < 0.75, name
        assert found.interval.low < found.auc < found.interval.high


def test_soft_clips_are_told_by_their_drawing_and_not_by_their_pictures(clips) -> None:
    soft = [gaussian_filter(clip, (0, 1, 1, 0)) for clip in clips[::2]]
    found = two_sample(soft, clips[1::2])
    assert found["drawing"].auc > 0.95
    assert found["pictures"].auc < 0.8


def test_another_scene_is_told_by_its_pictures(clips) -> None:
    dark = [(clip * 0.5).astype(np.uint8) for clip in clips[::2]]
    assert two_sample(dark, clips[1::2])["pictures"].auc > 0.9


def test_too_few_clips_are_not_tested(clips) -> None:
    assert two_sample(clips[:9], clips[9:]) == {}


def test_the_statistic_is_the_area_under_the_curve() -> None:
    rng = np.random.default_rng(0)
    made = (rng.uniform(size=(3, 40)) < 0.4).astype(np.float64)
    scores = rng.normal(size=(3, 40)) + made
    wanted = [roc_auc_score(of, given) for of, given in zip(made, scores, strict=True)]
    np.testing.assert_allclose(_auc(scores, made, axis=-1), wanted)
