"""Self-attention over several frames in a stock ``UNet2DConditionModel``, by processors and forward hooks.

A pass of the U-Net has copies x frames rows, copy by copy: the copies are the same frames under different prompts.
Where features are injected (plug-and-play features, Tumanyan et al. 2023), copy 0 is the source video at its own
noise level, and the other copies take some of its features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from diffusers import UNet2DConditionModel
from diffusers.models.resnet import ResnetBlock2D
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

SELF_ATTENTION = "attn1.processor"


@dataclass(frozen=True)
class Injection:
    """What of the source's pass the other copies take.

    Attributes:
        attention: decoder layers ``(block, layer)`` whose queries and keys are injected.
        residuals: decoder residual layers ``(block, layer)`` whose features are.
    """

    attention: tuple[tuple[int, int], ...]
    residuals: tuple[tuple[int, int], ...]

    def attends(self, name: str) -> bool:
        """Whether the queries and keys of a layer, or of its processor, are injected."""
        return name.startswith(tuple(f"up_blocks.{block}.attentions.{layer}." for block, layer in self.attention))

    def hooks(self, unet: UNet2DConditionModel, run: Pass) -> list[tuple[nn.Module, Hook]]:
        """Hooks that give all copies the source's residual features, while ``run`` says so."""

        def inject(module: nn.Module, arguments: Any, output: Tensor) -> Tensor:
            if not run.inject_features:
                return output
            copies = rearrange(output, "(c f) d h w -> c f d h w", f=run.frames)
            return rearrange(from_source(copies), "c f d h w -> (c f) d h w")

        return [(unet.up_blocks[block].resnets[layer].conv2, inject) for block, layer in self.residuals]


PLUG_AND_PLAY = Injection(
    attention=((1, 1), (1, 2), *((block, layer) for block in (2, 3) for layer in range(3))), residuals=((1, 1),)
)
"""Decoder layers 4 to 11, and residual layer 4, as the plug-and-play features paper has them."""


@dataclass
class Pass:
    """What processors and hooks have to know about the present pass of the U-Net."""

    frames: int = 1
    inject_features: bool = False
    inject_attention: bool = False


class Processor(Protocol):
    """What diffusers calls instead of an attention layer's own arithmetic."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """Hidden states ``(rows, tokens, width)`` to the layer's output, shaped alike."""
        ...


Hook = Callable[[nn.Module, Any, Tensor], Tensor]
"""A forward hook that returns the module's output, changed."""


@contextmanager
def installed(
    unet: UNet2DConditionModel, processors: Mapping[str, Processor], hooks: Iterable[tuple[nn.Module, Hook]] = ()
) -> Iterator[None]:
    """The U-Net with some processors replaced, by name, and hooks added; as it was afterwards, also after an error."""
    before = dict(unet.attn_processors)
    handles = []
    try:
        unet.set_attn_processor({**before, **processors})
        for module, hook in hooks:
            handles.append(module.register_forward_hook(hook))
        yield
    finally:
        for handle in handles:
            handle.remove()
        unet.set_attn_processor(before)


def self_attention_names(unet: UNet2DConditionModel) -> list[str]:
    """The names of the processors of all self-attention layers."""
    return [name for name in unet.attn_processors if name.endswith(SELF_ATTENTION)]


def project(attn: Any, hidden: Tensor, frames: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of rows ``(c f, n, d)``, each ``(c, f, n, heads * head width)``."""
    query, key, value = (
        rearrange(layer(hidden), "(c f) n d -> c f n d", f=frames) for layer in (attn.to_q, attn.to_k, attn.to_v)
    )
    return query, key, value


def attend(heads: int, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Multi-head attention of queries ``(b, n, d)`` over keys ``(b, m, d)``; ``mask`` ``(b, m)``: where a key is.

    PyTorch's fused kernel keeps no ``(n, m)`` table in memory.
    """
    q, k, v = (rearrange(x, "b n (h d) -> b h n d", h=heads) for x in (query, key, value))
    keys = None if mask is None else mask[:, None, None, :]
    return rearrange(functional.scaled_dot_product_attention(q, k, v, attn_mask=keys), "b h n d -> b n (h d)")


def attend_within(heads: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Every frame over its own keys: all ``(c, f, n, d)``, keys of any number."""
    q, k, v = (rearrange(x, "c f n d -> (c f) n d") for x in (query, key, value))
    return rearrange(attend(heads, q, k, v), "(c f) n d -> c f n d", f=query.shape[1])


def attend_across(heads: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Every token of every frame over the tokens of all frames of its copy: all ``(c, f, n, d)``."""
    q, k, v = (rearrange(x, "c f n d -> c (f n) d") for x in (query, key, value))
    return rearrange(attend(heads, q, k, v), "c (f n) d -> c f n d", f=query.shape[1])


def finish(attn: Any, attended: Tensor) -> Tensor:
    """The layer's output projection, and back to rows: ``(c, f, n, d)`` to ``(c f, n, d)``."""
    output: Tensor = attn.to_out[1](attn.to_out[0](rearrange(attended, "c f n d -> (c f) n d")))
    return output


def from_source(x: Tensor) -> Tensor:
    """Copy 0 in place of all copies ``(c, ...)``."""
    return x[:1].expand_as(x)


def norms_over_frames(unet: UNet2DConditionModel, frames: int) -> list[tuple[nn.Module, Hook]]:
    """Hooks by which residual layers and the last layer normalise over all frames of a copy, as video U-Nets do.

    The norms before the attention blocks stay one per frame.
    """

    def normalise(module: Any, arguments: Any, output: Tensor) -> Tensor:
        copies = rearrange(arguments[0], "(c f) d h w -> c d f h w", f=frames)
        normed = functional.group_norm(copies, module.num_groups, module.weight, module.bias, module.eps)
        return rearrange(normed, "c d f h w -> (c f) d h w")

    residual = [module for module in unet.modules() if isinstance(module, ResnetBlock2D)]
    norms = [norm for module in residual for norm in (module.norm1, module.norm2)]
    return [(norm, normalise) for norm in (*norms, unet.conv_norm_out)]
