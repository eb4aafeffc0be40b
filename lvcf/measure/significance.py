"""Which differences of a table are more than chance: paired tests on the same clips, corrected within each column."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import pandas as pd

from lvcf.measure.columns import Compared, Result, compared
from lvcf.measure.table import of_key, paired
from lvcf.metrics.statistics import FEWEST, LEVEL, Comparison, compare, holm


@dataclass
class Verdicts:
    """What the tests say.

    Attributes:
        reference: the row that the others are tested against.
        differences: one line per column and row: means on the shared clips, difference, interval, p values, verdict
            (``better``, ``worse``, ``undecided`` or, untested, ``too few clips``).
        best: headings with the names of the rows that are best, or not shown to be worse than the best.
        too_few: rows that share too few clips with the best for any difference to show.
    """

    reference: str
    differences: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, list[str]] = field(default_factory=dict)
    too_few: list[str] = field(default_factory=list)

    def against_reference(self, heading: str, verdict: str) -> list[str]:
        """The rows with a verdict in a column."""
        return [d["method"] for d in self.differences if d["column"] == heading and d["verdict"] == verdict]


@dataclass(frozen=True)
class Tested:
    """The other rows of a column against one of them; ``adjusted`` p values only of rows with enough clips."""

    comparisons: dict[str, Comparison]
    adjusted: dict[str, float]

    def better(self, method: str, how: Compared) -> bool:
        """Whether a row's mean is the better one, significantly or not."""
        return how.sign * self.comparisons[method].difference > 0.0

    def differs(self, method: str) -> bool:
        """Whether the difference is significant."""
        return self.adjusted[method] < 1.0 - LEVEL


def verdicts(results: list[Result], headings: list[str], reference: str) -> Verdicts:
    """Test every column that has a better end and a figure per clip.

    Against the reference: every row that shares clips with it.  For the best: the row of no control with the best mean
    among those with the most clips, and all that are not significantly worse on the clips they share with it.

    Args:
        results: the table's rows.
        headings: its columns.
        reference: name of the row to test against; without figures there are no such tests.
    """
    tables = {result.method: result.table for result in results if result.table is not None}
    truth = any((table["key"] == "truth/ssim_of_truth").any() for table in tables.values())
    controls = {result.method for result in results if result.control}
    found, cache = Verdicts(reference), Comparisons()
    for heading in headings:
        how = compared(heading, truth)
        if how is None:
            continue
        known = {method: of_key(table, how.key) for method, table in tables.items()}
        values = {method: series for method, series in known.items() if len(series)}
        if reference in values:
            found.differences += _differences(heading, how, cache.test(how, values, reference), reference)
        rivals = {method: series for method, series in values.items() if method not in controls}
        if rivals:
            best = _best(how, rivals)
            tested = cache.test(how, rivals, best)
            kept = [m for m in tested.adjusted if tested.better(m, how) or not tested.differs(m)]
            found.best[heading] = [best, *kept]
            few = [method for method in tested.comparisons if method not in tested.adjusted]
            found.too_few += [method for method in few if method not in found.too_few]
    return found


def _best(how: Compared, rivals: dict[str, pd.Series]) -> str:
    """The row with the best mean of those with the most clips."""
    most = max(map(len, rivals.values()))
    means = {name: how.sign * fmean(known) for name, known in rivals.items() if len(known) == most}
    return max(means, key=lambda name: means[name])


def _differences(heading: str, how: Compared, tested: Tested, reference: str) -> list[dict[str, Any]]:
    lines = []
    for method, test in tested.comparisons.items():
        verdict = "too few clips"
        if method in tested.adjusted:
            verdict = "undecided"
            if tested.differs(method):
                verdict = "better" if tested.better(method, how) else "worse"
        ends = (test.interval.low, test.interval.high) if test.interval else (None, None)
        line = {"column": heading, "compared": how.what, "method": method, "reference": reference, "n": test.n}
        line |= {"difference": test.difference, "ci_low": ends[0], "ci_high": ends[1]}
        line |= {"p_permutation": test.permutation, "p_wilcoxon": test.wilcoxon, "p_holm": tested.adjusted.get(method)}
        lines.append(line | {"verdict": verdict})
    return lines


class Comparisons:
    """Paired tests of the rows of a column, each made once: columns share figures, the reference may be the best."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, str, str], Comparison] = {}

    def test(self, how: Compared, values: dict[str, pd.Series], reference: str) -> Tested:
        """Every other row minus the reference, on the clips that both have; not where these are fewer than two.

        Holm's correction is over the rows that have clips enough for a difference to show among so many tests.
        """
        found = {}
        for method, series in values.items():
            shared, ours, theirs = paired(series, values[reference])
            if method != reference and len(shared) >= FEWEST:
                key = (how.key, method, reference)
                if key not in self._made:
                    self._made[key] = compare(ours, theirs)
                found[method] = self._made[key]
        enough = [method for method, test in found.items() if can_show(test.n, len(found))]
        adjusted = holm([found[method].permutation for method in enough])
        return Tested(found, dict(zip(enough, adjusted, strict=True)))


def can_show(clips: int, tests: int) -> bool:
    """Whether the least p of a sign-permutation test, 2^(1 - n), stays below the level when corrected for all tests."""
    return bool(2.0 ** (1 - clips) * tests < 1.0 - LEVEL)
