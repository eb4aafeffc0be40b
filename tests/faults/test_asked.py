"""What is asked of M is something it can say; a last correction means the same to a classifier as to a regressor."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lvcf.callbacks.last_correction import LastCorrection
from lvcf.guidance.goal import Goal
from lvcf.models.targets.base import TargetModel
from lvcf.targets import parse_target
from lvcf.tasks.counterfactual import CounterfactualTask
from tests.faults.toy_runs import run
from tests.helpers import results
from tests.toys import Capture, GaussianBackbone, LinearTarget, make_clips, predict


@pytest.mark.parametrize(
    ("target", "label", "asked", "clipped"),
    [
        ("delta:-500", math.nan, 0.0, True),
        ("delta:500", math.nan, 100.0, True),
        ("delta:-5", math.nan, None, False),
        ("label", 900.0, 100.0, True),
        ("label", -3.0, 0.0, True),
        ("label", 33.0, 33.0, False),
        ("70", math.nan, 70.0, False),
    ],
)
def test_a_target_stays_within_what_the_model_can_say(tmp_path, target, label, asked, clipped) -> None:
    clips = make_clips(2)
    for clip in clips:
        clip["label"] = label
    task = CounterfactualTask(GaussianBackbone(), LinearTarget(), target, tmp_path, steps=2, strength=0.9)
    run(task, clips, tmp_path)
    for result in results(tmp_path).values():
        wanted = result["prediction_before"] - 5.0 if asked is None else asked
        assert result["target"]["low"] == result["target"]["high"] == pytest.approx(wanted, abs=1e-4)
        assert result["target_clipped"] is clipped


def test_a_model_without_bounds_is_asked_for_anything() -> None:
    class Unbounded(LinearTarget):
        bounds = (-math.inf, math.inf)

    request = parse_target("delta:-500", Unbounded())
    assert request.edges(20.0, math.nan, 0.5) == (-480.0, -480.0)
    assert not request.clipped(20.0, math.nan, 0.5)


class LinearClassifier(TargetModel):
    """Three logits, each linear in the mean of one colour."""

    task = "classification"
    labels = ("red", "green", "blue")

    def forward(self, video: Tensor) -> Tensor:
        return 4.0 * video.mean(dim=(2, 3, 4))


def log_odds(model: TargetModel, video: Tensor, index: int) -> Tensor:
    p = model(video).double().softmax(-1)[:, index]
    return torch.log(p) - torch.log1p(-p)


@pytest.mark.parametrize("aim", [0.0, 0.5, 2.0, 4.0])
@pytest.mark.parametrize("name", LinearClassifier.labels)
def test_a_classifier_gives_the_target_the_log_odds_that_aim_says(tmp_path, name, aim) -> None:
    """A margin of linear log-odds is reached in few steps, and not overshot by more than the last step's curvature."""
    model = LinearClassifier()
    capture = Capture()
    task = CounterfactualTask(GaussianBackbone(), model, name, tmp_path, steps=3, strength=0.9)
    edits = predict(task, make_clips(3), [LastCorrection(steps=12, aim=aim, largest=10.0), capture])
    odds = log_odds(model, capture.latents[0], model.labels.index(name))
    assert (odds >= aim - 1e-3).all()
    assert (odds <= aim + 0.5).all()
    assert all(edit.facts["gradient_evaluations"] <= 6 for edit in edits)


def test_between_two_classes_one_step_is_the_whole_way(tmp_path) -> None:
    """Of two classes the log-odds are the difference of two linear logits: Newton's step lands on the aim."""

    class Two(LinearClassifier):
        labels = ("red", "green")

        def forward(self, video: Tensor) -> Tensor:
            return super().forward(video)[:, :2]

    model, capture = Two(), Capture()
    task = CounterfactualTask(GaussianBackbone(), model, "green", tmp_path, steps=3, strength=0.9)
    predict(task, make_clips(3), [LastCorrection(steps=1, aim=1.5, largest=100.0), capture])
    odds = log_odds(model, capture.latents[0], 1)
    torch.testing.assert_close(odds, torch.full_like(odds, 1.5), atol=1e-3, rtol=0)


def test_a_target_that_is_far_away_is_stepped_to_all_the_same() -> None:
    """Where the target's probability is 0 in float32, its log-odds are not."""
    output = torch.tensor([[300.0, -40.0], [0.0, 0.3]], requires_grad=True)
    goal = Goal(torch.tensor([1.0, 1.0]), torch.tensor([1.0, 1.0]), 1.0, 0.0, classification=True)
    (gradient,) = torch.autograd.grad(goal.loss(output).sum(), output)
    length = goal.newton(output.detach(), 0.5)
    stepped = output.detach() - length[:, None] * gradient / gradient.square().sum(1, keepdim=True)
    torch.testing.assert_close(stepped[:, 1] - stepped[:, 0], torch.tensor([0.5, 0.5]), atol=1e-4, rtol=0)
