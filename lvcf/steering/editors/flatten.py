"""FLATTEN: attention along the optical flow (Cong et al. 2023).

Self-attention reaches over all frames.  At its finest resolution, what it returns attends once more, without further
weights, along the trajectory of its patch through the source clip.  The layout comes from the source by injected
features, queries and keys.  The original keeps these from the inversion, some 40 GB for 24 frames; here the source
runs along as copy 0 of the passes that need them, from its inverted latents and under the empty prompt of the
inversion, and nothing but latents is kept.  Norms of residual layers are over all frames of a copy.

Where it departs from the authors' public code: the flow of a patch is its mean and adds up in fractions, where the
code rounds the flow at a corner to whole patches each step; and the inversion asks the noise at the level that it
steps to, and starts sampling there, where the code asks at the level it comes from.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from lvcf.steering.editors.attention import (
    Injection,
    Pass,
    attend,
    attend_across,
    finish,
    from_source,
    installed,
    norms_over_frames,
    project,
    self_attention_names,
)
from lvcf.steering.editors.flow import DISFlow, OpticalFlow, trajectories
from lvcf.steering.editors.stable_diffusion import guided
from lvcf.steering.editors.unet_editor import Inverted, UNetEditor, steps_of

INJECTION = Injection(attention=((1, 1), (1, 2), (2, 0), (2, 1), (2, 2), (3, 0)), residuals=((1, 0), (1, 1), (2, 0)))
"""What the authors' code takes from the source; the two finest attention layers stay the edit's own."""


@dataclass(eq=False)
class Flatten(UNetEditor):
    """See the module and :class:`UNetEditor`.

    Attributes:
        guidance: the authors' examples have 15 and 20.
        inversion_steps: steps of the inversion; ``steps`` of its latents are kept.  The authors' code has 100.
        old_qk: attention along the flow takes its queries and keys from the layer, where it takes them else from what
            attention over all frames returned.  Two of the authors' three examples set it.
        inject: share of the steps, from the noisy end, with the source's features, queries and keys; the paper's is
            40 of 50.
        flow: estimates the source's motion; by default :class:`DISFlow` (the paper's is :class:`RAFTFlow`).
    """

    guidance: float = 20.0
    inversion_steps: int = 100
    old_qk: bool = False
    inject: float = 0.8
    flow: OpticalFlow | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.flow = self.motion = self.flow or DISFlow()
        self.inversion = self.inversion_levels(self.inversion_steps)
        self.injected_steps = steps_of("inject", self.inject, self.steps)

    def settings(self) -> dict[str, float | str]:
        """See the base class."""
        settings: dict[str, float | str] = {"steps": self.steps, "flow": self.motion.name}
        settings |= {"inversion_steps": self.inversion_steps, "inversion_prompt": ""}  # attention along the flow is on
        return settings | {"old_qk": self.old_qk}

    @torch.no_grad()
    def _prepare(self, clip: Tensor, source_prompt: str, context: Tensor, seed: int) -> Inverted:
        latents, empty = self.model.encode(clip), self.model.embed([""])
        paths = trajectories(self.motion(clip), *latents.shape[-2:]).to(self.model.device)
        with self._video(FlattenPass(len(latents), paths=paths, patches=latents[0, 0].numel())):
            path = self.model.invert(
                latents, self.inversion, self.levels, lambda z, level: self.model.noise(z[None], level, empty)[0]
            )
        return Inverted(path, source_prompt, {"trajectories": paths})

    def _sample(self, state: Inverted, context: Tensor, seed: int) -> Tensor:
        context = torch.cat([self.model.embed([""]), context[1:]])  # copy 0 is the inversion's own pass
        run = FlattenPass(state.path.shape[1], paths=state.tensors["trajectories"], patches=state.path[0, 0, 0].numel())

        def predict(z: Tensor, level: int, step: int) -> Tensor:
            inject = step < self.injected_steps
            run.inject_features = run.inject_attention = inject
            source = 0 if inject else 1  # after the injection the source has nothing left to give
            noise = self.model.noise(torch.stack([state.path[step], z, z])[source:], level, context[source:])
            return guided(noise[-2], noise[-1], self.guidance)

        with self._video(run):
            return self.model.sample(state.path[0], self.levels, predict)

    @contextmanager
    def _video(self, run: FlattenPass) -> Iterator[None]:
        """The U-Net as a video model."""
        names = self_attention_names(self.model.unet)
        processors = {name: FlattenAttention(run, INJECTION.attends(name), self.old_qk) for name in names}
        hooks = [*INJECTION.hooks(self.model.unet, run), *norms_over_frames(self.model.unet, run.frames)]
        with installed(self.model.unet, processors, hooks):
            yield


@dataclass
class FlattenPass(Pass):
    """The present pass; ``paths`` ``(M, T)`` are the trajectories of the latents' ``patches``, the finest there are."""

    patches: int = 0

    paths: Tensor = field(default_factory=lambda: torch.empty(0))


class FlattenAttention:
    """Attention over all frames, then along trajectories where the tokens are as many as their patches."""

    def __init__(self, run: FlattenPass, injected: bool, old_qk: bool = False) -> None:
        self.run, self.injected, self.old_qk = run, injected, old_qk

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """See :class:`Processor`."""
        query, key, value = project(attn, hidden_states, self.run.frames)
        if self.injected and self.run.inject_attention:
            query, key = from_source(query), from_source(key)
        dense = attend_across(attn.heads, query, key, value)
        if dense.shape[2] == self.run.patches:
            if not self.old_qk:
                query = key = dense
            dense = attend_along(attn.heads, query, key, dense, self.run.paths)
        return finish(attn, dense)


def attend_along(heads: int, query: Tensor, key: Tensor, value: Tensor, paths: Tensor) -> Tensor:
    """Every token over the tokens on its own trajectory.

    Args:
        heads: of the attention.
        query: of all frames ``(c, T, n, d)``.
        key: likewise.
        value: likewise.
        paths: ``(M, T)`` patches by trajectory and frame, -1 where there is none; every patch is on exactly one.
    """
    copies, there = len(value), paths >= 0
    frame = torch.arange(paths.shape[1], device=paths.device).expand_as(paths)
    q, k, v = (rearrange(x[:, frame, paths.clamp(min=0)], "c m t d -> (c m) t d") for x in (query, key, value))
    mixed = attend(heads, q, k, v, there.repeat(copies, 1))
    output = torch.empty_like(value)
    output[:, frame[there], paths[there]] = rearrange(mixed, "(c m) t d -> c m t d", c=copies)[:, there]
    return output
