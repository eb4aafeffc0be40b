"""The table's columns: where their figures stand, and how two methods are compared in one, clip by clip.  Light."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from lvcf.runs.folder import off_target

ClipRow = dict[str, Any]
"""A line of ``predictions.csv``."""

BEFORE = "prediction_before_correction"
"""The column of M's reading before the last correction, of runs that make one."""
SURE = 0.5
"""Least probability of a class that is reached; :data:`lvcf.guidance.goal.MIN_CONFIDENCE`, which loads torch."""
COLUMNS = {
    "R2": "adherence/r2",
    "MAE": "adherence/mae",
    "MAE before correction": "adherence/mae_before_correction",
    "RMSE": "adherence/rmse",
    "within": "adherence/within_tolerance",
    "within before correction": "adherence/within_tolerance_before_correction",
    "flip rate": "adherence/flip_rate",
    "flip, was right": "adherence/flip_rate_from_right",
    "confidence": "adherence/confidence",
    "confidence before correction": "adherence/confidence_before_correction",
    "SSIM": "fidelity/ssim",
    "SSIM of truth": "truth/ssim_of_truth",
    "LPIPS": "fidelity/lpips",
    "FID": "realism/fid",
    "FID floor": "realism/fid_floor",
    "FVD": "realism/fvd",
    "FVD floor": "realism/fvd_floor",
    "share, smooth": "truth/share_recovered_smooth",
    "share, raw": "truth/share_recovered_raw",
    "pixel EF off": "truth/pixel_ef_error",
    "pixel EF r": "truth/pixel_ef_r",
    "oracle EF off": "truth/oracle_ef_error",
    "pixel class": "truth/pixel_class",
    "pixel class of truth": "truth/pixel_class_of_truth",
    "oracle class": "truth/oracle_class",
    "ruler off": "truth/ruler_error",
    "mask IoU": "truth/mask_iou",
    "EDV leak %": "leakage/edv_percent",
    "L1": "truth/l1_levels",
    "back SSIM": "reversibility/ssim",
    "back L1": "reversibility/l1_levels",
    "steps": "cost/steps",
    "gradients": "cost/gradient_evaluations",
    "queries": "cost/queries",
    "s/clip": "cost/seconds",
}
"""Table headings and the metrics behind them; a metric may go on in brackets, as ``realism/fid[...]`` does."""


@dataclass(frozen=True)
class Judge:
    """How two methods are compared in one column.

    Attributes:
        what: the figure of one clip that is compared, in words.
        sign: 1 if higher is better, -1 if lower.
        value: that figure, from a clip's line; NaN where the clip has none.
    """

    what: str
    sign: int
    value: Callable[[ClipRow], float]


def _error(row: ClipRow) -> float:
    """Distance of a regressor's reading to its target."""
    if row["task"] != "regression":
        return math.nan
    return off_target(row["prediction_after"], row["target_low"], row["target_high"])


def _error_before(row: ClipRow) -> float:
    """:func:`_error` before the last correction."""
    if row["task"] != "regression" or BEFORE not in row:
        return math.nan
    return off_target(row[BEFORE], row["target_low"], row["target_high"])


def _confidence_before(row: ClipRow) -> float:
    """:func:`_confidence` before the last correction."""
    return float(row.get(BEFORE, math.nan)) if row["task"] == "classification" else math.nan


def _sure_before(row: ClipRow) -> float:
    """Whether the target was reached before the last correction; of a regressor the tolerance is not known here."""
    before = _confidence_before(row)
    return before if math.isnan(before) else float(before >= SURE)


def _flipped(row: ClipRow) -> float:
    if "class_after" not in row or row["class_before"] == row["target"]:
        return math.nan
    return float(row["class_after"] == row["target"])


def _flipped_from_right(row: ClipRow) -> float:
    return _flipped(row) if row.get("label") and row.get("class_before") == row["label"] else math.nan


def _confidence(row: ClipRow) -> float:
    return float(row["prediction_after"]) if row["task"] == "classification" else math.nan


def _ssim_off(row: ClipRow) -> float:
    """Distance to the true counterfactual's SSIM: above it, too little has changed."""
    return abs(_plain("fidelity/ssim")(row) - _plain("truth/ssim_of_truth")(row))


def _plain(name: str) -> Callable[[ClipRow], float]:
    return lambda row: float(row.get(name, math.nan))


JUDGES = {
    "R2": Judge("squared error", -1, lambda row: _error(row) ** 2),
    "MAE": Judge("error", -1, _error),
    "MAE before correction": Judge("error before the last correction", -1, _error_before),
    "RMSE": Judge("squared error", -1, lambda row: _error(row) ** 2),
    "within": Judge("reached", 1, lambda row: float(row["status"] == "reached")),
    "flip rate": Judge("flipped", 1, _flipped),
    "flip, was right": Judge("flipped", 1, _flipped_from_right),
    "within before correction": Judge("reached before the last correction", 1, _sure_before),
    "confidence": Judge("confidence", 1, _confidence),
    "confidence before correction": Judge("confidence before the last correction", 1, _confidence_before),
    **{
        heading: Judge(heading, sign, _plain(COLUMNS[heading]))
        for heading, sign in {
            "SSIM": 1,
            "LPIPS": -1,
            "share, smooth": 1,
            "share, raw": 1,
            "pixel EF off": -1,
            "oracle EF off": -1,
            "pixel class": 1,
            "oracle class": 1,
            "mask IoU": 1,
            "EDV leak %": -1,
            "L1": -1,
            "back SSIM": 1,
            "back L1": -1,
        }.items()
    },
}
"""Of the columns with a better end that clips have a figure of; costs, rulers and distances of sets have no judge."""

SSIM_WITH_TRUTH = Judge("distance to the truth's SSIM", -1, _ssim_off)


def judge(heading: str, truth_known: bool) -> Judge | None:
    """How to compare a column; None where that cannot be done clip by clip, or where neither end is better.

    Args:
        heading: of :data:`COLUMNS`.
        truth_known: whether the true counterfactuals are; SSIM is then judged by its distance to theirs.
    """
    return SSIM_WITH_TRUTH if heading == "SSIM" and truth_known else JUDGES.get(heading)


def headings_of(metrics: Iterable[dict[str, Any]]) -> dict[str, str]:
    """:data:`COLUMNS`, with one heading per network where a metric's key names one: ``FID [NETWORK]``.

    Args:
        metrics: the rows' flat metrics.

    Returns:
        Headings, each with the key, or with the beginning of the key up to a comma, for :func:`figure_of`.
    """
    found = [key for row in metrics for key in row]
    headings = {}
    for heading, key in COLUMNS.items():
        networks = [name[len(key) + 1 :].split(",")[0] for name in found if name.startswith(f"{key}[")]
        if not networks:
            headings[heading] = key
        for network in dict.fromkeys(networks):
            headings[f"{heading} [{network}]"] = f"{key}[{network},"
    return headings


def figure_of(metrics: dict[str, Any], key: str, suffix: str = "") -> Any:
    """A figure, or with a suffix its error or an end of its interval; None if it is not there."""
    whole = key if not key.endswith(",") else next((name for name in metrics if name.startswith(key)), key)
    return metrics.get(f"{whole}{suffix}")


def shown(row: dict[str, Any], heading: str) -> str:
    """A table entry: the figure with its standard error, at as many digits as its size asks for."""
    value, error = row.get(heading), row.get(f"{heading} se")
    if not isinstance(value, float):
        return str(row[heading]) if heading in ("method", "n") else "–"
    digits = 3 if abs(value) < 2 else 2 if abs(value) < 20 else 1
    return f"{value:.{digits}f}" + (f" ± {error:.{digits}f}" if isinstance(error, float) else "")
