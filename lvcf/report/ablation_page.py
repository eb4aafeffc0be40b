"""An ablation's folder, and the page about it as ``ablation.html.j2`` wants it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lvcf.files import Json, read_lines
from lvcf.measure.names import STATUSES, Figure, figure_of
from lvcf.report.metrics import Entry, as_number, figures_of, metric_row, plain, readable
from lvcf.report.run_page import reading_line
from lvcf.runs.folder import SUFFIXES, Prediction, read_manifest, read_metrics, read_predictions
from lvcf.runs.panel import LAYOUT, data_uri

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


CELL_STATUSES = {"done": "finished", "failed": "not finished"}
SPREADS = (" se", " low", " high")
"""Endings of the columns of ``table.csv`` that belong to the one before."""
SIDE_BY_SIDE = 4
"""Methods that the page compares at first."""


def ablation_context(folder: Path) -> Json:
    """What ``ablation.html.j2`` shows of an ablation's folder.

    Raises:
        UserError: a JSON file of a cell is damaged.
    """
    cells = read_cells(folder)
    unit = next((str(clip.result["unit"]) for cell in cells for clip in cell.clips if not clip.failed), "")
    measured = [_measured(cell, unit) for cell in cells]
    every = {key: row for rows in reversed(measured) for key, row in reversed(rows.items())}
    keys = list(dict.fromkeys(k for rows in measured for k in rows))
    figures = {key: every[key].figure for key in keys if any(_is_number(rows.get(key)) for rows in measured)}
    rows = [_row(cell, known, figures) for cell, known in zip(cells, measured, strict=True)]
    return {
        "asked": _asked(cells),
        "notice_sentences": list(dict.fromkeys(text for cell in cells for text in cell.manifest.get("notice", []))),
        "statuses": CELL_STATUSES,
        "counts": {status: sum(row["status"] == status for row in rows) for status in CELL_STATUSES},
        "rows": rows,
        "figures": figures,
        "unavailable": [every[key] for key in keys if key not in figures],
        "errors": any(row.error and not row.interval for known in measured for row in known.values()),
        "simulated": any(cell.metrics and cell.metrics.get("simulated") for cell in cells),
        "others": _others(other_lines(folder)),
        "differences": _differences(read_lines(folder / "differences.csv")),
        "pareto": _picture(folder / "pareto.svg"),
        "comparison": _comparison(cells, unit),
        "curves": False,
    }


def _measured(cell: Cell, unit: str) -> dict[str, Entry]:
    """A cell's metrics by key."""
    metrics = cell.metrics or {}
    keys = [key for key in metrics if "/" in key and not key.endswith(SUFFIXES)]
    return {key: metric_row(metrics, key, unit) for key in keys}


def _is_number(row: Entry | None) -> bool:
    return row is not None and row.number is not None


def _row(cell: Cell, measured: dict[str, Entry], figures: dict[str, Figure]) -> Json:
    """One line of the table."""
    return {
        "name": cell.name,
        "status": "done" if cell.metrics else "failed",
        "reason": cell.reason,
        "control": cell.control,
        "n": str((cell.metrics or {}).get("n", "–")),
        "cells": [(measured.get(key), figure) for key, figure in figures.items()],
        "numbers": {key: row.number for key, row in measured.items() if row.number is not None},
    }


def _asked(cells: Sequence[Cell]) -> list[tuple[str, str]]:
    """What the cells have in common, or all that they have."""
    terms = {
        "target": "target",
        "model explained": "target_model",
        "video model": "backbone",
        "prompts": "prompt",
        "clips": "data",
        "seed": "seed",
    }
    known = {term: [str(c.manifest[key]) for c in cells if key in c.manifest] for term, key in terms.items()}
    return [(term, ", ".join(dict.fromkeys(values))) for term, values in known.items() if values]


def _others(lines: Sequence[Line]) -> Json:
    """A table of the rows without a folder: headings that any of them has, and their figures with their intervals."""
    about = ("method", "kind", "n", "failed clips", "problem")
    names = [name for line in lines[:1] for name in line if name not in about and not name.endswith(SPREADS)]
    names = [name for name in names if any(as_number(line[name]) is not None for line in lines)]
    told = ["problem"] if any(line.get("problem") for line in lines) else []
    rows = []
    for line in lines:
        figures = [
            _figure(*(as_number(line.get(f"{name}{end}", "")) for end in ("", " low", " high"))) for name in names
        ]
        rows.append([line["method"], line.get("kind", ""), line.get("n", ""), *figures, *(line[name] for name in told)])
    return {"headings": ["row", "kind", "clips", *names, *told], "rows": rows}


def _differences(lines: Sequence[Line]) -> Json:
    """The paired tests against the reference row, as text."""
    rows = []
    for line in lines:
        ends = [as_number(line.get(name, "")) for name in ("difference", "ci_low", "ci_high")]
        p = as_number(line.get("p_holm", ""))
        shown = [line["n"], _figure(*ends), "–" if p is None else readable(p), line["verdict"]]
        rows.append([line["column"], line["method"], *shown])
    return {"reference": lines[0]["reference"] if lines else "", "rows": rows}


def _figure(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "–"
    if low is None or high is None:
        return readable(value)
    return f"{readable(value)} [{readable(low, like=value)} to {readable(high, like=value)}]"


def _picture(path: Path) -> str:
    return data_uri("image/svg+xml", path.read_bytes()) if path.is_file() else ""


def _comparison(cells: Sequence[Cell], unit: str) -> Json:
    """Every clip under every method, for the page's script."""
    begun = [cell for cell in cells if cell.clips]
    keys = list(dict.fromkeys(k for cell in begun for known in cell.figures.values() for k in known))
    by_id = [{clip.id: clip for clip in cell.clips} for cell in begun]
    ids = list(dict.fromkeys(name for clips in by_id for name in clips))
    return {
        "layout": LAYOUT,
        "statuses": STATUSES,
        "figures": [figure_of(key, unit).label for key in keys],
        "methods": [{"name": cell.name, "folder": cell.folder.name} for cell in begun],
        "chosen": _chosen(begun),
        "clips": [
            {
                "id": name,
                "fps": next((c[name].result["fps"] for c in by_id if name in c and not c[name].failed), 1.0),
                "methods": [
                    _told(clips[name], cell.figures.get(name, {}), keys) if name in clips else None
                    for cell, clips in zip(begun, by_id, strict=True)
                ],
            }
            for name in ids
        ],
    }


def _chosen(cells: Sequence[Cell]) -> list[int]:
    """Those with the most clips and, among these, those that reached the most targets; in the table's order."""

    def worth(index: int) -> tuple[int, int]:
        clips = cells[index].clips
        return -len(clips), -sum(clip.status == "reached" for clip in clips)

    return sorted(sorted(range(len(cells)), key=worth)[:SIDE_BY_SIDE])


def _told(clip: Prediction, figures: dict[str, float], keys: Sequence[str]) -> dict[str, Any]:
    """One clip under one method; ``factual`` tells whether two methods began with the same frames."""
    told: dict[str, Any] = {"status": clip.status, "folder": clip.folder.name}
    told["values"] = [plain(figures[key]) if key in figures else None for key in keys]
    if clip.failed:
        return told | {"told": clip.result["hint"], "factual": ""}
    frames = hashlib.sha256((clip.folder / "factual.mkv").read_bytes()).hexdigest()[:12]
    return told | {"told": reading_line(clip.result), "factual": frames}
