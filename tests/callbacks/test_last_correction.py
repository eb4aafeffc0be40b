"""The last correction against the closed form of a linear M."""

from __future__ import annotations

import math

import pytest
import torch

from lvcf.callbacks.last_correction import LastCorrection
from lvcf.tasks.counterfactual import CounterfactualTask
from tests.toys import BrightDark, Capture, GaussianBackbone, LinearTarget, make_clips, predict

TOLERANCE = 2.0


def corrected(tmp_path, away: list[float], model=None, target: str = "label", **options):
    """One clip for every distance between its target and what M says of it: edits, latents before and after."""
    clips = make_clips(len(away))
    model = model or LinearTarget()
    if target == "label":
        for clip, distance in zip(clips, away, strict=True):
            clip["label"] = float(model(clip["video"][None]).detach()) + distance
    task = CounterfactualTask(GaussianBackbone(), model, target, tmp_path, steps=4, strength=0.9, tolerance=TOLERANCE)
    before, after = Capture(), Capture()
    edits = predict(task, clips, [before, LastCorrection(**options), after])
    return edits, before.latents[0], after.latents[0]


@pytest.mark.parametrize("away", [8.0, -8.0])
def test_one_newton_step_solves_a_linear_model(tmp_path, away) -> None:
    """M = 50 + 50 mean of the quarter: the least change to y adds (y - M) / 50 there and nothing elsewhere."""
    edits, before, after = corrected(tmp_path, [away] * 3, largest=1.0)
    change = after - before
    wanted = torch.zeros_like(change)
    wanted[..., :4, :4] = away / 50.0
    torch.testing.assert_close(change, wanted, atol=2e-5, rtol=0)
    reading = LinearTarget()(after).tolist()
    assert reading == pytest.approx([float(e.goal.low) for e in edits], abs=1e-3)
    assert [e.facts["gradient_evaluations"] for e in edits] == [1, 1, 1]


@pytest.mark.parametrize(("steps", "taken"), [(2, 2), (10, 4)])
def test_a_bounded_step_is_repeated_until_it_is_there_or_steps_run_out(tmp_path, steps, taken) -> None:
    """The whole way is 4 / 50 in a quarter of the voxels, 0.04 in root mean square: steps of 0.011 need four."""
    edits, before, after = corrected(tmp_path, [4.0], steps=steps, aim=0.01, largest=0.011)
    rms = float((after - before).square().mean().sqrt())
    assert rms == pytest.approx(min(0.04, taken * 0.011), abs=1e-4)
    assert edits[0].facts["gradient_evaluations"] == taken == min(steps, math.ceil(0.04 / 0.011))


def test_only_samples_outside_their_share_of_the_tolerance_move(tmp_path) -> None:
    edits, before, after = corrected(tmp_path, [0.8, 1.5, 6.0], aim=0.5, largest=1.0)  # aim: within 1.0
    moved = [not torch.equal(one, other) for one, other in zip(before, after, strict=True)]
    assert moved == [False, True, True]
    assert [e.facts["gradient_evaluations"] for e in edits] == [0, 1, 1]


def test_what_the_model_said_before_is_kept_for_every_sample(tmp_path) -> None:
    edits, before, _ = corrected(tmp_path, [0.1, 6.0, -20.0], largest=1.0)
    said = LinearTarget()(before).tolist()
    assert [e.facts["prediction_before_correction"] for e in edits] == pytest.approx(said, abs=1e-3)


def test_no_step_is_allowed_and_the_reading_is_still_told(tmp_path) -> None:
    edits, before, after = corrected(tmp_path, [9.0], steps=0)
    assert torch.equal(before, after)
    assert "prediction_before_correction" in edits[0].facts


def test_the_nearest_edge_of_a_range_is_enough(tmp_path) -> None:
    edits, before, after = corrected(tmp_path, [0.0], target="60..70", aim=0.01, largest=1.0)
    assert float(LinearTarget()(before)) < 58
    assert float(LinearTarget()(after)) == pytest.approx(60.0, abs=0.02)
    assert edits[0].facts["target"]["text"] == "60 to 70"


@pytest.mark.parametrize("name", ["bright", "dark"])
def test_a_classifier_is_turned(tmp_path, name) -> None:
    model = BrightDark(threshold=0.1 + (0.1 if name == "bright" else -0.1))
    edits, before, after = corrected(tmp_path, [0.0, 0.0], model=model, target=name, largest=1.0)
    index = model.labels.index(name)
    assert (model(before).argmax(1) != index).all()
    assert (model(after).argmax(1) == index).all()
    assert all(e.facts["prediction_before_correction"] < 0.5 for e in edits)
