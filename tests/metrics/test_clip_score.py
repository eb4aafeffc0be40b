"""Temporal consistency and text alignment against transformers' own logits, on a tiny random CLIP."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

from lvcf.data.clip import round_to_8_bits, to_frames
from lvcf.errors import UserError
from lvcf.metrics.clip_score import ClipEmbedder, temporal_consistency, text_alignment
from lvcf.models.backbones.text import small_tokenizer

SIZE = 16
WORDS = ["a", "young", "old", "man", "woman", "with", "beard"]


def save_clip(folder: Path) -> str:
    """A random CLIP with tokenizer and image processor, in the published layout."""
    torch.manual_seed(0)
    tokenizer = small_tokenizer(WORDS, numbers=9, length=8)
    text = {"vocab_size": len(tokenizer), "max_position_embeddings": 8, "eos_token_id": tokenizer.eos_token_id}
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = {"image_size": SIZE, "patch_size": 8}
    config = CLIPConfig(text_config={**text, **sizes}, vision_config={**vision, **sizes}, projection_dim=8)
    CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE}).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    return save_clip(tmp_path_factory.mktemp("clip"))


@torch.no_grad()
def test_cosines_are_transformers_own_without_the_temperature(folder) -> None:
    embed, video = ClipEmbedder(folder), round_to_8_bits(torch.rand(3, 4, SIZE, SIZE) * 2 - 1)
    frames, text = embed.frames(video), embed.text("an old man with beard")
    torch.testing.assert_close(frames.norm(dim=-1), torch.ones(4))
    network = CLIPModel.from_pretrained(folder)
    pixels = CLIPImageProcessor.from_pretrained(folder)(images=list(to_frames(video)), return_tensors="pt")
    tokens = embed.tokenizer("an old man with beard", return_tensors="pt")
    said = network(pixel_values=pixels["pixel_values"], input_ids=tokens["input_ids"])
    cosines = said.logits_per_image[:, 0] / network.logit_scale.exp()
    assert text_alignment(frames, text) == pytest.approx(float(cosines.mean()), abs=1e-4)
    images = said.image_embeds
    pairs = [float(images[i] @ images[i + 1]) for i in range(3)]
    assert temporal_consistency(frames) == pytest.approx(sum(pairs) / 3, abs=1e-4)


def test_a_clip_that_stands_still_is_wholly_consistent(folder) -> None:
    still = (torch.rand(3, 1, SIZE, SIZE) * 2 - 1).expand(-1, 3, -1, -1)
    assert temporal_consistency(ClipEmbedder(folder).frames(still)) == pytest.approx(1.0, abs=1e-5)


def test_a_long_prompt_is_cut(folder) -> None:
    embed = ClipEmbedder(folder)
    torch.testing.assert_close(embed.text("a " * 40).norm(), torch.tensor(1.0))


def test_no_clip(tmp_path) -> None:
    with pytest.raises(UserError, match="no preprocessor_config"):
        ClipEmbedder(str(tmp_path))
    CLIPImageProcessor().save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"--clip .*no CLIP loads"):
        ClipEmbedder(str(tmp_path))
