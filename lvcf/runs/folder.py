"""Reading a finished run: its manifest and written predictions.  Light: no torch."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from lvcf.data.video import Frames, read_video
from lvcf.errors import UserError
from lvcf.files import Json, Record, damaged, read_lines, read_optional, read_record, read_shape
from lvcf.runs.shapes import Curves, Manifest, Metrics, Result, SteeringManifest, SteeringResult

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
    def file_name(self) -> str:
        """The clip's name where files are looked for by it.

        Raises:
            UserError: it leads elsewhere.
        """
        if not is_plain(self.id):
            raise damaged(self.folder / "result.json", f"id {self.id!r} is no file's name")
        return self.id

    @property
    def status(self) -> str:
        """reached, not_reached, not_drawable or failed."""
        return str(self.result["status"])

    @property
    def failed(self) -> bool:
        """Whether there is nothing but the reason."""
        return self.status == "failed"

    @property
    def curves(self) -> Json | None:
        """What was measured over time; only after ``lvcf evaluate`` on a simulated set."""
        path = self.folder / "curves.json"
        return read_shape(path, Curves) if path.is_file() else None

    def factual(self) -> Frames:
        """The input clip."""
        return read_video(self.folder / "factual.mkv").frames

    def counterfactual(self) -> Frames:
        """The refined edit."""
        return read_video(self.folder / "counterfactual.mkv").frames

    def mask(self) -> NDArray[np.bool_]:
        """Where the edit was let through.

        Raises:
            UserError: the file is missing or damaged.
        """
        path = self.folder / "mask.npz"
        try:
            stored: NDArray[np.uint8] = np.load(path)["mask"]
        except (OSError, ValueError, LookupError, EOFError, zipfile.BadZipFile) as error:
            raise damaged(path, error) from error
        if stored.dtype != np.uint8 or stored.ndim != 3:
            raise damaged(path, f"{stored.dtype} of shape {stored.shape}, not 8-bit frames")
        return stored > 127


def read_manifest(run: Path) -> Record:
    """The run's ``manifest.json``.

    Raises:
        UserError: the folder or the manifest is missing, or the manifest is damaged or names clips outside the run.
    """
    path = _manifest_path(run)
    manifest = read_shape(path, SteeringManifest if is_steering_run(run) else Manifest)
    names = manifest["ids"]
    odd = next((name for name in names if not is_plain(name)), None)
    if odd is not None:
        raise damaged(path, f"ids hold {odd!r}, which is no folder's name")
    if len({*names}) < len(names):
        raise damaged(path, "ids hold a clip twice")
    return manifest


def _manifest_path(run: Path) -> Path:
    if not run.is_dir():
        raise UserError(f"{run}: no such run folder; give the folder that lvcf predict wrote, such as runs/phantom")
    if not (run / "manifest.json").is_file():
        raise UserError(f"{run}: holds no manifest.json, so it is no run folder; give one that lvcf predict wrote")
    return run / "manifest.json"


def is_plain(name: str) -> bool:
    """Whether a name is one visible folder or file here, and no way out of the folder that it is looked for in."""
    return (
        0 < len(name.encode(errors="replace")) <= 255
        and name.isprintable()
        and not (name[0] == "." or {*name} & {*"/\\"})
    )


def is_steering(manifest: Json) -> bool:
    """Whether ``lvcf steer`` wrote the run."""
    return "evaluation_graph" in manifest


def is_steering_run(run: Path) -> bool:
    """:func:`is_steering` of a folder, whatever else is wrong with its manifest.

    Raises:
        UserError: the folder or the manifest is missing, or the manifest is no object.
    """
    return is_steering(read_record(_manifest_path(run)))


def read_predictions(run: Path, names: Sequence[str] | None = None) -> list[Prediction]:
    """The finished clips, in the manifest's order.

    Args:
        run: its folder.
        names: of the clips that are looked for; all of the manifest by default.

    Raises:
        UserError: a result is damaged.
    """
    manifest = read_manifest(run)
    shape = SteeringResult if is_steering(manifest) else Result
    folders = [run / "predictions" / name for name in (manifest["ids"] if names is None else names)]
    return [Prediction(f, read_shape(f / "result.json", shape)) for f in folders if (f / "result.json").is_file()]


def made(run: Path, names: Sequence[str]) -> int:
    """How many of these clips are there, failed ones too, while other processes may be writing them."""
    return sum((run / "predictions" / name / "result.json").is_file() for name in names)


def unfinished(manifest: Json, made: int, verb: str) -> str:
    """What to say of a run of which ``made`` clips are there, failed ones too; empty if that is all."""
    asked = len(manifest["ids"])
    return f"{made} of {asked} clips; run lvcf {verb} again" if made < asked else ""


def read_metrics(run: Path) -> Json | None:
    """A run's ``metrics.json``, or None before ``lvcf evaluate``."""
    path = run / "metrics.json"
    return read_shape(path, Metrics) if path.is_file() else None


def read_configuration(run: Path) -> Json:
    """A run's ``config.yaml``; empty if it kept none.

    Raises:
        UserError: it is damaged.
    """
    path = run / "config.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig")) if path.is_file() else None
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise damaged(path, error) from error
    if not isinstance(content, dict | None):
        raise damaged(path, f"{type(content).__name__}, not sections")
    return content or {}


def finished_result(folder: Path) -> Json | None:
    """A prediction's ``result.json``, or None if it is not there yet or tells of a failure."""
    result = read_optional(folder / "result.json")
    return None if result is None or result["status"] == "failed" else result


def off_target(reading: float, low: float, high: float) -> float:
    """How far a regressor's reading is from its target [low, high]; 0 inside."""
    return max(low - reading, reading - high, 0.0)


def diversity(result: Json) -> dict[str, float]:
    """Of a clip with several counterfactuals, how far every two are apart on the average and how many are valid."""
    told, levels = result.get("counterfactuals", []), np.array(result.get("pairwise_levels", []))
    if not told:
        return {}
    apart = float(levels[np.triu_indices(len(levels), 1)].mean())
    return {"diversity/l1_levels": apart, "diversity/reached": float(np.mean([x["status"] == "reached" for x in told]))}


def read_table(path: Path) -> list[Json]:
    """A ``predictions.csv``: numbers as numbers, empty cells left out.

    Raises:
        UserError: it is not there, or damaged.
    """
    if not path.is_file():
        raise UserError(f"{path}: not found; run lvcf evaluate {path.parent} first")
    return [
        Record({name: _value(path, name, cell) for name, cell in row.items() if cell != ""}, path)
        for row in read_lines(path)
    ]


def _value(path: Path, name: str, cell: str) -> str | float:
    try:
        return cell if name in TEXTS else float(cell)
    except ValueError as error:
        raise damaged(path, f"{name}: {cell!r} is no number") from error
