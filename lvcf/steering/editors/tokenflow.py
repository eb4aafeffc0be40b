"""TokenFlow: edited keyframes, and their attention outputs carried to all other frames (Geyer et al. 2023).

At every step some keyframes are edited together; every other frame takes its attention outputs from the keyframes
before and after it, token by token, at the source token that is most like its own.  Layout comes from the source by
plug-and-play features (Tumanyan et al. 2023).  The source runs along as copy 0 of every pass, from its inverted
latents, so no features are stored but the keyframes' of one step: memory grows linearly with the frames.

Where it departs from the authors' public code: tokens are matched by the self-attention's outputs, as the paper says,
where the code compares its inputs; the source copy stays exact, where the code carries its attention too; a frame's
neighbours are the keyframes before and after it at their true distances, where the code takes those of its own and of
the batch before; and sampling starts at the inverted latents, where the code renoises an estimate of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional

from lvcf.errors import UserError
from lvcf.steering.editors.attention import (
    PLUG_AND_PLAY,
    Pass,
    attend_across,
    attend_within,
    finish,
    from_source,
    installed,
    project,
    self_attention_names,
)
from lvcf.steering.editors.stable_diffusion import guided
from lvcf.steering.editors.unet_editor import Inverted, UNetEditor, steps_of


@dataclass(eq=False)
class TokenFlow(UNetEditor):
    """See the module and :class:`UNetEditor`; the defaults are the paper's, which inverts in 1000 steps or fewer.

    Attributes:
        inversion_steps: steps of the inversion; ``steps`` of its latents are kept.
        keyframe_every: one keyframe is drawn from each run of so many frames; also the frames of one pass.
        inject_features: share of the steps, from the noisy end, with the source's residual features.
        inject_attention: share of the steps with the source's queries and keys.
    """

    inversion_steps: int = 500
    keyframe_every: int = 8
    inject_features: float = 0.8
    inject_attention: float = 0.5

    def __post_init__(self) -> None:
        if not (isinstance(self.keyframe_every, int) and self.keyframe_every >= 1):
            raise UserError(f"keyframe_every {self.keyframe_every}: no whole number from 1 on; 8 is the paper's")
        super().__post_init__()
        self.feature_steps = steps_of("inject_features", self.inject_features, self.steps)
        self.attention_steps = steps_of("inject_attention", self.inject_attention, self.steps)
        self.inversion = self.inversion_levels(self.inversion_steps)

    @property
    def draws(self) -> bool:
        """The keyframes, where there is a choice."""
        return self.keyframe_every > 1

    def settings(self) -> dict[str, float | str]:
        """See the base class."""
        return {"steps": self.steps, "inversion_steps": self.inversion_steps}

    @torch.no_grad()
    def _prepare(self, clip: Tensor, source_prompt: str, context: Tensor, seed: int) -> Inverted:
        def predict(z: Tensor, level: int) -> Tensor:
            return torch.cat(
                [self.model.noise(some[None], level, context)[0] for some in torch.split(z, self.keyframe_every)]
            )

        path = self.model.invert(self.model.encode(clip), self.inversion, self.levels, predict)
        return Inverted(path, source_prompt)

    def _sample(self, state: Inverted, context: Tensor, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        run = TokenFlowPass()
        names = self_attention_names(self.model.unet)
        processors = {name: TokenFlowAttention(run, PLUG_AND_PLAY.attends(name)) for name in names}

        def predict(z: Tensor, level: int, step: int) -> Tensor:
            run.inject_features, run.inject_attention = step < self.feature_steps, step < self.attention_steps
            keys = draw_keyframes(len(z), self.keyframe_every, generator)
            noise = self._noise(torch.stack([state.path[step], z, z]), level, context, run, keys)
            return guided(noise[1], noise[2], self.guidance)

        with installed(self.model.unet, processors, PLUG_AND_PLAY.hooks(self.model.unet, run)):
            return self.model.sample(state.path[0], self.levels, predict)

    def _noise(self, z: Tensor, level: int, context: Tensor, run: TokenFlowPass, keys: Tensor) -> Tensor:
        """The keyframes in one pass, then all other frames, some at a time; ``z`` is ``(3, T, C, h, w)``."""
        noise = torch.empty_like(z)
        run.frames, run.neighbours = len(keys), None
        noise[:, keys] = self.model.noise(z[:, keys], level, context)
        others = torch.tensor([frame for frame in range(z.shape[1]) if frame not in keys.tolist()], dtype=torch.long)
        for some in torch.split(others, self.keyframe_every) if len(others) else ():
            run.frames, run.neighbours = len(some), neighbours(some, keys)
            noise[:, some] = self.model.noise(z[:, some], level, context)
        return noise


@dataclass
class Neighbours:
    """The keyframes around some frames, as positions among the keyframes ``(f,)``, and the weight of the later."""

    before: Tensor
    after: Tensor
    weight: Tensor


@dataclass
class TokenFlowPass(Pass):
    """The present pass; without ``neighbours`` it is the keyframes'."""

    neighbours: Neighbours | None = None


class TokenFlowAttention:
    """Copy 0 is the source, frame by frame.  The others attend over all keyframes, or take what the keyframes had."""

    def __init__(self, run: TokenFlowPass, injected: bool) -> None:
        self.run, self.injected = run, injected
        self.source_keys = self.edited_keys = torch.empty(0)

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """See :class:`Processor`."""
        if self.run.neighbours is None:
            return self._keyframes(attn, hidden_states)
        own = hidden_states[: self.run.frames]
        source = finish(attn, attend_within(attn.heads, *project(attn, own, self.run.frames)))
        edited = propagate(self.edited_keys, self.source_keys, source, self.run.neighbours)
        return torch.cat([source, edited.flatten(0, 1)])

    def _keyframes(self, attn: Any, hidden_states: Tensor) -> Tensor:
        query, key, value = project(attn, hidden_states, self.run.frames)
        if self.injected and self.run.inject_attention:
            query, key = from_source(query), from_source(key)
        source = attend_within(attn.heads, query[:1], key[:1], value[:1])
        edited = attend_across(attn.heads, query[1:], key[1:], value[1:])
        output = finish(attn, torch.cat([source, edited]))
        copies = rearrange(output, "(c f) n d -> c f n d", f=self.run.frames)
        self.source_keys, self.edited_keys = copies[0], copies[1:]
        return output


def draw_keyframes(frames: int, every: int, generator: torch.Generator) -> Tensor:
    """One frame of each run of ``every``, rising ``(k,)``; the last run may be shorter."""
    starts = range(0, frames, every)
    drawn = [start + int(torch.randint(min(every, frames - start), (), generator=generator)) for start in starts]
    return torch.tensor(drawn)


def neighbours(frames: Tensor, keys: Tensor) -> Neighbours:
    """The keyframes before and after frames ``(f,)``; outside all keyframes, and on one, a single one counts.

    The weight of the later one is d_before / (d_before + d_after), d the distances in frames.  The paper puts a
    sigmoid around it, which would mix a keyframe with its neighbour and jump by 0.27 at every keyframe.
    """
    after = torch.searchsorted(keys, frames).clamp(max=len(keys) - 1)
    before = (torch.searchsorted(keys, frames, right=True) - 1).clamp(min=0)
    gap = (keys[after] - keys[before]).clamp(min=1)
    return Neighbours(before, after, ((frames - keys[before]) / gap).clamp(0.0, 1.0))


def propagate(edited_keys: Tensor, source_keys: Tensor, source: Tensor, around: Neighbours) -> Tensor:
    """Edited tokens of frames from those of keyframes: F_gamma of the paper.

    Args:
        edited_keys: ``(c, k, n, d)``, of edited keyframes.
        source_keys: ``(k, n, d)``, of the same frames of the source.
        source: ``(f, n, d)``, of the source's frames to fill.
        around: the frames' keyframes.

    Returns:
        ``(c, f, n, d)``.
    """
    before, after = (
        _taken(edited_keys[:, which], nearest_tokens(source, source_keys[which]))
        for which in (around.before, around.after)
    )
    return torch.lerp(before, after, around.weight.to(source)[:, None, None])


def nearest_tokens(tokens: Tensor, keys: Tensor) -> Tensor:
    """For tokens ``(f, n, d)`` the index of the most similar of ``keys`` ``(f, m, d)`` by cosine, ``(f, n)``."""
    tokens, keys = functional.normalize(tokens, dim=-1), functional.normalize(keys, dim=-1)
    # frame by frame: a table of n x m similarities each
    return torch.stack([(frame @ key.mT).argmax(-1) for frame, key in zip(tokens, keys, strict=True)])


def _taken(values: Tensor, index: Tensor) -> Tensor:
    """Rows of ``(c, f, n, d)`` by index ``(f, n)``."""
    c, _, _, d = values.shape
    return values.gather(2, index[None, :, :, None].expand(c, -1, -1, d))
