"""What one clip, editor, judge, rewriter or reader does wrong is that case's failure; the run goes on to its end."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from lvcf.cli import main
from lvcf.data.clip import to_frames
from lvcf.runs.folder import read_predictions
from tests.helpers import fails
from tests.steering import bands
from tests.steering.bands import CLIPS
from tests.steering.chat import ChatServer
from tests.steering.odd import FINE, ODD
from tests.steering.painted import paint

Section = dict[str, Any]


@pytest.fixture
def section(tmp_path) -> Section:
    """The loop alone, on two clips."""
    return bands.section(tmp_path) | {"methods": ["steered"], "interventions": [{"gender": "other"}]}


def steer(section: Section) -> list[str]:
    path = Path(section["output"]).parent / "mine.yaml"
    path.write_text(yaml.safe_dump({"steer": section}))
    return ["steer", "--config", str(path)]


def part(name: str, **arguments: str) -> Section:
    return {"class_path": f"tests.steering.odd.{name}", "init_args": arguments}


def results(section: Section) -> dict[str, Section]:
    return {prediction.result["clip"]: prediction.result for prediction in read_predictions(Path(section["output"]))}


KEY = "KeyError: 'layer"
ODD_PARTS: dict[str, tuple[Section, str]] = {
    "an edit with NaN": ({"editor": part("OddEditor", how="nan")}, "is not finite: odd bands"),
    "an infinite edit": ({"editor": part("OddEditor", how="infinity")}, "is not finite: odd bands"),
    "an edit of one frame": ({"editor": part("OddEditor", how="shorter")}, "(3, 1, 16, 16), the clip (3, 3, 16, 16)"),
    "no edit at all": ({"editor": part("OddEditor", how="nothing")}, "odd bands: AttributeError: "),
    "an editor's KeyError": ({"editor": part("OddEditor", how="key")}, f"odd bands: {KEY}"),
    "an editor's MemoryError": ({"editor": part("OddEditor", how="memory")}, "odd bands: MemoryError"),
    "an editor's own refusal": ({"editor": part("OddEditor", how="user")}, "odd bands: the clip is 15 pixels high"),
    "a judge": ({"judge": part("OddJudge", how="key")}, f"odd judge: {KEY}"),
    "a judge that cannot say what is shown": ({"judge": part("OddObserver", how="key")}, f"odd judge: {KEY}"),
    "a judge that does not know the graph": ({"judge": part("OddJudge", how="user")}, "odd judge: the clip is 15"),
    "an evaluator": ({"evaluator": part("OddJudge", how="assert")}, "odd judge: AssertionError: what now"),
    "a reader": ({"data": part("OddModule", how="key")}, KEY),
    "a reader's MemoryError": ({"data": part("OddModule", how="memory")}, "MemoryError"),
    "a clip that the tables lack": ({"data": part("OddModule"), "factual": "data"}, "factual data: KeyError: 'one'"),
}


@pytest.mark.parametrize("what", ODD_PARTS)
def test_one_odd_case_is_a_failure_with_its_reason(what, section, capfd) -> None:
    changed, told = ODD_PARTS[what]
    assert main(steer(section | changed)) == 1
    found, printed = results(section), capfd.readouterr().out
    assert (found[ODD]["status"], found[FINE]["status"]) == ("failed", "reached")
    assert told in found[ODD]["hint"]
    assert found[ODD]["hint"].isprintable()
    assert f"one.gender_other.steered: failed: {found[ODD]['hint']}" in printed
    assert "\x1b[31m" not in printed


def test_the_same_command_makes_what_failed(section) -> None:
    assert main(steer(section | {"data": part("OddModule", how="key")})) == 1
    assert main(steer(section)) == 0
    assert {result["status"] for result in results(section).values()} == {"reached"}


def test_a_rewriter_that_breaks_down_fails_where_it_is_needed(section) -> None:
    section |= {"rewriter": part("OddRewriter", how="key"), "interventions": [{"beard": "other"}]}
    assert main(steer(section)) == 1
    found = results(section)
    assert found[ODD]["status"] == "failed"  # the woman becomes a man: the prompt has to change
    assert found[ODD]["hint"].startswith("odd rewriter: KeyError: ")
    assert found[FINE]["status"] == "reached"


def test_an_edit_that_is_not_finite_is_shown_to_nobody(section) -> None:
    section["editor"] = part("OddEditor", how="nan")
    main(steer(section))
    predictions = Path(section["output"]) / "predictions"
    recorded = [path.parent.name for path in predictions.rglob("calls.jsonl")]
    assert recorded == ["two.gender_other.steered"]


@pytest.mark.parametrize("who", ["editor", "judge", "evaluator"])
def test_whoever_works_in_place_changes_no_clip(who, section) -> None:
    section[who] = part("OddEditor" if who == "editor" else "OddJudge", how="in place")
    assert main(steer(section)) == 0
    for prediction in read_predictions(Path(section["output"])):
        assert (prediction.factual() == to_frames(paint(CLIPS[prediction.result["clip"]]))).all()
        assert prediction.counterfactual().std() > 0.0


def test_values_that_one_clip_lacks_are_its_failure(section, tmp_path) -> None:
    section["factual"] = str(tmp_path / "known.json")
    for of_odd in ({}, {ODD: {**CLIPS[ODD], "age": "olde"}}, {ODD: {"age": "old"}}):
        (tmp_path / "known.json").write_text(json.dumps({FINE: CLIPS[FINE], **of_odd}))
        assert main(steer(section)) == 1
        found = results(section)
        assert (found[ODD]["status"], found[FINE]["status"]) == ("failed", "reached")
        assert "known.json" in found[ODD]["hint"]


@pytest.mark.parametrize("content", ["[]", "{", "no JSON", "", "\ufeff[1]"])
def test_a_users_own_file_without_clips_is_to_be_corrected(content, section, tmp_path, capfd) -> None:
    section["factual"] = str(tmp_path / "known.json")
    (tmp_path / "known.json").write_text(content)
    line = fails(capfd, steer(section))
    assert "known.json: " in line
    assert "correct it to {clip: {variable: value}}" in line
    assert "remove" not in line


WRONG: dict[str, tuple[Section, str]] = {
    "no clips": ({"clips": 0}, "clips 0: "),
    "fewer than no clips": ({"clips": -1}, "clips -1: "),
    "nothing set": ({"interventions": []}, "interventions: empty"),
    "a method twice": ({"methods": ["graph", "graph"]}, "methods: graph twice"),
    "an intervention twice": ({"interventions": [{"age": "old"}, {"age": "old"}]}, "interventions: age=old twice"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_makes_no_run_is_refused_by_name(what, section, capfd) -> None:
    changed, told = WRONG[what]
    assert told in fails(capfd, steer(section | changed))
    assert not Path(section["output"]).exists()


def test_two_runs_do_not_write_into_one_folder(section, capfd) -> None:
    output = Path(section["output"])
    hold = "import pathlib, sys\nfrom lvcf.runs.lock import locked\n"
    hold += "with locked(pathlib.Path(sys.argv[1])): sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", hold, str(output)], stdin=subprocess.PIPE) as other:
        while other.poll() is None and not (output.is_dir() and list(output.iterdir())):
            time.sleep(0.05)
        time.sleep(0.1)  # the file is there a moment before it is locked
        assert "is writing here" in fails(capfd, steer(section))
        other.kill()
    assert not (output / "manifest.json").exists()
    assert main(steer(section)) == 0


def test_a_secret_of_an_address_is_in_no_file_of_the_run(section, monkeypatch) -> None:
    secrets = ("sk-in-the-query", "sk-as-password", "sk-in-the-variable")
    monkeypatch.setenv("OPENAI_API_KEY", f"{secrets[2]}\n")
    server = ChatServer([401, 401])
    address = server.url.replace("http://", f"http://user:{secrets[1]}@") + f"?key={secrets[0]}"
    endpoint = {"base_url": address, "model": "toy", "retries": 0}
    place = {"class_path": "lvcf.steering.judges.endpoint.Endpoint", "init_args": endpoint}
    for role, kind in (("judge", "EndpointJudge"), ("rewriter", "EndpointRewriter")):
        section[role] = {"class_path": f"lvcf.steering.judges.endpoint.{kind}", "init_args": {"endpoint": place}}
    assert main(steer(section)) == 1
    assert main(["report", section["output"]]) == 0
    server.close()
    assert json.loads((Path(section["output"]) / "manifest.json").read_text())["judge"] == f"toy at {server.url}"
    for path in Path(section["output"]).rglob("*"):
        assert not path.is_file() or not any(secret.encode() in path.read_bytes() for secret in secrets), path


def test_a_clip_whose_finished_neighbour_is_damaged_is_made(section) -> None:
    section["methods"] = ["graph", "steered"]
    assert main(steer(section)) == 0
    folder = Path(section["output"]) / "predictions"
    neighbour = folder / "one.gender_other.graph"
    result = json.loads((neighbour / "result.json").read_text())
    for damage in (
        (neighbour / "panel.mp4").unlink,
        lambda: (neighbour / "result.json").write_text(json.dumps(result | {"best": 7})),
        lambda: shutil.rmtree(neighbour / "attempts"),
        lambda: (neighbour / "calls.jsonl").write_text("[]\n"),
    ):
        damage()
        shutil.rmtree(folder / "one.gender_other.steered")
        assert main(steer(section)) == 0
        assert json.loads((folder / "one.gender_other.steered" / "result.json").read_text())["status"] == "reached"


@pytest.mark.parametrize("what", ["observed/one", "predictions/one.gender_other.steered"])
def test_a_damaged_record_is_its_clips_failure_until_it_is_removed(what, section) -> None:
    section["judge"] = part("OddJudge", how="key")
    assert main(steer(section)) == 1
    folder = Path(section["output"]) / what
    (folder / "calls.jsonl").write_text("[]\n")
    shutil.rmtree(Path(section["output"]) / "predictions" / "two.gender_other.steered")
    assert main(steer(section)) == 1
    found = results(section)
    assert found[FINE]["status"] == "reached"
    assert found[ODD]["hint"] == f"{folder}/calls.jsonl, line 1: no record of a call; remove the folder"
