"""S2D: the published names, a plain ViT where prompts and adapters are silent, time, and the landmark branch."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional
from transformers import ViTConfig, ViTModel

from lvcf.errors import UserError
from lvcf.models.targets import s2d as module
from lvcf.models.targets.mobilefacenet import MobileFaceNetStem
from lvcf.models.targets.s2d import FERV39K_LABELS, IMAGENET_MEAN, IMAGENET_STD, S2D, S2DNetwork, s2d
from tests.toys import S2D_SIZES, save_s2d

FRAMES, WIDTH, DEPTH = 3, S2D_SIZES["width"], S2D_SIZES["depth"]
SMALL = {"frames": FRAMES, **S2D_SIZES}


@pytest.fixture
def network() -> S2DNetwork:
    """Random, no part silent."""
    made = S2DNetwork(7, **SMALL).eval()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.2)
    return made


def inputs(clips: int = 2) -> tuple[Tensor, Tensor]:
    return torch.randn(clips * FRAMES, 3, 224, 224), torch.randn(clips * FRAMES, 128, 14, 14)


def published_names() -> dict[str, tuple[int, ...]]:
    """Of a checkpoint for seven classes: names and shapes, block 0 standing for all twelve."""
    w, inside = 768, 192
    linear = {"T_Adapter.D_fc1": (inside, w), "T_Adapter.D_fc2": (w, inside), "T_Adapter.attn.proj": (inside, inside)}
    linear |= {"S_Adapter.D_fc1": (inside, w), "S_Adapter.D_fc2": (w, inside)}
    both: dict[str, tuple[int, ...]] = {f"prompt_blocks.0.TMA.{name}": shape for name, shape in linear.items()}
    both |= {"prompt_blocks.0.conv0_0": (8, w, 1, 1), "prompt_blocks.0.conv0_1": (8, w, 1, 1)}
    both |= {"prompt_blocks.0.conv1x1": (w, 8, 1, 1), "prompt_blocks.0.TMA.norm": (w,), "prompt_norms.0": (w,)}
    both |= {"blocks.0.norm1": (w,), "blocks.0.norm2": (w,), "blocks.0.attn.qkv": (3 * w, w)}
    both |= {"blocks.0.attn.proj": (w, w), "blocks.0.mlp.fc1": (4 * w, w), "blocks.0.mlp.fc2": (w, 4 * w)}
    both |= {"patch_embed.proj": (w, 3, 16, 16), "patch_embed_prompt.proj": (w, 128, 1, 1), "ln_post": (w,)}
    both |= {"head.fc_cls": (7, w)}
    names = {f"{name}.weight": shape for name, shape in both.items()}
    names |= {f"{name}.bias": (shape[0],) for name, shape in both.items()}
    names |= {"cls_token": (1, 1, w), "pos_embed": (1, 197, w), "temporal_embedding": (1, 16, w)}
    return names | {
        "prompt_blocks.0.fovea.smooth": (1,),
        "prompt_blocks.0.TMA.T_Adapter.attn.qkv.weight": (576, inside),
    }


def test_names_and_shapes_are_the_published_ones() -> None:
    with torch.device("meta"):
        own = {name: tuple(value.shape) for name, value in S2DNetwork(7).state_dict().items()}
    first = {name: shape for name, shape in own.items() if not any(f".{i}." in name for i in range(1, 12))}
    assert first == published_names()
    assert len(own) == len(first) + 11 * sum(".0." in name for name in first)


@torch.no_grad()
def test_with_silent_prompts_and_adapters_it_is_a_vit_averaged_over_frames(network) -> None:
    for prompter in network.prompt_blocks:
        for layer in (prompter.conv1x1, prompter.TMA.S_Adapter.D_fc2):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
    nn.init.zeros_(network.temporal_embedding)
    config = ViTConfig(
        hidden_size=WIDTH,
        num_hidden_layers=DEPTH,
        num_attention_heads=4,
        intermediate_size=4 * WIDTH,
        layer_norm_eps=1e-6,
    )
    vit = ViTModel(config, add_pooling_layer=False).eval()
    theirs = vit.state_dict()
    mine = network.state_dict()
    theirs["embeddings.cls_token"], theirs["embeddings.position_embeddings"] = mine["cls_token"], mine["pos_embed"]
    for kind in ("weight", "bias"):
        theirs[f"embeddings.patch_embeddings.projection.{kind}"] = mine[f"patch_embed.proj.{kind}"]
        theirs[f"layernorm.{kind}"] = mine[f"ln_post.{kind}"]
    found = renamed(theirs, mine)
    vit.load_state_dict(found)
    frames, landmarks = inputs()
    token = vit(pixel_values=frames).last_hidden_state[:, 0]
    wanted = network.head.fc_cls(rearrange(token, "(b t) d -> b t d", t=FRAMES).mean(1))
    torch.testing.assert_close(network(frames, landmarks), wanted, atol=1e-4, rtol=1e-3)


def renamed(theirs: dict[str, Tensor], mine: dict[str, Tensor]) -> dict[str, Tensor]:
    """The blocks' weights under transformers' names, whatever it calls the parts of a layer."""
    parts = {
        "norm1": ("layernorm_before",),
        "norm2": ("layernorm_after",),
        "attn.proj": ("attention.output.dense", "attention.o_proj"),
        "mlp.fc1": ("intermediate.dense", "mlp.fc1"),
        "mlp.fc2": ("output.dense", "mlp.fc2"),
    }
    qkv = {
        "q": ("attention.attention.query", "attention.q_proj"),
        "k": ("attention.attention.key", "attention.k_proj"),
        "v": ("attention.attention.value", "attention.v_proj"),
    }
    for i in range(DEPTH):
        for kind in ("weight", "bias"):
            values = {mine_name: mine[f"blocks.{i}.{mine_name}.{kind}"] for mine_name in parts}
            split = dict(zip("qkv", mine[f"blocks.{i}.attn.qkv.{kind}"].chunk(3), strict=True))
            for name, candidates in {**parts, **qkv}.items():
                (key,) = {
                    k
                    for k in theirs
                    for c in candidates
                    for layer in ("encoder.layer", "layers")
                    if k == f"{layer}.{i}.{c}.{kind}"
                }
                theirs[key] = {**values, **split}[name]
    return theirs


@torch.no_grad()
def test_order_matters_by_the_temporal_embedding_alone(network) -> None:
    """The adapters' attention over time and the mean are blind to order; the embedding is not."""
    frames, landmarks = inputs(1)
    turned = [2, 0, 1]
    moved = network(frames[turned], landmarks[turned]) - network(frames, landmarks)
    assert float(moved.abs().max()) > 1e-3
    nn.init.zeros_(network.temporal_embedding)
    still = network(frames[turned], landmarks[turned]) - network(frames, landmarks)
    assert float(still.abs().max()) < 1e-4


@torch.no_grad()
def test_frames_see_each_other_through_the_adapters_and_clips_do_not(network) -> None:
    frames, landmarks = inputs(2)
    x = torch.randn(2 * FRAMES, 196, WIDTH)
    adapter = network.prompt_blocks[1].TMA
    before, changed = adapter(x), x.clone()
    changed[0] += 1.0
    after = adapter(changed)
    assert [bool((a - b).abs().max() > 1e-5) for a, b in zip(after, before, strict=True)] == [True] * 3 + [False] * 3
    alone = torch.cat([network(frames[:FRAMES], landmarks[:FRAMES]), network(frames[FRAMES:], landmarks[FRAMES:])])
    torch.testing.assert_close(network(frames, landmarks), alone, atol=1e-4, rtol=1e-3)


def test_the_landmark_branchs_gradient_is_an_option(network) -> None:
    stem = MobileFaceNetStem()
    nn.init.normal_(network.patch_embed_prompt.proj.weight, std=50.0)  # a random stem says little
    video = (2 * torch.rand(1, 3, FRAMES, 224, 224) - 1).requires_grad_(True)
    gradients = []
    for option in (False, True):
        model = S2D(network, stem, landmark_gradient=option).freeze()
        (gradient,) = torch.autograd.grad(model(video)[:, 3].sum(), video)
        gradients.append(gradient)
    mean, std = (torch.tensor(v).view(3, 1, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    frames = rearrange(((video + 1) / 2 - mean) / std, "b c t h w -> (b t) c h w")
    small = functional.interpolate(frames, size=(112, 112), mode="bilinear", align_corners=True)
    fixed = stem(small).detach()
    (wanted,) = torch.autograd.grad(network(frames, fixed)[:, 3].sum(), video)
    torch.testing.assert_close(gradients[0], wanted, atol=1e-7, rtol=1e-3)
    assert float((gradients[1] - wanted).abs().max()) > 1e-3 * float(wanted.abs().max())


@pytest.fixture
def files(tmp_path, network, monkeypatch) -> tuple[Path, Path]:
    """Checkpoints in the published layout, of a small network."""
    monkeypatch.setattr(module, "S2DNetwork", partial(S2DNetwork, **SMALL))
    return save_s2d(network, tmp_path)


@torch.no_grad()
def test_published_checkpoints_load(files, network) -> None:
    model = s2d(*files).freeze()
    assert model.labels == FERV39K_LABELS
    for name, value in network.state_dict().items():
        torch.testing.assert_close(model.network.state_dict()[name], value)
    assert model(torch.zeros(1, 3, FRAMES, 112, 112)).shape == (1, 7)
    with pytest.raises(UserError, match="takes 3 frames, the clips have 16"):
        model(torch.zeros(1, 3, 16, 112, 112))


def test_a_checkpoint_for_other_classes_is_told(files) -> None:
    with pytest.raises(UserError, match=r"s2d\.pth.*head\.fc_cls\.weight, head\.fc_cls\.bias of another shape"):
        s2d(*files, labels=("a", "b"))


def test_files_in_the_wrong_order_are_told(files) -> None:
    with pytest.raises(UserError, match=r"landmarks\.pth\.tar.*missing"):
        s2d(*files[::-1])
