"""Reading a finished run: its manifest and written predictions.  Light: no torch."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvcf.data.video import Frames, read_video
from lvcf.errors import UserError

Json = dict[str, Any]
SUFFIXES = (".se", ".ci_low", ".ci_high", ".n")
"""Of a figure's key in metrics.json: standard error, ends of its 95 % interval, its clips if these are not all."""

TEXTS = ("id", "status", "task", "label", "class_before", "class_after", "target")
"""Columns of ``predictions.csv`` that are no numbers, whatever they look like."""


@dataclass(frozen=True)
class Prediction:
    """One written clip: ``result.json`` and, unless it failed, its videos ``(T, H, W, 3)`` and mask ``(T, H, W)``."""

    folder: Path
    result: Json

    @property
    def id(self) -> str:
        """The clip's name."""
        return str(self.result["id"])

    @property
    def status(self) -> str:
        """reached, not_reached or failed."""
        return str(self.result["status"])

    @property
    def failed(self) -> bool:
        """Whether there is nothing but the reason."""
        return self.status == "failed"

    @property
    def curves(self) -> Json | None:
        """What was measured over time; only after ``lvcf evaluate`` on a simulated set."""
        return read_optional(self.folder / "curves.json")

    def factual(self) -> Frames:
        """The input clip."""
        return read_video(self.folder / "factual.mkv").frames

    def counterfactual(self) -> Frames:
        """The refined edit."""
        return read_video(self.folder / "counterfactual.mkv").frames

    def mask(self) -> NDArray[np.bool_]:
        """Where the edit was let through."""
        stored: NDArray[np.uint8] = np.load(self.folder / "mask.npz")["mask"]
        return stored > 127


def read_manifest(run: Path) -> Json:
    """The run's ``manifest.json``.

    Raises:
        UserError: the folder or the manifest is missing, or the manifest is damaged.
    """
    if not run.is_dir():
        raise UserError(f"{run}: no such run folder; give the folder that lvcf predict wrote, such as runs/phantom")
    if not (run / "manifest.json").is_file():
        raise UserError(f"{run}: holds no manifest.json, so it is no run folder; give one that lvcf predict wrote")
    return read_json(run / "manifest.json")


def is_steering(manifest: Json) -> bool:
    """Whether ``lvcf steer`` wrote the run."""
    return "evaluation_graph" in manifest


def read_predictions(run: Path) -> list[Prediction]:
    """The finished clips, in the manifest's order."""
    folders = [run / "predictions" / name for name in read_manifest(run)["ids"]]
    return [Prediction(f, read_json(f / "result.json")) for f in folders if (f / "result.json").is_file()]


def read_json(path: Path) -> Json:
    """A JSON file that a verb of lvcf wrote.

    Raises:
        UserError: it is damaged.
    """
    try:
        content: Json = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}); remove it and run the command that wrote it again") from error
    return content


def read_optional(path: Path) -> Json | None:
    """A JSON file, or None if it is not there yet."""
    return read_json(path) if path.is_file() else None


def finished_result(folder: Path) -> Json | None:
    """A prediction's ``result.json``, or None if it is not there yet or tells of a failure."""
    result = read_optional(folder / "result.json")
    return None if result is None or result["status"] == "failed" else result


def off_target(reading: float, low: float, high: float) -> float:
    """How far a regressor's reading is from its target [low, high]; 0 inside."""
    return max(low - reading, reading - high, 0.0)


def read_table(path: Path) -> list[Json]:
    """A ``predictions.csv``: numbers as numbers, empty cells left out.

    Raises:
        UserError: it is not there.
    """
    if not path.is_file():
        raise UserError(f"{path}: not found; run lvcf evaluate {path.parent} first")
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return [{k: v if k in TEXTS else float(v) for k, v in row.items() if v != ""} for row in rows]
