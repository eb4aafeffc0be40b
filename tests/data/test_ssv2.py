"""Something-Something V2's reader on the data set's layout and quirks."""

from __future__ import annotations

import json
import math
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from lvcf.data.ssv2 import SSv2Dataset, class_name, read_labels, window
from lvcf.datamodules.ssv2 import SSv2DataModule
from lvcf.errors import UserError
from tests.data.test_video import write_with_times

LABELS = {"Moving part of something": "0", "Pushing something from left to right": "1", "Something falling": "2"}


def write_vp9(path: Path, frames: np.ndarray, fps: int) -> None:
    """As published: VP9 with subsampled colours, written with PyAV itself."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx-vp9", rate=fps, options={"crf": "8", "b": "0", "cpu-used": "8"})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def numbered(frames: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Frame i has the gray level 5 i."""
    levels = (5 * np.arange(frames)).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (frames, height, width, 3)).copy()


def numbers_of(clip: torch.Tensor) -> list[int]:
    return ((clip.mean(dim=(0, 2, 3)) + 1) * 127.5 / 5).round().int().tolist()


def entry(name: str, template: str = "Moving part of [something]", words: tuple[str, ...] = ("pencil",)):
    return {"id": name, "label": "moving part of pencil", "template": template, "placeholders": list(words)}


def make_set(root: Path, train=(), validation=(), test=(), labels=None, fps: int = 12, frames: int = 36) -> Path:
    folder = root / "20bn-something-something-v2"
    folder.mkdir(parents=True)
    for name, content in (("labels", labels or LABELS), ("train", train), ("validation", validation), ("test", test)):
        (root / f"something-something-v2-{name}.json").write_text(json.dumps(content))
    for item in (*train, *validation, *test):
        if isinstance(item, dict) and not (folder / f"{item['id']}.webm").exists():
            write_vp9(folder / f"{item['id']}.webm", numbered(frames), fps)
    return root


def rewrite(root: Path, name: str, content) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    (root / f"something-something-v2-{name}.json").write_text(text)


@pytest.fixture
def root(tmp_path) -> Path:
    """Two train clips, one validation clip, one test clip."""
    return make_set(
        tmp_path / "ssv2",
        train=[entry("78687"), entry("5", "[Something] falling", ("a cup",))],
        validation=[entry("9", "Pushing [something] from left to right", ("box",))],
        test=[{"id": "1420"}],
    )


def test_a_clip_as_published(root) -> None:
    dataset = SSv2Dataset(root, "train")
    assert dataset.ids == ["78687", "5"]
    assert dataset.labels == list(LABELS)
    clip = dataset[1]
    assert clip["video"].shape == (3, 16, 112, 112)
    assert clip["video"].dtype == torch.float32
    assert (clip["id"], clip["label"], clip["fps"], clip["error"]) == ("5", 2.0, 8.0, "")
    assert dataset.notice == ""


def test_videos_may_lie_beside_the_label_files(root) -> None:
    inside = SSv2Dataset(root, "train")[0]["video"]
    for video in (root / "20bn-something-something-v2").iterdir():
        video.rename(root / video.name)
    (root / "20bn-something-something-v2").rmdir()
    assert torch.equal(SSv2Dataset(root, "train")[0]["video"], inside)


def test_the_clip_is_the_middle_of_the_video_at_eight_fps(tmp_path) -> None:
    """36 frames at 12 fps last 2.917 s; 16 at 8 fps last 1.875 s, so the clip starts at 0.521 s."""
    clip = SSv2Dataset(make_set(tmp_path, train=[entry("1")]), "train")[0]
    wanted = (0.5 * (35 / 12 - 15 / 8) + np.arange(16) / 8) * 12
    assert np.abs(np.array(numbers_of(clip["video"])) - wanted).max() <= 0.51


def test_a_variable_frame_rate_is_followed(tmp_path) -> None:
    root = make_set(tmp_path, train=[entry("1")])
    stamps = np.cumsum(np.where(np.arange(48) % 2, 20, 80)).tolist()
    write_with_times(tmp_path / "odd.mkv", numbered(48), stamps)
    (tmp_path / "odd.mkv").rename(root / "20bn-something-something-v2" / "1.webm")  # told by its content
    times = (np.array(stamps) - stamps[0]) / 1000
    start = 0.5 * (times[-1] - 15 / 8)
    wanted = [int(np.abs(times - start - t).argmin()) for t in np.arange(16) / 8]
    assert np.abs(np.array(numbers_of(SSv2Dataset(root, "train")[0]["video"])) - wanted).max() <= 1


def test_training_starts_anywhere_and_the_rest_in_the_middle(root) -> None:
    module = SSv2DataModule(root, batch_size=1)
    starts = {numbers_of(module.make_dataset("train")[0]["video"])[0] for _ in range(12)}
    assert len(starts) > 3
    assert {numbers_of(module.make_dataset("val")[0]["video"])[0] for _ in range(3)} == {6}


def test_the_stages_read_their_splits(root) -> None:
    module = SSv2DataModule(root)
    stages = ("train", "val", "test", "predict")
    assert [module.make_dataset(stage).ids for stage in stages] == [["78687", "5"], ["9"], ["1420"], ["9"]]
    assert SSv2DataModule(root, predict_split="test").make_dataset("predict").ids == ["1420"]


def test_the_test_split_has_no_labels(root) -> None:
    clip = SSv2Dataset(root, "test")[0]
    assert math.isnan(clip["label"])
    assert clip["prompt"] == clip["neutral_prompt"] == "video of something"


def test_the_neutral_prompt_tells_nothing_of_the_action(root) -> None:
    """Not even how many things a template names; joined with the label it is what a target prompt says."""
    rewrite(root, "labels", {**LABELS, "Moving something closer to something": "3"})
    rewrite(root, "train", [entry("5"), entry("78687", "Moving [something] closer to [something]", ("pencil", "cup"))])
    one, two = (SSv2Dataset(root, "train")[i] for i in range(2))
    assert one["neutral_prompt"] == two["neutral_prompt"] == "video of pencil"
    assert two["prompt"] == "{metadata} {target}".format(
        metadata=two["neutral_prompt"], target="Moving something closer to something"
    )


def test_nothing_is_flipped(tmp_path) -> None:
    root = make_set(tmp_path, train=[entry("1")])
    frames = numbered(36)
    frames[:, :, 32:] = 250  # the right half
    write_vp9(root / "20bn-something-something-v2" / "1.webm", frames, 12)
    for _ in range(6):
        video = SSv2Dataset(root, "train", random_start=True)[0]["video"]
        assert video[..., 64:].mean() > 0.8 > video[..., :48].mean()


def test_an_unreadable_or_missing_clip_raises_in_training_and_is_recorded_in_prediction(root) -> None:
    video = root / "20bn-something-something-v2" / "9.webm"
    video.write_bytes(video.read_bytes()[:300])
    with pytest.raises(UserError, match=r"9\.webm"):
        SSv2Dataset(root, "validation")[0]
    clip = SSv2Dataset(root, "validation", record_errors=True)[0]
    assert "9.webm" in clip["error"]
    assert clip["video"].shape == (3, 16, 112, 112)
    video.unlink()
    with pytest.raises(UserError, match=r"9\.webm: not found, but something-something-v2-validation\.json lists it"):
        SSv2Dataset(root, "validation")
    assert "9.webm" in SSv2Dataset(root, "validation", record_errors=True)[0]["error"]


def test_a_video_that_is_too_short_says_so(tmp_path) -> None:
    root = make_set(tmp_path, train=[entry("1")], frames=12)
    with pytest.raises(UserError, match=r"1\.webm: lasts 0\.92 s; 16 frames at 8 fps need 1\.88 s"):
        SSv2Dataset(root, "train")[0]


BAD_SETS = {
    "no labels": (lambda r: (r / "something-something-v2-labels.json").unlink(), ["labels.json", "not found"]),
    "no train": (lambda r: (r / "something-something-v2-train.json").unlink(), ["train.json", "lvcf simulate motion"]),
    "no JSON": (lambda r: rewrite(r, "train", "[{'id': 1}]"), ["train.json", "not a JSON file"]),
    "not UTF-8": (
        lambda r: (r / "something-something-v2-train.json").write_bytes(b'["\xff"]'),
        ["train.json", "not a JSON file"],
    ),
    "an object": (lambda r: rewrite(r, "train", {}), ["train.json", "no JSON list"]),
    "a list of labels": (lambda r: rewrite(r, "labels", ["a"]), ["labels.json", "no JSON object"]),
    "no entries": (lambda r: rewrite(r, "train", []), ["train.json", "holds no clip"]),
    "strings": (lambda r: rewrite(r, "train", ["5"]), ["train.json, entry 1", "'id' is missing"]),
    "no template": (lambda r: rewrite(r, "train", [{"id": "5", "label": "x"}]), ["entry 1", "'template' is missing"]),
    "unknown template": (
        lambda r: rewrite(r, "train", [entry("5"), entry("78687", "Pushing [something] from left to rigth")]),
        [
            "'Pushing [something] from left to rigth' of 78687",
            "nearest there is 'Pushing something from left to right'",
        ],
    ),
    "twice": (lambda r: rewrite(r, "train", [entry("5"), entry("5")]), ["train.json", "id 5 is there twice"]),
    "missing video": (lambda r: rewrite(r, "train", [entry("5"), entry("404")]), ["404.webm", "not found"]),
    "a name that leaves": (lambda r: rewrite(r, "train", [entry("../5")]), ["'../5'", "not a plain name"]),
    "no name": (lambda r: rewrite(r, "train", [entry("")]), ["id ''", "not a plain name"]),
    "a gap in the labels": (lambda r: rewrite(r, "labels", {"A": "0", "B": "2"}), ["labels.json", "found 2"]),
    "an index twice": (lambda r: rewrite(r, "labels", {"A": "0", "B": "0"}), ["labels.json", "twice"]),
}


@pytest.mark.parametrize("case", BAD_SETS)
def test_bad_sets_are_refused_by_name(case, root) -> None:
    spoil, says = BAD_SETS[case]
    spoil(root)
    with pytest.raises(UserError) as told:
        SSv2Dataset(root, "train")
    assert "\n" not in str(told.value)
    for text in says:
        assert text in str(told.value)


def test_labels_come_in_the_order_of_their_indices(tmp_path) -> None:
    many = {f"Doing something {i:03d}": str(173 - i) for i in range(174)}
    labels = read_labels(make_set(tmp_path, labels=many))
    assert len(labels) == 174
    assert [many[name] for name in labels] == [str(i) for i in range(174)]


def test_a_template_loses_its_brackets() -> None:
    assert class_name("[Something] falling like a rock") == "Something falling like a rock"
    assert class_name("Moving [part] of [something]") == "Moving part of something"


@pytest.mark.parametrize(("share", "start"), [(0.0, 0), (0.5, 5), (1.0, 10)])
def test_the_window_starts_after_its_share_of_what_is_left_over(share, start) -> None:
    times = np.arange(26) / 8
    assert window(times, 16, 8.0, share).tolist() == list(range(start, start + 16))


def test_all_is_every_split_one_after_the_other(motion_root) -> None:
    parts = [SSv2Dataset(motion_root, split).ids for split in ("train", "validation", "test")]
    assert SSv2Dataset(motion_root, "all").ids == [name for part in parts for name in part]
