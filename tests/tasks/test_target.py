"""Training a target model: what is told of the validation clips."""

from __future__ import annotations

import math

import pytest
import torch
from lightning import Trainer
from torch.utils.data import DataLoader

from lvcf.models.targets.ejection_fraction import EchoResNet3D
from lvcf.tasks.target import TargetTask

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
