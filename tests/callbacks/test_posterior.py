"""The posterior step against the closed form: a Gaussian prior, a linear reader, the step is conditioning itself."""

from __future__ import annotations

import pytest
import torch

from lvcf.callbacks.posterior import PosteriorStep
from lvcf.errors import UserError
from lvcf.models.latent_reader import LatentReader
from lvcf.sampling import SamplingCallback
from lvcf.tasks.counterfactual import CounterfactualTask
from tests.toys import PRIOR_STD, BrightDark, GaussianBackbone, LinearTarget, make_clips, predict


class LinearReader(LatentReader):
    """Says what :class:`LinearTarget` says, of the latent, which is the clip."""

    def __init__(self) -> None:
        super().__init__(3)

    def read(self, z_t, t):
        return LinearTarget()(z_t)


class Moves(SamplingCallback):
    """What a callback listed between two of these did to the clean estimates."""

    def __init__(self) -> None:
        self.clean: list[torch.Tensor] = []
        self.t: list[torch.Tensor] = []

    def on_clean_estimate(self, state) -> None:
        self.clean.append((state.clean + state.offset).clone())
        self.t.append(state.t.clone())


def moved(tmp_path, target="80", model=None, reader=None, **options):
    before, after = Moves(), Moves()
    backbone = GaussianBackbone()
    task = CounterfactualTask(backbone, model or LinearTarget(), target, tmp_path, steps=6, strength=0.9)
    edits = predict(task, make_clips(2), [before, PosteriorStep(reader or LinearReader(), **options), after])
    return before, after, edits


def test_the_step_is_the_gaussian_posteriors(tmp_path) -> None:
    """z0 given z_t is N(m, v I), f = a.z0 + b is read with noise r: the mean moves by v a (y - f) / (v a.a + r^2)."""
    before, after, _ = moved(tmp_path, deviation=0.5, factor=1.0, largest=1e6)
    reader = LinearReader()
    for clean, edited, t in zip(before.clean, after.clean, before.t, strict=True):
        alpha, sigma = 1.0 - t[0], t[0]
        variance = sigma**2 * PRIOR_STD**2 / (alpha**2 * PRIOR_STD**2 + sigma**2)
        point = clean.clone().requires_grad_(True)
        reading = reader.read(point, t)
        (a,) = torch.autograd.grad(reading.sum(), point)
        missing = 80.0 - reading.detach()
        gain = variance * a.square().flatten(1).sum(1) + 0.5**2
        wanted = clean + (variance * missing / gain).view(-1, 1, 1, 1, 1) * a
        torch.testing.assert_close(edited, wanted, atol=1e-4, rtol=1e-4)


class BiasedReader(LinearReader):
    """Misreads by as much on the clip's own path."""

    def read(self, z_t, t):
        return super().read(z_t, t) + 7.0


def test_what_a_reader_misreads_of_both_paths_drops_out(tmp_path) -> None:
    exact, biased, paired = (
        moved(tmp_path, reader=reader, largest=1e6, **options)[1].clean
        for reader, options in ((None, {}), (BiasedReader(), {}), (BiasedReader(), {"gain": 1.0}))
    )
    torch.testing.assert_close(paired, exact, atol=1e-4, rtol=1e-4)
    assert (biased[0] - exact[0]).abs().max() > 0.01


def test_more_than_what_is_missing_can_be_wanted(tmp_path) -> None:
    """With a reading without error a step reaches what is wanted: the factual reading and 1.5 times the way to 80."""
    _, after, edits = moved(tmp_path, gain=1.5, factor=1.0, deviation=1e-3, largest=1e6)
    said = [edit.facts["prediction_before"] for edit in edits]
    wanted = [value + 1.5 * (80.0 - value) for value in said]
    assert LinearTarget()(after.clean[0]).tolist() == pytest.approx(wanted, abs=0.01)


def test_classes_have_no_gain(tmp_path) -> None:
    with pytest.raises(UserError, match=r"PosteriorStep.gain 1.3: is for values"):
        moved(tmp_path, "bright", BrightDark(), LogitReader(), gain=1.3)


def test_a_value_within_the_target_is_left_alone(tmp_path) -> None:
    before, after, edits = moved(tmp_path, target="0..100")
    assert all(torch.equal(a, b) for a, b in zip(before.clean, after.clean, strict=True))
    assert [row["weight"] for row in edits[0].facts["trajectory"]] == [2.0] * 6


def test_no_step_is_longer_than_allowed(tmp_path) -> None:
    before, after, _ = moved(tmp_path, deviation=0.5, largest=0.01)
    moves = [(b - a).flatten(1).square().mean(1).sqrt() for a, b in zip(before.clean, after.clean, strict=True)]
    assert torch.stack(moves).max() == pytest.approx(0.01, abs=1e-6)


class LogitReader(LatentReader):
    def __init__(self, labels=("bright", "dark")) -> None:
        super().__init__(3, labels=labels)

    def read(self, z_t, t):
        return BrightDark()(z_t)


def test_log_odds_rise_to_the_margin(tmp_path) -> None:
    before, after, _ = moved(
        tmp_path, "bright", BrightDark(), LogitReader(), deviation=0.01, factor=1.0, margin=6.0, largest=1e6
    )
    logit = BrightDark()(after.clean[0])
    assert (logit[:, 0] - logit[:, 1]).tolist() == pytest.approx([6.0, 6.0], abs=0.05)
    start = BrightDark()(before.clean[0])
    assert (start[:, 0] - start[:, 1]).max() < 5.0


def test_a_reader_of_another_model_is_refused(tmp_path) -> None:
    with pytest.raises(UserError, match=r"was taught \['left', 'right'\], the target model says \['bright', 'dark'\]"):
        moved(tmp_path, "bright", BrightDark(), LogitReader(("left", "right")))


@pytest.mark.parametrize(
    "options", [{"factor": 0.0}, {"deviation": 0.0}, {"largest": 0.0}, {"margin": -1}, {"time": 2}, {"gain": 0.0}]
)
def test_what_cannot_be_is_refused(options) -> None:
    with pytest.raises(UserError, match=f"PosteriorStep.{next(iter(options))}"):
        PosteriorStep(LinearReader(), **options)


def test_half_precision_around_it_changes_nothing(tmp_path) -> None:
    """A reader's layers would answer in bfloat16, which no reading of the state takes."""
    torch.manual_seed(0)
    reader = LatentReader(3, labels=("bright", "dark"))
    plain = [edit.video for edit in moved(tmp_path, "bright", BrightDark(), reader)[2]]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = [edit.video for edit in moved(tmp_path, "bright", BrightDark(), reader)[2]]
    torch.testing.assert_close(half, plain, atol=0.05, rtol=0)
