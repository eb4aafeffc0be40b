"""benchmarks/sanity.py: the weights it draws, and what it makes of two runs."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.sanity import ASKED, Alike, arguments, compare, edit_alone, randomise, scores, shown, table
from lvcf.data.video import write_lossless
from lvcf.metrics.statistics import mean_interval
from lvcf.models.targets.ejection_fraction import EchoResNet3D
from lvcf.runs.folder import Prediction
from tests.helpers import parse
from tests.toys import GaussianBackbone


@pytest.fixture
def clips() -> torch.Tensor:
    return torch.rand(8, 3, 4, 16, 16) * 2 - 1


def drawn(clips: torch.Tensor, seed: int) -> EchoResNet3D:
    """A model of fixed first weights, randomised."""
    torch.manual_seed(5)
    model = EchoResNet3D(channels=(8, 8, 16))
    randomise(model, clips, seed)
    return model


def test_every_weight_is_drawn_anew_by_the_seed_alone(clips) -> None:
    torch.manual_seed(5)
    first = EchoResNet3D(channels=(8, 8, 16)).state_dict()
    one, again, other = (drawn(clips, seed).state_dict() for seed in (0, 0, 1))
    for name, weights in one.items():
        assert torch.equal(weights, again[name]), name
        assert not torch.isclose(weights, other[name]).all(), name
        assert not torch.isclose(weights, first[name]).all(), name


def test_the_readings_keep_their_mean_and_deviation_and_not_themselves(clips) -> None:
    torch.manual_seed(5)
    model = EchoResNet3D(channels=(8, 8, 16))
    with torch.no_grad():
        before = scores(model, clips)
        randomise(model, clips, seed=0)
        after = scores(model, clips)
    assert [float(after.mean()), float(after.std())] == pytest.approx(
        [float(before.mean()), float(before.std())], rel=1e-3
    )
    assert torch.corrcoef(torch.stack([before, after]))[0, 1] < 0.9


def test_randomising_leaves_the_global_generator_alone(clips) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    model = drawn(clips, seed=0)
    torch.manual_seed(7)
    randomise(model, clips, seed=3)
    assert torch.equal(torch.rand(3), expected)


def prediction(folder: Path, factual: np.ndarray, final: np.ndarray, mask: float) -> Prediction:
    folder.mkdir()
    write_lossless(folder / "factual.mkv", factual, 8.0)
    write_lossless(folder / "counterfactual.mkv", final, 8.0)
    np.savez(folder / "mask.npz", mask=np.full(factual.shape[:3], round(mask * 255), dtype=np.uint8))
    return Prediction(folder, {"id": "clip", "status": "reached", "target_clipped": False})


class Dimming(GaussianBackbone):
    """A VAE that loses a quarter of the brightness."""

    def decode(self, latent: torch.Tensor, frames: int) -> torch.Tensor:
        return latent[:, :, :frames] - 0.5


def test_the_edit_alone_is_free_of_what_the_vae_loses_inside_the_mask(tmp_path) -> None:
    """final = x + m (d_ref + e - x): what is left is m e."""
    generator = np.random.default_rng(0)
    factual = generator.integers(100, 150, (4, 32, 32, 3)).astype(np.uint8)
    edit = generator.integers(-20, 20, factual.shape)
    final = np.round(factual + 0.6 * (edit - 0.5 * 127.5)).astype(np.uint8)
    left = edit_alone(prediction(tmp_path / "one", factual, final, mask=0.6), Dimming())
    assert np.abs(left.numpy().transpose(1, 2, 3, 0) * 127.5 - 0.6 * edit).max() < 0.6  # rounding


def test_two_explanations_are_compared_by_clip(tmp_path) -> None:
    factual = np.full((4, 32, 32, 3), 128, dtype=np.uint8)
    final = {}
    for name, part in (("one", slice(0, 16)), ("other", slice(16, 32))):
        final[name] = factual - 60
        final[name][:, part] += 40
    one, other = (prediction(tmp_path / name, factual, frames, 1.0) for name, frames in final.items())
    backbone = Dimming()
    same = compare([one], [one], backbone)
    assert [same.clips[0], same.edits[0]] == pytest.approx([1.0, 1.0])
    opposite = compare([one], [other], backbone)
    assert [opposite.clips[0], opposite.edits[0]] == pytest.approx([-1.0, -1.0])  # one half against the other
    another = Prediction(tmp_path, {"id": "another", "status": "reached", "target_clipped": False})
    assert len(compare([one], [another], backbone).clips) == 0


@pytest.mark.parametrize("facts", [{"status": "reached", "target_clipped": True}, {"status": "failed"}])
def test_a_clip_that_one_of_the_runs_was_asked_something_else_about_is_left_out(tmp_path, facts) -> None:
    factual = np.full((4, 32, 32, 3), 128, dtype=np.uint8)
    one, other = (prediction(tmp_path / name, factual, factual - 60, 1.0) for name in ("one", "other"))
    other = Prediction(other.folder, {"id": "clip", **facts})
    assert len(compare([one], [other], Dimming()).clips) == len(compare([other], [one], Dimming()).clips) == 0


def test_what_it_runs_is_understood_and_the_model_alone_guides(tmp_path) -> None:
    config = parse(arguments(tmp_path / "run", tmp_path, 6, "--model.target_model.weights=drawn"))
    settings = config.model.init_args
    assert (settings.prompt, settings.target, settings.seed) == ("neutral", "delta:-20", 0)
    assert settings.target_model.init_args.weights == "drawn"
    assert (config.data.init_args.batch_size, config.trainer.limit_predict_batches) == (4, 2)
    assert len(config.trainer.callbacks) == 5  # the full method, and the writer


def test_the_table_says_n_mean_interval_and_what_was_asked_for() -> None:
    values = np.array([0.1, 0.2, 0.4, math.nan])
    found = mean_interval(values[:3])
    assert shown(values) == f"0.233 [{found.low:.3f}, {found.high:.3f}], n = 3"
    assert shown(np.array([math.nan])).startswith("unavailable: ")
    reached = dict.fromkeys(["M itself", *ASKED], "4 of 4")
    text = table(dict.fromkeys(ASKED, Alike(values, values[:3])), reached, 4)
    assert "| weights drawn anew | 4 | 0.233 [" in text
    assert "| below 0.3 | 4 of 4 |" in text
    assert "| above 0.7 | 4 of 4 |" in text
    assert "python benchmarks/sanity.py --n 4" in text
