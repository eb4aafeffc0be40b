"""A study's page shows what the analysis found, unblinded; before it, it says what is to be run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lvcf.cli.report import write_report
from lvcf.errors import UserError
from lvcf.study.analyse import analyse
from lvcf.study.report import study_context
from tests.study.conftest import CLIPS, answer, key_of, made_runs, made_study, study

__all__ = ["made_runs", "made_study", "study"]  # fixtures


def test_shares_stand_with_intervals_and_clips_with_their_leads(study: Path) -> None:
    shown = {trial["id"] for trial in key_of(study)["trials"].values() if not trial["check"]}
    lost = min(shown)
    wanted = dict.fromkeys(CLIPS, "first") | {lost: "second"}
    for rater in ("r1", "r2", "r3"):
        answer(study, rater, wanted)
    answer(study, "careless", "second", attentive=False)
    result = analyse(study, [])
    context = study_context(study)
    row = result["questions"]["realism"]
    first, none, second = context["questions"][0]["shares"]
    assert (first["value"], none["value"], second["value"]) == ("80 %", "0 %", "20 %")
    assert first["interval"] == f"{100 * row['first.low']:.0f} to {100 * row['first.high']:.0f} %"
    assert context["questions"][0]["cells"][1] == "4 : 1, 0"
    assert {clip["id"]: clip["leads"]["realism"] for clip in context["clips"]} == {
        name: -3 if name == lost else 3 for name in shown
    }
    assert context["counts"] == {"first": 4, "second": 1, "tied": 0}
    page = write_report(study).read_text(encoding="utf-8")
    assert "guided-run 80 %" in page
    assert "answers-careless.json" in page
    assert "3 counted, 1 dropped" in page


def test_panels_are_named_by_what_they_show_and_the_first_run_comes_first(study: Path) -> None:
    trials = key_of(study)["trials"]
    for clip in study_context(study)["clips"]:
        video = clip["video"]
        name = video["source"].split("/")[-1].removesuffix(".mp4")
        assert [video["names"][index] for index in video["tiles"]] == ["guided-run", "original", "plain-run"]
        assert video["names"][0] == ("guided-run" if trials[name]["A"] == "first" else "plain-run")
        assert video["fps"] == pytest.approx(8.0)


def test_before_the_analysis_it_says_so_and_an_unanswered_question_has_no_share(study: Path) -> None:
    page = write_report(study).read_text(encoding="utf-8")
    assert f"Not analysed yet: run <code>lvcf study analyse {study}</code>" in page
    path = answer(study, "r1", "first")
    content = json.loads(path.read_text(encoding="utf-8"))
    for given in content["answers"].values():
        del given["faithfulness"]
    path.write_text(json.dumps(content), encoding="utf-8")
    analyse(study, [])
    assert "unavailable: nobody answered it" in write_report(study).read_text(encoding="utf-8")


def test_a_missing_clip_is_named(study: Path) -> None:
    for path in (study / "raters" / "clips").iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"raters/clips/.*mp4: no such video file"):
        write_report(study)
