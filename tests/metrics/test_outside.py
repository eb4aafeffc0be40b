"""What is changed outside a region."""

from __future__ import annotations

import math

import pytest
import torch

from lvcf.metrics.fidelity import restored, ssim, ssim_outside


def clips() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    factual = torch.rand(3, 2, 24, 24) * 2 - 1
    region = torch.zeros(2, 24, 24, dtype=torch.bool)
    region[:, 4:12, 4:12] = True
    return torch.where(region, -factual, factual), factual, region


def test_a_change_inside_is_none_outside() -> None:
    final, factual, region = clips()
    assert ssim(final, factual) < 0.9
    assert (restored(final, factual, region) == factual).all()
    assert ssim_outside(final, factual, region) == pytest.approx(1.0, abs=1e-6)


def test_a_change_outside_counts_the_more_the_larger_it_is() -> None:
    final, factual, region = clips()
    little, much = final.clone(), final.clone()
    little[..., 20:] += 0.1
    much[..., 16:] = 0.0
    assert ssim_outside(much, factual, region) < ssim_outside(little, factual, region) < 1.0


def test_no_region_is_the_whole_clip_and_a_full_one_nothing() -> None:
    final, factual, region = clips()
    nowhere = torch.zeros_like(region)
    assert ssim_outside(final, factual, nowhere) == pytest.approx(ssim(final, factual), abs=0.1)  # borders count here
    assert math.isnan(ssim_outside(final, factual, ~nowhere))
