"""The power of the sign test against every outcome's probability, simulation and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from lvcf.metrics.power import LEVEL, clips_needed, sign_test, sign_test_power
from lvcf.metrics.statistics import sign_permutation


@pytest.mark.parametrize(("better", "worse"), [(7, 0), (6, 1), (9, 4), (3, 3), (1, 8)])
def test_the_sign_test_is_the_permutation_of_signs(better, worse) -> None:
    signs = np.array([1.0] * better + [-1.0] * worse)
    assert sign_test(better, worse) == pytest.approx(sign_permutation(signs))


def test_clips_that_all_tie_say_nothing() -> None:
    assert sign_test(0, 0) == 1.0


@pytest.mark.parametrize(("n", "better", "worse"), [(8, 0.7, 0.1), (12, 0.5, 0.2), (13, 0.3, 0.3), (10, 0.9, 0.1)])
def test_power_is_the_sum_over_all_outcomes(n, better, worse) -> None:
    tied, total = 1.0 - better - worse, 0.0
    for up in range(n + 1):
        for down in range(n + 1 - up):
            ways = math.factorial(n) // (math.factorial(up) * math.factorial(down) * math.factorial(n - up - down))
            chance = ways * better**up * worse**down * max(tied, 0.0) ** (n - up - down)
            total += chance * (up > down and sign_test(up, down) <= LEVEL)
    assert sign_test_power(n, better, worse) == pytest.approx(total, abs=1e-12)


def test_power_is_how_often_drawn_experiments_find_it() -> None:
    drawn = np.random.default_rng(0).multinomial(60, [0.35, 0.1, 0.55], size=4000)
    found = np.mean([up > down and stats.binomtest(up, up + down).pvalue <= 0.05 for up, down, _ in drawn])
    power = sign_test_power(60, 0.35, 0.1)
    assert abs(found - power) < 4 * math.sqrt(power * (1 - power) / len(drawn))


def test_what_is_always_better_needs_six_clips() -> None:
    """Two times a half to the sixth is 0.031, to the fifth 0.063."""
    assert [sign_test_power(n, 1.0, 0.0) for n in (5, 6)] == [0.0, 1.0]
    assert clips_needed(1.0, 0.0, 0.9) == 6


@pytest.mark.parametrize(("better", "worse"), [(0.35, 0.1), (0.3, 0.05), (0.6, 0.3)])
def test_no_fewer_clips_have_the_power(better, worse) -> None:
    n = clips_needed(better, worse, 0.9)
    assert sign_test_power(n, better, worse) >= 0.9 > sign_test_power(n - 1, better, worse)
    share = better + worse  # McNemar's sample size by normal approximation (Connor 1987)
    root = math.sqrt(share - (better - worse) ** 2)
    near = ((stats.norm.ppf(0.975) * math.sqrt(share) + stats.norm.ppf(0.9) * root) / (better - worse)) ** 2
    assert near < n < 1.25 * near + 3
