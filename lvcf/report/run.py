"""What a report shows: a run's manifest, clips, metrics and comparison table."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from lvcf.errors import UserError
from lvcf.run_folder import Json, Prediction, is_steering, read_manifest, read_optional, read_predictions


@dataclass(frozen=True)
class Run:
    """A run folder; ``metrics`` is None before ``lvcf evaluate``, ``table`` is empty without a ``table.csv``."""

    folder: Path
    manifest: Json
    clips: list[Prediction]
    metrics: Json | None
    table: list[list[str]]


def read_run(folder: Path) -> Run:
    """Read everything but the videos; clips come sorted by id.

    Raises:
        UserError: the folder is missing, ``lvcf predict`` did not write it, or one of its JSON files is damaged.
    """
    manifest = read_manifest(folder)
    if is_steering(manifest):
        raise UserError(f"{folder}: a steering run, which has no page yet; its tables: lvcf evaluate {folder}")
    return Run(
        folder=folder,
        manifest=manifest,
        clips=sorted(read_predictions(folder), key=lambda clip: clip.id),
        metrics=read_optional(folder / "metrics.json"),
        table=_read_table(folder / "table.csv"),
    )


def _read_table(path: Path) -> list[list[str]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.reader(file) if row]
