"""A number that is not finite is never a counterfactual: the clip fails and says where; the others stay."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import Tensor

from lvcf.callbacks.guidance import GradientGuidance
from lvcf.callbacks.last_correction import LastCorrection
from lvcf.callbacks.refinement import MultiScalePerceptualRefinement
from lvcf.data.clip import to_frames
from lvcf.files import write_json
from lvcf.guidance.weight import ConstantWeight
from lvcf.models.backbones.base import Condition, Embedding
from lvcf.sampling import SamplingCallback, SamplingState
from lvcf.tasks.counterfactual import CounterfactualTask
from tests.faults.toy_runs import run
from tests.helpers import results
from tests.toys import GaussianBackbone, LinearTarget, make_clips


class NanGradient(LinearTarget):
    """The gradient of |x - x| ^ 0.5 at 0 is not a number; the value is fine."""

    def forward(self, video: Tensor) -> Tensor:
        return super().forward(video) + (video - video.detach()).abs().sqrt().sum((1, 2, 3, 4))


class NanOnBright(LinearTarget):
    """Says no number of a bright clip."""

    def forward(self, video: Tensor) -> Tensor:
        value = super().forward(video)
        return torch.where(value > 80.0, math.nan * value, value)


class Brighten(SamplingCallback):
    """After it M is not asked again before the clip is saved."""

    def on_decoded(self, state: SamplingState) -> None:
        state.decoded = state.decoded + 0.9


class NanBackbone(GaussianBackbone):
    """One of its parts gives NaN (or infinity), from a time on."""

    def __init__(self, part: str, below: float = 1.0, value: float = math.nan) -> None:
        super().__init__()
        self.part, self.below, self.value = part, below, value

    def encode(self, video: Tensor) -> Tensor:
        return super().encode(video) * (self.value if self.part == "encode" else 1.0)

    def decode(self, latent: Tensor, frames: int) -> Tensor:
        return super().decode(latent, frames) * (self.value if self.part == "decode" else 1.0)

    def predict(
        self, z_t: Tensor, t: Tensor, prompt: Embedding, condition: Condition | None = None
    ) -> tuple[Tensor, Tensor]:
        clean, noise = super().predict(z_t, t, prompt, condition)
        broken = (self.part == "predict") & (t < self.below)
        return torch.where(broken.view(-1, 1, 1, 1, 1), torch.full_like(clean, self.value), clean), noise


class SpoilOne(SamplingCallback):
    """Puts NaN into one sample's estimate, at one step."""

    def __init__(self, name: str, step: int) -> None:
        self.name, self.step = name, step

    def on_clean_estimate(self, state: SamplingState) -> None:
        row = state.ids.index(self.name)
        if state.steps[row] == self.step:
            state.clean[row, 0, 0, 0, 0] = math.nan


GUIDANCE = GradientGuidance(ConstantWeight(0.05), samples=1, noise=0.0)
MSPR = MultiScalePerceptualRefinement("source", [0.3], [1.0, 1.0])
COSTS = ("seconds", "peak_memory_bytes", "method")
CASES = {
    "gradient": (NanGradient(), GaussianBackbone(), [GUIDANCE], "gradient is not finite at denoising step 1 (t = 0.9)"),
    "gradient of the last correction": (NanGradient(), GaussianBackbone(), [LastCorrection()], "end of sampling"),
    "reading": (NanOnBright(), GaussianBackbone(), [Brighten()], "not a finite number on the saved counterfactual"),
    "encoder": (LinearTarget(), NanBackbone("encode"), [GUIDANCE], "the latent of the clip is not finite"),
    "decoder": (LinearTarget(), NanBackbone("decode"), [GUIDANCE, MSPR], "reconstruction is not finite"),
    "denoiser": (LinearTarget(), NanBackbone("predict"), [], "estimate is not finite at denoising step 1"),
    "denoiser, later": (
        LinearTarget(),
        NanBackbone("predict", 0.4),
        [MSPR],
        "at denoising step 3 (t = 0.3)",
    ),
    "denoiser, infinite": (LinearTarget(), NanBackbone("predict", value=math.inf), [], "at denoising step 1"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_clip_fails_and_nothing_black_is_written(tmp_path, case) -> None:
    model, backbone, callbacks, why = CASES[case]
    task = CounterfactualTask(backbone, model, "70", tmp_path, steps=3, strength=0.9)
    run(task, make_clips(2), tmp_path, callbacks)
    found = results(tmp_path)
    assert [result["status"] for result in found.values()] == ["failed", "failed"]
    assert all(why in result["hint"] for result in found.values()), found
    assert not list(tmp_path.rglob("counterfactual.mkv"))


def test_one_clip_of_a_batch_fails_and_the_others_are_what_they_would_have_been(tmp_path) -> None:
    def edited(folder: str, *callbacks: SamplingCallback) -> dict[str, dict]:
        output = tmp_path / folder
        task = CounterfactualTask(GaussianBackbone(), LinearTarget(), "80", output, steps=4, strength=0.9)
        run(task, make_clips(3), output, [*callbacks, GUIDANCE, MSPR, LastCorrection()])
        return results(output)

    whole, spoilt = edited("whole"), edited("spoilt", SpoilOne("clip1", step=2))
    assert spoilt["clip1"]["status"] == "failed"
    assert "denoising step 3" in spoilt["clip1"]["hint"]
    for name in ("clip0", "clip2"):
        one, other = ({k: v for k, v in r[name].items() if k not in COSTS} for r in (whole, spoilt))
        assert one == other


def test_what_is_written_is_json_as_others_read_it(tmp_path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "result.json", {"prediction": math.nan})
    assert not (tmp_path / "result.json").exists()

    def refuse(text: str) -> float:
        raise AssertionError(text)

    task = CounterfactualTask(GaussianBackbone(), LinearTarget(), "80", tmp_path, steps=2, strength=0.9)
    run(task, make_clips(1), tmp_path, [GUIDANCE])
    json.loads((tmp_path / "predictions/clip0/result.json").read_text(), parse_constant=refuse)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_frames_of_voxels_that_are_no_number_cannot_be_made(value) -> None:
    video = torch.zeros(3, 2, 4, 4)
    video[1, 1, 2, 3] = value
    with pytest.raises(ValueError, match="not finite"):
        to_frames(video)


class NanOnce(LinearTarget):
    """Says no number of a batch's first clip, the ``at``-th time that it is asked without a gradient."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at, self.asked = at, 0

    def forward(self, video: Tensor) -> Tensor:
        value = super().forward(video)
        if video.requires_grad and torch.is_grad_enabled():
            return value
        self.asked += 1
        return torch.cat([value[:1] * (math.nan if self.asked == self.at else 1.0), value[1:]])


@pytest.mark.parametrize("callback", [GUIDANCE, LastCorrection(), LastCorrection(steps=0)], ids=["guided", "lc", "lc0"])
def test_a_reading_that_is_no_number_on_the_way_fails_its_clip_and_not_the_run(tmp_path, callback) -> None:
    task = CounterfactualTask(GaussianBackbone(), NanOnce(at=3), "60", tmp_path, steps=3, strength=0.9)
    run(task, make_clips(3), tmp_path, [callback])
    found = results(tmp_path)
    assert found["clip0"]["status"] == "failed"
    assert "not a finite number during sampling" in found["clip0"]["hint"]
    assert all(found[name]["status"] != "failed" for name in ("clip1", "clip2"))
