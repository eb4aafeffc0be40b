"""S2D (Chen et al. 2024, From Static to Dynamic, arXiv 2312.05447), the expression classifier published for FERV39K.

A ViT-B/16 reads every frame.  Before each of its blocks a prompter mixes the patch tokens with the features of a
landmark network and an adapter attends over time; the classifier reads the class token's mean over the frames.  The
names of the parameters are those of the published checkpoints (hub id cyinen/S2D).
"""

from __future__ import annotations

from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from lvcf.models.targets.base import TargetModel
from lvcf.models.targets.checkpoint import fill, read_weights
from lvcf.models.targets.mobilefacenet import MobileFaceNetStem
from lvcf.models.targets.wrapping import check_frames, resized

FERV39K_LABELS = ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PATCH, LANDMARK_SIZE, LANDMARK_CHANNELS = 16, 112, 128


class Attention(nn.Module):
    """Self-attention over ``(B, N, width)``, ViT's."""

    def __init__(self, width: int, heads: int, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width, bias=bias), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Mix tokens."""
        query, key, value = rearrange(self.qkv(x), "b n (s h d) -> s b h n d", s=3, h=self.heads)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        result: Tensor = self.proj(rearrange(mixed, "b h n d -> b n (h d)"))
        return result


class Mlp(nn.Module):
    """Two linear layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., width)`` in and out."""
        result: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return result


class Block(nn.Module):
    """A pre-norm Transformer block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn, self.mlp = Attention(width, heads, bias=True), Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, N, width)`` in and out."""
        mixed: Tensor = x + self.attn(self.norm1(x))
        result: Tensor = mixed + self.mlp(self.norm2(mixed))
        return result


class Adapter(nn.Module):
    """A bottleneck, with attention inside for the temporal one; no skip."""

    def __init__(self, width: int, inside: int, heads: int | None) -> None:
        super().__init__()
        self.D_fc1, self.D_fc2 = nn.Linear(width, inside), nn.Linear(inside, width)
        self.attn = Attention(inside, heads, bias=False) if heads else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """``(B, N, width)`` in and out."""
        result: Tensor = self.D_fc2(self.attn(functional.gelu(self.D_fc1(x))))
        return result


class TemporalAdapter(nn.Module):
    """Attention over the frames at every place, then a bottleneck at every place."""

    def __init__(self, width: int, frames: int, scale: float, heads: int) -> None:
        super().__init__()
        self.frames = frames
        self.T_Adapter = Adapter(width, int(width * scale), heads)
        self.norm = nn.LayerNorm(width)
        self.S_Adapter = Adapter(width, int(width * scale), None)

    def forward(self, x: Tensor) -> Tensor:
        """Patch tokens of all frames ``(B T, N, width)`` in and out."""
        over_time = self.T_Adapter(rearrange(x, "(b t) n d -> (b n) t d", t=self.frames))
        back = rearrange(over_time, "(b n) t d -> (b t) n d", n=x.shape[1])
        result: Tensor = self.S_Adapter(self.norm(back))
        return result


class Fovea(nn.Module):
    """Every channel weighted by its own softmax over the places."""

    def __init__(self) -> None:
        super().__init__()
        self.smooth = nn.Parameter(torch.full((1,), 10.0))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, N)`` in and out."""
        return x * (x * self.smooth).softmax(-1)


class Prompter(nn.Module):
    """The next prompt from patch tokens and landmark tokens, and the temporal adapter's change of the patch tokens."""

    def __init__(self, width: int, inside: int, frames: int, scale: float, heads: int) -> None:
        super().__init__()
        self.conv0_0, self.conv0_1 = nn.Conv2d(width, inside, 1), nn.Conv2d(width, inside, 1)
        self.conv1x1, self.fovea = nn.Conv2d(inside, width, 1), Fovea()
        self.TMA = TemporalAdapter(width, frames, scale, heads)

    def forward(self, patches: Tensor, landmarks: Tensor) -> tuple[Tensor, Tensor]:
        """Both ``(B T, N, width)``; the prompt and the change have the same shape."""
        seen = self.fovea(_pointwise(self.conv0_0, patches)) + _pointwise(self.conv0_1, landmarks)
        prompt = _pointwise(self.conv1x1, seen.transpose(1, 2))
        return prompt.transpose(1, 2), self.TMA(patches)


class Patches(nn.Module):
    """A convolution whose places become tokens."""

    def __init__(self, channels: int, width: int, size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, size, stride=size)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, N, width)``."""
        result: Tensor = self.proj(x).flatten(2).transpose(1, 2)
        return result


class Head(nn.Module):
    """The last layer, under its published name."""

    def __init__(self, width: int, labels: int) -> None:
        super().__init__()
        self.fc_cls = nn.Linear(width, labels)


class S2DNetwork(nn.Module):
    """The classifier without its landmark network.

    Args:
        labels: classes.
        frames: frames per clip.
        width: of the tokens.
        depth: Transformer blocks.
        heads: of their attention.
        adapter_scale: the adapters' width over the tokens'.
        adapter_heads: of the temporal adapters' attention.
        prompt_width: channels inside a prompter.
    """

    def __init__(
        self,
        labels: int,
        frames: int = 16,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        adapter_scale: float = 0.25,
        adapter_heads: int = 8,
        prompt_width: int = 8,
    ) -> None:
        super().__init__()
        places = (2 * LANDMARK_SIZE // PATCH) ** 2
        self.frames = frames
        self.patch_embed = Patches(3, width, PATCH)
        self.patch_embed_prompt = Patches(LANDMARK_CHANNELS, width, 1)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, places + 1, width))
        self.temporal_embedding = nn.Parameter(torch.zeros(1, frames, width))
        prompters = [Prompter(width, prompt_width, frames, adapter_scale, adapter_heads) for _ in range(depth)]
        self.prompt_blocks = nn.ModuleList(prompters)
        self.prompt_norms = nn.ModuleList(nn.LayerNorm(width, eps=1e-6) for _ in range(depth))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.ln_post = nn.LayerNorm(width, eps=1e-6)
        self.head = Head(width, labels)

    def forward(self, frames: Tensor, landmarks: Tensor) -> Tensor:
        """Standardised frames ``(B T, 3, 224, 224)``, landmark features ``(B T, 128, 14, 14)``; logits ``(B, K)``."""
        patches, prompt = self.patch_embed(frames), self.patch_embed_prompt(landmarks)
        prompt, change = self.prompt_blocks[0](self.prompt_norms[0](patches), self.prompt_norms[0](prompt))
        first = self.cls_token.expand(len(patches), -1, -1)
        x = torch.cat([first, patches + change + prompt], 1) + self.pos_embed
        x = x + self.temporal_embedding[0].repeat(len(x) // self.frames, 1)[:, None]
        x = self.blocks[0](x)
        for i in range(1, len(self.blocks)):
            # as published: the norm of the block before, and the first norm for every prompt
            seen = self.prompt_norms[i - 1](x[:, 1:])
            prompt, change = self.prompt_blocks[i](seen, self.prompt_norms[0](prompt))
            x = self.blocks[i](torch.cat([x[:, :1], x[:, 1:] + change + prompt], 1))
        token = rearrange(self.ln_post(x)[:, 0], "(b t) d -> b t d", t=self.frames)
        logits: Tensor = self.head.fc_cls(token.mean(1))
        return logits


class S2D(TargetModel):
    """S2D and its landmark network on clips of cropped faces.

    Args:
        network: the classifier.
        landmarks: the landmark network's first layers.
        labels: class names in the order of the logits.
        landmark_gradient: whether gradients flow through the landmark branch too; the published code cuts them there,
            so by default guidance sees what training saw: the pixels' own path alone.
    """

    task = "classification"

    def __init__(
        self,
        network: S2DNetwork,
        landmarks: MobileFaceNetStem,
        labels: tuple[str, ...] = FERV39K_LABELS,
        landmark_gradient: bool = False,
    ) -> None:
        super().__init__()
        self.network, self.landmarks, self.labels = network, landmarks, labels
        self.landmark_gradient = landmark_gradient

    def forward(self, video: Tensor) -> Tensor:
        """Clips ``(B, 3, 16, H, W)`` in [-1, 1] to logits ``(B, K)``.

        Raises:
            UserError: the clips have another number of frames.
        """
        check_frames(video, self.network.frames)
        mean, std = (torch.tensor(v, device=video.device).view(3, 1, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
        standardised = ((resized(video, 2 * LANDMARK_SIZE, 2 * LANDMARK_SIZE) + 1.0) / 2.0 - mean) / std
        frames = rearrange(standardised, "b c t h w -> (b t) c h w")
        small = functional.interpolate(frames, size=(LANDMARK_SIZE,) * 2, mode="bilinear", align_corners=True)
        features = self.landmarks(small if self.landmark_gradient else small.detach())
        logits: Tensor = self.network(frames, features)
        return logits.float()


def s2d(
    file: Path,
    landmark_file: Path,
    labels: tuple[str, ...] = FERV39K_LABELS,
    landmark_gradient: bool = False,
) -> S2D:
    """Load a published checkpoint of S2D and one of its landmark network (MobileFaceNet).

    Raises:
        UserError: a file is missing or damaged, holds more than tensors and numbers, or is another network's.
    """
    found = {key: value for key, value in read_weights(file).items() if "landmark" not in key}
    renamed = {key.replace("norm.", "ln_post.") if key.startswith("norm.") else key: v for key, v in found.items()}
    network, stem = S2DNetwork(len(labels)), MobileFaceNetStem()
    fill(network, renamed, file)
    rest = ("conv_45.", "conv_5.", "conv_6_sep.", "output_layer.")  # of the whole network, behind what is used
    known = {key.removeprefix("module."): value for key, value in read_weights(landmark_file).items()}
    fill(stem, {key: value for key, value in known.items() if not key.startswith(rest)}, landmark_file)
    return S2D(network, stem, labels, landmark_gradient)


def _pointwise(layer: nn.Module, tokens: Tensor) -> Tensor:
    """A 1 x 1 convolution on tokens ``(B, N, C)``; channels first comes out, ``(B, D, N)``."""
    result: Tensor = layer(tokens.transpose(1, 2)[..., None])[..., 0]
    return result
