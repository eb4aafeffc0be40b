"""predict and evaluate with W&B: what the client really writes, read back from an offline run's record file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from lvcf.cli import main
from lvcf.data.video import read_video
from lvcf.runs.folder import read_predictions
from lvcf.wandb_runs.names import HIDDEN, Place, recall
from tests.helpers import fails, predict_arguments, results, subset
from tests.wandb_record import Written, written

LOGGER = "--trainer.logger=lvcf.tracking.wandb_logger"


@pytest.fixture(scope="module", autouse=True)
def at_home(tmp_path_factory):
    """No account, the client's cache elsewhere; module-wide, since the run is."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_API_KEY", "WANDB_DATA_DIR", "WANDB_PROJECT", "NETRC"):
            patch.delenv(name, raising=False)
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("WANDB_SILENT", "true")
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module")
def command(tmp_path_factory, echo_root, backbone_folder, target_folder) -> list[str]:
    """Three clips, the last unreadable, without a truth: it is known at the phantom's own size alone."""
    data = subset(echo_root, tmp_path_factory.mktemp("few") / "set", 3)
    (data / "Factors.csv").unlink()
    sorted((data / "Videos").iterdir())[-1].write_bytes(b"no video")
    quick = "--trainer.callbacks.GradientGuidance.samples=1"
    return predict_arguments(data, backbone_folder, target_folder, tmp_path_factory.mktemp("runs") / "tried", quick)


@pytest.fixture(scope="module")
def run(command) -> Path:
    folder = Path(next(a for a in command if a.startswith("--model.output")).partition("=")[2])
    assert main([*command, LOGGER]) == 1  # one clip failed
    assert main(["evaluate", str(folder), "--logger", "wandb"]) == 1
    return folder


@pytest.fixture(scope="module")
def both(run) -> tuple[Written, Written]:
    predict, evaluate = written(run)
    return predict, evaluate


@pytest.fixture(scope="module")
def place(run) -> Place:
    found = recall(run)
    assert found is not None
    return found


def test_two_runs_of_one_group_are_told_apart_by_the_verb(both) -> None:
    assert [w.run.job_type for w in both] == ["predict", "evaluate"]
    for one in both:
        assert (one.run.project, one.run.run_group, one.run.display_name) == ("lvcf", "tried", "tried")


@pytest.mark.parametrize("verb", [0, 1])
def test_the_whole_configuration_is_logged_nested(verb, run, both) -> None:
    config, asked = both[verb].config, yaml.safe_load((run / "config.yaml").read_text())
    assert config["model"] == asked["model"]
    assert config["model"]["init_args"]["steps"] == 3
    assert config["trainer"]["callbacks"][0]["init_args"]["weight"]["init_args"]["lambda_max"] == 0.1
    assert config["data"]["init_args"] == {**asked["data"]["init_args"], "root": HIDDEN}


def test_predict_logs_what_needs_no_measuring_and_evaluate_every_metric(run, both) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    numbers = {k: v for k, v in metrics.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    predicted, evaluated = (one.metrics for one in both)
    assert {k: evaluated[k] for k in numbers} == pytest.approx(numbers)
    known = {k: v for k, v in numbers.items() if k.startswith(("adherence/", "cost/")) or k in ("n", "failed")}
    assert {k: predicted[k] for k in known} == pytest.approx(known)
    assert "adherence/mae" in known
    reasons = {k: v for k, v in metrics.items() if isinstance(v, str)}
    assert any(reason.startswith("unavailable: ") for reason in reasons.values())
    assert {k: both[1].summary[k] for k in reasons} == reasons


@pytest.mark.parametrize("verb", [0, 1])
def test_the_table_has_a_row_per_clip(verb, run, both, place) -> None:
    rows = both[verb].table("predictions")
    wanted = results(run)
    assert [row["id"] for row in rows] == [place.call(name) for name in wanted]
    measured = {p.id: p for p in read_predictions(run)}
    for row, (name, result) in zip(rows, wanted.items(), strict=True):
        assert row["status"] == result["status"]
        if result["status"] == "failed":
            assert {row[key] for key in ("panel", "mask", "target", "before", "after", "SSIM")} == {None}
            continue
        assert (row["before"], row["after"]) == (result["prediction_before"], result["prediction_after"])
        assert row["target"] == result["target"]["text"]
        panel = both[verb].media(row["panel"]["path"])
        assert panel.read_bytes() == (measured[name].folder / "panel.mp4").read_bytes()
    assert [row["status"] for row in rows].count("failed") == 1


def test_the_tables_ssim_is_evaluates(run, both) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    similar = [row["SSIM"] for row in both[1].table("predictions") if row["SSIM"] is not None]
    assert len(similar) == metrics["n"] == 2
    assert np.mean(similar) == pytest.approx(metrics["fidelity/ssim"])
    assert {row["SSIM"] for row in both[0].table("predictions")} == {None}


def test_the_mask_lies_over_the_counterfactuals_frame(run, both) -> None:
    done = [p for p in read_predictions(run) if not p.failed]
    shown = [row["mask"] for row in both[0].table("predictions") if row["mask"]]
    for cell, prediction in zip(shown, done, strict=True):
        mask = prediction.mask()
        frame = int(mask.sum(axis=(1, 2)).argmax())
        picture, drawn = (np.asarray(Image.open(both[0].media(c["path"]))) for c in (cell, cell["masks"]["edit"]))
        counterfactual = read_video(prediction.folder / "counterfactual.mkv").frames
        np.testing.assert_array_equal(picture[..., :3], counterfactual[frame])
        np.testing.assert_array_equal(drawn > 0, mask[frame])


def test_the_trajectories_are_the_written_ones(run, both, place) -> None:
    rows = both[0].table("trajectories_table")
    wanted = [
        {"id": place.call(name), **{key: entry[key] for key in ("step", "t", "weight", "loss", "prediction")}}
        for name, result in results(run).items()
        for entry in result.get("trajectory", [])
    ]
    assert wanted
    assert rows == wanted


@pytest.mark.parametrize("verb", [0, 1])
def test_no_name_of_a_clip_is_written_anywhere(verb, run, both, command) -> None:
    names, root = list(results(run)), next(a for a in command if a.startswith("--data.root")).partition("=")[2]
    uploads = both[verb].uploads
    assert len([name for name, _ in uploads if name.endswith("panel.mp4")]) == 2
    for content in [p.read_bytes() for p in both[verb].folder.rglob("*") if p.is_file()] + [
        part for name, path in uploads for part in (name.encode(), path.read_bytes())
    ]:
        for name in [*names, root]:
            assert name.encode() not in content
    assert not list(both[verb].folder.rglob("wandb-metadata.json"))  # it would hold the command line
    assert not list(both[verb].folder.rglob("output.log"))  # it would hold the summary of the clips


def test_nothing_lies_outside_the_run_folder(run, both) -> None:
    for one in both:
        assert all(path.is_relative_to(run.resolve()) for _, path in one.uploads)


def test_names_are_logged_when_they_are_asked_for(run, command, tmp_path) -> None:
    """Into a copy of the finished run, so that nothing is computed; it asks with the same words for both verbs."""
    shutil.copytree(run, tmp_path / "tried", ignore=shutil.ignore_patterns("wandb*"))
    there = f"--model.output={tmp_path / 'tried'}"
    assert main([*command, there, LOGGER, "--trainer.logger.hash_ids=false"]) == 1
    assert main(["evaluate", str(tmp_path / "tried"), "--logger", "wandb", "--log-ids"]) == 1
    for one in written(tmp_path):
        assert [row["id"] for row in one.table("predictions")] == list(results(run))
        assert one.config["data"]["init_args"]["root"] in " ".join(command)


def test_lightnings_own_wandb_logger_is_refused_since_it_would_log_names(command, tmp_path, capfd) -> None:
    arguments = [*command, f"--model.output={tmp_path / 'run'}", "--trainer.logger=WandbLogger"]
    line = fails(capfd, [*arguments, f"--trainer.logger.save_dir={tmp_path}"])
    assert "lvcf.tracking.wandb_logger" in line
    assert not written(tmp_path)


def test_the_csv_logger_gets_configuration_and_figures_and_wandb_is_not_begun(command, run, tmp_path) -> None:
    arguments = [*command, f"--model.output={tmp_path / 'run'}", "--model.steps=1", "--trainer.logger=CSVLogger"]
    assert main([*arguments, f"--trainer.logger.save_dir={tmp_path / 'logs'}"]) == 1
    (table,) = tmp_path.rglob("metrics.csv")
    header, row = (line.split(",") for line in table.read_text().splitlines())
    logged = dict(zip(header, row, strict=True))
    assert (float(logged["n"]), float(logged["failed"])) == (2, 1)
    errors = [
        abs(r["prediction_after"] - min(max(r["prediction_after"], r["target"]["low"]), r["target"]["high"]))
        for r in results(tmp_path / "run").values()
        if r["status"] != "failed"
    ]
    assert float(logged["adherence/mae"]) == pytest.approx(np.mean(errors), rel=1e-4)
    (kept,) = tmp_path.rglob("hparams.yaml")
    assert yaml.safe_load(kept.read_text())["model"]["init_args"]["steps"] == 1
    assert not list(tmp_path.rglob("*wandb*"))


def test_tensorboard_gets_figures(command, tmp_path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed; lvcf does not need it")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    arguments = [
        *command,
        f"--model.output={tmp_path / 'run'}",
        "--model.steps=1",
        "--trainer.logger=TensorBoardLogger",
    ]
    assert main([*arguments, f"--trainer.logger.save_dir={tmp_path / 'logs'}"]) == 1
    (events,) = tmp_path.rglob("events.out.*")
    accumulator = EventAccumulator(str(events)).Reload()
    assert accumulator.Scalars("n")[0].value == 2
