"""Of a steering run: from one line per clip, intervention and method to figures per method, and to paired comparisons.

A clip is edited under several interventions, so its lines are not independent: errors, intervals and tests go by clip.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lvcf.files import Json, read_lines
from lvcf.measure.table import COLUMNS as TIDY
from lvcf.measure.table import Line, of_key, paired
from lvcf.metrics.recovered import ASKED, PARTS, pooled_share
from lvcf.metrics.statistics import FEWEST, Values, clustered, holm, sign_permutation, spread
from lvcf.metrics.unavailable import unavailable
from lvcf.report.metrics import as_number
from lvcf.runs.folder import read_predictions
from lvcf.steering.methods import COLUMNS, METHODS

COSTS = ("edits", "calls", "tokens", "seconds", "peak_memory_bytes")
TEXTS = ("id", "clip", "method", "do", "intervention", "status", "hint", "stopped")
"""Columns that are no figures."""
SHARES = ("joint", "effectiveness", "minimality", "right[")
"""Beginnings of the columns in 0-1 that may be all alike."""
OURS, BASELINES = "steered", ("initial", "given", "graph", "best_of_n")
"""What is compared with what."""
OF_OTHERS = ("_of_truth", "_of_factual", "_is_true")
"""Endings of figures that no method has a part in."""


def facts(result: Json) -> Line:
    """What a ``result.json`` says: the evaluating judge's answers and the cost."""
    line: Line = {name: result[name] for name in ("id", "clip", "method")}
    line["do"] = f"do({', '.join(result['intervention'])})"
    line["intervention"] = ", ".join(f"{name}={value}" for name, value in result["intervention"].items())
    line |= {"status": result["status"], "hint": result["hint"], "stopped": result.get("stopped", "")}
    line |= result.get("measured", {})
    answers = result.get("evaluation", [])
    if isinstance(answers, list):  # else the reason why there are none
        line |= {f"right[{answer['attribute']}]": float(answer["realised"]) for answer in answers}
    line |= result.get("cost", {})
    return line


def lines_of(run: Path) -> list[Line]:
    """What the results of a run say, with the numbers of ``predictions.csv`` if it was evaluated."""
    written = {row["id"]: row for row in read_lines(run / "predictions.csv")}
    results = [prediction.result for prediction in read_predictions(run)]
    return [facts(result) | _numbers(written.get(result["id"], {})) for result in results]


def _numbers(row: dict[str, str]) -> dict[str, float]:
    cells = {name: as_number(cell) for name, cell in row.items() if name not in TEXTS}
    return {name: number for name, number in cells.items() if number is not None}


def known_of(line: Line) -> dict[str, float]:
    """The figures of a line that are numbers, not the reason why there is none."""
    return {name: line[name] for name in figures_of([line]) if _is_known(line[name])}


def methods_of(lines: list[Line]) -> list[str]:
    """The methods that have results, baselines first."""
    return [method for method in METHODS if any(line["method"] == method for line in lines)]


def figures_of(lines: list[Line]) -> list[str]:
    """The columns that are figures, in the order of their first appearance."""
    return [name for name in dict.fromkeys(name for line in lines for name in line) if name not in TEXTS]


def summarise(lines: list[Line]) -> dict[str, Any]:
    """Every figure of every method over all its results, and what the judge says also for every intervention alone."""
    metrics: dict[str, Any] = {"n": len(lines), "failed": sum(line["status"] == "failed" for line in lines)}
    interventions = list(dict.fromkeys(line["do"] for line in lines))
    for method in methods_of(lines):
        chosen = [line for line in lines if line["method"] == method]
        failed = sum(line["status"] == "failed" for line in chosen)
        metrics |= {f"{method}/n": len(chosen), f"{method}/failed": failed}
        for name in (*COLUMNS, *COSTS, *figures_of(lines)):
            if f"{method}/{name}" not in metrics:
                metrics |= figure(f"{method}/{name}", name, chosen)
        for do in interventions if len(interventions) > 1 else ():
            under = [line for line in chosen if line["do"] == do]
            for name in (name for name in figures_of(lines) if name in COLUMNS or name.startswith("right[")):
                metrics |= figure(f"{method}/{name}[{do}]", name, under)
    return metrics


def figure(key: str, name: str, lines: list[Line]) -> dict[str, Any]:
    """The mean of a column under ``key`` with what :data:`lvcf.runs.folder.SUFFIXES` tells, or why there is none."""
    done = [line for line in lines if line["status"] != "failed"]
    known = [line for line in done if _is_known(line.get(name))]
    if not known:
        told = next((line[name] for line in done if isinstance(line.get(name), str)), None)
        return {key: told or unavailable("not known of any clip")}
    if name in PARTS and all(part in line for part in PARTS[name] for line in done):
        missed, asked = (np.array([line[part] for line in done], dtype=np.float64) for part in PARTS[name])
        return pooled_share(key, missed, asked, [line["clip"] for line in done])
    values = np.array([line[name] for line in known], dtype=np.float64)
    error, ends = clustered(values, [line["clip"] for line in known], share=name.startswith(SHARES))
    found = {key: float(values.mean())} | spread(key, error, ends)
    return found if len(known) == len(lines) else found | {f"{key}.n": len(known)}


def tidy(lines: list[Line]) -> pd.DataFrame:
    """The tidy table of what is known: ``target`` is the intervention."""
    rows = [
        (line["clip"], line["intervention"], line["method"], key, value)
        for line in lines
        if line["status"] != "failed"
        for key, value in known_of(line).items()
    ]
    return pd.DataFrame(rows, columns=list(TIDY)).astype({"value": np.float64})


def comparisons(lines: list[Line]) -> list[Line]:
    """:data:`OURS` against every baseline, on the clips and interventions that both finished.

    Returns:
        One line per measure and baseline: metric, other, n (pairs), clips, mean, mean_other, difference, ci_low,
        ci_high, p_permutation (the signs of clips' mean differences), p_holm (over the baselines of a measure).
    """
    tests: list[Line] = []
    by_method = dict(list(tidy(lines).groupby("method")))
    for name in figures_of(lines) if OURS in by_method else ():
        if name not in COSTS and not name.endswith(OF_OTHERS) and not name.startswith(ASKED):
            values = {method: of_key(table, name) for method, table in by_method.items()}
            made = [_test(name, other, values[OURS], values[other]) for other in BASELINES if other in values]
            tests += _holm([test for test in made if test])
    return tests


def _test(name: str, other: str, ours: pd.Series, theirs: pd.Series) -> Line | None:
    shared, one, two = paired(ours, theirs)
    if not len(shared):
        return None
    clips = [str(clip) for clip, _ in shared]
    test: Line = {"metric": name, "other": other, "n": len(shared), "clips": len(set(clips))}
    test |= {"mean": float(one.mean()), "mean_other": float(two.mean()), "difference": float((one - two).mean())}
    _, ends = clustered(one - two, clips)
    if ends:
        test |= {"ci_low": ends.low, "ci_high": ends.high}
    if len(set(clips)) >= FEWEST:
        test["p_permutation"] = sign_permutation(_by_clip(one - two, clips))
    return test


def _holm(tests: list[Line]) -> list[Line]:
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
