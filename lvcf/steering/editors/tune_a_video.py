"""Tune-A-Video: an image model tuned on one clip (Wu et al. 2023).

Self-attention takes its keys and values from the first and the previous frame, a temporal attention that starts at
zero follows every feed-forward layer, and both are tuned until the model denoises the source clip.  Edits start at
the clip's DDIM inversion under the tuned model and the empty prompt.  Norms of residual layers are over all frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from lvcf.checks import check_number
from lvcf.errors import UserError
from lvcf.steering.editors.attention import (
    Hook,
    attend_within,
    finish,
    installed,
    norms_over_frames,
    project,
    self_attention_names,
)
from lvcf.steering.editors.base import finite
from lvcf.steering.editors.stable_diffusion import guided
from lvcf.steering.editors.unet_editor import Inverted, UNetEditor

TUNED_PROJECTIONS = ("attn1.to_q.weight", "attn2.to_q.weight")
LARGEST_GRADIENT = 1.0
"""Norm at which a tuning step's gradient is clipped."""


@dataclass(eq=False)
class TuneAVideo(UNetEditor):
    """See the module and :class:`UNetEditor`; the defaults are the paper's.  ``steps`` are the inversion's too.

    Attributes:
        tuning_steps: optimiser steps on the one clip; 0 tunes nothing.
        learning_rate: AdamW's.
    """

    guidance: float = 12.5
    tuning_steps: int = 500
    learning_rate: float = 3e-5

    def __post_init__(self) -> None:
        if not (isinstance(self.tuning_steps, int) and self.tuning_steps >= 0):
            raise UserError(f"tuning_steps {self.tuning_steps}: less than 0 or no whole number; 0 tunes nothing")
        check_number("editor.learning_rate", self.learning_rate, 0.0, above=True)
        super().__post_init__()

    def settings(self) -> dict[str, float | str]:
        """See the base class."""
        tuning = {"tuning_steps": self.tuning_steps, "learning_rate": self.learning_rate}
        return {"steps": self.steps, **tuning, "inversion_prompt": ""}

    def _prepare(self, clip: Tensor, source_prompt: str, context: Tensor, seed: int) -> Inverted:
        latents = self.model.encode(clip)
        temporal = TemporalLayers(self.model.unet, len(latents)).to(self.model.device)
        with restored(self.model.unet), self._video(temporal):
            tuned = self._tune(latents, context, temporal, torch.Generator().manual_seed(seed))
            empty = self.model.embed([""])
            path = self.model.invert(
                latents, self.levels, self.levels, lambda z, level: self._noise(z[None], level, empty)[0]
            )
        return Inverted(path, source_prompt, tuned)

    def _sample(self, state: Inverted, context: Tensor, seed: int) -> Tensor:
        temporal = TemporalLayers(self.model.unet, state.path.shape[1]).to(self.model.device)

        def predict(z: Tensor, level: int, step: int) -> Tensor:
            noise = self._noise(torch.stack([z, z]), level, context[1:])
            return guided(noise[0], noise[1], self.guidance)

        with restored(self.model.unet), self._video(temporal):
            _load_tuned(self.model.unet, temporal, state.tensors)
            return self.model.sample(state.path[0], self.levels, predict)

    @torch.no_grad()
    def _noise(self, z: Tensor, level: int, context: Tensor) -> Tensor:
        return self.model.noise(z, level, context)

    @contextmanager
    def _video(self, temporal: TemporalLayers) -> Iterator[None]:
        """The U-Net as a video model."""
        processor = SparseCausalAttention(temporal.frames)
        names = self_attention_names(self.model.unet)
        hooks = [*temporal.hooks(self.model.unet), *norms_over_frames(self.model.unet, temporal.frames)]
        with installed(self.model.unet, dict.fromkeys(names, processor), hooks):
            yield

    def _tune(
        self, latents: Tensor, context: Tensor, temporal: TemporalLayers, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Learn the clip in place; returns the tuned weights by name."""
        projections = {n: p for n, p in self.model.unet.named_parameters() if n.endswith(TUNED_PROJECTIONS)}
        added = temporal.tuned_parameters()
        weights = [*projections.values(), *added.values()]
        optimiser = torch.optim.AdamW(weights, lr=self.learning_rate)
        for weight in weights:
            weight.requires_grad_(True)
        self.model.unet.enable_gradient_checkpointing()  # all frames are in one pass: keep few activations
        for step in range(self.tuning_steps):
            loss = finite(self._loss(latents, context, generator), "tuning", step + 1)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(weights, LARGEST_GRADIENT)
            optimiser.step()
        for weight in weights:
            weight.requires_grad_(False)
        tuned = {**projections, **{f"temporal.{n}": p for n, p in added.items()}}
        return {name: weight.detach().clone() for name, weight in tuned.items()}

    def _loss(self, latents: Tensor, context: Tensor, generator: torch.Generator) -> Tensor:
        """Mean squared error of the noise, also where the model predicts v; one random timestep for all frames."""
        trained = self.model.scheduler.config.num_train_timesteps
        level = int(torch.randint(trained, (), generator=generator))
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        alpha, sigma = (scale.view(1, 1, 1, 1) for scale in self.model.scales(level))
        estimate = self.model.noise((alpha * latents + sigma * noise)[None], level, context)[0]
        return functional.mse_loss(estimate, noise)


class SparseCausalAttention:
    """Queries of frame i over keys and values of frames 0 and i - 1 (frame 0: itself twice)."""

    def __init__(self, frames: int) -> None:
        self.frames = frames

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """See :class:`Processor`."""
        query, key, value = project(attn, hidden_states, self.frames)
        previous = [max(frame - 1, 0) for frame in range(self.frames)]
        keys, values = (torch.cat([x[:, [0] * self.frames], x[:, previous]], dim=2) for x in (key, value))
        return finish(attn, attend_within(attn.heads, query, keys, values))


class TemporalLayers(nn.Module):
    """For every transformer block of a U-Net, an attention of each token over its own frames, zero at first."""

    def __init__(self, unet: UNet2DConditionModel, frames: int) -> None:
        super().__init__()
        self.frames = frames
        self.layers = nn.ModuleDict(
            {name.replace(".", "_"): _temporal_layer(block) for name, block in _transformer_blocks(unet)}
        )

    def tuned_parameters(self) -> dict[str, nn.Parameter]:
        """By name, those that are tuned: the attentions'; the normalisations stay as they are."""
        attentions = [name for name, module in self.named_modules() if isinstance(module, Attention)]
        return {n: p for n, p in self.named_parameters() if n.startswith(tuple(f"{a}." for a in attentions))}

    def hooks(self, unet: UNet2DConditionModel) -> list[tuple[nn.Module, Hook]]:
        """Hooks that put the layers behind the blocks' feed-forward layers."""
        return [(block, self._hook(self.layers[name.replace(".", "_")])) for name, block in _transformer_blocks(unet)]

    def _hook(self, layer: nn.Module) -> Hook:
        def add(module: nn.Module, arguments: Any, output: Tensor) -> Tensor:
            tokens = rearrange(output, "(c f) n d -> (c n) f d", f=self.frames)
            change: Tensor = layer(tokens)
            return output + rearrange(change, "(c n) f d -> (c f) n d", c=len(output) // self.frames)

        return add


def _temporal_layer(block: Any) -> nn.Module:
    """Normalisation and self-attention as wide as the block's own, with an output projection of zero."""
    own = block.attn1
    attention = Attention(own.query_dim, heads=own.heads, dim_head=own.inner_dim // own.heads)
    nn.init.zeros_(attention.to_out[0].weight)
    nn.init.zeros_(attention.to_out[0].bias)
    return nn.Sequential(nn.LayerNorm(own.query_dim), attention)


def _transformer_blocks(unet: UNet2DConditionModel) -> list[tuple[str, nn.Module]]:
    return [(name, module) for name, module in unet.named_modules() if isinstance(module, BasicTransformerBlock)]


@contextmanager
def restored(unet: UNet2DConditionModel) -> Iterator[None]:
    """Puts what tuning changes back as it was, also after an error."""
    tuned = {n: p for n, p in unet.named_parameters() if n.endswith(TUNED_PROJECTIONS)}
    before = {name: weight.detach().clone() for name, weight in tuned.items()}
    try:
        yield
    finally:
        unet.disable_gradient_checkpointing()
        for name, weight in tuned.items():
            weight.requires_grad_(False)
            weight.grad = None
            weight.data.copy_(before[name])


def _load_tuned(unet: UNet2DConditionModel, temporal: TemporalLayers, tensors: dict[str, Tensor]) -> None:
    named = dict(unet.named_parameters()) | {f"temporal.{n}": p for n, p in temporal.named_parameters()}
    for name, tensor in tensors.items():
        named[name].data.copy_(tensor)
