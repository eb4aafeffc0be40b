"""Attention along trajectories against per-pixel attention over time."""

from __future__ import annotations

import pytest
import torch
from diffusers.models.attention_processor import Attention

from lvcf.errors import UserError
from lvcf.steering.editors.attention import attend, attend_across, finish, project
from lvcf.steering.editors.flatten import INJECTION, Flatten, FlattenAttention, FlattenPass, attend_along
from lvcf.steering.editors.flow import trajectories
from tests.steering.editors.tiny import ConstantFlow, moving_clip


def test_without_flow_it_is_per_pixel_attention_over_time():
    tokens = torch.randn(2, 4, 24, 8)
    paths = trajectories(torch.zeros(3, 2, 32, 48), 4, 6)
    over_time = torch.stack([attend(2, *[tokens[:, :, pixel]] * 3) for pixel in range(24)], dim=2)
    torch.testing.assert_close(attend_along(2, tokens, tokens, tokens, paths), over_time)


def test_tokens_attend_along_their_own_trajectory_only():
    tokens = torch.randn(1, 3, 24, 8)
    paths = trajectories(ConstantFlow(8.0)(torch.zeros(3, 3, 32, 48)), 4, 6)
    output = attend_along(2, tokens, tokens, tokens, paths)
    whole = torch.stack([tokens[0, 0, 6], tokens[0, 1, 7], tokens[0, 2, 8]])[None]
    torch.testing.assert_close(output[0, [0, 1, 2], [6, 7, 8]], attend(2, whole, whole, whole)[0])
    late = torch.stack([tokens[0, 1, 0], tokens[0, 2, 1]])[None]  # enters in the second frame
    torch.testing.assert_close(output[0, [1, 2], [0, 1]], attend(2, late, late, late)[0])
    torch.testing.assert_close(output[0, 0, 5], tokens[0, 0, 5])  # leaves at once: alone


@pytest.mark.parametrize("patches", [24, 99])
def test_trajectories_count_at_the_finest_resolution_only(patches):
    layer = Attention(query_dim=12, heads=3, dim_head=4).requires_grad_(False)
    rows = torch.randn(6, 24, 12)
    paths = trajectories(torch.randn(2, 2, 32, 48), 4, 6)
    dense = attend_across(3, *project(layer, rows, 3))
    expected = finish(layer, attend_along(3, dense, dense, dense, paths) if patches == 24 else dense)
    torch.testing.assert_close(
        FlattenAttention(FlattenPass(3, paths=paths, patches=patches), False)(layer, rows), expected
    )


def test_queries_and_keys_come_from_the_source_while_injected():
    layer = Attention(query_dim=12, heads=3, dim_head=4).requires_grad_(False)
    run = FlattenPass(2, inject_attention=True, paths=torch.arange(5)[:, None].expand(5, 2), patches=99)
    rows = torch.randn(4, 5, 12)
    query, key, value = project(layer, rows, 2)
    expected = finish(layer, attend_across(3, query[[0, 0]], key[[0, 0]], value))
    torch.testing.assert_close(FlattenAttention(run, True)(layer, rows), expected)
    assert not torch.allclose(FlattenAttention(run, False)(layer, rows), expected)


def test_old_queries_and_keys_are_the_layers_own_after_injection():
    layer = Attention(query_dim=12, heads=3, dim_head=4).requires_grad_(False)
    rows, paths = torch.randn(4, 24, 12), trajectories(torch.randn(1, 2, 32, 48), 4, 6)
    run = FlattenPass(2, inject_attention=True, paths=paths, patches=24)
    query, key, value = project(layer, rows, 2)
    query, key = query[[0, 0]], key[[0, 0]]
    dense = attend_across(3, query, key, value)
    expected = finish(layer, attend_along(3, query, key, dense, paths))
    torch.testing.assert_close(FlattenAttention(run, True, old_qk=True)(layer, rows), expected)


def test_what_is_injected_is_what_the_authors_code_injects():
    """yrcong/flatten ac2d83b, pipeline_flatten.py:753-768."""
    layers = [f"up_blocks.{b}.attentions.{a}.transformer_blocks.0.attn1" for b in (1, 2, 3) for a in range(3)]
    taken = [name[10:24] for name in layers if INJECTION.attends(name)]
    assert taken == [f"{b}.attentions.{a}" for b, a in ((1, 1), (1, 2), (2, 0), (2, 1), (2, 2), (3, 0))]
    assert INJECTION.residuals == ((1, 0), (1, 1), (2, 0))


def test_the_inversion_hears_no_prompt_and_neither_does_the_source_copy(sd_folder, monkeypatch):
    editor = Flatten(str(sd_folder), steps=4, inversion_steps=8, inject=0.5, flow=ConstantFlow())
    states = [editor.prepare(moving_clip(), prompt) for prompt in ("a young man", "a dark face")]
    assert torch.equal(states[0].path, states[1].path)
    told = []
    noise = editor.model.noise
    monkeypatch.setattr(editor.model, "noise", lambda z, t, prompts: told.append(prompts) or noise(z, t, prompts))
    editor.edit(states[0], "a old man", "young", seed=0)
    wanted = editor.model.embed(["", "young", "a old man"])
    assert [len(prompts) for prompts in told] == [3, 3, 2, 2]
    torch.testing.assert_close(told[0], wanted)
    torch.testing.assert_close(told[-1], wanted[1:])


def test_a_finer_inversion_keeps_the_levels_of_sampling(sd_folder):
    editor = Flatten(str(sd_folder), steps=5, inversion_steps=10, flow=ConstantFlow())
    assert editor.inversion == editor.model.levels(10)[1:]  # from 801 down
    assert set(editor.levels) <= set(editor.inversion)
    with pytest.raises(UserError, match="inversion_steps 7"):
        Flatten(str(sd_folder), steps=5, inversion_steps=7, flow=ConstantFlow())


def test_the_source_is_left_out_once_nothing_is_injected(sd_folder, monkeypatch):
    editor = Flatten(str(sd_folder), steps=4, inversion_steps=4, inject=0.5, flow=ConstantFlow())
    state = editor.prepare(moving_clip(), "a young man")
    rows, forward = [], editor.model.unet.forward
    monkeypatch.setattr(editor.model.unet, "forward", lambda z, *a, **k: rows.append(len(z)) or forward(z, *a, **k))
    editor.edit(state, "a old man", "", seed=0)
    assert rows == [12, 12, 8, 8]


def test_the_flow_reaches_the_result(sd_folder):
    still = Flatten(str(sd_folder), steps=3, inversion_steps=3, flow=ConstantFlow())
    moved = Flatten(str(sd_folder), steps=3, inversion_steps=3, flow=ConstantFlow(right=8.0))
    states = [editor.prepare(moving_clip(), "a man") for editor in (still, moved)]
    assert len(states[0].tensors["trajectories"]) == 64
    assert len(states[1].tensors["trajectories"]) == 64 + 3 * 8
    assert not torch.equal(states[0].path[0], states[1].path[0])
