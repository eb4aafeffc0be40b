"""FERV39K's reader on the data set's lists and frame folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lvcf.data.clip import safe_name
from lvcf.data.ferv39k import (
    EXPRESSIONS,
    FERV39KDataset,
    expression_prompt,
    is_validation,
    neutral_prompt,
    read_list,
    read_split,
)
from lvcf.datamodules.ferv39k import FERV39KDataModule
from lvcf.errors import UserError

HAPPY, SAD = "Interview/Happy/0118,3", "DailyLife/Sad/0007,5"


def make_lists(root: Path, train: list[str], test: list[str]) -> Path:
    (root / "Annotation").mkdir(parents=True, exist_ok=True)
    for split, rows in (("train", train), ("test", test)):
        (root / "Annotation" / f"{split}.csv").write_text("\n".join(["path,id", *rows]) + "\n")
    return root


def make_clip(root: Path, path: str, numbers: list[int], sizes: list[int] | None = None) -> None:
    """Frame n has gray level 4 n."""
    folder = root / "2_ClipsforFaceCrop" / path
    folder.mkdir(parents=True)
    for i, n in enumerate(numbers):
        size = sizes[i % len(sizes)] if sizes else 40
        Image.new("RGB", (size, size), (4 * n,) * 3).save(folder / f"{n:02d}.jpg", quality=95)


def make_set(root: Path, numbers: list[int], sizes: list[int] | None = None) -> Path:
    make_lists(root, [SAD], [HAPPY])
    for row in (HAPPY, SAD):
        make_clip(root, row.split(",")[0], numbers, sizes)
    return root


def numbers_of(video: torch.Tensor) -> list[int]:
    return ((video + 1) * 127.5 / 4).mean(dim=(0, 2, 3)).round().int().tolist()


def test_a_clip_is_what_the_contract_says(tmp_path) -> None:
    clip = FERV39KDataset(make_set(tmp_path, list(range(50))), "test", size=32)[0]
    assert clip["video"].shape == (3, 16, 32, 32)
    assert clip["video"].dtype == torch.float32
    assert -1 <= clip["video"].min() <= clip["video"].max() <= 1
    assert clip["id"] == "Interview_Happy_0118" == safe_name(clip["id"])
    assert clip["label"] == 3.0
    assert clip["prompt"] == "face in an interview scene with happy expression"
    assert clip["neutral_prompt"] == "face in an interview scene"
    assert (clip["fps"], clip["error"]) == (8.0, "")


@pytest.mark.parametrize("source_fps", [25.0, 30.0, 12.0])
def test_sixteen_frames_at_eight_fps_by_presentation_time(tmp_path, source_fps) -> None:
    root = make_set(tmp_path, list(range(1, 63)))
    clip = FERV39KDataset(root, "test", source_fps=source_fps, size=16)[0]
    wanted = 1 + np.arange(16) / 8 * source_fps
    assert np.abs(np.array(numbers_of(clip["video"])) - wanted).max() <= 0.5


def test_a_gap_in_the_numbers_does_not_shift_what_follows(tmp_path) -> None:
    present = [n for n in range(50) if not 20 <= n < 30]
    numbers = numbers_of(FERV39KDataset(make_set(tmp_path, present), "test", size=16)[0]["video"])
    for number, wanted in zip(numbers, np.arange(16) / 8 * 25, strict=True):
        nearest = min(abs(n - wanted) for n in present)
        assert abs(number - wanted) <= nearest + 1e-9


def test_a_short_clip_holds_its_last_frame(tmp_path) -> None:
    numbers = numbers_of(FERV39KDataset(make_set(tmp_path, list(range(12))), "test", size=16)[0]["video"])
    assert numbers[:4] == [0, 3, 6, 9]
    assert set(numbers[4:]) == {11}


@pytest.mark.parametrize("length", [2, 3, 30, 46, 47, 48, 60])
def test_any_length_from_two_frames_is_read_from_any_start(tmp_path, length) -> None:
    root = make_set(tmp_path, list(range(length)))
    dataset = FERV39KDataset(root, "all", size=16, random_start=True)
    for _ in range(6):
        numbers = numbers_of(dataset[0]["video"])
        assert numbers == sorted(numbers)
        assert numbers[-1] <= length - 1
        if length <= 47:
            assert (numbers[0], numbers[-1]) == (0, length - 1)


def test_training_starts_anywhere_and_the_rest_at_the_beginning(tmp_path) -> None:
    module = FERV39KDataModule(make_set(tmp_path, list(range(63))), batch_size=1, size=16)
    assert not is_validation("DailyLife/Sad/0007")
    starts = {numbers_of(module.make_dataset("train")[0]["video"])[0] for _ in range(12)}
    assert len(starts) > 3
    assert {numbers_of(module.make_dataset("test")[0]["video"])[0] for _ in range(3)} == {0}


def test_a_batch_of_the_data_module(face_root) -> None:
    module = FERV39KDataModule(face_root, batch_size=3, predict_split="train")
    batch = next(iter(module.predict_dataloader()))
    assert batch["video"].shape == (3, 3, 16, 112, 112)
    assert [EXPRESSIONS[int(label)] for label in batch["label"]] == [name.split("_")[1] for name in batch["id"]]
    sizes = {stage: len(module.make_dataset(stage)) for stage in ("train", "val", "test", "predict")}
    assert sizes == {"train": 6, "val": 1, "test": 1, "predict": 6}


def test_frames_of_different_sizes_are_brought_to_one(tmp_path) -> None:
    clip = FERV39KDataset(make_set(tmp_path, list(range(50)), sizes=[40, 57, 33]), "test", size=32)[0]
    assert clip["video"].shape == (3, 16, 32, 32)
    assert np.abs(np.array(numbers_of(clip["video"])) - np.arange(16) / 8 * 25).max() <= 0.5


@pytest.mark.parametrize("problem", ["missing", "one frame", "broken"])
def test_an_unreadable_clip_raises_in_training_and_is_recorded_in_prediction(tmp_path, problem) -> None:
    root = make_set(tmp_path, [0] if problem == "one frame" else list(range(50)))
    folder = root / "2_ClipsforFaceCrop/Interview/Happy/0118"
    if problem == "missing":
        folder.rename(folder.with_name("0119"))
    elif problem == "broken":
        (folder / "00.jpg").write_bytes(b"")
    with pytest.raises(UserError, match="0118"):
        FERV39KDataset(root, "test")[0]
    clip = FERV39KDataModule(root).make_dataset("predict")[0]
    assert "0118" in clip["error"]
    assert clip["video"].shape == (3, 16, 112, 112)
    assert not clip["video"].any()


def test_validation_is_a_tenth_of_train_by_the_clips_path_alone(tmp_path) -> None:
    rows = [f"War/Fear/{i:04d},2" for i in range(2000)]
    root = make_lists(tmp_path, rows, [HAPPY])
    val, train = ({e.path for e in read_split(root, split)} for split in ("val", "train"))
    assert len(val) == pytest.approx(200, abs=45)
    assert val | train == {row.split(",")[0] for row in rows}
    assert not val & train
    fewer = make_lists(tmp_path / "fewer", rows[::-3], [HAPPY])
    assert {e.path for e in read_split(fewer, "val")} == val & {row.split(",")[0] for row in rows[::-3]}
    assert [e.path for e in read_split(root, "test")] == ["Interview/Happy/0118"]
    assert len(read_split(root, "all")) == 2001


def test_the_releases_own_lists_are_read(tmp_path) -> None:
    folder = tmp_path / "4_setups/All_scenes"
    folder.mkdir(parents=True)
    (folder / "train_All.csv").write_bytes(b"Action/Sad/0010 Sad\r\nAction/Happy/0003 Happy\r\n")
    (folder / "test_All.csv").write_bytes(b"\xef\xbb\xbfWar/Angry/0001 Angry\r\n")
    assert [tuple(e) for e in read_split(tmp_path, "all")] == [
        ("Action/Sad/0010", 5),
        ("Action/Happy/0003", 3),
        ("War/Angry/0001", 0),
    ]


def test_all_seven_labels(tmp_path) -> None:
    path = tmp_path / "train.csv"
    path.write_text("path,id\n" + "".join(f"School/{name}/0001,{i}\n" for i, name in enumerate(EXPRESSIONS)) + "\n")
    assert [entry.label for entry in read_list(path)] == list(range(7))
    assert EXPRESSIONS == ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")


BAD_ROWS = {
    "label against folder": ("Interview/Happy/0118,5", ["'Interview/Happy/0118,5'", "label 5 (Sad)", "Happy (3)"]),
    "name against folder": ("Interview/Happy/0118 Sad", ["label 5 (Sad)", "Happy (3)"]),
    "misspelt folder": ("Interview/Hapy/0118,3", ["'Hapy' is no expression", "did you mean Happy?"]),
    "lower case": ("Interview/happy/0118,3", ["'happy'", "did you mean Happy?"]),
    "label out of range": ("Interview/Happy/0118,7", ["'7' is no expression", "use 0-6"]),
    "negative label": ("Interview/Happy/0118,-1", ["'-1' is no expression"]),
    "misspelt label": ("Interview/Surprise/0118 Suprise", ["'Suprise'", "did you mean Surprise?"]),
    "no label": ("Interview/Happy/0118", ["no Scene/Emotion/id with a label"]),
    "label and more": ("Interview/Happy/0118,3,4", ["'3 4' is no expression"]),
    "two parts": ("Happy/0118,3", ["no Scene/Emotion/id"]),
    "leaves the folder": ("../Happy/0118,3", ["no Scene/Emotion/id"]),
    "absolute": ("/Happy/0118,3", ["no Scene/Emotion/id"]),
    "empty id": ("Interview/Happy/,3", ["no Scene/Emotion/id"]),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_row_is_refused_by_file_line_and_value(case, tmp_path) -> None:
    row, words = BAD_ROWS[case]
    root = make_lists(tmp_path, [SAD, row], [HAPPY.replace("0118", "0001")])
    with pytest.raises(UserError) as caught:
        FERV39KDataset(root, "train")
    message = str(caught.value)
    assert message.startswith(f"{root / 'Annotation/train.csv'}, line 3: ")
    assert "\n" not in message
    for word in words:
        assert word in message


BAD_SETS = {
    "no lists": (lambda d: d, "test", ["Annotation/test.csv: not found", "lvcf simulate face"]),
    "both lists": (lambda d: make_lists(d, [HAPPY, SAD], [HAPPY]), "test", ["Interview/Happy/0118", "train.csv"]),
    "twice": (lambda d: make_lists(d, [SAD, SAD], [HAPPY]), "train", ["train.csv", "DailyLife/Sad/0007"]),
    "empty split": (lambda d: make_lists(d, [SAD], [HAPPY]), "val", ["no clip in split 'val'"]),
}


@pytest.mark.parametrize("case", BAD_SETS)
def test_a_bad_set_is_refused(case, tmp_path) -> None:
    make, split, words = BAD_SETS[case]
    with pytest.raises(UserError) as caught:
        FERV39KDataset(make(tmp_path), split)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"source_fps": 0.0}, "data.source_fps 0.0"),
        ({"source_fps": float("nan")}, "data.source_fps nan"),
        ({"fps": 0.0}, "data.fps 0.0"),
        ({"frames": 1}, "data.frames 1"),
    ],
)
def test_impossible_sampling_is_refused(tmp_path, arguments, words) -> None:
    with pytest.raises(UserError, match=words):
        FERV39KDataset(make_lists(tmp_path, [SAD], [HAPPY]), "test", **arguments)


@pytest.mark.parametrize("label", range(7))
def test_prompts_say_the_expression_and_neutral_ones_do_not(label) -> None:
    path = f"OfficialEvent/{EXPRESSIONS[label]}/0003"
    assert neutral_prompt(path) == "face in an official event scene"
    prompt = expression_prompt(label, neutral_prompt(path))
    assert prompt == f"face in an official event scene with {EXPRESSIONS[label].lower()} expression"
    assert EXPRESSIONS[label].lower() not in neutral_prompt(path)


def test_a_table_of_people_joins_who_is_shown_to_both_prompts(tmp_path) -> None:
    root = make_lists(tmp_path, [SAD], [HAPPY])
    for path in ("DailyLife/Sad/0007", "Interview/Happy/0118"):
        make_clip(root, path, list(range(20)))
    (root / "People.csv").write_text("path,person\nDailyLife/Sad/0007,old bald man with a beard\n")
    sad, happy = FERV39KDataset(root, "all")
    assert sad["neutral_prompt"] == "face of an old bald man with a beard in a daily life scene"
    assert sad["prompt"] == "face of an old bald man with a beard in a daily life scene with sad expression"
    assert happy["prompt"] == "face in an interview scene with happy expression"


def test_a_real_set_is_not_called_simulated(tmp_path) -> None:
    assert FERV39KDataset(make_lists(tmp_path, [SAD], [HAPPY]), "test").notice == ""
