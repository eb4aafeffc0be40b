"""A detail decoder is taught to give back what a blurring decoder loses, from the clips alone."""

from __future__ import annotations

import pytest
import torch
from lightning import Trainer
from torch.utils.data import DataLoader

from lvcf.errors import UserError
from lvcf.models.backbones.detail_decoder import DetailDecoder, detail_decoder
from lvcf.tasks.detail_decoder import DetailDecoderTask, draw_shown
from tests.tasks.test_tiny_decoder import BlurringBackbone


def textured(n: int) -> DataLoader:
    """Every clip has a random texture that stands still, under a brightness that changes from frame to frame."""
    generator = torch.Generator().manual_seed(5)
    clips = []
    for _ in range(n):
        texture = torch.rand(3, 1, 16, 16, generator=generator) - 0.5
        brightness = torch.rand(1, 8, 1, 1, generator=generator) - 0.5
        clips.append({"video": (texture + brightness).clamp(-1, 1), "prompt": "a texture"})
    return DataLoader(clips, batch_size=8)  # type: ignore[arg-type]


def trainer(steps: int) -> Trainer:
    return Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        max_steps=steps,
        max_epochs=-1,
    )


def test_training_beats_the_vae(tmp_path) -> None:
    torch.manual_seed(0)
    task = DetailDecoderTask(DetailDecoder((8, 16)), BlurringBackbone(), tmp_path / "detail", lr=5e-3, latent_noise=0.0)
    runner = trainer(150)
    runner.fit(task, textured(32))
    (after,) = runner.validate(task, textured(8), verbose=False)
    assert after["val/psnr"] > after["val/psnr_vae"] + 6.0
    clip = next(iter(textured(1)))["video"]
    with torch.no_grad():
        drawn = task.backbone.decode(clip, 8)
        shown = clip[:, :, :1], drawn[:, :, :1]
        assert torch.equal(detail_decoder(str(tmp_path / "detail"))(drawn, *shown), task.decoder(drawn, *shown))


class ForgettingBackbone(BlurringBackbone):
    """Of what its decoder draws nothing can be told."""

    def decode(self, latent, frames):
        return torch.zeros_like(latent)[:, :, :frames]


def striped(n: int) -> DataLoader:
    """Stripes, one bright in three, that stand elsewhere in every frame: its neighbours do not tell where."""
    generator = torch.Generator().manual_seed(6)
    phases = torch.randint(3, (n, 8, 1), generator=generator)
    bright = (torch.arange(18)[None, None] + phases) % 3 == 0
    videos = (bright * 1.5 - 0.5)[:, None, :, None].expand(n, 3, 8, 16, 18)
    return DataLoader([{"video": video, "prompt": "stripes"} for video in videos], batch_size=8)  # type: ignore[arg-type]


@pytest.mark.parametrize(("weight", "least", "most"), [(0.0, 0.0, 0.2), (4.0, 0.5, 1.5)])
def test_what_cannot_be_known_is_a_blur_without_the_adversarial_loss(weight, least, most, tmp_path) -> None:
    """Contrast of what is drawn, over the clip's."""
    torch.manual_seed(0)
    options = {"lr": 2e-3, "latent_noise": 0.0, "edge_weight": 0.0, "adversarial_weight": weight, "frames": 2}
    task = DetailDecoderTask(DetailDecoder((8, 16)), ForgettingBackbone(), tmp_path, **options)
    trainer(200).fit(task, striped(32))
    clip = next(iter(striped(8)))["video"]
    with torch.no_grad():
        drawn = task.backbone.decode(clip, 8)
        restored = task.decoder(drawn[:, :, 1:], clip[:, :, :1], drawn[:, :, :1])
    contrast = float(restored.diff(dim=-1).abs().mean() / clip[:, :, 1:].diff(dim=-1).abs().mean())
    assert least <= contrast <= most


def test_latents_can_be_the_denoisers_own_estimates(tmp_path) -> None:
    torch.manual_seed(0)
    task = DetailDecoderTask(DetailDecoder((8, 16)), BlurringBackbone(), tmp_path, latent_noise=0.0, estimated_from=0.9)
    video = next(iter(textured(8)))["video"]
    drawn = [task._drawn(video, ["a"] * 8) for _ in range(20)]
    off = [float((noisy - exact).abs().mean()) for noisy, exact in drawn]
    assert 0 < sum(value > 0 for value in off) < 20, "an estimate in half of the steps, the latents themselves else"


def test_shown_frames_are_not_those_that_are_asked() -> None:
    torch.manual_seed(0)
    draws = [(start, draw_shown(8, start, 3)) for start in range(6) for _ in range(50)]
    assert all(len(set(shown)) == 2 and not set(shown) & set(range(start, start + 3)) for start, shown in draws)
    later = [0 in shown for start, shown in draws if start]
    assert 0.55 < sum(later) / len(later) < 0.85, "2 of 5 draws have it, and half of the others get it"


@pytest.mark.parametrize(
    "options",
    [
        {"adversarial_weight": -1.0},
        {"estimated_from": 2.0},
        {"lr": 0.0},
        {"frames": 0},
        {"latent_noise": -1.0},
        {"edge_weight": -1.0},
    ],
)
def test_what_cannot_be_is_refused(options, tmp_path) -> None:
    with pytest.raises(UserError, match=f"model.{next(iter(options))}"):
        DetailDecoderTask(DetailDecoder((8, 16)), BlurringBackbone(), tmp_path, **options)
