"""Attention over frames against diffusers' own layer; what is installed is gone afterwards."""

from __future__ import annotations

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention, AttnProcessor

from lvcf.steering.editors.attention import (
    PLUG_AND_PLAY,
    Pass,
    attend_across,
    attend_within,
    finish,
    installed,
    norms_over_frames,
    project,
    self_attention_names,
)


@pytest.fixture
def layer():
    return Attention(query_dim=12, heads=3, dim_head=4, processor=AttnProcessor()).requires_grad_(False)


@pytest.fixture(scope="module")
def unet(sd_folder):
    return UNet2DConditionModel.from_pretrained(sd_folder, subfolder="unet").requires_grad_(False)


def test_attention_within_frames_is_the_layers_own(layer):
    rows = torch.randn(6, 5, 12)
    torch.testing.assert_close(finish(layer, attend_within(layer.heads, *project(layer, rows, 3))), layer(rows))


def test_attention_across_frames_is_the_layers_own_on_joined_frames(layer):
    rows = torch.randn(6, 5, 12)
    joined = layer(rows.view(2, 15, 12)).view(6, 5, 12)
    torch.testing.assert_close(finish(layer, attend_across(layer.heads, *project(layer, rows, 3))), joined)


def test_injected_layers_are_the_decoders_from_four_to_eleven(unet):
    injected = [name for name in self_attention_names(unet) if PLUG_AND_PLAY.attends(name)]
    assert len(self_attention_names(unet)) == 16  # as in Stable Diffusion
    assert len(injected) == 8
    assert all(name.startswith("up_blocks") for name in injected)
    assert not PLUG_AND_PLAY.attends("up_blocks.1.attentions.0.transformer_blocks.0.attn1.processor")


def forward(unet, rows=2):
    generator = torch.Generator().manual_seed(0)
    sample = torch.randn(rows, 4, 8, 8, generator=generator)
    return unet(sample, 500, encoder_hidden_states=torch.randn(rows, 8, 16, generator=generator)).sample


class Nothing:
    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None):
        return torch.zeros_like(hidden_states)


class Broken(Nothing):
    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None):
        raise RuntimeError("on purpose")


def everything(unet):
    """Every processor and hook there is, by identity."""
    hooks = [id(hook) for module in unet.modules() for hook in module._forward_hooks.values()]
    return {name: id(p) for name, p in unet.attn_processors.items()}, hooks


def test_processors_and_hooks_are_gone_afterwards(unet):
    before, plain = everything(unet), forward(unet)
    run = Pass(frames=1, inject_features=True)
    names = self_attention_names(unet)
    with installed(unet, dict.fromkeys(names, Nothing()), PLUG_AND_PLAY.hooks(unet, run)):
        assert everything(unet) != before
        assert not torch.equal(forward(unet), plain)
    assert everything(unet) == before
    assert torch.equal(forward(unet), plain)


def test_processors_and_hooks_are_gone_after_an_error(unet):
    before = everything(unet)
    broken = dict.fromkeys(self_attention_names(unet), Broken())
    with (
        pytest.raises(RuntimeError, match="on purpose"),
        installed(unet, broken, PLUG_AND_PLAY.hooks(unet, Pass())),
    ):
        forward(unet)
    assert everything(unet) == before


def test_feature_injection_gives_every_copy_the_sources_features(unet):
    run = Pass(frames=2)
    seen = []
    ((module, hook),) = PLUG_AND_PLAY.hooks(unet, run)
    with installed(unet, {}, [(module, hook), (module, lambda m, a, output: seen.append(output) or output)]):
        forward(unet, rows=4)
        run.inject_features = True
        forward(unet, rows=4)
    without, injected = seen
    assert not torch.equal(without[:2], without[2:])
    assert torch.equal(injected[:2], without[:2])
    assert torch.equal(injected[2:], without[:2])


def test_norms_over_frames_see_all_frames_of_a_copy(unet):
    """Tune-A-Video's and FLATTEN's inflated residual layers: (b, c, f, h, w) goes through one GroupNorm."""
    seen = {}
    watched = {
        "residual": unet.up_blocks[2].resnets[1].norm2,
        "last": unet.conv_norm_out,
        "attention": unet.up_blocks[2].attentions[1].norm,
    }

    def watch(key):
        return lambda module, arguments, output: seen.__setitem__(key, (arguments[0], output))

    with installed(unet, {}, norms_over_frames(unet, 3)):
        handles = [module.register_forward_hook(watch(key)) for key, module in watched.items()]
        forward(unet, rows=6)
    for handle in handles:
        handle.remove()
    for key, (rows, output) in seen.items():
        module = watched[key]
        copies = rows.unflatten(0, (2, 3)).movedim(1, 2)
        over_frames = torch.stack([module(copy[None])[0] for copy in copies]).movedim(2, 1).flatten(0, 1)
        torch.testing.assert_close(output, module(rows) if key == "attention" else over_frames)
    assert len(norms_over_frames(unet, 3)) == 45  # as in the authors' code, beside the 16 before attention blocks
