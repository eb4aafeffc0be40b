"""benchmarks/carphone.py cuts the windows that configs/carphone.yaml and its trainings read."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from benchmarks import carphone, carphone_table
from lvcf.cli import main
from lvcf.configuration import read_section
from lvcf.data.clip_table import ClipTable
from lvcf.data.video import read_video, write_lossless
from lvcf.data.video_folder import VideoFolderDataset
from tests.helpers import results


@pytest.fixture
def windows(tmp_path, monkeypatch) -> Path:
    """Of a clip whose frame i has level 2 i, and darker columns and rows around what is cut out."""
    frames = np.zeros((120, 144, 176, 3), np.uint8)
    rows = slice(carphone.TOP, carphone.TOP + carphone.SIZE)
    columns = slice(carphone.LEFT, carphone.LEFT + carphone.SIZE)
    frames[:, rows, columns] = 2 * np.arange(120)[:, None, None, None]
    write_lossless(tmp_path / "clip.mkv", frames, 30.0)
    monkeypatch.setattr(carphone, "source", lambda: tmp_path / "clip.mkv")
    monkeypatch.chdir(tmp_path)
    carphone.main()
    return tmp_path / carphone.OUT


def test_a_window_starts_at_every_frame_and_takes_every_second_one(windows) -> None:
    found = sorted(windows.glob("*.mkv"))
    assert len(found) == carphone.STARTS
    for start in (0, 5, 60):
        video = read_video(found[start])
        assert video.frames.shape == (16, 112, 112, 3)
        assert video.fps == pytest.approx(15.0, abs=0.1)
        assert (video.frames == 2 * (start + 2 * np.arange(16))[:, None, None, None]).all()


def test_the_explained_windows_are_read_by_the_configuration(windows) -> None:
    with (windows / "surprised.csv").open() as stream:
        assert [row["path"] for row in csv.DictReader(stream)] == [f"carphone_{s}.mkv" for s in (36, 44, 52)]
    data = read_section("carphone.yaml", "predict")["data"]["init_args"]
    assert Path(data["root"]) == carphone.OUT
    assert Path(data["table"]) == carphone.OUT / "neutral.csv"
    table = ClipTable(Path(data["table"]), labels=tuple(data["labels"]))
    dataset = VideoFolderDataset(Path(data["root"]), data["metadata"], fps=data["fps"], table=table)
    assert dataset.ids == ["carphone_00", "carphone_08", "carphone_16"]
    np.testing.assert_allclose(dataset[0]["video"][0, :, 0, 0], 4 * np.arange(16) / 127.5 - 1, atol=1e-6)


def test_a_real_network_is_explained_on_the_real_clip(tmp_path, monkeypatch) -> None:
    """With the phantoms' backbone, which is not made for it: what M says of the clip rises all the same."""
    monkeypatch.chdir(tmp_path)
    carphone.main()
    tiny = ["--model.backbone.weights=face_motion/backbone", "--model.steps=4", "--data.batch_size=1"]
    few = ["--trainer.limit_predict_batches=1", "--trainer.enable_progress_bar=false", "--trainer.precision=32-true"]
    assert main(["predict", "--config", "carphone.yaml", *tiny, *few]) == 0
    ((name, result),) = results(tmp_path / "runs" / "carphone_surprised").items()
    assert name == "carphone_00"
    assert result["class_before"] == "neutral"
    assert result["target"]["text"] == "surprised"
    assert result["gradient_evaluations"] > 0
    assert result["prediction_after"] > result["prediction_before"] + 0.05


def test_eight_boxes_lie_around_the_configured_one() -> None:
    own, *around = carphone_table.boxes()
    assert own == (0.18, 0.12, 0.7, 0.85)
    assert len(set(around)) == 8
    assert all(max(abs(a - b) for a, b in zip(own, box, strict=True)) == pytest.approx(3 / 112) for box in around)
