"""Damaged files of a steering run are told in one line; records of before run again as they ran."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lvcf.cli import main
from lvcf.errors import UserError
from lvcf.steering.judges.graph_rewriter import GraphRewriter
from lvcf.steering.loop import Budget, Steering
from lvcf.steering.transcript import Transcript
from tests.helpers import fails
from tests.steering import bands
from tests.steering.painted import FPS, YOUNG_MAN, BandEditor, BandJudge, case, paint

NAME = "one.beard_other.steered"


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A finished run; read only."""
    folder: Path = tmp_path_factory.mktemp("whole")
    section = bands.section(folder) | {"methods": ["graph", "steered"], "interventions": [{"beard": "other"}]}
    (folder / "mine.yaml").write_text(yaml.safe_dump({"steer": section}))
    assert main(["steer", "--config", str(folder / "mine.yaml")]) == 0
    return folder


@pytest.fixture
def run(whole, tmp_path) -> Path:
    """A copy that may be spoilt."""
    shutil.copytree(whole / "run", tmp_path / "run")
    return tmp_path / "run"


def edit(path: Path, change: Callable[[Any], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


LINES: dict[str, tuple[Callable[[list[str]], list[str]], str]] = {
    "a list": (lambda rows: ["[]", *rows[1:]], "line 1: no record of a call"),
    "a number": (lambda rows: ["7", *rows[1:]], "line 1: no record of a call"),
    "an empty object": (lambda rows: [rows[0], "{}", *rows[2:]], "line 2: no record of a call"),
    "deep brackets": (lambda rows: ["[" * 100000 + "]" * 100000, *rows[1:]], "line 1: no JSON"),
    "no UTF-8": (lambda rows: ["\udcff", *rows[1:]], "line 1: no JSON"),
    "an edit without a video": (lambda rows: [changed(rows[0], answer=None), *rows[1:]], "line 1: no record"),
    "a video elsewhere": (
        lambda rows: [changed(rows[0], answer={"video": "../../../victim.mkv", "sha256": "0"}), *rows[1:]],
        "line 1: no record",
    ),
    "a verdict that is none": (
        lambda rows: [rows[0], changed(rows[1], answer={"answers": 3}), *rows[2:]],
        "line 2: no answer of a judge",
    ),
    "seconds in words": (lambda rows: [changed(rows[0], seconds="long"), *rows[1:]], "line 1: no record of a call"),
}


def changed(row: str, **values: Any) -> str:
    return json.dumps({**json.loads(row), **values})


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("damage", LINES)
def test_a_damaged_record_is_told_in_one_line(damage, live, tmp_path) -> None:
    def record(live: bool) -> Steering:
        parts = (BandEditor(), BandJudge(), GraphRewriter(), Transcript(tmp_path, FPS, live))
        return Steering(case(YOUNG_MAN, age="old"), paint(YOUNG_MAN), *parts, Budget(), 0)

    record(live=True).run("steered")
    path, (spoil, told) = tmp_path / "calls.jsonl", LINES[damage]
    path.write_text("\n".join(spoil(path.read_text().splitlines())), errors="surrogateescape")
    with pytest.raises(UserError) as error:
        record(live).run("steered")
    assert f"{path}, {told}" in str(error.value)
    assert "\n" not in str(error.value)


def test_an_edit_whose_video_is_gone_is_told(run, capfd) -> None:
    (run / "predictions" / NAME / "attempts" / "00.mkv").unlink()
    assert f"not the clip that was recorded; remove {run / 'predictions' / NAME}" in fails(
        capfd, ["steer", "--replay", str(run)]
    )


@pytest.mark.parametrize("budget", [None, [], {"edits": "many"}, {"euros": 3}, {"edits": 0}])
def test_a_replay_tells_that_the_budget_is_damaged(budget, run, capfd) -> None:
    edit(run / "manifest.json", lambda manifest: manifest.update(budget=budget))
    assert "manifest.json: damaged" in fails(capfd, ["steer", "--replay", str(run)])


def test_a_record_of_before_runs_again_as_it_ran(run, capfd) -> None:
    """Its judge said that all is as expected where it saw something else, and the loop believed it."""
    folder = run / "predictions" / NAME
    rows = [json.loads(row) for row in (folder / "calls.jsonl").read_text().splitlines()]
    assert [row["kind"] for row in rows[:3]] == ["edit", "judge", "rewrite"]
    for answer in rows[1]["answer"]["answers"]:
        answer["realised"] = True
    (folder / "calls.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (*rows[:2], rows[-1])))
    answers = rows[1]["answer"]["answers"]
    edit(folder / "result.json", lambda r: r.update(best=0, history=[{**r["history"][0], "verdict": answers}]))
    assert main(["steer", "--replay", str(run)]) == 0
    assert "the records run again" in capfd.readouterr().out
