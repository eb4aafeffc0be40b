"""A paired test of the share recovered is a test of the figure in the tables."""

from __future__ import annotations

from typing import Any

import pytest

from lvcf.measure.against import paired_tests
from lvcf.measure.summary import summarise
from lvcf.metrics.recovered import PARTS, share_of

ASKED = [0.5, 0.6, 0.5, 0.55, 0.6, 0.52, 5.0, 6.0]


def rows(missed: list[float], asked: list[float]) -> list[dict[str, Any]]:
    said = {"status": "reached", "task": "regression", "prediction_after": 50.0, "target": "50", "target_low": 50.0}
    return [
        {"id": f"c{i}", **said, "target_high": 50.0}
        | {share: share_of(m, a) for share in PARTS}
        | {name: value for parts in PARTS.values() for name, value in zip(parts, (m, a), strict=True)}
        for i, (m, a) in enumerate(zip(missed, asked, strict=True))
    ]


def test_the_tested_means_are_the_pooled_shares() -> None:
    """The first method is better where little is asked, the second over all: the means of ratios say the reverse."""
    ours = rows([0.1] * 6 + [4.0, 4.8], ASKED)
    theirs = rows([0.3, 0.4, 0.3, 0.35, 0.4, 0.3, 2.0, 2.5], ASKED)
    tests = {row["metric"]: row for row in paired_tests(ours, theirs)}
    for share in PARTS:
        one, other = summarise(ours)[share], summarise(theirs)[share]
        assert tests[share]["mean"] == pytest.approx(one)
        assert tests[share]["mean_other"] == pytest.approx(other)
        assert tests[share]["difference"] == pytest.approx(one - other)
        assert tests[share]["difference"] < 0.0
