"""kill -9 in the middle, start again: finished clips are kept, the rest is as undisturbed, bit for bit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lvcf.cli import main
from tests.helpers import ROOT, fails, predict_arguments, results

VOLATILE = ("seconds", "peak_memory_bytes")


@pytest.fixture(scope="module")
def settings(echo_root, backbone_folder, target_folder) -> tuple[Path, Path, Path]:
    return echo_root, backbone_folder, target_folder


def command(settings: tuple[Path, Path, Path], output: Path, *more: str) -> list[str]:
    """Six clips in three batches of two."""
    return predict_arguments(*settings, output, "--model.steps=12", *more)


def stable(result: dict) -> dict:
    return {k: v for k, v in result.items() if k not in VOLATILE}


@pytest.fixture(scope="module")
def undisturbed(settings, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    assert main(command(settings, run)) == 0
    assert len(results(run)) == 6
    return run


def kill_after_the_first_result(settings: tuple[Path, Path, Path], run: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "lvcf", *command(settings, run)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if list(run.glob("predictions/*/result.json")):
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.005)
    process.wait()
    assert process.returncode == -signal.SIGKILL


def test_a_killed_run_goes_on_and_is_bit_identical(settings, undisturbed, tmp_path) -> None:
    run = tmp_path / "run"
    kill_after_the_first_result(settings, run)
    before = results(run)
    assert 1 <= len(before) < 6
    stamps = {p: p.stat().st_mtime_ns for name in before for p in (run / "predictions" / name).iterdir()}
    assert main(command(settings, run)) == 0
    assert {p: p.stat().st_mtime_ns for p in stamps} == stamps
    after, wanted = results(run), results(undisturbed)
    assert list(after) == list(wanted)
    for name in wanted:
        assert stable(after[name]) == stable(wanted[name])
        one, other = (folder / "predictions" / name for folder in (run, undisturbed))
        for file in ("counterfactual.mkv", "factual.mkv"):
            assert (one / file).read_bytes() == (other / file).read_bytes(), (name, file)
        assert (np.load(one / "mask.npz")["mask"] == np.load(other / "mask.npz")["mask"]).all()
    assert not list((run / "predictions").glob(".*"))  # nothing half-made is left


def test_a_missing_clip_of_a_batch_is_recomputed_alone_and_identical(settings, undisturbed, tmp_path) -> None:
    """One of a batch of two is lost: the batch is computed whole, so its bits are those of the first run."""
    run = tmp_path / "run"
    shutil.copytree(undisturbed, run)
    names = list(results(run))
    shutil.rmtree(run / "predictions" / names[3])
    stamps = {n: (run / "predictions" / n / "result.json").stat().st_mtime_ns for n in names if n != names[3]}
    assert main(command(settings, run)) == 0
    assert {n: (run / "predictions" / n / "result.json").stat().st_mtime_ns for n in stamps} == stamps
    one, other = (folder / "predictions" / names[3] / "counterfactual.mkv" for folder in (run, undisturbed))
    assert one.read_bytes() == other.read_bytes()


def test_a_half_written_folder_is_not_taken_for_done(settings, undisturbed, tmp_path) -> None:
    run = tmp_path / "run"
    shutil.copytree(undisturbed, run)
    name = next(iter(results(run)))
    (run / "predictions" / name).rename(run / "predictions" / f".{name}.partial")
    (run / "predictions" / f".{name}.partial" / "result.json").unlink()
    assert main(command(settings, run)) == 0
    assert stable(results(run)[name]) == stable(results(undisturbed)[name])
    assert not (run / "predictions" / f".{name}.partial").exists()


def test_a_finished_clip_stays_finished_when_its_video_is_gone(settings, tmp_path) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    shutil.copytree(settings[0], data)
    arguments = predict_arguments(data, *settings[1:], run, "--model.steps=1")
    assert main(arguments) == 0
    before = results(run)
    (data / "Videos" / f"{next(iter(before))}.avi").unlink()
    main(arguments)
    assert results(run) == before


OTHERS = {
    "seed": "--model.seed=1",
    "target": "--model.target=30",
    "tolerance": "--model.tolerance=3",
    "prompt": "--model.prompt=neutral",
    "batch_size": "--data.batch_size=3",
    "steps": "--model.steps=5",
    "solver": "--model.solver=dpmpp_2m",
    "clips": "--data.predict_split=train",
}


@pytest.mark.parametrize("what", OTHERS)
def test_another_run_in_the_same_folder_is_refused(what, settings, undisturbed, capfd) -> None:
    kept = {p: p.read_bytes() for p in (undisturbed / "predictions").rglob("*") if p.is_file()}
    manifest = (undisturbed / "manifest.json").read_bytes()
    line = fails(capfd, command(settings, undisturbed, OTHERS[what]))
    assert str(undisturbed) in line
    assert "choose another --model.output" in line
    assert {p: p.read_bytes() for p in kept} == kept
    assert (undisturbed / "manifest.json").read_bytes() == manifest


def test_a_refused_run_leaves_the_configuration_of_the_first_one(settings, undisturbed, capfd) -> None:
    before = (undisturbed / "config.yaml").read_bytes()
    fails(capfd, command(settings, undisturbed, "--model.seed=1"))
    assert (undisturbed / "config.yaml").read_bytes() == before


def test_other_guidance_settings_in_the_same_folder_are_refused(settings, undisturbed, capfd) -> None:
    """lambda is no argument of the task, but mixing two of them in one folder mixes two experiments."""
    writer = '{"class_path": "lvcf.callbacks.writer.PredictionWriter"}'
    fails(capfd, command(settings, undisturbed, f"--trainer.callbacks=[{writer}]"))


def test_another_backbone_of_the_same_class_is_refused(settings, undisturbed, capfd, tmp_path) -> None:
    from lvcf.models.targets.ejection_fraction import EchoResNet3D

    EchoResNet3D(channels=(8, 8, 16)).save_pretrained(tmp_path / "other")
    fails(capfd, command(settings, undisturbed, f"--model.target_model.weights={tmp_path / 'other'}"))


def test_another_seed_makes_another_result_of_the_same_clips(settings, undisturbed, tmp_path) -> None:
    assert main(command(settings, tmp_path / "run", "--model.seed=1")) == 0
    one, other = results(undisturbed), results(tmp_path / "run")
    assert list(one) == list(other)
    assert all(one[n]["target"] != other[n]["target"] for n in one)
    assert all(one[n]["prediction_before"] == other[n]["prediction_before"] for n in one)


def test_the_manifest_tells_what_ran(undisturbed) -> None:
    manifest = json.loads((undisturbed / "manifest.json").read_text())
    assert manifest["ids"] == list(results(undisturbed))
    assert (manifest["threads"], manifest["batch_size"]) == (1, 2)
    assert manifest["settings"]["steps"] == 12
    assert manifest["command"].split()[0] == "lvcf"
