"""What the target model should say: forms, bounds, losses, tolerance."""

from __future__ import annotations

import math
import random

import pytest
import torch

from lvcf.errors import UserError
from lvcf.guidance.goal import Goal, make_goal
from lvcf.targets import parse_target
from tests.toys import BrightDark, LinearTarget

MODEL = LinearTarget()


def regression(low: float, high: float, tolerance: float = 1.0) -> Goal:
    return Goal(torch.tensor([low]), torch.tensor([high]), scale=20.0, tolerance=tolerance)


@pytest.mark.parametrize(
    ("text", "kind", "edges"),
    [
        ("30", "value", (30.0, 30.0)),
        ("30.5", "value", (30.5, 30.5)),
        ("delta:-10", "delta", (34.0, 34.0)),
        ("delta:+7.5", "delta", (51.5, 51.5)),
        ("20..30", "range", (20.0, 30.0)),
        ("label", "label", (61.0, 61.0)),
        ("0", "value", (0.0, 0.0)),
        ("100", "value", (100.0, 100.0)),
    ],
)
def test_forms(text, kind, edges) -> None:
    request = parse_target(text, MODEL)
    assert request.kind == kind
    assert request.edges(before=44.0, label=61.0, draw=0.3) == pytest.approx(edges)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "write 30"),
        ("thirty", "write 30"),
        ("30 %", "write 30"),
        ("delta", "write 30"),
        ("delta:ten", "write 30"),
        ("uniform:15..80", "write 30"),
        ("20...30", "write 30"),
        ("nan", "write 30"),
        ("inf", "write 30"),
        ("101", "101 is outside the model's 0..100 points"),
        ("-5", "-5 is outside"),
        ("90..120", "120 is outside"),
        ("uniform:-5..80:10", "-5 is outside"),
        ("30..20", "swap"),
        ("uniform:80..15:10", "swap"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_the_reason(text, says) -> None:
    with pytest.raises(UserError, match=says.replace("+", r"\+")) as caught:
        parse_target(text, MODEL)
    assert f"'{text}'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_uniform_targets_are_ten_away_inside_the_range_and_spread() -> None:
    request = parse_target("uniform:15..80:10", MODEL)
    rng = random.Random(0)
    values = []
    for _ in range(3000):
        before = rng.uniform(0.0, 100.0)
        low, high = request.edges(before, math.nan, rng.random())
        assert low == high
        assert 15.0 <= low <= 80.0
        assert abs(low - before) >= 10.0 - 0.01, (low, before)  # targets have two decimals
        values.append(low)
    assert min(values) < 17
    assert max(values) > 78


@pytest.mark.parametrize("before", [15.0, 20.0, 24.99, 25.0, 47.3, 70.0, 71.0, 80.0])
def test_uniform_covers_what_is_allowed_evenly(before) -> None:
    request = parse_target("uniform:15..80:10", MODEL)
    values = [request.edges(before, 0.0, (i + 0.5) / 1000)[0] for i in range(1000)]
    allowed = [v for v in (15 + 65 * (i + 0.5) / 20000 for i in range(20000)) if abs(v - before) >= 10]
    assert sum(values) / 1000 == pytest.approx(sum(allowed) / len(allowed), abs=0.3)


def test_uniform_takes_the_far_end_when_nothing_is_far_enough() -> None:
    request = parse_target("uniform:45..55:10", MODEL)
    assert request.edges(48.0, 0.0, 0.9)[0] == 55.0
    assert request.edges(53.0, 0.0, 0.1)[0] == 45.0


def test_the_loss_is_dimensionless_and_measured_from_the_nearest_edge() -> None:
    aim = Goal(torch.tensor([20.0, 20.0, 20.0, 50.0]), torch.tensor([30.0, 30.0, 30.0, 50.0]), 20.0, 1.0)
    loss = aim.loss(torch.tensor([10.0, 25.0, 40.0, 40.0]))
    assert loss.tolist() == pytest.approx([0.25, 0.0, 0.25, 0.25])


@pytest.mark.parametrize(("value", "sign"), [(10.0, -1), (25.0, 0), (40.0, 1)])
def test_the_losses_gradient_points_away_from_the_range(value, sign) -> None:
    output = torch.tensor([value], requires_grad=True)
    regression(20.0, 30.0).loss(output).sum().backward()
    assert float(output.grad.sign()) == sign


@pytest.mark.parametrize(
    ("value", "reached"), [(18.99, False), (19.0, True), (25.0, True), (31.0, True), (31.01, False)]
)
def test_tolerance_edges(value, reached) -> None:
    assert bool(regression(20.0, 30.0).reached(torch.tensor([value]))) is reached


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_an_output_that_is_no_number_is_not_reached(value) -> None:
    assert not bool(regression(20.0, 30.0).reached(torch.tensor([value])))


def test_classification_is_cross_entropy_and_wants_the_argmax_at_half() -> None:
    aim = Goal(torch.tensor([1.0] * 4), torch.tensor([1.0] * 4), 1.0, 1.0, classification=True)
    probability = torch.tensor([[0.1, 0.8, 0.1], [0.3, 0.4, 0.3], [0.5, 0.5, 0.0], [0.6, 0.3, 0.1]])
    logits = probability.clamp(min=1e-30).log()
    assert aim.reached(logits).tolist()[:2] == [True, False]
    assert not bool(aim.reached(logits)[3])
    assert aim.reading(logits).tolist() == pytest.approx([0.8, 0.4, 0.5, 0.3])
    assert aim.loss(logits).tolist() == pytest.approx([-math.log(p) for p in (0.8, 0.4, 0.5, 0.3)])


def test_descending_the_cross_entropy_raises_the_target_class() -> None:
    aim = Goal(torch.tensor([1.0]), torch.tensor([1.0]), 1.0, 1.0, classification=True)
    logits = torch.zeros(1, 3, requires_grad=True)
    aim.loss(logits).sum().backward()
    assert logits.grad[0, 1] < 0 < logits.grad[0, 0]


def test_a_class_is_asked_by_name() -> None:
    request = parse_target("dark", BrightDark())
    assert request.kind == "class"
    assert request.edges(0.0, 0.0, 0.0) == (1.0, 1.0)
    with pytest.raises(UserError, match="no such class; choose one of bright, dark"):
        parse_target("30", BrightDark())


def test_goals_of_a_batch_select_repeat_and_carry_the_models_scale() -> None:
    aim = make_goal([(10.0, 20.0), (30.0, 30.0)], MODEL, tolerance=0.5)
    assert (aim.scale, aim.tolerance, aim.classification) == (20.0, 0.5, False)
    assert aim[torch.tensor([1])].low.tolist() == [30.0]
    assert aim.repeat(2).high.tolist() == [20.0, 30.0, 20.0, 30.0]


def test_other_is_every_class_but_the_models_own_equally_often() -> None:
    request = parse_target("other", SevenClasses())
    for before in range(7):
        drawn = [request.edges(float(before), math.nan, (i + 0.5) / 600)[0] for i in range(600)]
        assert {value: drawn.count(value) for value in set(drawn)} == {float(k): 100 for k in range(7) if k != before}


def test_a_mistyped_class_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"target 'class_05': no such class; did you mean class_5\?"):
        parse_target("class_05", SevenClasses())


class SevenClasses(BrightDark):
    """Only its labels matter."""

    labels = tuple(f"class_{i}" for i in range(7))
