"""What a figure must mean: shares of the true change, the truth at any size, unfinished runs, the last correction."""

from __future__ import annotations

import json
import math
import re
import shutil
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lvcf.cli import main
from lvcf.measure.against import paired_tests
from lvcf.measure.columns import headings_of
from lvcf.measure.noises import best_of, mean_of, summarise_means
from lvcf.measure.summary import summarise
from lvcf.metrics.truth import share_recovered
from lvcf.phantoms.echo.set import read_factors
from lvcf.steering.figures import summarise as summarise_steering
from tests.faults.runs import everything, nothing, put_run

SHARE = "truth/share_recovered_smooth"
SHARES = (SHARE, "truth/share_recovered_raw")


def evaluated(run: Path, capsys: Any = None) -> dict[str, Any]:
    assert main(["evaluate", str(run)]) == 0
    return dict(json.loads((run / "metrics.json").read_text()))


# --- the share of the true change ---


@pytest.mark.parametrize("asked", [0, 1])
def test_a_share_of_next_to_no_change_is_undefined(asked: int) -> None:
    """No voxel changes, or one in a hundred by a level: any edit's share would be minus some hundreds."""
    factual = np.full((2, 10, 10), 100, np.uint8)
    truth, final = factual.copy(), factual + np.uint8(3)
    truth[:, 0, 0] += np.uint8(asked)
    assert math.isnan(share_recovered(final, factual, truth, sigma=0.0))
    assert share_recovered(final, factual, factual + np.uint8(4), sigma=0.0) == pytest.approx(0.75)


def parts(asked: float, missed: float, clip: str = "", **more: Any) -> dict[str, Any]:
    """A clip's row."""
    row = {"id": clip, "status": "reached", "task": "regression", "prediction_after": 1.0}
    row |= {"target_low": 1.0, "target_high": 1.0, "target": "1"}
    for kind in ("smooth", "raw"):
        row |= {f"truth/missed_{kind}": missed, f"truth/asked_{kind}": asked}
        row[f"truth/share_recovered_{kind}"] = 1 - missed / asked if asked >= 0.5 else math.nan
    return row | more


ROWS = [parts(4.0, 2.0, "a"), parts(8.0, 6.0, "b"), parts(0.01, 3.0, "c"), parts(6.0, 3.0, "d")]
POOLED = 1 - (2.0 + 6.0 + 3.0 + 3.0) / (4.0 + 8.0 + 0.01 + 6.0)


def steered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    told = {"status": "reached", "method": "steered", "do": "do(a)", "intervention": "a=1"}
    kept = [{key: value for key, value in row.items() if key.startswith("truth/")} for row in rows]
    return [told | figures | {"clip": row["id"]} for figures, row in zip(kept, rows, strict=True)]


def test_the_tables_share_is_of_all_that_was_missed_and_asked() -> None:
    metrics = summarise(ROWS)
    for key in SHARES:
        assert metrics[key] == pytest.approx(POOLED)
        assert metrics[f"{key}.ci_low"] < POOLED < metrics[f"{key}.ci_high"]
    missed, asked = (np.array([row[f"truth/{part}_smooth"] for row in ROWS]) for part in ("missed", "asked"))
    left = [1 - np.delete(missed, i).sum() / np.delete(asked, i).sum() for i in range(len(ROWS))]
    jackknife = math.sqrt((len(ROWS) - 1) * np.var(left))
    assert metrics[f"{SHARE}.se"] == pytest.approx(jackknife, rel=0.35)


def test_derived_rows_and_steerings_pool_alike() -> None:
    assert summarise_means(mean_of([ROWS, ROWS]))[SHARE] == pytest.approx(POOLED)
    assert summarise(best_of([ROWS, ROWS]))[SHARE] == pytest.approx(POOLED)
    steering = summarise_steering(steered(ROWS))
    assert steering[f"steered/{SHARE}"] == pytest.approx(POOLED)
    twice = summarise_steering(steered([*ROWS, *ROWS]))  # of one clip, interventions are not independent
    for end in ("", ".se", ".ci_low", ".ci_high"):
        assert twice[f"steered/{SHARE}{end}"] == pytest.approx(steering[f"steered/{SHARE}{end}"])


def test_where_nothing_was_asked_of_any_clip_there_is_no_share() -> None:
    metrics = summarise([parts(0.0, 2.0), parts(0.3, 1.0)])
    assert all(metrics[key].startswith("unavailable: the true change is below") for key in SHARES)
    assert metrics["truth/asked_smooth"] == pytest.approx(0.15)


def test_paired_tests_of_a_share_count_every_clip_as_the_pooled_figure_does() -> None:
    ours = [parts(row["truth/asked_raw"], row["truth/missed_raw"] + 0.1 * i + 0.1) for i, row in enumerate(ROWS)]
    ours = [row | {"id": other["id"]} for row, other in zip(ours, ROWS, strict=True)]
    (test,) = [test for test in paired_tests(ours, ROWS) if test["metric"] == SHARE]
    assert test["n"] == 4
    assert not [t for t in paired_tests(ours, ROWS) if "missed" in t["metric"] or "asked" in t["metric"]]


def test_a_target_that_the_clip_shows_already_is_evaluated(echo_root: Path, tmp_path: Path) -> None:
    factors = list(read_factors(echo_root).values())
    own = put_run(tmp_path / "own", "echo", echo_root, [factors[0].ef], status="reached")
    metrics = evaluated(own)
    assert all(metrics[key].startswith("unavailable: ") for key in SHARES)
    assert metrics["truth/l1_levels"] == 0.0
    both = put_run(tmp_path / "both", "echo", echo_root, [factors[0].ef, factors[1].ef - 30.0])
    assert evaluated(both)[SHARE] == pytest.approx(0.0)
    assert main(["report", str(both)]) == 0


# --- the truth at the run's size ---

SIZES = [
    ("echo", [30.0, 50.0], {"size": 32}, ("truth/pixel_ef_error", "leakage/edv_percent")),
    ("echo", [30.0], {"size": 96, "frames": 9}, ("truth/pixel_ef",)),
    ("echo", [30.0], {"frames": 9}, ()),
    ("face", ["Happy"], {"size": 32, "frames": 24}, ("truth/pixel_class",)),  # longer than the clip: held
    ("motion", ["Pushing something from left to right"], {"size": 48, "frames": 9}, ("truth/path_error",)),
]


@pytest.mark.parametrize(("phantom", "targets", "how", "ruled"), SIZES)
def test_a_run_of_another_size_or_length_is_compared_with_the_truth(
    phantom, targets, how, ruled, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    root = request.getfixturevalue(f"{phantom}_root")
    metrics = evaluated(put_run(tmp_path / "true", phantom, root, targets, everything, **how))
    assert metrics[SHARE] == metrics["truth/share_recovered_raw"] == 1.0
    assert metrics["truth/l1_levels"] == 0.0
    assert metrics["truth/ssim_of_truth"] == pytest.approx(metrics["fidelity/ssim"])
    for key in ruled:
        assert metrics[key].startswith("unavailable: the ruler measures clips of 112x112 pixels"), key
    if not ruled:
        assert metrics["truth/pixel_ef_error"] == 0.0
    metrics = evaluated(put_run(tmp_path / "same", phantom, root, targets, nothing, **how))
    assert metrics[SHARE] == pytest.approx(0.0)
    assert metrics["truth/l1_levels"] > 0.5
    assert main(["report", str(tmp_path / "same")]) == 0


# --- truth that cannot be had ---


def moved(root: Path) -> None:
    root.rename(root.with_name("elsewhere"))


def other_clips(root: Path) -> None:
    text = (root / "Factors.csv").read_text()
    (root / "Factors.csv").write_text(text.replace("echo0007", "echo0008"))


def without_a_column(root: Path) -> None:
    text = (root / "Factors.csv").read_text()
    (root / "Factors.csv").write_text(text.replace("heart_rate", "pulse"))


def no_number(root: Path) -> None:
    lines = (root / "Factors.csv").read_text().splitlines()
    (root / "Factors.csv").write_text("\n".join([lines[0], *(line.replace(".", "?") for line in lines[1:])]))


GONE = {
    "moved": (moved, "the simulated set is not where the run read it (no Factors.csv); put it back"),
    "other clips": (other_clips, "Factors.csv lacks a clip of the run"),
    "a column": (without_a_column, "Factors.csv is damaged (KeyError('heart_rate'))"),
    "no number": (no_number, "Factors.csv is damaged (ValueError"),
}


@pytest.mark.parametrize("case", GONE)
def test_truth_that_cannot_be_had_says_why(case: str, echo_root: Path, tmp_path: Path, capsys) -> None:
    root = Path(shutil.copytree(echo_root, tmp_path / "set"))
    run = put_run(tmp_path / "run", "echo", root, [30.0], size=32)
    spoil, says = GONE[case]
    spoil(root)
    capsys.readouterr()
    metrics = evaluated(run)
    for key in (*SHARES, "truth/l1_levels", "truth/mask_iou", "truth/ssim_of_truth"):
        assert metrics[key].startswith("unavailable: "), key
        assert says in metrics[key]
        assert str(root) not in metrics[key]  # what is logged tells neither paths nor names
        assert "echo0007" not in metrics[key]
    assert metrics["fidelity/ssim"] == pytest.approx(1.0, abs=1e-4)
    assert says in " ".join(capsys.readouterr().out.split())
    assert main(["report", str(run)]) == 0
    assert says in unescape((run / "report.html").read_text())


def test_a_target_that_is_none_of_the_phantoms_classes_says_so(face_root: Path, tmp_path: Path) -> None:
    metrics = evaluated(put_run(tmp_path / "run", "face", face_root, ["Bored"], size=32))
    assert "the phantom shows no such class" in metrics[SHARE]


# --- unfinished runs ---


def test_evaluate_and_report_of_an_unfinished_run_say_so(echo_root: Path, tmp_path: Path, capsys) -> None:
    run = put_run(tmp_path / "run", "echo", echo_root, [30.0, 40.0, 50.0], size=32)
    assert "unfinished" not in evaluated(run)
    kept = sorted((run / "predictions").iterdir())
    shutil.move(kept[2], tmp_path / "later")
    capsys.readouterr()
    assert evaluated(run)["unfinished"] == "2 of 3 clips; run lvcf predict again"
    assert "2 of 3 clips; run lvcf predict again" in capsys.readouterr().out
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text()
    assert "Measured on 2 of 3 clips: run lvcf predict again" in page
    shutil.move(tmp_path / "later", kept[2])  # predict went on, evaluate did not
    assert main(["report", str(run)]) == 0
    assert "Measured on 2 of 3 clips" in (run / "report.html").read_text()


# --- the last correction ---


def corrected(before: float, after: float, **more: Any) -> dict[str, Any]:
    row = {"id": "a", "status": "reached", "task": "regression", "prediction_after": after, "target": "30"}
    return row | {"target_low": 30.0, "target_high": 30.0, "prediction_before_correction": before} | more


def test_the_reading_before_the_last_correction_stands_beside_the_one_after() -> None:
    rows = [corrected(34.0, 30.5), corrected(28.0, 30.5, id="b")]
    for metrics in (summarise(rows), summarise_means(mean_of([rows, rows]))):
        assert metrics["adherence/mae_before_correction"] == pytest.approx(3.0)
        assert metrics["adherence/mae"] == pytest.approx(0.5)
        assert metrics["adherence/mae_before_correction.ci_low"] <= 3.0
    names = list(headings_of([summarise(rows)]))
    assert names.index("MAE before correction") == names.index("MAE") + 1


def test_of_a_classifier_the_share_and_the_probability_before() -> None:
    sure = {"task": "classification", "class_before": "sad", "class_after": "happy", "target": "happy", "label": "sad"}
    rows = [corrected(before, 0.9, **sure, id=str(before)) for before in (0.2, 0.4, 0.6)]
    for metrics in (summarise(rows), summarise_means(mean_of([rows, rows]))):
        assert metrics["adherence/within_tolerance_before_correction"] == pytest.approx(1 / 3)
        assert metrics["adherence/confidence_before_correction"] == pytest.approx(0.4)


def test_a_run_without_a_last_correction_has_no_reading_before_it() -> None:
    row = corrected(34.0, 30.5)
    del row["prediction_before_correction"]
    assert summarise([row])["adherence/mae_before_correction"] == "unavailable: no last correction was made"


def test_the_page_tells_both_readings(echo_root: Path, tmp_path: Path, capsys) -> None:
    run = put_run(tmp_path / "run", "echo", echo_root, [30.0], size=32, prediction_before_correction=34.5)
    evaluated(run)
    assert "mean absolute error before the last correction" in capsys.readouterr().out
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text()
    words = re.sub(r"<[^>]+>", "", page)
    assert "Before the last correction: 34.5 %" in words
    assert "mean absolute error before the last correction" in words
