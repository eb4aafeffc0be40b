"""What anybody's model or backbone raises on one clip is that clip's failure; the run goes on, and its others stand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lvcf.callbacks.guidance import GradientGuidance
from lvcf.errors import UserError
from lvcf.guidance.weight import ConstantWeight
from lvcf.models.backbones.base import Backbone
from lvcf.models.targets.base import TargetModel
from lvcf.sampling import SamplingCallback, SamplingState
from lvcf.tasks.counterfactual import CounterfactualTask
from tests.faults.toy_runs import run
from tests.helpers import results
from tests.toys import GaussianBackbone, LinearTarget, as_clip, make_clips

MARK = 0.987654
"""The first voxel of the odd clip."""


def is_odd(video: Tensor) -> bool:
    return bool((video[:, 0, 0, 0, 0] - MARK).abs().lt(1e-6).any())


class RaisesOnOdd(LinearTarget):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def forward(self, video: Tensor) -> Tensor:
        if is_odd(video):
            raise self.error
        return super().forward(video)


class RaisesInGradient(LinearTarget):
    def forward(self, video: Tensor) -> Tensor:
        if torch.is_grad_enabled() and is_odd(video):
            raise ZeroDivisionError
        return super().forward(video)


class OddBackbone(GaussianBackbone):
    def encode(self, video: Tensor) -> Tensor:
        if is_odd(video):
            raise IndexError("index 7 is out of bounds for dimension 3 with size 7")
        return super().encode(video)


class RaisesOnSaved(SamplingCallback):
    """Marks the first clip's saved counterfactual, which the model then does not take."""

    def on_decoded(self, state: SamplingState) -> None:
        for row, name in enumerate(state.ids):
            state.decoded[row, 0, 0, 0, 0] = 1.0 if name == "clip1" else 0.0


class RaisesOnWhite(LinearTarget):
    def forward(self, video: Tensor) -> Tensor:
        if video[:, 0, 0, 0, 0].eq(1.0).any():
            raise KeyError("white")
        return super().forward(video)


def clips() -> list[Any]:
    """Three clips, the second of which is odd."""
    made = make_clips(3)
    made[1]["video"][0, 0, 0, 0] = MARK
    return made


CASES: dict[str, tuple[TargetModel, Backbone, list[SamplingCallback], str]] = {
    "reading": (RaisesOnOdd(RuntimeError("bad\nclip")), GaussianBackbone(), [], "RuntimeError: bad clip"),
    "no text": (RaisesOnOdd(AssertionError()), GaussianBackbone(), [], "AssertionError"),
    "key": (RaisesOnOdd(KeyError("face")), GaussianBackbone(), [], "KeyError: 'face'"),
    "file": (RaisesOnOdd(FileNotFoundError(2, "no cache", "faces.npz")), GaussianBackbone(), [], "FileNotFoundError"),
    "memory": (RaisesOnOdd(MemoryError("4 GiB")), GaussianBackbone(), [], "MemoryError: 4 GiB"),
    "encoder": (LinearTarget(), OddBackbone(), [], "IndexError: index 7"),
    "saved": (RaisesOnWhite(), GaussianBackbone(), [RaisesOnSaved()], "KeyError: 'white'"),
}


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("case", CASES)
def test_only_the_odd_clip_fails_and_says_what_was_raised(tmp_path, case, batch_size) -> None:
    model, backbone, callbacks, why = CASES[case]
    task = CounterfactualTask(backbone, model, "60", tmp_path, steps=2, strength=0.9)
    run(task, clips(), tmp_path, callbacks, batch_size)
    found = results(tmp_path)
    assert [found[name]["status"] == "failed" for name in ("clip0", "clip1", "clip2")] == [False, True, False]
    assert why in found["clip1"]["hint"]
    assert "\n" not in found["clip1"]["hint"]


def test_where_it_was_raised_is_kept_for_whoever_looks(tmp_path) -> None:
    task = CounterfactualTask(GaussianBackbone(), RaisesInGradient(), "90", tmp_path, steps=2, strength=0.9)
    odd = clips()[1]
    odd["video"].fill_(MARK)
    run(task, [odd], tmp_path, [GradientGuidance(ConstantWeight(0.05), samples=1, noise=0.0), KeepMark()])
    result = results(tmp_path)["clip1"]
    assert result["hint"] == "ZeroDivisionError"
    assert "in forward" in result["traceback"]


class KeepMark(SamplingCallback):
    """The model reads the mark in every estimate."""

    def on_sampling_start(self, state: SamplingState) -> None:
        read = state.read

        def marked(z: Tensor, rows: Tensor) -> Tensor:
            return read(z * 0.0 + MARK, rows)

        state.read = marked


def test_the_odd_clip_is_tried_again_and_the_others_are_not(tmp_path) -> None:
    model = RaisesOnOdd(RuntimeError("no"))
    for _ in range(2):
        run(CounterfactualTask(GaussianBackbone(), model, "60", tmp_path, steps=2), clips(), tmp_path, [], 1)
    model.error = ValueError("another")
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("counterfactual.mkv")}
    run(CounterfactualTask(GaussianBackbone(), model, "60", tmp_path, steps=2), clips(), tmp_path, [], 1)
    assert results(tmp_path)["clip1"]["hint"] == "ValueError: another"
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("counterfactual.mkv")} == before


@pytest.mark.parametrize("error", [UserError("set data.frames"), KeyboardInterrupt(), SystemExit(3)])
def test_a_mistake_in_the_setup_ends_the_run(tmp_path, error) -> None:
    task = CounterfactualTask(GaussianBackbone(), RaisesOnOdd(error), "60", tmp_path, steps=2)
    with pytest.raises(BaseException) as raised:  # noqa: PT011  # its type is checked below
        run(task, clips(), tmp_path)
    assert isinstance(raised.value, type(error) | SystemExit)


def test_a_clip_that_was_not_read_keeps_its_reason(tmp_path) -> None:
    broken = as_clip(torch.zeros(3, 4, 8, 8), "broken", error="b.mp4: damaged")
    task = CounterfactualTask(GaussianBackbone(), RaisesOnOdd(RuntimeError("no")), "60", tmp_path, steps=2)
    run(task, [broken, *clips()], tmp_path)
    hints = {name: result.get("hint") for name, result in results(tmp_path).items()}
    assert hints["broken"] == "b.mp4: damaged"
    assert hints["clip1"] == "RuntimeError: no"
