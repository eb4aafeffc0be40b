"""Leaps against the closed form of a Gaussian prior whose mean the prompt says."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from lvcf.callbacks.leap import Leap
from lvcf.errors import UserError
from lvcf.models.backbones.base import Condition, Embedding
from lvcf.tasks.counterfactual import CounterfactualTask
from tests.toys import PRIOR_STD, Capture, GaussianBackbone, LinearTarget, make_clips, predict


class Told(GaussianBackbone):
    """The prior's mean is a hundredth of the last number of the prompt, 0 without one."""

    def embed(self, prompts: list[str]) -> Embedding:
        means = torch.tensor([float(re.findall(r"[\d.]+", "0 " + prompt)[-1]) / 100.0 for prompt in prompts])
        return Embedding(means.view(-1, 1, 1), torch.ones(len(prompts), 1))

    def predict(
        self, z_t: Tensor, t: Tensor, prompt: Embedding, condition: Condition | None = None
    ) -> tuple[Tensor, Tensor]:
        self.mean = prompt.tokens.view(-1, 1, 1, 1, 1)  # type: ignore[assignment]
        return super().predict(z_t, t, prompt, condition)


def leapt(tmp_path, target: str, **options):
    """z_ref, the latents after leaping, how many leaps each clip took, and what the prior's mean was and became."""
    prompts = {"prompt": "target", "inversion_prompt": "factual", "prompt_template": "{metadata} {target}"}
    task = CounterfactualTask(Told(), LinearTarget(), target, tmp_path, steps=1, tolerance=1.0, **prompts)
    seen = Capture()
    edits = predict(task, make_clips(3), [Leap(**options), seen])
    state = seen.states[0]
    told = [prompt.tokens.view(-1, 1, 1, 1, 1) for prompt in (state.prompts.inversion, state.prompts.sampled)]
    return state.z_ref, seen.latents[0], [edit.facts["leaps"] for edit in edits], told


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_a_leap_moves_the_clip_as_the_two_odes_do(tmp_path, share) -> None:
    """Of N(m, s^2) the ODE keeps (z_t - a m) / sqrt(a^2 s^2 + t^2): z + (m' - m) (1 - a s / sqrt(a^2 s^2 + t^2))."""
    z_ref, z, leaps, (factual, target) = leapt(tmp_path, "90", share=share, leaps=1, steps=400)
    a = 1.0 - share
    moved = (target - factual) * (1.0 - a * PRIOR_STD / (a**2 * PRIOR_STD**2 + share**2) ** 0.5)
    assert leaps == [1, 1, 1]
    assert float(moved.abs().min()) > 0.005
    torch.testing.assert_close(z - z_ref, moved.expand_as(z), atol=1e-3, rtol=0.02)


@pytest.mark.parametrize(("share", "needed"), [(0.2, 2), (0.4, 1)])
def test_it_leaps_until_the_model_has_moved_and_no_further(tmp_path, share, needed) -> None:
    assert leapt(tmp_path / "enough", "65..99", share=share)[2] == [needed] * 3
    _, one, leaps, _ = leapt(tmp_path / "one", "65..99", share=share, leaps=1)
    assert leaps == [1, 1, 1]
    _, all_of_them, _, _ = leapt(tmp_path / "all", "65..99", share=share)
    assert torch.equal(one, all_of_them) == (needed == 1)


def test_a_clip_that_says_the_target_already_stays(tmp_path) -> None:
    z_ref, z, leaps, _ = leapt(tmp_path, "0..100")
    assert leaps == [0, 0, 0]
    assert torch.equal(z, z_ref)


def test_the_same_words_on_both_ways_are_refused(tmp_path) -> None:
    task = CounterfactualTask(GaussianBackbone(), LinearTarget(), "80", tmp_path, steps=1)
    with pytest.raises(UserError, match=r"told the same on both ways; give --model\.prompt target"):
        predict(task, make_clips(1), [Leap()])


@pytest.mark.parametrize("options", [{"share": 0.0}, {"share": 1.5}, {"leaps": 0}, {"steps": 0}])
def test_a_number_out_of_range_is_refused(options) -> None:
    with pytest.raises(UserError, match=rf"Leap\.{next(iter(options))}"):
        Leap(**options)
