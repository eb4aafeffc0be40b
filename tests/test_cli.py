"""The command line as a user runs it: every verb, from nothing to a report, on tiny models."""

from __future__ import annotations

import csv
import html
import json
import math
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from lvcf.cli import LIGHTNING_VERBS, VERBS, main
from lvcf.cli.help import FIRST
from lvcf.data.clip import to_clip
from lvcf.data.video import read_video
from lvcf.models.pack import SHIPPED
from lvcf.models.targets.ejection_fraction import echo_resnet_3d
from tests.helpers import ROOT, parse, predict_arguments, results, subset


def test_help_answers_within_two_seconds_and_lists_every_verb() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "lvcf", "--help"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)  # of the CPU: others may be at work
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert done.returncode == 0
    for verb in ("fit", "validate", "test", "predict", "evaluate", "ablate", "simulate", "report"):
        assert f"\n  {verb} " in done.stdout
    assert done.stderr == ""
    assert seconds < 2.0


@pytest.mark.parametrize("verb", FIRST)
def test_the_options_that_help_names_first_are_the_parsers_own(verb, capsys) -> None:
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    first, _, everything = capsys.readouterr().out.partition("everything, from the parser:")
    example, options = FIRST[verb]
    assert len(first.splitlines()) <= 20
    parse(example.split()[1:])
    values = {
        "FILE": {"predict": "phantom.yaml", "fit": "phantom/denoiser.yaml", "repair": "motion/repair.yaml"}[verb],
        "DIR": "d",
        "WHAT": "30",
        "N": "1",
        "X": "1",
    }
    more = {"--model.prompt": "neutral", "--trainer.precision": "32-true", "--model.backbone.weights": "w"}
    more |= {"--shard": "1/2", "--data.runs": "[r]", "--model.region": "[0, 0, 20, 20]"}
    config = ["--config", values["FILE"]]
    for option in options:
        name, _, value = option.partition(" ")
        if "CLASS" in option or name == "--config":
            continue
        parse([verb, *config, name, more.get(name, values.get(value, value))])
    assert "--config" in everything


def test_help_loads_no_torch() -> None:
    code = "import sys; from lvcf.cli import main; main(['--help']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False).returncode == 0


def test_no_arguments_print_the_usage(capsys) -> None:
    assert main([]) == 0
    assert capsys.readouterr().out.startswith("usage: lvcf VERB")


@pytest.mark.parametrize("verb", ["", "prdict", "Predict", "--version", "../fit"])
def test_an_unknown_verb_is_named_with_the_known_ones(capsys, verb) -> None:
    assert main([verb]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert f"unknown verb '{verb}'" in err
    assert all(known in err for known in [*LIGHTNING_VERBS, *VERBS])


@pytest.mark.parametrize("verb", [*LIGHTNING_VERBS, *VERBS])
def test_every_verb_has_help(capsys, verb) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([verb, "--help"])
    assert stopped.value.code == 0
    assert "usage:" in capsys.readouterr().out


def test_simulate_writes_a_set_and_a_second_run_keeps_it(tmp_path, capsys) -> None:
    arguments = ["simulate", "echo", "--out", str(tmp_path / "set"), "--n", "1", "--seed", "5"]
    assert main(arguments) == 0
    (video,) = (tmp_path / "set" / "Videos").glob("*.avi")
    stamp = video.stat().st_mtime_ns
    assert main(arguments) == 0
    assert video.stat().st_mtime_ns == stamp
    assert "1 simulated clips" in capsys.readouterr().out


@pytest.fixture(scope="module")
def run(tmp_path_factory, echo_root, backbone_folder, target_folder) -> Path:
    """The shipped configuration on three clips, at the full size."""
    folder = tmp_path_factory.mktemp("cli")
    data = subset(echo_root, folder / "data", 3)
    arguments = predict_arguments(data, backbone_folder, target_folder, folder / "run", "--data.size=112")
    assert main([*arguments, "--model.steps=2"]) == 0
    return folder / "run"


def test_predict_writes_whole_folders(run) -> None:
    written = results(run)
    assert len(written) == 3
    for name, result in written.items():
        folder = run / "predictions" / name
        names = {p.name for p in folder.iterdir()}
        assert {"result.json", "factual.mkv", "counterfactual.mkv", "mask.npz", "panel.mp4"} <= names
        assert result["id"] == name
        assert result["schema_version"] == 2
        assert result["status"] in ("reached", "not_reached", "not_drawable")  # the weights are random
        assert (result["hint"] == "") == (result["status"] == "reached")
        assert 15 <= result["target"]["low"] <= 80
        assert abs(result["target"]["low"] - result["prediction_before"]) >= 9.98
        assert 1 <= result["steps"] <= 2
        assert result["seconds"] > 0
        assert result["peak_memory_bytes"] > 10e6
        assert all({"t", "weight", "loss", "prediction"} <= set(row) for row in result["trajectory"])
        assert {"torch", "lightning", "lvcf"} <= set(result["versions"])
    assert not list((run / "predictions").glob(".*"))
    assert (run / "config.yaml").is_file()


def test_the_saved_prediction_is_the_models_reading_of_the_saved_file(run, target_folder) -> None:
    """An independent reading of counterfactual.mkv and factual.mkv, and the status that follows from it."""
    model = echo_resnet_3d(str(target_folder)).freeze()
    for name, result in results(run).items():
        readings = {
            which: float(model(to_clip(read_video(run / "predictions" / name / f"{which}.mkv").frames, 112)[None])[0])
            for which in ("factual", "counterfactual")
        }
        assert readings["counterfactual"] == pytest.approx(result["prediction_after"], abs=1e-3)
        assert readings["factual"] == pytest.approx(result["prediction_before"], abs=0.01)
        inside = abs(readings["counterfactual"] - result["target"]["low"]) <= 0.5
        assert (result["status"] == "reached") == inside


def test_the_factual_file_is_the_data_sets_clip(run, echo_root) -> None:
    from lvcf.data.clip import to_frames
    from lvcf.data.echonet import EchoNetDataset

    dataset = EchoNetDataset(echo_root, "all")
    for i, name in enumerate(results(run)):
        saved = read_video(run / "predictions" / name / "factual.mkv").frames
        assert saved.shape == (16, 112, 112, 3)
        assert (saved == to_frames(dataset[i]["video"])).all()


def test_evaluate_and_report_work_on_the_run(run, oracle_folder, capsys) -> None:
    assert main(["evaluate", str(run), "--oracle", str(oracle_folder)]) == 0
    assert "mean absolute error" in capsys.readouterr().out
    metrics = json.loads((run / "metrics.json").read_text())
    with (run / "predictions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == metrics["n"] == 3
    error = [abs(float(r["prediction_after"]) - float(r["target_low"])) for r in rows]
    assert metrics["adherence/mae"] == pytest.approx(np.mean(error), rel=1e-5)
    assert metrics["adherence/rmse"] == pytest.approx(math.sqrt(np.mean(np.square(error))), rel=1e-5)
    assert metrics["simulated"] is True
    assert metrics["truth/ruler_error"] >= 0
    assert all(isinstance(v, (int, float, str, bool)) for v in metrics.values())  # flat
    assert isinstance(metrics["fidelity/lpips"], float) or metrics["fidelity/lpips"].startswith("unavailable: ")
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text()
    assert all(name in page for name in results(run))


def test_a_finished_run_is_not_computed_again(run, capsys, echo_root, backbone_folder, target_folder) -> None:
    stamps = {p: p.stat().st_mtime_ns for p in (run / "predictions").rglob("*") if p.name != "curves.json"}
    data = run.parent / "data"
    arguments = predict_arguments(data, backbone_folder, target_folder, run, "--data.size=112", "--model.steps=2")
    started = time.perf_counter()
    assert main(arguments) == 0
    assert time.perf_counter() - started < 60
    assert {p: p.stat().st_mtime_ns for p in stamps} == stamps


def test_the_models_weights_files_are_untouched_by_a_run(tmp_path, echo_root, backbone_folder, target_folder) -> None:
    folders = (backbone_folder, target_folder)
    before = {p: p.read_bytes() for f in folders for p in f.rglob("*") if p.is_file()}
    data = subset(echo_root, tmp_path / "data", 1)
    assert main(predict_arguments(data, backbone_folder, target_folder, tmp_path / "run")) == 0
    assert {p: p.read_bytes() for f in folders for p in f.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    "options",
    [
        ["--model.prompt=neutral", "--model.solver=dpmpp_2m", "--model.decode=residual"],
        ["--model.inversion=sdedit", "--model.target=30"],
        ["--model.inversion=ddim", "--model.target=delta:-10", "--model.guidance_scale=1"],
        ["--model.target=20..30"],
        ["--model.target=label", "--data.predict_split=train"],
    ],
    ids=" ".join,
)
def test_the_settings_a_user_may_choose(tmp_path, echo_root, backbone_folder, target_folder, options) -> None:
    data = subset(echo_root, tmp_path / "data", 3)
    assert main(predict_arguments(data, backbone_folder, target_folder, tmp_path / "run", *options)) == 0
    written = results(tmp_path / "run")
    assert len(written) == (1 if "--data.predict_split=train" in options else 3)
    for result in written.values():
        assert math.isfinite(result["prediction_after"])


@pytest.mark.parametrize("size", [112, 32])
def test_without_callbacks_and_with_residual_decoding_the_clip_comes_back(
    tmp_path, echo_root, backbone_folder, target_folder, size
) -> None:
    """Composition through the command line, at the clips' own size and resized."""
    data = subset(echo_root, tmp_path / "data", 2)
    writer = '[{"class_path": "lvcf.callbacks.writer.PredictionWriter"}]'
    off = [f"--trainer.callbacks={writer}", "--model.prompt=neutral", "--model.decode=residual", f"--data.size={size}"]
    assert main(predict_arguments(data, backbone_folder, target_folder, tmp_path / "run", *off)) == 0
    for name, result in results(tmp_path / "run").items():
        folder = tmp_path / "run" / "predictions" / name
        one, other = (read_video(folder / f"{which}.mkv").frames for which in ("factual", "counterfactual"))
        assert (one == other).all()
        assert result["gradient_evaluations"] == 0
        assert result["prediction_after"] == pytest.approx(result["prediction_before"], abs=0.05)  # 8 bits


def test_a_users_own_video_goes_through(tmp_path, echo_root, backbone_folder, target_folder) -> None:
    """README's own-video command: the data module by its bare name."""
    video = next((echo_root / "Videos").iterdir())
    arguments = predict_arguments(video, backbone_folder, target_folder, tmp_path / "run")
    place = arguments.index(f"--data.root={video}")
    arguments[place:place] = ["--data=VideoFolderDataModule"]
    assert main([*arguments, "--model.target=30"]) == 0
    assert list(results(tmp_path / "run")) == [video.stem]


def test_threads_are_what_was_asked_for(tmp_path, echo_root, backbone_folder, target_folder) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        data = subset(echo_root, tmp_path / "data", 1)
        assert main(predict_arguments(data, backbone_folder, target_folder, tmp_path / "run", "--threads=1")) == 0
        assert torch.get_num_threads() == 1
        assert json.loads((tmp_path / "run" / "manifest.json").read_text())["threads"] == 1
    finally:
        torch.set_num_threads(before)


def test_a_real_echocardiogram_goes_through_and_its_report_says_what_the_weights_saw(
    tmp_path, backbone_folder, target_folder
) -> None:
    """real_echo.yaml on the file that pydicom ships, from the clip to the report."""
    backbone, run = tmp_path / "backbone", tmp_path / "run"
    shutil.copytree(backbone_folder, backbone)
    index = backbone / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "_notice": SHIPPED["phantom"].notice}))
    options = [f"--model.backbone.weights={backbone}", f"--model.target_model.weights={target_folder}"]
    options += [f"--model.output={run}", "--model.steps=2", "--data.size=32", "--threads=1"]
    options += ["--trainer.precision=32-true", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]
    assert main(["predict", "--config", "real_echo.yaml", *options]) == 0
    (result,) = results(run).values()
    assert result["id"] == "examples_ybr_color"
    assert result["target"]["low"] == pytest.approx(result["prediction_before"] - 20, abs=1e-3)
    assert main(["evaluate", str(run)]) == 0  # no truth, so no oracle is needed
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["simulated"] is False
    assert not any(name.startswith("truth/") for name in metrics)
    assert main(["report", str(run)]) == 0
    assert SHIPPED["phantom"].notice in html.unescape((run / "report.html").read_text())
