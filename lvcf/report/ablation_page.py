"""The page about an ablation, as ``ablation.html.j2`` wants it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lvcf.files import Json, read_lines
from lvcf.report.ablation import Cell, Line, other_lines, read_cells
from lvcf.report.media import LAYOUT, data_uri
from lvcf.report.metrics import Row, as_number, metric_row, plain, readable
from lvcf.report.names import Figure, figure_of
from lvcf.report.run import STATUSES
from lvcf.report.run_page import target_text
from lvcf.runs.folder import SUFFIXES, Prediction

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


def _measured(cell: Cell, unit: str) -> dict[str, Row]:
    """A cell's metrics by key."""
    metrics = cell.metrics or {}
    keys = [key for key in metrics if "/" in key and not key.endswith(SUFFIXES)]
    return {key: metric_row(metrics, key, unit) for key in keys}


def _is_number(row: Row | None) -> bool:
    return row is not None and row.number is not None


def _row(cell: Cell, measured: dict[str, Row], figures: dict[str, Figure]) -> Json:
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
    result = clip.result
    if result["task"] == "classification":
        reading = f"{result['class_before']} → {result['class_after']}, target {result['target']['text']}"
    else:
        before, after = (readable(result[f"prediction_{when}"]) for when in ("before", "after"))
        reading = f"{before} → {after} {result['unit']}, target {target_text(result)} {result['unit']}"
    frames = hashlib.sha256((clip.folder / "factual.mkv").read_bytes()).hexdigest()[:12]
    return told | {"told": reading, "factual": frames}
