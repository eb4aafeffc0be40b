"""The search for a noise, where what a noise leads to is known."""

from __future__ import annotations

import pytest
import torch

from lvcf.callbacks.noise_search import NoiseSearch, style, walked
from lvcf.errors import UserError
from lvcf.sampling import SamplingCallback
from lvcf.tasks.counterfactual import CounterfactualTask
from tests.toys import GaussianBackbone, LinearTarget, make_clips, predict


class Watch(SamplingCallback):
    """What sampling began with, and the latent it should end with."""

    def on_sampling_start(self, state) -> None:
        self.start = state.z.clone()
        with torch.no_grad():
            self.promised = walked(state, state.z, len(state.grid) - 1)
        self.gradients = list(state.gradient_evaluations)

    def on_sampling_end(self, state) -> None:
        self.drawn, self.z_ref = state.z.clone(), state.z_ref


def searched(tmp_path, target="80", prompt="neutral", **options):
    before, after = Watch(), Watch()
    task = CounterfactualTask(
        GaussianBackbone(), LinearTarget(), target, tmp_path, prompt=prompt, steps=6, strength=0.9, inversion="ddim"
    )
    return before, after, predict(task, make_clips(2), [before, NoiseSearch(**options), after])


def test_what_it_saw_is_what_the_sampler_draws(tmp_path) -> None:
    before, after, edits = searched(tmp_path, iterations=60, rate=0.1, style=0.0)
    assert not torch.equal(before.start, after.start)
    torch.testing.assert_close(after.drawn, after.promised)
    for edit, gradients in zip(edits, after.gradients, strict=True):
        assert float(LinearTarget()(edit.video[None])) == pytest.approx(80.0, abs=2.0)
        assert 0 < gradients <= 4 * 60  # stages of 1, 2, 4 and 6 steps
        assert len(edit.facts["trajectory"]) == gradients


def test_a_clip_that_needs_nothing_keeps_its_noise(tmp_path) -> None:
    before, after, _ = searched(tmp_path, target="0..100")
    assert torch.equal(before.start, after.start)
    assert after.gradients == [0, 0]


def test_the_style_term_keeps_the_channels_moments(tmp_path) -> None:
    far = {}
    for weight in (0.0, 1000.0):
        _, after, _ = searched(tmp_path, iterations=30, rate=0.1, style=weight)
        far[weight] = (style(after.drawn) - style(after.z_ref)).square().mean()
    assert far[1000.0] < 0.5 * far[0.0]


def test_style_by_hand() -> None:
    latent = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 2, 1, 1, 2)  # channels (1, 2) and (3, 4)
    assert style(latent)[0, 0].tolist() == [[2.5, 5.5], [5.5, 12.5]]


def test_words_are_refused(tmp_path) -> None:
    with pytest.raises(UserError, match=r"NoiseSearch.*--model.prompt neutral"):
        searched(tmp_path, prompt="target")


@pytest.mark.parametrize("options", [{"iterations": 0}, {"rate": 0.0}, {"style": -1.0}])
def test_numbers_out_of_range_are_refused(options) -> None:
    with pytest.raises(UserError, match="NoiseSearch"):
        NoiseSearch(**options)
