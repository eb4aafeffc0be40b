"""lambda(t): rising with the loss, bounded, and worth something on normalised gradients."""

from __future__ import annotations

import math

import pytest
import torch

from lvcf.errors import UserError
from lvcf.guidance.gradient import normalised
from lvcf.guidance.weight import AdaptiveWeight, ConstantWeight, PrintedSign, PrintedWeight

LOSS = torch.linspace(0.0, 3.0, 61, dtype=torch.float64)
NOW = torch.full_like(LOSS, 0.5)


@pytest.mark.parametrize(("low", "high", "alpha"), [(0.02, 0.2, 4.0), (0.0, 1.0, 0.5), (0.1, 0.3, 8.0)])
def test_it_rises_strictly_from_lambda_min_and_stays_below_lambda_max(low, high, alpha) -> None:
    weight = AdaptiveWeight(low, high, alpha)(LOSS, NOW)
    assert float(weight[0]) == pytest.approx(low)
    assert (weight.diff() > 0).all()
    assert (weight <= high).all()
    assert float(AdaptiveWeight(low, high, alpha)(torch.tensor([1e4]), NOW[:1])) == pytest.approx(high)


def test_values_are_those_of_the_equation() -> None:
    weight = AdaptiveWeight(0.05, 0.4, 2.0, decay=1.5)(torch.tensor([0.3, 1.1]), torch.tensor([0.9, 0.25]))
    wanted = [(0.05 + 0.35 * (1 - math.exp(-2 * loss))) * t**1.5 for loss, t in ((0.3, 0.9), (1.1, 0.25))]
    assert weight.tolist() == pytest.approx(wanted)


def test_decay_falls_towards_the_clean_end_and_zero_leaves_time_out() -> None:
    times = torch.linspace(0.05, 1.0, 20)
    loss = torch.ones_like(times)
    assert (AdaptiveWeight(0.1, 0.5, 1.0, decay=2.0)(loss, times).diff() > 0).all()
    assert (AdaptiveWeight(0.1, 0.5, 1.0)(loss, times).diff() == 0).all()


def test_the_constant_weight_ignores_loss_and_time() -> None:
    assert ConstantWeight(0.3)(LOSS, NOW).unique().tolist() == pytest.approx([0.3])


def test_adaptivity_means_something_because_gradients_are_normalised() -> None:
    """Of M = mean(z)^2 the raw gradient shrinks near the target by itself; the normalised one does not."""
    near, far = torch.full((1, 16), 0.01), torch.full((1, 16), 1.0)
    raw = [2 * z.mean() * torch.full_like(z, 1 / 16) for z in (near, far)]
    assert float(raw[1].norm() / raw[0].norm()) == pytest.approx(100.0, rel=1e-4)
    unit = [normalised(g) for g in raw]
    torch.testing.assert_close(unit[0], unit[1])
    schedule = AdaptiveWeight(0.02, 0.2, 4.0)
    steps = [
        float((schedule(z.mean(1) ** 2, torch.ones(1))[:, None] * g).norm())
        for z, g in zip((near, far), unit, strict=True)
    ]
    assert steps[1] / steps[0] == pytest.approx(float(schedule(torch.ones(1), torch.ones(1))) / 0.02, rel=0.01)
    assert steps[1] > 5 * steps[0]


# --- the source paper's forms as printed ---------------------------------------------------------------------------


def test_eq_3_as_printed_falls_from_lambda_max_to_lambda_min() -> None:
    weight = PrintedWeight(0.02, 0.2, 4.0)(LOSS, NOW)
    assert weight.tolist() == pytest.approx([0.02 + 0.18 * math.exp(-4.0 * loss) for loss in LOSS.tolist()])
    assert float(weight[0]) == pytest.approx(0.2)
    assert (weight.diff() < 0).all()
    torch.testing.assert_close(weight + AdaptiveWeight(0.02, 0.2, 4.0)(LOSS, NOW), torch.full_like(LOSS, 0.22))


def test_eq_2s_sign_as_printed_is_the_other_way_and_keeps_what_the_weight_is() -> None:
    for weight in (ConstantWeight(0.3), AdaptiveWeight(0.02, 0.2, 4.0, decay=2.0), PrintedWeight(0.02, 0.2, 4.0)):
        torch.testing.assert_close(PrintedSign(weight)(LOSS, NOW), -weight(LOSS, NOW))
        assert PrintedSign(weight).adaptive == weight.adaptive
    assert PrintedSign(PrintedWeight(0.02, 0.2, 4.0)).printed == ("the sign of Eq. 2", "Eq. 3")


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ((math.nan, 0.2, 4.0), r"PrintedWeight\.lambda_min nan"),
        ((0.0, math.inf, 4.0), r"PrintedWeight\.lambda_max inf"),
        ((0.0, 0.2, -1.0), r"PrintedWeight\.alpha -1"),
    ],
)
def test_numbers_of_eq_3_that_cannot_be_are_refused(numbers, said) -> None:
    with pytest.raises(UserError, match=said):
        PrintedWeight(*numbers)
