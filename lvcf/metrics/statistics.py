"""How sure a figure is: bootstrap and Wilson intervals, paired tests between methods, Holm's correction."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Values = NDArray[np.float64]

LEVEL = 0.95
"""Confidence of every interval."""
RESAMPLES = 9999
AT_ONCE = 2**21
"""Values drawn at once: all resamples of few clips, and no more memory for many clips."""
SEED = 0
FEWEST = 2
"""Values below which nothing can be said about their spread."""


@dataclass(frozen=True)
class Interval:
    """Lower and upper end of a confidence interval at :data:`LEVEL`."""

    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """One metric of two methods on the same clips.

    Attributes:
        n: clips that have a value with both.
        difference: mean of the first method's values minus the second's.
        interval: of the mean difference; None where there is none.
        permutation: two-sided p of the mean difference under random signs (exact up to 13 clips).
        wilcoxon: two-sided p of Wilcoxon's signed-rank test, ties at zero ranked (Pratt 1959).
    """

    n: int
    difference: float
    interval: Interval | None
    permutation: float
    wilcoxon: float


def standard_error(values: Values) -> float | None:
    """Of the mean of ``(n,)``; None of a single value, which has no spread."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) >= FEWEST else None


def spread(key: str, error: float | None, ends: Interval | None) -> dict[str, float]:
    """Standard error and interval of the figure ``key`` as ``metrics.json`` has them, where they are known."""
    told = {} if error is None else {f"{key}.se": error}
    return told | ({} if ends is None else {f"{key}.ci_low": ends.low, f"{key}.ci_high": ends.high})


def interval(statistic: Callable[..., Any], *samples: Values) -> Interval | None:
    """Bootstrap interval of a statistic over clips, resampled together: BCa (Efron 1987), else percentiles.

    Args:
        statistic: of ``samples`` along ``axis``, vectorised.
        samples: one or more ``(n,)``, paired by clip.

    Returns:
        None below two clips, or where a resample has no finite value.
    """
    if len(samples[0]) < FEWEST:
        return None
    if all(np.ptp(sample) == 0.0 for sample in samples):
        value = float(statistic(*samples, axis=-1))
        return Interval(value, value) if np.isfinite(value) else None
    for method in ("BCa", "percentile"):
        with np.errstate(all="ignore"):
            found = _bootstrap(statistic, samples, method)
        if np.isfinite([found.low, found.high]).all():
            return found
    return None


def mean_interval(values: Values) -> Interval | None:
    """Bootstrap interval of the mean of ``(n,)``; None of a single value."""
    return interval(np.mean, values)


def pearson(one: Values, other: Values, axis: int) -> Any:
    """Pearson's correlation along ``axis``, for :func:`interval`; not finite where one of them does not vary."""
    a, b = (values - values.mean(axis, keepdims=True) for values in (one, other))
    return (a * b).sum(axis) / np.sqrt((a**2).sum(axis) * (b**2).sum(axis))


def clustered(values: Values, groups: Sequence[str], share: bool = False) -> tuple[float | None, Interval | None]:
    """Standard error and interval of the mean of ``(n,)`` where values of one group are not independent.

    Whole groups are resampled (a cluster bootstrap), and the error is that of a ratio of their sums.

    Args:
        values: without NaN.
        groups: of each value, such as its clip.
        share: values are in 0-1, and groups whose means are all alike get Wilson's interval with the groups for n: a
            bootstrap of them has no width.

    Returns:
        Neither, of fewer than two groups.
    """
    _, place = np.unique(groups, return_inverse=True)
    sums, counts = (np.bincount(place, weights).astype(np.float64) for weights in (values, np.ones_like(values)))
    if len(sums) < FEWEST:
        return None, None
    error = ratio_error(sums, counts, float(values.mean()))
    if share and np.ptp(sums / counts) == 0.0:
        return error, _wilson(float(values.mean()), len(sums))
    return error, interval(_ratio, sums, counts)


def ratio_error(sums: Values, counts: Values, ratio: float) -> float:
    """Standard error of a ratio of sums over independent clips or groups ``(n,)``, n >= 2, by the delta method."""
    off = sums - ratio * counts
    return float(np.sqrt((off**2).sum() * len(sums) / (len(sums) - 1)) / counts.sum())


def _wilson(share: float, n: int) -> Interval:
    """Wilson's interval of a share that need not be a whole number of ``n``."""
    z = float(stats.norm.ppf(0.5 + LEVEL / 2.0))
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return Interval(max(middle - float(half), 0.0), min(middle + float(half), 1.0))


def _ratio(sums: Values, counts: Values, axis: int) -> Any:
    return sums.sum(axis) / counts.sum(axis)


def share_interval(values: Values) -> Interval:
    """Wilson's interval (1927) of a share, from its zeros and ones ``(n,)``: a bootstrap of all ones has no width."""
    found = stats.binomtest(int(values.sum()), len(values)).proportion_ci(LEVEL, method="wilson")
    return Interval(float(found.low), float(found.high))


def compare(ours: Values, theirs: Values) -> Comparison:
    """Two methods' values ``(n,)`` of one metric on the same clips; a clip that lacks either is left out.

    Raises:
        ValueError: fewer than two clips have both.
    """
    both = ~(np.isnan(ours) | np.isnan(theirs))
    difference = ours[both] - theirs[both]
    if len(difference) < FEWEST:
        raise ValueError("fewer than two clips have a value with both methods")
    ranks = stats.wilcoxon(difference, zero_method="pratt").pvalue if difference.any() else 1.0
    mean, spread = float(difference.mean()), mean_interval(difference)
    return Comparison(len(difference), mean, spread, sign_permutation(difference), float(ranks))


def sign_permutation(difference: Values) -> float:
    """Two-sided p of paired differences' ``(n,)`` mean, their signs drawn anew; of few pairs all signs are taken."""
    found = stats.permutation_test(
        (difference,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=_batch(difference),
        rng=np.random.default_rng(SEED),
    )
    return float(found.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values (Holm 1979), in the order given: the chance of any false alarm stays below the level."""
    order = np.argsort(p_values)
    factors = len(p_values) - np.arange(len(p_values))
    stepped = np.minimum(np.maximum.accumulate(np.asarray(p_values, dtype=np.float64)[order] * factors), 1.0)
    adjusted = np.empty_like(stepped)
    adjusted[order] = stepped
    return [float(p) for p in adjusted]


def _batch(values: Values) -> int:
    """How many resamples of ``(n,)`` are drawn at once."""
    return max(AT_ONCE // len(values), 1)


def _bootstrap(statistic: Callable[..., Any], samples: tuple[Values, ...], method: str) -> Interval:
    with warnings.catch_warnings():  # BCa of a degenerate sample warns; the caller falls back
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        found = stats.bootstrap(
            samples,
            statistic,
            n_resamples=RESAMPLES,
            paired=True,
            vectorized=True,
            confidence_level=LEVEL,
            batch=_batch(samples[0]),
            method=method,
            rng=np.random.default_rng(SEED),
        ).confidence_interval
    return Interval(float(found.low), float(found.high))
