"""``lvcf evaluate`` on a steering run: methods side by side, and the steered one against its baselines."""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

from lvcf.data.clip import SIMULATED
from lvcf.errors import UserError
from lvcf.files import write_json, write_rows
from lvcf.measure.parallel import measure_each
from lvcf.measure.table import Line
from lvcf.metrics.unavailable import unavailable
from lvcf.runs.folder import Prediction, read_manifest, read_predictions, unfinished
from lvcf.steering.agreement import write_confusion
from lvcf.steering.figures import (
    COSTS,
    comparisons,
    facts,
    figures_of,
    methods_of,
    summarise,
)
from lvcf.steering.measures import SteeringMeasures
from lvcf.steering.methods import COLUMNS

SETS = ("realism/fid", "realism/kid", "realism/fvd")


def evaluate_steering(run: Path, options: argparse.Namespace) -> tuple[dict[str, Any], list[Line]]:
    """Measure the videos, write all tables; returns ``metrics.json``'s content and the rows.

    Raises:
        UserError: nothing is finished yet, or what was asked for does not load.
    """
    manifest, predictions = read_manifest(run), read_predictions(run)
    if not predictions:
        raise UserError(f"{run}: no finished clip; run lvcf steer first")
    measures = SteeringMeasures(manifest, options)
    finished = [prediction for prediction in predictions if not prediction.failed]
    figures = _measured(measures, finished)
    rows = [facts(prediction.result) | figures.get(prediction.id, {}) for prediction in predictions]
    write_confusion(run, [prediction.result for prediction in finished])
    more = _sets(finished, options.features)
    known = figures_of(rows)
    more |= {name: reason for name, reason in measures.missing().items() if name not in known}
    return tabulate(run, rows, more), rows


def _measured(measures: SteeringMeasures, predictions: list[Prediction]) -> dict[str, Line]:
    """What the videos show, by the prediction's id; methods that ended with the same video share it."""
    contents = {prediction.id: _content(prediction) for prediction in predictions}
    different = {contents[prediction.id]: prediction for prediction in predictions}
    figures = dict(zip(different, measure_each(measures, list(different.values())), strict=True))
    return {name: figures[content] for name, content in contents.items()}


def _content(prediction: Prediction) -> tuple[str, str, str]:
    """Clip, intervention and the video's hash: equal frames are written as equal bytes."""
    video = (prediction.folder / "counterfactual.mkv").read_bytes()
    asked = json.dumps(prediction.result["intervention"], sort_keys=True)
    return prediction.result["clip"], asked, hashlib.sha256(video).hexdigest()


def tabulate(run: Path, rows: list[Line], more: dict[str, Any]) -> dict[str, Any]:
    """Write ``predictions.csv``, ``table.csv``, ``comparisons.csv`` and ``metrics.json``; returns the last.

    Args:
        run: the run's folder.
        rows: one per clip, intervention and method.
        more: further figures, and why some are missing.
    """
    manifest, tests = read_manifest(run), comparisons(rows)
    told = unfinished(manifest, len(rows), "steer")
    metrics = summarise(rows) | ({"unfinished": told} if told else {})
    for test in tests:
        key = f"steered-{test['other']}/{test['metric']}"
        metrics[key] = test["difference"]
        metrics |= {f"{key}.{end}": test[end] for end in ("ci_low", "ci_high") if end in test}
    metrics |= {
        "method": manifest["method"],
        "prompt": manifest["prompt"],
        "evaluator": manifest["evaluator"],
        "simulated": SIMULATED in manifest["notice"],
        **more,
    }
    write_rows(run / "predictions.csv", rows)
    write_rows(run / "table.csv", [_line(method, metrics) for method in methods_of(rows)])
    if tests:
        write_rows(run / "comparisons.csv", tests)
    write_json(run / "metrics.json", metrics)
    return metrics


def _line(method: str, metrics: dict[str, Any]) -> Line:
    """A method's row of ``table.csv``."""
    names = [f"{name}{end}" for name in (*COLUMNS, *COSTS) for end in ("", ".ci_low", ".ci_high")]
    kept = {name: metrics[f"{method}/{name}"] for name in ("n", "failed", *names) if f"{method}/{name}" in metrics}
    return {"method": method, **kept}


def _sets(predictions: list[Prediction], extractors: list[str]) -> dict[str, Any]:
    """Distances between sets, of every method's counterfactuals apart."""
    if not extractors:
        return dict.fromkeys(SETS, unavailable("name a network, --features"))
    from lvcf.measure.sets import realism  # transformers takes seconds to load

    methods = dict.fromkeys(prediction.result["method"] for prediction in predictions)
    return {
        f"{method}/{key}": value
        for method in methods
        for text in extractors
        for key, value in realism([p for p in predictions if p.result["method"] == method], text, None)[0].items()
    }
