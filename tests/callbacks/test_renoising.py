"""Renoising against the closed form of a Gaussian prior."""

from __future__ import annotations

import pytest
import torch

from lvcf.callbacks.last_correction import LastCorrection
from lvcf.callbacks.renoising import Renoising
from lvcf.errors import UserError
from lvcf.tasks.counterfactual import CounterfactualTask
from tests.toys import PRIOR_STD, Capture, GaussianBackbone, LinearTarget, make_clips, predict


def renoised(tmp_path, target: str, time: float):
    """z_ref, the latents after the last correction, and those after renoising."""
    task = CounterfactualTask(GaussianBackbone(), LinearTarget(), target, tmp_path, steps=4, tolerance=0.5)
    before, after = Capture(), Capture()
    predict(task, make_clips(3), [LastCorrection(largest=1.0), before, Renoising(time), after])
    return before.states[0].z_ref, before.latents[0], after.latents[0]


@pytest.mark.parametrize("time", [0.1, 0.5, 1.0])
def test_of_an_edit_stays_what_the_prior_gives_back(tmp_path, time) -> None:
    """E[z_0 | z_t] is linear in z_t with the gain a s^2 / (a^2 s^2 + t^2), a = 1 - t: the noise cancels."""
    z_ref, corrected, z = renoised(tmp_path, "80", time)
    alpha = 1.0 - time
    gain = alpha * PRIOR_STD**2 / (alpha**2 * PRIOR_STD**2 + time**2)
    assert float((corrected - z_ref).abs().max()) > 0.1
    torch.testing.assert_close(z, z_ref + alpha * gain * (corrected - z_ref), atol=2e-5, rtol=0)


def test_a_clip_that_was_not_edited_stays_as_it_is(tmp_path) -> None:
    z_ref, _, z = renoised(tmp_path, "0..100", 0.3)
    torch.testing.assert_close(z, z_ref, atol=1e-5, rtol=0)


@pytest.mark.parametrize("time", [0.0, 1.5])
def test_a_time_off_the_axis_is_refused(time) -> None:
    with pytest.raises(UserError, match=r"Renoising\.time"):
        Renoising(time)
