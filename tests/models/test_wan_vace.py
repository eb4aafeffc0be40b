"""Wan VACE: what it is shown of a clip, against its stock pipeline; and what it cannot be, by table."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, ModelMixin, WanVACEPipeline
from torch import Tensor

import lvcf
from lvcf.callbacks.guidance import GradientGuidance
from lvcf.data.clip import round_to_8_bits, to_frames
from lvcf.diffusion.steps import ddim_step
from lvcf.errors import UserError
from lvcf.guidance.weight import ConstantWeight
from lvcf.models.backbones.load import load_backbone
from lvcf.models.backbones.wan_vace import WanVACEBackbone
from lvcf.steering.editors.latent_video import LatentVideoEditor
from lvcf.tasks.denoiser import DenoiserTask
from tests.families import CHANNELS, SHAPES, SIZES, save_family, wan, wan_transformer, wan_vace, wan_words
from tests.toys import BrightDark

NAME = "wan_vace_1_3b"
SIZE, BOX, GIVEN = SIZES[NAME], (8, 0, 24, 20), [0, 3]
PROMPT = "apical four chamber echocardiogram ejection fraction 30 percent"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_family(NAME, tmp_path_factory.mktemp("vace") / NAME)


@pytest.fixture(scope="module")
def backbone(folder) -> WanVACEBackbone:
    return load_backbone(str(folder)).requires_grad_(False)


def clip(frames: int = 17, batch: int = 1, size: int = SIZE) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return round_to_8_bits(torch.rand(batch, 3, frames, size, size, generator=generator) * 2 - 1)


def region(frames: int = 17) -> Tensor:
    """Where a clip may change, without its given frames."""
    left, top, right, bottom = BOX
    may = torch.zeros(1, 1, frames, SIZE, SIZE, dtype=torch.bool)
    may[..., top:bottom, left:right] = True
    may[:, :, GIVEN] = False
    return may


@torch.no_grad()
def test_it_draws_beside_what_it_is_shown_what_the_stock_pipeline_draws(backbone) -> None:
    """A whole sampling: the pipeline is handed the clip, 0 (its grey) where it may change, and the mask."""
    video, may, noise = clip(), region(), torch.randn(1, CHANNELS, *SHAPES[NAME])
    pipe = backbone.pipeline()
    pipe.scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    pipe.set_progress_bar_config(disable=True)
    wanted = pipe(
        video=(((video + 1.0) / 2.0).masked_fill(may, 0.5)).transpose(1, 2),
        mask=may.float().expand_as(video).transpose(1, 2),
        prompt_embeds=wan_words(pipe, PROMPT),
        height=SIZE,
        width=SIZE,
        num_frames=17,
        num_inference_steps=4,
        guidance_scale=1.0,
        latents=noise,
        output_type="latent",
        return_dict=False,
    )[0]

    def walked(*shown: Any) -> Tensor:
        condition, prompt, z = backbone.condition(*shown), backbone.embed([PROMPT]), noise
        for t, s in pairwise(pipe.scheduler.sigmas):
            clean, _ = backbone.predict(z, t[None], prompt, condition)
            z = ddim_step(z, clean, backbone.alpha_sigma(t[None]), backbone.alpha_sigma(s[None]))
        return z

    torch.testing.assert_close(walked(video, GIVEN, region()), wanted, atol=2e-5, rtol=0)
    box = torch.zeros_like(may)
    box[..., BOX[1] : BOX[3], BOX[0] : BOX[2]] = True
    assert torch.equal(walked(video, GIVEN, box), walked(video, [], may))
    assert torch.equal(walked(video.masked_fill(may, 0.3), [], may), walked(video, [], may))  # what goes is not seen
    for other in ((-video, [], may), (video, [], box), (video, [])):
        assert (walked(*other) - wanted).abs().max() > 2e-3


@torch.no_grad()
def test_shown_nothing_it_is_told_to_draw_everything(backbone) -> None:
    z, t, prompt = torch.randn(2, CHANNELS, *SHAPES[NAME]), torch.tensor([0.4, 0.8]), backbone.embed([PROMPT] * 2)
    shown = backbone.condition(clip(batch=2), [])
    torch.testing.assert_close(backbone.output(z, t, prompt), backbone.output(z, t, prompt, shown))


@torch.no_grad()
def test_two_denoisers_load_and_each_has_the_samples_of_its_times(tmp_path) -> None:
    pipe, other = wan_vace(), wan_vace()
    parts = {**pipe.components, "transformer_2": other.transformer}
    WanVACEPipeline(**parts, boundary_ratio=0.875).save_pretrained(tmp_path)
    both, shown = load_backbone(str(tmp_path)), clip(batch=2)
    z, t, prompt = torch.randn(2, CHANNELS, *SHAPES[NAME]), torch.tensor([0.9, 0.3]), both.embed([PROMPT] * 2)
    said = both.output(z, t, prompt, both.condition(shown, [0]))
    for row, denoiser in enumerate((pipe.transformer, other.transformer)):
        alone = WanVACEBackbone(**{**pipe.components, "transformer": denoiser}).eval()
        rows = torch.tensor([row])
        wanted = alone.output(z[rows], t[rows], prompt[rows], alone.condition(shown[rows], [0]))
        torch.testing.assert_close(said[rows], wanted, atol=1e-5, rtol=1e-4)


def explained(backbone: WanVACEBackbone, size: int = SIZE, **settings: Any) -> tuple[Any, Any]:
    method = [GradientGuidance(samples=1, weight=ConstantWeight(0.1))]
    options = {"steps": 2, "precision": "32-true", "progress": False, **settings}
    video = clip(16, size=size)[0]
    explainer = lvcf.Explainer(BrightDark(0.9), backbone, method, size=size, **options)
    return explainer.explain(video, "bright"), to_frames(video)


@pytest.mark.parametrize("name", [NAME])
@pytest.mark.parametrize(
    "settings",
    [
        {"region": BOX, "freeze_frames": [0, 15]},
        {"region": BOX, "given_frames": [0, 15], "inversion": "recorded"},
        {"given_frames": [1, 2], "inversion": "sdedit"},
    ],
)
def test_the_sampler_shows_it_what_stays_and_that_comes_back_exactly(settings, name, backbone, monkeypatch) -> None:
    """Frames of a half latent one too."""
    shown, control = [], WanVACEBackbone._control

    def spy(self: WanVACEBackbone, inactive: Tensor, mask: Tensor) -> Any:
        shown.append(mask)
        return control(self, inactive, mask)

    monkeypatch.setattr(WanVACEBackbone, "_control", spy)
    found, factual = explained(backbone, **settings)
    may = torch.zeros(16, SIZE, SIZE, dtype=torch.bool)
    left, top, right, bottom = settings.get("region", (0, 0, SIZE, SIZE))
    may[:, top:bottom, left:right] = True
    may[[*settings.get("freeze_frames", []), *settings.get("given_frames", [])]] = False
    (mask,) = shown
    assert torch.equal(mask[0, 0, :16], may)
    assert (found.video == factual)[~may].all()
    assert (found.video != factual)[may].any()


@torch.no_grad()
def test_an_edit_of_steering_shows_it_nothing(backbone) -> None:
    editor = LatentVideoEditor(backbone, steps=1)
    state = editor.prepare(clip(16)[0], PROMPT)
    assert editor.edit(state, PROMPT, "", 0).shape == (3, 16, SIZE, SIZE)


def test_training_shows_it_nothing_and_trains_the_branch_too(folder, tmp_path) -> None:
    torch.manual_seed(0)
    task = DenoiserTask(load_backbone(str(folder)), tmp_path, train_text_encoder=False)
    task.log = lambda *_, **__: None  # type: ignore[method-assign]
    latent, words = task.backbone.encode(clip()).detach(), [PROMPT]
    task.training_step({"latent": latent, "prompt": words, "neutral_prompt": words}, 0).backward()
    assert task.backbone.transformer.vace_patch_embedding.weight.grad.abs().max() > 0
    assert task.backbone.transformer.patch_embedding.weight.grad.abs().max() > 0


# --- faults -----------------------------------------------------------------------------------------------------------


def index(**changes: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / "model_index.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return spoil


def denoiser(made: Callable[[], ModelMixin], part: str = "transformer") -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        shutil.rmtree(folder / part, ignore_errors=True)
        made().save_pretrained(folder / part)

    return spoil


BROKEN: dict[str, tuple[Callable[[Path], Any], list[str]]] = {
    "no VAE": (lambda f: shutil.rmtree(f / "vae"), ["lacks vae"]),
    "no denoiser": (index(transformer=[None, None]), ["lacks transformer"]),
    "a branch of other channels": (
        denoiser(lambda: wan_vace(vace_in_channels=2 * CHANNELS).transformer),
        ["transformer: its control branch takes 8 channels", "have 72"],
    ),
    "a denoiser of other channels": (
        denoiser(lambda: wan_vace(in_channels=2 * CHANNELS).transformer),
        ["latents of 4 channels", "takes 8"],
    ),
    "a denoiser without a branch": (denoiser(wan_transformer), ["does not load", "VACE layers"]),
    "text to video's name": (
        index(_class_name="WanPipeline"),
        ["its transformer is a WanVACETransformer3DModel", "WanPipeline takes WanTransformer3DModel"],
    ),
    "its name on text to video's parts": (
        lambda f: (shutil.rmtree(f), wan().save_pretrained(f), index(_class_name="WanVACEPipeline")(f)),
        ["its transformer is a WanTransformer3DModel", "takes WanVACETransformer3DModel"],
    ),
    "a second denoiser that is not there": (
        index(transformer_2=["diffusers", "WanVACETransformer3DModel"]),
        ["lacks transformer_2"],
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_folder(case, folder, tmp_path) -> None:
    spoil, says = BROKEN[case]
    broken = Path(shutil.copytree(folder, tmp_path / "broken"))
    spoil(broken)
    with pytest.raises(UserError) as refused:
        load_backbone(str(broken))
    line = str(refused.value)
    assert "\n" not in line
    assert line.count(str(broken)) == 1
    for text in says:
        assert text in line


ASKED: dict[str, tuple[dict[str, Any], str]] = {
    "a size the VAE cannot take": ({"size": 36}, "data.size: frames of 36 x 36; .* multiples of 8"),
    "a size the denoiser cannot take": ({"size": 40}, "latents of 5 x 5 pixels: .* choose another data.size"),
    "a given frame beyond": ({"given_frames": [16]}, "model.given_frames 16: the clips have frames 0 to 15"),
    "a frozen frame beyond": ({"freeze_frames": [16]}, "model.freeze_frames 16: the clips have frames 0 to 15"),
    "a region beyond": ({"region": (0, 0, 64, 8)}, r"model.region \[0, 0, 64, 8\]: leaves the clips' 32x32"),
}


@pytest.mark.parametrize("case", ASKED)
def test_what_it_cannot_be_asked(case, backbone) -> None:
    settings, says = ASKED[case]
    with pytest.raises(UserError, match=says):
        explained(backbone, **settings)


def test_it_is_not_trained_with_a_time_per_frame(folder, tmp_path) -> None:
    with pytest.raises(UserError, match=r"model.given: a WanVACEBackbone takes no time per frame"):
        DenoiserTask(load_backbone(str(folder)), tmp_path, train_text_encoder=False, given=True)
