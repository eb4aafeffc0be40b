"""A study is blind, balanced and the same again; mistakes name the run and the fix."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lvcf.cli import main
from lvcf.data.video import read_video, write_lossless
from lvcf.runs.folder import Prediction
from lvcf.study.make import make_study
from lvcf.study.trials import change_in_words, draw_trials, scramble
from tests.study.conftest import CLIPS, FRAMES, SIZE, key_of


def test_the_raters_folder_tells_nothing_of_the_runs(made_study, made_runs) -> None:
    raters = made_study / "raters"
    files = [path for path in raters.rglob("*") if path.is_file()]
    secrets = [
        "guided",
        "plain-run",
        "AGG",
        "prompt only",
        "first",
        "second",
        "intact",
        "corrupted",
        "key.json",
        *CLIPS,
    ]
    assert {path.suffix for path in files} == {".html", ".mp4"}
    for path in files:
        content = path.read_bytes()
        for secret in [*secrets, *CLIPS, str(made_runs[0].parent)]:
            assert secret not in path.name
            assert secret.encode() not in content, (path.name, secret)
    assert sorted(path.name for path in raters.iterdir()) == ["clips", "index.html"]


def test_swapping_the_runs_changes_nothing_that_can_be_read(runs, tmp_path) -> None:
    """Whoever reads page and file names sees the same, whichever run is on which side; only the pictures differ."""
    one, other = (make_study(*order, 5, tmp_path / name, 3, "") for order, name in ((runs, "x"), (runs[::-1], "y")))
    keys = [key_of(page.parent.parent) for page in (one, other)]
    pages = [page.read_text().replace(key["study"], "") for page, key in zip((one, other), keys, strict=True)]
    assert pages[0] == pages[1]
    assert keys[0]["study"] != keys[1]["study"]
    names = [sorted(path.name for path in (page.parent / "clips").iterdir()) for page in (one, other)]
    assert names[0] == names[1] == sorted(f"{name}.mp4" for name in keys[0]["trials"])


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_study(made_study, made_runs, tmp_path) -> None:
    again = make_study(*made_runs, 5, tmp_path / "again", 3, "ejection fraction").parent.parent
    for path in made_study.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (again / path.relative_to(made_study)).read_bytes(), path
    other = [t.shown for t in draw_trials(*made_runs, 5, 4, "")]
    assert other != [t.shown for t in draw_trials(*made_runs, 5, 3, "")]


def test_panels_show_what_the_key_says(made_study, made_runs) -> None:
    """The mean brightness of each third: the runs' edits are 40 and 90 levels brighter than the original."""
    added = {"first": 40, "second": 90, "intact": 0, "corrupted": 0}
    for name, trial in key_of(made_study)["trials"].items():
        frames = read_video(made_study / "raters" / "clips" / f"{name}.mp4").frames.astype(float)
        assert frames.shape[:2] == (FRAMES, 10 * SIZE)
        a, original, b = np.split(frames, 3, axis=2)
        for tile, shown in ((a, trial["A"]), (b, trial["B"])):
            assert tile.mean() - original.mean() == pytest.approx(added[shown], abs=2)
            same_place = np.abs(tile - original - added[shown]).mean()
            assert (same_place > 10) == (shown == "corrupted")
        factual = Prediction(made_runs[0] / "predictions" / trial["id"], {}).factual()
        assert original.mean() == pytest.approx(factual.mean(), abs=2)


@pytest.mark.parametrize("seed", range(5))
def test_sides_are_balanced_and_every_clip_comes_once(made_runs, seed) -> None:
    trials = draw_trials(*made_runs, 6, seed, "")
    pairs, checks = ([t for t in trials if t.is_check == kind] for kind in (False, True))
    assert len({t.pair[0].id for t in pairs}) == 6
    assert sum(t.shown == ("first", "second") for t in pairs) == 3
    assert len(checks) == 3
    assert sum(t.shown[0] == "intact" for t in checks) in (1, 2)


def test_scrambling_moves_every_tile_and_loses_none() -> None:
    frames = np.arange(2 * 18 * 21 * 3, dtype=np.uint32).reshape(2, 18, 21, 3)
    mixed = scramble(frames, 5)
    assert (np.sort(mixed, axis=None) == np.sort(frames, axis=None)).all()
    assert (mixed[:, :16, :20] != frames[:, :16, :20]).all()
    assert (mixed[:, 16:] == frames[:, 16:]).all()


def test_what_was_asked_for_is_said_in_words() -> None:
    target = {"text": "38"}
    value = {"task": "regression", "unit": "%", "target": target, "prediction_before": 55.776}
    same, other = Prediction(Path(), value), Prediction(Path(), value | {"prediction_before": 40.0})
    assert change_in_words((same, same), "ejection fraction") == "ejection fraction 38 % instead of 55.78 %"
    assert change_in_words((same, other), "") == "38 %"
    face = Prediction(Path(), {"task": "classification", "target": {"text": "Sad"}, "class_before": "Happy"})
    assert change_in_words((face, face), "") == "Sad instead of Happy"


def edit(run: Path, name: str, **change: Any) -> None:
    path = run / "predictions" / name / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


def other_clips(run: Path) -> None:
    for name in CLIPS:
        edit(run, name, id=f"other_{name}")


def another_cut(run: Path) -> None:
    for name in CLIPS[:2]:
        write_lossless(run / "predictions" / name / "factual.mkv", np.zeros((FRAMES, SIZE, SIZE, 3), np.uint8), 8.0)


def other_targets(run: Path) -> None:
    for name in CLIPS:
        edit(run, name, target={"low": 1, "high": 1, "text": "1"})


Spoil = Callable[[Path], Any]
BAD_RUNS: dict[str, tuple[Spoil, str, list[str]]] = {
    "no run": (shutil.rmtree, "5", ["no such run folder"]),
    "no manifest": (lambda run: (run / "manifest.json").unlink(), "5", ["holds no manifest.json"]),
    "no common clip": (other_clips, "5", ["no clip in common", "predict both runs over the same clips"]),
    "too few": (lambda run: None, "7", ["6 common clips: 6 pairs", "--n asks for 7", "ask for --n 6 or fewer"]),
    "failed": (lambda run: edit(run, CLIPS[0], status="failed"), "6", ["6 common clips, 1 failed: 5 pairs"]),
    "other factuals": (another_cut, "6", ["2 cut or sized differently: 4 pairs"]),
    "other targets": (other_targets, "1", ["6 with different targets: 0 pairs", "predict both runs with the same"]),
    "no pair": (lambda run: None, "0", ["--n 0", "at least one pair"]),
    "a damaged result": (
        lambda run: (run / "predictions" / CLIPS[0] / "result.json").write_text("{"),
        "5",
        ["result.json", "damaged"],
    ),
    "a missing video": (
        lambda run: (run / "predictions" / CLIPS[0] / "factual.mkv").unlink(),
        "6",
        ["factual.mkv", "no such video file"],
    ),
}


@pytest.mark.parametrize("case", BAD_RUNS)
def test_bad_runs(case, capfd, runs, tmp_path) -> None:
    spoil, n, says = BAD_RUNS[case]
    spoil(runs[1])
    assert main(["study", "make", *map(str, runs), "--n", n, "--out", str(tmp_path / "out")]) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    for text in says:
        assert text in error
    assert not (tmp_path / "out").exists()


def test_one_run_twice_and_a_folder_in_use_are_refused(capfd, runs, tmp_path) -> None:
    run = str(runs[0])
    assert main(["study", "make", run, f"{run}/.", "--n", "2", "--out", str(tmp_path / "out")]) == 2
    assert "the same run twice" in capfd.readouterr().err
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "key.json").write_text("{}")
    assert main(["study", "make", *map(str, runs), "--n", "2", "--out", str(tmp_path / "used")]) == 2
    assert "holds something already" in capfd.readouterr().err
    assert (tmp_path / "used" / "key.json").read_text() == "{}"
