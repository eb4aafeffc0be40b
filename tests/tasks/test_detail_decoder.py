"""A detail decoder is taught to give back what a blurring decoder loses, from the clips alone."""

from __future__ import annotations

import pytest
import torch
from lightning import Trainer
from torch.utils.data import DataLoader

from lvcf.errors import UserError
from lvcf.models.backbones.detail_decoder import DetailDecoder, detail_decoder
from lvcf.tasks.detail_decoder import DetailDecoderTask
from tests.tasks.test_tiny_decoder import BlurringBackbone


def textured(n: int) -> DataLoader:
    """Every clip has a random texture that stands still, under a brightness that changes from frame to frame."""
    generator = torch.Generator().manual_seed(5)
    clips = []
    for _ in range(n):
        texture = torch.rand(3, 1, 16, 16, generator=generator) - 0.5
        brightness = torch.rand(1, 8, 1, 1, generator=generator) - 0.5
        clips.append({"video": (texture + brightness).clamp(-1, 1)})
    return DataLoader(clips, batch_size=8)  # type: ignore[arg-type]


def test_training_beats_the_vae(tmp_path) -> None:
    torch.manual_seed(0)
    task = DetailDecoderTask(DetailDecoder((8, 16)), BlurringBackbone(), tmp_path / "detail", lr=5e-3, latent_noise=0.0)
    runner = Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        max_steps=150,
        max_epochs=-1,
    )
    runner.fit(task, textured(32))
    (after,) = runner.validate(task, textured(8), verbose=False)
    assert after["val/psnr"] > after["val/psnr_vae"] + 6.0
    clip = next(iter(textured(1)))["video"]
    with torch.no_grad():
        drawn = task.backbone.decode(clip, 8)
        shown = clip[:, :, :1], drawn[:, :, :1]
        assert torch.equal(detail_decoder(str(tmp_path / "detail"))(drawn, *shown), task.decoder(drawn, *shown))


@pytest.mark.parametrize("options", [{"lr": 0.0}, {"frames": 0}, {"latent_noise": -1.0}, {"edge_weight": -1.0}])
def test_what_cannot_be_is_refused(options, tmp_path) -> None:
    with pytest.raises(UserError, match=f"model.{next(iter(options))}"):
        DetailDecoderTask(DetailDecoder((8, 16)), BlurringBackbone(), tmp_path, **options)
