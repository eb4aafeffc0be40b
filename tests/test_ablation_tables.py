"""Tables of small hand-made runs: derived rows, paired tests and their correction, paper rows, LaTeX and the plot."""

from __future__ import annotations

import csv
import itertools
import json
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from lvcf.ablation.cells import slug
from lvcf.ablation.results import gather
from lvcf.cli.ablate import write_results
from lvcf.files import write_json, write_rows
from lvcf.measure.columns import COLUMNS, compared, figure_of, headings_of, shown
from lvcf.measure.names import SQUARED_ERROR
from lvcf.measure.noises import best_of, mean_of, summarise_means
from lvcf.measure.pareto import Point, front, plot_pareto
from lvcf.measure.significance import can_show
from lvcf.measure.summary import summarise
from lvcf.measure.table import by_key, tidy
from lvcf.measure.tables import latex, latex_table

TARGETS = [20.0, 35.0, 50.0, 65.0, 30.0, 45.0, 60.0, 25.0, 40.0, 55.0, 28.0, 33.0]


def line(name: str, target: float, error: float, ssim: float = 0.9, truth: float | None = 0.88, **more: Any) -> dict:
    """A clip's line as ``lvcf evaluate`` writes it."""
    reached = "reached" if abs(error) <= 0.5 else "not_reached"
    row = {"id": name, "status": reached, "task": "regression", "prediction_before": 70.0}
    row |= {"prediction_after": target + error, "steps": 4, "gradient_evaluations": 8, "seconds": 1.5}
    row |= {"target": f"{target:g}", "target_low": target, "target_high": target, "fidelity/ssim": ssim}
    return row | ({} if truth is None else {"truth/ssim_of_truth": truth}) | more


def table(errors: list[float], **more: Any) -> list[dict]:
    return [line(f"clip{i}", TARGETS[i], error, **more) for i, error in enumerate(errors)]


def put(output: Path, name: str, rows: list[dict], **metrics: Any) -> None:
    """A finished cell."""
    folder = output / slug(name)
    folder.mkdir(parents=True)
    write_rows(folder / "predictions.csv", rows)
    write_json(folder / "metrics.json", summarise(rows) | {"method": name, "prompt": "target"} | metrics)


def plan(*cases: str, **more: Any) -> dict[str, Any]:
    return {"base": "phantom.yaml", "output": "out", "prompts": ["target"], "cases": {c: {} for c in cases}, **more}


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def cells(markdown: str, row: str) -> dict[str, str]:
    """A row of the Markdown table under its headings."""
    lines = [[part.strip() for part in text.strip("|").split(" | ")] for text in markdown.splitlines() if " | " in text]
    (found,) = [parts for parts in lines if parts[0] == row]
    return dict(zip(lines[0], found, strict=True))


def averaged(noises: list[list[dict]]) -> dict[str, Any]:
    return summarise_means(mean_of(noises))


# --- R23 and R23* ------------------------------------------------------------------------------------------------

# errors of two clips (targets 20 and 35) under three noises, and their SSIM
NOISES = [
    [line("clip0", 20.0, 1.0, ssim=0.8), line("clip1", 35.0, -4.0, ssim=0.9)],
    [line("clip0", 20.0, -3.0, ssim=0.7), line("clip1", 35.0, 2.0, ssim=0.6)],
    [line("clip0", 20.0, 2.0, ssim=0.9), line("clip1", 35.0, 6.0, ssim=0.3)],
]


def test_the_mean_over_noises_is_what_a_hand_computes() -> None:
    metrics = averaged(NOISES)
    assert metrics["n"] == 2
    assert metrics["adherence/mae"] == pytest.approx((1 + 4 + 3 + 2 + 2 + 6) / 6)  # of errors, not of mean readings
    squares = 1 + 16 + 9 + 4 + 4 + 36
    assert metrics["adherence/rmse"] == pytest.approx(math.sqrt(squares / 6))
    assert metrics["adherence/r2"] == pytest.approx(1 - (squares / 6) / 7.5**2)  # targets 20 and 35: variance 7.5^2
    assert metrics["fidelity/ssim"] == pytest.approx((0.8 + 0.9 + 0.7 + 0.6 + 0.9 + 0.3) / 6)
    assert metrics["fidelity/ssim.se"] == pytest.approx(0.1)  # clips 0.8 and 0.6: noises are no new clips
    assert metrics["adherence/within_tolerance"] == 0.0
    assert metrics["cost/seconds"] == pytest.approx(1.5)
    low, high = metrics["adherence/mae.ci_low"], metrics["adherence/mae.ci_high"]
    assert low <= metrics["adherence/mae"] <= high
    assert metrics["adherence/rmse.ci_low"] <= metrics["adherence/rmse"] <= metrics["adherence/rmse.ci_high"]
    of_runs = [summarise(rows)["adherence/r2"] for rows in NOISES]
    assert metrics["adherence/r2"] == pytest.approx(np.mean(of_runs))


def test_the_mean_of_one_noise_thrice_is_that_run() -> None:
    rows = table([0.2, -3.0, 1.0, 4.0, -0.1])
    once, thrice = summarise(rows), averaged([rows, rows, rows])
    for key in ("adherence/mae", "adherence/rmse", "adherence/r2", "adherence/within_tolerance", "fidelity/ssim"):
        assert thrice[key] == pytest.approx(once[key])
    assert thrice["adherence/mae.se"] == pytest.approx(once["adherence/mae.se"])


def test_the_best_noise_is_chosen_once_per_clip_by_adherence_alone_and_costs_all_three() -> None:
    rows = best_of(NOISES)
    assert [row["prediction_after"] for row in rows] == [21.0, 37.0]
    assert [row["fidelity/ssim"] for row in rows] == [0.8, 0.6]  # though another noise has the better SSIM
    assert [row["seconds"] for row in rows] == [4.5, 4.5]
    assert [row["steps"] for row in rows] == [12, 12]
    assert summarise(rows)["adherence/mae"] == pytest.approx(1.5)


def test_of_a_classifier_the_best_noise_is_the_most_confident() -> None:
    def said(probability: float, after: str) -> dict:
        facts = {"id": "a", "status": "reached", "task": "classification", "prediction_after": probability}
        return {**facts, "class_before": "Sad", "class_after": after, "target": "Happy", "label": "Sad"}

    noises = [[said(0.4, "Sad")], [said(0.9, "Happy")], [said(0.6, "Happy")]]
    assert best_of(noises)[0]["prediction_after"] == 0.9
    metrics = averaged(noises)
    assert metrics["adherence/flip_rate"] == pytest.approx(2 / 3)
    assert metrics["adherence/flip_rate_from_right"] == pytest.approx(2 / 3)
    assert metrics["adherence/confidence"] == pytest.approx(1.9 / 3)
    assert "adherence/mae" not in metrics


def test_only_clips_that_every_noise_finished_count() -> None:
    failed = {"id": "clip1", "status": "failed"}
    noises = [NOISES[0], [NOISES[1][0], failed], NOISES[2]]
    assert averaged(noises)["n"] == 1
    assert [row["id"] for row in best_of(noises)] == ["clip0"]


def test_derived_rows_stand_after_their_noises_and_wait_for_all_of_them(tmp_path) -> None:
    made = plan("free", "full", derived={"R23": {"mean_of": "free"}, "R23*": {"best_of": "free"}})
    made["cases"]["free"] = {"noises": [1, 2, 3]}
    for noise, rows in enumerate(NOISES[:2], 1):
        put(tmp_path, f"free, noise {noise}", rows)
    put(tmp_path, "full", [line("clip0", 20.0, 0.1), line("clip1", 35.0, 0.1)])
    write_results(made, tmp_path)
    assert [row["method"] for row in read(tmp_path / "table.csv")] == ["free, noise 1", "free, noise 2", "full"]
    put(tmp_path, "free, noise 3", NOISES[2])
    write_results(made, tmp_path)
    rows = {row["method"]: row for row in read(tmp_path / "table.csv")}
    assert list(rows) == [*(f"free, noise {n}" for n in (1, 2, 3)), "R23", "R23*", "full"]
    assert float(rows["R23"]["MAE"]) == pytest.approx(3.0)
    assert float(rows["R23*"]["MAE"]) == pytest.approx(1.5)
    assert "R23\\*" in (tmp_path / "table.md").read_text()
    (tmp_path / "free__noise_3" / "metrics.json").unlink()
    write_json(tmp_path / "free__noise_3" / "failed.json", {"command": "x", "exit_code": 2})
    write_results(made, tmp_path)
    rows = {row["method"]: row for row in read(tmp_path / "table.csv")}
    assert rows["R23"]["problem"] == "not made: 'free, noise 3' failed"


# --- paired tests ------------------------------------------------------------------------------------------------

GOOD = [0.1, -0.2, 0.3, 0.0, 0.2, -0.1, 0.4, 0.1, 0.2, -0.3, 0.1, 0.2]
NEAR = [
    0.213127,
    -0.131891,
    0.343719,
    0.061313,
    0.172357,
    -0.241741,
    0.293911,
    0.181567,
    0.113083,
    -0.362749,
    0.230449,
    0.083597,
]
BAD = [3.0, -4.0, 5.0, 2.0, 6.0, -3.0, 4.0, 5.0, -2.0, 7.0, 3.5, -4.5]


def signs_p(one: list[float], other: list[float]) -> float:
    """Two-sided p of the mean difference over all sign patterns, counted."""
    difference = np.array(one) - np.array(other)
    means = [np.mean(np.array(s) * difference) for s in itertools.product((-1, 1), repeat=len(difference))]
    return float(np.mean(np.abs(means) >= abs(difference.mean()) - 1e-12))


@pytest.fixture(scope="module")
def three(tmp_path_factory) -> Path:
    """The tables of three runs.  Read only."""
    root: Path = tmp_path_factory.mktemp("three")
    for name, errors, ssim in (("good", GOOD, 0.89), ("near", NEAR, 0.98), ("bad", BAD, 0.9)):
        put(root, name, table(errors, ssim=ssim))
    write_results(plan("bad", "near", "good"), root)
    return root


def test_p_values_are_those_of_all_sign_patterns_and_holms(three) -> None:
    found = {(row["column"], row["method"]): row for row in read(three / "differences.csv")}
    sizes = {name: [abs(e) for e in errors] for name, errors in (("good", GOOD), ("near", NEAR), ("bad", BAD))}
    p = {name: signs_p(sizes[name], sizes["good"]) for name in ("bad", "near")}
    for name in p:
        row = found["MAE", name]
        assert (row["reference"], row["n"], row["compared"]) == ("good", "12", "error")
        assert float(row["p_permutation"]) == pytest.approx(p[name])
        assert float(row["difference"]) == pytest.approx(np.mean(sizes[name]) - np.mean(sizes["good"]))
        ranks = stats.wilcoxon(sizes[name], sizes["good"], zero_method="pratt").pvalue
        assert float(row["p_wilcoxon"]) == pytest.approx(ranks)
    assert p["bad"] < p["near"]
    assert float(found["MAE", "bad"]["p_holm"]) == pytest.approx(2 * p["bad"])
    assert float(found["MAE", "near"]["p_holm"]) == pytest.approx(min(1.0, max(p["near"], 2 * p["bad"])))
    assert (found["MAE", "bad"]["verdict"], found["MAE", "near"]["verdict"]) == ("worse", "undecided")


def test_bold_is_the_best_and_what_is_not_shown_to_be_worse(three) -> None:
    text = (three / "table.md").read_text()
    bold = {
        name: {h for h, entry in cells(text, name).items() if entry.startswith("**")}
        for name in ("bad", "near", "good")
    }
    assert {"R2", "MAE", "RMSE", "within"} <= bold["good"] & bold["near"]
    assert not {"R2", "MAE", "RMSE", "within"} & bold["bad"]
    assert not {"n", "steps", "gradients", "s/clip", "SSIM of truth"} & (bold["good"] | bold["near"] | bold["bad"])
    assert "Bold: the best, or not significantly worse than the best" in text


def test_ssim_is_judged_by_its_distance_to_the_truths_where_that_is_known(three, tmp_path) -> None:
    text = (three / "table.md").read_text()
    assert cells(text, "good")["SSIM"].startswith("**0.890")
    assert not cells(text, "near")["SSIM"].startswith("**")  # 0.98 is the higher one, and too little changed
    other = tmp_path / "real"
    for name, errors, ssim in (("good", GOOD, 0.89), ("near", NEAR, 0.98)):
        put(other, name, table(errors, ssim=ssim, truth=None))
    write_results(plan("near", "good"), other)
    text = (other / "table.md").read_text()
    assert cells(text, "near")["SSIM"].startswith("**0.980")
    assert not cells(text, "good")["SSIM"].startswith("**")


def test_a_control_is_never_best_but_is_tested_against_the_reference(tmp_path) -> None:
    put(tmp_path, "ceiling", table([0.0] * 12))
    put(tmp_path, "full", table(BAD))
    write_results(plan("ceiling", "full", controls=["ceiling"]), tmp_path)
    text = (tmp_path / "table.md").read_text()
    assert not cells(text, "ceiling")["MAE"].startswith("**")
    assert cells(text, "full")["MAE"].startswith("**")
    assert "For orientation, never bold: ceiling." in text
    found = {(row["column"], row["method"]): row for row in read(tmp_path / "differences.csv")}
    assert found["MAE", "ceiling"]["verdict"] == "better"


def test_too_few_clips_are_said_to_be_too_few(tmp_path) -> None:
    """Five clips: p is 1/16 at least, whatever they show."""
    put(tmp_path, "few", table(BAD[:5]))
    put(tmp_path, "full", table(GOOD))
    write_results(plan("few", "full"), tmp_path)
    text = (tmp_path / "table.md").read_text()
    assert not cells(text, "few")["MAE"].startswith("**")
    assert "Too few clips for these tests, bold only where best: few." in text
    rows = read(tmp_path / "differences.csv")
    assert {(row["verdict"], row["p_holm"], row["n"]) for row in rows} == {("too few clips", "", "5")}
    assert [can_show(n, 1) for n in (5, 6)] == [False, True]
    assert [can_show(n, 4) for n in (7, 8)] == [False, True]


def test_each_share_of_flips_is_tested_on_its_own_clips(tmp_path) -> None:
    """Both are compared by whether a clip flipped; one counts the clips that M had right alone."""

    def said(i: int, after: str) -> dict:
        facts = {"id": f"c{i}", "status": "reached", "task": "classification", "prediction_after": 0.9}
        labels = {"class_before": "sad", "class_after": after, "label": "sad" if i < 4 else "angry"}
        return facts | labels | {"target": "happy", "target_low": 1.0, "target_high": 1.0}

    put(tmp_path, "near", [said(i, "sad" if i < 4 else "happy") for i in range(12)])
    put(tmp_path, "full", [said(i, "happy") for i in range(12)])
    write_results(plan("near", "full"), tmp_path)
    tests = {row["column"]: row for row in read(tmp_path / "differences.csv")}
    assert (tests["flip rate"]["n"], float(tests["flip rate"]["difference"])) == ("12", pytest.approx(-1 / 3))
    assert (tests["flip, was right"]["n"], float(tests["flip, was right"]["difference"])) == ("4", -1.0)


def test_clips_that_were_asked_for_something_else_are_not_paired(tmp_path) -> None:
    put(tmp_path, "back", [row | {"target": "1", "target_low": 1.0, "target_high": 1.0} for row in table(GOOD)])
    put(tmp_path, "full", table(GOOD))
    write_results(plan("back", "full"), tmp_path)
    assert not (tmp_path / "differences.csv").exists()


def test_a_mean_over_noises_is_tested_by_its_clips(tmp_path) -> None:
    made = plan("free", "full", derived={"R23": {"mean_of": "free"}})
    made["cases"]["free"] = {"noises": [1, 2]}
    put(tmp_path, "free, noise 1", table(BAD))
    put(tmp_path, "free, noise 2", table(GOOD))
    put(tmp_path, "full", table(NEAR))
    write_results(made, tmp_path)
    found = {(row["column"], row["method"]): row for row in read(tmp_path / "differences.csv")}
    mean = [(abs(b) + abs(g)) / 2 for b, g in zip(BAD, GOOD, strict=True)]
    row = found["MAE", "R23"]
    assert row["n"] == "12"
    assert float(row["difference"]) == pytest.approx(np.mean(mean) - np.mean(np.abs(NEAR)))
    assert float(row["p_permutation"]) == pytest.approx(signs_p(mean, [abs(e) for e in NEAR]))


def test_every_judge_reads_what_its_column_is_the_mean_of() -> None:
    """The mean over clips of what is compared is the column's figure, for every column that is a mean."""
    figures = {
        "truth/share_recovered_smooth": 0.2,
        "truth/share_recovered_raw": 0.1,
        "truth/pixel_ef_error": 3.0,
        "truth/oracle_ef_error": 4.0,
        "truth/mask_iou": 0.5,
        "leakage/edv_percent": 2.0,
        "truth/l1_levels": 5.0,
        "fidelity/lpips": 0.1,
        "reversibility/ssim": 0.9,
        "reversibility/l1_levels": 3.0,
        "truth/pixel_class": 1.0,
        "truth/oracle_class": 0.0,
    }
    rows = table(GOOD, **figures)
    metrics = summarise(rows)
    columns = headings_of([metrics])
    tested = 0
    values = by_key(tidy(rows))
    for heading in COLUMNS:
        value, how = metrics.get(columns[heading]), compared(heading, truth_known=False)
        if isinstance(value, float) and how and heading not in ("R2", "RMSE"):
            assert values[how.key].mean() == pytest.approx(value), heading
            tested += 1
    assert tested == len(figures) + 3  # and MAE, within, SSIM
    squares = values[SQUARED_ERROR].mean()
    assert math.sqrt(squares) == pytest.approx(metrics["adherence/rmse"])
    assert 1 - squares / np.var(TARGETS) == pytest.approx(metrics["adherence/r2"])
    assert compared("ruler off", True) is compared("s/clip", True) is compared("FID [I3D]", False) is None


# --- figures of sets, intervals, the paper's rows ----------------------------------------------------------------


def test_a_key_with_brackets_has_a_column_that_names_its_network(tmp_path) -> None:
    fid = {"realism/fid[Oracle-frames,n=6+6,frames=16,112x112]": 12.5, "realism/fid_floor[Oracle-frames,n=6+6,x]": 3.0}
    put(tmp_path, "full", table(GOOD), **fid)
    put(tmp_path, "near", table(NEAR), **{"realism/fid[Inception,n=5+5]": 40.0, "realism/fvd": "unavailable: why"})
    write_results(plan("near", "full"), tmp_path)
    rows = {row["method"]: row for row in read(tmp_path / "table.csv")}
    assert float(rows["full"]["FID [Oracle-frames]"]) == 12.5
    assert float(rows["full"]["FID floor [Oracle-frames]"]) == 3.0
    assert float(rows["near"]["FID [Inception]"]) == 40.0
    assert rows["near"]["FID [Oracle-frames]"] == rows["full"]["FVD"] == ""
    assert rows["near"]["FVD"] == "unavailable: why"
    shown_there = cells((tmp_path / "table.md").read_text(), "full")
    assert shown_there["FID [Oracle-frames]"] == "12.50"
    assert "FVD" not in shown_there
    assert figure_of({"a/b": 1.0}, "a/b") == 1.0


def test_the_csv_has_every_error_and_interval_of_metrics_json(three) -> None:
    for row in read(three / "table.csv"):
        metrics = json.loads((three / row["method"] / "metrics.json").read_text())
        for heading, key in {"MAE": "adherence/mae", "SSIM": "fidelity/ssim", "R2": "adherence/r2"}.items():
            for name, suffix in (("se", ".se"), ("low", ".ci_low"), ("high", ".ci_high")):
                assert row[f"{heading} {name}"] == str(metrics.get(key + suffix, ""))
        assert float(row["R2 low"]) <= float(row["R2"]) <= float(row["R2 high"])


def test_the_papers_rows_stand_beside_ours_marked_and_untested(tmp_path) -> None:
    rows = {"near": {"R2": 0.5, "SSIM": 0.99, "note": "R2 and RMSE contradict each other."}, "elsewhere": {"MAE": 0}}
    put(tmp_path, "near", table(NEAR))
    put(tmp_path, "full", table(GOOD))
    write_results(plan("near", "full", paper={"table": "Table 9", "rows": rows}), tmp_path)
    found = read(tmp_path / "table.csv")
    assert [row["method"] for row in found] == ["near", "near (paper)", "full", "elsewhere (paper)"]
    assert [row["kind"] for row in found] == ["method", "paper", "method", "paper"]
    text = (tmp_path / "table.md").read_text()
    entries = cells(text, "near (paper)")
    assert (entries["R2"], entries["SSIM"], entries["MAE"], entries["n"]) == ("0.500", "0.990", "–", "–")
    assert cells(text, "elsewhere (paper)")["MAE"] == "0.000"
    assert "as published in Table 9" in text
    assert "near (paper): R2 and RMSE contradict each other." in text
    assert not any("paper" in row["method"] for row in read(tmp_path / "differences.csv"))


def test_a_failed_cell_is_a_row_of_every_table(tmp_path) -> None:
    put(tmp_path, "full", table(GOOD))
    (tmp_path / "broken").mkdir()
    write_json(tmp_path / "broken" / "failed.json", {"command": "x", "exit_code": 70})
    write_results(plan("broken", "never run", "full"), tmp_path)
    assert [row["method"] for row in read(tmp_path / "table.csv")] == ["broken", "full"]
    told = f"broken: failed (exit code 70), see {tmp_path / 'broken' / 'log.txt'}."
    assert told in (tmp_path / "table.md").read_text()
    assert latex(told) in (tmp_path / "table.tex").read_text()
    assert set(list(cells((tmp_path / "table.md").read_text(), "broken").values())[1:]) == {"–"}


def test_nothing_done_writes_no_table(tmp_path) -> None:
    write_results(plan("full"), tmp_path / "out")
    assert not (tmp_path / "out" / "table.md").exists()


def test_digits_follow_the_size_and_a_missing_figure_is_a_dash() -> None:
    row = {"method": "a", "n": 3, "x": 12.345, "x se": 0.5, "y": 123.44, "z": 0.1234, "u": "unavailable: one"}
    assert [shown(row, h) for h in ("x", "y", "z", "u", "n")] == ["12.35 ± 0.50", "123.4", "0.123", "–", "3"] or [
        shown(row, h) for h in ("x", "y", "z", "u", "n")
    ] == ["12.34 ± 0.50", "123.4", "0.123", "–", "3"]


# --- LaTeX and the plot ------------------------------------------------------------------------------------------


def test_latex_escapes_what_would_be_markup() -> None:
    assert latex(r"50% of a_b & {c}\d #1 $2 ~ ^") == (
        r"50\% of a\_b \& \{c\}\textbackslash{}d \#1 \$2 \textasciitilde{} \textasciicircum{}"
    )
    assert latex("-1.5 ± 0.2") == r"$-$1.5 $\pm$ 0.2"
    assert latex("w/o AGG – λ") == r"w/o AGG -- $\lambda$"


def test_the_latex_table_is_booktabs_with_as_many_cells_as_headings() -> None:
    lines = [[("a_1", False), ("0.5 ± 0.1", True)], [("b & c", False), ("–", False)]]
    text = latex_table(["method", "R2"], lines, ["100 % sure."])
    rows = [row for row in text.splitlines() if row.endswith(r" \\")]
    assert rows == [r"method & R$^2$ \\", r"a\_1 & \textbf{0.5 $\pm$ 0.1} \\", r"b \& c & -- \\"]
    for word in (r"\begin{tabular}{lr}", r"\toprule", r"\midrule", r"\bottomrule", r"\end{tabular}", r"100 \% sure."):
        assert text.count(word) == 1
    assert text.count("{") == text.count("}")


def test_the_front_is_what_no_method_beats() -> None:
    def at(ssim: float, mae: float, kind: str = "method") -> Point:
        return Point(f"{ssim}, {mae}", ssim, mae, 1.0, kind)

    points = [at(0.9, 0.3), at(0.8, 0.1), at(0.85, 0.4), at(0.95, 0.9), at(0.95, 1.0), at(1.0, 0.0, "control")]
    assert [p.name for p in front(points, lower_is_better=True)] == ["0.8, 0.1", "0.9, 0.3", "0.95, 0.9"]
    assert [p.name for p in front(points, lower_is_better=False)] == ["0.95, 1.0"]


def test_the_plot_names_every_row_and_its_axes(three) -> None:
    text = "".join(ElementTree.parse(three / "pareto.svg").getroot().itertext())
    for word in ("1  bad", "2  near", "3  good", "SSIM", "MAE", "seconds per clip", "true counterfactual"):
        assert word in text
    with Image.open(three / "pareto.png") as picture:
        assert picture.width > 1000
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 50


def test_the_plot_is_the_same_every_time(three, tmp_path) -> None:
    plot_pareto(gather(plan("bad", "near", "good"), three), tmp_path)
    assert (three / "pareto.svg").read_bytes() == (tmp_path / "pareto.svg").read_bytes()
