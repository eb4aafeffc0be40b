"""Target models: what kind of answer they give, and one check that company, chance and layout do not change it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lvcf.cli import main
from lvcf.errors import UserError
from lvcf.evaluation.model import ask_again, load_target_model
from lvcf.evaluation.rows import TRANSITION
from lvcf.guidance.goal import Goal, make_goal, parse_target
from lvcf.models.targets.base import QueryPlan, TargetModel
from lvcf.models.targets.black_box import BlackBox
from lvcf.models.targets.check import check_target, plausible_clips
from lvcf.models.targets.echonet_dynamic import EchoNetRegressor
from lvcf.models.targets.exported import ExportedTarget, ModuleTarget
from lvcf.models.targets.wrapping import Answer, ClipInput
from lvcf.run_folder import read_predictions
from tests.helpers import fails, predict_arguments, results, subset

SIZE = (4, 8, 8)
TAKES = ClipInput(range=(0.0, 1.0), size=8, frames=4)
NAN, INF = float("nan"), float("inf")
LABELS = ("dark", "mid", "bright")
CLASSES = Answer("classification", LABELS)
VALUE = Answer("regression", scale=0.2)


def clips(n: int = 3, size: tuple[int, int, int] = SIZE) -> Tensor:
    return 1.8 * torch.rand(n, 3, *size, generator=torch.Generator().manual_seed(3)) - 0.9


class Logits(nn.Module):
    """Three classes by brightness."""

    def forward(self, x: Tensor) -> Tensor:
        b = x.mean((1, 2, 3, 4))
        return torch.stack([8 * (0.4 - b), 0 * b, 8 * (b - 0.6)], 1)


class Softmax(Logits):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).softmax(1)


class Sigmoid(Logits):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).sigmoid()


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((1, 2, 3, 4))


# --- probabilities, logits, labels that do not exclude each other ----------------------------------------------------


def pt2(network: nn.Module, path: Path, shapes: object = None, example: Tensor | None = None) -> Path:
    given = clips(2) if example is None else example
    torch.export.save(torch.export.export(network, (given,), dynamic_shapes=shapes), path)
    return path


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


class Told(BlackBox):
    """A black box that says what a network says."""

    def __init__(self, network: nn.Module, answer: Answer) -> None:
        super().__init__("told", TAKES, answer, QueryPlan())
        self.network = network
        self.check()

    def ask(self, given: np.ndarray) -> np.ndarray:
        return self.network(torch.from_numpy(given)).numpy()


CONTRADICTIONS = {
    "a softmax for logits": (lambda f: ModuleTarget(Softmax(), TAKES, CLASSES), "answer.gives: probabilities"),
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


def test_a_multi_label_model_is_explained_from_end_to_end(echo_root, backbone_folder, tmp_path) -> None:
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


# --- chance and company ----------------------------------------------------------------------------------------------


class InTraining(nn.Module):
    """Batch norm and dropout that stay as they were exported."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.head = nn.BatchNorm3d(3), nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(x).relu().mean((2, 3, 4)))


class AlwaysDropped(Mean):
    def forward(self, x: Tensor) -> Tensor:
        return functional.dropout(x, 0.5, training=True).mean((1, 2, 3, 4))


class OfTheBatch(Mean):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - x.mean())


class AfterTheOthers(Mean):
    """Each clip is mixed with those before it only: the first is always right."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).cumsum(0)


class Counts(Mean):
    """Says something new every time."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def forward(self, x: Tensor) -> Tensor:
        self.asked += 1
        return super().forward(x) + self.asked


def in_training(path: Path, clips_at_once: Tensor, shapes: object) -> TargetModel:
    return ExportedTarget(pt2(InTraining().train(), path / "m.pt2", shapes, clips_at_once), TAKES, VALUE)


def traced_in_training(path: Path) -> TargetModel:
    torch.jit.trace(InTraining().train(), clips(2), check_trace=False).save(str(path / "m.pt"))
    return ExportedTarget(path / "m.pt", TAKES, VALUE)


MIXING = {
    "a .pt2 in training mode": lambda f: in_training(f, clips(2), ({0: torch.export.Dim("b")},)),
    "a .pt2 in training mode, of one clip": lambda f: in_training(f, clips(1), None),
    "a .pt2 in training mode, of four clips": lambda f: in_training(f, clips(4), None),
    "TorchScript in training mode": traced_in_training,
    "dropout": lambda f: ModuleTarget(AlwaysDropped(), TAKES, VALUE),
    "the batch's mean": lambda f: ModuleTarget(OfTheBatch(), TAKES, VALUE),
    "the clips before": lambda f: ModuleTarget(AfterTheOthers(), TAKES, VALUE),
    "a black box with the batch's mean": lambda f: Told(OfTheBatch(), VALUE),
    "a black box with dropout": lambda f: Told(AlwaysDropped(), VALUE),
    "a counter": lambda f: ModuleTarget(Counts(), TAKES, VALUE),
}


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize("case", MIXING)
def test_what_depends_on_chance_or_on_other_clips_is_refused(case, tmp_path) -> None:
    with pytest.raises(UserError, match=r"two answers|mixes the clips|training mode") as caught:
        MIXING[case](tmp_path)
    assert "eval()" in str(caught.value)


def test_the_check_leaves_the_random_numbers_as_they_are() -> None:
    before = torch.random.get_rng_state()
    ModuleTarget(Mean(), TAKES, VALUE)
    with pytest.raises(UserError):
        ModuleTarget(AlwaysDropped(), TAKES, VALUE)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_what_the_check_asks_is_neither_counted_nor_remembered() -> None:
    model = Told(Mean(), VALUE)
    assert model.queries == 0
    model(plausible_clips(SIZE))
    assert model.queries == 3


# --- batches ---------------------------------------------------------------------------------------------------------

BATCHES = {
    "at most four clips": (2, ({0: torch.export.Dim("b", max=4)},)),
    "at least four clips": (5, ({0: torch.export.Dim("b", min=4)},)),
    "four clips": (4, None),
    "two clips": (2, None),
    "one clip": (1, None),
    "any": (2, ({0: torch.export.Dim("b")},)),
}


@pytest.mark.parametrize("n", [1, 3, 8])
@pytest.mark.parametrize("case", BATCHES)
def test_a_graph_exported_for_some_clips_answers_for_any(case, n, tmp_path) -> None:
    example, shapes = BATCHES[case]
    model = ExportedTarget(pt2(Logits().eval(), tmp_path / "m.pt2", shapes, clips(example)), TAKES, CLASSES)
    point = clips(n).requires_grad_(True)
    said = model(point)
    wanted = Logits()((clips(n) + 1.0) / 2.0)
    torch.testing.assert_close(said, wanted)
    (gradient,) = torch.autograd.grad(said[:, 0].sum(), point)
    torch.testing.assert_close(gradient, torch.full_like(gradient, -4.0 / gradient[0].numel()))


class OneByOne(Mean):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.reshape(1, 3, *SIZE))


def test_a_module_for_one_clip_is_run_clip_by_clip() -> None:
    model = ModuleTarget(OneByOne(), TAKES, VALUE)
    torch.testing.assert_close(model(clips(3)), Mean()((clips(3) + 1.0) / 2.0))


def test_a_module_for_two_clips_is_refused_before_the_first_clip() -> None:
    class Pairs(Mean):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.reshape(2, 3, *SIZE))

    with pytest.raises(UserError, match="any number of clips"):
        ModuleTarget(Pairs(), TAKES, VALUE)


# --- gradients, kinds of output --------------------------------------------------------------------------------------


class Changed(Mean):
    """The mean, made useless in one of several ways."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        mean = super().forward(x)
        ways = {
            "detached": mean.detach,
            "numpy": lambda: torch.from_numpy(mean.detach().numpy()),
            "rounded": (20.0 * mean).round,
            "constant": lambda: 0.0 * mean.detach() + 3.0,
            "no dependence": lambda: 0.0 * mean + 3.0,
            "not a number": lambda: mean / 0.0 - mean / 0.0,
            "a bad gradient": lambda: mean + (x - x.detach()).abs().sqrt().sum((1, 2, 3, 4)),
        }
        with torch.set_grad_enabled(self.how != "no_grad" and torch.is_grad_enabled()):
            return ways[self.how]() if self.how in ways else super().forward(x)


USELESS = {
    **dict.fromkeys(("detached", "numpy", "rounded", "constant", "no dependence", "no_grad"), "has no gradient"),
    "not a number": "not a finite number",
    "a bad gradient": "gradient on a plausible clip is not finite",
}


@pytest.mark.parametrize("how", USELESS)
def test_a_model_that_cannot_be_followed_is_refused(how) -> None:
    with pytest.raises(UserError, match=USELESS[how]):
        ModuleTarget(Changed(how), TAKES, VALUE)


class Own(TargetModel):
    """A user's own subclass that returns what it is told to."""

    def __init__(self, made: object) -> None:
        super().__init__()
        self.made = made

    def forward(self, video: Tensor) -> Tensor:
        return self.made(video)


OWN = {
    "a tuple": (lambda v: (v.mean((1, 2, 3, 4)),), "returns tuple"),
    "nothing": (lambda v: None, "returns NoneType"),
    "one column": (lambda v: v.mean((1, 2, 3, 4))[:, None], r"\(2, 1\)"),
    "a scalar": (lambda v: v.mean(), r"\(\)"),
    "whole numbers": (lambda v: v.mean((1, 2, 3, 4)).long(), "int64"),
    "another number of channels": (lambda v: functional.conv3d(v, torch.zeros(1, 1, 1, 1, 1)), "does not run on"),
    "no gradient": (lambda v: v.detach().mean((1, 2, 3, 4)), "has no gradient"),
    "chance": (lambda v: functional.dropout(v).mean((1, 2, 3, 4)), "two answers"),
    "squeezed": (lambda v: v.mean((2, 3, 4)).mean(1).squeeze(), r"\(\)"),
}


@pytest.mark.parametrize("case", OWN)
def test_a_subclass_is_checked_like_the_others(case) -> None:
    made, says = OWN[case]
    with pytest.raises(UserError, match=f"Own: .*{says}"):
        check_target(Own(made), SIZE)


def test_a_subclass_is_checked_when_predict_starts(capfd, echo_root, backbone_folder, tmp_path) -> None:
    arguments = predict_arguments(subset(echo_root, tmp_path / "data", 2), backbone_folder, Path(), tmp_path / "run")
    kept = [a for a in arguments if "target_model" not in a]
    line = fails(capfd, [*kept, "--model.target=30", "--model.target_model=tests.faults.targets.Tuple"])
    assert "Tuple: forward returns tuple" in line
    assert results(tmp_path / "run") == {}


def test_wrong_number_of_classes() -> None:
    model = Own(lambda v: v.mean((2, 3, 4)))
    model.task, model.labels = "classification", ("a", "b")
    with pytest.raises(UserError, match=r"\(2, 3\); a classification model returns floats of shape \(2, 2\)"):
        check_target(model, SIZE)


@pytest.mark.parametrize(
    ("name", "value"), [("labels", ("a", "a", "b")), ("labels", ()), ("scale", 0.0), ("scale", NAN)]
)
def test_a_subclass_that_declares_nothing_usable_is_told(name, value) -> None:
    model = Own(lambda v: v.mean((2, 3, 4)) if name == "labels" else v.mean((1, 2, 3, 4)))
    model.task = "classification" if name == "labels" else "regression"
    setattr(model, name, value)
    with pytest.raises(UserError, match=f"Own: {name}"):
        check_target(model, SIZE)


@torch.no_grad()
def test_a_model_that_works_in_place_does_not_change_the_clip() -> None:
    video = clips()
    Own(lambda v: v.mul_(0.5).mean((1, 2, 3, 4)))(video)
    assert torch.equal(video, clips())


# --- layouts, arguments ----------------------------------------------------------------------------------------------


@torch.no_grad()
def test_channels_last() -> None:
    class Axes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            assert x.shape[1:] == (4, 8, 8, 3)
            return x[:, 1, :, :, 2].mean((1, 2))  # second frame, third channel

    model = ModuleTarget(Axes(), ClipInput((0.0, 1.0), size=8, frames=4, layout="BTHWC"), VALUE)
    torch.testing.assert_close(model(clips()), (clips()[:, 2, 1].mean((1, 2)) + 1.0) / 2.0)


WRONG = {
    "plan.directions": lambda: QueryPlan(directions=0),
    "plan.grid": lambda: QueryPlan(grid=0),
    "plan.budget": lambda: QueryPlan(budget=0),
    "plan.budget -5": lambda: QueryPlan(budget=-5),
    "plan.batch": lambda: QueryPlan(batch=0),
    "plan.radius": lambda: QueryPlan(radius=0.0),
    "plan.radius nan": lambda: QueryPlan(radius=NAN),
    "plan.radius inf": lambda: QueryPlan(radius=INF),
    "range [0, inf]": lambda: ClipInput((0.0, INF)),
    "range [nan": lambda: ClipInput((NAN, 1.0)),
    "mean [nan": lambda: ClipInput((0.0, 1.0), mean=(NAN, 0.0, 0.0)),
    "std [nan": lambda: ClipInput((0.0, 1.0), std=(NAN, 1.0, 1.0)),
    "std [1.0, inf": lambda: ClipInput((0.0, 1.0), std=(1.0, INF, 1.0)),
    "layout HWC": lambda: ClipInput((0.0, 1.0), layout="HWC"),
    "scale nan": lambda: Answer("regression", scale=NAN),
    "bounds": lambda: Answer("regression", bounds=(10.0, 0.0)),
    "bounds [nan": lambda: Answer("regression", bounds=(NAN, 0.0)),
    "gives percent": lambda: Answer("classification", LABELS, gives="percent"),
    "std [0.0": lambda: EchoNetRegressor(std=(0.0, 1.0, 1.0)),
    "mean [nan, 1": lambda: EchoNetRegressor(mean=(NAN, 1.0, 1.0)),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_argument_is_told_in_one_line(case) -> None:
    with pytest.raises(UserError) as caught:
        WRONG[case]()
    assert case.split()[0] in str(caught.value)
    assert "\n" not in str(caught.value)
