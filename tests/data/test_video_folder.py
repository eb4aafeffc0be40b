"""A user's own clips."""

from __future__ import annotations

import numpy as np
import pytest

from lvcf.data.clip import to_frames
from lvcf.data.video import write_lossless, write_preview
from lvcf.data.video_folder import VideoFolderDataset
from tests.data.test_video import noise


def test_every_kind_is_found_below_the_root_by_name(tmp_path) -> None:
    (tmp_path / "b").mkdir()
    write_lossless(tmp_path / "z.mkv", noise(20, 32, 32), 8.0)
    write_preview(tmp_path / "b" / "a.MP4", noise(20, 32, 32), 8.0)
    (tmp_path / "notes.txt").write_text("no clip")
    dataset = VideoFolderDataset(tmp_path, "metadata", size=32)
    assert dataset.ids == ["b_a", "z"]
    assert [dataset[i]["error"] for i in range(2)] == ["", ""]
    clip = dataset[1]
    assert (clip["prompt"], clip["neutral_prompt"]) == ("metadata", "metadata")
    assert np.isnan(clip["label"])


def test_a_single_file_is_a_folder_of_one(tmp_path) -> None:
    frames = noise(20, 32, 32)
    write_lossless(tmp_path / "mine.mkv", frames, 8.0)
    dataset = VideoFolderDataset(tmp_path / "mine.mkv", "metadata", size=32)
    assert dataset.ids == ["mine"]
    assert (to_frames(dataset[0]["video"]) == frames[:16]).all()


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
