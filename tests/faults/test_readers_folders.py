"""Folders of clips and tables: odd pictures, names, encodings and unreadable places fail alone, and in words."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lvcf.cli import main
from lvcf.data.clip import check_names, to_frames
from lvcf.data.clip_table import ClipTable
from lvcf.data.echonet import EchoNetDataset, read_file_list
from lvcf.data.ferv39k import read_list
from lvcf.data.frame_folder import read_picture
from lvcf.data.ssv2 import read_items
from lvcf.data.video import write_lossless
from lvcf.data.video_folder import VideoFolderDataset
from lvcf.datamodules.predictions import PredictionsDataModule
from lvcf.datamodules.video_folder import VideoFolderDataModule
from lvcf.errors import UserError
from tests.data.test_video_folder import write_pictures
from tests.faults.test_readers_video import corners, turned, write
from tests.helpers import fails

ORIENTATIONS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: np.rot90(p, 2).swapaxes(0, 1),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("name", ["1.png", "1.jpg"])
def test_a_picture_is_turned_as_exif_says(orientation, name, tmp_path) -> None:
    stored = corners(1, 48, 64)[0]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / name, exif=exif, quality=95)
    wanted = ORIENTATIONS[orientation](stored)
    picture = read_picture(tmp_path / name)
    assert picture.shape == wanted.shape
    assert np.abs(picture.astype(int) - wanted).mean() < 3


def test_a_16_bit_picture_is_turned_too(tmp_path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    levels = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) * 20
    Image.fromarray(levels).save(tmp_path / "1.png", exif=exif)
    assert (read_picture(tmp_path / "1.png")[..., 0] == np.rot90(levels >> 8, -1)).all()


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def huge_png(path: Path) -> None:
    """Of 20000x20000 pixels, by its header."""
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    )


def long_text_png(path: Path) -> None:
    """With 80 MB of packed text."""
    header = struct.pack(">IIBBBBB", 32, 32, 8, 2, 0, 0, 0)
    text = b"note\0\0" + zlib.compress(b"a" * 80_000_000)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"zTXt", text) + chunk(b"IEND", b""))


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("spoil", "workers"), [(huge_png, 0), (huge_png, 2), (long_text_png, 0), (long_text_png, 2), (pipe, 0)]
)
def test_an_odd_picture_is_one_clips_failure_in_every_process(spoil, workers, tmp_path) -> None:
    for name in ("bad", "good"):
        write_pictures(tmp_path / name, list(range(16)))
    spoil(tmp_path / "bad" / "frame_003.png")
    module = VideoFolderDataModule(tmp_path, frame_folder_fps=8.0, size=32, num_workers=workers, batch_size=2)
    (batch,) = module.predict_dataloader()
    assert batch["id"] == ["bad", "good"]
    assert f"{tmp_path / 'bad'}" in batch["error"][0]
    assert batch["error"][1] == ""
    assert "\n" not in batch["error"][0]


def test_any_exception_is_a_clips_failure_with_its_class(tmp_path, monkeypatch) -> None:
    """And training stops with one line."""

    def starve(*arguments: object) -> None:
        raise MemoryError("Unable to allocate 9 TiB")

    write_lossless(tmp_path / "a.mkv", corners(20, 32, 32), 8.0)
    monkeypatch.setattr("lvcf.data.video_folder.to_clip", starve)
    error = f"{tmp_path / 'a.mkv'}: MemoryError: Unable to allocate 9 TiB"
    assert VideoFolderDataset(tmp_path, "m", size=32)[0]["error"] == error
    with pytest.raises(UserError) as caught:
        VideoFolderDataset(tmp_path, "m", size=32, record_errors=False)[0]
    assert str(caught.value) == error


def test_picture_numbers_of_twenty_digits_loop(tmp_path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    for i in range(4):
        Image.new("RGB", (32, 32), (20 * i,) * 3).save(folder / f"{10**18 + i}.png")
    clip = VideoFolderDataset(tmp_path, "m", frames=8, fps=8.0, size=32, frame_folder_fps=8.0, loop=True)[0]
    assert clip["error"] == ""
    assert to_frames(clip["video"])[:, 0, 0, 0].tolist() == [0, 20, 40, 60] * 2


def test_a_name_that_is_no_utf8_is_a_clip_like_another(tmp_path) -> None:
    for name in (b"M\xfcller.mkv", b"bad\xfc.mkv", b"good.mkv"):
        write_lossless(tmp_path / "x.mkv", corners(20, 32, 32), 8.0)
        os.rename(os.fsencode(tmp_path / "x.mkv"), os.fsencode(tmp_path) + b"/" + name)
    (tmp_path / os.fsdecode(b"bad\xfc.mkv")).write_bytes(b"no video")
    (batch,) = VideoFolderDataModule(tmp_path, size=32, batch_size=3).predict_dataloader()
    assert batch["id"] == ["M_ller", "bad_", "good"]
    assert [bool(error) for error in batch["error"]] == [False, True, False]
    for text in (*batch["id"], *batch["error"]):
        text.encode()


def test_a_folder_that_cannot_be_read_is_told(tmp_path, monkeypatch) -> None:
    """Its path is longer than the system takes, so that even root cannot list it."""
    write_lossless(tmp_path / "a.mkv", corners(20, 32, 32), 8.0)
    monkeypatch.chdir(tmp_path)
    for _ in range(20):
        os.mkdir("d" * 250)
        os.chdir("d" * 250)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"cannot be read \(.*\); correct its permissions or move it out of"):
        VideoFolderDataset(tmp_path, "m", size=32)


@pytest.mark.parametrize(("one", "other"), [("a", "A"), ("clip_É", "clip_é")])
def test_names_that_differ_by_case_alone_would_share_a_folder_elsewhere(one, other) -> None:
    with pytest.raises(UserError, match="would share a folder; rename one"):
        check_names(Path("list"), [one, other])


def test_a_name_of_300_letters_is_one_clips_failure(tmp_path) -> None:
    (tmp_path / "Videos").mkdir()
    write(tmp_path / "Videos" / "a.avi", corners(20, 32, 32), "mjpeg", "yuvj420p", q="2")
    (tmp_path / "FileList.csv").write_text(f"FileName,EF,Split\n{'x' * 300},50,TEST\na,50,TEST\n")
    long, good = EchoNetDataset(tmp_path, "test", size=32, record_errors=True)
    assert "no such video file" in long["error"]
    assert good["error"] == ""


HEADER = "FileName,EF,Split\n"
LISTS = {
    "UTF-16": ((HEADER + "a,50,TEST\n").encode("utf-16"), "is in UTF-16, not in UTF-8"),
    "Latin-1": ((HEADER + "Müller,50,TEST\n").encode("latin-1"), "is in another encoding, not in UTF-8"),
    "binary": (bytes(range(256)) * 9, "not in UTF-8"),
    "a field of 200000 letters": ((HEADER + f"{'x' * 200_000},50,TEST\n").encode(), "field larger than field limit"),
    "a column twice": (b"FileName,EF,EF,Split\na,50,60,TEST\n", "column EF is there twice"),
    "a comma that is not quoted": (b"FileName,EF,Split\na,b,50,TEST\n", "line 2: has more cells than the 3 columns"),
}


@pytest.mark.parametrize("case", LISTS)
def test_a_list_in_another_shape_is_refused_by_name(case, tmp_path, capfd) -> None:
    content, says = LISTS[case]
    path = tmp_path / "FileList.csv"
    path.write_bytes(content)
    for read in (lambda: read_file_list(tmp_path), lambda: EchoNetDataset(tmp_path, "test")):
        with pytest.raises(UserError, match=says) as caught:
            read()
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)
    assert says in fails(capfd, ["data", "check", str(tmp_path), "--as", "echonet"])


@pytest.mark.parametrize("case", LISTS)
def test_a_table_in_another_shape_is_refused_by_name(case, tmp_path) -> None:
    content, says = LISTS[case]
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(UserError, match=says):
        ClipTable(tmp_path / "t.csv", path_column="FileName").read(tmp_path)


@pytest.mark.parametrize("column", ["Split", "LABEL", "Prompt"])
def test_a_column_in_other_letters_is_not_passed_over(column, tmp_path) -> None:
    (tmp_path / "t.csv").write_text(f'path,"{column}"\na.mkv,val\n')
    with pytest.raises(UserError, match=f"column '{column}': write it '{column.lower()}'"):
        ClipTable(tmp_path / "t.csv").read(tmp_path)


def test_a_folder_in_a_lists_place_is_told(tmp_path) -> None:
    (tmp_path / "t.csv").mkdir()
    with pytest.raises(UserError, match=r"t\.csv: cannot be read \(Is a directory\)"):
        ClipTable(tmp_path / "t.csv").read(tmp_path)


def test_trailing_commas_are_no_columns(tmp_path) -> None:
    write_lossless(tmp_path / "a.mkv", corners(20, 32, 32), 8.0)
    (tmp_path / "t.csv").write_text("path,label,,\na.mkv,3,,\n")
    (entry,) = ClipTable(tmp_path / "t.csv").read(tmp_path)
    assert entry.label == 3.0


def test_lists_of_other_sets_in_another_encoding(tmp_path) -> None:
    (tmp_path / "train.csv").write_bytes("Interview/Happy/0001,3\n".encode("utf-16"))
    with pytest.raises(UserError, match=r"train\.csv: is in UTF-16"):
        read_list(tmp_path / "train.csv")


@pytest.mark.parametrize(
    "content",
    [
        "[" * 100_000,
        '[{"id": 1, "label": "", "template": 5, "placeholders": []}]',
        '[{"id": 1, "label": "", "template": "", "placeholders": null}]',
    ],
)
def test_json_of_another_shape_is_refused(content, tmp_path) -> None:
    path = tmp_path / "something-something-v2-train.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"v2-train\.json"):
        read_items(tmp_path, "train")


def test_a_users_own_clips_are_not_called_echocardiograms(tmp_path) -> None:
    write_lossless(tmp_path / "a.mkv", corners(20, 32, 32), 8.0)
    (clip,) = VideoFolderDataModule(tmp_path, size=32).make_dataset("predict")
    assert (clip["prompt"], clip["neutral_prompt"]) == ("", "")
    assert PredictionsDataModule(tmp_path).metadata == ""
    (tmp_path / "t.csv").write_text("path,label,prompt\na.mkv,3,a box\n")
    (clip,) = VideoFolderDataModule(tmp_path, size=32, table=tmp_path / "t.csv").make_dataset("predict")
    assert (clip["prompt"], clip["neutral_prompt"]) == ("a box 3", "a box")


def test_data_check_tells_what_was_done_to_the_pixels_and_what_was_left_out(tmp_path, capsys) -> None:
    turned(tmp_path / "turned.mp4", 0, 1, -1, 0)
    write(tmp_path / "wide.mp4", corners(), crf="4", sar="2")
    write_pictures(tmp_path / "pictures", list(range(48)))
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.new("RGB", (32, 32)).save(tmp_path / "pictures" / "frame_000.png", exif=exif)
    (tmp_path / "notes.txt").write_text("no clip")
    (tmp_path / "a.bmp").write_bytes(b"no clip")
    assert main(["data", "check", str(tmp_path), "--as", "folder"]) == 0
    rows = [" ".join(line.replace("│", " ").split()) for line in capsys.readouterr().out.splitlines()]
    for row in (
        "turned by 90 degrees 1",
        "width times 2 1",
        "turned as EXIF says 1",
        "left out: .txt 1",
        "left out: .bmp 1",
    ):
        assert row in rows
    assert "size 96x128 1" in rows
    assert "size 256x96 1" in rows


def test_data_check_of_one_file(tmp_path, capsys) -> None:
    write(tmp_path / "a b.mp4", corners())
    assert main(["data", "check", str(tmp_path / "a b.mp4"), "--as", "folder"]) == 0
    assert "problems" in capsys.readouterr().out


def test_data_check_tells_any_exception_as_that_files_problem(tmp_path, capsys) -> None:
    write_pictures(tmp_path / "bad", list(range(48)))
    huge_png(tmp_path / "bad" / "frame_003.png")
    write(tmp_path / "good.mp4", corners())
    assert main(["data", "check", str(tmp_path), "--as", "folder"]) == 1
    printed = capsys.readouterr().out
    assert "frame_003.png: not a readable image" in printed.replace("\n", "")
    assert "unreadable files" in printed
