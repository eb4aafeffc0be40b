"""The tidy table ``clip, target, method, key, value``, from the lines of ``predictions.csv``; all figures come from it.

A key is that of ``metrics.json``; of adherence it is what one clip has of it (:func:`adherence`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from lvcf.measure.names import (
    CONFIDENCE,
    CONFIDENCE_BEFORE,
    CORRECTION,
    ERROR,
    ERROR_BEFORE,
    FLIPPED,
    FLIPPED_FROM_RIGHT,
    READING,
    SQUARED_ERROR,
    SSIM_OFF,
    TARGET,
    WITHIN,
    WITHIN_BEFORE,
)
from lvcf.metrics.statistics import Values
from lvcf.runs.folder import off_target

Line = dict[str, Any]
"""A line of ``predictions.csv``: facts about a clip and, with a slash in their names, its figures."""
COLUMNS = ("clip", "target", "method", "key", "value")
NOT_FIGURES = ("id", "status", "task", "prediction_", "class_", "said_", "target", "label")
"""Beginnings of the columns of ``predictions.csv`` that are facts about a clip; what else has no slash is a cost."""
SURE = 0.5
"""Least probability of a class that is reached; :data:`lvcf.guidance.goal.MIN_CONFIDENCE`, which loads torch."""
BEFORE = f"prediction_{CORRECTION}"
"""What M read before the last correction, of the clip not yet rounded to 8 bits; runs without one lack it."""


def tidy(lines: Sequence[Line], method: str = "") -> pd.DataFrame:
    """Every figure of every clip that did not fail, clip by clip; NaN where a clip has none by its definition."""
    rows = [
        (line["id"], line["target"], method, key, value)
        for line in lines
        if line["status"] != "failed"
        for key, value in figures(line).items()
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"value": np.float64})


def figures(line: Line) -> dict[str, float]:
    """All that is known of one clip: what was measured, what it cost, adherence."""
    found = {k if "/" in k else f"cost/{k}": float(v) for k, v in line.items() if not k.startswith(NOT_FIGURES)}
    if {"fidelity/ssim", "truth/ssim_of_truth"} <= found.keys():
        found[SSIM_OFF] = abs(found["fidelity/ssim"] - found["truth/ssim_of_truth"])
    return found | adherence(line)


def adherence(line: Line) -> dict[str, float]:
    """Of a regressor its reading, the target's edge nearest to it and the error; of a classifier flips and confidence.

    ``_before_correction`` is the same before the last correction, of runs that make one.
    """
    after, before = float(line["prediction_after"]), line.get(BEFORE)
    found = {WITHIN: float(line["status"] == "reached")}
    if line["task"] == "classification":
        said = line["class_before"], line["class_after"], line["target"]
        found |= {FLIPPED: flipped(*said), CONFIDENCE: after}
        if line.get("label"):
            found[FLIPPED_FROM_RIGHT] = flipped_from_right(*said, str(line["label"]))
        return found | ({} if before is None else {WITHIN_BEFORE: float(before >= SURE), CONFIDENCE_BEFORE: before})
    low, high = line["target_low"], line["target_high"]
    error = off_target(after, low, high)
    found |= {READING: after, TARGET: min(max(after, low), high), ERROR: error, SQUARED_ERROR: error * error}
    return found | ({} if before is None else {ERROR_BEFORE: off_target(before, low, high)})


def flipped(before: str, after: str, target: str) -> float:
    """1 if M says the target's class and did not before, 0 if it still does not; NaN if it said so from the start."""
    return math.nan if before == target else float(after == target)


def flipped_from_right(before: str, after: str, target: str, label: str) -> float:
    """:func:`flipped` of a clip whose class M had right before; NaN of the others."""
    return flipped(before, after, target) if before == label else math.nan


def by_key(table: pd.DataFrame) -> dict[str, Values]:
    """The values of every key ``(n,)``, in the order of the clips; fewer where it is not known of every clip."""
    return {str(key): values.to_numpy(copy=True) for key, values in table.groupby("key", sort=False)["value"]}


def of_key(table: pd.DataFrame, key: str) -> pd.Series:
    """One method's finite values of one key, by clip and target."""
    chosen = table[(table["key"] == key) & np.isfinite(table["value"])]
    values: pd.Series = chosen.set_index(["clip", "target"])["value"]
    return values


def paired(ours: pd.Series, theirs: pd.Series) -> tuple[pd.Index, Values, Values]:
    """Two methods' values of one key on the clips and targets that both have, in the order of the first."""
    shared = ours.index[ours.index.isin(theirs.index)]
    return shared, ours[shared].to_numpy(), theirs[shared].to_numpy()
