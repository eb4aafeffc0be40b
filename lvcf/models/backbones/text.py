"""A small CLIP text encoder and word-level tokenizer for domains with few words and whole numbers."""

from __future__ import annotations

import math

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

SPECIAL = ("<pad>", "<unk>", "<start>", "<end>")


def small_tokenizer(words: list[str], numbers: int, length: int) -> PreTrainedTokenizerFast:
    """One token per word, in any case, and per integer 0..``numbers``; prompts are padded to ``length`` tokens."""
    known = dict.fromkeys(word.lower() for word in words)
    entries = [*SPECIAL, *known, *(str(n) for n in range(numbers + 1))]
    tokenizer = Tokenizer(models.WordLevel({token: i for i, token in enumerate(entries)}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()  # a class is "Happy" to a model and "happy" in a sentence
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>",
        special_tokens=[("<start>", entries.index("<start>")), ("<end>", entries.index("<end>"))],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=length,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<start>",
        eos_token="<end>",
    )


def small_text_encoder(tokenizer: PreTrainedTokenizerFast, width: int, layers: int) -> CLIPTextModel:
    """A CLIP text model whose number tokens start as Fourier features, so that near values have near embeddings."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=tokenizer.model_max_length,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    encoder = CLIPTextModel(config)
    numbers = {int(token): index for token, index in tokenizer.get_vocab().items() if token.isdigit()}
    value = torch.tensor(sorted(numbers), dtype=torch.float32) / max(numbers)
    frequencies = 2.0 ** torch.linspace(-1.0, 5.0, width // 2)
    phase = math.pi * value[:, None] * frequencies
    table = encoder.get_input_embeddings().weight
    with torch.no_grad():
        table[[numbers[n] for n in sorted(numbers)]] = (
            table.std() * math.sqrt(2) * torch.cat([phase.sin(), phase.cos()], 1)
        )
    return encoder
