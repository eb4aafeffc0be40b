"""One check for every target model: company, chance, batches and layout do not change what it says; arguments."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lvcf.errors import UserError
from lvcf.models.targets.base import QueryPlan, TargetModel
from lvcf.models.targets.check import check_target, plausible_clips
from lvcf.models.targets.echonet_dynamic import EchoNetRegressor
from lvcf.models.targets.exported import ExportedTarget, ModuleTarget
from lvcf.models.targets.wrapping import Answer, ClipInput
from tests.faults.targets import CLASSES, LABELS, SIZE, TAKES, VALUE, Logits, Mean, Told, clips, pt2
from tests.helpers import fails, predict_arguments, results, subset

NAN, INF = float("nan"), float("inf")


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


SATURATED = {
    "clamped to what can be": lambda x: (100.0 * x.mean((1, 2, 3, 4)) - 5.0).clamp(0.0, 1.0),
    "a unit that none of them wakes": lambda x: (x.mean((1, 2, 3, 4)) - 0.85).relu(),
    "a steep sigmoid": lambda x: (1000.0 * (x.mean((1, 2, 3, 4)) - 0.4)).sigmoid(),
}


@pytest.mark.parametrize("case", SATURATED)
def test_a_model_that_is_saturated_on_made_up_clips_is_no_model_without_gradient(case) -> None:
    class Saturated(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return SATURATED[case](x)

    assert ModuleTarget(Saturated(), TAKES, VALUE).checked


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
