"""PGD against the closed form of a linear M: it moves only what M looks at, by whole steps, within its budget."""

from __future__ import annotations

import pytest
import torch

from lvcf.callbacks.pixel_attack import PixelAttack
from lvcf.data.clip import round_to_8_bits
from lvcf.errors import UserError
from lvcf.tasks.counterfactual import CounterfactualTask
from tests.toys import BrightDark, GaussianBackbone, LinearTarget, make_clips, predict


def attacked(tmp_path, model, target: str, clips, **options):
    task = CounterfactualTask(GaussianBackbone(), model, target, tmp_path, steps=1, tolerance=1.0)
    return predict(task, clips, [PixelAttack(**options)])


def asked(away: list[float]):
    """Clips whose label is what M says of them and ``away`` more."""
    clips = make_clips(len(away))
    for clip, distance in zip(clips, away, strict=True):
        clip["video"] = round_to_8_bits(clip["video"].clamp(-0.7, 0.7))  # what is saved is so too
        clip["label"] = float(LinearTarget()(clip["video"][None]).detach()) + distance
    return clips


def test_whole_steps_on_what_the_model_looks_at(tmp_path) -> None:
    """M = 50 + 50 mean of the quarter: a step of one level moves it by 50 / 127.5, so 2 / 0.39 steps are needed."""
    clips = asked([2.0, -2.0])
    edits = attacked(tmp_path, LinearTarget(), "label", clips, aim=0.0, steps=5)
    for edit, clip, sign in zip(edits, clips, (1.0, -1.0), strict=True):
        change = 127.5 * (edit.video - clip["video"])
        assert change[..., :4, :4].flatten().tolist() == pytest.approx(
            [5.0 * sign] * change[..., :4, :4].numel(), abs=1e-3
        )
        change[..., :4, :4] = 0.0
        assert change.abs().max() < 1e-4
        assert edit.facts["gradient_evaluations"] == 5


def test_no_colour_moves_beyond_the_budget(tmp_path) -> None:
    clips = asked([30.0])
    (edit,) = attacked(tmp_path, LinearTarget(), "label", clips, budget=3.0, steps=10)
    change = 127.5 * (edit.video - clips[0]["video"])[..., :4, :4]
    assert change.abs().max() == pytest.approx(3.0, abs=1e-3)
    assert edit.facts["gradient_evaluations"] == 10


def test_a_clip_that_is_there_is_left_alone_and_others_stop_when_they_are(tmp_path) -> None:
    clips = asked([0.0, 3.0])
    still, moved = attacked(tmp_path, LinearTarget(), "label", clips)
    assert torch.equal(still.video, clips[0]["video"])
    assert still.facts["gradient_evaluations"] == 0
    assert 0 < moved.facts["gradient_evaluations"] < 40
    assert abs(float(LinearTarget()(moved.video[None])) - clips[1]["label"]) <= 0.5


@pytest.mark.parametrize("name", ["bright", "dark"])
def test_a_classifier_is_turned(tmp_path, name) -> None:
    clips = make_clips(2)
    model = BrightDark(threshold=0.1 + (0.1 if name == "bright" else -0.1))
    edits = attacked(tmp_path, model, name, clips, budget=60.0, step=4.0)
    assert all(model(edit.video[None]).argmax() == model.labels.index(name) for edit in edits)


@pytest.mark.parametrize("options", [{"steps": 0}, {"step": 0.0}, {"budget": 0.0}, {"aim": -1.0}])
def test_what_cannot_be_is_refused(options) -> None:
    with pytest.raises(UserError, match="PixelAttack"):
        PixelAttack(**options)
