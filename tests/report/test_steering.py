"""A steering run's page: methods, comparisons, interventions, and clip by clip what was asked, said and seen."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lvcf.cli.report import write_report
from lvcf.errors import UserError
from lvcf.runs.folder import read_predictions
from lvcf.steering.graph import read_graph
from lvcf.steering.methods import COLUMNS, DEFAULT, METHODS
from lvcf.steering.report import STOPPED, steering_context
from tests.report.conftest import steer

NASTY = "</script><script>alert('p')</script>"


def _page(run: Path) -> str:
    return write_report(run).read_text(encoding="utf-8")


def _data(page: str) -> dict[str, Any]:
    return json.loads(re.findall(r'<script type="application/json" id="comparison">(.*?)</script>', page)[0])


def _change(path: Path, **content: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | content), encoding="utf-8")


def _numbers(table: dict[str, Any]) -> dict[str, dict[str, float]]:
    return {row["name"]: row["numbers"] for row in table["rows"]}


def test_what_was_asked_is_told(steering: Path) -> None:
    shown = steering_context(steering)
    asked = dict(shown["asked"])
    assert asked["interventions"] == "do(beard), do(gender)"
    assert asked["clips"] == "2"
    assert asked["causal graph"] == "celebv_text"
    assert (asked["steering judge"], asked["evaluating judge"]) == ("bands", "other eyes")
    assert asked["budget of a loop"] == "3 edits, 9 calls, patience 3"
    joint = {m: sum(p.result["measured"]["joint"] for p in _of(steering, m)) for m in DEFAULT}
    assert shown["score"] == [f"{method} {hits:.0f} of 4" for method, hits in joint.items()]
    assert shown["evaluated"]
    assert (shown["pending"], shown["failures"]) == (0, {})
    for about in METHODS.values():
        assert about.capitalize().replace("'", "&#39;") in _page(steering)


def _of(run: Path, method: str) -> list[Any]:
    return [p for p in read_predictions(run) if p.result["method"] == method]


def test_methods_stand_side_by_side_with_intervals_and_what_is_missing_with_its_reason(steering: Path) -> None:
    shown = steering_context(steering)
    metrics = json.loads((steering / "metrics.json").read_text())
    assert [row["name"] for row in shown["table"]["rows"]] == DEFAULT
    assert list(shown["table"]["figures"])[:6] == [*COLUMNS, "edits", "calls"]
    numbers = _numbers(shown["table"])
    for method in DEFAULT:
        for key in ("joint", "seconds", "right[beard]", "fidelity/ssim"):
            assert numbers[method][key] == metrics[f"{method}/{key}"]
        assert numbers[method]["peak_memory_bytes"] == metrics[f"{method}/peak_memory_bytes"] / 2**20
    graph = next(row for row in shown["table"]["rows"] if row["name"] == "graph")
    joint = next(cell for cell, figure in graph["cells"] if figure.name == "joint")
    assert joint.ends == (metrics["graph/joint.ci_low"], metrics["graph/joint.ci_high"])
    assert graph["n"] == "4"
    assert not [key for key in shown["table"]["figures"] if "do(" in key]
    assert shown["unavailable"]["name a CLIP, --clip"] == ["CLIP consistency", "CLIP text alignment"]
    assert shown["unavailable"]["not known of any clip"] == ["tokens"]
    page = _page(steering)
    assert "caption similarity (name two networks, --captioner and --embedder)" in page
    assert "not evaluated yet" not in page
    assert page.count('data-title="right, beard"') == 3 * len(DEFAULT)  # the name on paper, in three tables


def test_interventions_have_tables_of_their_own_and_the_graphs_that_they_cut(steering: Path) -> None:
    shown = steering_context(steering)
    tables = dict(shown["by_intervention"])
    assert list(tables) == ["do(beard)", "do(gender)"]
    for do, table in tables.items():
        assert {row["n"] for row in table["rows"]} == {"2"}
        for method, numbers in _numbers(table).items():
            under = [p.result for p in _of(steering, method) if f"do({', '.join(p.result['intervention'])})" == do]
            for name in COLUMNS:
                assert numbers[name] == pytest.approx(np.mean([result["measured"][name] for result in under]))
    pictures = dict(shown["pictures"])
    assert list(pictures) == ["do(beard)", "do(gender)"]
    assert "Under do(beard): beard is set" in pictures["do(beard)"]


def test_steered_is_compared_with_its_baselines_as_the_table_has_it(steering: Path) -> None:
    shown = steering_context(steering)["differences"]
    assert shown["others"] == ["initial", "graph", "best_of_n"]
    assert [row["key"] for row in shown["rows"]] == list(COLUMNS)
    assert "fidelity/ssim" in [row["key"] for row in shown["more"]]
    with (steering / "comparisons.csv").open() as stream:
        tests = {(row["metric"], row["other"]): row for row in csv.DictReader(stream)}
    for row in [*shown["rows"], *shown["more"]]:
        for other, cell in zip(shown["others"], row["cells"], strict=True):
            test = tests[row["key"], other]
            assert float(cell["value"].replace("−", "-")) == pytest.approx(
                float(test["difference"]), rel=0.02, abs=6e-4
            )
            assert float(cell["p"].removeprefix("p = ")) == pytest.approx(float(test["p_holm"]), abs=6e-4)
            assert cell["pairs"] == "4 pairs of 2 clips"
    violations = next(row for row in shown["rows"] if row["key"] == "violations")
    assert violations["cells"][0]["value"] == "−0.500"
    assert violations["cells"][0]["ends"].startswith("−0.500 to")


def test_clips_tell_what_was_asked_said_and_seen_of_every_method(steering: Path) -> None:
    data = _data(_page(steering))
    assert data["groups"] == ["do(beard)", "do(gender)"]
    assert [clip["id"] for clip in data["clips"]] == [
        f"{clip}, do({do}=other)" for clip in ("one", "two") for do in ("beard", "gender")
    ]
    results = {(p.result["clip"], *p.result["intervention"], p.result["method"]): p for p in read_predictions(steering)}
    for clip in data["clips"]:
        for method, told in zip(DEFAULT, clip["methods"], strict=True):
            prediction = results[clip["id"].partition(",")[0], clip["group"][3:-1], method]
            result = prediction.result
            assert told["folder"] == prediction.id
            assert (prediction.folder / "panel.mp4").is_file()
            assert (prediction.folder / "progression.mp4").is_file() == told["progression"]
            assert (told["status"], told["prompt"]) == (result["status"], result["prompt"])
            for answer in result["evaluation"]:
                seen = told["answers"][answer["attribute"]]
                assert (seen["observed"], seen["realised"]) == (answer["observed"], answer["realised"])
            assert len(told["attempts"]) == result["cost"]["edits"]
            assert [one["kept"] for one in told["attempts"]].index(True) == result["best"]
            values = dict(zip(data["figures"], told["values"], strict=True))
            assert values["violations"] == float(told["violations"]) == result["measured"]["violations"]
    beard = data["clips"][0]
    assert beard["source"] == "a video of a young woman"
    assert beard["asked"][2] == {"name": "beard", "role": "is set", "before": "no", "after": "yes"}
    assert [one["role"] for one in data["clips"][1]["asked"]] == ["stays", "is set", "follows", "follows"]
    first = beard["methods"][DEFAULT.index("steered")]["attempts"][0]
    assert first == {
        "prompt": "a video of a young person with a beard",
        "negative": "",
        "right": "3 of 4",
        "said": ["the clip shows gender = man, not woman"],
        "kept": False,
    }


def test_why_a_loop_ended_is_told_for_every_reason_there_is() -> None:
    import lvcf.steering.loop

    source = Path(lvcf.steering.loop.__file__).read_text(encoding="utf-8")
    reasons = set(re.findall(r'(?:return|stopped =) "([a-z ]+)"', source)) | {"stagnation"}
    assert reasons == set(STOPPED)


def test_videos_stay_in_the_folder_and_nothing_is_remote(steering: Path) -> None:
    page = _page(steering)
    assert not re.search(r"https?://|@import|url\(|data:(?:video|image)", page)
    assert not re.search(r"<(?:video|img|link|iframe)\b", page)
    assert not re.search(r"<script[^>]*\bsrc", page)
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert _page(steering) == page
    assert len(page) < 150_000


def test_words_from_files_are_escaped(steering: Path) -> None:
    result = steering / "predictions" / "one.beard_other.steered" / "result.json"
    _change(result, prompt=NASTY, clip=NASTY, hint=NASTY)
    failed = steering / "predictions" / "two.beard_other.steered" / "result.json"
    _change(failed, status="failed", hint=NASTY, id=NASTY)
    _change(steering / "manifest.json", editor=NASTY, notice=[NASTY])
    page = _page(steering)
    assert NASTY not in page
    assert "alert('p')" not in page
    assert len(re.findall(r"<script", page)) == 2
    steered = _data(page)["clips"][0]["methods"][-1]
    assert (steered["prompt"], steered["told"]) == (NASTY, NASTY)


def test_a_run_whose_videos_are_not_measured_says_which_command_does_it(tmp_path: Path) -> None:
    run = steer(tmp_path, methods=["initial", "steered"], clips=1)
    shown = steering_context(run)
    assert not shown["evaluated"]
    assert f"run <code>lvcf evaluate {run}</code>" in _page(run)
    assert set(_numbers(shown["table"])) == {"initial", "steered"}
    cell = shown["differences"]["rows"][0]["cells"][0]
    assert (cell["ends"], cell["p"], cell["pairs"]) == ("", "", "2 pairs of 1 clip")


def test_a_run_that_was_killed_is_shown_from_its_results(steering: Path) -> None:
    before = steering_context(steering)
    for name in ("metrics.json", "table.csv", "comparisons.csv", "predictions.csv"):
        (steering / name).unlink()
    after = steering_context(steering)
    assert not after["evaluated"]
    for method, numbers in _numbers(after["table"]).items():
        assert "fidelity/ssim" not in numbers
        assert numbers == {key: _numbers(before["table"])[method][key] for key in numbers}
        assert set(COLUMNS) < set(numbers)
    assert after["differences"]["rows"] == before["differences"]["rows"]
    shutil.rmtree(steering / "predictions" / "two.gender_other.steered")
    assert steering_context(steering)["pending"] == 1
    page = _page(steering)
    assert "1 more is not made yet" in page
    assert _data(page)["clips"][3]["methods"][-1] is None
    shutil.rmtree(steering / "predictions")
    assert _page(steering).count("No clip is finished yet.") == 2


def test_a_failed_clip_is_shown_with_its_hint(tmp_path: Path) -> None:
    module = {"class_path": "tests.steering.bands.BandModule", "init_args": {"broken": "two"}}
    run = steer(tmp_path, methods=["initial", "steered"], data=module)
    shown = steering_context(run)
    names = [f"two.{do}_other.{method}" for do in ("beard", "gender") for method in ("initial", "steered")]
    assert shown["failures"] == {"two.avi: truncated; copy it again": names}
    assert {row["n"] for row in shown["table"]["rows"]} == {"2, 2 failed"}
    page = _page(run)
    assert "4 failed</span> two.avi: truncated; copy it again" in page
    failed = _data(page)["clips"][2]
    assert failed["asked"] == []
    assert {one["told"] for one in failed["methods"]} == {"two.avi: truncated; copy it again"}


def test_a_judge_that_did_not_answer_leaves_its_reason(steering: Path) -> None:
    missing = "unavailable: other eyes: refused"
    for prediction in read_predictions(steering):
        told = {"evaluation": missing, "measured": dict.fromkeys(COLUMNS, missing), "hint": f"by one judge; {missing}"}
        _change(prediction.folder / "result.json", **told)
    for name in ("metrics.json", "table.csv", "comparisons.csv", "predictions.csv"):
        (steering / name).unlink()
    shown = steering_context(steering)
    assert shown["unavailable"]["other eyes: refused"] == list(COLUMNS)
    assert shown["score"] == []
    clip = _data(_page(steering))["clips"][0]
    assert clip["methods"][0]["told"] == f"by one judge; {missing}"
    assert clip["methods"][0]["answers"] == {}
    assert [value["after"] for value in clip["asked"]] == ["young", "woman", "yes", "no"]  # what steering aimed at


def test_a_control_graph_is_shown_beside_the_one_that_judges(steering: Path) -> None:
    other = read_graph("steering/graphs/celebv_text_none.yaml").model_dump(mode="json")
    _change(steering / "manifest.json", graph=other)
    shown = steering_context(steering)
    assert dict(shown["asked"])["causal graph"] == "celebv_text_none; judged by celebv_text"
    assert [caption for caption, _ in shown["pictures"]] == [
        f"do({do}), {whose}" for do in ("beard", "gender") for whose in ("as steered", "as judged")
    ]


def test_what_is_assumed_of_every_child_is_on_the_page(steering: Path) -> None:
    assumed = read_graph("steering/graphs/celebv_text.yaml").assumptions
    assert set(assumed) == {"beard", "baldness"}
    page = _page(steering)
    for name, how in assumed.items():
        assert f"{name} follows, assumed" in page
        assert how in page


def test_a_damaged_file_is_named(steering: Path) -> None:
    (steering / "metrics.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=r"metrics\.json: damaged"):
        write_report(steering)
