"""The way back: a run over another run's counterfactuals, whose target is what M said of the first clip."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from lvcf.cli import main
from lvcf.data.clip import to_clip, to_frames
from lvcf.data.video import read_video, write_lossless
from lvcf.datamodules.predictions import PredictionsDataModule
from lvcf.errors import UserError
from lvcf.measure.clip import way_back
from lvcf.runs.counterfactuals import PredictionsDataset
from lvcf.runs.folder import Prediction, read_predictions
from tests.helpers import predict_arguments, results, subset


@pytest.fixture(scope="module")
def there(tmp_path_factory, echo_root, backbone_folder, target_folder) -> Path:
    """Three clips, the last of them damaged."""
    folder = tmp_path_factory.mktemp("there")
    data = subset(echo_root, folder / "data", 3)
    sorted((data / "Videos").iterdir())[2].write_bytes(b"")
    assert main(predict_arguments(data, backbone_folder, target_folder, folder / "run")) == 1
    return folder / "run"


def way_back_of(run: Path, backbone: Path, target: Path, output: Path) -> list[str]:
    arguments = predict_arguments(run, backbone, target, output, "--model.target=label")
    kept = [a for a in arguments if a != "--data.size=32" and not a.startswith("--data.root")]
    place = kept.index("--data.batch_size=2")
    return [*kept[:place], "--data=PredictionsDataModule", f"--data.root={run}", *kept[place:]]


@pytest.fixture(scope="module")
def back(there, backbone_folder, target_folder) -> Path:
    arguments = way_back_of(there, backbone_folder, target_folder, there.parent / "back")
    assert main(arguments) == 0
    return there.parent / "back"


def test_the_clips_are_the_counterfactuals_labelled_with_the_first_reading(there) -> None:
    dataset = PredictionsDataset(there, "metadata")
    assert len(dataset) == 2  # not the failed one
    for clip, name in zip((dataset[0], dataset[1]), dataset.ids, strict=True):
        saved = read_video(there / "predictions" / name / "counterfactual.mkv").frames
        assert (to_frames(clip["video"]) == saved).all()
        assert clip["label"] == results(there)[name]["prediction_before"]
        assert (clip["prompt"], clip["neutral_prompt"], clip["fps"]) == ("metadata", "metadata", 8.0)
    assert PredictionsDataModule(there).make_dataset("predict").ids == dataset.ids


def test_a_damaged_clip_fails_alone(there, backbone_folder, target_folder, tmp_path) -> None:
    run = tmp_path / "run"
    shutil.copytree(there, run)
    first, second = (p.folder / "counterfactual.mkv" for p in read_predictions(run) if not p.failed)
    shutil.copy(second, first.with_name("factual.mkv"))
    for content in (b"", second.read_bytes()[:2000]):
        first.write_bytes(content)
        clips = PredictionsDataModule(run).make_dataset("predict")
        assert [bool(clips[i]["error"]) for i in (0, 1)] == [True, False]
        assert clips[0]["video"].shape == clips[1]["video"].shape
        with pytest.raises(UserError, match=r"counterfactual\.mkv"):
            PredictionsDataset(run, "metadata")[0]
    write_lossless(second, read_video(second).frames[:9], 8.0)  # of another length than all others
    shutil.copy(first.with_name("factual.mkv"), first)
    assert "a clip of shape (9, 32, 32, 3)" in PredictionsDataset(run, "metadata", record_errors=True)[1]["error"]
    assert main(way_back_of(run, backbone_folder, target_folder, tmp_path / "back")) == 1
    statuses = [result["status"] for result in results(tmp_path / "back").values()]
    assert statuses[1] == "failed"
    assert statuses[0] != "failed"


def test_the_target_of_the_way_back_is_what_the_model_said_first(there, back) -> None:
    first, second = results(there), results(back)
    assert list(second) == [name for name, r in first.items() if r["status"] != "failed"]
    for name, result in second.items():
        assert result["target"]["low"] == pytest.approx(first[name]["prediction_before"], abs=1e-4)
        assert result["prediction_before"] == pytest.approx(first[name]["prediction_after"], abs=1e-2)
        one, other = (
            read_video(run / "predictions" / name / f"{file}.mkv").frames
            for run, file in ((there, "counterfactual"), (back, "factual"))
        )
        assert (one == other).all()


def test_evaluate_adds_the_distance_to_the_clip_it_began_with(there, back) -> None:
    assert main(["evaluate", str(back)]) == 0
    metrics = json.loads((back / "metrics.json").read_text())
    levels, there_levels = [], []
    for name in results(back):
        first = read_video(there / "predictions" / name / "factual.mkv").frames.astype(float)
        levels.append(np.abs(read_video(back / "predictions" / name / "counterfactual.mkv").frames - first).mean())
        there_levels.append(np.abs(read_video(back / "predictions" / name / "factual.mkv").frames - first).mean())
    assert metrics["n"] == 2
    assert metrics["reversibility/l1_levels"] == pytest.approx(np.mean(levels))
    assert metrics["reversibility/l1_there"] == pytest.approx(np.mean(there_levels))
    assert -1 <= metrics["reversibility/ssim"] < 1
    assert main(["report", str(back)]) == 0


def test_a_perfect_way_back_and_a_run_that_is_none(there, back, tmp_path) -> None:
    prediction = read_predictions(back)[0]
    shutil.copytree(prediction.folder, tmp_path / prediction.id)
    origin = there / "predictions" / prediction.id / "factual.mkv"
    shutil.copy(origin, tmp_path / prediction.id / "counterfactual.mkv")
    measured = way_back(Prediction(tmp_path / prediction.id, prediction.result), there)
    assert measured["reversibility/l1_levels"] == 0
    assert measured["reversibility/ssim"] == pytest.approx(1.0)
    assert to_clip(read_video(origin).frames, 32).shape == (3, 16, 32, 32)
    assert way_back(prediction, tmp_path / "data") == {}
