"""CLD against its published formula written out anew, and against cases whose answer is known."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from lvcf.measure.sets import divergences
from lvcf.metrics.latent_divergence import (
    feature_distance,
    latent_divergence,
    posterior_divergence,
)
from lvcf.runs.folder import Prediction


def test_the_divergence_of_posteriors_is_torch_distributions() -> None:
    mean, log_std = torch.randn(2, 7, 12)
    of_mean, of_log_std = torch.randn(2, 12)
    wanted = kl_divergence(Normal(mean, log_std.exp()), Normal(of_mean, of_log_std.exp())).mean(dim=1)
    assert posterior_divergence(mean, log_std, of_mean, of_log_std).tolist() == pytest.approx(wanted.tolist(), rel=1e-5)
    assert posterior_divergence(mean[:1], log_std[:1], mean[0], log_std[0]).item() == pytest.approx(0.0, abs=1e-6)


def published(distance: float, own: list[float], target: list[float]) -> float:
    """log(0.8 exp P(S_target <= d) + 0.2 exp P(S_own >= d)), counted one by one."""
    nearer = sum(value <= distance for value in target) / len(target)
    farther = sum(value >= distance for value in own) / len(own)
    return float(np.log(0.8 * np.exp(nearer) + 0.2 * np.exp(farther)))


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_published_formula(seed) -> None:
    generator = np.random.default_rng(seed)
    own, target = generator.integers(0, 9, 11), generator.integers(3, 12, 6)  # whole numbers: some are equal
    distance = float(generator.integers(0, 12))
    found = latent_divergence(distance, torch.from_numpy(own), torch.from_numpy(target))
    assert found == pytest.approx(published(distance, own.tolist(), target.tolist()))
    assert 0.0 <= found <= 1.0


@pytest.mark.parametrize(
    ("distance", "wanted"),
    [
        (2.0, 0.0),  # out of its own kind, nearer than every real clip of the target
        (0.0, math.log(0.8 + 0.2 * math.e)),  # nothing was done
        (9.0, math.log(0.8 * math.e + 0.2)),  # another clip altogether
    ],
)
def test_least_change_nothing_and_too_much(distance, wanted) -> None:
    own, target = torch.tensor([1.0, 1.5]), torch.tensor([3.0, 4.0])
    assert latent_divergence(distance, own, target) == pytest.approx(wanted)


def test_a_clip_without_others_of_its_kind_or_of_the_target_has_none() -> None:
    some, none = torch.tensor([1.0]), torch.empty(0)
    assert math.isnan(latent_divergence(2.0, none, some))
    assert math.isnan(latent_divergence(2.0, some, none))


def regression(before: float, target: float) -> Prediction:
    edges = {"low": target, "high": target, "text": f"{target:g}"}
    return Prediction(Path(), {"task": "regression", "prediction_before": before, "target": edges})


def classification(before: str, target: str) -> Prediction:
    facts = {"class_before": before, "prediction_before": 0.1, "target": {"low": 0, "high": 0, "text": target}}
    return Prediction(Path(), {"task": "classification", **facts})


def test_the_run_s_own_clips_are_the_real_ones() -> None:
    """Features on a line: two sad clips at 0 and 2, two happy ones at 10 and 12; the first goes to 5."""
    clips = [classification(*pair) for pair in (("sad", "Happy"), ("sad", "happy"), ("happy", "sad"), ("happy", "odd"))]
    factuals = torch.tensor([[0.0], [2.0], [10.0], [12.0]])
    finals = torch.tensor([[5.0], [2.0], [10.0], [12.0]])
    found = divergences(clips, finals, factuals)
    assert found[0] == 0.0
    assert found[1:3] == pytest.approx([math.log(0.8 + 0.2 * math.e)] * 2)  # nothing was done
    assert math.isnan(found[3])  # no clip is odd


def test_readings_are_of_one_kind_within_a_fifth_of_the_clips() -> None:
    """Ten clips, two in every bin; the features are the readings."""
    readings = [10.0, 11.0, 20.0, 21.0, 30.0, 31.0, 40.0, 41.0, 50.0, 51.0]
    clips = [regression(value, 40.4) for value in readings]
    factuals = torch.tensor(readings)[:, None]
    found = divergences(clips, factuals + 5.0, factuals)
    distances = [sorted(abs(a - b) for b in readings if b != a) for a in readings]
    assert distances[0][0] == 1.0
    assert found[0] == 0.0  # 5 is past its neighbour at 1 and short of the target's at 30 and 31
    assert found[6] == pytest.approx(published(5.0, [1.0], [1.0]))  # its own kind is the target's
    assert found[8] == 0.0  # 5 is past 1, and short of 9 and 10
    assert feature_distance(factuals, factuals[0]).tolist() == [value - 10.0 for value in readings]
