"""One run against another on the same clips: which metrics differ, and how alike the two explanations are."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lvcf.errors import UserError
from lvcf.measure.clip import clips_of
from lvcf.measure.names import ERROR, ORACLE_MOVED, WITHIN
from lvcf.measure.summary import TOLD_FIRST
from lvcf.measure.table import Line, of_key, paired, tidy
from lvcf.metrics.change import change_correlation
from lvcf.metrics.recovered import PARTS, share_of
from lvcf.metrics.statistics import FEWEST, Values, compare, holm
from lvcf.runs.folder import Prediction

LEFT_OUT = (
    "cost/",
    "composition/",
    "reversibility/",
    ORACLE_MOVED,
    *(part for parts in PARTS.values() for part in parts),
    *(key for key in TOLD_FIRST if key not in (WITHIN, ERROR)),
)
"""Beginnings of the figures that are not tested: costs always differ, two ask for runs of their own, the oracle's
move has no better end, the rest are told by others."""


def paired_tests(ours: list[Line], theirs: list[Line]) -> list[Line]:
    """Every metric of two methods' lines on the clips that both finished, with p values corrected for their number.

    Metrics that are the same on every clip (those of the factual or the true clip), or known of fewer than two clips,
    are not tested.

    Returns:
        One line per metric: n, mean, mean_other, difference, ci_low, ci_high, p_permutation, p_wilcoxon, p_holm (of
        the permutation test, over all metrics here).
    """
    tables = [tidy(lines).assign(target="") for lines in (ours, theirs)]  # whatever was asked of the clips
    both = {*tables[0]["clip"]} & {*tables[1]["clip"]}
    one, two = (_with_shares(table[table["clip"].isin(both)].copy()) for table in tables)
    keys = [key for key in dict.fromkeys(one["key"]) if not key.startswith(LEFT_OUT)]
    rows = [row for key in keys if (row := _test(key, *paired(of_key(one, key), of_key(two, key))[1:]))]
    for row, p in zip(rows, holm([row["p_permutation"] for row in rows]), strict=True):
        row["p_holm"] = p
    return rows


def correlations(ours: list[Prediction], theirs: list[Prediction]) -> dict[str, float]:
    """Correlation of the two runs' signed differences by clip (sigma = 2 px); NaN where one of them did nothing.

    Raises:
        UserError: a clip has another shape in the other run.
    """
    others = {prediction.id: prediction for prediction in theirs}
    found = {}
    for one in (prediction for prediction in ours if prediction.id in others):
        our_change, their_change = (final - factual for final, factual in map(clips_of, (one, others[one.id])))
        if our_change.shape != their_change.shape:
            raise UserError(
                f"{others[one.id].folder}: another size or length than {one.folder}; compare like with like"
            )
        found[one.id] = change_correlation(our_change, their_change)
    return found


def _with_shares(table: pd.DataFrame) -> pd.DataFrame:
    """Shares by clip whose mean is the pooled share of all: a test of mean ratios could contradict the figures."""
    for share, parts in PARTS.items():
        missed, asked = (of_key(table, part) for part in parts)
        at = table["key"] == share
        if len(missed) == len(asked) == at.sum() > 0:
            mean = float(np.mean(asked))
            table.loc[at, "value"] = [share_of(value, mean) for value in missed]
    return table


def _test(name: str, one: Values, other: Values) -> Line | None:
    if len(one) < FEWEST or not (one - other).any():
        return None
    result = compare(one, other)
    means = {"mean": float(one.mean()), "mean_other": float(other.mean())}
    ends = {"ci_low": result.interval.low, "ci_high": result.interval.high} if result.interval else {}
    p_values = {"p_permutation": result.permutation, "p_wilcoxon": result.wilcoxon}
    return {"metric": name, "n": result.n, **means, "difference": result.difference, **ends, **p_values}
