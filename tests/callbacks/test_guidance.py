"""Guidance through the denoiser, on backbones whose Jacobian is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lvcf.callbacks.guidance import GradientGuidance
from lvcf.callbacks.sampling import SamplingCallback, SamplingState
from lvcf.guidance.gradient import normalised
from lvcf.guidance.weight import ConstantWeight
from lvcf.models.backbones.base import Embedding
from lvcf.tasks.counterfactual import CounterfactualTask
from tests.toys import GaussianBackbone, LinearTarget, Strides, make_clips, predict

SIZE, STEPS = 8, 6


class MatrixBackbone(GaussianBackbone):
    """The clean estimate is linear in z_t: ``mean + (1 + said) gain(t) (z_t - alpha mean) A`` along the width.

    ``said`` is 1 for a prompt with the target in it, else 0.
    """

    def __init__(self, matrix: Tensor) -> None:
        super().__init__("flow")
        self.matrix = matrix

    def embed(self, prompts: list[str]) -> Embedding:
        said = torch.tensor([float("percent" in prompt) for prompt in prompts])
        return Embedding(said[:, None, None], torch.ones(len(prompts), 1))

    def gain(self, t: Tensor) -> Tensor:
        alpha, sigma = self.alpha_sigma(t)
        return alpha * self.std**2 / (alpha**2 * self.std**2 + sigma**2)

    def predict(self, z_t: Tensor, t: Tensor, prompt: Embedding) -> tuple[Tensor, Tensor]:
        alpha, sigma = (s.view(-1, 1, 1, 1, 1) for s in self.alpha_sigma(t))
        gain = (self.gain(t) * (1.0 + prompt.tokens[:, 0, 0])).view(-1, 1, 1, 1, 1)
        clean = self.mean + gain * ((z_t - alpha * self.mean) @ self.matrix)
        return clean, (z_t - alpha * clean) / sigma


class Probe(SamplingCallback):
    """Pulls a known gradient of some active rows back at every step."""

    def __init__(self) -> None:
        self.seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def on_clean_estimate(self, state: SamplingState) -> None:
        places = torch.arange(len(state.rows)).flip(0)[:2]  # not in order, not all
        gradient = torch.randn(state.clean[places].shape)
        before = state.z.clone()
        self.seen.append((state.t[places], gradient, state.pull_back(state, places, gradient)))
        assert torch.equal(state.z, before)
        assert not state.z.requires_grad


class Cleans(SamplingCallback):
    """Keeps the first clean estimate."""

    def __init__(self) -> None:
        self.clean, self.t = torch.zeros(0), torch.zeros(0)

    def on_clean_estimate(self, state: SamplingState) -> None:
        if not len(self.clean):
            self.clean, self.t = state.clean.clone(), state.t.clone()


def skewed() -> Tensor:
    """No symmetric matrix: its transpose is another."""
    return torch.eye(SIZE) + 0.5 * torch.diag(torch.ones(SIZE - 1), 1) + 0.1 * torch.randn(SIZE, SIZE)


def smooth() -> Tensor:
    """A covariance along the width: neighbours change together."""
    place = torch.arange(SIZE)
    return torch.exp(-((place[:, None] - place[None]) ** 2) / 8.0) / 2.5


def run(tmp_path, backbone, callbacks, target: str = "80", **options):
    settings = {"steps": STEPS, "strength": 0.9, "tolerance": 0.5, **options}
    task = CounterfactualTask(backbone, LinearTarget(), target, tmp_path, **settings)
    return task, predict(task, make_clips(3, size=SIZE), callbacks)


@pytest.mark.parametrize("inversion", ["recorded", "sdedit"])
def test_the_gradient_at_the_latent_is_the_transposed_jacobian_times_the_gradient(tmp_path, inversion) -> None:
    backbone, probe = MatrixBackbone(skewed()), Probe()
    run(tmp_path, backbone, [probe, Strides([[1], [2], [3, 1]])], inversion=inversion)
    assert len(probe.seen) == STEPS
    assert any(float(t.max() - t.min()) > 0.1 for t, _, _ in probe.seen)  # samples at different times
    for t, gradient, pulled in probe.seen:
        wanted = backbone.gain(t).view(-1, 1, 1, 1, 1) * (gradient @ backbone.matrix.T)
        torch.testing.assert_close(pulled, wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_under_classifier_free_guidance_the_jacobian_is_the_mixtures(tmp_path, scale) -> None:
    """Clean = inversion's + scale (target - inversion's); the target prompt doubles the gain here."""
    backbone, probe = MatrixBackbone(skewed()), Probe()
    template = "{metadata} ejection fraction {target} percent"
    run(tmp_path, backbone, [probe], prompt="target", prompt_template=template, guidance_scale=scale)
    for t, gradient, pulled in probe.seen:
        wanted = (1.0 + scale) * backbone.gain(t).view(-1, 1, 1, 1, 1) * (gradient @ backbone.matrix.T)
        torch.testing.assert_close(pulled, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("target", ["20", "80"])
def test_the_edit_is_the_pulled_back_gradient_at_unit_size(tmp_path, target) -> None:
    """grad L is (M - y) w times a positive number, w the upper left quarter: lambda J^T w / rms, by hand."""
    backbone, before, after = MatrixBackbone(skewed()), Cleans(), Cleans()
    guided = GradientGuidance(ConstantWeight(0.05), samples=1, noise=0.0, through_denoiser=True)
    run(tmp_path, backbone, [before, guided, after], target, inversion="recorded")
    region = torch.zeros_like(before.clean)
    region[..., : SIZE // 2, : SIZE // 2] = 1.0
    reading = LinearTarget()(torch.stack([c["video"] for c in make_clips(3, size=SIZE)]))  # first M sees the clip
    sign = (reading - float(target)).sign().view(-1, 1, 1, 1, 1)
    wanted = -0.05 * normalised(sign * (region @ backbone.matrix.T))
    torch.testing.assert_close(after.clean - before.clean, wanted, atol=1e-4, rtol=1e-3)


def test_what_cannot_change_together_is_not_edited(tmp_path) -> None:
    """A backbone that knows only clips that are constant along the width: so is the edit, and without it is not."""
    flat = torch.full((SIZE, SIZE), 1.0 / SIZE)
    for through in (True, False):
        before, after = Cleans(), Cleans()
        guided = GradientGuidance(ConstantWeight(0.05), samples=2, noise=0.1, through_denoiser=through)
        run(tmp_path, MatrixBackbone(flat), [before, guided, after])
        assert (float((after.clean - before.clean).std(dim=-1).max()) < 1e-5) == through


@pytest.mark.parametrize("target", ["20", "80"])
@pytest.mark.parametrize("inversion", ["sdedit", "recorded", "ddim"])
def test_through_the_denoiser_the_model_moves_towards_the_target_from_both_sides(tmp_path, target, inversion) -> None:
    def distance(callbacks: list) -> Tensor:
        task, edits = run(tmp_path, MatrixBackbone(smooth()), callbacks, target, inversion=inversion)
        return (task.judge(torch.stack([e.video for e in edits])) - float(target)).abs()

    def guided(weight: float) -> GradientGuidance:
        return GradientGuidance(ConstantWeight(weight), samples=1, noise=0.0, through_denoiser=True)

    unguided = distance([])
    assert (distance([guided(0.05)]) < unguided - 1.0).all()
    assert (distance([guided(-0.05)]) > unguided + 1.0).all()  # the flipped sign is seen
