"""Noise, v and flow predictions of the same (z_0, eps) read the same clean and noise estimate."""

from __future__ import annotations

import math

import pytest
import torch

from lvcf.diffusion.parameterization import expand, from_epsilon, from_flow, from_v, noise_of

SHAPE = (3, 2, 4, 5, 5)
T = torch.tensor([0.1, 0.5, 0.95], dtype=torch.float64)


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(SHAPE, dtype=torch.float64), torch.randn(SHAPE, dtype=torch.float64)


def test_epsilon_v_and_flow_agree(pair) -> None:
    z0, eps = pair
    angle = 0.5 * math.pi * T
    preserving, straight = (angle.cos(), angle.sin()), (1 - T, T)
    for reads, prediction, scales in (
        (from_epsilon, lambda a, s: eps, preserving),
        (from_v, lambda a, s: a * eps - s * z0, preserving),
        (from_epsilon, lambda a, s: eps, straight),
        (from_flow, lambda a, s: eps - z0, straight),
    ):
        alpha, sigma = (expand(v, z0) for v in scales)
        clean, noise = reads(prediction(alpha, sigma), alpha * z0 + sigma * eps, *scales)
        torch.testing.assert_close(clean, z0)
        torch.testing.assert_close(noise, eps)


def test_v_is_the_velocity_of_the_variance_preserving_path(pair) -> None:
    """v = d z / d angle, by a finite difference of z = cos(angle) z_0 + sin(angle) eps: fixes v's sign."""
    z0, eps = pair
    angle, h = torch.full((3,), 0.7, dtype=torch.float64), 1e-5

    def path(a: torch.Tensor) -> torch.Tensor:
        return expand(a.cos(), z0) * z0 + expand(a.sin(), z0) * eps

    velocity = (path(angle + h) - path(angle - h)) / (2 * h)
    clean, _ = from_v(velocity, path(angle), angle.cos(), angle.sin())
    torch.testing.assert_close(clean, z0, atol=1e-8, rtol=0)


def test_the_flow_and_v_readings_stay_finite_where_alpha_is_zero(pair) -> None:
    """At pure noise alpha = 0: dividing by it would be infinite."""
    z0, eps = pair
    one, zero = torch.ones(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    torch.testing.assert_close(from_flow(eps - z0, eps, zero, one)[0], z0)
    torch.testing.assert_close(from_v(-z0, eps, zero, one)[0], z0)


def test_noise_of_inverts_the_noising(pair) -> None:
    z0, eps = pair
    alpha, sigma = 1 - T, T
    z_t = expand(alpha, z0) * z0 + expand(sigma, z0) * eps
    torch.testing.assert_close(noise_of(z0, z_t, alpha, sigma), eps)


@pytest.mark.parametrize("weight", [0.3, -0.3])
def test_guiding_the_clean_estimate_adds_to_the_noise_estimate(pair, weight) -> None:
    """docs/method.md, 2: eps-tilde = eps-hat + (alpha / sigma) lambda g when z0 <- z0 - lambda g."""
    z_t, eps = pair
    gradient = torch.randn(SHAPE, dtype=torch.float64)
    alpha, sigma = 1 - T, T
    clean, _ = from_epsilon(eps, z_t, alpha, sigma)
    guided = noise_of(clean - weight * gradient, z_t, alpha, sigma)
    torch.testing.assert_close(guided, eps + expand(alpha / sigma, eps) * weight * gradient)


def test_scales_are_per_sample() -> None:
    z = torch.ones(2, 1, 1, 1, 1)
    clean, _ = from_flow(torch.ones_like(z), z, torch.tensor([0.9, 0.2]), torch.tensor([0.1, 0.8]))
    assert clean.flatten().tolist() == pytest.approx([0.9, 0.2])
