"""Decoders whose activations are computed again in the backward pass instead of being kept (Chen et al. 2016)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def recompute(part: nn.Module) -> None:
    """Let a part of a decoder keep only what goes in, under gradients; its results stay the same.

    A decoder that goes through latent frames in chunks hands lists of earlier frames from one to the next and changes
    them in place: every pass, also the second one of a chunk, gets its own copies.
    """

    def forward(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return type(part).forward(part, *args, **kwargs)
        handed = {name: list(value) for name, value in kwargs.items() if isinstance(value, list)}

        def once(*inputs: Any) -> tuple[Any, dict[str, list[Any]]]:
            lists = {name: list(value) for name, value in handed.items()}
            return type(part).forward(part, *inputs, **{**kwargs, **lists}), lists

        made, changed = checkpoint(once, *args, use_reentrant=False, preserve_rng_state=False)
        for name, value in changed.items():
            kwargs[name][:] = value
        return made

    part.forward = forward
