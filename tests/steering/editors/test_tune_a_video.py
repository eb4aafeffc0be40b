"""Temporal layers that start at zero; tuning that learns the clip and leaves the model as it was."""

from __future__ import annotations

import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor

from lvcf.errors import UserError
from lvcf.steering.editors.attention import finish, installed
from lvcf.steering.editors.tune_a_video import SparseCausalAttention, TemporalLayers, TuneAVideo, restored
from tests.steering.editors.tiny import moving_clip


@pytest.fixture(scope="module")
def editor(sd_folder):
    return TuneAVideo(str(sd_folder), steps=4, tuning_steps=2)


def test_zero_temporal_attention_leaves_the_output_unchanged(editor):
    unet = editor.model.unet
    temporal = TemporalLayers(unet, frames=4)
    assert len(temporal.layers) == 16
    z, words = torch.randn(1, 4, 4, 8, 8), editor.model.embed(["a man"])
    with torch.no_grad():
        plain = editor.model.noise(z, 500, words)
        with installed(unet, {}, temporal.hooks(unet)):
            assert torch.equal(editor.model.noise(z, 500, words), plain)
            for layer in temporal.layers.values():
                torch.nn.init.normal_(layer[1].to_out[0].weight)
            assert not torch.allclose(editor.model.noise(z, 500, words), plain)


def test_temporal_attention_mixes_each_pixel_with_itself_in_other_frames(editor):
    temporal = TemporalLayers(editor.model.unet, frames=3)
    (block, hook), layer = temporal.hooks(editor.model.unet)[0], next(iter(temporal.layers.values()))
    torch.nn.init.normal_(layer[1].to_out[0].weight)
    rows = torch.randn(6, 5, 8)
    with torch.no_grad():
        output = hook(block, (), rows)
        for copy in range(2):
            for pixel in range(5):
                own = rows[3 * copy : 3 * copy + 3, pixel]
                torch.testing.assert_close(output[3 * copy : 3 * copy + 3, pixel], own + layer(own[None])[0])


def test_keys_and_values_come_from_the_first_and_the_previous_frame():
    layer = Attention(query_dim=12, heads=3, dim_head=4, processor=AttnProcessor()).requires_grad_(False)
    rows = torch.randn(8, 5, 12)  # two copies of four frames
    output = SparseCausalAttention(4)(layer, rows)
    for copy in (0, 4):
        for frame, previous in enumerate([0, 0, 1, 2]):
            context = torch.cat([rows[copy], rows[copy + previous]])[None]
            expected = layer(rows[copy + frame][None], encoder_hidden_states=context)
            torch.testing.assert_close(output[copy + frame][None], expected)
    assert finish(layer, torch.zeros(1, 1, 5, 12)).shape == (1, 5, 12)


def test_tuning_learns_the_clip(sd_folder):
    editor = TuneAVideo(str(sd_folder), steps=4, tuning_steps=40, learning_rate=1e-2)
    latents, words = editor.model.encode(moving_clip()), editor.model.embed(["a man"])
    temporal = TemporalLayers(editor.model.unet, 4)

    def loss():
        with torch.no_grad():
            return sum(editor._loss(latents, words, torch.Generator().manual_seed(s)) for s in range(8)).item() / 8

    with restored(editor.model.unet), editor._video(temporal):
        before = loss()
        editor._tune(latents, words, temporal, torch.Generator().manual_seed(0))
        assert loss() < 0.98 * before


def test_only_queries_and_temporal_layers_are_tuned_and_the_model_is_as_before(editor):
    before = {name: weight.clone() for name, weight in editor.model.unet.state_dict().items()}
    state = editor.prepare(moving_clip(), "a young man")
    own = {name for name in state.tensors if not name.startswith("temporal.")}
    assert own == {name for name in before if name.endswith(("attn1.to_q.weight", "attn2.to_q.weight"))}
    assert len(own) == 32
    assert all(not torch.equal(state.tensors[name], before[name]) for name in own)
    assert any(t.abs().sum() > 0 for n, t in state.tensors.items() if n.endswith("1.to_out.0.weight"))
    editor.edit(state, "a old man", "", seed=0)
    after = editor.model.unet.state_dict()
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    assert not any(p.requires_grad for p in editor.model.unet.parameters())
    assert not editor.model.unet.is_gradient_checkpointing


def test_the_temporal_normalisations_are_not_tuned(editor):
    """showlab/Tune-A-Video 7d4a89a trains attn1.to_q, attn2.to_q and attn_temp, 112 tensors of 16 blocks."""
    state = editor.prepare(moving_clip(), "a young man")
    assert len(state.tensors) == 16 * (2 + 5)
    temporal = TemporalLayers(editor.model.unet, 4)
    left = dict(temporal.named_parameters()).keys() - temporal.tuned_parameters().keys()
    assert {name.split(".", 2)[2] for name in left} == {"0.weight", "0.bias"}  # of the LayerNorms


def test_a_tuning_step_takes_a_gradient_of_norm_one_at_most(sd_folder, monkeypatch):
    editor = TuneAVideo(str(sd_folder), steps=4, tuning_steps=2)
    norms, step = [], torch.optim.AdamW.step

    def watch(optimiser, *arguments):
        gradients = [p.grad for group in optimiser.param_groups for p in group["params"] if p.grad is not None]
        norms.append(float(torch.stack([g.norm() for g in gradients]).norm()))
        return step(optimiser, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", watch)
    monkeypatch.setattr(editor, "_loss", lambda *arguments: 1e4 * TuneAVideo._loss(editor, *arguments))
    editor.prepare(moving_clip(), "a young man")
    assert norms == pytest.approx([1.0, 1.0], abs=1e-3)


def test_the_inversion_hears_no_prompt(sd_folder):
    editor = TuneAVideo(str(sd_folder), steps=4, tuning_steps=0)
    one, other = (editor.prepare(moving_clip(), prompt) for prompt in ("a young man", "a dark face"))
    assert torch.equal(one.path, other.path)


def test_the_model_is_as_before_after_an_error(editor, monkeypatch):
    before = {name: weight.clone() for name, weight in editor.model.unet.state_dict().items()}

    def fail(*arguments):
        raise RuntimeError("on purpose")

    monkeypatch.setattr(editor.model, "invert", fail)  # after the tuning
    with pytest.raises(RuntimeError, match="on purpose"):
        editor.prepare(moving_clip(), "a young man")
    assert all(torch.equal(w, before[n]) for n, w in editor.model.unet.state_dict().items())


def test_tuned_weights_reach_the_edit(editor):
    state = editor.prepare(moving_clip(), "a young man")
    tuned = editor.edit(state, "a old man", "", seed=0)
    for name, tensor in state.tensors.items():
        if name.endswith("1.to_out.0.weight"):
            tensor.add_(0.5)
    assert not torch.equal(editor.edit(state, "a old man", "", seed=0), tuned)


def test_negative_tuning_steps_are_refused(sd_folder):
    with pytest.raises(UserError, match="tuning_steps -1: less than 0"):
        TuneAVideo(str(sd_folder), tuning_steps=-1)
