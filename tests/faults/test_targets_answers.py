"""What kind of answer a target model gives: declared, checked, and read as what it is."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lvcf.cli import main
from lvcf.errors import UserError
from lvcf.guidance.goal import Goal, make_goal
from lvcf.measure.model import ask_again, load_target_model
from lvcf.measure.summary import TRANSITION
from lvcf.models.targets.base import TargetModel
from lvcf.models.targets.exported import ExportedTarget, ModuleTarget
from lvcf.models.targets.wrapping import Answer
from lvcf.runs.folder import read_predictions
from lvcf.targets import parse_target
from tests.faults.targets import CLASSES, LABELS, TAKES, VALUE, Logits, Mean, Sigmoid, Softmax, Told, clips, pt2
from tests.helpers import predict_arguments, results, subset


def test_declared_probabilities_are_read_as_they_are() -> None:
    wanted = Softmax()((clips() + 1.0) / 2.0)
    model = ModuleTarget(Softmax(), TAKES, Answer("classification", LABELS, gives="probabilities"))
    torch.testing.assert_close(model(clips()).softmax(1), wanted)
    aim = Goal(torch.zeros(3), torch.zeros(3), 1.0, 1.0, classification=True)
    torch.testing.assert_close(aim.reading(model(clips())), wanted[:, 0])


def test_a_probability_of_zero_has_a_finite_loss_and_gradient() -> None:
    class Sure(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (60.0 * Logits()(x)).softmax(1)  # 0 of the class farthest away

    model = ModuleTarget(Sure(), TAKES, Answer("classification", LABELS, gives="probabilities"))
    point = clips().requires_grad_(True)
    loss = Goal(torch.zeros(3), torch.zeros(3), 1.0, 1.0, classification=True).loss(model(point)).sum()
    (gradient,) = torch.autograd.grad(loss, point)
    assert bool(loss.isfinite())
    assert bool(gradient.isfinite().all())


def softmax_as_script(folder: Path) -> TargetModel:
    torch.jit.trace(Softmax(), clips(2)).save(str(folder / "m.pt"))
    return ExportedTarget(folder / "m.pt", TAKES, CLASSES)


class Percent(Softmax):
    def forward(self, x: Tensor) -> Tensor:
        return 100.0 * super().forward(x)


CONTRADICTIONS = {
    "a softmax for logits": (lambda f: ModuleTarget(Softmax(), TAKES, CLASSES), "answer.gives: probabilities"),
    "a softmax in percent": (
        lambda f: ModuleTarget(Percent(), TAKES, CLASSES),
        "sums to 100.*divide them by 100",
    ),
    "a softmax as .pt2": (
        lambda f: ExportedTarget(pt2(Softmax(), f / "m.pt2", ({0: torch.export.Dim("b")},)), TAKES, CLASSES),
        "answer.gives: probabilities",
    ),
    "a softmax as TorchScript": (softmax_as_script, "answer.gives: probabilities"),
    "a softmax of a black box": (lambda f: Told(Softmax(), CLASSES), "answer.gives: probabilities"),
    "logits for probabilities": (
        lambda f: ModuleTarget(Logits(), TAKES, Answer("classification", LABELS, gives="probabilities")),
        "declare answer.gives: logits",
    ),
    "a sigmoid for multi-label": (
        lambda f: ModuleTarget(Sigmoid(), TAKES, Answer("classification", LABELS, gives="multi-label")),
        "behind a sigmoid",
    ),
    "a softmax for multi-label": (
        lambda f: ModuleTarget(Softmax(), TAKES, Answer("classification", LABELS, gives="multi-label")),
        "behind a sigmoid",
    ),
    "one number for classes": (
        lambda f: ModuleTarget(Mean(), TAKES, Answer("classification", ("no", "yes"))),
        "task: regression",
    ),
    "three numbers for a value": (lambda f: ModuleTarget(Logits(), TAKES, VALUE), "regression answer"),
    "a value with gives": (lambda f: Answer("regression", gives="probabilities"), "leave gives out"),
}


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_an_answer_of_another_kind_than_declared_is_refused(case, tmp_path) -> None:
    make, says = CONTRADICTIONS[case]
    with pytest.raises(UserError, match=says) as caught:
        make(tmp_path)
    assert "\n" not in str(caught.value)


def test_sigmoids_declared_as_logits_are_doubted() -> None:
    with pytest.warns(UserWarning, match=r"all its numbers lie in 0\.\.1 .* if a sigmoid makes them"):
        ModuleTarget(Sigmoid(), TAKES, CLASSES)


def test_a_multi_label_model_is_read_by_each_labels_own_sigmoid() -> None:
    model = ModuleTarget(Logits(), TAKES, Answer("classification", LABELS, gives="multi-label"))
    logits = torch.tensor([[3.0, 4.6, -4.0], [-1.0, 5.0, 0.2], [2.0, 1.0, -1.0]])
    aim = make_goal([(0.0, 0.0)] * 3, model, 1.0)
    torch.testing.assert_close(aim.reading(logits), logits[:, 0].sigmoid())
    torch.testing.assert_close(
        aim.loss(logits), functional.binary_cross_entropy_with_logits(logits[:, 0], torch.ones(3), reduction="none")
    )
    assert aim.reached(logits).tolist() == [True, False, True]
    assert [model.class_of(row, 0) for row in logits] == ["dark", "mid", "dark"]  # the asked one, if it is there
    assert [model.class_of(row) for row in logits] == ["mid", "mid", "dark"]  # the likeliest
    assert (aim[torch.tensor([1])].multi_label, aim.repeat(2).multi_label, aim.to(torch.device("cpu")).multi_label) == (
        True,
        True,
        True,
    )
    assert parse_target("bright", model).numbers == (2.0,)


def test_a_single_label_model_says_the_likeliest_whatever_was_asked() -> None:
    model = ModuleTarget(Logits(), TAKES, CLASSES)
    assert model.class_of(torch.tensor([1.0, 2.0, -1.0]), 0) == "mid"


def test_a_multi_label_model_is_explained_from_end_to_end(echo_root, backbone_folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("lvcf.explanation.DRAWABLE", -1.0)  # random weights draw nothing
    arguments = predict_arguments(subset(echo_root, tmp_path / "data", 2), backbone_folder, Path(), tmp_path / "run")
    own = {
        "network": "tests.faults.targets.Several",
        "takes.range": [-1, 1],
        "takes.size": 32,
        "answer.task": "classification",
        "answer.labels": ["bright", "moving", "dark"],
        "answer.gives": "multi-label",
    }
    flags = [f"--model.target_model.{name}={value}" for name, value in own.items()]
    kept = [a for a in arguments if "target_model" not in a]
    made = "--model.target_model=lvcf.models.targets.exported.ModuleTarget"
    assert main([*kept, "--model.target=bright", made, *flags]) == 0
    for result in results(tmp_path / "run").values():
        assert (result["status"] == "reached") == (result["prediction_after"] >= 0.5)
        assert (result["class_after"] == "bright") == (result["status"] == "reached")
    model = load_target_model(tmp_path / "run")
    for prediction in read_predictions(tmp_path / "run"):
        asked_already = prediction.result["class_before"] == "bright"
        assert asked_already == (prediction.result["prediction_before"] >= 0.5)
        row = ask_again(prediction, model, 1.0)
        assert math.isnan(row[TRANSITION[0]]) == asked_already
