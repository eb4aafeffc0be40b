"""What a steering run's folder holds: its results, its figures by method, its paired comparisons."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lvcf.evaluation.steering_rows import TEXTS, comparisons, facts, summarise
from lvcf.files import Json, read_lines
from lvcf.report.ablation import Line
from lvcf.report.metrics import as_number
from lvcf.runs.folder import Prediction, read_manifest, read_metrics, read_predictions
from lvcf.steering.graph import CausalGraph, said, stored_graph
from lvcf.steering.methods import METHODS


@dataclass(frozen=True)
class SteeringCase:
    """One clip under one intervention: ``asked`` as the configuration says it, ``results`` by method as far as made."""

    clip: str
    asked: dict[str, str]
    results: dict[str, Prediction]

    @property
    def name(self) -> str:
        """The clip and the intervention."""
        return f"{self.clip}, do({said(self.asked)})"

    @property
    def do(self) -> str:
        """The intervention as ``metrics.json`` calls it: by its variables alone."""
        return f"do({', '.join(self.asked)})"

    @property
    def finished(self) -> list[Prediction]:
        """The results that did not fail."""
        return [result for result in self.results.values() if not result.failed]


@dataclass(frozen=True)
class SteeringFolder:
    """A run of ``lvcf steer``.

    ``metrics`` are those of ``metrics.json``, or what the results say where a run ended before it wrote them; ``tests``
    in the same way.  ``figures`` are the numbers known of each result, by id and column.  ``evaluated`` tells whether
    the videos were measured too.
    """

    folder: Path
    manifest: Json
    graph: CausalGraph
    truth: CausalGraph
    cases: list[SteeringCase]
    metrics: Json
    tests: list[Line]
    figures: dict[str, dict[str, float]]
    evaluated: bool

    @property
    def methods(self) -> list[str]:
        """Those that have results, baselines first."""
        return [method for method in METHODS if f"{method}/n" in self.metrics]

    @property
    def interventions(self) -> dict[str, dict[str, str]]:
        """By what ``metrics.json`` calls them, which names variables alone."""
        return {f"do({', '.join(do)})": do for do in self.manifest["interventions"]}


def read_steering(folder: Path) -> SteeringFolder:
    """Read everything but the videos.

    Raises:
        UserError: one of the JSON files is damaged.
    """
    manifest, predictions = read_manifest(folder), read_predictions(folder)
    rows = {prediction.id: facts(prediction.result) for prediction in predictions}
    written, lines = read_metrics(folder), read_lines(folder / "predictions.csv")
    measured = {line["id"]: line for line in lines}
    metrics = summarise(list(rows.values())) if written is None else written
    return SteeringFolder(
        folder=folder,
        manifest=manifest,
        graph=stored_graph(manifest, "graph"),
        truth=stored_graph(manifest, "evaluation_graph"),
        cases=_cases(manifest, predictions),
        metrics=metrics,
        tests=_tests(list(rows.values())) if written is None else read_lines(folder / "comparisons.csv"),
        figures={p.id: _numbers(rows[p.id] | measured.get(p.id, {})) for p in predictions if not p.failed},
        evaluated=any("fidelity/" in key for key in metrics),
    )


def _tests(rows: list[Json]) -> list[Line]:
    """The paired comparisons as ``comparisons.csv`` would have them."""
    return [{key: str(value) for key, value in test.items()} for test in comparisons(rows)]


def _cases(manifest: Json, predictions: list[Prediction]) -> list[SteeringCase]:
    """The results in the order of the run's plan: by clip, then intervention, then method."""
    done, methods, asked = {p.id: p for p in predictions}, manifest["methods"], manifest["interventions"]
    cases = []
    for start in range(0, len(manifest["ids"]), len(methods)):
        names = zip(methods, manifest["ids"][start : start + len(methods)], strict=True)
        results = {method: done[name] for method, name in names if name in done}
        if results:
            clip = next(iter(results.values())).result["clip"]
            cases.append(SteeringCase(clip, asked[start // len(methods) % len(asked)], results))
    return cases


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    known = {name: as_number(str(value)) for name, value in row.items() if name not in TEXTS}
    return {name: value for name, value in known.items() if value is not None and math.isfinite(value)}
