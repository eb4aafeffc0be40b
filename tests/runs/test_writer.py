"""The one writer of runs: a clip's folder is whole or not there, and a folder goes on with its own run alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lvcf.data.video import write_lossless
from lvcf.errors import UserError
from lvcf.runs import writer
from lvcf.runs.folder import Prediction
from lvcf.runs.writer import SHOWN, check_same, clip_folder, opened, write_shown

FRAMES = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)


def write(folder: Path, text: str, goes_on: bool = False, breaks: bool = False) -> None:
    with clip_folder(folder, goes_on) as partial:
        assert not (folder / text).exists()
        (partial / text).touch()
        assert not breaks


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_folder_appears_once_all_is_there(tmp_path) -> None:
    folder = tmp_path / "clip"
    with pytest.raises(AssertionError):
        write(folder, "half", breaks=True)
    assert names(tmp_path) == {".clip.partial"}
    write(folder, "whole")
    assert names(tmp_path) == {"clip"}
    assert names(folder) == {"whole"}
    write(folder, "again")  # what is there is a failed try
    assert names(folder) == {"again"}


def test_what_goes_on_keeps_what_a_killed_or_failed_try_left(tmp_path) -> None:
    folder = tmp_path / "clip"
    with pytest.raises(AssertionError):
        write(folder, "killed", goes_on=True, breaks=True)
    write(folder, "failed", goes_on=True)
    write(folder, "done", goes_on=True)
    assert names(tmp_path) == {"clip"}
    assert names(folder) == {"killed", "failed", "done"}


def test_the_files_of_a_clip_are_read_as_they_were_written(tmp_path) -> None:
    changed = FRAMES.copy()
    changed[:, :4] = 255
    mask = (changed != FRAMES).any(-1).astype(np.uint8) * 255
    write_shown(tmp_path, FRAMES, changed, mask, 8.0)
    read = Prediction(tmp_path, {})
    assert names(tmp_path) == {*SHOWN}
    assert (read.factual() == FRAMES).all()
    assert (read.counterfactual() == changed).all()
    assert (read.mask() == (mask > 0)).all()


def test_a_video_that_loses_levels_is_no_result(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(writer, "write_lossless", lambda path, frames, fps: write_lossless(path, frames // 2, fps))
    with pytest.raises(RuntimeError, match="differs from the one that was judged"):
        write_shown(tmp_path, FRAMES, FRAMES, FRAMES[..., 0], 8.0)


MANIFEST = {"ids": ["a"], "seed": 1, "configuration": "12", "data": "here", "command": "lvcf", "settings": {"at": [1]}}


def test_a_run_is_opened_again_by_its_own_settings_alone(tmp_path) -> None:
    run = tmp_path / "run"
    with opened(run, MANIFEST, "a: 1\n", "output"):
        assert json.loads((run / "manifest.json").read_text()) == MANIFEST
        assert (run / "config.yaml").read_text() == "a: 1\n"
    with opened(run, MANIFEST | {"command": "lvcf again", "settings": {"at": (1,)}}, "", "output"):
        pass
    for change, told in (
        ({"seed": 2}, "another seed;"),
        ({"seed": 2, "configuration": "34", "data": "there"}, "another seed;"),
        ({"configuration": "34", "data": "there"}, "another data, configuration;"),
    ):
        with pytest.raises(UserError, match=f"{told} choose another output or delete it"):
            check_same(run, MANIFEST | change, "output")


def test_a_folder_that_cannot_be_written_is_told(tmp_path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(UserError, match=r"file/run: cannot be written .*; choose another output"),
        opened(tmp_path / "file" / "run", MANIFEST, "", "output"),
    ):
        pass
