"""One run against another on the same clips: which metrics differ, and how alike the two explanations are."""

from __future__ import annotations

from typing import Any

import numpy as np

from lvcf.errors import UserError
from lvcf.evaluation.clip import clips_of
from lvcf.evaluation.rows import Row
from lvcf.metrics.change import change_correlation
from lvcf.metrics.recovered import PARTS, share_of
from lvcf.metrics.statistics import FEWEST, Values, compare, holm
from lvcf.runs.folder import Prediction, off_target

LEFT_OUT = ("cost/", "composition/", "reversibility/", *(part for parts in PARTS.values() for part in parts))
"""Beginnings of the figures that are not tested: costs always differ, two ask for runs of their own, the rest are told
by the shares that they make up."""


def paired_tests(ours: list[Row], theirs: list[Row]) -> list[Row]:
    """Every metric of two methods' rows on the clips that both finished, with p values corrected for their number.

    Metrics that are the same on every clip (those of the factual or the true clip), or known of fewer than two clips,
    are not tested.

    Returns:
        One row per metric: n, mean, mean_other, difference, ci_low, ci_high, p_permutation, p_wilcoxon, p_holm (of
        the permutation test, over all metrics here).
    """
    other = {row["id"]: row for row in theirs if row["status"] != "failed"}
    both = [(row, other[row["id"]]) for row in ours if row["status"] != "failed" and row["id"] in other]
    shares = _shares([one for one, _ in both]), _shares([them for _, them in both])
    pairs = [(_tested(one) | a, _tested(them) | b) for (one, them), a, b in zip(both, *shares, strict=True)]
    names = [k for k in dict.fromkeys(k for one, _ in pairs for k in one) if any(k in them for _, them in pairs)]
    rows = [row for name in names if (row := _test(name, *_values(name, pairs)))]
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


def _shares(rows: list[Row]) -> list[dict[str, float]]:
    """By clip, what its mean is the pooled share of: a test of mean ratios could contradict the figures."""
    found: list[dict[str, float]] = [{} for _ in rows]
    for share, (missed, asked) in PARTS.items():
        if rows and all(part in row for row in rows for part in (missed, asked)):
            mean = float(np.mean([row[asked] for row in rows]))
            for row, of_clip in zip(rows, found, strict=True):
                of_clip[share] = share_of(row[missed], mean)
    return found


def _tested(row: Row) -> dict[str, float]:
    """A clip's figures; of a regressor also its distance to the target."""
    kept = {k: v for k, v in row.items() if "/" in k and not k.startswith(LEFT_OUT) and isinstance(v, float)}
    kept["adherence/within_tolerance"] = float(row["status"] == "reached")
    if row["task"] == "regression":
        after, low, high = (float(row[name]) for name in ("prediction_after", "target_low", "target_high"))
        kept["adherence/error"] = off_target(after, low, high)
    return kept


def _values(name: str, pairs: list[tuple[dict[str, float], dict[str, float]]]) -> tuple[Values, Values]:
    one, other = (np.array([pair[i].get(name, np.nan) for pair in pairs], dtype=np.float64) for i in (0, 1))
    return one, other


def _test(name: str, one: Values, other: Values) -> Row | None:
    both = np.isfinite(one) & np.isfinite(other)
    if both.sum() < FEWEST or not (one - other)[both].any():
        return None
    result = compare(one[both], other[both])
    ends: dict[str, Any] = {"ci_low": result.interval.low, "ci_high": result.interval.high} if result.interval else {}
    means = {"mean": float(one[both].mean()), "mean_other": float(other[both].mean())}
    p_values = {"p_permutation": result.permutation, "p_wilcoxon": result.wilcoxon}
    return {"metric": name, "n": result.n, **means, "difference": result.difference, **ends, **p_values}
