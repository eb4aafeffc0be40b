"""The LTX family behind the backbone contract: padding, causality, the flow, saving and loading."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from transformers import AutoTokenizer

from lvcf.diffusion.parameterization import from_flow
from lvcf.errors import UserError
from lvcf.models.backbones.ltx import LTXBackbone, ltx_backbone, pad_frames
from lvcf.models.backbones.pipeline import PARTS
from lvcf.models.backbones.text import small_text_encoder, small_tokenizer

SIZE = 32
LATENT = torch.zeros(1, 4, 9, 4, 4)


def video(frames: int = 16, batch: int = 2) -> torch.Tensor:
    return torch.rand(batch, 3, frames, SIZE, SIZE) * 2 - 1


@pytest.mark.parametrize(
    ("frames", "compression", "padded"),
    [(16, 2, 17), (17, 2, 17), (16, 4, 17), (16, 8, 17), (9, 8, 9), (10, 8, 17), (1, 8, 1)],
)
def test_padding_repeats_the_last_frame_to_a_multiple_plus_one(frames, compression, padded) -> None:
    clip = video(frames, 1)
    result = pad_frames(clip, compression)
    assert result.shape[2] == padded
    assert torch.equal(result[:, :, :frames], clip)
    assert all(torch.equal(result[:, :, i], clip[:, :, -1]) for i in range(frames, padded))


@pytest.mark.parametrize("frames", [16, 17, 9, 8])
@torch.no_grad()
def test_as_many_frames_come_out_as_went_in(backbone, frames) -> None:
    z = backbone.encode(video(frames))
    assert z.shape == (2, 4, math.ceil((frames - 1) / 2) + 1, SIZE // 8, SIZE // 8)
    assert backbone.decode(z, frames).shape == (2, 3, frames, SIZE, SIZE)


@pytest.mark.parametrize("k", [1, 5, 10, 15])
@torch.no_grad()
def test_changing_a_frame_leaves_the_latents_before_it(backbone, k) -> None:
    """Latent f sees frames up to 2 f: those with 2 f < k are untouched, some later one is not."""
    clip = video(16, 1)
    changed = clip.clone()
    changed[:, :, k] = -changed[:, :, k]
    before, after = backbone.encode(clip), backbone.encode(changed)
    first = math.ceil(k / 2)
    assert torch.equal(before[:, :, :first], after[:, :, :first])
    assert not torch.allclose(before[:, :, first:], after[:, :, first:])


@torch.no_grad()
def test_decoding_crops_the_padded_end(backbone) -> None:
    z = backbone.encode(video())
    whole = backbone.decode(z, 17)
    for frames in (16, 3):
        torch.testing.assert_close(backbone.decode(z, frames), whole[:, :, :frames])


@torch.no_grad()
def test_latents_are_normalised_by_the_stored_statistics(backbone) -> None:
    clip = video(17)
    raw = backbone.vae.encode(clip).latent_dist.mode()
    mean, std = (v.view(1, -1, 1, 1, 1) for v in (backbone.vae.latents_mean, backbone.vae.latents_std))
    assert mean.abs().max() > 0
    torch.testing.assert_close(backbone.encode(clip), (raw - mean) / std)
    torch.testing.assert_close(backbone.decode((raw - mean) / std, 17), backbone.vae.decode(raw).sample)


@torch.no_grad()
def test_encoding_is_deterministic(backbone) -> None:
    clip = video()
    assert torch.equal(backbone.encode(clip), backbone.encode(clip))


def test_gradients_flow_through_the_decoder(backbone) -> None:
    z = torch.randn(1, 4, 9, 4, 4, requires_grad=True)
    backbone.decode(z, 16).mean().backward()
    assert torch.isfinite(z.grad).all()
    assert float(z.grad.abs().min()) > 0


@torch.no_grad()
def test_the_prediction_reads_the_flow(backbone) -> None:
    z, t = torch.randn(2, 4, 9, 4, 4), torch.tensor([0.3, 0.8])
    prompt = backbone.embed(["ejection fraction 20 percent", "ejection fraction 70 percent"])
    flow = backbone.output(z, t, prompt)
    assert flow.shape == z.shape
    clean, noise = backbone.predict(z, t, prompt)
    torch.testing.assert_close((clean, noise), from_flow(flow, z, 1 - t, t))
    torch.testing.assert_close((1 - t).view(-1, 1, 1, 1, 1) * clean + t.view(-1, 1, 1, 1, 1) * noise, z)


@torch.no_grad()
def test_time_and_prompt_matter_and_samples_do_not_mix(backbone) -> None:
    z = torch.randn(1, 4, 9, 4, 4).expand(2, -1, -1, -1, -1)
    low, high = (backbone.embed([f"ejection fraction {n} percent"] * 2) for n in (20, 70))
    t = torch.tensor([0.3, 0.8])
    flow = backbone.output(z, t, low)
    assert not torch.allclose(flow[0], flow[1])
    assert not torch.allclose(flow, backbone.output(z, t, high))
    torch.testing.assert_close(flow[:1], backbone.output(z[:1], t[:1], low[torch.tensor([0])]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("steps", "strength"), [(12, 0.9), (1, 0.5), (30, 1.0)])
def test_the_time_grid_is_the_schedulers(backbone, steps, strength) -> None:
    grid = backbone.time_grid(steps, strength, LATENT)
    assert len(grid) == steps + 1
    assert float(grid[0]) == pytest.approx(strength)
    assert float(grid[-1]) == 0.0
    assert (grid.diff() < 0).all()
    torch.testing.assert_close(grid, torch.linspace(strength, 0.0, steps + 1), atol=1e-6, rtol=0)


def test_a_shifted_scheduler_shifts_the_grid(backbone) -> None:
    backbone.scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    even = torch.linspace(0.9, 0.0, 7)[:-1]
    torch.testing.assert_close(backbone.time_grid(6, 0.9, LATENT)[:-1], 3 * even / (1 + 2 * even), atol=1e-6, rtol=0)


def test_saving_and_loading_keeps_every_weight(backbone, tmp_path) -> None:
    backbone.notice = "made for a test"
    backbone.save_pretrained(tmp_path)
    again = LTXBackbone.from_pretrained(tmp_path)
    assert again.notice == "made for a test"
    before, after = backbone.state_dict(), again.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    prompts = ["apical four chamber echocardiogram ejection fraction 55 percent"]
    assert torch.equal(backbone.embed(prompts).tokens, again.embed(prompts).tokens)


def test_the_folder_is_in_the_diffusers_layout(backbone_folder: Path) -> None:
    index = json.loads((backbone_folder / "model_index.json").read_text())
    assert index["_class_name"] == "LTXPipeline"
    for part in PARTS:
        library, name = index[part]
        assert hasattr(__import__(library), name)
        assert (backbone_folder / part).is_dir()
    assert list(backbone_folder.rglob("*.safetensors"))
    assert not [p for p in backbone_folder.rglob("*") if p.suffix in (".bin", ".pt", ".ckpt", ".pkl")]


def test_every_word_and_number_is_one_token() -> None:
    tokenizer = small_tokenizer(["ejection", "fraction", "percent"], numbers=100, length=8)
    ids = tokenizer("ejection fraction 55 percent").input_ids
    assert len(ids) == 6  # start, four words, end
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.convert_ids_to_tokens(ids)[3] == "55"
    assert len({tokenizer(str(n)).input_ids[1] for n in range(101)}) == 101
    assert tokenizer("unheard").input_ids[1] == tokenizer.unk_token_id


def test_words_are_known_in_any_case_also_after_saving(tmp_path) -> None:
    """A target model's class is "Happy", a data set's sentence says "happy"."""
    small_tokenizer(["Happy", "sad", "happy"], numbers=0, length=4).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    one, other = (tokenizer(text).input_ids for text in ("Happy", "happy"))
    assert one == other != tokenizer("sad").input_ids
    assert tokenizer.unk_token_id not in one
    assert len(tokenizer) == 4 + 2 + 1  # special, words, the number 0


def test_near_numbers_begin_with_near_embeddings() -> None:
    tokenizer = small_tokenizer([], numbers=100, length=8)
    table = small_text_encoder(tokenizer, 32, 1).get_input_embeddings().weight
    vectors = table[[tokenizer(str(n)).input_ids[1] for n in (50, 51, 90)]]
    assert (vectors[0] - vectors[1]).norm() < 0.5 * (vectors[0] - vectors[2]).norm()


def test_another_vae_keeps_what_reports_say_and_has_to_fit(backbone_folder, tmp_path) -> None:
    backbone = ltx_backbone(str(backbone_folder))
    backbone.notice = "trained on toys"
    backbone.save_pretrained(tmp_path / "saved")
    again = ltx_backbone(str(tmp_path / "saved"), vae=str(backbone_folder / "vae"))
    assert again.notice == "trained on toys"
    with pytest.raises(UserError, match=r"phantom/backbone/vae with .*saved: the VAE makes latents of 32 channels"):
        ltx_backbone(str(tmp_path / "saved"), vae="phantom/backbone/vae")
