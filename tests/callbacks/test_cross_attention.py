"""SGA by cross-attention: what is read is the stock denoiser's own attention, and where the edit then is."""

from __future__ import annotations

import pytest
import torch
from einops import rearrange
from torch import Tensor, nn

from lvcf.callbacks.guidance import GradientGuidance
from lvcf.errors import UserError
from lvcf.guidance.gradient import normalised, strongest
from lvcf.guidance.weight import ConstantWeight
from lvcf.models.backbones.attention import tokens_of
from lvcf.models.backbones.base import Embedding
from lvcf.sampling import SamplingCallback, SamplingState
from lvcf.tasks.counterfactual import CounterfactualTask
from tests.toys import GaussianBackbone, LinearTarget, make_clips, predict

PROMPTS = ["apical ejection fraction 20 percent", "apical four chamber echocardiogram ejection fraction 70 percent"]
WORDS = ["20", "70"]
TIMES = torch.tensor([0.3, 0.8])
TOLD = {"prompt": "target", "prompt_template": "{metadata} ejection fraction {target} percent"}
FIXED = ConstantWeight(0.05)


class Cleans(SamplingCallback):
    """Keeps every clean estimate."""

    def __init__(self) -> None:
        self.clean: list[Tensor] = []

    def on_clean_estimate(self, state: SamplingState) -> None:
        self.clean.append(state.clean.clone())


def explain(backbone, tmp_path, callbacks, size: int = 8, **options) -> None:
    task = CounterfactualTask(backbone, LinearTarget(), "80", tmp_path, steps=2, strength=0.9, **options)
    assert len(predict(task, make_clips(2, size=size), callbacks)) == 2


# --- reading -------------------------------------------------------------------------------------------------------


def test_the_targets_words_are_found_among_the_prompts_tokens(backbone) -> None:
    prompt = backbone.embed(PROMPTS)
    found = tokens_of(["20", "ejection fraction"], backbone.tokenizer, prompt)
    assert prompt.ids is not None
    said = [backbone.tokenizer.decode(ids[kept.bool()]) for ids, kept in zip(prompt.ids, found, strict=True)]
    assert said == ["20", "ejection fraction"]


def test_a_prompt_without_the_targets_words_is_told(backbone) -> None:
    with pytest.raises(UserError, match=r"prompt does not say the target '71'; use --model\.prompt target"):
        tokens_of(["20", "71"], backbone.tokenizer, backbone.embed(PROMPTS))


class Indicator(nn.Module):
    """Values that are 1 at some prompt tokens and 0 elsewhere: what attends to them is the share itself."""

    def __init__(self, found: Tensor, width: int) -> None:
        super().__init__()
        self.found, self.width = found, width

    def forward(self, text: Tensor) -> Tensor:
        return self.found.to(text)[..., None].expand(-1, -1, self.width)


@torch.no_grad()
def test_the_share_is_the_one_that_the_stock_attention_gives(backbone) -> None:
    """With values that mark the words and no output layer, the stock layer puts out every head's share."""
    (block,) = backbone.transformer.transformer_blocks
    nn.init.normal_(block.attn2.to_q.weight)  # attention that is far from uniform
    prompt = backbone.embed(PROMPTS)
    block.attn2.to_v = Indicator(tokens_of(WORDS, backbone.tokenizer, prompt), block.attn2.inner_dim)
    block.attn2.to_out = nn.ModuleList([nn.Identity(), nn.Identity()])
    given: list[Tensor] = []
    block.attn2.register_forward_hook(lambda layer, inputs, output: given.append(output))
    read = backbone.attention_to(WORDS, torch.randn(2, 4, 9, 4, 4), TIMES, prompt)
    wanted = rearrange(given[0].mean(-1), "b (f h w) -> b 1 f h w", f=9, h=2)  # 2 x 2 latent pixels a token
    assert float(wanted.std()) > 1e-3
    torch.testing.assert_close(read, wanted.repeat_interleave(2, 3).repeat_interleave(2, 4), atol=1e-6, rtol=1e-4)


@torch.no_grad()
def test_without_queries_every_token_of_the_prompt_has_an_equal_share_and_padding_none(backbone) -> None:
    (block,) = backbone.transformer.transformer_blocks
    nn.init.zeros_(block.attn2.to_q.weight)
    nn.init.zeros_(block.attn2.to_q.bias)
    prompt = backbone.embed(PROMPTS)
    read = backbone.attention_to(["20", "ejection fraction"], torch.randn(2, 4, 9, 4, 4), TIMES, prompt)
    wanted = (torch.tensor([1.0, 2.0]) / prompt.mask.sum(1)).view(2, 1, 1, 1, 1).expand_as(read)
    torch.testing.assert_close(read, wanted)


@torch.no_grad()
def test_a_place_of_the_latent_keeps_its_place(backbone) -> None:
    """Without self-attention a latent that differs at one place is looked at differently in that place's patch only."""
    (block,) = backbone.transformer.transformer_blocks
    nn.init.zeros_(block.attn1.to_out[0].weight)
    nn.init.zeros_(block.attn1.to_out[0].bias)
    latent = torch.zeros(2, 4, 9, 4, 6)
    latent[:, :, 5, 2, 1] = 4.0
    read = backbone.attention_to(WORDS, latent, TIMES, backbone.embed(PROMPTS))
    assert read.shape == (2, 1, 9, 4, 6)
    odd = (read - read[:, :, :1, :1, :1]).abs() > 1e-6
    assert odd[:, 0].nonzero()[:, 1:].unique(dim=0).tolist() == [[5, 2, 0], [5, 2, 1], [5, 3, 0], [5, 3, 1]]


@torch.no_grad()
def test_reading_leaves_no_hook_and_the_prediction_as_it_was(backbone) -> None:
    latent, prompt = torch.randn(2, 4, 9, 4, 4), backbone.embed(PROMPTS)
    before = backbone.output(latent, TIMES, prompt)
    backbone.attention_to(WORDS, latent, TIMES, prompt)
    assert torch.equal(backbone.output(latent, TIMES, prompt), before)
    assert not any(block.attn2._forward_pre_hooks for block in backbone.transformer.transformer_blocks)


# --- guiding -------------------------------------------------------------------------------------------------------


class Looking(GaussianBackbone):
    """A denoiser that looks at a corner of every clip, at another for each."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[list[str], list[float]]] = []

    def attention_to(self, words: list[str], z_t: Tensor, t: Tensor, prompt: Embedding) -> Tensor:
        self.asked.append((words, t.tolist()))
        seen = torch.zeros_like(z_t[:, :1])
        seen[0, ..., :3, :3] = 2.0
        seen[1, ..., 1:4, 1:4] = 5.0
        return seen


def test_the_edit_is_the_gradient_where_the_denoiser_looks_at_the_targets_words(tmp_path) -> None:
    """M reads the upper left quarter: grad L is a negative constant there, and lambda of it is left at unit size."""
    backbone, before, after = Looking(), Cleans(), Cleans()
    guided = GradientGuidance(FIXED, samples=1, noise=0.0, attention="cross")
    explain(backbone, tmp_path, [before, guided, after], **TOLD)
    assert [words for words, _ in backbone.asked] == [["80", "80"]] * 2
    assert [t for _, t in backbone.asked] == [pytest.approx([t, t]) for t in (0.9, 0.45)]
    seen = torch.zeros(2, 1, *before.clean[0].shape[2:])
    seen[0, ..., :3, :3] = 1.0
    seen[1, ..., 1:4, 1:4] = 1.0
    for old, new in zip(before.clean, after.clean, strict=True):
        torch.testing.assert_close(new - old, 0.05 * normalised(seen.expand_as(old)), atol=1e-5, rtol=1e-3)


def test_in_an_ltx_backbone_the_edit_stays_where_the_attention_is_strongest(tmp_path, backbone) -> None:
    nn.init.normal_(backbone.transformer.transformer_blocks[0].attn2.to_q.weight)
    before, after = Cleans(), Cleans()
    guided = GradientGuidance(FIXED, samples=1, noise=0.0, attention="cross")
    explain(backbone, tmp_path, [before, guided, after], size=32, guidance_scale=2.0, **TOLD)
    for old, new in zip(before.clean, after.clean, strict=True):
        edited = (new != old).any(1).flatten(1).float().mean(1)
        assert ((edited > 0.0) & (edited <= 0.2)).all()


def test_of_an_even_map_nothing_is_strongest() -> None:
    assert strongest(torch.ones(1, 1, 2, 3, 3)).sum() == 0


def test_a_neutral_prompt_says_no_target(tmp_path, backbone) -> None:
    with pytest.raises(UserError, match=r"prompt does not say the target '80'; use --model\.prompt target"):
        explain(backbone, tmp_path, [GradientGuidance(FIXED, attention="cross")], size=32)


def test_a_backbone_without_cross_attention_is_told(tmp_path) -> None:
    with pytest.raises(UserError, match=r"a GaussianBackbone has no cross-attention .*; use attention: true"):
        explain(GaussianBackbone(), tmp_path, [GradientGuidance(FIXED, attention="cross")], **TOLD)


def test_another_word_for_attention_is_refused() -> None:
    with pytest.raises(UserError, match=r"GradientGuidance\.attention 'crosss': did you mean cross\?"):
        GradientGuidance(FIXED, attention="crosss")
