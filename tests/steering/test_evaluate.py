"""``lvcf evaluate`` on steering runs: figures come out of the written files again; a user's mistakes."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

import lvcf
from lvcf.cli import main
from lvcf.data.clip import to_clip
from lvcf.files import read_lines
from lvcf.measure.sets import split
from lvcf.metrics.fidelity import ssim
from lvcf.metrics.statistics import clustered, share_interval
from lvcf.runs.folder import SUFFIXES, read_predictions
from lvcf.steering.agreement import confusion
from lvcf.steering.figures import comparisons, facts, summarise
from tests.helpers import fails
from tests.metrics.test_captions import save_bert
from tests.metrics.test_clip_score import save_clip
from tests.metrics.test_dover import dover_file
from tests.steering.bands import section

REGION_ROWS = 8
"""The upper half of a clip: age and gender."""


def steer(content: dict[str, Any], folder: Path) -> Path:
    (folder / "mine.yaml").write_text(yaml.safe_dump({"steer": content}))
    assert main(["steer", "--config", str(folder / "mine.yaml")]) in (0, 1)
    return Path(content["output"])


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """Two clips, two interventions, all methods; evaluated with a region and every network there is."""
    folder: Path = tmp_path_factory.mktemp("steered")
    made = steer(section(folder), folder)
    mask = np.zeros((16, 16), np.uint8)
    mask[:REGION_ROWS] = 255
    Image.fromarray(mask).save(folder / "top.png")
    networks = ["--clip", save_clip(folder / "clip")]
    networks += [
        "--dover",
        str(dover_file(folder / "dover.onnx", aes_view=[1, 3, 4, 14, 14], tech_view=[2, 3, 8, 14, 14])),
    ]
    assert main(["evaluate", str(made), "--region", str(folder / "top.png"), *networks]) == 0
    return made


def read(run: Path) -> tuple[dict[str, Any], list[dict[str, str]]]:
    with (run / "predictions.csv").open() as stream:
        return json.loads((run / "metrics.json").read_text()), list(csv.DictReader(stream))


def column(rows: list[dict[str, str]], name: str, **where: str) -> list[float]:
    return [float(row[name]) for row in rows if all(row[key] == value for key, value in where.items())]


def test_every_figure_is_the_mean_of_its_column(run) -> None:
    metrics, rows = read(run)
    assert metrics["n"] == len(rows) == 2 * 2 * 5
    checked = 0
    for key, value in metrics.items():
        method, _, name = key.partition("/")
        if method in ("initial", "graph", "steered") and name in rows[0] and isinstance(value, float):
            values = column(rows, name, method=method)
            assert value == pytest.approx(np.mean(values)), key
            clips = [row["clip"] for row in rows if row["method"] == method]
            error, _ = clustered(np.array(values), clips)
            assert metrics[f"{key}.se"] == pytest.approx(error)
            checked += 1
    assert checked > 3 * 15
    for name in ("outside/ssim", "clip/consistency", "clip/text_alignment_of_factual", "quality/dover_overall"):
        assert f"steered/{name}" in metrics
    assert metrics["steered/joint"] == 1.0
    wilson = share_interval(np.ones(2))  # two clips, though four edits
    ends = (metrics["steered/joint.ci_low"], metrics["steered/joint.ci_high"])
    assert ends == pytest.approx((wilson.low, wilson.high))


def test_attributes_and_interventions_have_figures_of_their_own(run) -> None:
    metrics, rows = read(run)
    assert metrics["initial/right[beard]"] == np.mean(column(rows, "right[beard]", method="initial")) < 1.0
    under = column(rows, "right[beard]", method="initial", do="do(gender)")
    assert metrics["initial/right[beard][do(gender)]"] == np.mean(under) == 0.0  # no beard comes, and hers stays
    assert metrics["initial/joint[do(gender)]"] == 0.0
    assert metrics["initial/violations[do(gender)]"] == 1.0
    assert metrics["graph/right[gender][do(beard)]"] == 0.5  # a beard makes an unnamed person a man


def test_comparisons_pair_clip_and_intervention(run) -> None:
    metrics, _ = read(run)
    with (run / "comparisons.csv").open() as stream:
        tests = {(row["metric"], row["other"]): row for row in csv.DictReader(stream)}
    results = {p.id: p.result["measured"]["joint"] for p in read_predictions(run)}
    for other in ("initial", "graph", "best_of_n"):
        pairs = [
            (value, results[name.replace(".steered", f".{other}")])
            for name, value in results.items()
            if ".steered" in name
        ]
        by_hand = np.mean([one - two for one, two in pairs])
        test = tests["joint", other]
        assert (int(test["n"]), int(test["clips"])) == (4, 2)
        assert float(test["difference"]) == metrics[f"steered-{other}/joint"] == by_hand
        assert float(test["p_holm"]) >= float(test["p_permutation"]) >= 0.5  # two clips have four patterns of signs
    assert not [metric for metric, _ in tests if metric.endswith("_of_factual") or metric == "seconds"]


def test_figures_of_the_files(run) -> None:
    _, rows = read(run)
    texts = set()
    for prediction, row in zip(read_predictions(run), rows, strict=True):
        final, factual = prediction.counterfactual(), prediction.factual()
        assert float(row["fidelity/ssim"]) == pytest.approx(ssim(to_clip(final, 16), to_clip(factual, 16)))
        below = np.abs(final.astype(float) - factual)[:, REGION_ROWS:]
        assert float(row["outside/l1_levels"]) == pytest.approx(below.mean(), abs=1e-4)
        if not below.any():
            assert float(row["outside/ssim"]) == pytest.approx(1.0, abs=1e-3)  # float32, flat bands
        assert float(row["peak_memory_bytes"]) > 2**20
        texts.add((row["clip"], row["do"], row["clip/text_alignment_of_factual"]))
        if (final == factual).all():
            ours, factuals = (float(row[f"clip/text_alignment{end}"]) for end in ("", "_of_factual"))
            assert ours == pytest.approx(factuals, abs=1e-5)
    assert len(texts) == 4  # one text for every clip and intervention, whatever the method's prompt was


def test_what_is_missing_is_told_and_why(tmp_path, capfd) -> None:
    content = section(tmp_path) | {"methods": ["initial", "steered"], "clips": 1}
    made = steer(content, tmp_path)
    assert main(["evaluate", str(made)]) == 0
    metrics, _ = read(made)
    reasons = {
        "truth/ssim": "face phantom",
        "outside/ssim": "--region",
        "clip/consistency": "--clip",
        "captions/similarity": "--captioner and --embedder",
        "quality/dover": "--dover",
        "realism/fvd": "--features",
        "steered/tokens": "not known",
    }
    for key, says in reasons.items():
        assert metrics[key].startswith("unavailable: ")
        assert says in metrics[key]
    assert "steered/joint.ci_low" not in metrics  # one clip
    assert "steered-initial/joint" in metrics
    printed = capfd.readouterr().out
    for text in ("steered minus a baseline", "by the evaluating judge", "right, beard, do(gender)", "one clip"):
        assert text in printed
    assert "not measured: DOVER (give DOVER's ONNX file, --dover)" in printed
    assert main(["report", str(made)]) == 0


def test_two_judges_are_crossed_on_edits_that_neither_chose(run) -> None:
    """One that sees every beard the other way round, beside the records themselves."""
    results = [prediction.result for prediction in read_predictions(run)]
    lines = read_lines(run / "judges.csv")
    assert {(one["evaluator"], one["judge"]) for one in lines if one["attribute"] == "age"} <= {
        ("young", "young"),
        ("old", "old"),
    }
    single = [r for r in results if r["method"] in ("initial", "paraphrase", "graph")]
    edits = {(r["clip"], r["prompt"], r["seed"]) for r in single}
    assert confusion([*results, *single]) == confusion(results)  # the same edit counts once
    for name in ("age", "gender", "beard", "baldness"):
        assert sum(int(one["n"]) for one in lines if one["attribute"] == name) == len(edits)
    for result in single:
        for answer in result["history"][0]["verdict"]:
            if answer["attribute"] == "beard":
                answer["observed"] = {"no": "yes", "yes": "no"}[answer["observed"]]
    beards = {(one["evaluator"], one["judge"]) for one in confusion(results) if one["attribute"] == "beard"}
    assert beards == {("no", "yes"), ("yes", "no")}


def test_edits_that_nobody_judged_are_not_crossed(run) -> None:
    results = [prediction.result for prediction in read_predictions(run)]
    lost = [{**r, "evaluation": "unavailable: refused"} for r in results]
    assert confusion(lost) == confusion([r for r in results if r["method"] in ("best_of_n", "steered")]) == []


def test_a_clip_that_failed_is_counted_and_left_out(tmp_path, capfd) -> None:
    content = section(tmp_path) | {"methods": ["initial"]}
    content["data"]["init_args"] = {"broken": "two"}
    made = steer(content, tmp_path)
    assert main(["evaluate", str(made)]) == 1
    metrics, rows = read(made)
    assert (metrics["initial/n"], metrics["initial/failed"]) == (4, 2)
    assert [row["joint"] == "" for row in rows] == [False, False, True, True]
    assert metrics["initial/joint.n"] == 2
    assert "two.beard_other.initial: failed: two.avi: truncated" in capfd.readouterr().out


def test_a_judge_that_did_not_answer_leaves_a_reason(run) -> None:
    rows = [facts(prediction.result) for prediction in read_predictions(run)]
    missing = "unavailable: other eyes: refused"
    silent = [{**r, **dict.fromkeys(("joint", "effectiveness", "minimality", "violations"), missing)} for r in rows]
    assert summarise(silent)["steered/joint"] == missing
    half = [*silent[:10], *rows[10:]]  # the first clip's are gone
    assert summarise(half)["steered/joint.n"] == 2
    assert {test["n"] for test in comparisons(half) if test["metric"] == "joint"} == {2}


def test_halves_of_a_set_share_no_clip(run) -> None:
    one, other = split(read_predictions(run))
    assert {p.result["clip"] for p in one} | {p.result["clip"] for p in other} == {"one", "two"}
    assert len(one) == len(other) == 10
    assert not {p.result["clip"] for p in one} & {p.result["clip"] for p in other}


def test_distances_between_sets_need_clips_not_edits(run, tmp_path) -> None:
    again = Path(shutil.copytree(run, tmp_path / "again"))
    assert main(["evaluate", str(again), "--features", "i3d:nowhere.pt"]) == 0
    metrics, _ = read(again)
    assert metrics["steered/realism/i3d:nowhere.pt"] == ("unavailable: needs 4 clips, two in each half; there are 2")


BAD = {
    "an option of predict runs": (["--with-model"], ["--with-model", "lvcf predict"]),
    "a captioner alone": (["--captioner", "x"], ["--captioner, --embedder", "both"]),
    "no CLIP": (["--clip", "nowhere"], ["nowhere"]),
    "no DOVER": (["--dover", "nowhere.onnx"], ["nowhere.onnx", "not found"]),
    "no region": (["--region", "nowhere.png"], ["nowhere.png", "not found"]),
}


@pytest.mark.parametrize("case", BAD)
def test_mistakes(case, run, capfd) -> None:
    options, says = BAD[case]
    line = fails(capfd, ["evaluate", str(run), *options])
    for text in says:
        assert text in line, line


def test_a_predict_run_takes_no_option_of_a_steering_run(tmp_path, capfd) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    assert "--dover" in fails(capfd, ["evaluate", str(tmp_path), "--dover", "d.onnx"])


def test_captions_are_of_both_clips_and_the_factual_is_described_once(tmp_path, monkeypatch) -> None:
    """The captioner is a stand-in that tells brightness; a real one's own test is test_local.py's."""
    import argparse

    import torch

    from lvcf.metrics.captions import SentenceEmbedder, caption_similarity
    from lvcf.steering import measures

    asked: list[tuple[str, int]] = []

    class Captioner:
        def __init__(self, folder: str) -> None:
            assert folder == "captioner"

        def write(self, instruction: str, frames: list[np.ndarray]) -> tuple[str, int]:
            asked.append((instruction, len(frames)))
            return ("a young man", 0) if frames[0].mean() < 100 else ("a woman in front of a wall", 0)

    monkeypatch.setattr(measures, "LocalModel", Captioner)
    folder = save_bert(tmp_path)
    options = argparse.Namespace(clip=None, dover=None, captioner="captioner", embedder=folder)
    networks = measures.Networks(options, ["age", "beard"])
    dark, bright = torch.full((3, 5, 8, 8), -0.9), torch.full((3, 5, 8, 8), 0.9)
    same = networks("one", dark, dark, "words")["captions/similarity"]
    other = networks("one", bright, dark, "words")["captions/similarity"]
    assert same == pytest.approx(1.0, abs=1e-5)
    expected = caption_similarity(SentenceEmbedder(folder), "a woman in front of a wall", "a young man")
    assert other == pytest.approx(expected)
    assert len(asked) == 3
    assert asked[0] == (
        "Describe who is shown, the clothes and the background in one sentence. Say nothing about age, beard.",
        4,
    )


def test_from_python_the_figures_are_one_tidy_table(run, tmp_path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    tidy = lvcf.evaluate(copy)
    metrics, _ = read(copy)
    assert list(tidy.columns) == ["clip", "target", "method", "key", "value"]
    assert len(set(zip(tidy["clip"], tidy["target"], tidy["method"], strict=True))) == metrics["n"]
    for (method, key), values in tidy.groupby(["method", "key"])["value"]:
        assert metrics[f"{method}/{key}"] == pytest.approx(values.mean())


def test_suffixes_are_those_that_readers_know(run) -> None:
    metrics, _ = read(run)
    dotted = {key.rpartition(".")[2] for key in metrics if key.startswith("steered/joint.")}
    assert {f".{end}" for end in dotted} <= set(SUFFIXES)
