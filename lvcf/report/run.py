"""What a run folder holds, read from disk: manifest, results, metrics and the comparison table."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lvcf.errors import UserError

Json = dict[str, Any]


@dataclass(frozen=True)
class Clip:
    """One clip's folder; ``curves`` is there only after ``lvcf evaluate`` on a simulated set."""

    folder: Path
    result: Json
    curves: Json | None

    @property
    def id(self) -> str:
        """The clip's id, as the data set names it."""
        return str(self.result["id"])

    @property
    def status(self) -> str:
        """reached, not_reached or failed."""
        return str(self.result["status"])


@dataclass(frozen=True)
class Run:
    """A run folder; ``metrics`` is None before ``lvcf evaluate``, ``table`` is empty without a ``table.csv``."""

    folder: Path
    manifest: Json
    clips: list[Clip]
    metrics: Json | None
    table: list[list[str]]


def read_run(folder: Path) -> Run:
    """Read everything but the videos; clips come sorted by id.

    Raises:
        UserError: the folder is missing, ``lvcf predict`` did not write it, or one of its JSON files is damaged.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such run folder; give the folder that lvcf predict wrote, such as runs/phantom")
    if not (folder / "manifest.json").is_file():
        raise UserError(f"{folder}: holds no manifest.json, so it is no run folder; give one that lvcf predict wrote")
    clips = [_read_clip(path.parent) for path in (folder / "predictions").glob("*/result.json")]
    return Run(
        folder=folder,
        manifest=_read_json(folder / "manifest.json"),
        clips=sorted(clips, key=lambda clip: clip.id),
        metrics=_read_optional(folder / "metrics.json"),
        table=_read_table(folder / "table.csv"),
    )


def _read_clip(folder: Path) -> Clip:
    return Clip(folder, _read_json(folder / "result.json"), _read_optional(folder / "curves.json"))


def _read_optional(path: Path) -> Json | None:
    return _read_json(path) if path.is_file() else None


def _read_json(path: Path) -> Json:
    try:
        content: Json = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}); remove it and run the command that wrote it again") from error
    return content


def _read_table(path: Path) -> list[list[str]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.reader(file) if row]
