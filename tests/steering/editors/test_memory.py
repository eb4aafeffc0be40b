"""The memory that docs/steering.md tells, against the published layouts without weights."""

from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from lvcf.steering.editors.tune_a_video import TUNED_PROJECTIONS, TemporalLayers
from tests.helpers import ROOT

TEXT = (ROOT / "docs" / "steering.md").read_text()
BYTES = 4
WIDTHS = {"1.x": (768, 12, 8), "2.x": (1024, 23, [5, 10, 20, 20])}
"""Width and layers of the text encoder, heads of the U-Net, as Stable Diffusion 1.4 and 2.1 have them."""


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def published(version: str) -> tuple[UNet2DConditionModel, AutoencoderKL, CLIPTextModel]:
    width, layers, heads = WIDTHS[version]
    encoder = CLIPTextConfig(
        vocab_size=49408,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
    )
    with torch.device("meta"):
        return (
            UNet2DConditionModel(sample_size=64, cross_attention_dim=width, attention_head_dim=heads),
            AutoencoderKL(
                block_out_channels=(128, 256, 512, 512),
                down_block_types=("DownEncoderBlock2D",) * 4,
                up_block_types=("UpDecoderBlock2D",) * 4,
                layers_per_block=2,
            ),
            CLIPTextModel(encoder),
        )


def test_weights() -> None:
    sizes = [f"{sum(map(parameters, published(version))) * BYTES / 1e9:.2f}" for version in WIDTHS]
    assert f"| {sizes[0]}; {sizes[1]} GB |" in TEXT


def test_what_tuning_adds_and_keeps() -> None:
    unet, _, _ = published("1.x")
    with torch.device("meta"):
        temporal = parameters(TemporalLayers(unet, 24))
    projections = sum(p.numel() for n, p in unet.named_parameters() if n.endswith(TUNED_PROJECTIONS))
    tuned = temporal + projections
    assert f"| {(temporal + 3 * tuned + projections) * BYTES / 1e9:.2f} GB | | |" in TEXT
    path = 51 * 24 * 4 * 64 * 64 * BYTES
    assert f"| {(path + tuned * BYTES) / 1e6:.0f} MB | {path / 1e6:.0f} MB |" in TEXT


@pytest.mark.parametrize("rows", [48, 24, 72])
def test_the_largest_tensor(rows) -> None:
    """Of the feed-forward at 64 x 64 tokens, 320 wide: twice four times that, for its gate."""
    row = 64 * 64 * 320 * 8 * BYTES
    assert f"{row / 1e6:.1f} MB a row" in TEXT
    assert f"{rows * row / 1e9:.1f} GB" in TEXT
