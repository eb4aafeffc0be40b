"""Comparisons with the true counterfactual, at their known ends."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lvcf.data.clip import to_frames
from lvcf.data.ssv2 import SSv2Dataset, window
from lvcf.phantoms.motion.set import LABELS, read_factors
from lvcf.phantoms.motion.simulate import ACTIONS, frame_times, render
from lvcf.phantoms.motion.truth import MotionTruth

RESULT = {"target": {"text": LABELS[5]}, "fps": 8.0, "frames": 16}
TIMES = frame_times()[window(frame_times(), 16, 8.0)]


@pytest.fixture(scope="module")
def case(motion_root):
    """A clip that is lifted and dropped, which has to be pushed to the right, and its truth."""
    f = next(f for f in read_factors(motion_root).values() if f.action == "lift_drop")
    return render(f, TIMES), MotionTruth(f, RESULT), f


def test_the_truth_is_the_clip_under_do(case) -> None:
    _, truth, f = case
    assert truth.target == "push_right"
    assert (truth.video == render(f.do(action="push_right"), TIMES)).all()


def test_under_its_own_action_the_truth_is_what_the_data_set_gives(motion_root) -> None:
    """The dataset's sampling, codec and conversion return the rendered frames to the last bit."""
    dataset = SSv2Dataset(motion_root, "train")
    f = read_factors(motion_root)[dataset.ids[2]]
    own = {**RESULT, "target": {"text": LABELS[list(ACTIONS).index(f.action)]}}
    assert (to_frames(dataset[2]["video"]) == MotionTruth(f, own).video).all()


def test_the_truth_itself_recovers_everything(case) -> None:
    factual, truth, _ = case
    row = truth.compare(factual, truth.video, np.zeros(factual.shape[:3], dtype=bool))
    assert row["truth/share_recovered_smooth"] == row["truth/share_recovered_raw"] == 1.0
    assert row["truth/pixel_class"] == row["truth/pixel_class_of_truth"] == 1.0
    assert row["truth/path_error"] == row["truth/l1_levels"] == row["leakage/unchanged_levels"] == 0.0
    assert row["truth/ruler_error"] < 1.0
    assert row["truth/pixel_class_before"] == 0.0
    assert row["truth/mask_iou"] == 0.0
    json.dumps(truth.curves)
    assert truth.curves["truth"] == truth.curves["counterfactual"] != truth.curves["factual"]


def test_doing_nothing_recovers_nothing(case) -> None:
    factual, truth, _ = case
    row = truth.compare(factual, factual, np.ones(factual.shape[:3], dtype=bool))
    assert row["truth/share_recovered_smooth"] == pytest.approx(0.0)
    assert row["truth/share_recovered_raw"] == pytest.approx(0.0)
    assert row["truth/pixel_class"] == 0.0
    assert row["truth/path_error"] > 10.0
    assert row["leakage/unchanged_levels"] == 0.0
    assert 0.0 < row["truth/mask_iou"] < 0.5


def test_an_edit_of_what_stands_still_is_leakage(case) -> None:
    factual, truth, _ = case
    spoilt = truth.video.copy()
    spoilt[:, :10] = np.clip(spoilt[:, :10].astype(int) + 20, 0, 255)
    row = truth.compare(factual, spoilt, np.ones(factual.shape[:3], dtype=bool))
    assert 0.5 < row["leakage/unchanged_levels"] < 20.0
    assert row["leakage/brightness_levels"] == pytest.approx(20.0 * 10 / 112, rel=0.1)
    assert row["truth/pixel_class"] == 1.0


def test_a_target_that_is_already_shown_changes_nothing(case) -> None:
    factual, _, f = case
    own = MotionTruth(f, {**RESULT, "target": {"text": LABELS[0]}})
    row = own.compare(factual, factual, np.zeros(factual.shape[:3], dtype=bool))
    assert np.isnan([row["truth/share_recovered_smooth"], row["truth/share_recovered_raw"]]).all()
    assert row["truth/pixel_class"] == row["truth/mask_iou"] == 1.0
    assert row["leakage/unchanged_levels"] == 0.0


@pytest.mark.parametrize(("action", "unit"), [("push_left", "px from the left"), ("move_up", "px from the bottom")])
def test_curves_follow_the_axis_of_the_true_motion(case, action, unit) -> None:
    factual, _, f = case
    truth = MotionTruth(f, {**RESULT, "target": {"text": LABELS[list(ACTIONS).index(action)]}})
    truth.compare(factual, factual, np.zeros(factual.shape[:3], dtype=bool))
    assert truth.curves["unit"] == unit
    path = np.array(truth.curves["truth"])
    assert len(path) == len(truth.curves["factual"]) == 16
    assert (path[-1] - path[0]) * (-1 if action == "push_left" else 1) > 30
