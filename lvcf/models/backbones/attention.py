"""Where a denoiser looks for words of its prompt: the cross-attention of its blocks.  docs/method.md, 6."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from lvcf.errors import UserError
from lvcf.models.backbones.base import Embedding


def tokens_of(words: list[str], tokenizer: PreTrainedTokenizerBase, prompt: Embedding) -> Tensor:
    """Which tokens of prompts are those of words, ``(B, L)`` of 0 and 1.

    Args:
        words: of each prompt.
        tokenizer: the one that read the prompts.
        prompt: the prompts.

    Raises:
        UserError: a prompt does not have its words.
    """
    assert prompt.ids is not None
    found = torch.zeros_like(prompt.ids)
    for row, wanted in enumerate(tokenizer(words, add_special_tokens=False)["input_ids"]):
        ids, length = prompt.ids[row].tolist(), len(wanted)
        starts = [i for i in range(len(ids)) if ids[i : i + length] == wanted]
        if not starts:
            raise UserError(
                f"GradientGuidance.attention cross: the prompt does not say the target '{words[row]}'; "
                "use --model.prompt target"
            )
        for start in starts:
            found[row, start : start + length] = 1
    return found


@contextmanager
def watched(layers: Sequence[nn.Module], found: Tensor) -> Iterator[list[Tensor]]:
    """Collects, while the denoiser runs, how much of every latent token's attention goes to some prompt tokens.

    Args:
        layers: the cross-attention of each block, diffusers' ``LTXAttention``.
        found: those tokens, ``(B, L)`` of 0 and 1.

    Yields:
        One share ``(B, N)`` a layer, the mean over its heads; filled as the layers are called.
    """
    shares: list[Tensor] = []

    def look(layer: Any, inputs: tuple[Tensor, ...], options: dict[str, Tensor]) -> None:
        query = layer.norm_q(layer.to_q(inputs[0])).unflatten(2, (layer.heads, -1)).transpose(1, 2)
        key = layer.norm_k(layer.to_k(options["encoder_hidden_states"])).unflatten(2, (layer.heads, -1)).transpose(1, 2)
        scores = query @ key.transpose(2, 3) / query.shape[-1] ** 0.5 + options["attention_mask"][:, None]
        share = scores.float().softmax(-1) * found[:, None, None]  # in float32, also under autocast
        shares.append(share.sum(-1).mean(1))

    handles = [layer.register_forward_pre_hook(look, with_kwargs=True) for layer in layers]
    try:
        with torch.compiler.set_stance("force_eager"):  # compiled blocks would pass the hooks by
            yield shares
    finally:
        for handle in handles:
            handle.remove()
