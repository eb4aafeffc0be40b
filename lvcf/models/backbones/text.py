"""A small CLIP text encoder and word-level tokenizer for domains with few words and whole numbers."""

from __future__ import annotations

import math
import random

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import nn
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from lvcf.models.backbones.base import Embedding

SPECIAL = ("<pad>", "<unk>", "<start>", "<end>")


def text_parts(
    words: list[str], statements: list[str], length: int, width: int, layers: int, steps: int = 800
) -> tuple[PreTrainedTokenizerFast, CLIPTextModel]:
    """A tokenizer of ``words`` and the integers 0..100, and an encoder that is taught to tell ``statements`` apart.

    Args:
        words: what prompts are made of.
        statements: see :func:`teach_statements`; empty leaves the encoder untaught.
        length: tokens per prompt, start and end included.
        width: of the encoder.
        layers: of the encoder.
        steps: of teaching.
    """
    tokenizer = small_tokenizer(words, numbers=100, length=length)
    encoder = small_text_encoder(tokenizer, width, layers)
    if statements:
        teach_statements(encoder, tokenizer, statements, steps)
    return tokenizer, encoder


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


def embed_prompts(
    encoder: nn.Module, tokenizer: PreTrainedTokenizerBase, prompts: list[str], length: int, masked: bool
) -> Embedding:
    """Last hidden states ``(B, L, D)`` of prompts cut or padded to L tokens, which are no padding, and their numbers.

    Args:
        encoder: a text encoder of transformers.
        tokenizer: its tokenizer.
        prompts: in words.
        length: number of tokens L.
        masked: hide padding from the encoder.
    """
    tokens = tokenizer(prompts, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    tokens, mask = tokens.to(encoder.device), tokens["attention_mask"].to(encoder.device)
    hidden = encoder(tokens["input_ids"], attention_mask=mask if masked else None).last_hidden_state
    return Embedding(hidden.float(), mask.to(hidden.device), tokens["input_ids"].to(hidden.device))


def teach_statements(
    encoder: CLIPTextModel, tokenizer: PreTrainedTokenizerFast, statements: list[str], steps: int = 800
) -> None:
    """Train the encoder until the average of a prompt's tokens tells which statements the prompt makes.

    What differs between two prompts may be one word, or the order of words.  A denoiser that has to find it by itself,
    through attention that at first averages all tokens, learns for thousands of steps as if prompts said nothing.

    Args:
        encoder: trained in place.
        tokenizer: its tokenizer.
        statements: what prompts may say of a clip, such as class names; they stand among other words they know.
        steps: batches of 64 prompts with up to four statements each.
    """
    said = {word for statement in statements for word in statement.lower().split()}
    context = [word for word in tokenizer.get_vocab() if word not in (*SPECIAL, *said) and not word.isdigit()]
    head = nn.Linear(encoder.config.hidden_size, len(statements))
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=2e-3)
    draw = random.Random(0)
    for _ in range(steps):
        drawn = [draw.sample(range(len(statements)), draw.randint(0, min(4, len(statements)))) for _ in range(64)]
        prompts = [_shuffled(draw, [statements[k] for k in chosen], context) for chosen in drawn]
        truth = torch.tensor([[float(k in chosen) for k in range(len(statements))] for chosen in drawn])
        embedding = embed_prompts(encoder, tokenizer, prompts, tokenizer.model_max_length, masked=True)
        mask = embedding.mask[..., None]
        loss = functional.binary_cross_entropy_with_logits(head((embedding.tokens * mask).sum(1) / mask.sum(1)), truth)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def _shuffled(draw: random.Random, statements: list[str], context: list[str]) -> str:
    parts = [*statements, *draw.sample(context, draw.randint(0, min(5, len(context))))]
    draw.shuffle(parts)
    return " ".join(parts)
