"""Sentence embeddings against pooling by hand, on a tiny random BERT."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertModel

from lvcf.errors import UserError
from lvcf.metrics.captions import SentenceEmbedder, caption_similarity
from lvcf.models.backbones.text import small_tokenizer

WORDS = ["a", "young", "old", "man", "woman", "in", "front", "of", "wall"]


def save_bert(folder: Path) -> str:
    """A random text encoder and its tokenizer."""
    torch.manual_seed(0)
    tokenizer = small_tokenizer(WORDS, numbers=9, length=12)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        initializer_range=0.5,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@torch.no_grad()
def states(folder: str, text: str) -> torch.Tensor:
    tokens = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    return BertModel.from_pretrained(folder).eval()(**tokens).last_hidden_state[0]


@pytest.mark.parametrize("first", [False, True])
def test_the_similarity_is_the_cosine_of_pooled_tokens(first, tmp_path) -> None:
    folder = save_bert(tmp_path)
    if first:
        (tmp_path / "1_Pooling").mkdir()
        (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    one, other = "a young man", "a woman in front of a wall"
    pooled = [states(folder, text)[0] if first else states(folder, text).mean(0) for text in (one, other)]
    expected = torch.cosine_similarity(*pooled, dim=0)
    embed = SentenceEmbedder(folder)
    assert caption_similarity(embed, one, other) == pytest.approx(float(expected), abs=1e-5)
    assert caption_similarity(embed, one, other) < 0.999
    assert caption_similarity(embed, one, one) == pytest.approx(1.0, abs=1e-5)


def test_no_encoder(tmp_path) -> None:
    with pytest.raises(UserError, match=r"--embedder .*no text encoder loads"):
        SentenceEmbedder(str(tmp_path))
