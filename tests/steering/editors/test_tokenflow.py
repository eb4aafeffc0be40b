"""Keyframes and what is carried from them; how much memory that takes."""

from __future__ import annotations

import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lvcf.errors import UserError
from lvcf.steering.editors.attention import PLUG_AND_PLAY, installed, self_attention_names
from lvcf.steering.editors.tokenflow import (
    TokenFlow,
    TokenFlowAttention,
    TokenFlowPass,
    draw_keyframes,
    nearest_tokens,
    neighbours,
    propagate,
)
from tests.steering.editors.tiny import moving_clip


@pytest.fixture(scope="module")
def editor(sd_folder):
    return TokenFlow(str(sd_folder), steps=4, inversion_steps=8, keyframe_every=2)


def test_one_keyframe_of_every_run():
    generator = torch.Generator().manual_seed(0)
    draws = torch.stack([draw_keyframes(11, 4, generator) for _ in range(100)])
    assert [set(column.tolist()) for column in draws.T] == [{0, 1, 2, 3}, {4, 5, 6, 7}, {8, 9, 10}]


def test_neighbours_are_weighted_by_distance():
    around = neighbours(torch.tensor([0, 1, 2, 3, 4, 5, 6]), torch.tensor([1, 5]))
    keys = torch.tensor([1, 5])
    assert keys[around.before].tolist() == [1, 1, 1, 1, 1, 5, 5]
    assert keys[around.after].tolist() == [1, 1, 5, 5, 5, 5, 5]
    assert around.weight[:6].tolist() == [0, 0, 0.25, 0.5, 0.75, 0]  # of frame 6 both are one


def test_nearest_tokens_are_the_most_similar_by_cosine():
    tokens, keys = torch.randn(3, 7, 4), torch.randn(3, 9, 4)
    slow = torch.cosine_similarity(tokens[:, :, None], keys[:, None], dim=-1).argmax(-1)
    assert torch.equal(nearest_tokens(tokens, 5 * keys), slow)


def test_a_keyframe_carried_to_itself_is_itself():
    source, edited, keys = torch.randn(3, 10, 6), torch.randn(2, 3, 10, 6), torch.tensor([1, 4, 8])
    assert torch.equal(propagate(edited, source, source, neighbours(keys, keys)), edited)


def test_tokens_follow_the_sources_permutation():
    source, edited = torch.randn(2, 10, 6), torch.randn(1, 2, 10, 6)
    moved = torch.randperm(10)
    around = neighbours(torch.tensor([1]), torch.tensor([0, 4]))
    both = torch.stack([source[0], source[0]])  # both keyframes show the same
    output = propagate(edited, both, source[:1, moved], around)
    torch.testing.assert_close(output[0, 0], torch.lerp(edited[0, 0], edited[0, 1], 0.25)[moved])


def test_the_keyframe_pass_and_what_is_carried_to_the_keyframes_agree(editor):
    state = editor.prepare(moving_clip(4), "a young man")
    context = editor.model.embed(["a young man", "", "a old man"])
    run = TokenFlowPass(frames=2, inject_features=True, inject_attention=True)
    names = self_attention_names(editor.model.unet)
    processors = {name: TokenFlowAttention(run, PLUG_AND_PLAY.attends(name)) for name in names}
    keys = torch.tensor([1, 2])
    z = torch.stack([state.path[0]] * 3)[:, keys]
    (hook,) = PLUG_AND_PLAY.hooks(editor.model.unet, run)
    with torch.no_grad(), installed(editor.model.unet, processors, [hook]):
        first = editor.model.noise(z, editor.levels[0], context)
        run.neighbours = neighbours(keys, keys)
        torch.testing.assert_close(editor.model.noise(z, editor.levels[0], context), first)
        # a frame that is no keyframe does differ
        run.neighbours = neighbours(torch.tensor([0, 3]), keys)
        z = torch.stack([state.path[0]] * 3)[:, [0, 3]]
        assert not torch.allclose(editor.model.noise(z, editor.levels[0], context), first)


def test_other_frames_take_the_keyframes_attention_whatever_their_own_latents(editor):
    layer = editor.model.unet.up_blocks[3].attentions[0].transformer_blocks[0].attn1
    run = TokenFlowPass(frames=2)
    processor = TokenFlowAttention(run, injected=False)
    keyframes, others = torch.randn(6, 64, 8), torch.randn(3, 64, 8)
    with torch.no_grad():
        processor(layer, keyframes)
        run.frames, run.neighbours = 1, neighbours(torch.tensor([1]), torch.tensor([0, 2]))
        output = processor(layer, others)
        others[1:] = torch.randn(2, 64, 8)
        assert torch.equal(processor(layer, others), output)


def test_the_seed_draws_the_keyframes(editor):
    state = editor.prepare(moving_clip(4), "a young man")
    first, again, other = (editor.edit(state, "a old man", "", seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_inversion_keeps_the_levels_of_sampling(editor):
    assert editor.levels == [751, 501, 251, 1, -1]
    assert editor.inversion == [751, 626, 501, 376, 251, 126, 1, -1]
    assert editor.prepare(moving_clip(3), "a man").path.shape == (5, 3, 4, 8, 8)


class PeakMemory(TorchDispatchMode):
    """Counts the bytes of all tensors that are alive, at most; what a fused kernel needs inside is not seen."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self.alive = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(output):
            if isinstance(tensor, torch.Tensor) and (storage := tensor.untyped_storage()).data_ptr() not in self.alive:
                self.add(storage)
        self.peak = max(self.peak, self.now)
        return output

    def add(self, storage):
        pointer, size = storage.data_ptr(), storage.nbytes()
        self.alive.add(pointer)
        self.now += size
        weakref.finalize(storage, self.drop, pointer, size)

    def drop(self, pointer, size):
        self.alive.discard(pointer)
        self.now -= size


def test_memory_grows_linearly_with_the_frames(sd_folder):
    editor = TokenFlow(str(sd_folder), steps=1, inversion_steps=1, keyframe_every=4)
    peaks = []
    for frames in (8, 16, 24):
        state = editor.prepare(moving_clip(frames), "a young man")
        with PeakMemory() as memory:
            editor.edit(state, "a old man", "", seed=0)
        peaks.append(memory.peak)
    first, second = peaks[1] - peaks[0], peaks[2] - peaks[1]
    assert first > 0
    assert second < 1.15 * first  # quadratic growth would make it 1.67 times as much


BAD_SETTINGS = {
    "steps that do not nest": ({"steps": 4, "inversion_steps": 6}, ["inversion_steps 6", "multiple"]),
    "fewer inversion steps": ({"steps": 4, "inversion_steps": 2}, ["inversion_steps 2"]),
    "no inversion": ({"steps": 4, "inversion_steps": 0}, ["inversion_steps 0"]),
    "no steps": ({"steps": 0}, ["steps 0", "use 1 to 999"]),
    "too many steps": ({"steps": 1000}, ["steps 1000", "use 1 to 999"]),
    "a share in percent": ({"inject_features": 80}, ["inject_features 80", "0.8 is 80 %"]),
    "a negative share": ({"inject_attention": -0.1}, ["inject_attention -0.1"]),
    "no keyframes": ({"keyframe_every": 0}, ["keyframe_every 0"]),
}


@pytest.mark.parametrize("case", BAD_SETTINGS)
def test_bad_settings(case, sd_folder):
    options, says = BAD_SETTINGS[case]
    with pytest.raises(UserError) as error:
        TokenFlow(str(sd_folder), **options)
    for text in says:
        assert text in str(error.value)
