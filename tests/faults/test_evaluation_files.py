"""Files of a run that others made or that were damaged: one line that names the file, and nothing outside the run."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lvcf.cli import main
from lvcf.runs.folder import is_plain
from tests.faults.runs import put_run
from tests.helpers import fails
from tests.report.conftest import made_steering, rendered_run
from tests.study.conftest import answer, made_runs, made_study

__all__ = ["made_runs", "made_steering", "made_study", "rendered_run"]  # fixtures

DEEP = "[" * 100_000
Spoil = Callable[[Path], Any]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, echo_root: Path) -> Path:
    """An evaluated run of two clips.  Read only."""
    run = put_run(tmp_path_factory.mktemp("made") / "run", "echo", echo_root, [30.0, 40.0])
    assert main(["evaluate", str(run)]) == 0
    return run


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


def first(run: Path) -> Path:
    return run / "predictions" / "echo0007_00000"


def put(text: str) -> Spoil:
    return lambda path: path.write_text(text)


def entry(**changes: Any) -> Spoil:
    """A JSON file with other entries; those that are None are taken out."""

    def spoil(path: Path) -> None:
        content = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))

    return spoil


def objects(path: Path) -> None:
    np.savez(path, mask=np.array([{}], dtype=object))


def floats(path: Path) -> None:
    np.savez(path, mask=np.zeros((16, 112, 112)))


def elsewhere(path: Path) -> None:
    stream = io.BytesIO()
    np.savez(stream, other=np.zeros(3))
    path.write_bytes(stream.getvalue())


def smaller(path: Path) -> None:
    np.savez(path, mask=np.zeros((16, 8, 8), np.uint8))


MANIFEST, RESULT, MASK = (
    "manifest.json",
    "predictions/echo0007_00000/result.json",
    "predictions/echo0007_00000/mask.npz",
)
CURVES = "predictions/echo0007_00000/curves.json"
BOTH, EVALUATE, REPORT = ("evaluate", "report"), ("evaluate",), ("report",)
DAMAGED: list[tuple[str, Spoil, tuple[str, ...]]] = [
    (MANIFEST, put("{}"), BOTH),
    (MANIFEST, put("[]"), BOTH),
    (MANIFEST, put("null"), BOTH),
    (MANIFEST, put("{"), BOTH),
    (MANIFEST, put(DEEP), BOTH),
    (MANIFEST, put('{"ids": null}'), BOTH),
    (MANIFEST, entry(ids={"a": 1}), BOTH),
    (MANIFEST, entry(ids=[1]), BOTH),
    (MANIFEST, entry(ids=["../../victim"]), BOTH),
    (MANIFEST, entry(ids=["/etc"]), BOTH),
    (MANIFEST, entry(ids=[".."]), BOTH),
    (MANIFEST, entry(ids=[""]), BOTH),
    (MANIFEST, entry(ids=["..\\victim"]), BOTH),
    (MANIFEST, entry(ids=["a\0b"]), BOTH),
    (MANIFEST, entry(ids=["a\ud800"]), BOTH),
    (MANIFEST, entry(ids=["x" * 300]), BOTH),
    (MANIFEST, entry(ids=["echo0007_00000", "echo0007_00000"]), BOTH),
    (MANIFEST, entry(notice="The clips are simulated."), BOTH),
    (MANIFEST, entry(tolerance="1"), BOTH),
    (MANIFEST, entry(tolerance=None), EVALUATE),
    (MANIFEST, entry(target=None), REPORT),
    (MANIFEST, entry(versions=[]), BOTH),
    (RESULT, put("{}"), BOTH),
    (RESULT, put("[]"), BOTH),
    (RESULT, put(DEEP), BOTH),
    (RESULT, entry(status="fine"), BOTH),
    (RESULT, entry(prediction_after="30"), BOTH),
    (RESULT, entry(prediction_after=None), BOTH),
    (RESULT, entry(target=[30, 30]), BOTH),
    (RESULT, entry(target={"low": 30.0}), BOTH),
    (RESULT, entry(trajectory=[{"step": 0}]), BOTH),
    (RESULT, entry(fps=0), BOTH),
    (RESULT, entry(fps="8"), BOTH),
    (RESULT, entry(mask_share=None), REPORT),
    (MASK, objects, EVALUATE),
    (MASK, floats, EVALUATE),
    (MASK, elsewhere, EVALUATE),
    (MASK, put("no archive"), EVALUATE),
    (CURVES, put("{}"), REPORT),
    (CURVES, put("[]"), REPORT),
    (CURVES, put('{"what": "a", "unit": "b", "factual": [1], "counterfactual": ["x"], "truth": [1]}'), REPORT),
    (CURVES, put('{"what": "a", "unit": "b", "factual": [1], "counterfactual": [2], "truth": [1, 2]}'), REPORT),
    (CURVES, entry(ed=99), REPORT),
    ("metrics.json", put("[]"), REPORT),
    ("metrics.json", put('{"n": "three"}'), REPORT),
    ("metrics.json", put('{"n": 1, "fidelity/ssim": [1]}'), REPORT),
    ("metrics.json", put(DEEP), REPORT),
    ("predictions.csv", put("name\na\n"), REPORT),
    ("predictions.csv", put("id,fidelity/ssim\na,high\n"), REPORT),
    ("predictions.csv", put("id,fidelity/ssim\na,1,2\n"), REPORT),
    ("predictions.csv", lambda path: path.write_bytes(b"id\n\xff\xfe"), REPORT),
]


@pytest.mark.parametrize(("name", "spoil", "verbs"), DAMAGED, ids=[f"{i}-{d[0]}" for i, d in enumerate(DAMAGED)])
def test_a_damaged_file_is_named_in_one_line(name, spoil, verbs, run: Path, capfd) -> None:
    spoil(run / name)
    for verb in verbs:
        line = fails(capfd, [verb, str(run)])
        assert f"{run / name}: damaged (" in line


def test_files_of_different_sizes_are_refused(run: Path, capfd) -> None:
    smaller(first(run) / "mask.npz")
    assert f"{first(run)}: damaged (factual, counterfactual and mask" in fails(capfd, ["evaluate", str(run)])


@pytest.mark.parametrize(
    "text", ["[1]", "model: [", "\x00", "model: {}", "model: 3", "model: {init_args: {}}", DEEP[:3000]]
)
def test_a_damaged_configuration_is_named_in_one_line(text: str, run: Path, capfd) -> None:
    (run / "config.yaml").write_text(text)
    line = fails(capfd, ["evaluate", str(run), "--with-model"])
    assert f"{run / 'config.yaml'}: damaged (" in line


def test_a_byte_order_mark_is_read(run: Path) -> None:
    for name in (MANIFEST, RESULT, "metrics.json", "predictions.csv"):
        (run / name).write_bytes(b"\xef\xbb\xbf" + (run / name).read_bytes())
    assert main(["report", str(run)]) == 0
    assert main(["evaluate", str(run)]) == 0


def test_a_received_run_leads_nowhere_else(run: Path, capfd) -> None:
    """Neither by the manifest's ids, nor by a result's where files are looked for by it."""
    victim = shutil.copytree(first(run), run.parent / "victim")
    (victim / "curves.json").unlink()
    entry(ids=["../../victim"])(run / MANIFEST)
    for command in (["evaluate", str(run)], ["report", str(run)]):
        assert "ids hold '../../victim'" in fails(capfd, command)
    assert not (victim / "curves.json").exists()
    shutil.copy(run.parent / "victim" / "mask.npz", run.parent / "secret.npz")
    entry(ids=["echo0007_00000"])(run / MANIFEST)
    entry(id="../secret")(first(run) / "result.json")
    (run / "regions").mkdir()
    line = fails(capfd, ["evaluate", str(run), "--region", str(run / "regions")])
    assert "damaged (id '../secret' is no file's name)" in line


@pytest.mark.parametrize("name", ["echo_1", "a b", "<script>alert('id')<", "clip.v2", "Müller", "=x"])
def test_what_a_file_may_be_called_is_a_name(name: str) -> None:
    assert is_plain(name)


def test_a_nasty_name_is_shown_as_text(run: Path) -> None:
    nasty = "<img src=x onerror=alert(1)>"
    first(run).rename(run / "predictions" / nasty)
    entry(id=nasty)(run / "predictions" / nasty / "result.json")
    entry(ids=[nasty])(run / MANIFEST)
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text()
    assert nasty not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page


# --- other runs -------------------------------------------------------------------------------------------------------


def test_against_says_what_is_wrong_with_the_other_run(run: Path, made_steering: Path, tmp_path: Path, capfd) -> None:
    assert "a run of lvcf steer" in fails(capfd, ["evaluate", str(run), "--against", str(made_steering)])
    other = Path(shutil.copytree(run, tmp_path / "other"))
    (other / "predictions.csv").write_text("id\necho0007_00000\n")
    line = fails(capfd, ["evaluate", str(run), "--against", str(other)])
    assert f"{other / 'predictions.csv'}: damaged (no 'status')" in line


STEERING: list[tuple[str, Spoil]] = [
    (MANIFEST, entry(evaluation_graph={})),
    (MANIFEST, entry(evaluation_graph=[1])),
    (MANIFEST, entry(methods="steered")),
    (MANIFEST, entry(ids=["../x"])),
    ("result.json", put("{}")),
    ("result.json", entry(evaluation=[{"attribute": "age"}])),
    ("result.json", entry(intervention=["age"])),
]


@pytest.mark.parametrize(("name", "spoil"), STEERING)
def test_a_damaged_steering_run_is_named_in_one_line(name, spoil, made_steering: Path, tmp_path: Path, capfd) -> None:
    run = Path(shutil.copytree(made_steering, tmp_path / "bands"))
    path = run / name if name == MANIFEST else next(iter(sorted(run.glob("predictions/*/result.json"))))
    spoil(path)
    for verb in BOTH:
        assert f"{path}: damaged (" in fails(capfd, [verb, str(run)])


def test_an_unfinished_steering_run_says_so(made_steering: Path, tmp_path: Path, capsys) -> None:
    run = Path(shutil.copytree(made_steering, tmp_path / "bands"))
    asked = len(json.loads((run / MANIFEST).read_text())["ids"])
    shutil.rmtree(sorted((run / "predictions").iterdir())[0])
    assert main(["evaluate", str(run)]) == 0
    told = f"{asked - 1} of {asked} clips; run lvcf steer again"
    assert json.loads((run / "metrics.json").read_text())["unfinished"] == told
    assert told in capsys.readouterr().out
    assert main(["report", str(run)]) == 0
    assert f"Measured on {asked - 1} of {asked} clips" in (run / "report.html").read_text()


STUDY: list[tuple[str, Spoil, str]] = [
    ("key.json", put(DEEP), "damaged ("),
    ("key.json", put("[]"), "damaged ("),
    ("key.json", entry(trials={"../../x": {"id": "a", "check": False, "A": "first", "B": "second"}}), "no file's name"),
    ("key.json", entry(trials={"1": {}}), "damaged ("),
    ("key.json", entry(first="run"), "damaged ("),
    ("analysis.json", put("{}"), "damaged ("),
    ("answers.csv", put("trial\n1\n"), "damaged (no '"),
]


@pytest.mark.parametrize(("name", "spoil", "says"), STUDY)
def test_a_damaged_study_is_named_in_one_line(name, spoil, says, made_study: Path, tmp_path: Path, capfd) -> None:
    study = Path(shutil.copytree(made_study, tmp_path / "study"))
    answer(study, "r1", "first")
    assert main(["study", "analyse", str(study)]) == 0
    spoil(study / name)
    line = fails(capfd, ["report", str(study)])
    assert str(study / name) in line
    assert says in line


def test_a_raters_deep_file_is_refused(made_study: Path, tmp_path: Path, capfd) -> None:
    study = Path(shutil.copytree(made_study, tmp_path / "study"))
    answer(study, "r1", "first").write_text(DEEP)
    assert "answers-r1.json: damaged; ask the rater" in fails(capfd, ["study", "analyse", str(study)])
