"""How alike two descriptions are: the cosine of their sentence embeddings (Reimers and Gurevych 2019)."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer

from lvcf.errors import UserError, said

LONGEST = 512
"""Tokens read at most, where the tokenizer itself does not say."""


class SentenceEmbedder:
    """A text encoder of transformers; tokens are averaged, or the first taken where ``1_Pooling/config.json`` says so.

    Args:
        folder: of the encoder and its tokenizer, or a hub id; sentence-transformers' layout is one.

    Raises:
        UserError: it does not load.
    """

    def __init__(self, folder: str) -> None:
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            network = AutoModel.from_pretrained(folder, trust_remote_code=False)
            pooling = Path(folder) / "1_Pooling" / "config.json"
            self.first = pooling.is_file() and bool(json.loads(pooling.read_text()).get("pooling_mode_cls_token"))
        except Exception as error:  # transformers, safetensors and tokenizers raise their own
            told = said(error)
            raise UserError(f"--embedder {folder}: no text encoder loads ({told})") from error
        self.network = network.eval().requires_grad_(False)
        self.longest = min(int(self.tokenizer.model_max_length), LONGEST)

    @torch.no_grad()
    def __call__(self, text: str) -> Tensor:
        """The unit embedding ``(D,)``."""
        tokens = self.tokenizer(text, truncation=True, max_length=self.longest, return_tensors="pt")
        states = self.network(**tokens).last_hidden_state[0]
        pooled = states[0] if self.first else states.mean(dim=0)  # a single text has no padding
        return functional.normalize(pooled, dim=-1)


def caption_similarity(embed: SentenceEmbedder, one: str, other: str) -> float:
    """Cosine in [-1, 1] of two texts."""
    return float(embed(one) @ embed(other))
