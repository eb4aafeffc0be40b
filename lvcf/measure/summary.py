"""From one line per clip to ``metrics.json``: means, errors, intervals, figures of all clips together."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torchmetrics.functional import mean_absolute_error, mean_squared_error, r2_score

from lvcf.measure.names import (
    CONFIDENCE,
    CONFIDENCE_BEFORE,
    CORRECTION,
    ERROR,
    ERROR_BEFORE,
    FLIPPED,
    FLIPPED_FROM_RIGHT,
    OF_A_CLIP,
    READING,
    SQUARED_ERROR,
    TARGET,
    WITHIN,
    WITHIN_BEFORE,
)
from lvcf.measure.table import Line, by_key, tidy
from lvcf.metrics.recovered import PARTS, pooled_share
from lvcf.metrics.statistics import (
    Interval,
    Values,
    interval,
    mean_interval,
    pearson,
    share_interval,
    spread,
    standard_error,
)
from lvcf.metrics.unavailable import unavailable

Columns = dict[str, Values]
"""Clips' values by key."""
TRANSITION = ("explanation/cout", "explanation/insertion", "explanation/deletion")
VALIDITY = ("adherence/valid_reencoded", "adherence/valid_perturbed")
"""Figures for which M is asked again."""
MAE, MAE_BEFORE, RMSE, R2 = "adherence/mae", f"adherence/mae_{CORRECTION}", "adherence/rmse", "adherence/r2"
OF_CLASSES = (FLIPPED, FLIPPED_FROM_RIGHT, CONFIDENCE, WITHIN_BEFORE, CONFIDENCE_BEFORE)
TOLD_FIRST = (WITHIN, *OF_CLASSES, *OF_A_CLIP)
PARTIAL = {
    "truth/share_": "no clip has anything to recover: each is all but the truth already",
    "truth/mask_precision": "every mask is empty",
    "plausible/": "nothing changes truly, and nothing was changed",
    "composition/": "no clip was asked for what the model says already",
    FLIPPED_FROM_RIGHT: "M had no clip right that was asked for another class",
    FLIPPED: "M said every target before",
    "adherence/valid_": "no clip reached its target",
    "explanation/": "not defined on any clip",
    "region/": "not defined on any clip",
    "minimality/": "no clip has others beside it that M reads as it did, and others that M reads as the target",
}
"""Beginnings of the figures that some clips do not have (NaN), and the reason where none has."""
ADVICE = {
    ("composition/", "regression"): "--model.target=delta:0 asks so",
    ("composition/", "classification"): "--model.target=CLASS asks so of the clips it calls CLASS",
}
"""What would make them known, by the task of the explained model."""
LACKING = {
    FLIPPED_FROM_RIGHT: "the run does not know every clip's label",
    **dict.fromkeys((WITHIN_BEFORE, CONFIDENCE_BEFORE, MAE_BEFORE), "no last correction was made"),
}
"""Why some clips lack a figure, where that is known."""
SHARES = (
    FLIPPED,
    WITHIN_BEFORE,
    "truth/pixel_class",
    "truth/oracle_class",
    "explanation/oracle_agrees",
    "plausible/on_manifold",
    "plausible/strict_class",
    "adherence/valid_",
)
"""Beginnings of the keys of zeros and ones."""


def summarise(lines: list[Line]) -> dict[str, Any]:
    """Means over the clips that did not fail, each with its error and interval; adherence over all of them together."""
    done = [line for line in lines if line["status"] != "failed"]
    metrics: dict[str, Any] = {"n": len(done), "failed": len(lines) - len(done)}
    if not done:
        return metrics
    columns, clips, task = by_key(tidy(done)), len(done), str(done[0]["task"])
    metrics |= adherence(columns, clips, task)
    for key, values in columns.items():
        if key in PARTS and all(len(columns.get(part, ())) == clips for part in PARTS[key]):
            missed, asked = (columns[part] for part in PARTS[key])
            metrics |= pooled_share(key, missed, asked)
        elif key not in TOLD_FIRST:
            metrics |= _column(key, values, clips, task)
    return metrics | _together(columns, clips)


def figure(key: str, values: Values, clips: int) -> dict[str, Any]:
    """The mean of ``(n,)`` under ``key``, with what :data:`lvcf.runs.folder.SUFFIXES` tells."""
    found = share_interval(values) if key.startswith(SHARES) else mean_interval(values)
    told = {key: float(values.mean())} | spread(key, standard_error(values), found)
    return told if len(values) == clips else told | {f"{key}.n": len(values)}


def adherence(columns: Columns, clips: int, task: str) -> dict[str, Any]:
    """R2, MAE, RMSE against the target's nearest edge and the share within tolerance; of a classifier the flip rate.

    A clip flips if M says the target's class and did not before; within tolerance, M is also sure of it.
    """
    within = {WITHIN: float(columns[WITHIN].mean())} | spread(WITHIN, None, share_interval(columns[WITHIN]))
    nothing = np.empty(0)
    if task == "classification":
        told = [_column(key, columns.get(key, nothing), clips, task) for key in OF_CLASSES]
        return within | {key: value for part in told for key, value in part.items()}
    measured = torch.from_numpy(columns[READING]), torch.from_numpy(columns[TARGET])
    squares = of_squares(columns[SQUARED_ERROR], columns[TARGET])
    if isinstance(squares[R2], float):
        squares[R2] = float(r2_score(*measured))
    return {
        **figure(MAE, columns[ERROR], clips),
        MAE: float(mean_absolute_error(*measured)),
        **_column(MAE_BEFORE, columns.get(ERROR_BEFORE, nothing), clips, task),
        **{key: value for key, value in squares.items() if key.startswith(RMSE)},
        RMSE: float(mean_squared_error(*measured, squared=False)),
        **within,
        **{key: value for key, value in squares.items() if key.startswith(R2)},
    }


def of_squares(squares: Values, target: Values) -> dict[str, Any]:
    """RMSE and R2 with their intervals, from clips' squared errors ``(n,)`` and their targets ``(n,)``."""
    ends = mean_interval(squares)
    roots = Interval(math.sqrt(ends.low), math.sqrt(ends.high)) if ends else None
    told: dict[str, Any] = {RMSE: math.sqrt(squares.mean())} | spread(RMSE, None, roots)
    if len(squares) < 2 or np.ptp(target) == 0.0:
        return told | {R2: unavailable("needs two clips with different targets")}
    return told | {R2: float(_r2(squares, target, axis=-1))} | spread(R2, None, interval(_r2, squares, target))


def _column(key: str, values: Values, clips: int, task: str) -> dict[str, Any]:
    """One key's figure, or why there is none."""
    if len(values) < clips:
        classes = " (is the target one of the phantom's classes?)" if task == "classification" else ""
        return {key: unavailable(LACKING.get(key, f"not known of every clip{classes}"))}
    for start, reason in PARTIAL.items():
        if key.startswith(start):
            values = values[~np.isnan(values)]
            if not len(values):
                return {key: unavailable("; ".join(filter(None, (reason, ADVICE.get((start, task))))))}
    if not np.isfinite(values).all():
        return {key: unavailable("not finite on every clip (a PSNR of equal clips is infinite)")}
    return figure(key, values, clips)


def _together(columns: Columns, clips: int) -> dict[str, Any]:
    """Figures that are no means: how well two readings of the same clips go together."""
    found: dict[str, Any] = {}
    for key, statistic, one, other in (
        ("truth/pixel_ef_r", pearson, "truth/pixel_ef", "truth/pixel_ef_of_truth"),
        ("explanation/oracle_concordance", _concordance, READING, "truth/oracle_ef"),
    ):
        if all(len(columns.get(name, ())) == clips for name in (one, other)):
            found |= _agreement(key, statistic, columns[one], columns[other])
    return found


def _agreement(key: str, statistic: Callable[..., Any], one: Values, other: Values) -> dict[str, Any]:
    """A correlation of two readings ``(n,)`` with its interval, or why there is none."""
    if len(one) < 2:
        return {key: unavailable("one clip")}
    if min(np.ptp(one), np.ptp(other)) == 0.0:
        return {key: unavailable("a reading is the same on every clip")}
    return {key: float(statistic(one, other, axis=-1))} | spread(key, None, interval(statistic, one, other))


def _r2(squares: Values, target: Values, axis: int) -> Any:
    return 1.0 - squares.sum(axis) / ((target - target.mean(axis, keepdims=True)) ** 2).sum(axis)


def _concordance(one: Values, other: Values, axis: int) -> Any:
    """Lin (1989): 1 only for equal readings, not for any line; n - 1 in every moment, as torchmetrics."""
    scale = (one.shape[axis] - 1) / one.shape[axis]
    covariance = ((one - one.mean(axis, keepdims=True)) * (other - other.mean(axis, keepdims=True))).mean(axis) / scale
    apart = (one.mean(axis) - other.mean(axis)) ** 2
    return 2.0 * covariance / (one.var(axis, ddof=1) + other.var(axis, ddof=1) + apart)
