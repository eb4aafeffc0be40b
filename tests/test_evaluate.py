"""Adherence against plain formulas, and how rows become means."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from lvcf.measure.parallel import measure_each
from lvcf.measure.summary import summarise
from lvcf.metrics.statistics import standard_error
from lvcf.runs.folder import Prediction


def rows(
    after: list[float], low: list[float], high: list[float] | None = None, reached: list[bool] | None = None
) -> list[dict]:
    edges = zip(after, low, high or low, reached or [True] * len(after), strict=True)
    return [
        {
            "id": str(i),
            "task": "regression",
            "status": "reached" if r else "not_reached",
            "prediction_after": a,
            "target": f"{lo:g}",
            "target_low": lo,
            "target_high": hi,
        }
        for i, (a, lo, hi, r) in enumerate(edges)
    ]


def test_mae_rmse_and_r2_are_the_plain_formulas() -> None:
    rng = np.random.default_rng(0)
    target = rng.uniform(15, 80, 40)
    after = target + rng.normal(0.5, 2, 40)
    result = summarise(rows(after.tolist(), target.tolist()))
    error = after - target
    assert result["adherence/mae"] == pytest.approx(np.abs(error).mean())
    assert result["adherence/rmse"] == pytest.approx(math.sqrt((error**2).mean()))
    assert result["adherence/r2"] == pytest.approx(1 - (error**2).sum() / ((target - target.mean()) ** 2).sum())
    assert result["adherence/mae.se"] == pytest.approx(np.abs(error).std(ddof=1) / math.sqrt(40))


def test_r2_is_of_the_target_not_of_the_prediction() -> None:
    """R2 is not symmetric: predictions that shrink to the mean are worth little."""
    target = [10.0, 20.0, 30.0]
    result = summarise(rows([19.0, 20.0, 21.0], target))
    assert result["adherence/r2"] == pytest.approx(1 - (81 + 81) / 200)


@pytest.mark.parametrize(("after", "error"), [(25.0, 0.0), (18.0, 2.0), (33.5, 3.5)])
def test_a_range_is_missed_by_the_distance_to_its_nearest_edge(after, error) -> None:
    assert summarise(rows([after], [20.0], [30.0]))["adherence/mae"] == pytest.approx(error)


@pytest.mark.parametrize("targets", [[30.0], [30.0, 30.0]])
def test_r2_is_unavailable_with_its_reason_where_it_does_not_exist(targets) -> None:
    result = summarise(rows([31.0] * len(targets), targets))
    assert result["adherence/r2"].startswith("unavailable: ")


def test_the_share_within_tolerance_counts_statuses() -> None:
    reached = [True, False, True, True]
    assert summarise(rows([1.0, 2, 3, 4], [1.0, 2, 3, 4], reached=reached))["adherence/within_tolerance"] == 0.75


def test_of_a_classifier_only_the_flip_rate_is_told() -> None:
    known = rows([0.9, 0.45, 0.2, 0.9], [1.0, 1.0, 0.0, 1.0], reached=[True, False, False, True])
    said = [("sad", "happy"), ("sad", "happy"), ("happy", "happy"), ("happy", "happy")]
    asked = ["happy", "happy", "sad", "happy"]  # the last said so from the start: nothing to flip
    done = [
        {**row, "task": "classification", "class_before": before, "class_after": after, "target": target}
        for row, (before, after), target in zip(known, said, asked, strict=True)
    ]
    result = summarise(done)
    assert result["adherence/flip_rate"] == pytest.approx(2 / 3)
    assert result["adherence/flip_rate.se"] == pytest.approx(np.std([1, 1, 0], ddof=1) / np.sqrt(3))
    assert result["adherence/within_tolerance"] == 0.5
    assert not {"adherence/mae", "adherence/r2"} & set(summarise(done))


def test_means_leave_failed_clips_out_and_count_them() -> None:
    done = [
        {**row, "fidelity/ssim": s, "steps": 4} for row, s in zip(rows([1.0, 2], [1.0, 3]), (0.8, 0.9), strict=True)
    ]
    metrics = summarise([*done, {"id": "bad", "status": "failed"}])
    assert (metrics["n"], metrics["failed"]) == (2, 1)
    assert metrics["fidelity/ssim"] == pytest.approx(0.85)
    assert metrics["fidelity/ssim.se"] == pytest.approx(0.05)
    assert metrics["cost/steps"] == 4
    assert not any("prediction" in name for name in metrics)


@pytest.mark.parametrize(
    ("task", "advice"), [("regression", "--model.target=delta:0"), ("classification", "--model.target=CLASS")]
)
def test_advice_is_of_the_models_own_task(task, advice) -> None:
    told = {"task": task, "class_before": "sad", "class_after": "happy", "target": "happy"}
    row = rows([1.0], [1.0])[0] | told | {"composition/ssim": math.nan}
    reason = summarise([row])["composition/ssim"]
    assert reason.startswith("unavailable: no clip was asked for what the model says already; ")
    assert advice in reason


def test_measuring_draws_no_bar_where_the_output_is_no_terminal(capfd) -> None:
    assert list(measure_each(lambda prediction: {"id": prediction.id}, [Prediction(Path(), {"id": "one"})]))
    assert capfd.readouterr().err == ""


def test_nothing_but_failures_has_no_means() -> None:
    assert summarise([{"id": "bad", "status": "failed"}]) == {"n": 0, "failed": 1}


def test_the_standard_error_of_one_value() -> None:
    assert standard_error(np.array([3.0])) is None
