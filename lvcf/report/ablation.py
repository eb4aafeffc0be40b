"""What an ablation's folder holds: its cells, each a run or what is left of one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lvcf.files import Json, read_lines
from lvcf.report.run import figures_of
from lvcf.runs.folder import Prediction, read_manifest, read_metrics, read_predictions

Line = dict[str, str]
"""A line of a CSV file."""


@dataclass(frozen=True)
class Cell:
    """One row of an ablation.

    ``metrics`` is None of a cell that is not finished, ``reason`` then tells what its log says last.  ``figures`` are
    the numbers known of each clip, by id and key.  ``control`` is a row shown for orientation, such as doing nothing.
    """

    name: str
    folder: Path
    manifest: Json
    metrics: Json | None
    clips: list[Prediction]
    figures: dict[str, dict[str, float]]
    reason: str
    control: bool


def is_ablation(folder: Path) -> bool:
    """Whether ``lvcf ablate`` wrote it."""
    return any(folder.glob("*/cell.yaml"))


def read_cells(folder: Path) -> list[Cell]:
    """The cells in the order of ``table.csv``, those that it does not know behind them by name.

    Raises:
        UserError: a JSON file of a cell is damaged.
    """
    named = {_plain(row["method"]): row for row in read_lines(folder / "table.csv")}
    found = _folders(folder)
    order = [key for key in named if key in found] + [key for key in found if key not in named]
    return [_cell(found[key], named.get(key, {})) for key in order]


def other_lines(folder: Path) -> list[Line]:
    """What ``table.csv`` has besides the cells: rows made of several cells, and those quoted from a paper."""
    found = _folders(folder)
    return [line for line in read_lines(folder / "table.csv") if _plain(line["method"]) not in found]


def _folders(folder: Path) -> dict[str, Path]:
    return {_plain(path.parent.name): path.parent for path in sorted(folder.glob("*/cell.yaml"))}


def _cell(folder: Path, line: Line) -> Cell:
    started = (folder / "manifest.json").is_file()
    manifest = read_manifest(folder) if started else {}
    clips = read_predictions(folder) if started else []
    metrics = read_metrics(folder)
    return Cell(
        name=line.get("method") or folder.name.replace("__", ", ").replace("_", " "),
        folder=folder,
        manifest=manifest,
        metrics=metrics,
        clips=clips,
        figures=figures_of(folder, clips),
        reason="" if metrics else _last_words(folder / "log.txt"),
        control=line.get("kind") == "control",
    )


def _plain(name: str) -> str:
    """What a cell's name and its folder's have in common."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _last_words(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.is_file() else []
    said = [line.strip() for line in lines if line.strip()]
    return f"{log.parent.name}/{log.name}: {said[-1][-300:]}" if said else "not run yet"
