"""A latent reader is taught a target model's answers, agrees with it, and comes back from its folder."""

from __future__ import annotations

import math

import pytest
import torch
from lightning import LightningDataModule, Trainer
from torch.nn import functional

from lvcf.datamodules.answers import AnswersDataModule
from lvcf.models.latent_reader import LatentReader, latent_reader, waves
from lvcf.tasks.latent_reader import LatentReaderTask
from tests.toys import BrightDark, GaussianBackbone, LinearTarget


class Clips(LightningDataModule):
    """Clips whose brightness differs."""

    def make_dataset(self, stage):
        number, seed = {"train": (96, 0), "val": (32, 1)}[stage]
        generator = torch.Generator().manual_seed(seed)
        brightness = torch.rand(number, 1, 1, 1, 1, generator=generator) - 0.5
        noise = 0.1 * torch.randn(number, 3, 4, 16, 16, generator=generator)
        return [{"video": video} for video in (brightness + noise)]


def taught(tmp_path, model, steps: int) -> dict[str, float]:
    torch.manual_seed(0)
    task = LatentReaderTask(tmp_path / "reader")
    data = AnswersDataModule(Clips(), GaussianBackbone(), model, batch_size=16)  # type: ignore[arg-type]
    runner = Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        max_steps=steps,
        max_epochs=-1,
        limit_val_batches=0,
    )
    runner.fit(task, data)
    (measured,) = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False).validate(
        task, data, verbose=False
    )
    return dict(measured)


def test_a_readers_value_comes_near_the_models(tmp_path) -> None:
    measured = taught(tmp_path, LinearTarget(), 150)
    spread = 50.0 / math.sqrt(12)  # of M's values: the brightness is uniform over 1, the slope 50
    assert measured["val/mae_at_0.05"] < 0.2 * spread
    reader = latent_reader(str(tmp_path / "reader"))
    assert (reader.queries, reader.labels) == (96, ())
    assert reader.center == pytest.approx(50.0, abs=4.0)
    assert reader.scale == pytest.approx(spread, rel=0.2)


def test_a_reader_says_the_models_class(tmp_path) -> None:
    measured = taught(tmp_path, BrightDark(), 100)
    assert measured["val/agreement_at_0.05"] > 0.9
    assert latent_reader(str(tmp_path / "reader")).labels == ("bright", "dark")


def test_the_loss_is_the_negative_log_likelihood() -> None:
    reader, z, t = LatentReader(3, center=10.0, scale=4.0).eval(), torch.randn(5, 3, 4, 16, 16), torch.rand(5)
    answers = torch.tensor([2.0, 9.0, 10.0, 14.0, 20.0])
    with torch.no_grad():
        mean, log_variance = reader(z, t).unbind(1)
        wanted = 0.5 * (log_variance + ((answers - 10.0) / 4.0 - mean) ** 2 / log_variance.exp())
        assert float(reader.loss(z, t, answers)) == pytest.approx(float(wanted.mean()), rel=1e-4)
        torch.testing.assert_close(reader.read(z, t), 10.0 + 4.0 * mean)


def test_a_class_is_taught_by_the_models_probabilities() -> None:
    reader, z, t = LatentReader(3, labels=("a", "b")).eval(), torch.randn(4, 3, 4, 16, 16), torch.rand(4)
    answers = torch.randn(4, 2)
    with torch.no_grad():
        said = reader.read(z, t).log_softmax(-1)
        assert float(reader.loss(z, t, answers)) == pytest.approx(
            float(-(functional.softmax(answers, -1) * said).sum(1).mean()), rel=1e-4
        )


def test_times_are_told_apart() -> None:
    told = waves(torch.tensor([0.0, 0.001, 0.5]))
    assert (told[0] - told[1]).abs().max() > 0.5
    assert told.abs().max() <= 1.0
