"""Counterfactuals that are drawn otherwise than real clips are told from them; further real clips are not."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score

from lvcf.metrics.two_sample import auc, two_sample
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


def test_a_clip_and_its_counterfactual_are_held_out_together(clips) -> None:
    """Doing nothing cannot be told apart: who had seen the clip itself in training would err on purpose."""
    assert all(found.auc == 0.5 for found in two_sample(clips, clips).values())


def test_no_clip_is_kept(clips) -> None:
    """A run of a thousand clips would not fit."""
    read = list[weakref.ref]()

    def one_by_one(chosen: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        for clip in chosen:
            read.append(weakref.ref(fresh := clip.copy()))
            assert sum(one() is not None for one in read) <= 2
            yield fresh

    assert two_sample(one_by_one(clips[::2]), one_by_one(clips[1::2])) == two_sample(clips[::2], clips[1::2])
    assert len(read) == len(clips)


def test_the_statistic_is_the_area_under_the_curve() -> None:
    rng = np.random.default_rng(0)
    made, real = rng.normal(size=(3, 40)).round(1) + 0.5, rng.normal(size=(3, 30)).round(1)  # with ties
    kinds = np.repeat([1, 0], [40, 30])
    wanted = [roc_auc_score(kinds, np.concatenate(scores)) for scores in zip(made, real, strict=True)]
    np.testing.assert_allclose(auc(made, real, axis=-1), wanted)
    np.testing.assert_allclose(auc(made.T, real.T, axis=0), wanted)
