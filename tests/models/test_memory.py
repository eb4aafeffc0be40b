"""What makes a large backbone fit: weights in half precision, parts elsewhere until used, activations made twice."""

from __future__ import annotations

import weakref
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch._dynamo.utils import counters

from benchmarks.live_bytes import most_live_bytes
from lvcf.diffusion.steps import ddim_step
from lvcf.errors import UserError
from lvcf.models.backbones.load import load_backbone
from lvcf.models.backbones.offload import HOME
from lvcf.models.backbones.pipeline import PipelineBackbone
from lvcf.tasks.denoiser import DenoiserTask
from tests.families import CHANNELS, FAMILIES, IMAGE_FAMILIES, SHAPES, SIZES, save_family
from tests.models.test_families import PROMPT, stock_latents

EVERY = tuple(FAMILIES | IMAGE_FAMILIES)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("memory")
    return {name: save_family(name, root / name) for name in EVERY}


def loaded(folder: Path, **options: Any) -> PipelineBackbone:
    return load_backbone(str(folder), **options).requires_grad_(False)


def clip(name: str, frames: int = 16) -> torch.Tensor:
    return torch.rand(1, 3, frames, SIZES[name], SIZES[name], generator=torch.Generator().manual_seed(2)) * 2 - 1


def predicted(backbone: PipelineBackbone, name: str, z: torch.Tensor) -> torch.Tensor:
    """The clean estimate at t = 0.95 and, of two denoisers, the second's beside it at 0.4."""
    many = torch.cat([z, z])
    condition = backbone.condition(clip(name), [0])
    told = backbone.embed([PROMPT] * 2)
    both = None if condition is None else condition.repeat(2)
    return backbone.predict(many, torch.tensor([0.95, 0.4]), told, both)[0]


def tour(backbone: PipelineBackbone, name: str) -> dict[str, torch.Tensor]:
    """Everything that a backbone is asked in a guided run, each in its turn."""
    made = {"latent": backbone.encode(clip(name)), "words": backbone.embed([PROMPT]).tokens}
    made["clean"] = predicted(backbone, name, noise(name))
    made["clip"] = backbone.decode(made["latent"], 16)
    with torch.enable_grad():
        for key, ask in (("clip", lambda z: backbone.decode(z, 16)), ("clean", lambda z: predicted(backbone, name, z))):
            z = noise(name).requires_grad_(True)
            (made[f"gradient of the {key}"],) = torch.autograd.grad(ask(z).square().mean(), z)
    return made


def noise(name: str) -> torch.Tensor:
    return torch.randn(1, CHANNELS, *SHAPES[name], generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", EVERY)
@torch.no_grad()
def test_a_denoiser_in_half_precision_says_nearly_the_same(name, folders) -> None:
    plain, half = loaded(folders[name]), loaded(folders[name], weights_dtype="bfloat16")
    kept = type(half.transformer)._keep_in_fp32_modules or []
    for denoiser in half.denoisers().values():
        for key, weight in denoiser.named_parameters():
            inside = set(key.split(".")) & set(kept)
            assert weight.dtype == (torch.float32 if inside else torch.bfloat16), key
    wanted, said = predicted(plain, name, noise(name)), predicted(half, name, noise(name))
    assert said.dtype == torch.float32
    assert 0 < (said - wanted).abs().max() < 0.05 * wanted.abs().max()
    assert half.encode(clip(name)).dtype == torch.float32


@pytest.mark.parametrize("name", ["wan_1_3b", "ltx_2b"])
@torch.no_grad()
def test_in_half_precision_it_samples_as_the_stock_pipeline_does(name, folders) -> None:
    backbone = loaded(folders[name], weights_dtype="bfloat16", text_dtype="bfloat16")
    pipe, start = backbone.pipeline(), noise(name)
    if name.startswith("wan"):  # see test_families
        backbone.scheduler = pipe.scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    wanted = stock_latents(pipe, name, start, 2)
    grid = pipe.scheduler.sigmas
    prompt, z = backbone.embed([PROMPT]), start
    for t, s in pairwise(grid):
        clean, _ = backbone.predict(z, t[None], prompt)
        z = ddim_step(z, clean, backbone.alpha_sigma(t[None]), backbone.alpha_sigma(s[None]))
    torch.testing.assert_close(z, wanted.float(), atol=5e-3, rtol=5e-3)


def test_half_precision_is_trained_by_lora_alone(folders, tmp_path) -> None:
    backbone = load_backbone(str(folders["wan_1_3b"]), weights_dtype="bfloat16")
    with pytest.raises(UserError, match="weights_dtype: small steps vanish"):
        DenoiserTask(backbone, tmp_path, train_text_encoder=False)
    task = DenoiserTask(backbone, tmp_path, train_text_encoder=False, lora_rank=2)
    assert {p.dtype for p in task.parameters() if p.requires_grad} == {torch.float32}


def test_a_precision_that_is_none_is_refused(folders) -> None:
    with pytest.raises(UserError, match="weights_dtype"):
        load_backbone(str(folders["latte"]), weights_dtype="int8")  # type: ignore[arg-type]


class Away:
    """In place of a second device: weights of parts that are not where they are used are NaN."""

    def __init__(self) -> None:
        self.kept: dict[torch.Tensor, torch.Tensor] = {}

    def move(self, part: torch.nn.Module, device: torch.device) -> None:
        for weight in part.parameters():
            if device is HOME and weight not in self.kept:
                self.kept[weight], weight.data = weight.data, torch.full_like(weight, torch.nan)
            elif device is not HOME and weight in self.kept:
                weight.data = self.kept.pop(weight)

    def has(self, part: torch.nn.Module) -> bool:
        return all(weight in self.kept for weight in part.parameters())


@pytest.mark.parametrize("offload", ["model", "group"])
@pytest.mark.parametrize("name", ["wan_2_2_i2v_a14b", "wan_i2v_14b", "ltx_2b", "latte"])
@torch.no_grad()
def test_parts_that_come_when_they_are_used_say_the_same(name, offload, folders, monkeypatch) -> None:
    """Also in backward passes, which may want weights that were taken home."""
    wanted, away, backbone = tour(loaded(folders[name]), name), Away(), loaded(folders[name], offload=offload)
    denoisers = list(backbone.denoisers().values())
    parts = [part for part in backbone.children() if part not in denoisers or offload == "model"]
    for part in parts:
        away.move(part, HOME)
        monkeypatch.setattr(part, "to", partial(away.move, part))
    backbone.to("cpu")
    assert all(map(away.has, parts))
    for key, value in tour(backbone, name).items():
        assert torch.equal(value, wanted[key]), key
    backbone.embed([PROMPT])
    assert [part for part in parts if not away.has(part)] == [backbone.text_encoder]


@pytest.mark.parametrize("name", ["wan_1_3b", "ltx_2b", "cogvideox_2b", "latte"])
def test_a_denoisers_blocks_borrow_the_device_one_by_one(name, folders, monkeypatch) -> None:
    """Between passes, and between the forward and the backward pass, no block's weights are there."""
    backbone = loaded(folders[name], offload="group").to("cpu")
    denoiser = backbone.transformer
    lists = [child for child in denoiser.children() if isinstance(child, torch.nn.ModuleList)]
    blocks = {weight for child in lists for weight in child.parameters()}
    copies: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []

    def copied(own: torch.Tensor, device: torch.device) -> torch.Tensor:
        copies.append(weakref.ref(copy := own.clone()))
        alive.append(sum(one() is not None for one in copies))
        return copy

    for weight in blocks:
        monkeypatch.setattr(weight, "to", partial(copied, weight), raising=False)
    z = noise(name).requires_grad_(True)
    said = predicted(backbone, name, z)
    assert len(copies) >= len(blocks)
    assert not any(one() is not None for one in copies)
    torch.autograd.grad(said.square().mean(), z)
    largest = max(len([*block.parameters()]) for child in lists for block in child)
    assert len(copies) >= 2 * len(blocks)
    assert max(alive) <= largest


def test_an_offloaded_backbone_is_not_trained(folders, tmp_path) -> None:
    with pytest.raises(UserError, match="offload group: is for predict"):
        DenoiserTask(load_backbone(str(folders["latte"]), offload="group"), tmp_path, train_text_encoder=False)


def decoded_gradient(backbone: PipelineBackbone, z: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Of what is read in a decoded clip, and the most bytes that lived at once to compute it."""
    found: list[torch.Tensor] = []

    def guide() -> None:
        point = z.clone().requires_grad_(True)
        clip = backbone.decode(point, 16)
        found.extend(torch.autograd.grad((clip * torch.linspace(-1, 1, clip.shape[-1])).sum(), point))

    most = most_live_bytes(guide)
    return found[0], most


@pytest.mark.parametrize("name", FAMILIES)
def test_a_decoder_that_keeps_no_activations_has_the_same_gradient_in_less_memory(name, folders) -> None:
    plain, again = loaded(folders[name]), loaded(folders[name], checkpointing=True)
    z = noise(name)
    (wanted, much), (found, less) = decoded_gradient(plain, z), decoded_gradient(again, z)
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)
    assert less < 0.75 * much, (less, much)
    with torch.no_grad():
        assert torch.equal(again.decode(z, 16), plain.decode(z, 16))
        assert most_live_bytes(lambda: again.decode(z, 16)) == most_live_bytes(lambda: plain.decode(z, 16))


def tiled(folder: Path, **options: Any) -> PipelineBackbone:
    """In tiles of two latent pixels, which overlap by one."""
    backbone = loaded(folder, tiling=True, **options)
    vae = backbone.vae
    if hasattr(vae, "tile_latent_min_height"):
        vae.tile_sample_min_height = vae.tile_sample_min_width = 16
        vae.tile_latent_min_height = vae.tile_latent_min_width = 2
    else:
        vae.tile_sample_min_height = vae.tile_sample_min_width = 2 * vae.spatial_compression_ratio
        vae.tile_sample_stride_height = vae.tile_sample_stride_width = vae.spatial_compression_ratio
    return backbone


@pytest.mark.parametrize("name", ["wan_1_3b", "ltx_2b"])
def test_a_decoder_in_tiles_has_a_gradient_too(name, folders) -> None:
    """Against differences of what it decodes; activations that are not kept do not change it."""
    backbone, again = tiled(folders[name]), tiled(folders[name], checkpointing=True)
    z = torch.randn(1, CHANNELS, 2, 2, 3)
    (gradient, much), (found, less) = decoded_gradient(backbone, z), decoded_gradient(again, z)
    torch.testing.assert_close(found, gradient, rtol=1e-5, atol=1e-6 * float(gradient.abs().max()))
    assert less < much
    whole, _ = decoded_gradient(loaded(folders[name]), z)
    assert not torch.allclose(whole, gradient, rtol=1e-3, atol=1e-3 * float(whole.abs().max()))
    backbone.double()
    z = z.double()
    ramp = torch.linspace(-1, 1, backbone.decode(z, 16).shape[-1])
    step, size = torch.randn_like(z), 1e-3
    ahead, behind = (float((backbone.decode(z + sign * size * step, 16) * ramp).sum()) for sign in (1, -1))
    assert (ahead - behind) / (2 * size) == pytest.approx(float((gradient * step).sum()), rel=0.02)


@pytest.mark.parametrize(("quantized", "off"), [("int8", 0.02), ("int4", 0.2)])
@pytest.mark.parametrize("name", ["wan_2_2_i2v_a14b", "ltx_2b"])
def test_rounded_weights_say_nearly_the_same_and_pass_gradients(name, quantized, off, folders, tmp_path) -> None:
    plain = loaded(folders[name], weights_dtype="bfloat16")
    backbone = loaded(folders[name], weights_dtype="bfloat16", quantized=quantized, offload="group").to("cpu")
    wanted, found = (tour(one, name) for one in (plain, backbone))
    assert torch.equal(found["clip"], wanted["clip"])
    for key in ("clean", "gradient of the clean"):
        error = (found[key] - wanted[key]).norm() / wanted[key].norm()
        assert 0 < error < off, (key, error)
    bits = 8 if quantized == "int8" else 4
    for rounded, denoiser in zip(backbone.denoisers().values(), plain.denoisers().values(), strict=True):
        for key in ("attn1.to_q", "attn2.to_out.0"):
            first = next(iter(dict(denoiser.named_children()).keys() & {"blocks", "transformer_blocks"}))
            layer, whole = (one.get_submodule(f"{first}.0.{key}").weight for one in (rounded, denoiser))
            assert 8 * layer.numel() * layer.element_size() == bits * whole.numel()
    with pytest.raises(UserError, match="rounded weights are not saved"):
        backbone.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=f"quantized {quantized}: is for predict"):
        DenoiserTask(backbone, tmp_path, train_text_encoder=False, lora_rank=2)


# --- compiled ---


@pytest.mark.slow
def test_compiled_blocks_say_the_same_pass_gradients_and_are_watched(folders) -> None:
    plain, compiled = (loaded(folders["ltx_2b"], compiled=value) for value in (False, True))
    torch._dynamo.reset()
    counters.clear()
    z, t, prompt = noise("ltx_2b"), torch.tensor([0.5]), plain.embed([PROMPT])
    said = []
    for backbone in (plain, compiled):
        start = z.clone().requires_grad_(True)
        clean = backbone.predict(start, t, prompt)[0]
        said.append((clean, *torch.autograd.grad(clean.square().mean(), start)))
    torch.testing.assert_close(said[1], said[0], atol=1e-5, rtol=1e-4)
    assert counters["stats"]["unique_graphs"] == 1
    with torch.no_grad():
        compiled.predict(z, t, prompt)
    looks = [backbone.attention_to([PROMPT.split()[0]], z, t, prompt) for backbone in (plain, compiled)]
    torch.testing.assert_close(looks[1], looks[0], atol=1e-5, rtol=1e-4)


def test_blocks_that_change_at_every_call_are_not_compiled(folders) -> None:
    with pytest.raises(UserError, match=r"compiled: not with offload: group"):
        load_backbone(str(folders["latte"]), offload="group", compiled=True)
