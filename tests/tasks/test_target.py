"""Training a target model: what is told of the validation clips."""

from __future__ import annotations

import math

import pytest
import torch
from lightning import Trainer
from torch.utils.data import DataLoader

from lvcf.models.targets.ejection_fraction import EchoResNet3D
from lvcf.tasks.target import TargetTask
from tests.toys import GaussianBackbone, LinearTarget

READINGS = [30.0, 50.0, 70.0]


@pytest.mark.parametrize("number", [1, 3])
def test_r2_needs_two_clips(tmp_path, number) -> None:
    torch.manual_seed(0)
    network = EchoResNet3D()
    clips = [{"id": str(i), "video": torch.rand(3, 16, 32, 32) * 2 - 1, "label": READINGS[i]} for i in range(number)]
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False)
    (told,) = trainer.validate(TargetTask(network, tmp_path), DataLoader(clips, batch_size=1), verbose=False)
    said = torch.stack([network(clip["video"][None])[0] for clip in clips]).double()
    truth = torch.tensor(READINGS[:number], dtype=torch.float64)
    assert told["val/mae"] == pytest.approx(float((said - truth).abs().mean()), rel=1e-4)
    if number == 1:
        assert math.isnan(told["val/r2"])
    else:
        spread = ((truth - truth.mean()) ** 2).sum()
        assert told["val/r2"] == pytest.approx(float(1 - ((said - truth) ** 2).sum() / spread), rel=1e-3)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    video = torch.rand(2, 3, 4, 8, 8, generator=generator) * 1.6 - 0.8
    return {"id": ["a", "b"], "video": video, "label": torch.tensor([30.0, 70.0])}


class Seeing(LinearTarget):
    """Keeps the clips that it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def forward(self, video: torch.Tensor) -> torch.Tensor:
        self.seen.append(video.detach().clone())
        return super().forward(video)


def train_once(network, tmp_path, batch, **options) -> list[torch.Tensor]:
    task = TargetTask(network, tmp_path, blur=0.0, noise=0.0, gain=0.0, **options)
    task.log = lambda *arguments, **named: None  # type: ignore[method-assign]  # without a trainer
    task.training_step(batch, 0)
    return network.seen


def test_an_adversarial_clip_is_worse_for_the_model_and_hardly_another(tmp_path, batch) -> None:
    torch.manual_seed(0)
    network = Seeing()
    _, shown = train_once(network, tmp_path, batch, attack=0.02)
    clean, attacked = ((network(video) - batch["label"]).abs() for video in (batch["video"], shown))
    assert (attacked > clean).all()
    assert (shown - batch["video"]).abs().max() <= 0.02 + 1e-6


def test_half_of_the_batches_go_through_the_vae(tmp_path, batch) -> None:
    """The toy backbone's VAE is exact, so a dimming one shows when it was used."""

    class Dimming(GaussianBackbone):
        def decode(self, z, frames):
            return 0.5 * super().decode(z, frames)

    torch.manual_seed(0)
    network = Seeing()
    for _ in range(40):
        train_once(network, tmp_path, batch, backbone=Dimming())
    dimmed = sum(torch.allclose(video, 0.5 * batch["video"], atol=1e-4) for video in network.seen)
    plain = sum(torch.allclose(video, batch["video"], atol=1e-4) for video in network.seen)
    assert dimmed + plain == 40
    assert 10 < dimmed < 30
