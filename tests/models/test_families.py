"""Every family behind the contract, against its stock pipeline: scaling, prediction, time grid, sampling, layout."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline, FlowMatchEulerDiscreteScheduler

import lvcf
from lvcf.callbacks.guidance import GradientGuidance
from lvcf.callbacks.refinement import decode_with_features
from lvcf.data.clip import round_to_8_bits, to_frames
from lvcf.diffusion.parameterization import expand
from lvcf.diffusion.steps import ddim_step
from lvcf.errors import UserError
from lvcf.guidance.weight import ConstantWeight
from lvcf.models.backbones.anyflow import AnyFlowBackbone
from lvcf.models.backbones.cogvideox import CogVideoXBackbone
from lvcf.models.backbones.hunyuan_video import HunyuanVideoBackbone
from lvcf.models.backbones.latte import LatteBackbone
from lvcf.models.backbones.load import load_backbone
from lvcf.models.backbones.ltx import LTXBackbone
from lvcf.models.backbones.ltx_2 import LTX2Backbone
from lvcf.models.backbones.ltx_video import LTXVideoBackbone
from lvcf.models.backbones.pipeline import ESTIMATES, PARTS, PipelineBackbone
from lvcf.models.backbones.schedule import prediction_of
from lvcf.models.backbones.wan import WanBackbone
from lvcf.models.backbones.wan_vace import WanVACEBackbone
from lvcf.region import Kept, in_pixels
from tests.families import (
    CHANNELS,
    FAMILIES,
    OWN_VAE,
    PAIRS,
    SHAPES,
    SIZES,
    cogvideox,
    isolated,
    save_family,
    wan,
    wan_transformer,
    wan_words,
)
from tests.toys import BrightDark

EXPECTED = {
    "cogvideox_2b": (CogVideoXBackbone, "v_prediction"),
    "ltx_2b": (LTXVideoBackbone, "flow_prediction"),
    "ltx2_19b": (LTX2Backbone, "flow_prediction"),
    "wan_1_3b": (WanBackbone, "flow_prediction"),
    "wan_2_2_5b": (WanBackbone, "flow_prediction"),
    "wan_vace_1_3b": (WanVACEBackbone, "flow_prediction"),
    "anyflow_1_3b": (AnyFlowBackbone, "flow_prediction"),
    "hunyuan_video_1_5_t2v": (HunyuanVideoBackbone, "flow_prediction"),
    "latte": (LatteBackbone, "epsilon"),
}
"""Class and prediction."""
PROMPT = "apical four chamber echocardiogram ejection fraction 30 percent"
EACH = pytest.mark.parametrize("name", FAMILIES)
EACH_VAE = pytest.mark.parametrize("name", OWN_VAE)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("families")
    return {name: save_family(name, root / name) for name in FAMILIES}


@pytest.fixture(scope="module")
def backbones(folders) -> dict[str, PipelineBackbone]:
    return {name: load_backbone(str(folder)).requires_grad_(False) for name, folder in folders.items()}


def clip(name: str, batch: int = 2, frames: int = 16) -> torch.Tensor:
    return torch.rand(batch, 3, frames, SIZES[name], SIZES[name]) * 2 - 1


@EACH
def test_the_loader_finds_the_family(name, backbones) -> None:
    kind, prediction = EXPECTED[name]
    assert type(backbones[name]) is kind
    assert prediction_of(backbones[name].scheduler) == prediction


def test_a_small_backbone_is_an_ltx_of_its_own(backbone_folder) -> None:
    assert type(load_backbone(str(backbone_folder))) is LTXBackbone


@EACH
def test_as_many_frames_come_out_as_went_in(name, backbones) -> None:
    backbone, shape = backbones[name], SHAPES[name]
    z = backbone.encode(clip(name))
    assert z.shape == (2, CHANNELS, *shape)
    assert backbone.decode(z, 16).shape == clip(name).shape
    assert torch.equal(z, backbone.encode(clip_again := clip(name))) is False  # another clip
    assert torch.equal(backbone.encode(clip_again), backbone.encode(clip_again))


@EACH
def test_latents_are_scaled_as_the_pipeline_scales_them(name, backbones) -> None:
    """``decode`` against the stock pipelines' own decoding, ``encode`` as its inverse on the posterior's mode."""
    backbone, pipe = backbones[name], backbones[name].pipeline()
    vae, frames = backbone.vae, 16 if name == "latte" else 17
    video = clip(name, 1, frames)
    if name == "latte":
        raw = vae.encode(video[0].transpose(0, 1)).latent_dist.mode().transpose(0, 1)[None]
    else:
        raw = vae.encode(video).latent_dist.mode()
    if name.startswith(("wan", "anyflow")):
        mean, std = (torch.tensor(v).view(1, -1, 1, 1, 1) for v in (vae.config.latents_mean, vae.config.latents_std))
        scaled = (raw - mean) * (1.0 / std)
    elif name.startswith("ltx"):
        scaled = pipe._normalize_latents(raw, vae.latents_mean, vae.latents_std, vae.config.scaling_factor)
    else:
        scaled = raw * vae.config.scaling_factor
    torch.testing.assert_close(backbone.encode(video), scaled)
    assert not torch.allclose(scaled, raw)
    if name == "cogvideox_2b":
        decoded = pipe.decode_latents(scaled.transpose(1, 2))
    elif name == "latte":
        decoded = pipe.decode_latents(scaled, frames)
    else:
        decoded = vae.decode(raw).sample
    torch.testing.assert_close(backbone.decode(scaled, frames), decoded, atol=1e-5, rtol=1e-4)


def stock_latents(pipe: DiffusionPipeline, name: str, noise: torch.Tensor, steps: int) -> torch.Tensor:
    """What the stock pipeline makes of a start ``(1, C, F, h, w)`` without classifier-free guidance."""
    size, kind = SIZES[name], name.partition("_")[0]
    options = {"num_inference_steps": steps, "guidance_scale": 1.0, "output_type": "latent", "return_dict": False}
    options |= {"prompt": PROMPT, "height": size, "width": size}
    pipe.set_progress_bar_config(disable=True)
    if kind == "hunyuan":
        pipe.guider = pipe.guider.new(guidance_scale=options.pop("guidance_scale"))
    if kind == "cogvideox":
        options["max_sequence_length"] = pipe.transformer.config.max_text_seq_length
        return pipe(num_frames=17, latents=noise.transpose(1, 2), **options)[0].transpose(1, 2)
    if name == "wan_vace_1_3b":
        options |= {"prompt": None, "prompt_embeds": wan_words(pipe, PROMPT)}
    if kind in ("wan", "anyflow", "hunyuan"):
        return pipe(num_frames=17, latents=noise, **options)[0]
    if kind == "latte":
        return pipe(video_length=16, latents=noise, clean_caption=False, **options)[0]
    if kind == "ltx2":
        return isolated(pipe, noise, **options)
    packed = pipe._pack_latents(noise)
    return pipe._unpack_latents(pipe(num_frames=17, frame_rate=8, latents=packed, **options)[0], *noise.shape[2:])


ALIKE = {"cogvideox_5b": "cogvideox_2b", "cogvideox_1_5_5b": "cogvideox_2b", "wan_2_2_t2v_a14b": "wan_1_3b"}
"""Those without a configuration of their own, and whose clips' size they have."""


def alike(name: str) -> PipelineBackbone:
    """As the 2B, with rotary positions, and latent frames in pairs; as the 1.3B, with two denoisers."""
    torch.manual_seed(5)
    pipe, more = cogvideox(**(PAIRS if name == "cogvideox_1_5_5b" else {"use_rotary_positional_embeddings": True})), {}
    if name == "wan_2_2_t2v_a14b":
        pipe, more = wan(), {"transformer_2": wan_transformer(), "boundary_ratio": 0.875}
    parts = {part: getattr(pipe, part) for part in PARTS}
    return (WanBackbone if more else CogVideoXBackbone)(**parts, **more).eval()


@pytest.mark.parametrize("name", [*FAMILIES, *ALIKE])
@torch.no_grad()
def test_sampling_makes_what_the_stock_pipeline_makes(name, backbones, folders) -> None:
    """Words, positions, clock, prediction and grid at once: four steps from the same noise, nothing given."""
    backbone = alike(name) if name in ALIKE else backbones[name]
    pipe, name = backbone.pipeline(), ALIKE.get(name, name)
    if name == "ltx2_19b":  # whose sound this project does not load
        pipe = DiffusionPipeline.from_pretrained(folders[name])
    scheduler = backbone.scheduler
    if name.startswith("wan"):  # UniPC remembers steps: the first-order flow, as diffusers' conversion script sets it
        backbone.scheduler = pipe.scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    noise = backbone.padded(torch.randn(1, CHANNELS, *SHAPES[name]))
    wanted = stock_latents(pipe, name, noise, 4)
    grid = backbone.time_grid(4, 1.0, noise)
    if name.startswith("wan"):  # its pipeline asks this scheduler for another grid than LTX-Video's does
        pipe.scheduler.set_timesteps(4)
        grid = pipe.scheduler.sigmas
    prompt, z = backbone.embed([PROMPT]), noise
    for t, s in pairwise(grid):
        clean = backbone.towards(z, t[None], s[None], prompt)
        z = ddim_step(z, clean, backbone.alpha_sigma(t[None]), backbone.alpha_sigma(s[None]))
    backbone.scheduler = scheduler
    torch.testing.assert_close(z, wanted, atol=2e-4, rtol=1e-3)
    assert (z - noise).abs().max() > 0.1


@torch.no_grad()
def test_cogvideox_1_5_has_a_latent_frame_in_front_that_stands_for_none_of_the_clips() -> None:
    """Its pipeline drops it before it decodes; MSPR's features and a region's latents leave it out."""
    backbone, video = alike("cogvideox_1_5_5b"), clip("cogvideox_2b", 1)
    z = backbone.encode(video)
    assert z.shape == (1, CHANNELS, 6, 4, 4)
    own = CogVideoXBackbone.encode_with(backbone.vae, video)
    assert torch.equal(z, backbone.padded(own))
    assert torch.equal(backbone.unpadded(z), own)
    z[:, :, 0] = 9.0
    decoded, features = decode_with_features(backbone, z, 16)
    torch.testing.assert_close(decoded, backbone.pipeline().decode_latents(own.transpose(1, 2))[:, :, :16])
    assert [len(backbone.frames_of(place, 16)) for place in range(6)] == [0, 1, 4, 4, 4, 3]
    last = backbone.at_frames(features[-1], 6, 16)
    assert torch.equal(last, features[-1][:, :, :16])
    kept = Kept.of(video, z, backbone, torch.ones(1, 1, 16, 32, 32, dtype=torch.bool), "none")
    assert kept.latents is not None
    assert [bool(kept.latents[:, :, place].any()) for place in range(6)] == [False, *[True] * 5]
    assert in_pixels(kept.latents, backbone, (16, 32, 32)).all()


@EACH
@torch.no_grad()
def test_the_prediction_is_the_schedulers_conversion(name, backbones) -> None:
    backbone = backbones[name]
    scheduler = backbone.scheduler
    z = torch.randn(1, CHANNELS, *SHAPES[name])
    prompt = backbone.embed([PROMPT])
    for i, t in enumerate(backbone.time_grid(4, 1.0, z)[1:4], start=1):
        said = backbone.output(z, t[None], prompt)
        clean, noise = backbone.predict(z, t[None], prompt)
        asked = name.startswith(("ltx", "hunyuan"))  # their pipelines ask for a grid of their own
        scheduler.set_timesteps(4) if not asked else backbone.time_grid(4, 1.0, z)
        if asked or name.startswith("anyflow"):  # a step to 0 is the clean estimate
            expected = z - scheduler.sigmas[i] * said
        elif name.startswith("wan"):
            scheduler._step_index = i
            expected = scheduler.convert_model_output(said, sample=z)
        else:
            expected = scheduler.step(said, int(scheduler.timesteps[i]), z, return_dict=True).pred_original_sample
        torch.testing.assert_close(clean, expected, atol=1e-4, rtol=1e-4)
        alpha, sigma = (expand(scale, z) for scale in backbone.alpha_sigma(t[None]))
        torch.testing.assert_close(alpha * clean + sigma * noise, z, atol=1e-4, rtol=1e-4)


@EACH
def test_the_grid_is_the_schedulers(name, backbones) -> None:
    backbone = backbones[name]
    latent = torch.zeros(1, CHANNELS, *SHAPES[name])
    grid = backbone.time_grid(5, 1.0, latent)
    if name.startswith(("wan", "anyflow")):
        backbone.scheduler.set_timesteps(5)
        torch.testing.assert_close(grid, backbone.scheduler.sigmas.float())
    elif not name.startswith(("ltx", "hunyuan")):  # whose pipelines ask for their own: see the whole sampling above
        backbone.scheduler.set_timesteps(5)
        torch.testing.assert_close(backbone.timestep(grid[:-1]), backbone.scheduler.timesteps)
    part = backbone.time_grid(5, 0.6, latent)
    for times, top in ((grid, 1.0), (part, 0.999 if name.startswith(("wan", "anyflow")) else 0.95)):
        assert len(times) == 6
        assert float(times[-1]) == 0.0
        assert (times.diff() < 0).all()
        assert times[0] <= top
    assert part[0] < grid[0]
    assert backbone.time_grid(1, 0.6, latent).tolist() == pytest.approx([0.6, 0.0])
    alpha, sigma = backbone.alpha_sigma(torch.tensor([0.0]))
    assert (float(alpha), float(sigma)) == (1.0, 0.0)


def test_a_larger_clip_shifts_ltx_videos_grid_to_noise(backbones) -> None:
    small, large = (torch.zeros(1, CHANNELS, 9, side, side) for side in (4, 24))
    backbone = backbones["ltx_2b"]
    assert (backbone.time_grid(6, 1.0, large)[1:-2] > backbone.time_grid(6, 1.0, small)[1:-2]).all()


@EACH
@torch.no_grad()
def test_what_is_learnt_reads_back_as_the_clean_latent_and_the_noise(name, backbones) -> None:
    backbone = backbones[name]
    z_0, noise, t = torch.randn(3, 2, 2, 2, 2), torch.randn(3, 2, 2, 2, 2), torch.tensor([0.2, 0.5, 0.9])
    alpha, sigma = backbone.alpha_sigma(t)
    z_t = expand(alpha, z_0) * z_0 + expand(sigma, z_0) * noise
    read = ESTIMATES[prediction_of(backbone.scheduler)](backbone.training_target(z_0, noise, t), z_t, alpha, sigma)
    torch.testing.assert_close(read, (z_0, noise), atol=1e-4, rtol=1e-4)


@EACH
@torch.no_grad()
def test_time_and_prompt_matter_and_samples_do_not_mix(name, backbones) -> None:
    backbone = backbones[name]
    z = torch.randn(1, CHANNELS, *SHAPES[name]).repeat(2, 1, 1, 1, 1)
    t, prompt = torch.tensor([0.3, 0.8]), backbone.embed([PROMPT, "echocardiogram"])
    said = backbone.output(z, t, prompt)
    other = backbone.output(z, t, backbone.embed([PROMPT, PROMPT]))
    assert not torch.allclose(said[0], said[1])
    assert not torch.allclose(said[1], other[1])
    torch.testing.assert_close(said[:1], backbone.output(z[:1], t[:1], backbone.embed([PROMPT])), atol=1e-5, rtol=1e-4)


@EACH
@torch.no_grad()
def test_cross_attention_to_a_word_is_read_where_there_is_one_and_refused_by_name_elsewhere(name, backbones) -> None:
    """A pixel a token, T5's pieces: the shares of all words, and of the end, add up to 1."""
    backbone, shape = backbones[name], SHAPES[name]
    z, t, prompt = torch.randn(1, CHANNELS, *shape), torch.tensor([0.5]), backbone.embed([PROMPT])
    if name != "ltx_2b":
        with pytest.raises(UserError, match=f"a {type(backbone).__name__} has no cross-attention"):
            backbone.attention_to(["30"], z, t, prompt)
        return
    shares = [backbone.attention_to([word], z, t, prompt) for word in (*PROMPT.split(), "</s>")]
    assert all(share.shape == (1, 1, *shape) and float(share.min()) > 0.0 for share in shares)
    torch.testing.assert_close(torch.stack(shares).sum(0), torch.ones(1, 1, *shape))


@EACH_VAE
def test_gradients_flow_through_the_decoder_whole_sliced_and_in_tiles(name, backbones) -> None:
    backbone, frames = backbones[name], SHAPES[name][0]
    z = torch.randn(2, CHANNELS, frames, 4, 4)
    vae = backbone.vae
    pixel = SIZES[name] // SHAPES[name][1]  # of the latent
    least, stride = (3 * pixel, 2 * pixel) if name == "ltx2_19b" else (2 * pixel, pixel)  # it mirrors: no tile of one
    settings = {k: v for k, v in vars(vae).items() if k.startswith(("tile_", "use_"))}
    results = {}
    try:
        for way in ("whole", "sliced", "tiled"):
            vae.use_slicing, vae.use_tiling = way == "sliced", way == "tiled"
            for key in (k for k in settings if k.startswith("tile_")):  # overlapping, of two latent pixels or three
                values = {"latent": 2, "overlap": 0.5, "stride": stride}
                setattr(vae, key, next((v for kind, v in values.items() if kind in key), least))
            point = z.clone().requires_grad_(True)
            video = backbone.decode(point, 16)
            video.square().mean().backward()
            assert torch.isfinite(point.grad).all()
            assert (point.grad.flatten(1).norm(dim=1) > 0).all()
            results[way] = video.detach()
    finally:
        vars(vae).update(settings)
    torch.testing.assert_close(results["sliced"], results["whole"], atol=1e-5, rtol=1e-4)
    assert results["tiled"].shape == results["whole"].shape
    assert not torch.allclose(results["tiled"], results["whole"], atol=1e-6)


@EACH_VAE
@torch.no_grad()
def test_mspr_reads_whole_features_however_the_decoder_goes(name, backbones) -> None:
    """Wan decodes frame by frame, CogVideoX in pairs, Latte takes frames for samples; slicing goes by samples."""
    backbone = backbones[name]
    z = torch.randn(2, CHANNELS, *SHAPES[name])
    video, features = decode_with_features(backbone, z, 16)
    torch.testing.assert_close(video, backbone.decode(z, 16))
    blocks = 4 if name == "ltx2_19b" else 6 if name.startswith("hunyuan") else 5
    assert len(features) == len(backbone.decoder_blocks()) == blocks
    for feature in features:
        assert feature.ndim == 5
        assert len(feature) == 2
    assert features[-1].shape[2] >= 16
    assert features[0].shape[3:] == z.shape[3:]
    backbone.vae.use_slicing = True
    try:
        _, sliced = decode_with_features(backbone, z, 16)
    finally:
        backbone.vae.use_slicing = False
    _, one = decode_with_features(backbone, z[1:], 16)
    for together, apart, alone in zip(features, sliced, one, strict=True):
        torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(together[1:], alone, atol=1e-5, rtol=1e-4)


@EACH
def test_the_explainer_takes_it(name, backbones) -> None:
    """Weights of noise draw nothing, but M's gradient goes through all of it."""
    video = round_to_8_bits(clip(name, 1)[0])
    settings = {"steps": 2, "size": SIZES[name], "precision": "32-true", "progress": False}
    explainer = lvcf.Explainer(
        BrightDark(0.9), backbones[name], [GradientGuidance(samples=1, weight=ConstantWeight(0.1))], **settings
    )
    found = explainer.explain(video, "bright")
    assert found.video.shape == (16, SIZES[name], SIZES[name], 3)
    assert (found.video != to_frames(video)).any()
    assert found.facts["gradient_evaluations"] > 0


def test_ltx_2_without_its_connectors_is_refused(folders, tmp_path) -> None:
    index = json.loads((folders["ltx2_19b"] / "model_index.json").read_text())
    with pytest.raises(UserError, match="lacks connectors; point to a whole folder"):
        LTX2Backbone._check_index(folders["ltx2_19b"], {**index, "connectors": [None, None]})


@EACH
def test_saving_keeps_the_published_layout_and_stock_diffusers_loads_it(name, backbones, folders, tmp_path) -> None:
    backbone = backbones[name]
    backbone.save_pretrained(tmp_path)
    pipe = DiffusionPipeline.from_pretrained(tmp_path)
    assert type(pipe).__name__ == backbone.pipeline_name
    saved, given = (json.loads((root / "model_index.json").read_text()) for root in (tmp_path, folders[name]))
    assert saved.pop("_notice") == ""
    assert saved == given
    for part in ("vae", "transformer", "text_encoder"):
        before, after = getattr(backbone, part).state_dict(), getattr(pipe, part).state_dict()
        assert list(before) == list(after)
        assert all(torch.equal(before[key], after[key]) for key in before)
    assert {p.relative_to(tmp_path) for p in tmp_path.rglob("*.*")} == {
        p.relative_to(folders[name]) for p in folders[name].rglob("*.*")
    }


# --- names in the published files ---
# From the scripts that made them, diffusers' convert_{cogvideox,ltx,wan,hunyuan_video1_5}_to_diffusers.py; for Latte,
# which has none, from the stock pipeline's annotations and the class's defaults; of Wan 2.2 from diffusers'
# tests/pipelines/wan/test_wan_22{,_image_to_video}.py; of AnyFlow from its own scripts/convert_model.

CLASSES = {
    "cogvideox_2b": ("CogVideoXPipeline", "AutoencoderKLCogVideoX", "CogVideoXTransformer3DModel", "T5EncoderModel"),
    "ltx_2b": ("LTXPipeline", "AutoencoderKLLTXVideo", "LTXVideoTransformer3DModel", "T5EncoderModel"),
    "ltx2_19b": (
        "LTX2Pipeline",
        "AutoencoderKLLTX2Video",
        "LTX2VideoTransformer3DModel",
        "Gemma3ForConditionalGeneration",
    ),
    "wan_1_3b": ("WanPipeline", "AutoencoderKLWan", "WanTransformer3DModel", "UMT5EncoderModel"),
    "wan_2_2_5b": ("WanPipeline", "AutoencoderKLWan", "WanTransformer3DModel", "UMT5EncoderModel"),
    "wan_vace_1_3b": ("WanVACEPipeline", "AutoencoderKLWan", "WanVACETransformer3DModel", "UMT5EncoderModel"),
    "anyflow_1_3b": ("AnyFlowPipeline", "AutoencoderKLWan", "AnyFlowTransformer3DModel", "UMT5EncoderModel"),
    "hunyuan_video_1_5_t2v": (
        "HunyuanVideo15Pipeline",
        "AutoencoderKLHunyuanVideo15",
        "HunyuanVideo15Transformer3DModel",
        "Qwen2_5_VLTextModel",
    ),
    "latte": ("LattePipeline", "AutoencoderKL", "LatteTransformer3DModel", "T5EncoderModel"),
}
CONFIG_KEYS = {
    "cogvideox_2b": {
        "transformer": "num_layers num_attention_heads use_rotary_positional_embeddings",
        "vae": "scaling_factor",
        "scheduler": """
            snr_shift_scale beta_end beta_schedule beta_start clip_sample num_train_timesteps prediction_type
            rescale_betas_zero_snr set_alpha_to_one timestep_spacing
        """,
    },
    "ltx_2b": {
        "vae": """
            in_channels out_channels latent_channels block_out_channels decoder_block_out_channels
            layers_per_block decoder_layers_per_block spatio_temporal_scaling decoder_spatio_temporal_scaling
            decoder_inject_noise upsample_residual upsample_factor timestep_conditioning patch_size patch_size_t
            resnet_norm_eps scaling_factor encoder_causal decoder_causal
        """,
        "scheduler": "use_dynamic_shifting base_shift max_shift base_image_seq_len max_image_seq_len shift_terminal",
    },
    "wan_1_3b": {
        "transformer": """
            added_kv_proj_dim attention_head_dim cross_attn_norm eps ffn_dim freq_dim in_channels
            num_attention_heads num_layers out_channels patch_size qk_norm text_dim
        """,
        "vae": "z_dim latents_mean latents_std",
    },
    "wan_2_2_5b": {
        "vae": """
            z_dim latents_mean latents_std is_residual patch_size in_channels out_channels scale_factor_spatial
            scale_factor_temporal dim_mult num_res_blocks temperal_downsample
        """,
    },
    "wan_vace_1_3b": {"transformer": "vace_layers vace_in_channels in_channels out_channels"},
    "anyflow_1_3b": {"transformer": "gate_value deltatime_type", "scheduler": "num_train_timesteps shift"},
    "hunyuan_video_1_5_t2v": {"transformer": "target_size task_type use_meanflow", "scheduler": "shift"},
    "latte": {
        "transformer": """
            num_attention_heads attention_head_dim in_channels out_channels num_layers cross_attention_dim
            sample_size patch_size norm_type caption_channels video_length
        """,
        "vae": "block_out_channels latent_channels scaling_factor",
        "scheduler": "beta_start beta_end beta_schedule prediction_type timestep_spacing",
    },
}
TENSORS = {
    "cogvideox_2b": {
        "transformer": """
            patch_embed.proj norm_final norm_out.linear norm_out.norm proj_out time_embedding.linear_1
            time_embedding.linear_2 transformer_blocks.N.attn1.to_q transformer_blocks.N.attn1.to_k
            transformer_blocks.N.attn1.to_v transformer_blocks.N.attn1.norm_q transformer_blocks.N.attn1.norm_k
            transformer_blocks.N.attn1.to_out.N transformer_blocks.N.ff.net.N.proj transformer_blocks.N.ff.net.N
            transformer_blocks.N.norm1.linear transformer_blocks.N.norm1.norm transformer_blocks.N.norm2.linear
        """,
        "vae": """
            encoder.down_blocks.N.resnets.N.conv1.conv encoder.down_blocks.N.downsamplers.N.conv
            encoder.mid_block.resnets.N.conv1.conv decoder.mid_block.resnets.N.conv1.conv
            decoder.up_blocks.N.resnets.N.conv1.conv decoder.up_blocks.N.upsamplers.N.conv
        """,
    },
    "ltx_2b": {
        "transformer": """
            proj_in time_embed.linear transformer_blocks.N.attn1.norm_q transformer_blocks.N.attn2.norm_k
        """,
        "vae": """
            decoder.mid_block.resnets.N.conv1.conv decoder.up_blocks.N.resnets.N.conv1.conv
            decoder.up_blocks.N.upsamplers.N.conv.conv encoder.down_blocks.N.downsamplers.N.conv
            encoder.mid_block.resnets.N.conv1.conv
        """,
    },
    "wan_1_3b": {
        "transformer": """
            condition_embedder.time_embedder.linear_1 condition_embedder.time_embedder.linear_2
            condition_embedder.text_embedder.linear_1 condition_embedder.text_embedder.linear_2
            condition_embedder.time_proj proj_out blocks.N.ffn.net.N.proj blocks.N.ffn.net.N blocks.N.norm2
        """,
        "vae": """
            encoder.mid_block.resnets.N.conv1 encoder.mid_block.attentions.N.to_qkv
            encoder.mid_block.attentions.N.proj decoder.mid_block.resnets.N.conv2 encoder.conv_out
            decoder.conv_out quant_conv post_quant_conv encoder.conv_in decoder.conv_in
            decoder.up_blocks.N.resnets.N.conv1 decoder.up_blocks.N.upsamplers.N.resample.N
            decoder.up_blocks.N.upsamplers.N.time_conv encoder.down_blocks.N.conv1
        """,
    },
    "wan_vace_1_3b": {
        "transformer": """
            vace_patch_embedding vace_blocks.N.proj_in vace_blocks.N.proj_out vace_blocks.N.attn1.to_q
            blocks.N.ffn.net.N
        """,
    },
    "anyflow_1_3b": {
        "transformer": """
            condition_embedder.time_embedder.linear_1 condition_embedder.delta_embedder.linear_1
            condition_embedder.delta_embedder.linear_2 blocks.N.attn1.to_q blocks.N.ffn.net.N.proj blocks.N.norm2
        """,
    },
    "hunyuan_video_1_5_t2v": {
        "transformer": """
            time_embed.timestep_embedder.linear_1 time_embed.timestep_embedder.linear_2 cond_type_embed
            context_embedder.time_text_embed.timestep_embedder.linear_1 context_embedder.proj_in
            context_embedder.time_text_embed.text_embedder.linear_1
            context_embedder.token_refiner.refiner_blocks.N.norm1
            context_embedder.token_refiner.refiner_blocks.N.attn.to_q
            context_embedder.token_refiner.refiner_blocks.N.attn.to_out.N
            context_embedder.token_refiner.refiner_blocks.N.ff.net.N.proj
            context_embedder.token_refiner.refiner_blocks.N.norm_out.linear
            context_embedder_2.norm context_embedder_2.linear_1 context_embedder_2.linear_3
            image_embedder.norm_in image_embedder.linear_1 image_embedder.linear_2 image_embedder.norm_out
            x_embedder.proj norm_out.linear proj_out
            transformer_blocks.N.norm1.linear transformer_blocks.N.norm1_context.linear
            transformer_blocks.N.attn.to_q transformer_blocks.N.attn.norm_q transformer_blocks.N.attn.to_out.N
            transformer_blocks.N.attn.add_q_proj transformer_blocks.N.attn.norm_added_k
            transformer_blocks.N.attn.to_add_out transformer_blocks.N.ff.net.N.proj
            transformer_blocks.N.ff_context.net.N
        """,
        "vae": """
            encoder.conv_in.conv encoder.down_blocks.N.resnets.N.norm1.gamma
            encoder.down_blocks.N.resnets.N.conv1.conv encoder.down_blocks.N.downsamplers.N.conv.conv
            encoder.mid_block.attentions.N.to_q encoder.mid_block.attentions.N.proj_out encoder.norm_out.gamma
            decoder.mid_block.resnets.N.conv1.conv decoder.mid_block.attentions.N.norm.gamma
            decoder.up_blocks.N.resnets.N.conv2.conv decoder.up_blocks.N.upsamplers.N.conv.conv
            decoder.conv_out.conv
        """,
    },
    "latte": {
        "transformer": """
            pos_embed.proj transformer_blocks.N.attn1.to_q transformer_blocks.N.attn2.to_q
            temporal_transformer_blocks.N.attn1.to_q adaln_single.linear caption_projection.linear_1 proj_out
        """,
        "vae": "encoder.down_blocks.N.resnets.N.conv1 decoder.up_blocks.N.resnets.N.conv1 quant_conv post_quant_conv",
    },
}


@pytest.mark.parametrize("name", CLASSES)
def test_classes_configuration_keys_and_tensor_names_are_those_of_the_published_files(name, folders, backbones) -> None:
    folder, (pipeline, vae, transformer, text_encoder) = folders[name], CLASSES[name]
    index = json.loads((folder / "model_index.json").read_text())
    assert index["_class_name"] == pipeline
    assert index["vae"] == ["diffusers", vae]
    assert index["transformer"] == ["diffusers", transformer]
    assert index["text_encoder"] == ["transformers", text_encoder]
    for part, keys in CONFIG_KEYS.get(name, {}).items():
        file = "scheduler_config.json" if part == "scheduler" else "config.json"
        assert set(keys.split()) <= set(json.loads((folder / part / file).read_text()))
    for part, wanted in TENSORS.get(name, {}).items():
        tensors = getattr(backbones[name], part).state_dict()
        layers = {re.sub(r"\.\d+(?=\.|$)", ".N", key.removesuffix(".weight").removesuffix(".bias")) for key in tensors}
        assert set(wanted.split()) <= layers
