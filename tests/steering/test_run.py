"""``lvcf steer`` as a user runs it, on the toy world: from YAML to a table, resumed, replayed; a user's mistakes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from lvcf.cli import main
from lvcf.configuration import config_folder
from lvcf.data.video import read_video
from lvcf.files import read_lines
from lvcf.runs.folder import read_predictions
from tests.helpers import fails
from tests.steering import bands
from tests.steering.bands import CLIPS


@pytest.fixture
def section(tmp_path) -> dict[str, Any]:
    return bands.section(tmp_path)


def steer(section: dict[str, Any], tmp_path: Path) -> list[str]:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"steer": section}))
    return ["steer", "--config", str(tmp_path / "mine.yaml")]


def aged_graph(folder: Path) -> str:
    """The face phantom's graph, whose old people are called aged."""
    shipped = (config_folder() / "steering" / "graphs" / "face.yaml").read_text()
    (folder / "aged.yaml").write_text(shipped.replace("[young, old]", "[young, aged]").replace("age: old", "age: aged"))
    return str(folder / "aged.yaml")


def results(run: Path) -> dict[str, dict[str, Any]]:
    return {prediction.id: prediction.result for prediction in read_predictions(run)}


def test_from_clips_to_a_table(section, tmp_path, capfd) -> None:
    run = tmp_path / "run"
    assert main(steer(section, tmp_path)) == 0
    printed = capfd.readouterr().out
    assert "violations" in printed
    assert "by the evaluating judge" in printed
    found = results(run)
    assert len(found) == 2 * 2 * 5
    steered, graph, initial = (found[f"one.beard_other.{method}"] for method in ("steered", "graph", "initial"))
    assert steered["factual"] == CLIPS["one"]  # as the steering judge sees it
    assert steered["intervention"] == {"beard": "yes"}
    assert steered["target"] == {**CLIPS["one"], "beard": "yes"}
    assert (steered["status"], steered["stopped"], steered["best"]) == ("reached", "realised", 1)
    assert steered["prompt"] == "a video of a young woman with a beard"
    assert steered["cost"]["edits"] == 2
    assert steered["cost"]["calls"] == 3  # judge, rewriter, judge
    assert (graph["status"], graph["measured"]["minimality"]) == ("not_reached", pytest.approx(2 / 3))
    assert "gender is man" in graph["hint"]
    assert initial["status"] == "reached"
    woman = found["two.gender_other.initial"]
    assert (woman["status"], woman["measured"]["violations"]) == ("not_reached", 1.0)  # her beard
    assert found["two.gender_other.graph"]["measured"]["violations"] == 0.0
    for prediction in read_predictions(run):
        best = prediction.folder / "attempts" / f"{prediction.result['best']:02d}.mkv"
        assert (prediction.counterfactual() == read_video(best).frames).all()
        assert prediction.mask().shape == prediction.factual().shape[:3]
        assert (prediction.folder / "progression.mp4").exists() == (len(prediction.result["history"]) > 1)
    roles = {answer["attribute"]: answer["role"] for answer in woman["evaluation"]}
    assert roles == {"age": "preserved", "gender": "intervened", "beard": "descendant", "baldness": "descendant"}
    table = json.loads((run / "metrics.json").read_text())
    by_hand = [found[name]["measured"]["joint"] for name in found if name.endswith(".steered")]
    assert table["steered/n"] == len(by_hand) == 4
    assert table["steered/joint"] == pytest.approx(sum(by_hand) / 4)
    assert table["steered/tokens"].startswith("unavailable")  # nobody counted


def test_methods_that_end_with_the_same_video_leave_what_each_leaves_alone(section, tmp_path) -> None:
    names = ("factual.mkv", "counterfactual.mkv", "mask.npz", "panel.mp4", "attempts/00.mkv")
    for output, methods in (("together", ["graph", "best_of_n", "steered"]), ("alone", ["steered"])):
        assert main(steer(section | {"methods": methods, "output": str(tmp_path / output)}, tmp_path)) == 0
    shared = []
    together, alone = (read_predictions(tmp_path / output) for output in ("together", "alone"))
    steered = [prediction for prediction in together if prediction.result["method"] == "steered"]
    for one, other in zip(steered, alone, strict=True):
        same = [(p.folder / "counterfactual.mkv").read_bytes() for p in together if p.id.startswith(one.id[:-8])]
        shared.append(same.count((one.folder / "counterfactual.mkv").read_bytes()) > 1)
        assert one.result["history"] == other.result["history"]
        for name in names:
            assert (one.folder / name).read_bytes() == (other.folder / name).read_bytes()
    assert any(shared)
    assert main(["evaluate", *(str(tmp_path / output) for output in ("together", "alone"))]) == 0
    rows, ours = (read_lines(tmp_path / output / "predictions.csv") for output in ("together", "alone"))
    assert all(float(row["fidelity/ssim"]) < 1.0 for row in rows)
    costs = ("seconds", "peak_memory_bytes")
    for row, other in zip([row for row in rows if row["method"] == "steered"], ours, strict=True):
        assert {k: v for k, v in row.items() if k not in costs} == {k: v for k, v in other.items() if k not in costs}


def test_a_control_graph_is_judged_by_the_graph_that_counts(section, tmp_path) -> None:
    section |= {"graph": "steering/graphs/celebv_text_none.yaml", "methods": ["graph"]}
    section |= {"evaluation_graph": "steering/graphs/celebv_text.yaml", "interventions": [{"gender": "woman"}]}
    assert main(steer(section, tmp_path)) == 0
    result = results(tmp_path / "run")["two.gender_woman.graph"]
    assert result["target"]["beard"] == "yes"  # without edges a beard stays
    assert result["measured"]["violations"] == 1.0


def test_factual_values_that_the_judge_cannot_tell_are_asked_of_the_user(section, tmp_path, capfd) -> None:
    section |= {"judge": {"class_path": "tests.steering.odd.UnsureObserver"}, "methods": ["graph"], "clips": 1}
    assert main(steer(section, tmp_path)) == 1
    assert "cannot tell beard; give the clip's values in a file (factual)" in capfd.readouterr().out


def test_an_evaluator_that_cannot_tell_finds_nothing_right_in_it(section, tmp_path) -> None:
    section |= {"evaluator": {"class_path": "tests.steering.odd.UnsureObserver", "init_args": {"name": "unsure"}}}
    assert main(steer(section | {"methods": ["graph"], "interventions": [{"age": "other"}], "clips": 1}, tmp_path)) == 0
    (result,) = results(tmp_path / "run").values()
    assert (result["status"], result["measured"]["joint"]) == ("not_reached", 0.0)
    assert "beard cannot be told" in result["hint"]


def test_what_a_simulator_alone_knows_is_the_evaluations(section, tmp_path) -> None:
    """The method aims at what the graph makes of what is shown; what is right, the simulator says."""
    section |= {"factual": "data", "interventions": [{"gender": "man"}], "methods": ["graph", "steered"], "clips": 1}
    section["data"] = {"class_path": "tests.steering.bands.KnownModule"}
    assert main(steer(section, tmp_path)) == 0
    for result in results(tmp_path / "run").values():
        assert result["target"]["beard"] == "yes"
        assert result["prompt"] == "a video of a young man with a beard"
        assert result["stopped"] in ("realised", "done")
        assert (result["right"]["beard"], result["status"]) == ("no", "not_reached")
        assert {a["attribute"]: a["expected"] for a in result["evaluation"]} == result["right"]
        assert result["measured"]["violations"] == 1.0
    for path in (tmp_path / "run").rglob("calls.jsonl"):
        steered = [json.loads(line) for line in path.read_text().splitlines()]
        asked = [line["request"] for line in steered if line["kind"] != "evaluate"]
        assert all(
            one["expected"] != "no" for r in asked for one in r.get("questions", []) if one["attribute"] == "beard"
        )
    assert main(["steer", "--replay", str(tmp_path / "run")]) == 0


def test_a_second_run_does_what_is_missing_and_a_replay_needs_nobody(section, tmp_path, capfd) -> None:
    run = tmp_path / "run"
    section["methods"] = ["graph", "steered"]
    assert main(steer(section, tmp_path)) == 0
    before = {path: path.stat().st_mtime_ns for path in run.rglob("result.json")}
    gone = run / "predictions" / "one.beard_other.steered"
    shutil.rmtree(gone)
    assert main(steer(section, tmp_path)) == 0
    after = {path: path.stat().st_mtime_ns for path in run.rglob("result.json")}
    assert {path for path in before if before[path] != after[path]} == {gone / "result.json"}
    capfd.readouterr()
    assert main(["steer", "--replay", str(run)]) == 0
    assert "the records run again" in capfd.readouterr().out
    result = json.loads((gone / "result.json").read_text())
    result["history"][0]["prompt"] = "something else"
    (gone / "result.json").write_text(json.dumps(result))
    assert main(["steer", "--replay", str(run)]) == 1
    assert gone.name in capfd.readouterr().out
    section["seed"] = 1
    assert "another seed; choose another output" in fails(capfd, steer(section, tmp_path))


def test_an_unreadable_clip_fails_alone_and_is_tried_again(section, tmp_path, capfd) -> None:
    section |= {"methods": ["initial"], "interventions": [{"age": "other"}]}
    section["data"]["init_args"] = {"broken": "two"}
    assert main(steer(section, tmp_path)) == 1
    assert "two.age_other.initial: failed: two.avi: truncated" in capfd.readouterr().out
    table = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert (table["initial/n"], table["initial/failed"]) == (2, 1)
    del section["data"]["init_args"]
    assert main(steer(section, tmp_path)) == 0
    assert results(tmp_path / "run")["two.age_other.initial"]["status"] != "failed"


def test_a_data_set_without_prompts_of_its_own(section, tmp_path, capfd) -> None:
    assert main(steer(section | {"methods": ["given", "graph"]}, tmp_path)) == 1
    assert "no prompt of its own for do(beard=yes); leave given out of methods" in capfd.readouterr().out
    assert {result["method"]: result["status"] == "failed" for result in results(tmp_path / "run").values()} == {
        "given": True,
        "graph": False,
    }


def test_values_from_a_file(section, tmp_path) -> None:
    wished = {name: {**values, "beard": True} for name, values in CLIPS.items()}
    (tmp_path / "known.json").write_text(json.dumps(wished))
    section |= {"methods": ["graph"], "factual": str(tmp_path / "known.json"), "clips": 1}
    assert main(steer(section, tmp_path)) == 0
    result = results(tmp_path / "run")["one.beard_other.graph"]
    assert result["source_prompt"] == "a video of a young woman with a beard"
    assert result["intervention"] == {"beard": "no"}


BAD = {
    "one judge": (lambda s: s.update(evaluator=s["judge"]), ["steers and evaluates", "same_judge: true"]),
    "no threads": (lambda s: s.update(threads=0), ["threads", "PositiveInt"]),
    "unknown method": (lambda s: s.update(methods=["stered"]), ["'stered'", "did you mean steered"]),
    "unknown variable": (lambda s: s.update(interventions=[{"aeg": "old"}]), ["'aeg'", "did you mean age"]),
    "impossible value": (lambda s: s.update(interventions=[{"age": "olde"}]), ["'olde'", "did you mean old"]),
    "nothing set": (lambda s: s.update(interventions=[{}]), ["do: empty"]),
    "no graph": (lambda s: s.update(graph="steering/graphs/fase.yaml"), ["fase.yaml", "no such"]),
    "other variables": (
        lambda s: s.update(evaluation_graph=aged_graph(Path(s["output"]).parent)),
        ["evaluation_graph", "face", "other variables or values"],
    ),
    "no editor": (lambda s: s["editor"].update(class_path="lvcf.NoEditor"), ["NoEditor"]),
    "unknown argument": (lambda s: s.update(intervention=[]), ["intervention"]),
    "a budget of nothing": (lambda s: s["budget"].update(edits=0), ["budget.edits 0"]),
    "no file of values": (lambda s: s.update(factual="nowhere.json"), ["nowhere.json", "no such file"]),
    "a set that does not tell": (lambda s: s.update(factual="data"), ["factual data", "simulated"]),
}


@pytest.mark.parametrize("name", BAD)
def test_mistakes(name, section, tmp_path, capfd) -> None:
    spoil, says = BAD[name]
    spoil(section)
    line = fails(capfd, steer(section, tmp_path))
    for text in says:
        assert text in line, line


def test_a_replay_of_no_run(tmp_path, capfd) -> None:
    assert "no such run folder" in fails(capfd, ["steer", "--replay", str(tmp_path / "nothing")])
    assert "give the run's folder alone" in fails(capfd, ["steer", "--replay"])
