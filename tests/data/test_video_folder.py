"""A user's own clips: what is found, which frames are taken, and what a table says of them."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from lvcf.cli import main
from lvcf.data.clip import to_frames
from lvcf.data.clip_table import ClipTable, hashed_split, hashed_splits
from lvcf.data.video import write_lossless, write_mjpeg, write_preview
from lvcf.data.video_folder import VideoFolderDataset
from lvcf.datamodules.video_folder import VideoFolderDataModule
from lvcf.errors import UserError
from tests.data.test_video import noise, number_of, numbered, write_with_times
from tests.helpers import fails


def write_pictures(folder: Path, numbers: list[int], size: int = 32, suffix: str = ".png") -> Path:
    """Picture n has gray level 8 n."""
    folder.mkdir(parents=True, exist_ok=True)
    for n in numbers:
        Image.new("RGB", (size, size), (8 * n,) * 3).save(folder / f"frame_{n:03d}{suffix}")
    return folder


def numbers_in(dataset: VideoFolderDataset, index: int = 0) -> list[int]:
    clip = dataset[index]
    assert clip["error"] == ""
    return number_of(to_frames(clip["video"]))


def test_every_kind_is_found_below_the_root_by_name(tmp_path) -> None:
    (tmp_path / "b").mkdir()
    write_lossless(tmp_path / "z.mkv", noise(20, 32, 32), 8.0)
    write_preview(tmp_path / "b" / "a.MP4", noise(20, 32, 32), 8.0)
    write_pictures(tmp_path / "b" / "run.2", list(range(16)))
    (tmp_path / "notes.txt").write_text("no clip")
    dataset = VideoFolderDataset(tmp_path, "metadata", size=32, frame_folder_fps=8.0)
    assert dataset.ids == ["b_a", "b_run.2", "z"]
    assert [dataset[i]["error"] for i in range(3)] == ["", "", ""]
    clip = dataset[2]
    assert (clip["prompt"], clip["neutral_prompt"]) == ("metadata", "metadata")
    assert np.isnan(clip["label"])


def test_hidden_files_thumbnails_and_unnumbered_pictures_are_no_clips(tmp_path) -> None:
    (tmp_path / "clips").mkdir()
    write_lossless(tmp_path / "clips" / "a.mkv", noise(20, 32, 32), 8.0)
    write_pictures(tmp_path / "clips", [1])  # beside a video
    write_pictures(tmp_path / "clips" / ".cache", [1, 2])
    write_pictures(tmp_path, [1, 2])  # above a video
    (tmp_path / "clips" / "._b.mkv").write_bytes(b"no video")
    (tmp_path / "figures").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "figures" / "logo.png")
    assert VideoFolderDataset(tmp_path, "metadata", size=32).ids == ["clips_a"]


def test_a_single_file_is_a_folder_of_one(tmp_path) -> None:
    frames = noise(20, 32, 32)
    write_lossless(tmp_path / "mine.mkv", frames, 8.0)
    dataset = VideoFolderDataset(tmp_path / "mine.mkv", "metadata", size=32)
    assert dataset.ids == ["mine"]
    assert (to_frames(dataset[0]["video"]) == frames[:16]).all()


def test_a_single_frame_folder_too(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(write_pictures(tmp_path / "clip.one", list(range(20))))
    for root in (tmp_path / "clip.one", Path()):
        dataset = VideoFolderDataset(root, "metadata", size=32, frame_folder_fps=8.0)
        assert dataset.ids == ["clip.one"]
        assert numbers_in(dataset) == list(range(16))


@pytest.mark.parametrize("count", [2, 5, 9, 15])
def test_a_loop_repeats_the_clip_in_order(tmp_path, count) -> None:
    frames = noise(count, 16, 16)
    write_lossless(tmp_path / "a.mkv", frames, 8.0)
    clip = VideoFolderDataset(tmp_path, "metadata", size=16, loop=True)[0]
    assert clip["error"] == ""
    assert (to_frames(clip["video"]) == frames[np.arange(16) % count]).all()


def test_a_long_clip_is_the_same_with_and_without_loop(tmp_path) -> None:
    write_lossless(tmp_path / "a.mkv", noise(40, 16, 16), 16.0)
    one, other = (VideoFolderDataset(tmp_path, "m", size=16, loop=loop)[0]["video"] for loop in (False, True))
    assert (one == other).all()


def test_a_frame_folder_is_sampled_at_its_stated_rate(tmp_path) -> None:
    write_pictures(tmp_path / "a", list(range(7, 30)), suffix=".jpg")
    dataset = VideoFolderDataset(tmp_path, "m", frames=4, fps=8.0, size=32, frame_folder_fps=25.0)
    assert numbers_in(dataset) == [7, 10, 13, 16]  # nearest to 0, 3.125, 6.25 and 9.375 after the first
    looped = VideoFolderDataset(tmp_path, "m", frames=4, fps=1.0, size=32, frame_folder_fps=10.0, loop=True)
    assert numbers_in(looped) == [7, 17, 27, 14]  # 23 pictures last 2.3 s: the fourth second is 0.7 s in


STAMPS = {
    "matroska": ("a.mkv", "ffv1", [0, 20, 40, 300, 320, 700, 710, 1000], [0, 3, 4, 6, 7]),
    "mp4": ("a.mp4", "libx264", [0, 20, 40, 300, 320, 700, 710, 1000], [0, 3, 4, 6, 7]),
    "webm": ("a.webm", "libvpx-vp9", [100, 360, 370, 580, 610, 800, 860, 1090], [0, 1, 4, 6, 7]),
}


@pytest.mark.parametrize("case", STAMPS)
def test_variable_frame_rate_is_sampled_by_presentation_time(case, tmp_path) -> None:
    """Nearest to 0, 250, 500, 750 and 1000 ms after the first picture."""
    name, codec, stamps, wanted = STAMPS[case]
    write_with_times(tmp_path / name, 2 * numbered(8), stamps, codec)
    taken = VideoFolderDataset(tmp_path, "m", frames=5, fps=4.0, size=32)[0]
    assert taken["error"] == ""
    assert [n / 2 for n in number_of(to_frames(taken["video"]))] == wanted


def without_rate(path: Path) -> None:
    """A 50 fps AVI whose stream header says 0 frames per second; the main header's frame period is left."""
    write_mjpeg(path, numbered(31), 50.0)
    content = bytearray(path.read_bytes())
    rate = content.find(b"strh") + 8 + 24
    assert struct.unpack_from("<I", content, rate) == (50,)
    struct.pack_into("<I", content, rate, 0)
    path.write_bytes(content)


def test_a_container_of_0_fps_is_read_by_its_frame_period(tmp_path) -> None:
    without_rate(tmp_path / "a.avi")
    assert numbers_in(VideoFolderDataset(tmp_path, "m", frames=4, fps=8.0, size=32)) == [0, 6, 12, 19]


def test_gray_video_and_gray_or_four_channel_pictures_become_rgb(tmp_path) -> None:
    frames = noise(20, 32, 32)
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=8)
        stream.height, stream.width, stream.pix_fmt = 32, 32, "gray"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame[..., 0], format="gray")))
        container.mux(stream.encode(None))
    for name in ("b", "c"):
        (tmp_path / name).mkdir()
        for i, frame in enumerate(frames):
            picture = frame[..., 0] if name == "b" else np.dstack([frame, frame[..., 0]])  # L or RGBA
            Image.fromarray(picture).save(tmp_path / name / f"{i}.png")
    dataset = VideoFolderDataset(tmp_path, "m", size=32, frame_folder_fps=8.0)
    for i, channels in enumerate((slice(0, 1), slice(0, 1), slice(0, 3))):
        assert dataset[i]["error"] == ""
        assert (to_frames(dataset[i]["video"]) == frames[:16, ..., channels]).all()


def unreadable(folder: Path) -> None:
    (write_pictures(folder, list(range(20))) / "frame_003.png").write_bytes(b"broken")


BAD_FOLDERS = {
    "a gap": (lambda d: write_pictures(d, [0, 1, 2, 5, 6, 9]), "picture 3 is missing (4 between 0 and 9)"),
    "mixed sizes": (
        lambda d: (write_pictures(d, list(range(10))), write_pictures(d, list(range(10, 20)), 48)),
        "pictures are of sizes 32x32 and 48x48",
    ),
    "an unreadable picture": (unreadable, "frame_003.png: not a readable image"),
    "one picture": (lambda d: write_pictures(d, [4]), "holds 1 frames"),
    "too short": (lambda d: write_pictures(d, [4, 5, 6]), "lasts 0.25 s; 16 frames at 8 fps need 1.88 s"),
}


@pytest.mark.parametrize("case", BAD_FOLDERS)
def test_a_bad_frame_folder_fails_alone_in_prediction_and_stops_training(case, tmp_path) -> None:
    spoil, says = BAD_FOLDERS[case]
    spoil(tmp_path / "bad")
    write_pictures(tmp_path / "good", list(range(16)))
    bad, good = VideoFolderDataset(tmp_path, "m", size=32, frame_folder_fps=8.0)
    assert says in bad["error"]
    assert bad["error"].startswith(f"{tmp_path / 'bad'}")
    assert "\n" not in bad["error"]
    assert not bad["video"].any()
    assert good["error"] == ""
    with pytest.raises(UserError) as caught:
        VideoFolderDataset(tmp_path, "m", size=32, frame_folder_fps=8.0, record_errors=False)[0]
    assert str(caught.value) == bad["error"]


def test_a_single_frame_is_no_video_even_as_a_loop(tmp_path) -> None:
    write_lossless(tmp_path / "a.mkv", noise(1, 32, 32), 8.0)
    for loop in (False, True):
        assert "holds 1 frame; " in VideoFolderDataset(tmp_path, "m", size=32, loop=loop)[0]["error"]


@pytest.mark.parametrize("fps", [0.0, -25.0, float("nan"), float("inf")])
def test_an_impossible_rate_of_pictures(fps, tmp_path) -> None:
    write_pictures(tmp_path / "a", [1, 2])
    with pytest.raises(UserError, match=r"data\.frame_folder_fps .*: choose a number above 0"):
        VideoFolderDataset(tmp_path, "m", frame_folder_fps=fps)


def test_pictures_without_a_rate_are_refused(tmp_path) -> None:
    write_pictures(tmp_path / "a", [1, 2])
    with pytest.raises(UserError, match=r"a: numbered pictures do not say their rate; set data\.frame_folder_fps"):
        VideoFolderDataset(tmp_path, "m")


# --- the table ---------------------------------------------------------------------------------------------------


@pytest.fixture
def clips(tmp_path) -> Path:
    """``a.mkv``, ``b.mkv`` and ``deep/c.mkv``: 20 frames of gray level 80, 160 and 240."""
    root = tmp_path / "clips"
    (root / "deep").mkdir(parents=True)
    for i, name in enumerate(("a", "b", "deep/c"), start=1):
        write_lossless(root / f"{name}.mkv", np.full((20, 32, 32, 3), 80 * i, dtype=np.uint8), 8.0)
    return root


def table(root: Path, *lines: str) -> Path:
    """A table beside the folder."""
    path = root.parent / "mine.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_table_of_values(clips) -> None:
    path = table(clips, "path,label,note", "deep/c.mkv,-2.5,x", "", "./a.mkv,61.7,y")
    dataset = VideoFolderDataset(clips, "heart", size=32, table=ClipTable(path))
    assert dataset.ids == ["deep_c", "a"]
    known = [(c["label"], c["prompt"], c["neutral_prompt"], c["error"]) for c in (dataset[0], dataset[1])]
    assert known == [(-2.5, "heart -2", "heart", ""), (61.7, "heart 62", "heart", "")]
    assert [int(to_frames(dataset[i]["video"])[0, 0, 0, 0]) for i in range(2)] == [240, 80]


def test_a_table_with_columns_and_classes_of_the_users_own(clips) -> None:
    path = table(clips, "\ufeffvideo, mood, shows", 'a.mkv, sad, "a man, outdoors"', "b.mkv, happy,")
    module = VideoFolderDataModule(
        clips,
        "face",
        table=path,
        path_column="video",
        label_column="mood",
        prompt_column="shows",
        labels=["happy", "neutral", "sad"],
    )
    first, second = module.make_dataset("predict")
    assert (first["label"], first["prompt"], first["neutral_prompt"]) == (
        2.0,
        "a man, outdoors sad",
        "a man, outdoors",
    )
    assert (second["label"], second["prompt"], second["neutral_prompt"]) == (0.0, "face happy", "face")


def test_a_table_of_paths_alone_knows_no_label(clips) -> None:
    (clip,) = VideoFolderDataset(clips, "heart", size=32, table=ClipTable(table(clips, "path", "b.mkv")))
    assert np.isnan(clip["label"])
    assert (clip["prompt"], clip["neutral_prompt"]) == ("heart", "heart")


def test_a_table_may_list_frame_folders(clips) -> None:
    write_pictures(clips / "pictures", list(range(16)))
    path = table(clips, "path,label", "pictures/,3", "a.mkv,4")
    dataset = VideoFolderDataset(clips, "m", size=32, frame_folder_fps=8.0, table=ClipTable(path))
    assert dataset.ids == ["pictures", "a"]
    assert numbers_in(dataset) == list(range(16))


NAMES = ("happy", "neutral", "sad")
BAD_TABLES = {
    "no path column": (
        ["file,label", "a.mkv,1"],
        {},
        "",
        ["column path is missing", "data.path_column", "file, label"],
    ),
    "semicolons": (["path;label", "a.mkv;1"], {}, "", ["column path is missing", "to one of path;label"]),
    "empty file": ([], {}, "", ["column path is missing"]),
    "no row": (["path,label"], {}, "", ["lists no clip"]),
    "no label column": (
        ["path,label", "a.mkv,1"],
        {"label_column": "EF"},
        "",
        ["column EF is missing", "label_column"],
    ),
    "no column of names": (["path", "a.mkv"], {"labels": NAMES}, "", ["column label is missing"]),
    "no prompt column": (["path", "a.mkv"], {"prompt_column": "says"}, "", ["column says is missing", "prompt_column"]),
    "NaN": (["path,label", "a.mkv,1", "b.mkv,nan"], {}, ", line 3", ["label 'nan' is no number", "correct or remove"]),
    "empty label": (["path,label", "a.mkv,"], {}, ", line 2", ["label '' is no number"]),
    "short row": (["path,label", "a.mkv"], {}, ", line 2", ["label '' is no number"]),
    "words": (["path,label", "", "a.mkv,high"], {}, ", line 3", ["label 'high' is no number", "data.labels"]),
    "infinite": (["path,label", "a.mkv,inf"], {}, ", line 2", ["label 'inf' is no number"]),
    "misspelt": (["path,label", "a.mkv,Hapy"], {"labels": NAMES}, ", line 2", ["label 'Hapy'", "did you mean happy?"]),
    "upper case": (["path,label", "a.mkv,SAD"], {"labels": NAMES}, ", line 2", ["label 'SAD'", "did you mean sad?"]),
    "no such name": (["path,label", "a.mkv,7"], {"labels": NAMES}, ", line 2", ["'7'", "one of happy, neutral, sad"]),
    "names twice": (["path,label", "a.mkv,x"], {"labels": ("x", "x")}, "data.labels x, x", ["twice"]),
    "leaves": (["path", "../mine.csv"], {}, ", line 2", ["path '../mine.csv' is no path below", "data.root"]),
    "leaves inside": (["path", "deep/../a.mkv"], {}, ", line 2", ["'deep/../a.mkv' is no path below"]),
    "absolute": (["path", "/etc/passwd"], {}, ", line 2", ["'/etc/passwd' is no path below"]),
    "no path": (["path,label", ",1"], {}, ", line 2", ["path '' is no path"]),
    "twice": (["path", "a.mkv", "b.mkv", "./a.mkv"], {}, ", line 4", ["'a.mkv' is on line 2 already", "remove one"]),
    "gone": (["path", "a.mkv", "d.mkv"], {}, ", line 3", ["path 'd.mkv' is not in", "correct or remove"]),
    "long": (["path", "d" * 300], {}, ", line 2", ["is not in"]),
    "no split": (
        ["path,split", "a.mkv,validation"],
        {},
        ", line 2",
        ["split 'validation'", "choose one of train, val, test"],
    ),
    "misspelt split": (["path,split", "a.mkv,tain"], {}, ", line 2", ["split 'tain'", "did you mean train?"]),
    "empty split": (["path,split", "a.mkv,"], {}, ", line 2", ["split '' is none"]),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_bad_table_is_refused_by_file_line_and_value(case, clips) -> None:
    lines, options, where, says = BAD_TABLES[case]
    path = table(clips, *lines)
    with pytest.raises(UserError) as caught:
        VideoFolderDataset(clips, "m", table=ClipTable(path, **options))
    message = str(caught.value)
    assert message.startswith(where if where.startswith("data") else f"{path}{where}: ")
    assert "\n" not in message
    for text in says:
        assert text in message


@pytest.mark.parametrize("kind", ["missing", "a folder", "a spreadsheet", "NUL bytes"])
def test_a_table_that_is_no_csv_file(kind, clips) -> None:
    path = clips.parent / "mine.csv"
    if kind == "a folder":
        path.mkdir()
    elif kind != "missing":
        path.write_bytes(b"PK\x03\x04\xff\xfe\x9d" if kind == "a spreadsheet" else b"path\n\0a.mkv\n")
    with pytest.raises(UserError) as caught:
        VideoFolderDataset(clips, "m", table=ClipTable(path))
    assert str(caught.value).startswith(f"{path}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("options", [{"labels": ["a"]}, {"label_column": "EF"}, {"path_column": "video"}])
def test_a_table_is_missed(options, clips) -> None:
    with pytest.raises(UserError, match=r"data\.table: missing"):
        VideoFolderDataModule(clips, **options)


# --- training ----------------------------------------------------------------------------------------------------


def test_a_split_is_what_the_table_says(clips) -> None:
    path = table(clips, "path,label,split", "a.mkv,1,TRAIN", "b.mkv,2,val", "deep/c.mkv,3,test")
    module = VideoFolderDataModule(clips, table=path, size=32, predict_split="test")
    found = {stage: module.make_dataset(stage).ids for stage in ("train", "val", "test", "predict")}
    assert found == {"train": ["a"], "val": ["b"], "test": ["deep_c"], "predict": ["deep_c"]}
    assert VideoFolderDataModule(clips, table=path).make_dataset("predict").ids == ["a", "b", "deep_c"]


def test_without_a_column_paths_are_split_80_10_10_each_by_itself() -> None:
    splits = [hashed_split(Path(f"deep/{i}.mkv")) for i in range(3000)]
    assert [splits.count(s) for s in ("train", "val", "test")] == pytest.approx([2400, 300, 300], abs=66)  # 4 sigma
    assert [i for i in range(16) if splits[i] != "train"] == [7, 8, 10]  # sha256 is the same everywhere and for ever
    assert hashed_split(Path("./deep//7.mkv")) == splits[7] == "val"


def test_two_clips_are_enough_for_a_training_and_a_validation_and_more_move_nobody_but_the_lent_one() -> None:
    paths = [Path(f"{i}.mkv") for i in range(200)]
    for start in range(0, 190, 10):
        for n in range(2, 10):
            few = hashed_splits(paths[start : start + n])
            assert {"train", "val"} <= set(few.values())
            assert few == hashed_splits(paths[start : start + n][::-1])
            assert sum(few[path] != hashed_split(path) for path in few) <= 2
    assert hashed_splits(paths) == {path: hashed_split(path) for path in paths}
    assert hashed_splits(paths[:1]) == {paths[0]: hashed_split(paths[0])}


def test_a_folder_and_a_table_without_a_split_lend_a_validation_clip(clips) -> None:
    path = table(clips, "path", "a.mkv", "b.mkv")
    for module in (VideoFolderDataModule(clips), VideoFolderDataModule(clips, table=path)):
        parts = [module.make_dataset(stage).ids for stage in ("train", "val")]
        assert all(parts)
        assert not set(parts[0]) & set(parts[1])


def test_stages_share_no_clip_and_leave_none_out(tmp_path) -> None:
    for i in range(40):
        (tmp_path / f"{i}.mkv").touch()
    module = VideoFolderDataModule(tmp_path)
    parts = [set(module.make_dataset(stage).ids) for stage in ("train", "val", "test")]
    assert sum(map(len, parts)) == 40
    assert set.union(*parts) == set(module.make_dataset("predict").ids) == {str(i) for i in range(40)}


def test_an_empty_split_says_what_is_there(clips) -> None:
    path = table(clips, "path,split", "a.mkv,train", "b.mkv,test")
    with pytest.raises(UserError, match=r"mine.csv: no clip in split 'val' \(train 1, val 0, test 1\)"):
        VideoFolderDataModule(clips, table=path).make_dataset("val")


def test_training_starts_anywhere_and_the_rest_at_the_beginning(tmp_path) -> None:
    write_pictures(tmp_path / "a", list(range(31)))
    path = table(tmp_path / "a", "path,split", "a,train")
    starts = {}
    for split, random_start in (("train", True), ("all", False)):
        dataset = VideoFolderDataset(
            tmp_path,
            "m",
            4,
            size=16,
            frame_folder_fps=8.0,
            table=ClipTable(path),
            split=split,
            random_start=random_start,
        )
        starts[split] = {numbers_in(dataset)[0] for _ in range(12)}
    assert len(starts["train"]) > 3
    assert starts["all"] == {0}


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """The configuration's relative folders lie here."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fit_arguments(clips: Path, path: Path, to: Path) -> list[str]:
    return [
        *("fit", "--config", "phantom/target.yaml", "--data=VideoFolderDataModule", f"--data.root={clips}"),
        *(f"--data.table={path}", "--data.label_column=EF", "--data.frame_folder_fps=8"),
        *("--data.size=32", "--data.batch_size=2"),
        *(f"--model.output={to / 'weights'}", f"--trainer.logger.save_dir={to}", f"--trainer.default_root_dir={to}"),
        *("--trainer.fast_dev_run=true", "--trainer.accelerator=cpu", "--trainer.precision=32-true"),
        *("--trainer.enable_progress_bar=false", "--threads=1"),
    ]


def test_a_target_model_is_trained_on_a_users_own_table(clips, here) -> None:
    write_pictures(clips / "d", list(range(16)))
    write_pictures(clips / "e", list(range(16)))  # the third to validate on: alone in its batch
    rows = ("a.mkv,31,train", "b.mkv,60.5,val", "d,20,val", "e,30,val", "deep/c.mkv,40,train")
    path = table(clips, "path,EF,split", *rows)
    assert main([*fit_arguments(clips, path, here), "--trainer.fast_dev_run=2"]) == 0
    assert (here / "weights" / "model.safetensors").is_file()


def test_an_unreadable_clip_stops_training_with_one_line(clips, here, capfd) -> None:
    (clips / "a.mkv").write_bytes(b"")
    path = table(clips, "path,EF,split", "a.mkv,31,train", "b.mkv,60.5,val", "deep/c.mkv,40,train")
    assert f"{clips / 'a.mkv'}: not a readable video" in fails(capfd, fit_arguments(clips, path, here))


def test_clips_of_a_batch(clips) -> None:
    path = table(clips, "path,label", "a.mkv,1", "deep/c.mkv,2", "b.mkv,3")
    (batch,) = VideoFolderDataModule(clips, table=path, size=32).predict_dataloader()
    assert batch["video"].shape == (3, 3, 16, 32, 32)
    assert batch["video"].dtype == torch.float32
    assert batch["label"].tolist() == [1.0, 2.0, 3.0]
    assert batch["id"] == ["a", "deep_c", "b"]


# --- how a rectangle becomes a square, and which seconds are taken ---------------------------------------------------


@pytest.fixture
def wide(tmp_path) -> Path:
    """Ten seconds of 48x32 at 12 fps; a pixel's red is its column, its green its row, its blue the second."""
    y, x = np.mgrid[:32, :48]
    frames = np.stack([np.stack([x * 5, y * 7, np.full_like(x, 20 * (t // 12))], -1) for t in range(120)])
    write_lossless(tmp_path / "wide.mkv", frames.astype(np.uint8), 12.0)
    return tmp_path


def test_by_default_the_centre_from_the_beginning(wide) -> None:
    clip = VideoFolderDataModule(wide, size=32).make_dataset("predict")[0]
    frames = to_frames(clip["video"])
    assert frames[0, 0, :, 0].tolist() == [5 * x for x in range(8, 40)]
    assert frames[0, :, 0, 1].tolist() == [7 * y for y in range(32)]
    assert clip["treatment"] == "48x32 at 12 fps -> centre 32x32, 16 frames at 8 fps from 0.0 s"


def test_a_letterbox_keeps_all_of_it_between_black_bars(wide) -> None:
    clip = VideoFolderDataModule(wide, size=48, fit="letterbox").make_dataset("predict")[0]
    frames = to_frames(clip["video"])
    assert not frames[:, :8].any()
    assert not frames[:, 40:].any()
    assert frames[0, 8, :, 0].tolist() == [5 * x for x in range(48)]
    assert clip["treatment"].startswith("48x32 at 12 fps -> black bars to 48x48, 16 frames")


def test_a_start_takes_later_seconds_and_training_its_own(wide) -> None:
    module = VideoFolderDataModule(wide, size=32, frames=8, start=3.0)
    clip = module.make_dataset("predict")[0]
    assert set(to_frames(clip["video"])[..., 2].flatten().tolist()) == {60}
    assert clip["treatment"].endswith("8 frames at 8 fps from 3.0 s")
    late = VideoFolderDataModule(wide, size=32, start=9.0).make_dataset("predict")[0]
    assert "16 frames at 8 fps need 1.88 s from 9 s; use a longer clip or set an earlier data.start" in late["error"]
    assert late["treatment"] == ""
    looped = VideoFolderDataModule(wide, size=32, start=9.0, loop=True).make_dataset("predict")[0]
    assert set(to_frames(looped["video"])[..., 2].flatten().tolist()) == {180, 0}


def test_a_box_and_a_resize_are_told(wide) -> None:
    clip = VideoFolderDataModule(wide, size=16, crop=(4, 0, 28, 24)).make_dataset("predict")[0]
    assert clip["treatment"] == "48x32 at 12 fps -> box 24x24, whole, resized to 16x16, 16 frames at 8 fps from 0.0 s"


@pytest.mark.parametrize("options", [{"fit": "stretch"}, {"start": -1.0}, {"start": float("nan")}])
def test_no_such_fit_or_start(options, wide) -> None:
    with pytest.raises(UserError, match=rf"data\.{next(iter(options))}"):
        VideoFolderDataModule(wide, **options)
