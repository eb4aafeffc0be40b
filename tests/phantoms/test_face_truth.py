"""Comparisons with the true counterfactual of a face clip."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lvcf.phantoms.face.factors import FaceFactors
from lvcf.phantoms.face.set import frame_times, read_factors, through_codec
from lvcf.phantoms.face.simulate import MARKER
from lvcf.phantoms.face.truth import FaceTruth, to_gray


def asked(expression: str, frames: int = 16) -> dict:
    return {"target": {"text": expression}, "fps": 8.0, "frames": frames}


@pytest.fixture(scope="module")
def factors() -> FaceFactors:
    return FaceFactors.sample(np.random.default_rng(12), shortcut=True).do(expression="Sad")


@pytest.fixture(scope="module")
def truth(factors) -> FaceTruth:
    return FaceTruth(factors, asked("Happy"))


@pytest.fixture(scope="module")
def factual(factors) -> np.ndarray:
    return FaceTruth(factors, asked("Sad")).video


def test_the_truth_of_the_own_expression_is_the_clip_as_it_is_read(face_root) -> None:
    from lvcf.data.clip import to_frames
    from lvcf.data.ferv39k import FERV39KDataset

    dataset = FERV39KDataset(face_root, "test")
    f = read_factors(face_root)[dataset.ids[0]]
    assert (to_frames(dataset[0]["video"]) == FaceTruth(f, asked(f.expression)).video).all()


def test_the_true_counterfactual_scores_perfectly(truth, factual) -> None:
    gray = to_gray(factual)
    mask = np.abs(to_gray(truth.video).astype(float) - gray) > 12
    scores = truth.compare(factual, truth.video, mask)
    perfect = {"truth/share_recovered_smooth": 1.0, "truth/share_recovered_raw": 1.0, "truth/l1_levels": 0.0}
    perfect |= {"truth/pixel_class": 1.0, "truth/pixel_class_of_truth": 1.0, "truth/action_unit_error": 0.0}
    assert {name: scores[name] for name in perfect} == pytest.approx(perfect)
    assert scores["leakage/brightness_levels"] == 0.0
    assert scores["leakage/unchanged_levels"] < 2.0
    assert truth.curves["truth"] == truth.curves["counterfactual"] != truth.curves["factual"]


def test_doing_nothing_recovers_nothing(truth, factual) -> None:
    scores = truth.compare(factual, factual, np.zeros(factual.shape[:3], dtype=bool))
    assert scores["truth/share_recovered_smooth"] == scores["truth/share_recovered_raw"] == 0.0
    assert scores["truth/pixel_class"] == 0.0
    assert scores["truth/mask_iou"] == 0.0
    assert scores["leakage/unchanged_levels"] == 0.0
    assert scores["truth/action_unit_error"] > 0.15


def test_a_change_where_nothing_should_change_is_leakage(truth, factual) -> None:
    final = truth.video.copy()
    final[:, -6:] = np.clip(final[:, -6:].astype(int) + 40, 0, 255).astype(np.uint8)
    scores = truth.compare(factual, final, np.ones(factual.shape[:3], dtype=bool))
    assert scores["leakage/unchanged_levels"] > 1.0
    assert scores["truth/pixel_class"] == 1.0
    assert scores["truth/share_recovered_smooth"] < 0.9


def test_the_marker_follows_the_intervention(truth, factual) -> None:
    rows, columns = MARKER
    assert np.abs(truth.video[:, rows, columns].astype(int) - factual[:, rows, columns]).mean() > 60


def test_a_target_that_is_there_already_has_no_share(factors, factual) -> None:
    scores = FaceTruth(factors, asked("Sad")).compare(factual, factual, np.zeros(factual.shape[:3], dtype=bool))
    assert math.isnan(scores["truth/share_recovered_smooth"])
    assert scores["truth/pixel_class"] == scores["truth/mask_iou"] == 1.0


def test_times_are_those_of_the_sampled_clip(factors) -> None:
    few = FaceTruth(factors, asked("Happy", frames=4))
    assert np.abs(few.times - np.arange(4) / 8).max() <= 0.02
    assert set(few.times) <= set(frame_times())
    assert few.video.shape == (4, 112, 112, 3)
    assert (through_codec(few.video) != few.video).mean() < 0.9  # read back once already


def test_gray_is_brightness() -> None:
    clip = np.array([[[[255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]]], dtype=np.uint8)
    assert to_gray(clip).tolist() == [[[255, 76, 150, 29]]]
