"""Training a target model: what is told of the validation clips."""

from __future__ import annotations

import math

import pytest
import torch
from lightning import Trainer
from torch.nn.functional import smooth_l1_loss
from torch.utils.data import DataLoader

from lvcf.errors import UserError
from lvcf.models.targets.ejection_fraction import EchoResNet3D
from lvcf.tasks.target import TargetTask, shifted
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


class Dimming(GaussianBackbone):
    """The toy backbone's VAE is exact, so a dimming one shows when it was used."""

    def decode(self, z, frames):
        return 0.5 * super().decode(z, frames)


def loss_once(network, tmp_path, batch, **options) -> float:
    task = TargetTask(network, tmp_path, blur=0.0, noise=0.0, gain=0.0, **options)
    task.log = lambda *arguments, **named: None  # type: ignore[method-assign]  # without a trainer
    return float(task.training_step(batch, 0).detach())


def train_once(network, tmp_path, batch, **options) -> list[torch.Tensor]:
    loss_once(network, tmp_path, batch, **options)
    return network.seen


def test_an_adversarial_clip_is_worse_for_the_model_and_hardly_another(tmp_path, batch) -> None:
    torch.manual_seed(0)
    network = Seeing()
    _, shown = train_once(network, tmp_path, batch, attack=0.02)
    clean, attacked = ((network(video) - batch["label"]).abs() for video in (batch["video"], shown))
    assert (attacked > clean).all()
    assert (shown - batch["video"]).abs().max() <= 0.02 + 1e-6


def test_half_of_the_batches_go_through_the_vae(tmp_path, batch) -> None:
    torch.manual_seed(0)
    network = Seeing()
    for _ in range(40):
        train_once(network, tmp_path, batch, backbone=Dimming())
    dimmed = sum(torch.allclose(video, 0.5 * batch["video"], atol=1e-4) for video in network.seen)
    plain = sum(torch.allclose(video, batch["video"], atol=1e-4) for video in network.seen)
    assert dimmed + plain == 40
    assert 10 < dimmed < 30


def test_consistency_is_asked_between_every_clip_and_what_the_vae_returns(tmp_path, batch) -> None:
    network, label = LinearTarget(), batch["label"]
    answers = [network(share * batch["video"]) for share in (1.0, 0.5)]
    errors = [smooth_l1_loss(answer / network.scale, label / network.scale, beta=0.1) for answer in answers]
    apart = ((answers[0] - answers[1]) / network.scale).square().mean()
    assert apart > 0
    for _ in range(6):  # never by chance
        loss = loss_once(network, tmp_path, batch, backbone=Dimming(), consistency=3.0)
        assert loss == pytest.approx(float(sum(errors) / 2 + 3.0 * apart), rel=1e-4)


def test_consistency_without_a_vae_is_refused(tmp_path) -> None:
    with pytest.raises(UserError, match=r"model.consistency 2: .*name model.backbone"):
        TargetTask(LinearTarget(), tmp_path, consistency=2.0)


def test_clips_are_shifted_turned_and_zoomed_by_so_many_pixels_at_most_all_frames_alike() -> None:
    torch.manual_seed(0)
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    places = torch.stack([rows, columns, torch.zeros(64, 64)])[None, :, None].repeat(32, 1, 2, 1, 1)
    seen = shifted(places, 3.0)
    assert torch.equal(seen[:, :, 0], seen[:, :, 1])
    middle = (seen - places)[:, :2, 0, 31:33, 31:33].mean((2, 3))  # the turn and the zoom leave it
    assert middle.abs().max() <= 3.0 + 1e-3
    assert middle.abs().amax(0).min() > 1.5
    assert len(middle.unique(dim=0)) == 32
    across = (seen[:, :, 0, 32, 48] - seen[:, :, 0, 32, 16])[:, :2]  # of 32 columns; at the border 3 pixels are 3 of 32
    zoom = across.norm(dim=1) / 32.0
    assert (zoom - 1.0).abs().max() <= 3.0 / 32.0 + 1e-3
    assert torch.atan2(across[:, 0], across[:, 1]).abs().max() == pytest.approx(3.0 / 32.0, rel=0.2)
    assert shifted(places, 0.0) is places
