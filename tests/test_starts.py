"""Another start where M does not agree: from other noise, only for those clips, and the nearest one is kept."""

from __future__ import annotations

import pytest
import torch

from lvcf.errors import UserError
from lvcf.sampling import SamplingCallback
from lvcf.tasks.counterfactual import CounterfactualTask
from tests.toys import BrightDark, GaussianBackbone, make_clips, predict


class ByNoise(SamplingCallback):
    """Draws a brightness from a sample's own noise, and keeps which clips were asked for."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.drawn: list[list[float]] = []

    def on_sampling_start(self, state) -> None:
        self.asked.append(list(state.ids))

    def on_decoded(self, state) -> None:
        drawn = state.noise.mean(dim=(1, 2, 3, 4)) * 10
        self.drawn.append(drawn.tolist())
        state.decoded = torch.ones_like(state.decoded) * drawn.clamp(-1, 1).view(-1, 1, 1, 1, 1)


def made(tmp_path, starts: int, threshold: float = 0.3):
    drawing = ByNoise()
    task = CounterfactualTask(
        GaussianBackbone(), BrightDark(threshold), "bright", tmp_path, steps=1, inversion="sdedit", starts=starts
    )
    return predict(task, make_clips(6), [drawing]), drawing


def test_only_clips_that_are_not_there_start_again_and_the_nearest_start_is_kept(tmp_path) -> None:
    edits, drawing = made(tmp_path, starts=4)
    found: dict[str, list[float]] = {}
    for names, values in zip(drawing.asked, drawing.drawn, strict=True):
        for name, value in zip(names, values, strict=True):
            found.setdefault(name, []).append(value)
    assert {len(values) for values in found.values()} > {1}  # some needed more than one
    for edit in edits:
        values = found[edit.id]
        assert len(set(values)) == len(values)  # other noise every time
        assert all(value < 0.3 for value in values[:-1])
        assert float(edit.video.mean()) == pytest.approx(min(max(values), 1.0), abs=0.01)
        assert edit.facts["start"] == values.index(max(values))
        assert edit.facts["steps"] == len(values)


def test_one_start_is_as_before(tmp_path) -> None:
    once, drawing = made(tmp_path, starts=1)
    assert len(drawing.asked) == 1
    assert all("start" not in edit.facts for edit in once)
    again, _ = made(tmp_path, starts=4)
    first = [edit for edit in again if edit.facts["start"] == 0 and edit.facts["steps"] == 1]
    by_name = {edit.id: edit for edit in once}
    assert first
    assert all(torch.equal(edit.video, by_name[edit.id].video) for edit in first)


def test_starts_are_counted_from_one(tmp_path) -> None:
    with pytest.raises(UserError, match=r"model.starts 0"):
        made(tmp_path, starts=0)
