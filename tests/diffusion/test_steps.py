"""One reverse step against diffusers' schedulers and against the closed-form flow of a Gaussian."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from lvcf.diffusion.parameterization import from_epsilon, from_flow, from_v
from lvcf.diffusion.steps import History, Scales, ddim_step, dpmpp_2m_step, half_log_snr

STEPS = 9
SHAPE = (2, 3, 2, 4, 4)


def toy_denoiser(z: Tensor, level: float) -> Tensor:
    """Deterministic and nonlinear, so that a wrong step cannot hide."""
    return torch.tanh(0.8 * z + level) - 0.3 * z.roll(1, dims=1)


def scales_of(alpha: float | Tensor, sigma: float | Tensor) -> Scales:
    return torch.full((2,), float(alpha)), torch.full((2,), float(sigma))


def vp_grid(scheduler: DDIMScheduler | DPMSolverMultistepScheduler) -> list[Scales]:
    """alpha and sigma at the scheduler's own timesteps, and the clean end."""
    scheduler.set_timesteps(STEPS)
    variance = scheduler.alphas_cumprod[scheduler.timesteps].double()
    return [scales_of(v.sqrt(), (1 - v).sqrt()) for v in variance] + [scales_of(1.0, 0.0)]


@pytest.mark.parametrize(("prediction", "reads"), [("epsilon", from_epsilon), ("v_prediction", from_v)])
def test_ddim_agrees_with_diffusers(prediction, reads) -> None:
    scheduler = DDIMScheduler(
        beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=True, prediction_type=prediction
    )
    grid = vp_grid(scheduler)
    ours = theirs = torch.randn(SHAPE)
    for t, now, following in zip(scheduler.timesteps, grid[:-1], grid[1:], strict=True):
        level = float(t) / 1000
        clean, _ = reads(toy_denoiser(ours, level), ours, *now)
        ours = ddim_step(ours, clean, now, following)
        theirs = scheduler.step(toy_denoiser(theirs, level), t, theirs).prev_sample
        torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(("prediction", "reads"), [("epsilon", from_epsilon), ("v_prediction", from_v)])
def test_dpmpp_2m_agrees_with_diffusers(prediction, reads) -> None:
    scheduler = DPMSolverMultistepScheduler(
        beta_schedule="scaled_linear",
        prediction_type=prediction,
        algorithm_type="dpmsolver++",
        solver_order=2,
        solver_type="midpoint",
        final_sigmas_type="zero",
    )
    grid = vp_grid(scheduler)
    ours = theirs = torch.randn(SHAPE)
    history = History.empty(ours)
    for t, now, following in zip(scheduler.timesteps, grid[:-1], grid[1:], strict=True):
        level = float(t) / 1000
        clean, _ = reads(toy_denoiser(ours, level), ours, *now)
        ours = dpmpp_2m_step(ours, clean, now, following, history)
        history = History(clean, half_log_snr(now))
        theirs = scheduler.step(toy_denoiser(theirs, level), t, theirs).prev_sample
        torch.testing.assert_close(ours, theirs, rtol=5e-5, atol=5e-5)


def test_dpmpp_2m_agrees_with_diffusers_on_a_flow() -> None:
    scheduler = DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=1.0, final_sigmas_type="zero"
    )
    scheduler.set_timesteps(STEPS)
    sigmas = scheduler.sigmas.tolist()
    ours = theirs = torch.randn(SHAPE)
    history = History.empty(ours)
    for i, t in enumerate(scheduler.timesteps):
        now, following = (scales_of(1 - s, s) for s in sigmas[i : i + 2])
        clean, _ = from_flow(toy_denoiser(ours, sigmas[i]), ours, *now)
        ours = dpmpp_2m_step(ours, clean, now, following, history)
        history = History(clean, half_log_snr(now))
        theirs = scheduler.step(toy_denoiser(theirs, sigmas[i]), t, theirs).prev_sample
        torch.testing.assert_close(ours, theirs, rtol=5e-5, atol=5e-5)


def test_ddim_on_a_flow_is_diffusers_euler_step() -> None:
    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(sigmas=np.linspace(0.9, 0.1, STEPS))
    sigmas = scheduler.sigmas.tolist()
    ours = theirs = torch.randn(SHAPE)
    for i, t in enumerate(scheduler.timesteps):
        now, following = (scales_of(1 - s, s) for s in sigmas[i : i + 2])
        clean, _ = from_flow(toy_denoiser(ours, sigmas[i]), ours, *now)
        ours = ddim_step(ours, clean, now, following)
        theirs = scheduler.step(toy_denoiser(theirs, sigmas[i]), t, theirs).prev_sample
        torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=2e-5)


def walk(z: Tensor, times: Tensor, solver: str, std: float = 0.5, mean: float = 0.3) -> Tensor:
    """Sample along per-sample falling ``times`` ``(B, N + 1)`` with the exact denoiser of N(mean, std^2) on a flow."""
    history = History.empty(z)
    for now_t, next_t in zip(times.T[:-1], times.T[1:], strict=True):
        now, following = (1 - now_t, now_t), (1 - next_t, next_t)
        alpha, sigma = (v.view(-1, 1) for v in now)
        clean = mean + alpha * std**2 / (alpha**2 * std**2 + sigma**2) * (z - alpha * mean)
        if solver == "ddim":
            z = ddim_step(z, clean, now, following)
        else:
            z = dpmpp_2m_step(z, clean, now, following, history)
            history = History(clean, half_log_snr(now))
    return z


@pytest.mark.parametrize(("solver", "order"), [("ddim", 1), ("dpmpp_2m", 2)])
def test_the_solver_converges_at_its_order_to_the_exact_flow_of_a_gaussian(solver, order) -> None:
    """The probability flow keeps (z_t - alpha mean) / sqrt(alpha^2 std^2 + sigma^2)."""
    start, end, mean, std = 0.9, 0.1, 0.3, 0.5
    z = torch.tensor([[-1.0, 0.2, 2.0]], dtype=torch.float64)
    spread = [math.hypot((1 - t) * std, t) for t in (start, end)]
    exact = (1 - end) * mean + (z - (1 - start) * mean) * spread[1] / spread[0]
    errors = []
    for steps in (20, 40, 80):
        times = torch.linspace(start, end, steps + 1, dtype=torch.float64)[None]
        errors.append(float((walk(z, times, solver, std, mean) - exact).abs().max()))
    rates = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert errors[-1] < 0.02
    assert rates[-1] == pytest.approx(order, abs=0.3)


@pytest.mark.parametrize("solver", ["ddim", "dpmpp_2m"])
def test_two_samples_on_different_grids_come_out_as_each_alone(solver) -> None:
    grids = torch.tensor([[0.9, 0.6, 0.5, 0.1, 0.0], [0.7, 0.65, 0.2, 0.15, 0.0]], dtype=torch.float64)
    z = torch.randn(2, 5, dtype=torch.float64)
    together = walk(z, grids, solver)
    assert torch.isfinite(together).all()
    for i in range(2):
        torch.testing.assert_close(together[i : i + 1], walk(z[i : i + 1], grids[i : i + 1], solver))
    assert not torch.allclose(together[0], walk(z[:1], grids[1:], solver)[0])


def test_a_sample_without_history_takes_a_first_order_step_beside_one_with() -> None:
    z, clean, last = torch.randn(3, 2, 6).unbind()
    now, following = scales_of(0.5, 0.5), scales_of(0.7, 0.3)
    history = History(last, torch.tensor([math.nan, math.log(0.3 / 0.7)]))
    stepped = dpmpp_2m_step(z, clean, now, following, history)
    torch.testing.assert_close(stepped[:1], ddim_step(z, clean, now, following)[:1])
    assert not torch.allclose(stepped[1:], ddim_step(z, clean, now, following)[1:])


@pytest.mark.parametrize("step", ["ddim", "dpmpp_2m"])
def test_the_last_step_returns_the_clean_estimate(step) -> None:
    z, clean, last = torch.randn(3, 2, 6).unbind()
    now, end = scales_of(0.9, 0.1), scales_of(1.0, 0.0)
    history = History(last, torch.tensor([0.0, math.nan]))
    stepped = ddim_step(z, clean, now, end) if step == "ddim" else dpmpp_2m_step(z, clean, now, end, history)
    torch.testing.assert_close(stepped, clean)
