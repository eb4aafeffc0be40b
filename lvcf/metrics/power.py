"""How many clips a paired comparison needs, worked out before it is run: the exact power of the sign test."""

from __future__ import annotations

import numpy as np
from scipy import stats

LEVEL = 0.05
"""Two-sided chance of a false alarm."""


def sign_test(better: int, worse: int) -> float:
    """Two-sided exact p that clips which differ are as often better as worse; ties say nothing (McNemar's exact test).

    Args:
        better: clips of which the first method did better.
        worse: clips of which the other did.
    """
    return float(stats.binomtest(better, better + worse).pvalue) if better + worse else 1.0


def sign_test_power(n: int, better: float, worse: float) -> float:
    """Chance that :func:`sign_test` finds the first method better, at :data:`LEVEL`.

    Args:
        n: clips, each independent of the others.
        better: chance that the first method does better on a clip.
        worse: chance that the other does; on all other clips they tie.
    """
    differing = np.arange(n + 1)
    most_worse = stats.binom.ppf(LEVEL / 2.0, differing, 0.5)
    most_worse -= stats.binom.cdf(most_worse, differing, 0.5) > LEVEL / 2.0
    found = stats.binom.cdf(most_worse, differing, worse / (better + worse))
    return float((stats.binom.pmf(differing, n, better + worse) * found).sum())


def clips_needed(better: float, worse: float, power: float) -> int:
    """The fewest clips with which :func:`sign_test` has a power, 0-1; ``better`` has to be above ``worse``."""
    n = 1
    while sign_test_power(n, better, worse) < power:
        n += 1
    return n
