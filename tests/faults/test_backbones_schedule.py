"""A folder's scheduler is read as it means, or refused in a sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers import SchedulerMixin

from lvcf.errors import UserError
from lvcf.models.backbones import schedule
from lvcf.models.backbones.load import load_backbone
from lvcf.steering.editors.stable_diffusion import StableDiffusion
from tests.families import save_family
from tests.steering.editors.tiny import SCHEDULE, save_stable_diffusion

LINEAR = {"beta_schedule": "linear"}
ZERO = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
REFUSED: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "the clean clip as prediction": ("DDIMScheduler", {"prediction_type": "sample"}, ["sample", "v_prediction"]),
    "epsilon without any signal": ("DDIMScheduler", {**LINEAR, **ZERO}, ["epsilon", "v_prediction", "alpha"]),
    "epsilon without any signal, leading": (
        "DDIMScheduler",
        {**LINEAR, "rescale_betas_zero_snr": True},
        ["epsilon", "v_prediction", "alpha"],
    ),
    "the same by Euler, who puts a tiny number there": (
        "EulerDiscreteScheduler",
        {**LINEAR, **ZERO},
        ["epsilon", "v_prediction", "alpha"],
    ),
    "the same by hand": (
        "DDPMScheduler",
        {"trained_betas": [0.1] * 9 + [1.0], "num_train_timesteps": 10},
        ["epsilon", "v_prediction", "alpha"],
    ),
    "betas that are none": ("DDPMScheduler", {"trained_betas": [0.1, float("nan"), 0.1]}, ["betas", "0..1"]),
    "betas above 1": (
        "DDIMScheduler",
        {"beta_start": 1.5, "beta_end": 1.6, "num_train_timesteps": 3},
        ["betas", "0..1"],
    ),
    "Heun on a flow": ("FlowMatchHeunDiscreteScheduler", {}, ["FlowMatchHeun", "FlowMatchEulerDiscreteScheduler"]),
    "EDM": ("EDMEulerScheduler", {}, ["EDMEulerScheduler", "FlowMatchEulerDiscreteScheduler"]),
    "a flow on a diffusion's grid": (
        "UniPCMultistepScheduler",
        {"prediction_type": "flow_prediction"},
        ["use_flow_sigmas"],
    ),
}

OTHER_WORDS = ("Heun on a flow", "EDM", "a flow on a diffusion's grid")
"""An editor takes any diffusion's betas for its own DDIM, and refuses these as none."""


def with_scheduler(source: Path, folder: Path, scheduler: SchedulerMixin) -> Path:
    shutil.copytree(source, folder)
    shutil.rmtree(folder / "scheduler")
    scheduler.save_pretrained(folder / "scheduler")
    path = folder / "model_index.json"
    index = json.loads(path.read_text())
    index["scheduler"] = ["diffusers", type(scheduler).__name__]
    path.write_text(json.dumps(index))
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("schedules")
    return {
        "backbone": save_family("latte", root / "latte"),
        "editor": save_stable_diffusion(root / "stable_diffusion"),
    }


LOAD = {"backbone": load_backbone, "editor": lambda weights: StableDiffusion.from_pretrained(weights, "cpu")}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("kind", LOAD)
def test_what_cannot_be_read_is_refused_while_loading(kind, case, folders, tmp_path) -> None:
    name, settings, says = REFUSED[case]
    folder = with_scheduler(folders[kind], tmp_path / "odd", getattr(diffusers, name)(**settings))
    with pytest.raises(UserError) as refused:
        LOAD[kind](str(folder))
    for text in [str(folder), *([] if kind == "editor" and case in OTHER_WORDS else says)]:
        assert text in str(refused.value)
    assert "\n" not in str(refused.value)
    assert str(refused.value).count(str(folder)) == 1


def test_v_without_any_signal_stays_readable(folders, tmp_path) -> None:
    scheduler = diffusers.DDIMScheduler(prediction_type="v_prediction", **LINEAR, **ZERO)
    backbone = load_backbone(str(with_scheduler(folders["backbone"], tmp_path / "v", scheduler)))
    z, grid = torch.randn(1, 4, 16, 4, 4), backbone.time_grid(4, 1.0, torch.zeros(1, 4, 16, 4, 4))
    assert float(backbone.alpha_sigma(grid[:1])[0]) == 0.0
    with torch.no_grad():
        for estimate in backbone.predict(z, grid[:1], backbone.embed(["four chamber"])):
            assert estimate.isfinite().all()
    scheduler = diffusers.DDIMScheduler(prediction_type="v_prediction", set_alpha_to_one=False, **SCHEDULE)
    StableDiffusion.from_pretrained(str(with_scheduler(folders["editor"], tmp_path / "sd", scheduler)), "cpu")


@pytest.mark.parametrize("name", ["PNDMScheduler", "HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "DDIMScheduler"])
@pytest.mark.parametrize("steps", [2, 4, 10])
def test_no_time_of_the_grid_is_there_twice(name, steps) -> None:
    """Some solvers ask at a time more than once; here every time is one step."""
    scheduler = getattr(diffusers, name)(**LINEAR, **({"skip_prk_steps": True} if "PNDM" in name else {}))
    for strength in (1.0, 0.7):
        grid = schedule.time_grid(scheduler, steps, strength, 16)
        assert (grid.diff() < 0).all()
        assert float(grid[-1]) == 0.0
        if name in ("PNDMScheduler", "DDIMScheduler"):
            assert len(grid) == steps + 1


@pytest.mark.parametrize(
    "scheduler",
    [
        diffusers.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, final_sigmas_type="sigma_min"
        ),
        diffusers.FlowMatchEulerDiscreteScheduler(invert_sigmas=True),
        diffusers.FlowMatchEulerDiscreteScheduler(shift=float("nan")),
        diffusers.FlowMatchEulerDiscreteScheduler(shift=-2.0),
    ],
    ids=["ends noisy", "rises", "nan", "negative shift"],
)
def test_a_flow_whose_times_do_not_fall_to_clean_is_refused(scheduler) -> None:
    with pytest.raises(UserError, match=rf"scheduler {type(scheduler).__name__}: its times .* do not fall to 0"):
        schedule.time_grid(scheduler, 4, 1.0, 16)
