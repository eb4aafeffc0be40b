"""Alpha against Krippendorff's own worked examples, intervals against the exact binomial one and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from lvcf.study.analyse import clustered_interval, nominal_alpha


def table(*raters: str) -> np.ndarray:
    """Rows of values by rater, '.' where there is none, to (units, raters)."""
    names = sorted(set("".join(raters)) - {".", " "})
    return np.array([[names.index(v) if v != "." else -1 for v in row.split()] for row in raters]).T


# Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", sections A (binary), B (nominal) and C (four
# observers, missing values; also the example of R's irr::kripp.alpha)
PUBLISHED = {
    "A": (table("0 1 0 0 0 0 0 0 1 0", "1 1 1 0 0 1 0 0 0 0"), 0.095),
    "B": (table("a a b b d c c c e d d a", "b a b b b c c c e d d d"), 0.692),
    "C": (
        table(
            "1 2 3 3 2 1 4 1 2 . . .",
            "1 2 3 3 2 2 4 1 2 5 . 3",
            ". 3 3 3 2 3 4 2 2 5 1 .",
            "1 2 3 3 2 4 4 1 2 5 1 .",
        ),
        0.743,
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_alpha_of_published_examples(name) -> None:
    ratings, alpha = PUBLISHED[name]
    assert nominal_alpha(ratings) == pytest.approx(alpha, abs=5e-4)


def by_pairs(ratings: np.ndarray) -> float:
    """Observed over expected disagreement, pair by pair."""
    units = [[v for v in unit if v >= 0] for unit in ratings.tolist()]
    units = [unit for unit in units if len(unit) > 1]
    values = [v for unit in units for v in unit]
    n = len(values)
    observed = sum(sum(a != b for a in unit for b in unit) / (len(unit) - 1) for unit in units) / n
    expected = sum(a != b for a in values for b in values) / (n * (n - 1))
    return 1 - observed / expected


def test_alpha_is_one_minus_observed_over_expected_disagreement() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        ratings = rng.integers(-1, 3, (12, 5))
        assert nominal_alpha(ratings) == pytest.approx(by_pairs(ratings), abs=1e-12)


def test_alpha_is_one_when_all_agree_and_none_by_chance() -> None:
    assert nominal_alpha(np.array([[0, 0, 0], [1, 1, -1], [2, 2, 2]])) == 1.0
    chance = np.random.default_rng(1).integers(0, 3, (4000, 3))
    assert abs(nominal_alpha(chance)) < 0.03


@pytest.mark.parametrize(
    ("ratings", "why"),
    [(np.array([[0, -1], [-1, 1]]), "two raters"), (np.array([[1, 1], [1, 1]]), "all answers are the same")],
)
def test_alpha_that_is_not_defined_says_why(ratings, why) -> None:
    with pytest.raises(ValueError, match=why):
        nominal_alpha(ratings)


@pytest.mark.parametrize("count", [0, 7, 15, 40])
def test_one_rater_and_one_answer_per_clip_give_the_exact_binomial_interval(count) -> None:
    hits = np.arange(40) < count
    exact = binomtest(count, 40).proportion_ci(method="exact")
    found = clustered_interval(hits, np.arange(40), np.zeros(40, dtype=int))
    assert found == pytest.approx((exact.low, exact.high), abs=1e-9)


def test_repeating_every_answer_by_more_raters_says_nothing_new_of_the_clips() -> None:
    hits = np.arange(30) < 12
    once = clustered_interval(hits, np.arange(30), np.zeros(30, dtype=int))
    many = clustered_interval(np.tile(hits, 20), np.tile(np.arange(30), 20), np.repeat(np.arange(20), 30))
    assert many == pytest.approx(once, abs=0.01)
    independent = binomtest(12 * 20, 30 * 20).proportion_ci()
    assert many[1] - many[0] > 3 * (independent.high - independent.low)


def test_unanimous_answers_leave_the_interval_of_the_clips() -> None:
    low, high = clustered_interval(np.ones(60, dtype=bool), np.tile(np.arange(10), 6), np.repeat(np.arange(6), 10))
    assert (low, high) == (pytest.approx(binomtest(10, 10).proportion_ci().low), 1.0)


def test_intervals_cover_the_truth_when_clips_and_raters_differ() -> None:
    rng = np.random.default_rng(2)
    clips, raters = (index.ravel() for index in np.indices((40, 20)))
    covered = 0
    for _ in range(400):
        clip, rater = rng.uniform(-0.25, 0.25, 40), rng.uniform(-0.15, 0.15, 20)
        hits = rng.random(800) < 0.6 + clip[clips] + rater[raters]
        low, high = clustered_interval(hits, clips, raters)
        covered += low <= 0.6 <= high
    assert 0.92 <= covered / 400 <= 0.99  # 95 % nominal, binomial error 1.1 %
