"""Folders of frames: order, gaps, odd images, and every kind of broken folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lvcf.data.frame_folder import numbered_files, read_frame_folder, read_picture
from lvcf.errors import UserError


def everything(times: np.ndarray) -> np.ndarray:
    return np.arange(len(times))


def write(folder: Path, names: list[str], size: tuple[int, int] = (20, 16)) -> Path:
    """Frame i of the list has gray level 10 i."""
    folder.mkdir(exist_ok=True)
    for i, name in enumerate(names):
        Image.new("RGB", size, (10 * i,) * 3).save(folder / name, quality=95)
    return folder


def test_frames_are_ordered_by_number_not_by_name(tmp_path) -> None:
    folder = write(tmp_path, ["8.jpg", "9.jpg", "10.jpg", "0011.JPG", "clip2_12.jpg"])
    pictures = read_frame_folder(folder, 25.0, everything)
    assert [round(float(p.mean()), -1) for p in pictures] == [0, 10, 20, 30, 40]
    assert pictures[0].shape == (16, 20, 3)
    assert pictures[0].dtype == np.uint8


def test_a_missing_number_is_a_longer_wait(tmp_path) -> None:
    folder = write(tmp_path, ["03.jpg", "04.jpg", "09.jpg"])
    seen = []
    read_frame_folder(folder, 10.0, lambda times: seen.append(times) or everything(times))
    assert seen[0] == pytest.approx([0.0, 0.1, 0.6])


def test_only_chosen_frames_are_read_and_one_may_be_repeated(tmp_path) -> None:
    folder = write(tmp_path, ["0.jpg", "1.jpg", "2.jpg"])
    (folder / "1.jpg").write_bytes(b"broken")
    pictures = read_frame_folder(folder, 25.0, lambda times: np.array([2, 0, 2]))
    assert [round(float(p.mean()), -1) for p in pictures] == [20, 0, 20]


def test_hidden_and_other_files_are_no_frames(tmp_path) -> None:
    folder = write(tmp_path, ["1.jpg", "2.jpg"])
    write(folder, [".3.jpg"])
    (folder / "Thumbs.db").write_bytes(b"x")
    assert list(numbered_files(folder)) == [1, 2]


@pytest.mark.parametrize(
    ("mode", "colour", "name", "wanted"),
    [
        ("L", 90, "1.jpg", (90, 90, 90)),
        ("RGB", (200, 30, 60), "1.png", (200, 30, 60)),
        ("RGBA", (200, 30, 60, 128), "1.png", (200, 30, 60)),
        ("LA", (90, 10), "1.png", (90, 90, 90)),
        ("I;16", 256 * 90 + 255, "1.png", (90, 90, 90)),
        ("P", 0, "1.png", (0, 0, 0)),
        ("CMYK", (255, 0, 0, 0), "1.jpg", (0, 255, 255)),
    ],
)
def test_gray_and_four_channels_become_rgb(tmp_path, mode, colour, name, wanted) -> None:
    Image.new(mode, (8, 8), colour).save(tmp_path / name)
    picture = read_picture(tmp_path / name)
    assert picture.shape == (8, 8, 3)
    assert np.abs(picture.astype(int) - wanted).max() <= 3


BROKEN = {
    "missing": (lambda d: d / "no", ["no such folder of frames"]),
    "empty": (lambda d: write(d / "e", []), ["holds 0 frames", "at least 2"]),
    "one frame": (lambda d: write(d / "o", ["07.jpg"]), ["holds 1 frames", "at least 2"]),
    "no number": (lambda d: write(d / "n", ["a.jpg", "1.jpg"]), ["a.jpg", "no frame number"]),
    "same number": (lambda d: write(d / "s", ["1.jpg", "01.jpg", "2.jpg"]), ["1.jpg", "01.jpg", "remove one"]),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_folder_is_refused_by_name(case, tmp_path) -> None:
    make, words = BROKEN[case]
    folder = make(tmp_path)
    with pytest.raises(UserError) as caught:
        read_frame_folder(folder, 25.0, everything)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("kind", ["text", "empty", "truncated", "broken png"])
def test_a_broken_image_is_refused_by_name(kind, tmp_path) -> None:
    folder = write(tmp_path, ["1.jpg", "2.jpg"], size=(200, 200))
    path = folder / "2.jpg"
    whole = path.read_bytes()
    if kind == "broken png":
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 50, 3), dtype=np.uint8)).save(folder / "x.png")
        damaged = bytearray((folder / "x.png").read_bytes())
        damaged[60:70] = b"\0" * 10
        (folder / "x.png").unlink()
        path.write_bytes(bytes(damaged))
    else:
        path.write_bytes({"text": b"no image", "empty": b"", "truncated": whole[: len(whole) // 2]}[kind])
    with pytest.raises(UserError) as caught:
        read_frame_folder(folder, 25.0, everything)
    assert str(caught.value).startswith(f"{path}: not a readable image")
    assert "\n" not in str(caught.value)
