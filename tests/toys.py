"""Stand-ins: a Gaussian prior whose denoiser is exact, linear target models, clips made by hand; published layouts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import (
    VideoMAEConfig,
    VideoMAEForVideoClassification,
    VideoMAEImageProcessor,
    VJEPA2Config,
    VJEPA2ForVideoClassification,
    VJEPA2VideoProcessor,
)

from lvcf.data.clip import Clip
from lvcf.edits import Edit
from lvcf.models.backbones.base import Backbone, Condition, Embedding
from lvcf.models.targets.base import TargetModel
from lvcf.models.targets.mobilefacenet import MobileFaceNetStem
from lvcf.models.targets.s2d import S2DNetwork
from lvcf.sampling import SamplingCallback, SamplingState
from lvcf.tasks.counterfactual import CounterfactualTask

PRIOR_MEAN, PRIOR_STD = 0.1, 0.3


class GaussianBackbone(Backbone):
    """Latents are the clip itself, z_0 ~ N(mean, std^2): the clean estimate E[z_0 | z_t] is known exactly.

    ``schedule`` is ``flow`` (alpha = 1 - t, sigma = t) or ``vp`` (alpha = cos, sigma = sin of pi t / 2).
    """

    def __init__(self, schedule: str = "flow", mean: float = PRIOR_MEAN, std: float = PRIOR_STD) -> None:
        super().__init__()
        self.schedule, self.mean, self.std = schedule, mean, std
        self.blocks = nn.ModuleList([nn.Identity(), nn.AvgPool3d(2)])

    def encode(self, video: Tensor) -> Tensor:
        return video.clone()

    def decode(self, latent: Tensor, frames: int) -> Tensor:
        for block in self.blocks:  # features to read; the clip is the latent itself
            block(latent)
        return latent[:, :, :frames]

    def decoder_blocks(self) -> list[nn.Module]:
        return list(self.blocks)

    def embed(self, prompts: list[str]) -> Embedding:
        return Embedding(torch.zeros(len(prompts), 1, 1), torch.ones(len(prompts), 1))

    def predict(
        self, z_t: Tensor, t: Tensor, prompt: Embedding, condition: Condition | None = None
    ) -> tuple[Tensor, Tensor]:
        alpha, sigma = (s.view(-1, 1, 1, 1, 1) for s in self.alpha_sigma(t))
        gain = alpha * self.std**2 / (alpha**2 * self.std**2 + sigma**2)
        clean = self.mean + gain * (z_t - alpha * self.mean)
        return clean, (z_t - alpha * clean) / sigma

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        if self.schedule == "flow":
            return 1.0 - t, t
        return torch.cos(0.5 * math.pi * t), torch.sin(0.5 * math.pi * t)

    def time_grid(self, steps: int, strength: float, latent: Tensor) -> Tensor:
        return torch.linspace(strength, 0.0, steps + 1)


class LinearTarget(TargetModel):
    """M = offset + slope * mean brightness of the upper left quarter of every frame."""

    task = "regression"
    unit = "points"
    scale = 20.0
    bounds = (0.0, 100.0)

    def __init__(self, slope: float = 50.0, offset: float = 50.0) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))
        self.offset = nn.Parameter(torch.tensor(offset))

    def forward(self, video: Tensor) -> Tensor:
        height, width = video.shape[-2] // 2, video.shape[-1] // 2
        return self.offset + self.slope * video[..., :height, :width].mean(dim=(1, 2, 3, 4))


class Listener(LinearTarget):
    """Keeps every clip that it is asked about."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Tensor] = []

    def forward(self, video: Tensor) -> Tensor:
        self.asked.append(video.detach().clone())
        return super().forward(video)


class BrightDark(TargetModel):
    """A two-class classifier of the mean brightness against a threshold."""

    task = "classification"
    labels = ("bright", "dark")

    def __init__(self, threshold: float = 0.0) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, video: Tensor) -> Tensor:
        logit = 8.0 * (video.mean(dim=(1, 2, 3, 4)) - self.threshold)
        return torch.stack([logit, -logit], dim=1)


S2D_SIZES = {"width": 32, "depth": 3, "heads": 4, "adapter_heads": 2, "prompt_width": 4}
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


def save_s2d(network: S2DNetwork, folder: Path) -> tuple[Path, Path]:
    """A network and a random landmark network as checkpoints in the published layouts."""
    weights = {**network.state_dict(), "landmark.backbone.conv1.weight": torch.zeros(2)}
    for kind in ("weight", "bias"):
        weights[f"norm.{kind}"] = weights.pop(f"ln_post.{kind}")
    torch.save({"model_state_dict": weights, "epoch": 3}, folder / "s2d.pth")
    stem = {f"module.{k}": v for k, v in MobileFaceNetStem().state_dict().items()}
    stem |= {"module.conv_45.conv.conv.weight": torch.zeros(1), "module.output_layer.linear.weight": torch.zeros(1)}
    torch.save({"state_dict": stem}, folder / "landmarks.pth.tar")
    return folder / "s2d.pth", folder / "landmarks.pth.tar"


def save_videomae(folder: Path, labels: tuple[str, ...], frames: int, size: int = 32) -> None:
    """A random VideoMAE and its processor, as the published ones are saved."""
    config = VideoMAEConfig(
        image_size=size,
        patch_size=16,
        num_frames=frames,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        initializer_range=0.5,
        id2label=dict(enumerate(labels)),
    )
    VideoMAEForVideoClassification(config).save_pretrained(folder)
    crop = {"height": size, "width": size}
    VideoMAEImageProcessor(size={"shortest_edge": size}, crop_size=crop, **IMAGENET).save_pretrained(folder)


def save_vjepa2(folder: Path, labels: tuple[str, ...], frames: int, size: int = 32) -> None:
    """A random V-JEPA 2 with a classifier's head and its video processor, as the published ones are saved."""
    config = VJEPA2Config(
        crop_size=size,
        frames_per_clip=frames,
        hidden_size=24,
        num_attention_heads=2,
        num_hidden_layers=2,
        num_pooler_layers=1,
        pred_hidden_size=24,
        pred_num_attention_heads=2,
        pred_num_hidden_layers=1,
        initializer_range=0.2,
        id2label=dict(enumerate(labels)),
    )
    VJEPA2ForVideoClassification(config).save_pretrained(folder)
    VJEPA2VideoProcessor(crop_size=size).save_pretrained(folder)


class Capture(SamplingCallback):
    """Keeps every batch's state and the latents, times and estimates on the way."""

    def __init__(self) -> None:
        self.states: list[SamplingState] = []
        self.latents: list[Tensor] = []
        self.starts: list[Tensor] = []
        self.times: list[list[float]] = []

    def on_sampling_start(self, state: SamplingState) -> None:
        self.states.append(state)
        self.starts.append(state.z.clone())

    def on_step_end(self, state: SamplingState) -> None:
        self.times.append(state.t.tolist())

    def on_sampling_end(self, state: SamplingState) -> None:
        self.latents.append(state.z.clone())


class Strides(SamplingCallback):
    """Fixed strides, one per sample, cycled by its number of steps so far."""

    def __init__(self, strides: list[list[int]]) -> None:
        self.strides = strides

    def _set(self, state: SamplingState) -> None:
        state.stride = torch.tensor([s[n % len(s)] for s, n in zip(self.strides, state.steps, strict=True)])

    def on_sampling_start(self, state: SamplingState) -> None:
        self._set(state)

    def on_step_end(self, state: SamplingState) -> None:
        self._set(state)


def make_clips(n: int, size: int = 8, frames: int = 4, seed: int = 0) -> list[Clip]:
    """Smooth-valued random clips around the toy prior."""
    generator = torch.Generator().manual_seed(seed)
    videos = (PRIOR_MEAN + PRIOR_STD * torch.randn(n, 3, frames, size, size, generator=generator)).clamp(-0.9, 0.9)
    return [as_clip(video, f"clip{i}") for i, video in enumerate(videos)]


def as_clip(video: Tensor, name: str, label: float = float("nan"), error: str = "") -> Clip:
    prompt = "apical four chamber echocardiogram"
    return {
        "video": video,
        "id": name,
        "label": label,
        "prompt": prompt,
        "neutral_prompt": prompt,
        "fps": 8.0,
        "error": error,
    }


def predict(
    task: CounterfactualTask, clips: list[Clip], callbacks: list[Any], batch_size: int = 8, **options: Any
) -> list[Edit]:
    """Run the task under a Lightning Trainer as `lvcf predict` does; all edits in order."""
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        inference_mode=False,
        callbacks=callbacks,
        **{"enable_progress_bar": False, **options},
    )
    batches = trainer.predict(task, DataLoader(clips, batch_size=batch_size))  # type: ignore[arg-type]
    return [edit for batch in batches or [] for edit in batch]
