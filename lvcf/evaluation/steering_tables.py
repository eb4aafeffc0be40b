"""A steering run's figures on the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lvcf.evaluation.steering_rows import COSTS, OURS, Row, comparisons, methods_of
from lvcf.metrics.statistics import LEVEL
from lvcf.run_folder import SUFFIXES
from lvcf.steering.methods import COLUMNS
from lvcf.steering.reasons import line

WIDTH = 150
HINT = 2000
"""Characters of a reason at most: a record may hold anything."""
MEBI = 2**20


def print_methods(run: Path, metrics: dict[str, Any], rows: list[Row]) -> None:
    """What the evaluating judge says of every method and what it cost, and which clips failed."""
    clips = len({row["clip"] for row in rows})
    simulated = "simulated " if metrics["simulated"] else ""
    names = (*COLUMNS, "edits", "calls", "seconds", "peak_memory_bytes")
    headings = ("method", "n", "failed", *(name.replace("peak_memory_bytes", "MiB") for name in names))
    table = _table(f"{run}: mean ({LEVEL:.0%} interval) over {clips} {simulated}clips' interventions", headings)
    for method in methods_of(rows):
        counts = (str(metrics[f"{method}/{name}"]) for name in ("n", "failed"))
        table.add_row(method, *counts, *(cell(metrics, f"{method}/{name}") for name in names))
    _print(table)
    if "unfinished" in metrics:
        print(f"  {metrics['unfinished']}")
    print("\n".join(f"  {name}: {meaning}, by the evaluating judge" for name, meaning in COLUMNS.items()))
    for row in rows:
        if row["status"] == "failed":
            print(f"  {row['id']}: failed: {line(row['hint'], most=HINT)}")


def print_details(metrics: dict[str, Any], rows: list[Row]) -> None:
    """Every other figure, methods side by side; the comparisons; what is unavailable."""
    methods = methods_of(rows)
    shown = {*COLUMNS, *COSTS, "n", "failed"}
    names = dict.fromkeys(
        name
        for key in metrics
        for method, _, name in [key.partition("/")]
        if method in methods and name not in shown and not name.endswith(SUFFIXES)
    )
    table = _table("by attribute and intervention, and in the files", ("measure", *methods))
    for name in names:
        table.add_row(escape(name), *(cell(metrics, f"{method}/{name}") for method in methods))
    _print(table)
    _print_comparisons(comparisons(rows))
    for key, value in metrics.items():
        if isinstance(value, str) and value.startswith("unavailable: ") and key.partition("/")[0] not in methods:
            print(f"  {key}: {value}")


def _print_comparisons(tests: list[Row]) -> None:
    if not tests:
        return
    headings = ("measure", "against", "pairs", "difference", "p", "p (Holm)")
    table = _table(f"{OURS} minus a baseline on the same clips and interventions", headings)
    for test in tests:
        ends = (f" ({test['ci_low']:.3f} to {test['ci_high']:.3f})") if "ci_low" in test else ""
        p_values = (f"{test[name]:.3f}" if name in test else "one clip" for name in ("p_permutation", "p_holm"))
        table.add_row(
            escape(test["metric"]), test["other"], str(test["n"]), f"{test['difference']:.3f}{ends}", *p_values
        )
    _print(table)


def cell(metrics: dict[str, Any], key: str) -> str:
    """A figure and its interval; a dash where there is none: ``metrics.json`` says why."""
    value = metrics.get(key)
    if not isinstance(value, int | float):
        return "–"
    scale = MEBI if key.endswith("peak_memory_bytes") else 1
    ends = [metrics.get(f"{key}{end}") for end in (".ci_low", ".ci_high")]
    digits = 0 if scale > 1 else 2 if abs(value) < 100 else 1
    spread = "" if None in ends else f" ({' to '.join(f'{end / scale:.{digits}f}' for end in ends if end is not None)})"
    return f"{value / scale:.{digits}f}{spread}"


def _table(title: str, headings: tuple[str, ...]) -> Table:
    table = Table(title=title)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left", overflow="fold")
    return table


def _print(table: Table) -> None:
    Console(width=max(Console().width, WIDTH)).print(table)
