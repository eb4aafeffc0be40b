"""Of a steering run: from one row per clip, intervention and method to figures per method, and to paired comparisons.

A clip is edited under several interventions, so its rows are not independent: errors, intervals and tests go by clip.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lvcf.files import Json
from lvcf.metrics.recovered import ASKED, PARTS, pooled_share
from lvcf.metrics.statistics import FEWEST, Values, clustered, holm, sign_permutation
from lvcf.metrics.unavailable import unavailable
from lvcf.steering.methods import COLUMNS, METHODS

Row = Json
"""One clip under one intervention by one method, by column.  As in :mod:`lvcf.evaluation.rows`, which loads torch."""
COSTS = ("edits", "calls", "tokens", "seconds", "peak_memory_bytes")
TEXTS = ("id", "clip", "method", "do", "intervention", "status", "hint", "stopped")
"""Columns that are no figures."""
SHARES = ("joint", "effectiveness", "minimality", "right[")
"""Beginnings of the columns in 0-1 that may be all alike."""
OURS, BASELINES = "steered", ("initial", "given", "graph", "best_of_n")
"""What is compared with what."""
OF_OTHERS = ("_of_truth", "_of_factual", "_is_true")
"""Endings of figures that no method has a part in."""


def facts(result: Json) -> Row:
    """What a ``result.json`` says: the evaluating judge's answers and the cost."""
    row: Row = {name: result[name] for name in ("id", "clip", "method")}
    row["do"] = f"do({', '.join(result['intervention'])})"
    row["intervention"] = ", ".join(f"{name}={value}" for name, value in result["intervention"].items())
    row |= {"status": result["status"], "hint": result["hint"], "stopped": result.get("stopped", "")}
    row |= result.get("measured", {})
    answers = result.get("evaluation", [])
    if isinstance(answers, list):  # else the reason why there are none
        row |= {f"right[{answer['attribute']}]": float(answer["realised"]) for answer in answers}
    row |= result.get("cost", {})
    return row


def methods_of(rows: list[Row]) -> list[str]:
    """The methods that have rows, baselines first."""
    return [method for method in METHODS if any(row["method"] == method for row in rows)]


def figures_of(rows: list[Row]) -> list[str]:
    """The columns that are figures, in the order of their first appearance."""
    return [name for name in dict.fromkeys(name for row in rows for name in row) if name not in TEXTS]


def summarise(rows: list[Row]) -> dict[str, Any]:
    """Every figure of every method over all its rows, and what the judge says also for every intervention alone."""
    metrics: dict[str, Any] = {"n": len(rows), "failed": sum(row["status"] == "failed" for row in rows)}
    interventions = list(dict.fromkeys(row["do"] for row in rows))
    for method in methods_of(rows):
        chosen = [row for row in rows if row["method"] == method]
        failed = sum(row["status"] == "failed" for row in chosen)
        metrics |= {f"{method}/n": len(chosen), f"{method}/failed": failed}
        for name in (*COLUMNS, *COSTS, *figures_of(rows)):
            if f"{method}/{name}" not in metrics:
                metrics |= figure(f"{method}/{name}", name, chosen)
        for do in interventions if len(interventions) > 1 else ():
            under = [row for row in chosen if row["do"] == do]
            for name in (name for name in figures_of(rows) if name in COLUMNS or name.startswith("right[")):
                metrics |= figure(f"{method}/{name}[{do}]", name, under)
    return metrics


def figure(key: str, name: str, rows: list[Row]) -> dict[str, Any]:
    """The mean of a column under ``key`` with what :data:`lvcf.runs.folder.SUFFIXES` tells, or why there is none."""
    done = [row for row in rows if row["status"] != "failed"]
    known = [row for row in done if _is_known(row.get(name))]
    if not known:
        told = next((row[name] for row in done if isinstance(row.get(name), str)), None)
        return {key: told or unavailable("not known of any clip")}
    if name in PARTS and all(part in row for part in PARTS[name] for row in done):
        missed, asked = (np.array([row[part] for row in done], dtype=np.float64) for part in PARTS[name])
        return pooled_share(key, missed, asked, [row["clip"] for row in done])
    values = np.array([row[name] for row in known], dtype=np.float64)
    found = {key: float(values.mean())} | _spread(key, name, values, known)
    return found if len(known) == len(rows) else found | {f"{key}.n": len(known)}


def comparisons(rows: list[Row]) -> list[Row]:
    """:data:`OURS` against every baseline, on the clips and interventions that both finished.

    Returns:
        One row per measure and baseline: metric, other, n (pairs), clips, mean, mean_other, difference, ci_low,
        ci_high, p_permutation (the signs of clips' mean differences), p_holm (over the baselines of a measure).
    """
    tests: list[Row] = []
    for name in figures_of(rows):
        if name not in COSTS and not name.endswith(OF_OTHERS) and not name.startswith(ASKED):
            tests += _holm([test for other in BASELINES if (test := _test(rows, name, other))])
    return tests


def _test(rows: list[Row], name: str, other: str) -> Row | None:
    ours, theirs = (
        {(r["clip"], r["intervention"]): r for r in rows if r["method"] == method and _is_known(r.get(name))}
        for method in (OURS, other)
    )
    shared = [key for key in ours if key in theirs]
    if not shared:
        return None
    one, two = (np.array([of[key][name] for key in shared], dtype=np.float64) for of in (ours, theirs))
    clips = [clip for clip, _ in shared]
    test: Row = {"metric": name, "other": other, "n": len(shared), "clips": len(set(clips))}
    test |= {"mean": float(one.mean()), "mean_other": float(two.mean()), "difference": float((one - two).mean())}
    _, ends = clustered(one - two, clips)
    if ends:
        test |= {"ci_low": ends.low, "ci_high": ends.high}
    if len(set(clips)) >= FEWEST:
        test["p_permutation"] = sign_permutation(_by_clip(one - two, clips))
    return test


def _holm(tests: list[Row]) -> list[Row]:
    """The tests of one measure with their corrected p."""
    tested = [test for test in tests if "p_permutation" in test]
    for test, p in zip(tested, holm([test["p_permutation"] for test in tested]), strict=True):
        test["p_holm"] = p
    return tests


def _by_clip(values: Values, clips: list[str]) -> Values:
    """A clip's mean over its interventions."""
    _, place = np.unique(clips, return_inverse=True)
    means: Values = np.bincount(place, values) / np.bincount(place)
    return means


def _is_known(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _spread(key: str, name: str, values: Values, rows: list[Row]) -> dict[str, float]:
    error, ends = clustered(values, [row["clip"] for row in rows], share=name.startswith(SHARES))
    told = {} if error is None else {f"{key}.se": error}
    return told | ({} if ends is None else {f"{key}.ci_low": ends.low, f"{key}.ci_high": ends.high})
