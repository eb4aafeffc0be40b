"""Rows made from several noises of one method: their mean, and the best of them (R23 and R23* of the papers' tables).

EchoDiffusion (Reynaud et al. 2023) conditions on the ejection fraction and asks no target model: that is the prompt
``target`` without guidance.  The mean is over noises clip by clip; the best noise is chosen once per clip.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from lvcf.measure.names import CONFIDENCE, ERROR, ERROR_BEFORE, OF_A_CLIP, SQUARED_ERROR, TARGET
from lvcf.measure.summary import MAE, MAE_BEFORE, OF_CLASSES, of_squares
from lvcf.measure.table import Line, adherence, by_key, tidy
from lvcf.metrics.recovered import PARTS, pooled_share
from lvcf.metrics.statistics import Values, mean_interval, spread, standard_error
from lvcf.metrics.unavailable import unavailable

COSTS = ("steps", "gradient_evaluations", "queries", "seconds")
"""Columns of which the best of several has the sum: all of them had to be made."""


def shared_clips(noises: list[list[Line]]) -> list[list[Line]]:
    """The clips that every noise finished, each as its lines in the noises' order."""
    finished = [{line["id"]: line for line in lines if line["status"] != "failed"} for lines in noises]
    return [[lines[name] for lines in finished] for name in finished[0] if all(name in lines for lines in finished)]


def best_of(noises: list[list[Line]]) -> list[Line]:
    """For every clip the line that adheres best; all of a clip's figures come from that one line.

    Of a regressor the line with the least distance to the target, of a classifier the one with the highest probability
    of the target's class; the first of equal ones.
    """
    chosen = []
    for lines in shared_clips(noises):
        best = min(lines, key=_distance)
        chosen.append(best | {name: sum(line[name] for line in lines) for name in COSTS if name in best})
    return chosen


def _distance(line: Line) -> float:
    known = adherence(line)
    return known[ERROR] if ERROR in known else -known[CONFIDENCE]


def mean_of(noises: list[list[Line]], method: str = "") -> pd.DataFrame:
    """The tidy table of clips' means over their noises; NaN where a noise has no value: it is of another kind then."""
    shared = shared_clips(noises)
    table = pd.concat([tidy([lines[i] for lines in shared], method) for i in range(len(noises))])
    values = table.groupby(["clip", "target", "method", "key"], sort=False)["value"]
    means: pd.Series = values.agg(lambda found: sum(found) / len(noises) if len(found) == len(noises) else math.nan)
    return means.reset_index()


def summarise_means(table: pd.DataFrame) -> dict[str, Any]:
    """Flat metrics of :func:`mean_of`: each clip's figure is the mean over its noises, then all is as of one run.

    Errors are averaged, not readings; RMSE is of the mean squared error, so that R2 = 1 - RMSE^2 / var(target) holds.
    Figures of all clips together (correlations, FID) are not made.
    """
    columns, clips = by_key(table), table["clip"].nunique()
    metrics: dict[str, Any] = {"n": clips}
    if not clips:
        return metrics
    for key, values in columns.items():
        if key in PARTS and all(part in columns for part in PARTS[key]):
            missed, asked = (columns[part] for part in PARTS[key])
            metrics |= pooled_share(key, missed, asked)
        elif key not in OF_A_CLIP:
            metrics |= _figure(key, values)
    if ERROR not in columns:
        return {key: unavailable("not known of any clip, or infinite") for key in OF_CLASSES} | metrics
    metrics |= _figure(MAE, columns[ERROR]) | _figure(MAE_BEFORE, columns.get(ERROR_BEFORE, np.empty(0)))
    return metrics | of_squares(columns[SQUARED_ERROR], columns[TARGET])


def _figure(key: str, values: Values) -> dict[str, Any]:
    """Mean, standard error and interval over the clips that have a value."""
    known = values[~np.isnan(values)]
    if not len(known) or not np.isfinite(known).all():
        return {key: unavailable("not known of any clip, or infinite")}
    told = {key: float(known.mean())} | spread(key, standard_error(known), mean_interval(known))
    return told if len(known) == len(values) else told | {f"{key}.n": len(known)}
