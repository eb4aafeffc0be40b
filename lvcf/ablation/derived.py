"""Rows made from several noises of one method: their mean, and the best of them (R23 and R23* of the papers' tables).

EchoDiffusion (Reynaud et al. 2023) conditions on the ejection fraction and asks no target model: that is the prompt
``target`` without guidance.  The mean is over noises clip by clip; the best noise is chosen once per clip.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lvcf.ablation.columns import COLUMNS, JUDGES, ClipRow
from lvcf.metrics.recovered import PARTS, pooled_share
from lvcf.metrics.statistics import Interval, Values, interval, mean_interval, standard_error

Table = list[ClipRow]
COSTS = ("steps", "gradient_evaluations", "queries", "seconds")
"""Columns of which the best of several has the sum: all of them had to be made."""
ADHERENCE_OF_VALUES = ("within", "MAE", "MAE before correction")
ADHERENCE_OF_CLASSES = (
    "within",
    "flip rate",
    "flip, was right",
    "confidence",
    "within before correction",
    "confidence before correction",
)


def shared_clips(tables: list[Table]) -> list[list[ClipRow]]:
    """The clips that every table finished, each as its rows in the tables' order."""
    finished = [{row["id"]: row for row in table if row["status"] != "failed"} for table in tables]
    return [[rows[name] for rows in finished] for name in finished[0] if all(name in rows for rows in finished)]


def best_of(tables: list[Table]) -> Table:
    """For every clip the row that adheres best; all of a clip's figures come from that one row.

    Of a regressor the row with the least distance to the target, of a classifier the one with the highest probability
    of the target's class; the first of equal ones.
    """
    chosen = []
    for rows in shared_clips(tables):
        best = min(rows, key=_distance)
        chosen.append(best | {name: sum(row[name] for row in rows) for name in COSTS if name in best})
    return chosen


def _distance(row: ClipRow) -> float:
    return JUDGES["MAE"].value(row) if row["task"] == "regression" else -JUDGES["confidence"].value(row)


def best_metrics(table: Table) -> dict[str, Any]:
    """The flat metrics of chosen rows, as ``lvcf evaluate`` computes them."""
    from lvcf.evaluation.rows import summarise  # torch takes seconds to load

    return summarise(table)


def mean_metrics(tables: list[Table]) -> dict[str, Any]:
    """Flat metrics of several noises' means: each clip's figure is the mean over its noises, then all is as of one run.

    Errors are averaged, not readings; RMSE is of the mean squared error, so that R2 = 1 - RMSE^2 / var(target) holds.
    Figures of all clips together (correlations, FID) are not made.
    """
    clips = shared_clips(tables)
    metrics: dict[str, Any] = {"n": len(clips)}
    if not clips:
        return metrics
    from lvcf.evaluation.rows import NOT_FIGURES  # torch takes seconds to load

    columns = dict.fromkeys(name for rows in clips for row in rows for name in row)
    names = [name for name in columns if not name.startswith(NOT_FIGURES)]
    for name in names:
        if name in PARTS and all(part in columns for part in PARTS[name]):
            missed, asked = (_column(clips, part) for part in PARTS[name])
            metrics |= pooled_share(name, missed, asked)
        else:
            metrics |= _figure(name if "/" in name else f"cost/{name}", _column(clips, name))
    sure = clips[0][0]["task"] == "classification"
    for heading in ADHERENCE_OF_CLASSES if sure else ADHERENCE_OF_VALUES:
        metrics |= _figure(COLUMNS[heading], _averaged(clips, heading))
    return metrics if sure else metrics | _of_squares(clips)


def _column(clips: list[list[ClipRow]], name: str) -> Values:
    """A column's mean over the noises, by clip."""
    return np.array([_mean([float(row.get(name, math.nan)) for row in rows]) for rows in clips])


def _averaged(clips: list[list[ClipRow]], heading: str) -> Values:
    return np.array([_mean([JUDGES[heading].value(row) for row in rows]) for rows in clips], dtype=np.float64)


def _mean(values: list[float]) -> float:
    """NaN where a noise has no value: the others are of another kind of clip then."""
    return math.nan if any(math.isnan(value) for value in values) else sum(values) / len(values)


def _of_squares(clips: list[list[ClipRow]]) -> dict[str, Any]:
    """RMSE and R2 with their intervals, from every clip's mean squared error and its target."""
    squares = _averaged(clips, "RMSE")
    mean = _figure("squares", squares)
    roots = {key.replace("squares", "adherence/rmse"): math.sqrt(mean[key]) for key in mean if key != "squares.se"}
    targets = np.array([np.mean([_nearest_edge(row) for row in rows]) for rows in clips], dtype=np.float64)
    if len(clips) < 2 or np.ptp(targets) == 0.0:
        return roots | {"adherence/r2": "unavailable: needs two clips with different targets"}
    found = interval(_r2, squares, targets)
    return roots | {"adherence/r2": float(_r2(squares, targets, axis=-1))} | _ends("adherence/r2", found)


def _nearest_edge(row: ClipRow) -> float:
    return float(np.clip(row["prediction_after"], row["target_low"], row["target_high"]))


def _r2(squares: Values, targets: Values, axis: int) -> Any:
    return 1.0 - squares.mean(axis) / targets.var(axis)


def _figure(key: str, values: Values) -> dict[str, Any]:
    """Mean, standard error and interval over the clips that have a value."""
    known = values[~np.isnan(values)]
    if not len(known) or not np.isfinite(known).all():
        return {key: "unavailable: not known of any clip, or infinite"}
    error = standard_error(known)
    told = {key: float(known.mean())} | ({} if error is None else {f"{key}.se": error})
    return told | _ends(key, mean_interval(known)) | ({} if len(known) == len(values) else {f"{key}.n": len(known)})


def _ends(key: str, found: Interval | None) -> dict[str, float]:
    return {} if found is None else {f"{key}.ci_low": found.low, f"{key}.ci_high": found.high}
