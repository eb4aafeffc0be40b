"""A tiny random Stable Diffusion in the layout of the published ones, and clips for it."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from lvcf.models.backbones.text import small_tokenizer
from lvcf.steering.editors.flow import OpticalFlow
from lvcf.steering.editors.stable_diffusion import StableDiffusion

WORDS = ["a", "young", "old", "man", "woman", "with", "beard", "face", "dark"]
DOWN = ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D")
UP = ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D")
SCHEDULE = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}


def save_stable_diffusion(
    folder: Path, prediction_type: str = "epsilon", in_channels: int = 4, prompt_tokens: int = 8
) -> Path:
    """Every part with random weights; 64 x 64 pixels are 8 x 8 latents."""
    torch.manual_seed(1)
    tokenizer = small_tokenizer(WORDS, numbers=9, length=prompt_tokens)
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=prompt_tokens,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    parts = {
        "unet": UNet2DConditionModel(
            sample_size=8,
            in_channels=in_channels,
            block_out_channels=(8, 8, 16, 16),
            down_block_types=DOWN,
            up_block_types=UP,
            layers_per_block=2,
            norm_num_groups=4,
            cross_attention_dim=16,
            attention_head_dim=2,
        ),
        "vae": AutoencoderKL(
            block_out_channels=(4, 4, 4, 4),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            norm_num_groups=2,
            latent_channels=4,
        ),
        "text_encoder": CLIPTextModel(text),
        "tokenizer": tokenizer,
        "scheduler": DDIMScheduler(set_alpha_to_one=False, prediction_type=prediction_type, **SCHEDULE),
    }
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    libraries = {"text_encoder": "transformers", "tokenizer": "transformers"}
    index = {name: [libraries.get(name, "diffusers"), type(part).__name__] for name, part in parts.items()}
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline", **index}))
    return folder


def moving_clip(frames: int = 4, size: int = 64, step: int = 8) -> Tensor:
    """A smooth random picture that moves 8 pixels (one latent) to the right per frame, round the edge."""
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand(1, 3, size // 8, size // 8, generator=generator) * 1.8 - 0.9
    picture = torch.nn.functional.interpolate(coarse, size=size, mode="bilinear")[0]
    return torch.stack([picture.roll(step * t, -1) for t in range(frames)], dim=1)


def still_clip(frames: int = 4) -> Tensor:
    return moving_clip(1).expand(-1, frames, -1, -1).contiguous()


def calm(model: StableDiffusion, scale: float) -> None:
    """Shrink what the U-Net says: DDIM's error grows with how fast its answer changes, and a random one's is wild."""
    for parameter in model.unet.conv_out.parameters():
        parameter.data *= scale


class ConstantFlow(OpticalFlow):
    """Every pixel moves alike."""

    def __init__(self, right: float = 0.0, down: float = 0.0) -> None:
        self.step = torch.tensor([float(right), float(down)])
        self.name = f"constant {right} {down}"

    def __call__(self, clip: Tensor) -> Tensor:
        _, frames, height, width = clip.shape
        return self.step.view(1, 2, 1, 1).expand(frames - 1, -1, height, width)
