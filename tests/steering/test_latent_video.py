"""The latent video editor against closed forms: a Gaussian prior whose denoiser is exact."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from lvcf.data.clip import round_to_8_bits
from lvcf.errors import UserError
from lvcf.models.backbones.base import Condition, Embedding
from lvcf.steering.editors.latent_video import LatentVideoEditor
from tests.toys import GaussianBackbone


class Spoken(GaussianBackbone):
    """The prior's mean is what the prompt says, a number."""

    def embed(self, prompts: list[str]) -> Embedding:
        return Embedding(torch.tensor([float(p) for p in prompts]).view(-1, 1, 1), torch.ones(len(prompts), 1))

    def predict(
        self, z_t: Tensor, t: Tensor, prompt: Embedding, condition: Condition | None = None
    ) -> tuple[Tensor, Tensor]:
        mean = prompt.tokens.view(-1, 1, 1, 1, 1)
        alpha, sigma = (s.view(-1, 1, 1, 1, 1) for s in self.alpha_sigma(t))
        gain = alpha * self.std**2 / (alpha**2 * self.std**2 + sigma**2)
        clean = mean + gain * (z_t - alpha * mean)
        return clean, (z_t - alpha * clean) / sigma


class Lossy(Spoken):
    """A VAE that forgets all but every row's mean."""

    def decode(self, z: Tensor, frames: int) -> Tensor:
        return super().decode(z, frames).mean(-1, keepdim=True).expand(-1, -1, -1, -1, z.shape[-1])


LEVEL = 2.01 / 255.0
CLIP = 0.3 * torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(1)).clamp(-2, 2)


def edit(prompt: str, negative: str = "", source: str = "0.0", seed: int = 3, **options: Any) -> Tensor:
    editor = LatentVideoEditor(Spoken(), **options)
    return editor.edit(editor.prepare(CLIP, source), prompt, negative, seed)


@pytest.mark.parametrize("strength", [0.4, 0.8])
def test_the_sampled_clip_is_where_the_exact_flow_ends(strength) -> None:
    """z_0 = m + s (z_t - alpha m) / sqrt(alpha^2 s^2 + sigma^2) is the probability flow's map for a Gaussian."""
    mean, std, seed = 0.2, 0.3, 3
    noise = torch.randn((1, *CLIP.shape), generator=torch.Generator().manual_seed(seed))[0]
    z_t = (1 - strength) * CLIP + strength * noise
    wanted = mean + std * (z_t - (1 - strength) * mean) / math.hypot((1 - strength) * std, strength)
    got = edit(str(mean), strength=strength, steps=400, guidance_scale=1.0)
    assert (got - wanted.clamp(-1, 1)).abs().max() < 0.02  # 8-bit levels are 0.0078 apart


def test_guidance_leads_from_the_source_prompt_or_the_negative_one() -> None:
    """Clean estimates are linear in the prompt's mean here, so guidance is a prompt further out."""
    scale = 2.5
    for negative, away in (("", 0.1), ("0.2", 0.2)):
        further = away + scale * (0.3 - away)
        guided = edit("0.3", negative, source="0.1", guidance_scale=scale)
        assert torch.allclose(guided, edit(str(further), guidance_scale=1.0), atol=LEVEL)


def test_the_source_prompt_alone_is_not_pushed() -> None:
    assert torch.allclose(edit("0.1", source="0.1", guidance_scale=7.0), edit("0.1", guidance_scale=1.0), atol=LEVEL)


def test_a_small_strength_returns_the_clip_and_a_large_one_forgets_it() -> None:
    near, far = (edit("0.0", strength=strength, guidance_scale=1.0) for strength in (0.01, 1.0))
    assert (near - CLIP.clamp(-1, 1)).abs().mean() < 0.02
    assert abs(torch.corrcoef(torch.stack([far.flatten(), CLIP.flatten()]))[0, 1]) < 0.2


def test_the_same_seed_gives_the_same_clip_on_8_bit_levels() -> None:
    one, again, other = edit("0.2"), edit("0.2"), edit("0.2", seed=4)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(one, round_to_8_bits(one))
    assert one.shape == CLIP.shape


@pytest.mark.parametrize("prompt", ["0.1", "0.4"])
def test_with_fresh_inversion_only_the_words_move_the_clip(prompt) -> None:
    """Both paths' denoisers are linear with one gain, so what they differ in is the prompts' means, whatever the noise.

    The difference d follows d_s = r d + (alpha_s - r alpha_t) (gain d + (1 - gain alpha_t) (m - m_source)), r = s / t.
    """
    strength, steps, std = 0.8, 6, 0.3
    difference = 0.0
    for i in range(steps):
        t, s = strength * (1 - i / steps), strength * (1 - (i + 1) / steps)
        gain = (1 - t) * std**2 / ((1 - t) ** 2 * std**2 + t**2)
        clean = gain * difference + (1 - gain * (1 - t)) * (float(prompt) - 0.1)
        difference = s / t * difference + ((1 - s) - s / t * (1 - t)) * clean
    options = {"strength": strength, "steps": steps, "guidance_scale": 1.0, "inversion": "fresh"}
    for seed in (3, 4):
        got = edit(prompt, source="0.1", seed=seed, **options)
        assert torch.allclose(got, (CLIP + difference).clamp(-1, 1), atol=LEVEL)


def test_edits_of_a_prepared_clip_do_not_touch_each_other(backbone) -> None:
    editor = LatentVideoEditor(backbone, strength=0.7, steps=2, guidance_scale=50.0, inversion="fresh")
    clip = 0.5 * torch.rand(3, 5, 32, 32, generator=torch.Generator().manual_seed(1))
    asked = [(f"ejection fraction {value}", seed) for value in (10, 90) for seed in (3, 4)]
    states = editor.prepare(clip, "apical"), *(editor.prepare(clip, "apical") for _ in asked)
    together = [editor.edit(states[0], prompt, "", seed) for prompt, seed in asked]
    alone = [editor.edit(state, prompt, "", seed) for state, (prompt, seed) in zip(states[1:], asked, strict=True)]
    assert all(torch.equal(one, other) for one, other in zip(together, alone, strict=True))
    assert len({one.numpy().tobytes() for one in together}) == 4


class Counting(Spoken):
    """Counts the rows of the denoiser's passes."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[int] = []

    def predict(
        self, z_t: Tensor, t: Tensor, prompt: Embedding, condition: Condition | None = None
    ) -> tuple[Tensor, Tensor]:
        self.rows.append(len(z_t))
        return super().predict(z_t, t, prompt)


def test_the_clips_own_path_is_walked_once_per_seed() -> None:
    backbone = Counting()
    editor = LatentVideoEditor(backbone, steps=2, inversion="fresh")
    state = editor.prepare(CLIP, "0.1")
    for prompt, seed in (("0.2", 3), ("0.3", 3), ("0.3", 4)):
        editor.edit(state, prompt, "", seed)
    assert backbone.rows == [3, 3, 2, 2, 3, 3]


def test_residual_decoding_gives_back_what_the_vae_loses() -> None:
    clip = 0.2 * CLIP
    plain, residual = (LatentVideoEditor(Lossy(), decode=name) for name in ("plain", "residual"))
    changes = [one.edit(one.prepare(clip, "0.0"), "0.1", "", 3) for one in (plain, residual)]
    assert torch.allclose(changes[1] - changes[0], clip - clip.mean(-1, keepdim=True), atol=LEVEL)
    assert plain.identity != residual.identity


def test_a_real_backbone(backbone) -> None:
    """LTX's layout, random weights: a clip of the same shape, and the prompt matters."""
    editor = LatentVideoEditor(backbone, strength=0.7, steps=2, guidance_scale=50.0)
    clip = torch.zeros(3, 5, 32, 32)
    state = editor.prepare(clip, "apical four chamber")
    clips = [editor.edit(state, prompt, "", 0) for prompt in ("ejection fraction 10", "ejection fraction 90")]
    assert clips[0].shape == clip.shape
    assert not torch.equal(*clips)
    assert "LTXBackbone, strength 0.7, 2 steps" in editor.identity


@pytest.mark.parametrize(("options", "says"), [({"steps": 0}, "editor.steps 0"), ({"strength": 1.5}, "strength 1.5")])
def test_numbers_that_make_no_sense(options, says) -> None:
    with pytest.raises(UserError, match=says):
        LatentVideoEditor(GaussianBackbone(), **options)
