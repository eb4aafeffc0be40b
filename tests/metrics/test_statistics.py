"""Intervals and tests against closed forms, exact enumeration and their own coverage."""

from __future__ import annotations

import itertools
import math
import tracemalloc

import numpy as np
import pytest
from scipy import stats

from lvcf.metrics.statistics import (
    LEVEL,
    RESAMPLES,
    SEED,
    Interval,
    clustered,
    compare,
    holm,
    interval,
    mean_interval,
    share_interval,
    standard_error,
)


def test_the_interval_of_a_mean_is_near_students_for_normal_values() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 200)
    found = mean_interval(values)
    student = stats.t.interval(0.95, 199, values.mean(), standard_error(values))
    assert [found.low, found.high] == pytest.approx(student, abs=0.05)
    assert mean_interval(values) == found  # seeded


def test_resamples_drawn_in_parts_give_the_same_interval(monkeypatch) -> None:
    values = np.random.default_rng(2).exponential(1.0, 40)
    whole = mean_interval(values)
    monkeypatch.setattr("lvcf.metrics.statistics.AT_ONCE", 4000)
    assert mean_interval(values) == whole


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(60):
        found = mean_interval(rng.exponential(1.0, 40))
        hits += found.low <= 1.0 <= found.high
    assert 50 <= hits <= 60  # binomial(60, 0.95) is below 50 once in 3000 times


def test_a_single_value_has_no_spread_and_equal_ones_have_a_width_of_zero() -> None:
    assert mean_interval(np.array([3.0])) is None
    assert standard_error(np.array([3.0])) is None
    found = mean_interval(np.full(5, 3.0))
    assert (found.low, found.high) == (3.0, 3.0)


def test_samples_are_resampled_together() -> None:
    """The difference of paired samples that differ by 1 everywhere has no spread, whatever theirs."""
    one = np.random.default_rng(2).normal(0, 10, 30)
    found = interval(lambda a, b, axis: (a - b).mean(axis), one + 1.0, one)
    assert [found.low, found.high] == pytest.approx([1.0, 1.0])


def test_many_clips_take_little_memory_and_the_digits_are_those_of_all_resamples_at_once() -> None:
    values = np.random.default_rng(3).normal(size=1000)
    tracemalloc.start()
    found = interval(np.mean, values)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    drawn = {"n_resamples": RESAMPLES, "confidence_level": LEVEL, "paired": True, "rng": np.random.default_rng(SEED)}
    whole = stats.bootstrap((values,), np.mean, method="BCa", **drawn).confidence_interval
    assert (found.low, found.high) == pytest.approx((whole.low, whole.high), rel=1e-12)
    assert peak < 80 * 2**20  # all at once take 160 MB


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (10, 10), (3, 20)])
def test_the_interval_of_a_share_is_wilsons(hits, n) -> None:
    z, p = stats.norm.ppf(0.975), hits / n
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    found = share_interval(np.repeat([1.0, 0.0], [hits, n - hits]))
    assert [found.low, found.high] == pytest.approx([max(middle - half, 0.0), min(middle + half, 1.0)], abs=1e-9)


def test_the_permutation_test_is_the_share_of_all_sign_patterns() -> None:
    rng = np.random.default_rng(3)
    ours, theirs = rng.normal(0.6, 1, 8), rng.normal(0, 1, 8)
    difference = ours - theirs
    every = [abs(np.mean(np.array(s) * difference)) for s in itertools.product([1, -1], repeat=8)]
    expected = np.mean(np.array(every) >= abs(difference.mean()) - 1e-12)
    found = compare(ours, theirs)
    assert found.permutation == pytest.approx(expected)
    assert found.difference == pytest.approx(difference.mean())
    assert found.wilcoxon == pytest.approx(stats.wilcoxon(ours, theirs, zero_method="pratt").pvalue)
    assert found.interval.low < found.difference < found.interval.high


def test_clips_that_lack_a_value_are_left_out_of_a_comparison() -> None:
    found = compare(np.array([1.0, np.nan, 3.0, 4.0]), np.array([0.0, 1.0, np.nan, 1.0]))
    assert (found.n, found.difference) == (2, 2.0)
    with pytest.raises(ValueError, match="fewer than two"):
        compare(np.array([np.nan, 2.0]), np.array([1.0, 3.0]))


def test_methods_that_do_the_same_do_not_differ() -> None:
    found = compare(np.arange(6.0), np.arange(6.0))
    assert (found.permutation, found.wilcoxon, found.difference) == (1.0, 1.0, 0.0)


def test_holm_by_hand() -> None:
    """Sorted 0.01, 0.02, 0.03, 0.4 times 4, 3, 2, 1 is 0.04, 0.06, 0.06, 0.4."""
    assert holm([0.03, 0.01, 0.4, 0.02]) == pytest.approx([0.06, 0.04, 0.4, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_clusters_of_one_are_independent_values() -> None:
    values = np.random.default_rng(0).normal(size=12)
    error, ends = clustered(values, [f"{i:02d}" for i in range(12)])
    assert error == pytest.approx(standard_error(values))
    assert ends == mean_interval(values)


def test_repeating_every_value_tells_nothing_new() -> None:
    """Four edits of a clip that come out alike are one observation; taken as four, the error would be halved."""
    values = np.random.default_rng(0).normal(size=8)
    error, ends = clustered(np.repeat(values, 4), [f"clip {i}" for i in range(8) for _ in range(4)])
    alone = mean_interval(values)
    assert error == pytest.approx(standard_error(values))
    assert (ends.low, ends.high) == pytest.approx((alone.low, alone.high))


def test_shares_that_are_all_alike_have_a_width_by_their_clusters() -> None:
    groups = ["a", "a", "b", "b", "c"]
    for values in (np.ones(5), np.zeros(5)):
        ends, wilson = clustered(values, groups, share=True)[1], share_interval(values[:3])
        assert (ends.low, ends.high) == pytest.approx((wilson.low, wilson.high), abs=1e-12)
    half, wilson = (
        clustered(np.array([0.0, 1.0, 1.0, 0.0]), groups[:4], share=True)[1],
        share_interval(np.array([0, 1])),
    )
    assert (half.low, half.high) == pytest.approx((wilson.low, wilson.high))  # clips agree that it is one half
    assert clustered(np.ones(5), groups)[1] == Interval(1.0, 1.0)
    assert clustered(np.ones(2), ["a", "a"], share=True) == (None, None)
