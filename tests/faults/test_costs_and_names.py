"""What a run says of itself: its method, its costs, and constructors that refuse what cannot be."""

from __future__ import annotations

import math
import mmap
import time
from pathlib import Path

import pytest
import torch

from lvcf import edits as edits_module
from lvcf.callbacks import writer as writer_module
from lvcf.callbacks.guidance import GradientGuidance
from lvcf.callbacks.last_correction import LastCorrection
from lvcf.callbacks.refinement import MultiScalePerceptualRefinement
from lvcf.callbacks.schedule import AdaptiveDenoisingSchedule
from lvcf.errors import UserError
from lvcf.files import read_json
from lvcf.guidance.weight import AdaptiveWeight, ConstantWeight, PrintedSign, PrintedWeight
from lvcf.presets import method_label
from lvcf.sampling import SamplingCallback, SamplingState
from lvcf.tasks.counterfactual import CounterfactualTask
from tests.faults.toy_runs import run
from tests.helpers import results
from tests.toys import GaussianBackbone, LinearTarget, make_clips

FIXED, ADAPTIVE = ConstantWeight(0.05), AdaptiveWeight(0.02, 0.1, 4.0)
ADS, LAST = AdaptiveDenoisingSchedule(), LastCorrection()


def mspr(**options) -> MultiScalePerceptualRefinement:
    return MultiScalePerceptualRefinement("source", [0.3], [1.0, 1.0], **options)


@pytest.mark.parametrize(
    ("callbacks", "prompt", "name"),
    [
        ([], "target", "prompt only"),
        ([], "neutral", "guidance off"),
        ([GradientGuidance(FIXED, samples=1)], "target", "RG"),
        ([GradientGuidance(FIXED, samples=4)], "target", "SG"),
        ([GradientGuidance(FIXED, samples=4, attention=True)], "target", "SGA"),
        ([GradientGuidance(FIXED, samples=4, attention="cross")], "target", "SGA by cross-attention"),
        ([GradientGuidance(ADAPTIVE, attention="cross")], "target", "AGG with cross-attention"),
        ([GradientGuidance(ADAPTIVE)], "neutral", "AGG"),
        ([GradientGuidance(PrintedWeight(0.02, 0.1, 4.0)), ADS], "target", "AGG, Eq. 3 as printed + ADS"),
        ([GradientGuidance(PrintedSign(ADAPTIVE))], "target", "AGG, the sign of Eq. 2 as printed"),
        ([GradientGuidance(PrintedSign(FIXED), samples=4)], "target", "SG, the sign of Eq. 2 as printed"),
        ([GradientGuidance(ADAPTIVE, through_denoiser=True), ADS], "neutral", "AGG through the denoiser + ADS"),
        ([GradientGuidance(ADAPTIVE), ADS, mspr(), LAST], "target", "AGG + ADS + MSPR + last correction"),
        ([LAST], "neutral", "last correction"),
    ],
)
def test_a_method_is_called_after_what_ran(callbacks, prompt, name) -> None:
    assert method_label(callbacks, prompt) == name


def test_the_manifest_and_every_result_hold_that_name(tmp_path) -> None:
    task = CounterfactualTask(GaussianBackbone(), LinearTarget(), "70", tmp_path, steps=2, strength=0.9)
    run(task, make_clips(1), tmp_path, [GradientGuidance(FIXED, samples=1, noise=0.0), LAST])
    assert read_json(tmp_path / "manifest.json")["method"] == "RG + last correction"
    assert results(tmp_path)["clip0"]["method"] == "RG + last correction"


class TakeMemory(SamplingCallback):
    """Holds 200 MiB while one clip is explained."""

    def on_sampling_start(self, state: SamplingState) -> None:
        if "clip0" in state.ids:
            with mmap.mmap(-1, 200 * 2**20) as pages:  # the allocator may hold memory back that it can hand out again
                pages.write(b"x" * len(pages))


def test_peak_memory_is_the_clips_own(tmp_path) -> None:
    task = CounterfactualTask(GaussianBackbone(), LinearTarget(), "70", tmp_path, steps=2, strength=0.9)
    run(task, make_clips(2), tmp_path, [TakeMemory()], batch_size=1)
    first, second = (results(tmp_path)[name]["peak_memory_bytes"] for name in ("clip0", "clip1"))
    assert first > second + 150 * 2**20


def test_a_peak_that_cannot_be_measured_is_left_out(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(edits_module, "forget_peak", lambda device: False)
    task = CounterfactualTask(GaussianBackbone(), LinearTarget(), "70", tmp_path, steps=2, strength=0.9)
    run(task, make_clips(1), tmp_path)
    assert "peak_memory_bytes" not in results(tmp_path)["clip0"]


class Late(GaussianBackbone):
    """Decoding takes its time."""

    def decode(self, latent: torch.Tensor, frames: int) -> torch.Tensor:
        time.sleep(0.05)
        return super().decode(latent, frames)


@pytest.mark.parametrize("callbacks", [[], [GradientGuidance(FIXED, samples=1, noise=0.0)], [mspr()]])
def test_every_method_pays_for_the_decoding_of_what_it_returns(tmp_path, callbacks) -> None:
    """At least the reconstruction and the counterfactual itself are decoded."""
    task = CounterfactualTask(Late(), LinearTarget(), "70", tmp_path, steps=2, strength=0.9)
    run(task, make_clips(1), tmp_path, callbacks)
    assert results(tmp_path)["clip0"]["seconds"] >= 0.1


BAD = {
    "model.steps": [0, -1, 10**12, None],
    "model.strength": [0.0, 1.1, math.nan],
    "model.guidance_scale": [math.nan, math.inf, None],
    "model.tolerance": [-1.0, math.nan, math.inf],
    "model.prompt": ["words"],
    "model.inversion_prompt": ["target"],
    "model.inversion": ["reverse"],
    "model.solver": ["euler"],
    "model.decode": ["sharp"],
    "model.prompt_template": ["{foo}", "{", "}", "{target:>2000000000}", "{target!r}", "{}", "{target.real}"],
    "model.target": ["uniform:15..80:-10", "-5", "101", "60..20", "nan", "inf", "delta:nan", ""],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_the_task_refuses_what_cannot_be(name, value) -> None:
    argument = name.removeprefix("model.")
    given = {"target": "70", argument: value}
    with pytest.raises(UserError) as refused:
        CounterfactualTask(GaussianBackbone(), LinearTarget(), output=Path("nowhere"), **given)
    assert argument in str(refused.value)
    assert "\n" not in str(refused.value)


CONSTRUCTORS = {
    "GradientGuidance.samples": (lambda v: GradientGuidance(FIXED, samples=v), [0, -1]),
    "GradientGuidance.noise": (lambda v: GradientGuidance(FIXED, noise=v), [-1.0, math.nan, math.inf]),
    "true_steps": (lambda v: GradientGuidance(FIXED, true_steps=v), [0]),
    "ConstantWeight.value": (ConstantWeight, [math.nan, math.inf]),
    "AdaptiveWeight.lambda_min": (lambda v: AdaptiveWeight(v, 0.1, 4.0), [math.nan]),
    "AdaptiveWeight.lambda_max": (lambda v: AdaptiveWeight(0.0, v, 4.0), [math.inf]),
    "AdaptiveWeight.alpha": (lambda v: AdaptiveWeight(0.0, 0.1, v), [-1.0, math.nan]),
    "AdaptiveWeight.decay": (lambda v: AdaptiveWeight(0.0, 0.1, 4.0, v), [-1.0, math.inf]),
    "GradientGuidance.until": (lambda v: GradientGuidance(FIXED, until=v), [-0.1, 1.5, math.nan]),
    "AdaptiveDenoisingSchedule.stride": (AdaptiveDenoisingSchedule, [0, -3]),
    "AdaptiveDenoisingSchedule.trusted": (lambda v: AdaptiveDenoisingSchedule(trusted=v), [-0.1, 1.5, math.nan]),
    "AdaptiveDenoisingSchedule.held": (lambda v: AdaptiveDenoisingSchedule(held=v), [0, -1]),
    "LastCorrection.steps": (lambda v: LastCorrection(steps=v), [-1]),
    "LastCorrection.aim": (lambda v: LastCorrection(aim=v), [-0.1, math.nan]),
    "LastCorrection.largest": (lambda v: LastCorrection(largest=v), [0.0, -1.0, math.inf]),
}


@pytest.mark.parametrize(("name", "value"), [(name, v) for name, (_, values) in CONSTRUCTORS.items() for v in values])
def test_callbacks_refuse_what_cannot_be(name, value) -> None:
    with pytest.raises(UserError, match=name):
        CONSTRUCTORS[name][0](value)


def test_the_writer_takes_no_name() -> None:
    with pytest.raises(TypeError):
        writer_module.PredictionWriter(method="AGG")  # type: ignore[call-arg]
