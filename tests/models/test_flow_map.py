"""AnyFlow: where a step ends is for the denoiser to say; guidance reads and edits the end of the map."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lvcf.errors import UserError
from lvcf.models.backbones.anyflow import AnyFlowBackbone
from lvcf.models.backbones.load import load_backbone
from lvcf.models.backbones.lora import FILE, add_lora, save_lora
from lvcf.region import Kept
from lvcf.sampler import Diffusion
from lvcf.sampling import DiffusionState, Prompts, SamplingCallback
from lvcf.settings import Settings
from lvcf.tasks.denoiser import DenoiserTask
from tests.families import CHANNELS, SHAPES, SIZES, save_family, wan_transformer

NAME = "anyflow_1_3b"
PROMPT, OTHER = "apical four chamber ejection fraction 30 percent", "echocardiogram"
LATENT = (1, CHANNELS, *SHAPES[NAME])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_family(NAME, tmp_path_factory.mktemp("flow_map"))


@pytest.fixture(scope="module")
def backbone(folder) -> AnyFlowBackbone:
    return load_backbone(str(folder)).requires_grad_(False)


def started(backbone: AnyFlowBackbone, settings: Settings, z_ref: Tensor, told: str = PROMPT) -> DiffusionState:
    """Told ``told`` on the sampled path, :data:`PROMPT` on the clip's own."""
    diffusion = Diffusion(backbone, settings)
    prompts = Prompts(backbone.embed([told]), backbone.embed([PROMPT]))
    generators = [torch.Generator().manual_seed(1)]
    state = DiffusionState(prompts=prompts, generators=generators, grid=diffusion.grid(z_ref), z_ref=z_ref)
    state.z = diffusion.inverted(state)
    return state


def from_noise(steps: int) -> Settings:
    return Settings("target", steps=steps, strength=1.0, guidance_scale=1.0, inversion="sdedit")


def mean_flow(backbone: AnyFlowBackbone, z: Tensor, t: float, r: float) -> Tensor:
    """By the stock denoiser itself, which is told two times per frame."""
    times = [torch.full((len(z), z.shape[2]), 1000.0 * time) for time in (t, r)]
    tokens = backbone.embed([PROMPT] * len(z)).tokens
    return backbone.transformer(z.transpose(1, 2), *times, tokens, return_dict=False)[0].transpose(1, 2)


@pytest.mark.parametrize("steps", [1, 2, 4])
@torch.no_grad()
def test_the_sampler_draws_what_the_stock_pipeline_draws(steps, backbone) -> None:
    state = started(backbone, from_noise(steps), torch.zeros(LATENT))
    noise = state.z.clone()
    pipe = backbone.pipeline()
    pipe.set_progress_bar_config(disable=True)
    options = {"height": SIZES[NAME], "width": SIZES[NAME], "num_frames": 17, "num_inference_steps": steps}
    wanted = pipe(PROMPT, latents=noise.clone(), output_type="latent", return_dict=False, **options)[0]
    Diffusion(backbone, from_noise(steps)).sample(state)
    torch.testing.assert_close(state.z, wanted, atol=1e-5, rtol=1e-4)
    assert (state.z - noise).abs().max() > 0.1


@torch.no_grad()
def test_what_is_read_is_the_end_of_the_map(backbone) -> None:
    z, t = torch.randn(LATENT), torch.tensor([0.8])
    clean, noise = backbone.predict(z, t, backbone.embed([PROMPT]))
    torch.testing.assert_close(clean, z - 0.8 * mean_flow(backbone, z, 0.8, 0.0))
    torch.testing.assert_close(0.2 * clean + 0.8 * noise, z, atol=1e-5, rtol=1e-4)


class Edit(SamplingCallback):
    """Adds to the clean estimates; keeps what they were, and where the steps end."""

    def __init__(self, change: Tensor) -> None:
        self.change, self.shown, self.ends = change, [], []

    def on_clean_estimate(self, state: DiffusionState) -> None:
        self.shown.append(state.clean)
        state.clean = state.clean + self.change

    def on_step_end(self, state: DiffusionState) -> None:
        self.ends.append(state.z.clone())


@torch.no_grad()
def test_guidance_reads_and_edits_the_end_and_the_step_is_the_maps_with_that_edit(backbone) -> None:
    state, change = started(backbone, from_noise(2), torch.zeros(LATENT)), torch.randn(LATENT)
    (t, s, _), z = state.grid.tolist(), state.z.clone()
    diffusion, edit = Diffusion(backbone, from_noise(2)), Edit(change)
    diffusion.use([edit])
    diffusion.sample(state)
    torch.testing.assert_close(edit.shown[0], z - t * mean_flow(backbone, z, t, 0.0), atol=1e-5, rtol=1e-4)
    landed = z - (t - s) * mean_flow(backbone, z, t, s)
    torch.testing.assert_close(edit.ends[0], landed + (t - s) / t * change, atol=1e-5, rtol=1e-4)
    assert (mean_flow(backbone, z, t, s) - mean_flow(backbone, z, t, 0.0)).abs().max() > 1e-3  # r matters


@pytest.mark.parametrize("inversion", ["recorded", "fresh"])
@torch.no_grad()
def test_with_guidance_off_recorded_noise_gives_the_clip_back(inversion, backbone) -> None:
    settings = Settings("target", "neutral", 1.0, steps=4, strength=0.9, inversion=inversion)
    z_ref = torch.randn(LATENT)
    state = started(backbone, settings, z_ref)
    state.stride[:] = 2
    Diffusion(backbone, settings).sample(state)
    assert (state.z - z_ref).abs().max() <= 1e-5 * max(1.0, float(z_ref.abs().max()))


@torch.no_grad()
def test_latents_that_are_kept_come_back_beside_those_that_change(backbone) -> None:
    settings = Settings("target", "neutral", 1.0, steps=4, strength=0.9, inversion="recorded")
    z_ref = torch.randn(LATENT)
    state = started(backbone, settings, z_ref, OTHER)
    free = torch.zeros(1, 1, *SHAPES[NAME], dtype=torch.bool)
    free[..., 2:] = True
    state.kept = Kept(z_ref=z_ref, latents=free)
    Diffusion(backbone, settings).sample(state)
    assert (state.z - z_ref)[..., :2].abs().max() <= 1e-5
    assert (state.z - z_ref)[..., 2:].abs().max() > 1e-3


@torch.no_grad()
def test_ddim_inversion_goes_up_by_the_flow_itself(backbone) -> None:
    z_ref = torch.randn(LATENT)
    state = started(backbone, Settings(steps=2, strength=0.9, inversion="ddim"), z_ref)
    top, middle, _ = state.grid.tolist()
    z = z_ref + (middle - 1e-3) * mean_flow(backbone, z_ref, 1e-3, 1e-3)  # it starts there
    wanted, other = (z + (top - middle) * mean_flow(backbone, z, middle, r) for r in (middle, 0.0))
    torch.testing.assert_close(state.z, wanted, atol=1e-3, rtol=0.0)
    assert (other - wanted).abs().max() > 1e-2


@torch.no_grad()
def test_a_lora_of_wan_adds_up_as_in_the_stock_pipeline(folder, tmp_path) -> None:
    pytest.importorskip("peft", reason="peft comes with the backbones extra")
    teacher = wan_transformer()
    add_lora(teacher, 2)
    for name, weight in teacher.named_parameters():
        if "lora_" in name:
            weight.normal_(generator=torch.Generator().manual_seed(3))
    save_lora(teacher, tmp_path)
    z, t = torch.randn(LATENT), torch.tensor([0.5])
    merged, plain = load_backbone(str(folder), lora=str(tmp_path)), load_backbone(str(folder))
    prompt = plain.embed([PROMPT])
    said = merged.output(z, t, prompt)
    assert (said - plain.output(z, t, prompt)).abs().max() > 1e-3
    plain.pipeline().load_lora_weights(tmp_path, weight_name=FILE)
    torch.testing.assert_close(plain.output(z, t, prompt), said, atol=1e-5, rtol=1e-4)


def test_a_solver_of_flows_is_refused(backbone) -> None:
    with pytest.raises(UserError, match=r"model.solver dpmpp_2m: this backbone's flow map .* choose ddim"):
        Diffusion(backbone, Settings(solver="dpmpp_2m"))


def test_training_is_refused_and_says_what_to_train(backbone, tmp_path) -> None:
    with pytest.raises(UserError, match=r"a AnyFlowPipeline's denoiser is a flow map.*train Wan 2.1 and add its LoRA"):
        DenoiserTask(backbone, tmp_path, train_text_encoder=False)


def test_the_pipeline_that_draws_chunk_by_chunk_is_refused_by_name(tmp_path) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "AnyFlowFARPipeline"}))
    with pytest.raises(UserError, match=r"holds a AnyFlowFARPipeline, which is not read: .* use an AnyFlowPipeline"):
        load_backbone(str(tmp_path))
