"""EchoNet-Dynamic's reader on the data set's quirks."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from lvcf.data.clip import safe_name, to_clip, to_frames
from lvcf.data.echonet import EchoNetDataset, ef_prompt, read_file_list
from lvcf.data.video import read_video, write_mjpeg
from lvcf.datamodules.echonet import EchoNetDataModule
from lvcf.errors import UserError
from tests.data.test_video import write_with_times


def make_set(root: Path, rows: list[dict[str, str]], fps: float = 50.0, frames: int = 110) -> Path:
    """Clips that tell their frames' numbers, see :func:`numbered`."""
    (root / "Videos").mkdir(parents=True)
    with (root / "FileList.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        write_mjpeg(root / "Videos" / f"{row['FileName'].removesuffix('.avi')}.avi", numbered(frames), fps)
    return root


def numbered(frames: int) -> np.ndarray:
    """Frame i has gray level 16 (i // 16) on its left half and 16 (i % 16) on its right: safe from lossy codecs."""
    number = np.arange(frames)
    video = np.zeros((frames, 112, 112, 3), dtype=np.uint8)
    video[:, :, :56] = (16 * (number // 16))[:, None, None, None]
    video[:, :, 56:] = (16 * (number % 16))[:, None, None, None]
    return video


def numbers_of(clip: torch.Tensor) -> list[int]:
    levels = (clip + 1) * 127.5 / 16
    halves = [levels[..., :48], levels[..., 64:]]
    left, right = (half.mean(dim=(0, 2, 3)).round().int() for half in halves)
    return (16 * left + right).tolist()


def row(name: str, split: str = "TRAIN", ef: str = "55.5") -> dict[str, str]:
    return {"FileName": name, "EF": ef, "ESV": "50", "EDV": "110", "Split": split}


def test_names_with_and_without_suffix_read_the_same_file(tmp_path) -> None:
    root = make_set(tmp_path, [row("0X1A"), row("0X2B.avi")])
    dataset = EchoNetDataset(root, "train")
    assert dataset.ids == ["0X1A", "0X2B"]
    assert torch.equal(dataset[0]["video"], dataset[1]["video"])


@pytest.mark.parametrize("written", ["TRAIN", "train", "Train"])
def test_splits_in_any_case(tmp_path, written) -> None:
    root = make_set(tmp_path, [row("a", written), row("b", "VAL"), row("c", "test")], frames=100)
    assert EchoNetDataset(root, "train").ids == ["a"]
    assert EchoNetDataset(root, "val").ids == ["b"]
    assert EchoNetDataset(root, "test").ids == ["c"]
    assert EchoNetDataset(root, "all").ids == ["a", "b", "c"]


@pytest.mark.parametrize("fps", [50.0, 30.0, 62.5])
def test_sixteen_frames_at_eight_fps_by_presentation_time(tmp_path, fps) -> None:
    frames = int(2.2 * fps)
    clip = EchoNetDataset(make_set(tmp_path, [row("a")], fps, min(frames, 125)), "all")[0]
    assert clip["video"].shape == (3, 16, 112, 112)
    assert clip["video"].dtype == torch.float32
    wanted = np.arange(16) / 8.0 * fps
    assert np.abs(np.array(numbers_of(clip["video"])) - wanted).max() <= 0.5
    assert clip["fps"] == 8.0


def test_a_variable_frame_rate_is_followed(tmp_path) -> None:
    root = make_set(tmp_path, [row("a")])
    stamps = np.cumsum(np.where(np.arange(120) % 2, 5, 45)).tolist()  # 50 ms a pair, unevenly
    write_with_times(tmp_path / "a.mkv", numbered(120), stamps)
    (tmp_path / "a.mkv").rename(root / "Videos" / "a.avi")  # the container is told by its content
    numbers = numbers_of(EchoNetDataset(root, "all")[0]["video"])
    times = (np.array(stamps) - stamps[0]) / 1000
    wanted = [int(np.abs(times - t).argmin()) for t in np.arange(16) / 8.0]
    assert np.abs(np.array(numbers) - wanted).max() <= 1  # a tie of two frames 5 ms apart may go either way


def test_training_starts_anywhere_and_the_rest_at_the_beginning(tmp_path) -> None:
    module = EchoNetDataModule(make_set(tmp_path, [row("a"), row("b", "VAL")], frames=125), batch_size=1)
    starts = {numbers_of(module.make_dataset("train")[0]["video"])[0] for _ in range(8)}
    assert len(starts) > 3
    assert {numbers_of(module.make_dataset("val")[0]["video"])[0] for _ in range(3)} == {0}


def test_prompt_label_and_neutral_prompt(tmp_path) -> None:
    clip = EchoNetDataset(make_set(tmp_path, [row("a", ef="55.5")]), "all")[0]
    assert clip["label"] == 55.5
    assert clip["neutral_prompt"] == "apical four chamber echocardiogram"
    assert clip["prompt"] == ef_prompt(55.5) == "apical four chamber echocardiogram ejection fraction 56 percent"
    assert "56" not in clip["neutral_prompt"]


def test_an_unreadable_clip_raises_in_training_and_is_recorded_in_prediction(tmp_path) -> None:
    root = make_set(tmp_path, [row("a"), row("b")])
    (root / "Videos" / "b.avi").write_bytes(b"")
    with pytest.raises(UserError, match=r"b\.avi"):
        EchoNetDataset(root, "all")[1]
    clip = EchoNetDataset(root, "all", record_errors=True)[1]
    assert "b.avi" in clip["error"]
    assert clip["video"].shape == (3, 16, 112, 112)
    assert EchoNetDataset(root, "all", record_errors=True)[0]["error"] == ""


def test_real_lists_have_more_columns_and_windows_line_ends(tmp_path) -> None:
    header = "FileName,EF,ESV,EDV,FrameHeight,FrameWidth,FPS,NumberOfFrames,Split"
    line = "0X100009310A3BD7FC,78.49840625,14.881368,69.210534,112,112,50,174,VAL"
    (tmp_path / "FileList.csv").write_bytes(f"{header}\r\n{line}\r\n".encode())
    assert read_file_list(tmp_path) == [("0X100009310A3BD7FC", 78.49840625, "VAL")]


def test_a_byte_order_mark_does_not_hide_the_first_column(tmp_path) -> None:
    (tmp_path / "FileList.csv").write_bytes(b"\xef\xbb\xbfFileName,EF,Split\na,50,TEST\n")
    assert read_file_list(tmp_path) == [("a", 50.0, "TEST")]


@pytest.mark.parametrize("size", [112, 64])
def test_frames_become_a_clip_and_back(size) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (4, size, size, 3), dtype=np.uint8)
    clip = to_clip(frames, size)
    assert clip.shape == (3, 4, size, size)
    assert float(clip.min()) >= -1
    assert (to_frames(clip) == frames).all()


def test_other_sizes_take_the_centre_square_resized() -> None:
    frames = np.zeros((2, 40, 80, 3), dtype=np.uint8)
    frames[:, :, 20:60] = 200
    clip = to_clip(frames, 20)
    assert clip.shape == (3, 2, 20, 20)
    assert to_frames(clip).min() >= 198


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("0X1A-b_2.c", "0X1A-b_2.c"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("a b/c\\d", "a_b_c_d"),
        ("..", "clip"),
        ("", "clip"),
        (".hidden", "hidden"),
        ("x" * 500, "x" * 120),
    ],
)
def test_a_folder_name_cannot_leave_its_parent(name, safe) -> None:
    assert safe_name(name) == safe
    assert (Path("/runs") / safe_name(name)).parent == Path("/runs")


def test_two_clips_whose_folders_would_be_one_are_refused_or_kept_apart(tmp_path) -> None:
    """'a b' and 'a_b' are both written to predictions/a_b: the second would count as done."""
    root = make_set(tmp_path, [row("a b"), row("a_b")])
    try:
        names = [safe_name(name) for name in EchoNetDataset(root, "all").ids]
    except UserError:
        return
    assert len(set(names)) == 2


def test_a_decoded_clip_is_the_simulated_video(echo_root) -> None:
    dataset = EchoNetDataset(echo_root, "test")
    whole = read_video(echo_root / "Videos" / f"{dataset.ids[0]}.avi")
    index = [int(np.abs(whole.times - t).argmin()) for t in np.arange(16) / 8.0]
    assert np.abs(to_frames(dataset[0]["video"]).astype(int) - whole.frames[index]).max() == 0
