"""The real echocardiogram that pydicom ships, and DICOM's ways of stating time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from lvcf.data.clip import to_frames
from lvcf.data.dicom import frame_times, read_dicom
from lvcf.data.video_folder import VideoFolderDataset
from lvcf.errors import UserError


@pytest.fixture(scope="module")
def real() -> Path:
    return Path(str(get_testdata_file("examples_ybr_color.dcm", download=False)))


def test_the_real_clip_has_its_frames_size_and_times(real) -> None:
    video = read_dicom(real)
    assert video.frames.shape == (30, 240, 320, 3)
    assert video.frames.dtype == np.uint8
    assert video.times[0] == 0.0
    assert np.diff(video.times) == pytest.approx(np.full(29, 33.333e-3), abs=1e-5)


def test_its_colours_are_rgb_and_mostly_gray(real) -> None:
    """Ultrasound is gray: in YCbCr the three channels would differ everywhere."""
    frames = read_dicom(real).frames.astype(int)
    spread = np.ptp(frames, axis=-1)
    assert (spread < 30).mean() > 0.95
    assert frames.mean() > 5


@pytest.mark.parametrize("loop", [False, True])
def test_it_lasts_a_second_so_sixteen_frames_need_a_loop(real, loop) -> None:
    clip = VideoFolderDataset(real, "echo", loop=loop)[0]
    assert clip["id"] == "examples_ybr_color"
    if not loop:
        assert "data.loop: true" in clip["error"]
        return
    assert clip["error"] == ""
    assert clip["video"].shape == (3, 16, 112, 112)
    # a cine loop of 30 frames lasts 1 s: frame 8 at 8 fps is the first again
    assert (to_frames(clip["video"])[8] == to_frames(clip["video"])[0]).all()
    assert (to_frames(clip["video"])[4] != to_frames(clip["video"])[0]).any()


def test_a_crop_is_cut_before_the_resize(real) -> None:
    whole = read_dicom(real).frames
    clip = VideoFolderDataset(real, "echo", frames=4, size=100, crop=(40, 20, 140, 120))[0]
    index = [int(np.abs(np.arange(30) * 33.333e-3 - t).argmin()) for t in np.arange(4) / 8]
    assert (to_frames(clip["video"]) == whole[index, 20:120, 40:140]).all()


def test_the_shipped_file_is_found_by_name(real) -> None:
    dataset = VideoFolderDataset(Path("pydicom:examples_ybr_color.dcm"), "echo", loop=True)
    assert dataset[0]["error"] == ""
    with pytest.raises(UserError, match="pydicom ships no such test file"):
        VideoFolderDataset(Path("pydicom:no_such.dcm"), "echo")


def stated(**entries: object) -> Dataset:
    dataset = Dataset()
    for name, value in entries.items():
        setattr(dataset, name, value)
    return dataset


@pytest.mark.parametrize(
    ("entries", "wanted"),
    [
        ({"FrameTime": 40.0}, [0.0, 0.04, 0.08, 0.12]),
        ({"FrameTimeVector": [0.0, 30.0, 50.0, 20.0]}, [0.0, 0.03, 0.08, 0.1]),
        ({"FrameTimeVector": [30.0, 50.0, 20.0]}, [0.0, 0.03, 0.08, 0.1]),
        ({"FrameTimeVector": [0.0, 10.0, 10.0, 10.0], "FrameTime": 40.0}, [0.0, 0.01, 0.02, 0.03]),
        ({"CineRate": 20}, [0.0, 0.05, 0.1, 0.15]),
        ({"RecommendedDisplayFrameRate": 25}, [0.0, 0.04, 0.08, 0.12]),
    ],
)
def test_frame_times(entries, wanted) -> None:
    assert frame_times(Path("a.dcm"), stated(**entries), 4).tolist() == pytest.approx(wanted)


def test_no_frame_time_is_an_error() -> None:
    with pytest.raises(UserError, match="states no frame time"):
        frame_times(Path("a.dcm"), Dataset(), 4)


@pytest.mark.parametrize("kind", ["text", "empty", "truncated", "still"])
def test_a_broken_or_still_file(kind, real, tmp_path) -> None:
    path = tmp_path / "a.dcm"
    if kind == "text":
        path.write_text("no dicom")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "truncated":
        path.write_bytes(real.read_bytes()[:20_000])
    else:
        path.write_bytes(Path(str(get_testdata_file("CT_small.dcm", download=False))).read_bytes())
    with pytest.raises(UserError) as caught:
        read_dicom(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert VideoFolderDataset(tmp_path, "echo")[0]["error"] == str(caught.value)


def test_nothing_of_the_patient_is_kept(real) -> None:
    dataset = pydicom.dcmread(real)
    clip = VideoFolderDataset(real, "echo", frames=4)[0]
    texts = [v for v in clip.values() if isinstance(v, str)]
    for name in ("PatientName", "PatientID"):
        secret = str(dataset.get(name, ""))
        assert not any(secret and secret in text for text in texts)
