"""Which of a clip's frames a latent frame, and a feature of the decoder on its way to the clip, stands for."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch

from lvcf.callbacks.refinement import decode_with_features
from lvcf.models.backbones.load import load_backbone
from lvcf.models.backbones.pipeline import PipelineBackbone
from lvcf.refinement.mask import difference_map
from tests.families import CHANNELS, OWN_VAE, SIZES, save_family

EACH = pytest.mark.parametrize("name", OWN_VAE)
COMPRESSION = {
    "cogvideox_2b": 4,
    "ltx_2b": 8,
    "ltx2_19b": 8,
    "wan_1_3b": 4,
    "wan_2_2_5b": 4,
    "wan_vace_1_3b": 4,
    "hunyuan_video_1_5_t2v": 4,
    "latte": 1,
}


@pytest.fixture(scope="module")
def backbones(tmp_path_factory) -> dict[str, PipelineBackbone]:
    root = tmp_path_factory.mktemp("families")
    return {n: load_backbone(str(save_family(n, root / n))).requires_grad_(False) for n in OWN_VAE}


def of_frames(c: int, k: int, frames: int) -> list[int]:
    """The frames of a clip that latent frame ``k`` stands for: docs/method.md, 12."""
    return [0] if k == 0 else [t for t in range(c * (k - 1) + 1, c * k + 1) if t < frames]


@pytest.mark.parametrize("frames", [16, 17, 10, 2])
@EACH
def test_an_impulse_in_one_feature_is_seen_in_its_frames_and_nowhere_else(name, frames, backbones) -> None:
    """At every stage of the decoder: 8x, 4x, 2x and 1x; also where the backbone padded the clip."""
    backbone, c = backbones[name], COMPRESSION[name]
    latents = backbone.encode(torch.zeros(1, 3, frames, SIZES[name], SIZES[name])).shape[2]
    stages = [s for s in (8, 4, 2, 1) if s <= c]
    for stage in stages:
        number = c // stage * (latents - 1) + 1
        for k in range(number):
            before = torch.randn(1, 3, number, 4, 4)
            after = before.clone()
            after[:, :, k, 1, 2] += 1.0
            brought = [backbone.at_frames(feature, latents, frames) for feature in (after, before)]
            size = torch.Size([frames, 8, 8])
            profile = difference_map(*([x] for x in brought), [1.0], size).amax(dim=(0, 1, 3, 4))
            assert profile.nonzero().flatten().tolist() == of_frames(stage, k, frames)


@EACH
@torch.no_grad()
def test_every_blocks_features_come_for_each_frame_of_the_clip(name, backbones) -> None:
    """Against what the blocks themselves put out, whose times are groups of frames behind frame 0."""
    backbone, frames = backbones[name], 16
    z = torch.randn(1, CHANNELS, backbone.encode(torch.zeros(1, 3, frames, SIZES[name], SIZES[name])).shape[2], 4, 4)
    raw: list[list[Any]] = [[] for _ in backbone.decoder_blocks()]
    handles = [
        block.register_forward_hook(partial(lambda into, m, i, o: into.append(o), into))
        for block, into in zip(backbone.decoder_blocks(), raw, strict=True)
    ]
    _, features = decode_with_features(backbone, z, frames)
    for handle in handles:
        handle.remove()
    last = COMPRESSION[name] * (z.shape[2] - 1)
    stages = []
    for feature, outputs in zip(features, raw, strict=True):
        own = backbone.features(outputs, 1)
        assert feature.shape == (*own.shape[:2], frames, *own.shape[3:])
        stage, left = divmod(last, own.shape[2] - 1)
        assert left == 0
        stages.append(stage)
        for k in range(own.shape[2]):
            for t in of_frames(stage, k, frames):
                assert torch.equal(feature[:, :, t], own[:, :, k])
    assert stages[0] == COMPRESSION[name]
    assert stages[-1] == 1
    assert all(one >= other for one, other in pairwise(stages))


@pytest.mark.parametrize("name", ["wan_1_3b", "hunyuan_video_1_5_t2v"])
@torch.no_grad()
def test_a_causal_decoders_change_begins_in_the_mask_where_it_begins_in_the_clip(name, backbones) -> None:
    """These VAEs look back only: a change of latent frame 2 is one of frames 5 and later, in every block's map."""
    backbone = backbones[name]
    z = torch.randn(1, CHANNELS, 5, 4, 4)
    changed = z.clone()
    changed[:, :, 2] += 3.0
    (one, after), (other, before) = (decode_with_features(backbone, latent, 16) for latent in (changed, z))
    where = [(one - other).abs().amax(dim=(0, 1, 3, 4))]
    for k in range(len(after)):
        weights = [float(k == i) for i in range(len(after))]
        where.append(difference_map(after, before, weights, one.shape[2:]).amax(dim=(0, 1, 3, 4)))
    for profile in where:
        assert not profile[:5].any()
        assert profile[5] > 0


@pytest.mark.parametrize("frames", [2, 5, 9, 10, 13, 16, 17, 21])
@torch.no_grad()
def test_cogvideox_decodes_every_latent_frame_at_its_own_frames(frames, backbones) -> None:
    """Its decoder takes latent frames by twos behind the first; an even number of them would be decoded late."""
    backbone = backbones["cogvideox_2b"]
    z = backbone.encode(torch.rand(1, 3, frames, 32, 32) * 2 - 1)
    whole = backbone.vae.decode(z / backbone.vae.config.scaling_factor).sample
    assert whole.shape[2] == 4 * (z.shape[2] - 1) + 1
    assert backbone.decode(z, frames).shape[2] == frames
