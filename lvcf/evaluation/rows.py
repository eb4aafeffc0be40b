"""From one row per clip to ``metrics.json``: means, errors, intervals, figures of all clips together."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torchmetrics.functional import mean_absolute_error, mean_squared_error, r2_score

from lvcf.guidance.goal import MIN_CONFIDENCE
from lvcf.metrics.adherence import flipped, flipped_from_right
from lvcf.metrics.recovered import PARTS, pooled_share
from lvcf.metrics.statistics import Interval, Values, interval, mean_interval, share_interval, standard_error
from lvcf.metrics.unavailable import unavailable

Row = dict[str, Any]
TRANSITION = ("explanation/cout", "explanation/insertion", "explanation/deletion")
VALIDITY = ("adherence/valid_reencoded", "adherence/valid_perturbed")
"""Figures for which M is asked again."""
NOT_FIGURES = ("id", "status", "task", "prediction_", "class_", "said_", "target", "label")
"""Beginnings of the columns that are facts about a clip."""
PARTIAL = {
    "truth/share_": "no clip has anything to recover: each is all but the truth already",
    "truth/mask_precision": "every mask is empty",
    "composition/": "no clip was asked for what the model says already",
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
CORRECTION = "before_correction"
BEFORE = f"prediction_{CORRECTION}"
"""What M read before the last correction, of the clip not yet rounded to 8 bits; runs without one lack it."""
SHARES = (
    f"adherence/within_tolerance_{CORRECTION}",
    "truth/pixel_class",
    "truth/oracle_class",
    "explanation/oracle_agrees",
    "adherence/valid_",
)
"""Beginnings of the columns of zeros and ones."""


def summarise(rows: list[Row]) -> dict[str, Any]:
    """Means over the clips that did not fail, each with its error and interval; adherence over all of them together."""
    done = [row for row in rows if row["status"] != "failed"]
    metrics: dict[str, Any] = {"n": len(done), "failed": len(rows) - len(done)}
    if not done:
        return metrics
    metrics |= adherence(done)
    names = [k for k in dict.fromkeys(k for row in done for k in row) if not k.startswith(NOT_FIGURES)]
    for name in names:
        if name in PARTS and all(part in row for part in PARTS[name] for row in done):
            missed, asked = (_column_of(done, part) for part in PARTS[name])
            metrics |= pooled_share(name, missed, asked)
        else:
            metrics |= _column(name if "/" in name else f"cost/{name}", name, done)
    return metrics | _together(done)


def figure(key: str, values: Values, clips: int) -> dict[str, Any]:
    """The mean of ``(n,)`` under ``key``, with what :data:`lvcf.runs.folder.SUFFIXES` tells."""
    found = share_interval(values) if key.startswith(SHARES) else mean_interval(values)
    told = {key: float(values.mean())} | _spread(key, standard_error(values), found)
    return told if len(values) == clips else told | {f"{key}.n": len(values)}


def adherence(rows: list[Row]) -> dict[str, Any]:
    """R2, MAE, RMSE against the target's nearest edge and the share within tolerance; of a classifier the flip rate.

    A clip flips if M says the target's class and did not before; within tolerance, M is also sure of it.
    """
    reached = np.array([row["status"] == "reached" for row in rows], dtype=np.float64)
    within = {"adherence/within_tolerance": float(reached.mean())}
    within |= _spread("adherence/within_tolerance", None, share_interval(reached))
    if rows[0]["task"] == "classification":
        return within | _flips(rows) | _before_correction(rows)
    after, low, high = (_column_of(rows, name) for name in ("prediction_after", "target_low", "target_high"))
    target = np.clip(after, low, high)
    error = np.abs(after - target)
    measured = torch.from_numpy(after), torch.from_numpy(target)
    squares = mean_interval(error**2)
    roots = Interval(math.sqrt(squares.low), math.sqrt(squares.high)) if squares else None
    result = {
        "adherence/mae": float(mean_absolute_error(*measured)),
        **_spread("adherence/mae", standard_error(error), mean_interval(error)),
        **_before_correction(rows),
        "adherence/rmse": float(mean_squared_error(*measured, squared=False)),
        **_spread("adherence/rmse", None, roots),
        **within,
        "adherence/r2": "unavailable: needs two clips with different targets",
    }
    if len(rows) > 1 and np.ptp(target) > 0.0:
        result["adherence/r2"] = float(r2_score(*measured))
        result |= _spread("adherence/r2", None, interval(_r2, after, target))
    return result


def _before_correction(rows: list[Row]) -> dict[str, Any]:
    """Adherence before the last correction; see :data:`BEFORE`."""
    sure = rows[0]["task"] == "classification"
    names = ("within_tolerance", "confidence") if sure else ("mae",)
    keys = [f"adherence/{name}_{CORRECTION}" for name in names]
    if any(BEFORE not in row for row in rows):
        return dict.fromkeys(keys, unavailable("no last correction was made"))
    before = _column_of(rows, BEFORE)
    if sure:  # the target's probability
        columns = [(before >= MIN_CONFIDENCE).astype(np.float64), before]
    else:
        low, high = (_column_of(rows, name) for name in ("target_low", "target_high"))
        columns = [np.abs(before - np.clip(before, low, high))]
    return {k: v for key, values in zip(keys, columns, strict=True) for k, v in figure(key, values, len(rows)).items()}


def _flips(rows: list[Row]) -> dict[str, Any]:
    """Flip rates over all clips asked for another class, and over those of them that M had right; confidence."""
    asked = [(row["class_before"], row["class_after"], row["target"]) for row in rows]
    every = np.array([flipped(*said) for said in asked])
    confidence = np.array([row["prediction_after"] for row in rows], dtype=np.float64)
    result = _share("adherence/flip_rate", every, "M said every target before")
    if all(row.get("label") for row in rows):
        labelled = zip(asked, rows, strict=True)
        right = np.array([flipped_from_right(*said, str(row["label"])) for said, row in labelled])
        result |= _share(
            "adherence/flip_rate_from_right", right, "M had no clip right that was asked for another class"
        )
    else:
        result["adherence/flip_rate_from_right"] = "unavailable: the run does not know every clip's label"
    return result | figure("adherence/confidence", confidence, len(rows))


def _share(key: str, flips: Values, none: str) -> dict[str, Any]:
    known = flips[~np.isnan(flips)]
    if not len(known):
        return {key: f"unavailable: {none}"}
    told = {key: float(known.mean())} | _spread(key, standard_error(known), share_interval(known))
    return told if len(known) == len(flips) else told | {f"{key}.n": len(known)}


def _column(key: str, name: str, rows: Sequence[Row]) -> dict[str, Any]:
    """One column's figure, or why there is none."""
    task = rows[0]["task"]
    if any(name not in row for row in rows):
        classes = " (is the target one of the phantom's classes?)" if task == "classification" else ""
        return {key: unavailable(f"not known of every clip{classes}")}
    values = np.array([row[name] for row in rows], dtype=np.float64)
    for start, reason in PARTIAL.items():
        if name.startswith(start):
            values = values[~np.isnan(values)]
            if not len(values):
                return {key: unavailable("; ".join(filter(None, (reason, ADVICE.get((start, task))))))}
    if not np.isfinite(values).all():
        return {key: "unavailable: not finite on every clip (a PSNR of equal clips is infinite)"}
    return figure(key, values, len(rows))


def _together(rows: list[Row]) -> dict[str, Any]:
    """Figures that are no means: how well two readings of the same clips go together."""
    found: dict[str, Any] = {}
    if "truth/pixel_ef" in rows[0]:
        ours, true = (np.array([row[f"truth/pixel_ef{end}"] for row in rows]) for end in ("", "_of_truth"))
        found |= _agreement("truth/pixel_ef_r", _pearson, ours, true)
    if all("truth/oracle_ef" in row for row in rows):
        model, oracle = (_column_of(rows, name) for name in ("prediction_after", "truth/oracle_ef"))
        found |= _agreement("explanation/oracle_concordance", _concordance, model, oracle)
    return found


def _agreement(key: str, statistic: Callable[..., Any], one: Values, other: Values) -> dict[str, Any]:
    """A correlation of two readings ``(n,)`` with its interval, or why there is none."""
    if len(one) < 2:
        return {key: "unavailable: one clip"}
    if min(np.ptp(one), np.ptp(other)) == 0.0:
        return {key: "unavailable: a reading is the same on every clip"}
    return {key: float(statistic(one, other, axis=-1))} | _spread(key, None, interval(statistic, one, other))


def _spread(key: str, error: float | None, found: Interval | None) -> dict[str, float]:
    told = {} if error is None else {f"{key}.se": error}
    return told if found is None else told | {f"{key}.ci_low": found.low, f"{key}.ci_high": found.high}


def _column_of(rows: list[Row], name: str) -> Values:
    return np.array([row[name] for row in rows], dtype=np.float64)


def _r2(after: Values, target: Values, axis: int) -> Any:
    missed = ((after - target) ** 2).sum(axis)
    return 1.0 - missed / ((target - target.mean(axis, keepdims=True)) ** 2).sum(axis)


def _pearson(one: Values, other: Values, axis: int) -> Any:
    a, b = (values - values.mean(axis, keepdims=True) for values in (one, other))
    return (a * b).sum(axis) / np.sqrt((a**2).sum(axis) * (b**2).sum(axis))


def _concordance(one: Values, other: Values, axis: int) -> Any:
    """Lin (1989): 1 only for equal readings, not for any line; n - 1 in every moment, as torchmetrics."""
    scale = (one.shape[axis] - 1) / one.shape[axis]
    covariance = ((one - one.mean(axis, keepdims=True)) * (other - other.mean(axis, keepdims=True))).mean(axis) / scale
    apart = (one.mean(axis) - other.mean(axis)) ** 2
    return 2.0 * covariance / (one.var(axis, ddof=1) + other.var(axis, ddof=1) + apart)
