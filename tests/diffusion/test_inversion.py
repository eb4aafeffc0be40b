"""Noising, DDIM inversion and recorded residuals."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from lvcf.diffusion.inversion import ddim_invert, kept_share, noised, recorded_residual
from lvcf.diffusion.steps import ddim_step
from lvcf.models.backbones.base import Embedding
from lvcf.sampling import DiffusionState, Prompts

MEAN, STD = 0.3, 0.5


def flow_scales(t: Tensor) -> tuple[Tensor, Tensor]:
    return 1 - t, t


def exact_clean(z: Tensor, t: Tensor) -> Tensor:
    alpha, sigma = (v.view(-1, 1) for v in flow_scales(t))
    return MEAN + alpha * STD**2 / (alpha**2 * STD**2 + sigma**2) * (z - alpha * MEAN)


def test_noised_is_alpha_z_plus_sigma_eps_per_sample() -> None:
    z, eps = torch.randn(2, 2, 3).unbind()
    result = noised(z, eps, (torch.tensor([0.9, 0.0]), torch.tensor([0.1, 1.0])))
    torch.testing.assert_close(result[0], 0.9 * z[0] + 0.1 * eps[0])
    torch.testing.assert_close(result[1], eps[1])


def test_the_recorded_residual_moves_any_step_onto_the_recorded_path() -> None:
    z_ref, eps, stepped = torch.randn(3, 2, 6, dtype=torch.float64).unbind()
    following = (torch.tensor([0.8, 0.5]).double(), torch.tensor([0.2, 0.5]).double())
    torch.testing.assert_close(
        stepped + recorded_residual(stepped, z_ref, eps, following), noised(z_ref, eps, following)
    )


@pytest.mark.parametrize("steps", [50, 400])
def test_ddim_inversion_and_back_returns_for_a_gaussian(steps) -> None:
    z_ref = torch.tensor([[-1.2, 0.3, 1.5], [0.0, 0.7, -0.4]], dtype=torch.float64)
    rising = list(torch.linspace(1e-3, 0.9, steps + 1, dtype=torch.float64)[:, None].expand(-1, 2))
    top = ddim_invert(z_ref, rising, flow_scales, exact_clean)
    spread = [math.hypot((1 - t) * STD, t) for t in (1e-3, 0.9)]
    exact = 0.1 * MEAN + (z_ref - (1 - 1e-3) * MEAN) * spread[1] / spread[0]
    assert float((top - exact).abs().max()) < 12 / steps
    z = top
    for now, following in zip(rising[::-1][:-1], rising[::-1][1:], strict=True):
        z = ddim_step(z, exact_clean(z, now), flow_scales(now), flow_scales(following))
    assert float((z - z_ref).abs().max()) < 6 / steps


def walked(grid: Tensor, places: list[int], shape: tuple[int, ...]) -> list[Tensor]:
    """Annealed noise of one clip at the first place of a grid and at ``places``."""
    nothing = Prompts(*[Embedding(torch.zeros(1, 1, 1), torch.ones(1, 1))] * 2)
    generators = [torch.Generator().manual_seed(1)]
    state = DiffusionState(prompts=nothing, generators=generators, grid=grid, z_ref=torch.zeros(1, *shape))
    state.rows = torch.tensor([0])
    noises = [state.noise]
    for place in places:
        state.noise = state.next_noise(torch.tensor([place]), annealed=True)
        state.index = torch.tensor([place])
        noises.append(state.noise)
    return noises


def test_annealed_noise_keeps_its_share_of_variance_and_stays_standard_normal() -> None:
    """Below t = 0.25 nothing is drawn anew."""
    grid = torch.tensor([1.0, 0.8, 0.5, 0.25, 0.1, 0.0])
    assert kept_share(grid).tolist() == pytest.approx([0.0, 0.2 / 0.75, 0.5 / 0.75, 1.0, 1.0, 1.0])
    noises = walked(grid, [1, 2, 3, 4, 5], (4, 4, 100, 100))
    assert [float(noise.std()) for noise in noises] == pytest.approx([1.0] * 6, abs=0.01)
    correlations = [float((one * other).mean()) for one, other in pairwise(noises)]
    assert correlations == pytest.approx(kept_share(grid)[1:].sqrt().tolist(), abs=0.01)
    assert torch.equal(noises[2], noises[-1])


def test_annealed_noise_at_a_place_does_not_hang_on_the_strides() -> None:
    grid = torch.linspace(1.0, 0.0, 7)
    dense, strided = (walked(grid, places, (2, 2, 3, 3)) for places in ([1, 2, 3, 4], [2, 4]))
    assert torch.equal(dense[-1], strided[-1])
