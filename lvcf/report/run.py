"""What a report shows: a run's manifest, clips, metrics and comparison table."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from lvcf.files import Json, read_cells
from lvcf.runs.folder import Prediction, off_target, read_manifest, read_metrics, read_predictions, read_table

STATUSES = {"reached": "reached", "not_reached": "not reached", "not_drawable": "not drawable", "failed": "failed"}
"""What ``result.json`` says of a clip, in words."""


@dataclass(frozen=True)
class Run:
    """A run folder; ``metrics`` is None before ``lvcf evaluate``, ``table`` is empty without a ``table.csv``.

    ``figures`` are the numbers known of each clip, by id and key: of ``predictions.csv``, and of ``result.json``.
    """

    folder: Path
    manifest: Json
    clips: list[Prediction]
    metrics: Json | None
    table: list[list[str]]
    figures: dict[str, dict[str, float]]


def read_run(folder: Path) -> Run:
    """Read everything but the videos; clips come sorted by id.

    Raises:
        UserError: the folder is missing, ``lvcf predict`` did not write it, or one of its JSON files is damaged.
    """
    manifest, clips = read_manifest(folder), sorted(read_predictions(folder), key=lambda clip: clip.id)
    return Run(
        folder=folder,
        manifest=manifest,
        clips=clips,
        metrics=read_metrics(folder),
        table=read_cells(folder / "table.csv"),
        figures=figures_of(folder, clips),
    )


def unit_of(clips: list[Prediction]) -> str:
    """The unit of the explained model's reading."""
    return next((str(clip.result["unit"]) for clip in clips if not clip.failed), "")


def figures_of(folder: Path, clips: list[Prediction]) -> dict[str, dict[str, float]]:
    """The numbers known of each finished clip: of ``result.json``, and of ``predictions.csv`` if it was evaluated."""
    lines = folder / "predictions.csv"
    rows = read_table(lines) if lines.is_file() else []
    measured = {row["id"]: {k: v for k, v in row.items() if "/" in k and math.isfinite(v)} for row in rows}
    return {clip.id: _known_of(clip.result) | measured.get(clip.id, {}) for clip in clips if not clip.failed}


def _known_of(result: Json) -> dict[str, float]:
    """What ``result.json`` tells of a finished clip before it is evaluated."""
    after, target = float(result["prediction_after"]), result["target"]
    if result["task"] == "classification":
        reading = {"adherence/confidence": after}
    else:
        reading = {"adherence/error": off_target(after, target["low"], target["high"])}
    costs = ("mask_share", "steps", "gradient_evaluations", "queries", "seconds")
    return reading | {f"cost/{name}": float(result[name]) for name in costs if name in result}
