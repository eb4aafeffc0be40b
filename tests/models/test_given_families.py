"""Published image-to-video families: against their stock pipelines, given frames held exactly, faults by table."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    LTX2ImageToVideoPipeline,
    WanImageToVideoPipeline,
    WanPipeline,
)
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.pipelines.ltx.pipeline_ltx_condition import LTXVideoCondition
from PIL import Image
from torch import Tensor

import lvcf
from lvcf.callbacks.guidance import GradientGuidance
from lvcf.callbacks.last_correction import LastCorrection
from lvcf.callbacks.noise_search import NoiseSearch
from lvcf.callbacks.refinement import MultiScalePerceptualRefinement
from lvcf.data.clip import round_to_8_bits, to_frames
from lvcf.diffusion.steps import ddim_step
from lvcf.errors import UserError
from lvcf.given_frames import given_latents
from lvcf.guidance.weight import ConstantWeight
from lvcf.models.backbones.load import family_of, load_backbone
from lvcf.models.backbones.ltx_2 import LTX2Backbone
from lvcf.models.backbones.pipeline import PipelineBackbone
from lvcf.models.backbones.tiny_decoder import TinyDecoder
from lvcf.models.backbones.wan import WanBackbone
from lvcf.sampler import Diffusion
from lvcf.sampling import DiffusionState, Prompts
from lvcf.settings import Settings
from lvcf.steering.editors.latent_video import LatentVideoEditor
from lvcf.tasks.denoiser import DenoiserTask
from tests.families import (
    CHANNELS,
    IMAGE_FAMILIES,
    OTHERS,
    SHAPES,
    SIZES,
    cogvideox,
    hunyuan_parts,
    isolated,
    save_family,
    wan_transformer,
    wan_words,
)
from tests.toys import BrightDark

AT_TIME_0 = ["ltx_2b_given", "ltx2_19b", "wan_2_2_5b"]
IN_CHANNELS = [name for name in IMAGE_FAMILIES if name not in AT_TIME_0]
NAMES = [*AT_TIME_0, *IN_CHANNELS, *OTHERS]
EACH = pytest.mark.parametrize("name", [*AT_TIME_0, *IN_CHANNELS])
SHOWN = pytest.mark.parametrize("name", IN_CHANNELS)
HUNYUAN = "hunyuan_video_1_5_i2v"
PROMPT = "apical four chamber echocardiogram ejection fraction 30 percent"


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("given")
    return {name: save_family(name, root / name) for name in NAMES}


@pytest.fixture(scope="module")
def backbones(folders) -> dict[str, PipelineBackbone]:
    return {name: load_backbone(str(folder)).requires_grad_(False) for name, folder in folders.items()}


def clip(name: str, batch: int = 1, frames: int = 17, size: int | None = None) -> Tensor:
    generator, size = torch.Generator().manual_seed(7), size or SIZES[name]
    return round_to_8_bits(torch.rand(batch, 3, frames, size, size, generator=generator) * 2 - 1)


def picture(video: Tensor, frame: int = 0) -> Image.Image:
    return Image.fromarray(to_frames(video[0])[frame])


# --- against the stock pipelines --------------------------------------------------------------------------------------


def image_pipeline(name: str, backbone: PipelineBackbone) -> DiffusionPipeline:
    """The stock pipeline of a folder's parts that is given an image, told nothing of its progress."""
    pipe = backbone.pipeline()
    if isinstance(backbone, LTX2Backbone):  # published so; the sound is not loaded
        pipe = LTX2ImageToVideoPipeline(**DiffusionPipeline.from_pretrained(backbone.beside).components)
    if isinstance(pipe, WanPipeline):  # TI2V-5B is published as this one, for both
        pipe = WanImageToVideoPipeline(**pipe.components, expand_timesteps=True)
    if name.startswith("wan"):  # UniPC remembers steps: the first-order flow
        pipe.scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    if name.startswith("hunyuan"):
        pipe.guider = pipe.guider.new(guidance_scale=1.0)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def stock_latents(pipe: DiffusionPipeline, name: str, video: Tensor, noise: Tensor, steps: int, **more: Any) -> Tensor:
    """What the stock pipeline draws from the clip's first frame, ``(1, C, F, h, w)``, without CFG."""
    options = {"num_inference_steps": steps, "guidance_scale": 1.0, "output_type": "latent", "return_dict": False}
    options |= {"height": SIZES[name], "width": SIZES[name], "num_frames": 17, "image": picture(video), **more}
    if name.startswith("wan"):
        return pipe(latents=noise, prompt_embeds=wan_words(pipe, PROMPT), **options)[0]
    if name.startswith("cogvideox"):
        length = pipe.transformer.config.max_text_seq_length
        options |= {"prompt": PROMPT, "max_sequence_length": length, "latents": noise.transpose(1, 2)}
        return pipe(**options)[0].transpose(1, 2)
    if name == "ltx2_19b":
        return isolated(pipe, noise, prompt=PROMPT, **options)
    if name.startswith("hunyuan"):  # of the size that its target_size says
        told = {key: options[key] for key in options if key not in ("guidance_scale", "height", "width")}
        return pipe(prompt=PROMPT, latents=noise, **told)[0]
    options |= {"prompt": PROMPT, "frame_rate": 8, "latents": pipe._pack_latents(noise)}
    return pipe._unpack_latents(pipe(**options)[0], *noise.shape[2:])


def started(name: str, backbone: PipelineBackbone) -> tuple[Tensor, Tensor, Tensor]:
    """A clip, its latent and noise; the family's scheduler becomes that of :func:`image_pipeline`."""
    video = clip(name)
    noise = torch.randn(1, CHANNELS, *SHAPES[name], generator=torch.Generator().manual_seed(1))
    return video, backbone.encode(video), noise


@pytest.mark.parametrize("name", AT_TIME_0)
@torch.no_grad()
def test_the_sampler_draws_from_a_first_frame_at_time_0_what_the_stock_pipeline_draws(name, folders) -> None:
    """The whole walk of ``lvcf.sampler``, from noise, with the first frame given."""
    backbone = load_backbone(str(folders[name]))
    pipe = image_pipeline(name, backbone)
    backbone.scheduler = pipe.scheduler
    video, z_ref, noise = started(name, backbone)
    start = noise.clone()
    start[:, :, :1] = z_ref[:, :, :1]
    wanted = stock_latents(pipe, name, video, start, 4)
    grid = backbone.time_grid(4, 1.0, noise) if name.startswith("ltx") else pipe.scheduler.sigmas
    z = drawn(backbone, z_ref, grid)
    torch.testing.assert_close(z, wanted, atol=2e-4, rtol=1e-3)
    assert torch.equal(z[:, :, 0], z_ref[:, :, 0])
    assert (z - start)[:, :, 1:].abs().max() > 0.1


def drawn(backbone: PipelineBackbone, z_ref: Tensor, grid: Tensor) -> Tensor:
    """The sampler's own walk from the noise of :func:`started`, with the first frame of a latent given."""
    settings = Settings("target", steps=4, strength=1.0, guidance_scale=1.0, inversion="sdedit", given_frames="first")
    prompt = backbone.embed([PROMPT])
    state = DiffusionState(
        prompts=Prompts(prompt, prompt),
        generators=[torch.Generator().manual_seed(1)],
        grid=grid,
        z_ref=z_ref,
        given=given_latents("first", backbone, 17, z_ref),
    )
    diffusion = Diffusion(backbone, settings)
    state.z = diffusion.inverted(state)
    diffusion.sample(state)
    return state.z


@torch.no_grad()
def test_the_sampler_draws_what_ltx_videos_condition_pipeline_draws(folders, tmp_path, monkeypatch) -> None:
    """Its own positions and times; it besides draws the latent of a given frame and noises that: here not."""
    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mode())
    name, folder = "ltx_2b_given", Path(shutil.copytree(folders["ltx_2b_given"], tmp_path / "ltx"))
    edit(folder / "model_index.json", _class_name="LTXConditionPipeline")
    backbone = load_backbone(str(folder))
    backbone.scheduler = FlowMatchEulerDiscreteScheduler()
    video, z_ref, noise = started(name, backbone)
    pipe = backbone.pipeline()
    pipe.set_progress_bar_config(disable=True)
    wanted = pipe(
        conditions=[LTXVideoCondition(image=picture(video), frame_index=0)],
        prompt=PROMPT,
        height=SIZES[name],
        width=SIZES[name],
        num_frames=17,
        frame_rate=8,
        num_inference_steps=4,
        guidance_scale=1.0,
        image_cond_noise_scale=0.0,
        generator=torch.Generator().manual_seed(1),
        output_type="latent",
        return_dict=False,
    )[0]
    wanted = pipe._unpack_latents(wanted, *noise.shape[2:]) if wanted.ndim == 3 else wanted
    z = drawn(backbone, z_ref, backbone.time_grid(4, 1.0, noise))
    torch.testing.assert_close(z, wanted, atol=2e-4, rtol=1e-3)
    assert (z - noise)[:, :, 1:].abs().max() > 0.1


@pytest.mark.parametrize("name", [*IN_CHANNELS, *OTHERS])
@torch.no_grad()
def test_a_denoiser_that_is_shown_the_first_frame_draws_what_the_stock_pipeline_draws(
    name, folders, monkeypatch
) -> None:
    """CogVideoX's besides draws the latent of the first frame: here not."""
    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mode())
    backbone = load_backbone(str(folders[name]))
    pipe = image_pipeline(name, backbone)
    video, _, noise = started(name, backbone)
    wanted = stock_latents(pipe, name, video, noise, 4)
    z = walked(backbone, pipe, noise, backbone.condition(video, [0]))
    torch.testing.assert_close(z, wanted, atol=2e-4, rtol=1e-3)
    other = walked(backbone, pipe, noise, backbone.condition(-video, [0]))
    assert (other - wanted).abs().max() > 0.01  # what is shown matters


@torch.no_grad()
def test_a_last_frame_is_shown_as_the_stock_pipeline_shows_it(folders) -> None:
    name = "wan_2_2_i2v_a14b"
    backbone = load_backbone(str(folders[name]))
    pipe = image_pipeline(name, backbone)
    video, _, noise = started(name, backbone)
    wanted = stock_latents(pipe, name, video, noise, 4, last_image=picture(video, -1))
    z = walked(backbone, pipe, noise, backbone.condition(video, [0, 16]))
    torch.testing.assert_close(z, wanted, atol=2e-4, rtol=1e-3)


def walked(backbone: PipelineBackbone, pipe: DiffusionPipeline, noise: Tensor, condition: Any) -> Tensor:
    """Deterministic steps over the stock pipeline's own times."""
    backbone.scheduler = pipe.scheduler
    prompt, z = backbone.embed([PROMPT]), noise
    flow = isinstance(pipe.scheduler, FlowMatchEulerDiscreteScheduler)
    for t, s in pairwise(pipe.scheduler.sigmas if flow else backbone.time_grid(4, 1.0, noise)):
        clean, _ = backbone.predict(z, t[None], prompt, condition)
        z = ddim_step(z, clean, backbone.alpha_sigma(t[None]), backbone.alpha_sigma(s[None]))
    return z


@torch.no_grad()
def test_each_of_two_denoisers_has_the_samples_of_its_times(backbones) -> None:
    backbone = backbones["wan_2_2_i2v_a14b"]
    z, t = torch.randn(2, CHANNELS, 5, 4, 4), torch.tensor([0.9, 0.3])
    prompt, shown = backbone.embed([PROMPT, "echocardiogram"]), backbone.condition(clip("wan_2_2_i2v_a14b", 2), [0])
    both = backbone.output(z, t, prompt, shown)
    for row, other in ((0, "transformer_2"), (1, "transformer")):
        rows = torch.tensor([row])
        alone = backbone.output(z[rows], t[rows], prompt[rows], shown[rows])
        torch.testing.assert_close(both[rows], alone, atol=1e-5, rtol=1e-4)
        left = WanBackbone.pipeline(backbone)
        kept = {"transformer": left.transformer, "transformer_2": left.transformer_2}
        kept[other] = kept["transformer" if other == "transformer_2" else "transformer_2"]
        assert torch.equal(alone, rebuilt(left, kept).output(z[rows], t[rows], prompt[rows], shown[rows]))


def rebuilt(pipe: DiffusionPipeline, denoisers: dict[str, Any]) -> WanBackbone:
    parts = {**pipe.components, **denoisers}
    return WanBackbone(**parts, boundary_ratio=pipe.config.boundary_ratio).eval()


# --- through the Explainer --------------------------------------------------------------------------------------------


def callbacks(backbone: PipelineBackbone) -> list[Any]:
    return [
        GradientGuidance(samples=1, noise=0.1, weight=ConstantWeight(0.1)),
        MultiScalePerceptualRefinement("reconstruction", [0.3, 0.6], [1.0] * len(backbone.decoder_blocks())),
        LastCorrection(steps=1, largest=1.0),
    ]


def explained(backbone: PipelineBackbone, name: str, method: list[Any], frames: int = 16, **settings: Any) -> Any:
    settings = {"given_frames": "first", "steps": 2, "size": SIZES[name], **settings}
    video = clip(name, frames=frames, size=settings["size"])[0]
    explainer = lvcf.Explainer(
        BrightDark(0.9),
        backbone,
        method,
        precision="32-true",
        progress=False,
        metadata="apical four chamber",
        **settings,
    )
    return explainer.explain(video, "bright"), to_frames(video)


@pytest.mark.parametrize("inversion", ["sdedit", "fresh", "recorded"])
@EACH
def test_given_frames_come_back_exactly(name, inversion, backbones) -> None:
    found, factual = explained(backbones[name], name, callbacks(backbones[name]), inversion=inversion)
    assert (found.video[0] == factual[0]).all()
    assert (found.video[1:] != factual[1:]).any()
    assert found.facts["gradient_evaluations"] > 0


@SHOWN
def test_the_first_noise_is_found_through_a_denoiser_that_is_shown_the_first_frame(name, backbones) -> None:
    """BTTF's setting: image to video, M alone, the start of sampling optimised."""
    method = [NoiseSearch(iterations=1)]
    found, factual = explained(backbones[name], name, method, inversion="ddim")
    assert (found.video[0] == factual[0]).all()
    assert (found.video[1:] != factual[1:]).any()


def test_a_tiny_decoder_gets_the_vaes_latents_alone(backbones, tmp_path, monkeypatch) -> None:
    """Not the latent frame that CogVideoX 1.5 has in front, which would put every frame four places late."""
    name, decoded, forward = "cogvideox_1_5_5b_i2v", [], TinyDecoder.forward
    TinyDecoder(CHANNELS, channels=(8, 8, 8, 8)).save_pretrained(tmp_path)
    monkeypatch.setattr(
        TinyDecoder, "forward", lambda self, z, frames: decoded.append(z.shape[2]) or forward(self, z, frames)
    )
    guidance = GradientGuidance(samples=1, noise=0.0, weight=ConstantWeight(0.1), tiny_decoder=str(tmp_path))
    found, _ = explained(backbones[name], name, [guidance])
    assert found.facts["gradient_evaluations"] > 0
    assert set(decoded) == {SHAPES[name][0] - 1}


def test_a_last_frame_comes_back_too(backbones) -> None:
    found, factual = explained(backbones["wan_2_2_i2v_a14b"], "wan_2_2_i2v_a14b", [], given_frames=[0, 15])
    assert (found.video[[0, 15]] == factual[[0, 15]]).all()
    assert (found.video[1:15] != factual[1:15]).any()


@SHOWN
@torch.no_grad()
def test_where_it_is_shown_a_given_frame_is_noised_as_the_others_and_its_estimate_held(name, backbones) -> None:
    """On the way z_t of a given frame is alpha z_ref + sigma eps, as in training; at the end it is z_ref."""
    backbone, video = backbones[name], clip(name)
    z_ref, prompt = backbone.encode(video), backbone.embed([PROMPT])
    state = DiffusionState(
        prompts=Prompts(prompt, prompt),
        generators=[torch.Generator().manual_seed(1)],
        grid=torch.tensor([0.9, 0.5, 0.0]),
        z_ref=z_ref,
        given=given_latents("first", backbone, 17, z_ref),
        condition=backbone.condition(video, [0]),
    )
    diffusion = Diffusion(backbone, Settings(inversion="sdedit", given_frames="first"))
    state.z, on_the_way = diffusion.inverted(state), []
    diffusion._notify = lambda hook, s: on_the_way.append(s.z.clone()) if hook == "on_step_end" else None
    diffusion.sample(state)
    alpha, sigma = backbone.alpha_sigma(state.grid[1])
    noised = alpha * z_ref + sigma * state.noise
    torch.testing.assert_close(on_the_way[0][:, :, state.given], noised[:, :, state.given], atol=1e-5, rtol=1e-4)
    assert (on_the_way[0] - noised)[:, :, ~state.given].abs().max() > 0.1
    torch.testing.assert_close(state.z[:, :, state.given], z_ref[:, :, state.given], atol=1e-5, rtol=1e-4)
    assert state.given.sum() == 1


@torch.no_grad()
@pytest.mark.parametrize("name", [name for name in [*AT_TIME_0, *IN_CHANNELS] if not name.startswith("cogvideox")])
def test_the_latent_of_a_first_frame_is_that_of_the_frame_alone(name, backbones) -> None:
    """What the stock pipelines encode: it may be held as the clip's own.  CogVideoX's VAE normalises over frames."""
    video = clip(name)
    alone, whole = backbones[name].encode(video[:, :, :1]), backbones[name].encode(video)
    torch.testing.assert_close(alone[:, :, 0], whole[:, :, 0], atol=1e-5, rtol=1e-4)


# --- loading, saving, training ----------------------------------------------------------------------------------------


@EACH
def test_a_folder_says_that_its_denoiser_takes_given_frames_and_keeps_its_pipeline(name, backbones, folders, tmp_path):
    backbone = backbones[name]
    assert backbone.takes_given
    assert backbone.given_in_channels == (name in IN_CHANNELS)
    backbone.save_pretrained(tmp_path)
    saved, stored = (json.loads((root / "model_index.json").read_text()) for root in (tmp_path, folders[name]))
    assert saved.pop("_notice") == ""
    assert saved == stored
    again = load_backbone(str(tmp_path))
    assert again.takes_given
    assert again.pipeline_name == backbone.pipeline_name == stored["_class_name"]
    for part, denoiser in backbone.denoisers().items():
        tensors = getattr(again, part).state_dict()
        assert all(torch.equal(tensors[key], value) for key, value in denoiser.state_dict().items())


@pytest.mark.parametrize("kind", ["LTXPipeline", "LTXImageToVideoPipeline", "LTXConditionPipeline"])
def test_ltx_videos_pipelines_share_one_family(kind, folders, tmp_path) -> None:
    folder = Path(shutil.copytree(folders["ltx_2b_given"], tmp_path / "ltx"))
    edit(folder / "model_index.json", _class_name=kind)
    assert family_of(folder).__name__ == "LTXVideoBackbone"
    backbone = load_backbone(str(folder))
    assert backbone.takes_given
    assert type(backbone.pipeline()).__name__ == kind


def task(backbone: PipelineBackbone, folder: Path, **options: Any) -> DenoiserTask:
    made = DenoiserTask(backbone, folder, train_text_encoder=False, **options)
    made.log = lambda *_, **__: None  # type: ignore[method-assign]
    return made


@pytest.mark.parametrize("name", AT_TIME_0)
def test_training_with_given_frames_at_time_0_teaches_the_denoiser(name, folders, tmp_path) -> None:
    torch.manual_seed(0)
    trained = task(load_backbone(str(folders[name])), tmp_path, given=True)
    latent = trained.backbone.encode(clip(name, 4)).detach()
    words = [PROMPT] * 4
    loss = trained.training_step({"latent": latent, "prompt": words, "neutral_prompt": words}, 0)
    loss.backward()
    assert all(p.grad is not None for p in trained.backbone.transformer.parameters() if p.requires_grad)


@SHOWN
def test_training_shows_the_first_frame_and_trains_the_denoisers_alone(name, folders, tmp_path) -> None:
    torch.manual_seed(0)
    trained = task(load_backbone(str(folders[name])), tmp_path, noise_shift=2.0)
    video = clip(name, 8)
    latent, words = trained.backbone.encode(video).detach(), [PROMPT] * 8
    batch = {
        "latent": trained.backbone.unpadded(latent),
        "prompt": words,
        "neutral_prompt": words,
        "first": video[:, :, 0],
    }
    loss = trained.training_step(batch, 0)
    loss.backward()
    learning = {key for key, p in trained.backbone.named_parameters() if p.requires_grad}
    assert {key.partition(".")[0] for key in learning} == set(trained.backbone.denoisers())
    for denoiser in trained.backbone.denoisers().values():  # of two, both have samples among eight times
        assert next(denoiser.parameters()).grad.abs().max() > 0  # of the patches' embedding
    t, noise = torch.full((8,), 0.5), torch.zeros_like(latent)
    with torch.no_grad():
        shown = [trained._condition({**batch, "first": first}) for first in (video[:, :, 0], -video[:, :, 0])]
        ones = [trained._loss(latent, t, words, noise, condition=condition) for condition in shown]
    assert float(ones[0]) != float(ones[1])


# --- faults -----------------------------------------------------------------------------------------------------------


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def index(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "model_index.json", **changes)


def other_channels(folder: Path, part: str = "transformer") -> None:
    """Of another condition than a mask and a latent."""
    config = json.loads((folder / part / "config.json").read_text())
    shutil.rmtree(folder / part)
    kept = {key: config[key] for key in ("image_dim", "added_kv_proj_dim")}
    wan_transformer(in_channels=2 * CHANNELS, **kept).save_pretrained(folder / part)


def flf2v(folder: Path) -> None:
    shutil.rmtree(folder / "transformer")
    settings = {"in_channels": 2 * CHANNELS + 4, "image_dim": 8, "added_kv_proj_dim": 24, "pos_embed_seq_len": 10}
    wan_transformer(**settings).save_pretrained(folder / "transformer")


def cogvideox_i2v_of(**settings: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        config = json.loads((folder / "transformer" / "config.json").read_text())
        shutil.rmtree(folder / "transformer")
        kept = {key: value for key, value in config.items() if not key.startswith("_")}
        cogvideox(**{**kept, **settings}).transformer.save_pretrained(folder / "transformer")

    return spoil


def other_denoiser(**settings: Any) -> Callable[[Path], None]:
    """Of HunyuanVideo's image to video."""

    def put(folder: Path) -> None:
        shutil.rmtree(folder / "transformer")
        hunyuan_parts(**settings)["transformer"].save_pretrained(folder / "transformer")

    return put


BROKEN: dict[str, tuple[str, Callable[[Path], Any], list[str]]] = {
    "no image encoder": ("wan_i2v_14b", lambda f: shutil.rmtree(f / "image_encoder"), ["lacks image_encoder"]),
    "an image encoder left out of the index": (
        "wan_i2v_14b",
        index(image_encoder=[None, None]),
        ["attends to the first frame", "image_encoder"],
    ),
    "no image processor": ("wan_i2v_14b", lambda f: shutil.rmtree(f / "image_processor"), ["lacks image_processor"]),
    "another image encoder": (
        "wan_i2v_14b",
        index(image_encoder=["transformers", "SiglipVisionModel"]),
        ["its image_encoder is a SiglipVisionModel", "CLIPVisionModel"],
    ),
    "an image encoder that lacks weights": (
        "wan_i2v_14b",
        lambda f: next((f / "image_encoder").glob("*.safetensors")).unlink(),
        ["image_encoder holds no weights"],
    ),
    "a damaged image processor": (
        "wan_i2v_14b",
        lambda f: (f / "image_processor" / "preprocessor_config.json").write_text("{"),
        ["preprocessor_config.json: damaged"],
    ),
    "no second denoiser": (
        "wan_2_2_i2v_a14b",
        lambda f: shutil.rmtree(f / "transformer_2"),
        ["lacks transformer_2"],
    ),
    "a second denoiser left out of the index": (
        "wan_2_2_i2v_a14b",
        index(transformer_2=[None, None]),
        ["boundary_ratio 0.875", "no transformer_2"],
    ),
    "no boundary": ("wan_2_2_i2v_a14b", index(boundary_ratio=None), ["boundary_ratio None", "a transformer_2"]),
    "a boundary that is none": ("wan_2_2_i2v_a14b", index(boundary_ratio=3), ["boundary_ratio 3", "from 0 to 1"]),
    "a boundary in words": ("wan_2_2_i2v_a14b", index(boundary_ratio="0.9"), ["boundary_ratio 0.9 is no number"]),
    "a second denoiser of another family": (
        "wan_2_2_i2v_a14b",
        index(transformer_2=["diffusers", "LTXVideoTransformer3DModel"]),
        ["its transformer_2 is a LTXVideoTransformer3DModel"],
    ),
    "channels of another condition": ("wan_i2v_14b", other_channels, ["of 12 channels", "takes 8"]),
    "channels that differ between two": (
        "wan_2_2_i2v_a14b",
        lambda f: other_channels(f, "transformer_2"),
        ["transformer takes 12 channels, transformer_2 8"],
    ),
    "text to video's name on image to video's parts": (
        "wan_2_2_i2v_a14b",
        index(_class_name="WanPipeline"),
        ["a WanPipeline whose denoiser takes 12 channels", "model_index.json"],
    ),
    "image to video's name on text to video's parts": (
        "wan_2_2_5b",
        index(_class_name="WanImageToVideoPipeline", expand_timesteps=False),
        ["a WanImageToVideoPipeline whose denoiser takes 4 channels"],
    ),
    "CogVideoX's first frame in other channels": (
        "cogvideox_1_5_5b_i2v",
        cogvideox_i2v_of(in_channels=3 * CHANNELS),
        ["of 8 channels", "takes 12"],
    ),
    "CogVideoX text to video's name on image to video's parts": (
        "cogvideox_1_5_5b_i2v",
        index(_class_name="CogVideoXPipeline"),
        ["a CogVideoXPipeline whose denoiser takes 8 channels", "model_index.json"],
    ),
    "CogVideoX image to video's name on text to video's parts": (
        "cogvideox_1_5_5b_i2v",
        cogvideox_i2v_of(in_channels=CHANNELS),
        ["a CogVideoXImageToVideoPipeline whose denoiser takes 4 channels"],
    ),
    "CogVideoX's latent frames in threes": (
        "cogvideox_1_5_5b_i2v",
        cogvideox_i2v_of(patch_size_t=3),
        ["patch_size_t 3", "1.5 has 2"],
    ),
    "no VAE": ("cogvideox_1_5_5b_i2v", lambda f: shutil.rmtree(f / "vae"), ["lacks vae"]),
    "a first and a last frame's embeddings": (
        "wan_i2v_14b",
        flf2v,
        ["FLF2V", "not supported"],
    ),
    "no second text encoder": (HUNYUAN, lambda f: shutil.rmtree(f / "text_encoder_2"), ["lacks text_encoder_2"]),
    "a second text encoder left out of the index": (
        HUNYUAN,
        index(text_encoder_2=[None, None]),
        ["its text_encoder_2 is left out of model_index.json", "a T5EncoderModel"],
    ),
    "T5 for Qwen": (
        HUNYUAN,
        index(text_encoder=["transformers", "T5EncoderModel"]),
        ["its text_encoder is a T5EncoderModel", "has a Qwen2_5_VLTextModel"],
    ),
    "no guider": (HUNYUAN, lambda f: shutil.rmtree(f / "guider"), ["lacks guider"]),
    "another guider": (
        HUNYUAN,
        index(guider=["diffusers", "PerturbedAttentionGuidance"]),
        ["its guider is a PerturbedAttentionGuidance", "has a ClassifierFreeGuidance"],
    ),
    "a damaged guider": (
        HUNYUAN,
        lambda f: (f / "guider" / "guider_config.json").write_text("{"),
        ["guider_config.json: damaged"],
    ),
    "a tokenizer without its wording": (
        HUNYUAN,
        lambda f: (f / "tokenizer" / "chat_template.jinja").unlink(),
        ["no chat_template", "copy the folder again"],
    ),
    "image to video without SigLIP": (
        HUNYUAN,
        index(image_encoder=[None, None]),
        ["its image_encoder is left out", "a SiglipVisionModel"],
    ),
    "channels of text to video that is not 1.5's": (
        HUNYUAN,
        other_denoiser(in_channels=CHANNELS),
        ["of 9 channels", "takes 4"],
    ),
    "super-resolution": (HUNYUAN, other_denoiser(in_channels=3 * CHANNELS + 2), ["of 9 channels", "takes 14"]),
    "step-distilled": (HUNYUAN, other_denoiser(use_meanflow=True), ["its denoiser is step-distilled (use_meanflow)"]),
    "embeddings of another width": (
        HUNYUAN,
        other_denoiser(image_embed_dim=12),
        ["its image_encoder makes embeddings of 8 channels, the denoiser takes 12"],
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_folder(case, folders, tmp_path) -> None:
    name, spoil, says = BROKEN[case]
    broken = Path(shutil.copytree(folders[name], tmp_path / "broken"))
    spoil(broken)
    with pytest.raises(UserError) as refused:
        load_backbone(str(broken))
    line = str(refused.value)
    assert "\n" not in line
    assert line.count(str(broken)) == 1
    for text in says:
        assert text in line


ASKED: dict[str, tuple[str, dict[str, Any], str]] = {
    "nothing is given": ("wan_i2v_14b", {"given_frames": "none"}, "given_frames none: .* draws a clip from its first"),
    "the first is not given": ("wan_2_2_i2v_a14b", {"given_frames": [15]}, "set --model.given_frames first"),
    "one between": ("wan_2_2_i2v_a14b", {"given_frames": [0, 4]}, r"given_frames 4: .*, or \[0, 15\] with the last"),
    "the last, to CLIP's": ("wan_i2v_14b", {"given_frames": [0, 15]}, "given_frames 15: .* shown the first frame; "),
    "the last, to CogVideoX": ("cogvideox_1_5_5b_i2v", {"given_frames": [0, 15]}, "given_frames 15: .* first frame; "),
    "nothing, to CogVideoX": ("cogvideox_1_5_5b_i2v", {"given_frames": "none"}, "given_frames none: .* its first"),
    "a size without learned positions": (
        "cogvideox_5b_i2v",
        {"size": 48},
        "data.size: frames of 48 x 48; .* learned positions are those of 32 x 32 alone",
    ),
    "a size beyond the positions": (
        "cogvideox_1_5_5b_i2v",
        {"size": 64},
        "data.size: frames of 64 x 64; .* positions for 48 x 48 at most",
    ),
    "one between, to SigLIP's": (HUNYUAN, {"given_frames": [0, 4]}, "given_frames 4: .* shown the first frame; "),
    "beyond": ("wan_i2v_14b", {"given_frames": [0, 16]}, "given_frames 16"),
    "half a latent frame at time 0": ("wan_2_2_5b", {"given_frames": [0, 1]}, "frames 1, 2, 3, 4 stand in one"),
    "ddim at time 0": ("wan_2_2_5b", {"inversion": "ddim"}, "ddim: holds no given frames"),
}


@pytest.mark.parametrize("case", ASKED)
def test_what_cannot_be_given(case, backbones) -> None:
    name, settings, says = ASKED[case]
    with pytest.raises(UserError, match=says):
        explained(backbones[name], name, [], **settings)


@SHOWN
def test_where_no_first_frame_can_be_shown_it_is_told(name, backbones, folders, tmp_path) -> None:
    backbone = backbones[name]
    z, t, prompt = torch.zeros(1, CHANNELS, *SHAPES[name]), torch.tensor([0.5]), backbone.embed([PROMPT])
    with pytest.raises(UserError, match="draws a clip from its first frame, which is not given here"):
        backbone.predict(z, t, prompt)
    with pytest.raises(UserError, match=r"editor.backbone: it draws from the clip's first frame"):
        LatentVideoEditor(backbone)
    always = f"model.given: a {backbone.pipeline_name} is always given the first frame"
    with pytest.raises(UserError, match=always):
        DenoiserTask(load_backbone(str(folders[name])), tmp_path, train_text_encoder=False, given=True)
